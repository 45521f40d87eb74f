//! YAML in all its styles: what is read of it, PyYAML reads alike and Ansible without a warning.

use std::fs;

use midflight_inventory::Inventory;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::{generated, real};

/// Values as they stand behind a key, with the line's end.
fn values() -> impl Strategy<Value = String> {
    let word = "[a-z0-9][a-z0-9:#,!&*?|>@%'\"{}\\[\\] .-]{0,7}";
    let line = "[ ]{0,2}[a-z#:-]{0,6}[ ]{0,1}";
    let block = ("[|>][-+]?( #c)?", vec(line, 1..4), "\n{0,2}").prop_map(|(head, lines, end)| {
        let lines = lines.into_iter().map(|line| format!("  {line}\n"));
        format!("{head}\n{}{end}", lines.collect::<String>())
    });
    let several =
        vec("[a-z][a-z0-9 ]{0,5}[a-z]", 2..4).prop_map(|lines| lines.join("\n   ") + "\n");
    let escapes = prop::sample::select(vec![
        "\\n", "\\t", "\\\\", "\\\"", "\\x41", "\\u00e9", "\\/", "\\e", "\\0", "\\_", "a", " ",
        "\n   ", "\n\n   ", "\\\n   ", "'",
    ]);
    let double = vec(escapes, 0..5).prop_map(|parts| format!("\"{}\"\n", parts.concat()));
    let single = vec(
        prop::sample::select(vec!["''", "a", "\"", " ", "\\n", "\n   ", "#"]),
        0..5,
    )
    .prop_map(|parts| format!("'{}'\n", parts.concat()));
    let scalar = "([a-c0-9]{1,3}|'[a-c ]{0,2}'|\"[a-c]\"|~|yes|)";
    let list = vec(scalar, 0..4).prop_map(|items| format!("[{}]\n", items.join(", ")));
    let lines = vec(scalar, 1..4).prop_map(|items| format!("[{}]\n", items.join(",\n   ")));
    let map = vec(("[a-c]", scalar), 0..3).prop_map(|items| {
        let items = items
            .into_iter()
            .map(|(key, value)| format!("{key}: {value}"));
        format!("{{{}}}\n", items.collect::<Vec<_>>().join(", "))
    });
    let items = vec(scalar, 1..4).prop_map(|items| {
        let items = items.into_iter().map(|item| format!("  - {item}\n"));
        format!("\n{}", items.collect::<String>())
    });
    let tagged = (
        "(!!str|!!int|!!float|!!bool|!!null|!unsafe|!vault|!)",
        scalar,
    )
        .prop_map(|(tag, value)| format!("{tag} {value}\n"));
    let anchored = prop::sample::select(vec![
        "&x 1\n",
        "&x [a, b]\n",
        "&x {a: 1}\n",
        "*x\n",
        "[*x, *x]\n",
        "{<<: *x, b: 2}\n",
        "{<<: [*x, {c: 3}]}\n",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        2 => word.prop_map(|word| format!("{word}\n")),
        3 => block,
        1 => several,
        2 => double,
        1 => single,
        1 => list,
        1 => lines,
        1 => map,
        1 => items,
        1 => tagged,
        1 => anchored,
    ]
}

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z]{1,2}",
        1 => "'[a-z ]{1,3}'",
        1 => "\"[a-z]\\\\x41\"",
        1 => "[a-z] [a-z]",
        1 => "[a-z][-.#:][a-z]",
    ]
}

#[test]
fn yaml_in_any_style_is_read_as_ansible_reads_it_or_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut runner = TestRunner::deterministic();
    let strategy = vec((keys(), values()), 1..5).prop_map(|entries| {
        let entries = entries
            .into_iter()
            .map(|(key, value)| format!("{key}: {value}"));
        entries.collect::<String>()
    });
    let (mut cases, mut ours, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..generated::count() * 100 {
        let text = strategy.new_tree(&mut runner).expect("a case").current();
        let case = dir.path().join(number.to_string());
        fs::create_dir_all(case.join("group_vars")).expect("a folder");
        fs::write(case.join("group_vars/all.yml"), &text).expect("written");
        fs::write(case.join("hosts"), "h\n").expect("written");
        if let Ok(inventory) = Inventory::load(&[case.join("hosts")]) {
            ours.push(inventory.ansible_list().expect("nothing is encrypted"));
            texts.push(text);
            cases.push(vec![case.join("hosts")]);
        }
        if cases.len() == generated::count() {
            break;
        }
    }
    assert_eq!(cases.len(), generated::count(), "too few texts are read");
    for ((text, ours), (listing, complaints)) in texts.iter().zip(&ours).zip(real::listings(&cases))
    {
        let listing = listing.unwrap_or_else(|| panic!("{text}\n{complaints}"));
        assert!(!complaints.contains("WARNING"), "{text}\n{complaints}");
        real::compare(text, ours, &listing);
    }
}
