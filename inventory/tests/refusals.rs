//! Everything that a native file can get wrong, with the place that the error names.

use std::path::PathBuf;

use midflight_inventory::{Error, Inventory};

fn refused(text: &str) -> Error {
    Inventory::parse(text, "inv.yaml").expect_err("this file is wrong")
}

/// Code and first line of each error.
fn first_line(text: &str) -> String {
    let error = refused(text);
    format!(
        "{} {}",
        error.code(),
        error.to_string().lines().next().unwrap_or("")
    )
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(first_line(text), expected, "\n{text}");
}

#[test]
fn a_host_listed_twice_in_a_group_names_both_places() {
    let text = "groups:\n  web:\n    hosts:\n      web1:\n      web2:\n      web1:\n";
    check(
        text,
        "MF0110 inv.yaml:6:7: host web1 is listed twice in group web, first at inv.yaml:4:7",
    );
    let text = "groups:\n  web:\n    hosts: {\"web[1:9]\": {}, web5: {port: 1}}\n";
    check(
        text,
        "MF0110 inv.yaml:3:29: host web5 is listed twice in group web, first at inv.yaml:3:13",
    );
    let text = "groups:\n  web:\n    hosts: {\"web[1:9]\": {zone: a}, web5: {port: 1}}\n";
    check(
        text,
        "MF0110 inv.yaml:3:36: host web5 is listed twice in group web, first at inv.yaml:3:13",
    );
}

#[test]
fn settings_in_two_groups_name_both_places() {
    let text =
        "groups:\n  web:\n    hosts: {a: {zone: x}}\n  db:\n    hosts:\n      a: {port: 7}\n";
    check(
        text,
        "MF0111 inv.yaml:6:7: host a has settings in two places, first at inv.yaml:3:13",
    );
}

#[test]
fn an_unknown_child_is_named_with_a_close_group() {
    let error = refused("groups:\n  web:\n  prod:\n    children: [web, wbe]\n");
    assert_eq!(
        error.to_string(),
        "inv.yaml:4:21: there is no group \"wbe\"\n 4 |     children: [web, wbe]\n   |                     ^\n did you mean web?"
    );
    assert_eq!(error.code(), "MF0112");
}

#[test]
fn a_cycle_names_its_path_and_the_child_that_closes_it() {
    let text = "groups:\n  a:\n    children: [b]\n  b:\n    children: [d, c]\n  c:\n    children:\n      - a\n  d:\n";
    check(
        text,
        "MF0113 inv.yaml:8:9: these groups contain each other: a > b > c > a",
    );
    check(
        "groups: {a: {children: [a]}}",
        "MF0113 inv.yaml:1:25: these groups contain each other: a > a",
    );
}

#[test]
fn a_bad_range_is_pointed_at_inside_its_name() {
    let error = refused("groups:\n  web:\n    hosts:\n      \"web[1:3].r[9:1]\": {}\n");
    assert_eq!(
        error.to_string(),
        "inv.yaml:4:18: bad range: it ends (1) before it begins (9)\n 4 |       \"web[1:3].r[9:1]\": {}\n   |                  ^\n \
         write [first:last] or [first:last:step], such as [001:500], [0:10:2] or [a:f]"
    );
    check(
        "groups: {w: {hosts: {'a[1:2': {}}}}",
        "MF0114 inv.yaml:1:24: bad range: this '[' is never closed",
    );
    check(
        "groups: {w: {hosts: {'a[1]': {}}}}",
        "MF0114 inv.yaml:1:24: bad range: \"1\" has no ':'",
    );
    check(
        "groups: {w: {hosts: {a]: {}}}}",
        "MF0104 inv.yaml:1:21: not valid YAML: mismatched bracket '{' closed by ']'",
    );
    // With an escape in the quotes, columns and characters differ: the whole name is pointed at.
    check(
        "groups: {w: {hosts: {\"\\x61[1]\": {}}}}",
        "MF0114 inv.yaml:1:22: bad range: \"1\" has no ':'",
    );
    let text = "groups:\n  w:\n    hosts:\n      \"a[1:3]\":\n        address: 10.0.0.[1:z]\n";
    check(
        text,
        "MF0114 inv.yaml:5:25: bad range: \"z\" is neither a number nor, with the other end, a pair of letters",
    );
}

#[test]
fn addresses_must_be_as_many_as_hosts() {
    let text = "groups:\n  w:\n    hosts:\n      \"a[1:3]\": {address: \"10.0.0.[1:4]\"}\n";
    check(text, "MF0116 inv.yaml:4:27: 4 addresses for 3 hosts");
    check(
        "groups: {w: {hosts: {\"a[1:3]\": {address: x}}}}",
        "MF0116 inv.yaml:1:42: 1 addresses for 3 hosts",
    );
}

#[test]
fn too_many_hosts_are_counted_before_they_exist() {
    check(
        "groups: {w: {hosts: {'a[0:1000000]': {}}}}",
        "MF0115 inv.yaml:1:22: 1000001 hosts are more than the 1000000 that a range may name",
    );
    check(
        "groups: {w: {hosts: {'a[1:1000000]': {}, 'b[1:1000000]': {}, c: {}}}}",
        "MF0115 inv.yaml:1:62: 2000001 hosts are more than the 2000000 that an inventory may name",
    );
}

#[test]
fn unknown_keys_are_refused_where_they_stand() {
    check(
        "group: {}\n",
        "MF0106 inv.yaml:1:1: unknown key \"group\" in an inventory",
    );
    check(
        "groups:\n  w: {host: {}}\n",
        "MF0106 inv.yaml:2:7: unknown key \"host\" in a group",
    );
    let error = refused("groups:\n  w:\n    hosts:\n      a: {zone: z, adress: b}\n");
    assert_eq!(
        error.to_string(),
        "inv.yaml:4:20: unknown key \"adress\" in a host\n 4 |       a: {zone: z, adress: b}\n   |                    ^\n \
         known keys here: address, port, transport, ssh, zone, vars"
    );
}

#[test]
fn values_of_another_kind_are_refused_where_they_stand() {
    check(
        "[]",
        "MF0107 inv.yaml:1:1: an inventory must be a mapping, not a list",
    );
    check(
        "groups: [w]",
        "MF0107 inv.yaml:1:9: groups must be a mapping, not a list",
    );
    check(
        "vars: 3",
        "MF0107 inv.yaml:1:7: vars must be a mapping, not 3",
    );
    check(
        "policy: [1]",
        "MF0107 inv.yaml:1:9: the policy must be a mapping, not a list",
    );
    check(
        "groups: {w: {hosts: [a]}}",
        "MF0107 inv.yaml:1:21: the hosts of w must be a mapping, not a list",
    );
    check(
        "groups: {w: {hosts: {a: b}}}",
        "MF0107 inv.yaml:1:25: host a must be a mapping, not \"b\"",
    );
    check(
        "groups: {w: {children: x}}",
        "MF0107 inv.yaml:1:24: children of w must be a list of group names, not \"x\"",
    );
    check(
        "groups: {w: {children: [7]}}",
        "MF0107 inv.yaml:1:25: a child of w must be the name of a group, not 7",
    );
    let host =
        |settings: &str| first_line(&format!("groups: {{w: {{hosts: {{a: {{{settings}}}}}}}}}"));
    let port = "MF0107 inv.yaml:1:32: the port of host a must be a number from 1 to 65535, not";
    assert_eq!(host("port: 0"), format!("{port} 0"));
    assert_eq!(host("port: 65536"), format!("{port} 65536"));
    assert_eq!(host("port: '80'"), format!("{port} \"80\""));
    assert_eq!(
        host("transport: telnet"),
        "MF0107 inv.yaml:1:37: the transport of host a must be grpc or ssh, not \"telnet\""
    );
    assert_eq!(
        host("zone: 1"),
        "MF0107 inv.yaml:1:32: the zone of host a must be text (quote it), not 1"
    );
    assert_eq!(
        host("zone:"),
        "MF0107 inv.yaml:1:30: the zone of host a must be text, not nothing"
    );
    assert_eq!(
        host("vars: []"),
        "MF0107 inv.yaml:1:32: vars of host a must be a mapping, not a list"
    );
}

#[test]
fn keys_given_twice_name_both_places() {
    check(
        "vars: {}\nvars: {}\n",
        "MF0108 inv.yaml:2:1: the key \"vars\" is given twice, first at inv.yaml:1:1",
    );
    check(
        "groups: {w: {}, w: {}}",
        "MF0108 inv.yaml:1:17: the key \"w\" is given twice, first at inv.yaml:1:10",
    );
    check(
        "vars: {a: {b: 1, b: 2}}",
        "MF0108 inv.yaml:1:18: the key \"b\" is given twice, first at inv.yaml:1:12",
    );
}

#[test]
fn names_that_patterns_could_not_name_are_refused() {
    let host = |name: &str| first_line(&format!("groups:\n  w:\n    hosts:\n      {name}: {{}}\n"));
    let character = "it has a character that patterns use, or that no host name has";
    assert_eq!(
        host("'a b'"),
        format!("MF0109 inv.yaml:4:7: \"a b\" is no host name: {character}")
    );
    assert_eq!(
        host("'a:b'"),
        format!("MF0109 inv.yaml:4:7: \"a:b\" is no host name: {character}")
    );
    assert_eq!(
        host("\"a\\e[1:2]\""),
        format!("MF0109 inv.yaml:4:7: \"a\\u{{1b}}[1:2]\" is no host name: {character}")
    );
    assert_eq!(
        host("-a"),
        "MF0109 inv.yaml:4:7: \"-a\" is no host name: it begins with '.' or '-'"
    );
    assert_eq!(
        host("''"),
        "MF0109 inv.yaml:4:7: \"\" is no host name: it is empty"
    );
    assert_eq!(
        host("all"),
        "MF0109 inv.yaml:4:7: \"all\" is no host name: 'all' means every host"
    );
    assert_eq!(
        host("'[a:b]ll'"),
        "MF0109 inv.yaml:4:7: \"all\" is no host name: 'all' means every host"
    );
    assert_eq!(
        host(&"x".repeat(254)),
        format!(
            "MF0109 inv.yaml:4:7: \"{}\"… is no host name: it is longer than 253 characters",
            "x".repeat(80)
        )
    );
    check(
        "groups: {'w[1:2]': {}}",
        "MF0109 inv.yaml:1:10: \"w[1:2]\" is no group name: a group cannot be a range",
    );
    check(
        "groups: {all: {}}",
        "MF0109 inv.yaml:1:10: \"all\" is no group name: 'all' means every host",
    );
    check(
        "groups: {w: {hosts: {a: {address: 'h:1/x'}}}}",
        "MF0109 inv.yaml:1:35: \"h:1/x\" is no address: it has a character that neither a DNS name nor an IP address has",
    );
    check(
        "groups: {a: {hosts: {b: {}}}, b: {}}",
        "MF0117 inv.yaml:1:22: b is a host and a group; the group is at inv.yaml:1:31",
    );
}

#[test]
fn broken_yaml_names_the_place() {
    let error = refused("groups:\n  web: {hosts: {a: }\n  db:\n");
    assert_eq!(error.code(), "MF0104");
    assert_eq!(
        error.place().map(|place| (place.line(), place.column())),
        Some((3, 3)),
        "{error}"
    );
    check(
        "a: *nobody",
        "MF0104 inv.yaml:1:4: not valid YAML: reference to unknown value",
    );
    let documents = "not valid YAML: only single YAML document expected but multiple found";
    check(
        "---\n{}\n---\n{}\n",
        &format!("MF0104 inv.yaml:4:1: {documents}"),
    );
    check(
        "? [a]\n: b\n",
        "MF0104 inv.yaml:1:3: not valid YAML: expected string scalar",
    );
    check(
        "vars: {a: !secret x}",
        "MF0104 inv.yaml:1:19: not valid YAML: unsupported tag `!secret`",
    );
    check(
        "vars: {a: .nan}",
        "MF0104 inv.yaml:1:11: not valid YAML: value `.nan` is not a finite number",
    );
    check(
        "vars: {~: x}",
        "MF0104 inv.yaml:1:8: not valid YAML: null is not allowed here",
    );
}

#[test]
fn a_file_that_is_too_complex_says_which_limit() {
    let deep = format!("vars: {}", "[".repeat(40));
    check(
        &deep,
        "MF0105 inv.yaml:1:39: the file is too complex: it is nested more than 32 deep",
    );
    let many = "- a\n".repeat(500_001);
    check(
        &many,
        "MF0105 inv.yaml:500000:3: the file is too complex: it has more than 500000 nodes",
    );
}

#[test]
fn files_are_read_together_and_named_in_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    let a = file(
        "a.yaml",
        b"vars: {x: 1}\ngroups:\n  web:\n    hosts: {web1: {zone: eu}}\n",
    );
    let b = file(
        "b.yaml",
        b"groups:\n  web:\n    hosts: {web2: }\n  prod: {children: [web]}\n",
    );
    let both = Inventory::load(&[a.clone(), b]).expect("two good files");
    assert_eq!(
        both.hosts()
            .iter()
            .map(|host| host.name())
            .collect::<Vec<_>>(),
        ["web1", "web2"]
    );
    assert_eq!(
        both.host("web2")
            .map(|host| host.groups().collect::<Vec<_>>()),
        Some(vec!["prod", "web"])
    );

    let error =
        |path: PathBuf| Inventory::load(&[a.clone(), path]).expect_err("the second file is wrong");
    let again = error(file(
        "again.yaml",
        b"groups:\n  web:\n    hosts: {web1: }\n",
    ));
    assert_eq!(again.code(), "MF0110");
    assert!(
        again.to_string().contains("again.yaml:3:13: host web1"),
        "{again}"
    );
    assert!(again.to_string().contains("a.yaml:4:13\n"), "{again}");
    let var = error(file("var.yaml", b"vars:\n  x: 2\n"));
    assert_eq!(
        (var.code(), var.place().map(|p| (p.line(), p.column()))),
        ("MF0108", Some((2, 3)))
    );
    let latin = error(file("latin.yaml", b"groups:\n  w\xe9b: {}\n"));
    assert_eq!(
        (latin.code(), latin.place().map(|p| (p.line(), p.column()))),
        ("MF0103", Some((2, 4)))
    );
    assert_eq!(error(dir.path().join("none.yaml")).code(), "MF0101");
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    assert_eq!(error(empty).code(), "MF0124");

    let one = file("p1.yaml", b"policy: {waves: [1]}\n");
    let two = file("p2.yaml", b"\npolicy: {waves: [2]}\n");
    let error = Inventory::load(&[one, two]).expect_err("two policies");
    assert_eq!(
        (error.code(), error.place().map(|p| (p.line(), p.column()))),
        ("MF0108", Some((2, 1)))
    );
}

#[test]
fn a_long_line_is_cropped_around_the_caret() {
    let text = format!("vars: {{a: {:?}, b: 1, b: 2}}", "x".repeat(5000));
    let error = refused(&text).to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines[1].len() < 110, "{error}");
    let caret = lines[2].find('^').expect("a caret");
    assert_eq!(&lines[1][caret..=caret], "b");
}
