//! Ansible's inventories: read as `ansible-inventory` reads them, listed as it lists them, and refused where it warns.

mod connections;
mod generated;
mod programs;
mod real;
mod refusals;
mod scalars;

use std::fs;
use std::path::PathBuf;

use midflight_inventory::Inventory;

/// Each folder of the corpus is a case; the file `sources` in it names what `-i` is given.
fn cases() -> Vec<(String, Vec<PathBuf>)> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(real::corpus()).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let sources = fs::read_to_string(path.join("sources")).expect("the file sources");
        let sources = sources.lines().map(|source| path.join(source)).collect();
        let name = path.file_name().expect("a name").to_string_lossy();
        cases.push((name.into_owned(), sources));
    }
    cases.sort();
    cases
}

#[test]
fn the_corpus_is_listed_as_ansible_inventory_lists_it() {
    let cases = cases();
    assert!(cases.len() >= 19, "{} cases", cases.len());
    let sources: Vec<_> = cases.iter().map(|(_, sources)| sources.clone()).collect();
    let real = real::listings(&sources);
    for ((name, sources), (listing, complaints)) in cases.iter().zip(real) {
        let listing = listing.unwrap_or_else(|| panic!("{name}: {complaints}"));
        let inventory = Inventory::load(sources).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ours = inventory.ansible_list().expect("nothing is encrypted");
        real::compare(name, &ours, &listing);
    }
}

#[test]
fn hosts_keep_the_order_of_the_sources() {
    let inventory = Inventory::load(&[real::corpus().join("ini-order/hosts")]).expect("good");
    let names: Vec<&str> = inventory.hosts().iter().map(|host| host.name()).collect();
    assert_eq!(names, ["h2", "h1", "h3", "u2", "u1", "only_all"]);
    let group = inventory.group("ungrouped").expect("always there");
    let ungrouped = inventory.members(group);
    let names: Vec<&str> = ungrouped.into_iter().map(|host| host.name()).collect();
    assert_eq!(names, ["u2", "u1", "only_all"]);
}

#[test]
fn a_native_inventory_is_listed_as_ansible_would_list_it() {
    let text =
        "vars: {a: 1}\ngroups: {web: {hosts: {w1: {vars: {b: x}}}}, prod: {children: [web]}}\n";
    let inventory = Inventory::parse(text, "inv.yaml").expect("good");
    insta::assert_snapshot!(inventory.ansible_list().expect("a list"), @r#"
    {
        "_meta": {
            "hostvars": {
                "w1": {
                    "a": 1,
                    "b": "x"
                }
            }
        },
        "all": {
            "children": [
                "ungrouped",
                "prod"
            ]
        },
        "prod": {
            "children": [
                "web"
            ]
        },
        "web": {
            "hosts": [
                "w1"
            ]
        }
    }
    "#);
}

#[test]
fn a_source_is_told_by_its_name_and_by_its_first_words() {
    let ini = "# a comment\n\n[web]\nw1\n";
    let yaml = "# a comment\n---\nweb:\n  hosts: {w1: }\n";
    let native = "# a comment\n---\ngroups:\n  web:\n    hosts: {w1: }\n";
    let printed = "{\"web\": {\"hosts\": [\"w1\"]}, \"_meta\": {}}";
    let json = "{\n  \"web\": {\"hosts\": {\"w1\": null}}\n}";
    let native_json = "{\n  \"groups\": {\"web\": {\"hosts\": {\"w1\": null}}}\n}";
    for (name, text, is_native) in [
        ("hosts", ini, false),
        ("hosts.ini", ini, false),
        ("production.eu", ini, false),
        ("hosts", yaml, false),
        ("hosts.yml", yaml, false),
        ("hosts.ini", yaml, false),
        ("fleet", native, true),
        ("fleet.yaml", native, true),
        ("hosts", printed, false),
        ("hosts.json", printed, false),
        ("hosts.json", json, false),
        ("fleet.json", native_json, true),
    ] {
        let inventory =
            Inventory::parse_any(text, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let group = inventory.group("web").expect("every one has it");
        let names: Vec<&str> = inventory
            .members(group)
            .iter()
            .map(|host| host.name())
            .collect();
        assert_eq!(names, ["w1"], "{name}\n{text}");
        // Ansible always has this group, and the native format has what is written.
        assert_eq!(
            inventory.group("ungrouped").is_none(),
            is_native,
            "{name}\n{text}"
        );
    }
}

#[test]
fn half_a_million_hosts_with_variables_are_admitted() {
    let mut text = String::new();
    for group in 0..200 {
        text.push_str(&format!("[g{group}]\n"));
        for host in 0..2500 {
            text.push_str(&format!(
                "h{group}-{host}.example.com ansible_host=10.0.{group}.{} rack=r{}\n",
                host % 250,
                host % 40
            ));
        }
        text.push_str(&format!("[g{group}:vars]\ntier=t{group}\n"));
    }
    let inventory = Inventory::parse_any(&text, "hosts").expect("within the limits");
    assert_eq!(inventory.hosts().len(), 500_000);
    let host = inventory.host("h199-2499.example.com").expect("the last");
    assert_eq!(host.address(), "10.0.199.249");
    assert_eq!(
        host.var("tier").and_then(|tier| tier.as_str()),
        Some("t199")
    );
}
