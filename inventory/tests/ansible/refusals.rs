//! What Ansible warns about and guesses, or drops without a word, is an error here, with its place.

use std::fs;
use std::path::Path;

use midflight_inventory::{Error, Inventory};

fn load(dir: &Path, name: &str, text: &str) -> Result<Inventory, Error> {
    let path = dir.join(name);
    fs::write(&path, text).expect("written");
    Inventory::load(&[path])
}

/// The code and the first line of the error, without the folder.
fn first_line(name: &str, text: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let error = load(dir.path(), name, text).map(drop).expect_err(text);
    let message = error
        .to_string()
        .replace(&format!("{}/", dir.path().display()), "");
    format!("{} {}", error.code(), message.lines().next().unwrap_or(""))
}

#[track_caller]
fn check(name: &str, text: &str, expected: &str) {
    assert_eq!(first_line(name, text), expected, "\n{text}");
}

#[test]
fn a_broken_line_is_an_error_with_a_caret() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = "[web]\nw1\n  w2 user deploy\n";
    let error = load(dir.path(), "hosts", text).expect_err("broken");
    let message = error.to_string();
    let shown = message.split_once("/hosts").map_or("", |(_, rest)| rest);
    assert_eq!(
        shown,
        ":3:6: \"user\" is no variable\n 3 |   w2 user deploy\n   |      ^\n write name=value behind the host's name; quote values with blanks"
    );
}

#[test]
fn lines_that_a_section_does_not_take_are_errors() {
    check(
        "hosts",
        "[web\nw1\n",
        "MF0123 hosts:1:1: this is no section",
    );
    check(
        "hosts",
        "[we b]\nw1\n",
        "MF0123 hosts:1:1: this is no section",
    );
    check(
        "hosts",
        "[web:host]\nw1\n",
        "MF0123 hosts:1:6: unknown kind of section \"host\"",
    );
    check(
        "hosts",
        "[web:vars]\nnothing\n[web]\n",
        "MF0123 hosts:2:1: \"nothing\" is no variable",
    );
    check(
        "hosts",
        "[web:children]\na b\n",
        "MF0123 hosts:2:1: \"a b\" is no name of a group",
    );
    check(
        "hosts",
        "w1 a='x\n",
        "MF0123 hosts:1:6: this quote is never closed",
    );
    check(
        "hosts",
        "w1 a={1,2}\n",
        "MF0123 hosts:1:4: the value is a set, which JSON does not have",
    );
    check(
        "hosts",
        "w1\u{b}\n",
        "MF0123 hosts:1:3: a control character",
    );
}

#[test]
fn groups_that_are_nowhere_are_errors() {
    check(
        "hosts",
        "[db]\n[web:vars]\na=1\n",
        "MF0112 hosts:2:2: there is no group \"web\"",
    );
    check(
        "hosts",
        "[prod:children]\n  wbe\n[web]\n",
        "MF0112 hosts:2:3: there is no group \"wbe\"",
    );
}

#[test]
fn cycles_and_misuse_of_the_two_groups_are_errors() {
    check(
        "hosts",
        "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n",
        "MF0113 hosts:6:1: these groups contain each other: a > b > c > a",
    );
    check(
        "hosts",
        "[a:children]\na\n",
        "MF0113 hosts:2:1: these groups contain each other: a > a",
    );
    check(
        "hosts",
        "[a:children]\nall\n",
        "MF0109 hosts:2:1: \"all\" is no child of a group: 'all' contains every group, and is in none",
    );
    check(
        "hosts",
        "[a:children]\nungrouped\n",
        "MF0109 hosts:2:1: \"ungrouped\" is no child of a group: 'ungrouped' has the hosts that are in no group, and is in none itself",
    );
}

#[test]
fn names_that_could_mean_two_things_are_errors() {
    check(
        "hosts",
        "web\n[web]\nw1\n",
        "MF0117 hosts:1:1: web is a host and a group; the group is at hosts:2:2",
    );
}

#[test]
fn names_that_nothing_can_have_are_errors() {
    let character = "it has a character that no host name has";
    check(
        "hosts",
        "user@web\n",
        &format!("MF0109 hosts:1:1: \"user@web\" is no host name: {character}"),
    );
    check(
        "hosts",
        "[g]\nweb:\n",
        "MF0109 hosts:2:1: \"web:\" is no host name: it has a ':' that separates no port, and is no whole IPv6 address",
    );
    check(
        "hosts",
        "web[1:2\n",
        "MF0114 hosts:1:4: bad range: this '[' is never closed",
    );
    check(
        "hosts",
        "web[5:2]\n",
        "MF0114 hosts:1:4: bad range: it ends (2) before it begins (5)",
    );
    check(
        "hosts",
        "[w&b]\n",
        "MF0109 hosts:1:2: \"w&b\" is no group name: it has a character that patterns use, or that no group name should have",
    );
}

#[test]
fn yaml_that_ansible_skips_is_refused() {
    check(
        "h.yml",
        "web:\n  w1:\n",
        "MF0106 h.yml:2:3: unknown key \"w1\" in a group of Ansible's",
    );
    check(
        "h.yml",
        "web:\n  hosts: [w1]\n",
        "MF0107 h.yml:2:10: the hosts of web must be a mapping, not a list",
    );
    check(
        "h.yml",
        "web: w1\n",
        "MF0107 h.yml:1:6: group web must be a mapping, not \"w1\"",
    );
    check(
        "h.yml",
        "web:\n  hosts: {w1: , w1: }\n",
        "MF0108 h.yml:2:17: the key \"w1\" is given twice, first at h.yml:2:11",
    );
    check(
        "h.yml",
        "a:\n  vars: {on: 1}\n",
        "MF0104 h.yml:2:10: not valid YAML: this key is a boolean to YAML 1.1; quote it",
    );
    check(
        "h.yml",
        "a:\n  vars: {x: &x 1, y: &x 2}\n",
        "MF0104 h.yml:2:22: not valid YAML: this anchor is given twice",
    );
    check(
        "h.yml",
        "a:\n  children:\n    b:\n      children: {a: }\n",
        "MF0113 h.yml:4:18: these groups contain each other: a > b > a",
    );
    check(
        "h.yml",
        "a:\n  vars: {ansible_group_priority: high}\n",
        "MF0107 h.yml:2:10: ansible_group_priority must be a whole number, not \"high\"",
    );
}

#[test]
fn sources_in_no_format_that_is_read_say_what_they_look_like() {
    let next =
        "write what `ansible-inventory --list` prints for it into a .json file, and name that";
    check(
        "aws.yml",
        "plugin: amazon.aws.aws_ec2\nregions: [eu-1]\n",
        &format!(
            "MF0124 aws.yml is no inventory that is read here: it configures an inventory plugin, and plugins are not run; {next}"
        ),
    );
    check(
        "h.toml",
        "[web]\n",
        &format!(
            "MF0124 h.toml is no inventory that is read here: it is TOML by its name, which is not read; {next}"
        ),
    );
    check(
        "inv",
        "#!/bin/sh\n",
        "MF0124 inv is no inventory that is read here: it begins with #! as a script does, and may not be executed; chmod +x it if it is an executable inventory, or take the first line out",
    );
    check(
        "h.yml",
        "web: {hosts: {w1: }}\npolicy: {}\n",
        "MF0124 h.yml is no inventory that is read here: it has groups or a policy, as a native inventory does, behind the name of a group, as Ansible's YAML begins; begin a native inventory with `groups:`; in Ansible's YAML rename the group",
    );
    check(
        "hosts",
        "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
        "MF0127 hosts is encrypted by ansible-vault, and vaults are not opened; keep what is secret in a file of its own, or decrypt it with ansible-vault",
    );
    check(
        "h.json",
        "{\"web\": {\"hosts\": [}}",
        "MF0104 h.json:1:19: not valid YAML: mismatched bracket '[' closed by '}'",
    );
}

#[test]
fn an_encrypted_file_of_variables_is_known_by_name_and_cannot_be_listed() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("group_vars")).expect("a folder");
    let vault = dir.path().join("group_vars/web.yml");
    fs::write(&vault, "$ANSIBLE_VAULT;1.1;AES256\n6162\n").expect("written");
    let hosts = dir.path().join("hosts");
    fs::write(&hosts, "[web]\nw1\n").expect("written");
    let inventory = Inventory::load(&[hosts]).expect("good");
    assert_eq!(inventory.sealed(), [vault]);
    assert_eq!(
        inventory.ansible_list().expect_err("unknown").code(),
        "MF0127"
    );
}
