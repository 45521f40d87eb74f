//! Node sets against the real `nodeset` of ClusterShell: expanding, folding, operators, and what neither accepts.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use midflight_inventory::{expand, fold_nodes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Expands many node sets with one run of ClusterShell's own library, the one that `nodeset` is made of. A line it refuses is
/// `None`. Groups are not resolved.
fn theirs(sets: &[String]) -> Vec<Option<BTreeSet<String>>> {
    let script = "\
import sys
from ClusterShell.NodeSet import NodeSet, RESOLVER_NOGROUP
for line in sys.stdin.read().split('\\n')[:-1]:
    try:
        print('ok ' + ' '.join(NodeSet(line, resolver=RESOLVER_NOGROUP)))
    except Exception:
        print('no')
";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut stdin = child.stdin.take().expect("piped");
    let text: String = sets.iter().map(|set| format!("{set}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("python3 ends");
    writer.join().expect("no panic").expect("written");
    assert!(
        output.status.success(),
        "is python3-clustershell installed? (make needs)"
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<_> = text
        .lines()
        .map(|line| {
            let names = line.strip_prefix("ok")?;
            Some(names.split_whitespace().map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(answers.len(), sets.len());
    answers
}

fn ours(set: &str) -> Option<BTreeSet<String>> {
    expand(set).ok().map(|names| names.into_iter().collect())
}

#[test]
fn the_corpus_expands_as_nodeset_expands_it() {
    let sets = [
        "node[001-500,600]",
        "n[1-2]c[1-3]",
        "n[0-10/2]",
        "n[001-100/33]",
        "a[1-5],b1!a3",
        "a[1-5]&a[3-9]",
        "a[1-5]^a[4-7]",
        "a[1-5],a7!a[2-3]&a[1-3]",
        "n[1-3]0",
        "n[9-11]",
        "n[09-11]",
        "n[1,01]",
        "n[0099-0101]",
        "n1[2-3]",
        "n[5]",
        "n[1,1]",
        "[1-3]",
        "n0[1-2]",
        "n00[8-9]",
        "n[ 1-3 , 7 ]",
        " a , b ",
        "a ! b",
        "a-[1-2]-b",
        "n[1-2/1]",
        "n[01-03/2]",
        "n[1-5,3]",
        "n[1-3]x,n[2-5]x",
        "n[1-2]0c",
        "n[9-10]0",
        "n[08-09]0",
        "n[1-2]c[3]",
        "login,r[1-2]-n[01-03]-ib,login!r2-n02-ib",
        "n[1-3]x[1-2]y[0-1]&n2x1y[0-5]",
    ]
    .map(str::to_owned);
    for (set, theirs) in sets.iter().zip(theirs(&sets)) {
        assert!(theirs.is_some(), "{set} is a node set");
        assert_eq!(ours(set), theirs, "{set}");
    }
}

#[test]
fn what_nodeset_refuses_is_refused() {
    let sets = [
        "node[01-3]",
        "n[01-100]",
        "n[1-010]",
        "n[1-3/0]",
        "n[3-1]",
        "n[1",
        "n]",
        "n[1-2]]",
        "n[]",
        "!a1",
        "a!",
        "a^",
        "a,,b",
        "&a",
        "a&&b",
        "n[1/2]",
        "n[1,,2]",
        "n0[8-11]",
        "n[1-3/x]",
    ]
    .map(str::to_owned);
    for (set, theirs) in sets.iter().zip(theirs(&sets)) {
        assert_eq!((ours(set), theirs), (None, None), "{set}");
    }
}

/// Bracketed stretches of one width, and now and then of several.
fn stretch() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..30u32, 0..12u32).prop_map(|(first, more)| format!("{first}-{}", first + more)),
        (0..30u32, 0..12u32).prop_map(|(first, more)| format!("{first:03}-{:03}", first + more)),
        (0..30u32, 0..12u32, 1..4u32)
            .prop_map(|(first, more, step)| format!("{first}-{}/{step}", first + more)),
        (0..120u32).prop_map(|number| number.to_string()),
        (0..9u32).prop_map(|number| format!("0{number}")),
    ]
}

fn bracket() -> impl Strategy<Value = String> {
    vec(stretch(), 1..4).prop_map(|all| format!("[{}]", all.join(",")))
}

fn item() -> impl Strategy<Value = String> {
    prop_oneof![
        "(n|rack-)[0-9]{0,2}",
        ("(n|r)", bracket()).prop_map(|(name, bracket)| format!("{name}{bracket}")),
        ("(n|r)", bracket(), "(c|-ib)", bracket())
            .prop_map(|(a, first, b, second)| format!("{a}{first}{b}{second}")),
    ]
}

fn node_set() -> impl Strategy<Value = String> {
    let more = (prop::sample::select(vec![",", ",", "!", "&", "^"]), item());
    (item(), vec(more, 0..4)).prop_map(|(first, more)| {
        more.into_iter().fold(first, |text, (operator, item)| {
            format!("{text}{operator}{item}")
        })
    })
}

#[test]
fn a_thousand_random_node_sets_expand_as_nodeset_expands_them() {
    let mut runner = TestRunner::deterministic();
    let sets: Vec<String> = (0..1000)
        .map(|_| {
            node_set()
                .new_tree(&mut runner)
                .expect("a node set")
                .current()
        })
        .collect();
    let mut several = 0;
    for (set, theirs) in sets.iter().zip(theirs(&sets)) {
        let ours = ours(set);
        assert_eq!(ours, theirs, "{set}");
        several += usize::from(ours.is_some_and(|names| names.len() > 1));
    }
    assert!(several > 500, "only {several} of them named several nodes");
}

#[test]
fn folded_names_mean_the_same_to_nodeset() {
    let mut runner = TestRunner::deterministic();
    let name = "(web|db)[0-9]{1,3}(\\.eu|)|r[0-3]n0?[0-9]|[ab]0{0,3}(9|10|99|100)";
    let names = vec(name, 1..60);
    let fleets: Vec<Vec<String>> = (0..300)
        .map(|_| names.new_tree(&mut runner).expect("names").current())
        .collect();
    let folded: Vec<String> = fleets.iter().map(fold_nodes).collect();
    for ((fleet, folded), theirs) in fleets.iter().zip(&folded).zip(theirs(&folded)) {
        let fleet: BTreeSet<String> = fleet.iter().cloned().collect();
        assert_eq!(theirs.as_ref(), Some(&fleet), "{folded}");
        assert_eq!(ours(folded).as_ref(), Some(&fleet), "{folded}");
    }
}

#[test]
fn one_dimension_folds_to_what_the_program_prints() {
    for names in [
        "n001 n002 n003 n7 n9",
        "n1 n2 n3 n10 n11",
        "n098 n099 n100 n5",
        "x0 x00 x01 x2",
        "a",
        "a7-ib a8-ib",
    ] {
        let output = Command::new("nodeset")
            .arg("-f")
            .args(names.split(' '))
            .output()
            .expect("nodeset runs (make needs)");
        let theirs = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(fold_nodes(names.split(' ')), theirs);
    }
}
