#!/bin/sh
[ "$1" = --list ] || exit 1
cat <<'J'
{"web": {"hosts": ["w1", "w2", "w1"], "vars": {"v": 1, "ansible_group_priority": 3}, "children": ["sub"]},
 "flat": ["f1", "w1"],
 "parent": {"children": ["web", "flat"]},
 "all": {"vars": {"e": "x"}, "hosts": ["lonely"]},
 "_meta": {"hostvars": {"w1": {"a": 1.50, "b": {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n6162\n"}}, "w2": {}, "nobody": {"z": 1}, "f1": {"n": null}}}}
J
