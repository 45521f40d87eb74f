//! Generated inventories: INI, YAML and what programs print, one or two sources with files of variables beside them, are listed as the real
//! program lists them. `MIDFLIGHT_ANSIBLE_CASES` asks for more of them than a normal run makes.

mod values;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use midflight_inventory::Inventory;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::real;
use values::{ini_values, json_values, yaml_values};

type Vars = Vec<(String, String)>;

/// A group by its number; it contains only groups with higher numbers.
#[derive(Clone, Debug)]
struct Group {
    children: Vec<usize>,
    hosts: Vec<(String, Vars)>,
    vars: Vars,
    priority: Option<i8>,
    /// The variables in its file, and how that ends.
    file: Option<(Vars, usize)>,
}

#[derive(Clone, Debug)]
struct Source {
    kind: Kind,
    groups: Vec<Group>,
    lone: Vec<(String, Vars)>,
    all: Vars,
    host_files: Vec<(String, Vars)>,
    /// In which order the sections come.
    order: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ini,
    Yaml,
    Program,
}

const GROUPS: usize = 6;

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-d][0-9]",
        1 => "[ab]\\[[0-4]:[5-9]\\]",
        1 => "c\\[0[0-4]:1[0-9]:[1-4]\\]\\.eu",
        1 => "[ab]\\[[a-c]:[d-f]\\]",
        1 => "d[0-9]:2[0-9]",
    ]
}

fn vars(values: BoxedStrategy<String>) -> impl Strategy<Value = Vars> {
    let one = ("[v-z]", values);
    vec(one, 0..4).prop_map(|mut vars| {
        // YAML takes a key once; INI does not mind.
        let mut seen = std::collections::HashSet::new();
        vars.retain(|(name, _)| seen.insert(name.clone()));
        vars
    })
}

fn group(number: usize, values: BoxedStrategy<String>) -> impl Strategy<Value = Group> {
    let hosts = vec((names(), vars(values.clone())), 0..4);
    let children = vec(number + 1..GROUPS + 1, 0..3);
    let file = proptest::option::of((vars(yaml_values()), 0..4usize));
    let priority = proptest::option::weighted(0.2, -2..4i8);
    (children, hosts, vars(values), priority, file).prop_map(
        |(children, hosts, vars, priority, file)| Group {
            children: children
                .into_iter()
                .filter(|child| *child < GROUPS)
                .collect(),
            hosts,
            vars,
            priority,
            file,
        },
    )
}

fn source() -> impl Strategy<Value = Source> {
    let kinds = vec![Kind::Ini, Kind::Ini, Kind::Yaml, Kind::Yaml, Kind::Program];
    prop::sample::select(kinds).prop_flat_map(|kind| {
        let values = match kind {
            Kind::Ini => ini_values(),
            Kind::Yaml => yaml_values(),
            Kind::Program => json_values(),
        };
        let groups: Vec<_> = (0..GROUPS)
            .map(|number| group(number, values.clone()))
            .collect();
        let lone = vec((names(), vars(values.clone())), 0..3);
        let host_files = vec(("[a-d][0-9]", vars(yaml_values())), 0..3);
        let order = Just((0..GROUPS * 3).collect::<Vec<_>>()).prop_shuffle();
        (groups, lone, vars(values), host_files, order).prop_map(
            move |(groups, lone, all, host_files, order)| Source {
                kind,
                groups,
                lone,
                all,
                host_files,
                order,
            },
        )
    })
}

fn quoted(value: &str) -> String {
    if value.contains([' ', '\'', '"', '\\', '#', '(', '{', '[']) {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

fn ini(source: &Source) -> String {
    let host = |(name, vars): &(String, Vars)| {
        let vars = vars
            .iter()
            .map(|(name, value)| format!(" {name}={}", quoted(value)));
        format!("{name}{}\n", vars.collect::<String>())
    };
    let var = |(name, value): &(String, String)| format!("{name} = {value}\n");
    let mut text: String = source.lone.iter().map(host).collect();
    for index in &source.order {
        let (number, kind) = (index / 3, index % 3);
        let group = &source.groups[number];
        match kind {
            // Every group has its section, so that every mention of it is good.
            0 => {
                writeln!(text, "[g{number}]").expect("a string");
                text.extend(group.hosts.iter().map(host));
            }
            1 if !group.children.is_empty() => {
                writeln!(text, "[g{number}:children]").expect("a string");
                text.extend(group.children.iter().map(|child| format!("g{child}\n")));
            }
            2 => {
                writeln!(text, "[g{number}:vars]").expect("a string");
                text.extend(group.vars.iter().map(var));
                if let Some(priority) = group.priority {
                    writeln!(text, "ansible_group_priority={priority}").expect("a string");
                }
            }
            _ => {}
        }
    }
    text.push_str("[all:vars]\n");
    text.extend(source.all.iter().map(var));
    text
}

fn yaml_vars(vars: &Vars, indent: usize) -> String {
    let indent = " ".repeat(indent);
    let lines = vars
        .iter()
        .map(|(name, value)| format!("{indent}'{name}': {value}\n"));
    lines.collect()
}

fn yaml_hosts(hosts: &[(String, Vars)]) -> String {
    let mut seen = std::collections::HashSet::new();
    let mut text = String::new();
    for (name, vars) in hosts.iter().filter(|(name, _)| seen.insert(name.clone())) {
        writeln!(text, "    '{name}':").expect("a string");
        text.push_str(&yaml_vars(vars, 6));
    }
    text
}

/// A group, with some of its children written within it, each where it comes first.
fn yaml_group(source: &Source, number: usize, indent: usize, written: &mut Vec<usize>) -> String {
    written.push(number);
    let group = &source.groups[number];
    let margin = " ".repeat(indent);
    let mut text = format!("{margin}g{number}:\n{margin}  vars:\n");
    text.push_str(&yaml_vars(&group.vars, indent + 4));
    if let Some(priority) = group.priority {
        writeln!(text, "{margin}    ansible_group_priority: {priority}").expect("a string");
    }
    let mut hosts = format!("{margin}  hosts:\n");
    for line in yaml_hosts(&group.hosts).lines() {
        writeln!(hosts, "{margin}{line}").expect("a string");
    }
    let mut children = group.children.clone();
    children.sort_unstable_by_key(|child| source.order.get(*child).copied());
    children.dedup();
    let mut below = format!("{margin}  children:\n");
    for child in children {
        match (number + child).is_multiple_of(2) && !written.contains(&child) {
            true => below.push_str(&yaml_group(source, child, indent + 4, written)),
            false => writeln!(below, "{margin}    g{child}:").expect("a string"),
        }
    }
    // The order of the keys counts too.
    match number.is_multiple_of(2) {
        true => text + &below + &hosts,
        false => text + &hosts + &below,
    }
}

fn yaml(source: &Source) -> String {
    let mut text = "all:\n  hosts:\n".to_owned();
    text.push_str(&yaml_hosts(&source.lone));
    text.push_str("  vars:\n");
    text.push_str(&yaml_vars(&source.all, 4));
    let mut written = Vec::new();
    for index in source.order.iter().filter(|index| **index % 3 == 0) {
        if !written.contains(&(index / 3)) {
            text.push_str(&yaml_group(source, index / 3, 0, &mut written));
        }
    }
    text
}

/// What a program prints for the same groups; a name with a range in it is one that a program would not print.
fn printed(source: &Source) -> String {
    let plain = |hosts: &[(String, Vars)]| -> Vec<(String, Vars)> {
        let named = hosts.iter().filter(|(name, _)| !name.contains(['[', ':']));
        named.cloned().collect()
    };
    let list = |names: &mut dyn Iterator<Item = String>| {
        let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let map = |vars: &Vars| {
        let vars = vars
            .iter()
            .map(|(name, value)| format!("\"{name}\": {value}"));
        format!("{{{}}}", vars.collect::<Vec<_>>().join(", "))
    };
    let mut hostvars = std::collections::BTreeMap::new();
    let mut groups = Vec::new();
    for index in source.order.iter().filter(|index| **index % 3 == 0) {
        let number = index / 3;
        let group = &source.groups[number];
        let hosts = plain(&group.hosts);
        let children = group.children.iter().map(|child| format!("g{child}"));
        groups.push(format!(
            "\"g{number}\": {{\"hosts\": {}, \"vars\": {}, \"children\": {}}}",
            list(&mut hosts.iter().map(|(name, _)| name.clone())),
            map(&group.vars),
            list(&mut children.into_iter()),
        ));
        hostvars.extend(hosts);
    }
    let lone = plain(&source.lone);
    groups.push(format!(
        "\"all\": {{\"hosts\": {}, \"vars\": {}}}",
        list(&mut lone.iter().map(|(name, _)| name.clone())),
        map(&source.all)
    ));
    hostvars.extend(lone);
    let hostvars: Vec<String> = hostvars
        .iter()
        .map(|(name, vars)| format!("\"{name}\": {}", map(vars)))
        .collect();
    groups.push(format!(
        "\"_meta\": {{\"hostvars\": {{{}}}}}",
        hostvars.join(", ")
    ));
    format!("{{{}}}", groups.join(",\n "))
}

fn write(dir: &Path, source: &Source) -> PathBuf {
    fs::create_dir_all(dir.join("group_vars")).expect("a folder");
    fs::create_dir_all(dir.join("host_vars")).expect("a folder");
    for (number, group) in source.groups.iter().enumerate() {
        let Some((vars, end)) = &group.file else {
            continue;
        };
        let end = ["", ".yml", ".yaml", ".json"][*end];
        let path = dir.join(format!("group_vars/g{number}{end}"));
        fs::write(path, yaml_vars(vars, 0)).expect("written");
    }
    for (host, vars) in &source.host_files {
        let path = dir.join(format!("host_vars/{host}.yml"));
        fs::write(path, yaml_vars(vars, 0)).expect("written");
    }
    let (name, text) = match source.kind {
        Kind::Yaml => ("hosts.yml", yaml(source)),
        Kind::Ini => ("hosts", ini(source)),
        Kind::Program => (
            "program",
            format!("#!/bin/sh\ncat <<'END'\n{}\nEND\n", printed(source)),
        ),
    };
    let _alone = real::STARTING
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    fs::write(dir.join(name), text).expect("written");
    let mode = if source.kind == Kind::Program {
        0o755
    } else {
        0o644
    };
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).expect("permitted");
    dir.join(name)
}

/// How many cases a run makes.
pub fn count() -> usize {
    let count = std::env::var("MIDFLIGHT_ANSIBLE_CASES").ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(30)
}

/// Lines of INI, good and bad, in any order.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "[ ]{0,2}[ab][0-9]?( [x-z]=[a-z0-9']{0,3}){0,2}",
        2 => "\\[(p|q|g|h)(:(hosts|children|vars))?\\]( ?#c)?",
        1 => "\\[(p|q|g|h|all|ungrouped)(:(children|vars|other))?\\]",
        2 => "(g|h|p)( #c)?",
        2 => "[x-z] ?= ?[0-9a-z'\"]{0,4}( #c)?",
        1 => "[#;][a-z]{0,3}",
        1 => "[ab]\\[[0-9]{0,2}:[0-9]{1,2}(:[0-9])?\\](:[0-9]{1,3})?( x=1)?",
        1 => "[ab]\\[[a-c]:[a-d](:[12])?\\][x.]?( y=2)?",
        1 => "[a-b:._-]{1,5}(:22)?",
        1 => "\\[?(2001:db8)?::[0-9]{1,2}\\]?(:22)?",
        1 => "[ab] [x-z]=['\"]?[a-z ]{0,3}['\"]?( #c)?",
        1 => "[ab]#c [x-z]=\\\\?[ '\"]",
    ];
    vec(line, 1..12).prop_map(|lines| lines.join("\n") + "\n")
}

#[test]
fn what_is_read_of_lines_at_random_ansible_reads_alike_and_without_a_warning() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut runner = TestRunner::deterministic();
    let strategy = lines();
    let mut cases = Vec::new();
    let mut ours = Vec::new();
    // Most texts have a line that is refused: those that are read are the ones to compare.
    for number in 0..count() * 200 {
        let text = strategy.new_tree(&mut runner).expect("a case").current();
        let path = dir.path().join(number.to_string()).join("hosts");
        fs::create_dir(dir.path().join(number.to_string())).expect("a folder");
        fs::write(&path, &text).expect("written");
        if let Ok(inventory) = Inventory::load(std::slice::from_ref(&path)) {
            ours.push((
                text,
                inventory.ansible_list().expect("nothing is encrypted"),
            ));
            cases.push(vec![path]);
        }
        if cases.len() == count() {
            break;
        }
    }
    assert_eq!(cases.len(), count(), "too few texts are read");
    for ((text, ours), (listing, complaints)) in ours.iter().zip(real::listings(&cases)) {
        let listing = listing.unwrap_or_else(|| panic!("{text}\n{complaints}"));
        assert!(!complaints.contains("WARNING"), "{text}\n{complaints}");
        real::compare(text, ours, &listing);
    }
}

#[test]
fn generated_inventories_are_listed_as_ansible_inventory_lists_them() {
    let count = count();
    let dir = tempfile::tempdir().expect("a folder");
    let mut runner = TestRunner::deterministic();
    let strategy = vec(source(), 1..3);
    let mut cases = Vec::new();
    for number in 0..count {
        let sources = strategy.new_tree(&mut runner).expect("a case").current();
        let written = sources
            .iter()
            .enumerate()
            .map(|(which, source)| write(&dir.path().join(format!("{number}/{which}")), source));
        cases.push(written.collect::<Vec<PathBuf>>());
    }
    let mut compared = 0;
    for (sources, (listing, complaints)) in cases.iter().zip(real::listings(&cases)) {
        let texts = || -> String {
            let read = |path: &PathBuf| fs::read_to_string(path).expect("text");
            sources
                .iter()
                .map(|path| format!("{}:\n{}\n", path.display(), read(path)))
                .collect()
        };
        // What the real program cannot list, or lists only in part, says nothing.
        let Some(listing) = listing.filter(|_| !complaints.contains("WARNING")) else {
            continue;
        };
        compared += 1;
        let inventory = {
            let _alone = real::STARTING
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Inventory::load(sources)
        };
        let inventory = inventory.unwrap_or_else(|error| panic!("{error}\n{}", texts()));
        let ours = inventory.ansible_list().expect("nothing is encrypted");
        real::compare(&texts(), &ours, &listing);
    }
    println!("compared {compared} of {count}");
    assert!(
        compared * 2 >= count,
        "only {compared} of {count} can be compared"
    );
}
