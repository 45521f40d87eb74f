//! Laws that hold for all input: folding loses nothing, patterns are set algebra, nothing panics.

use std::collections::BTreeSet;
use std::time::Duration;

use midflight_inventory::{Inventory, expand, fold, fold_nodes, fold_to_string, narrow};
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};

/// Names that share beginnings, ends and numbers, so that many of them fold.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "(web|db)[0-9]{1,3}(\\.eu|\\.us|)",
        "r[0-3]-n0?[0-9]",
        "[ab]0{0,3}(9|10|99|100|999|1000)",
        "[a-c0-2.-]{1,6}",
    ]
}

fn set<S: AsRef<str>>(names: &[S]) -> BTreeSet<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

/// Three groups of hosts h0..h20, as sets of numbers.
fn members() -> impl Strategy<Value = Vec<BTreeSet<usize>>> {
    vec(proptest::collection::btree_set(0..20usize, 1..20), 3)
}

#[derive(Clone, Debug)]
enum Term {
    Group(usize),
    Host(usize),
    Glob,
    Regex,
    All,
}

fn term() -> impl Strategy<Value = (&'static str, Term)> {
    let sign = prop::sample::select(vec!["", "", "&", "!"]);
    let kind = prop_oneof![
        (0..3usize).prop_map(Term::Group),
        (0..20usize).prop_map(Term::Host),
        Just(Term::Glob),
        Just(Term::Regex),
        Just(Term::All),
    ];
    (sign, kind)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expanding_what_was_folded_gives_the_same_names(names in vec(name(), 0..60)) {
        let folded = fold_to_string(&names);
        let expanded = expand(&folded).expect("folded text expands");
        prop_assert_eq!(set(&expanded), set(&names));
        prop_assert_eq!(expanded.len(), set(&names).len(), "{} names some twice", folded);
    }

    #[test]
    fn a_node_set_expands_to_the_names_it_was_folded_from(names in vec(name(), 0..60)) {
        let folded = fold_nodes(&names);
        let expanded = expand(&folded).expect("a node set expands");
        prop_assert_eq!(set(&expanded), set(&names));
        prop_assert_eq!(expanded.len(), set(&names).len(), "{} names some twice", folded);
        prop_assert_eq!(fold_nodes(&expanded).len(), folded.len());
    }

    #[test]
    fn folding_is_settled_and_starts_with_the_first_name(names in vec(name(), 1..60)) {
        let folded = fold(&names);
        prop_assert!(folded.len() <= set(&names).len());
        let first = expand(&folded[0]).expect("expands");
        prop_assert!(first.contains(&names[0]), "{:?} does not hold {}", folded, names[0]);
        prop_assert_eq!(fold(&names), folded);
    }

    #[test]
    fn a_range_of_numbers_folds_to_itself(first in 0..2000u32, count in 2..50u32, width in 1..6usize) {
        let names: Vec<String> = (first..first + count).map(|n| format!("n{n:0width$}.x")).collect();
        let last = first + count - 1;
        // Padded numbers that outgrow their width are two ranges, or one if the first was never padded.
        if format!("{first:0width$}").len() == format!("{last:0width$}").len() {
            prop_assert_eq!(fold(&names), vec![format!("n[{first:0width$}:{last:0width$}].x")]);
        }
        let folded = fold_to_string(&names);
        prop_assert_eq!(expand(&folded).expect("expands"), names);
    }

    #[test]
    fn patterns_are_set_algebra(members in members(), terms in vec(term(), 1..6), comma in any::<bool>()) {
        let mut text = "groups:\n  every: {hosts: {'h[0:19]': }}\n".to_owned();
        for (group, hosts) in members.iter().enumerate() {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("h{host}: ")).collect();
            text += &format!("  g{group}: {{hosts: {{{}}}}}\n", hosts.join(", "));
        }
        let inventory = Inventory::parse(&text, "t").expect("a good inventory");

        let every: BTreeSet<usize> = (0..20).collect();
        let meaning = |term: &Term| -> (String, BTreeSet<usize>) {
            match term {
                Term::Group(group) => (format!("g{group}"), members[*group].clone()),
                Term::Host(host) => (format!("h{host}"), BTreeSet::from([*host])),
                Term::Glob => ("h1?".to_owned(), (10..20).collect()),
                Term::Regex => ("~h[0-9]$".to_owned(), (0..10).collect()),
                Term::All => ("all".to_owned(), every.clone()),
            }
        };
        let mut joined: Option<BTreeSet<usize>> = None;
        let mut pattern = Vec::new();
        for (sign, term) in &terms {
            let (text, hosts) = meaning(term);
            pattern.push(format!("{sign}{text}"));
            if sign.is_empty() {
                joined.get_or_insert_default().extend(hosts);
            }
        }
        let mut expected = joined.unwrap_or_else(|| every.clone());
        for (sign, term) in &terms {
            let (_, hosts) = meaning(term);
            match *sign {
                "&" => expected.retain(|host| hosts.contains(host)),
                "!" => expected.retain(|host| !hosts.contains(host)),
                _ => {}
            }
        }
        let pattern = pattern.join(if comma { "," } else { ":" });
        let selected = inventory.select(&pattern).expect("every term matches");
        let selected: Vec<&str> = selected.into_iter().map(|host| host.name()).collect();
        let expected: Vec<String> = expected.into_iter().map(|host| format!("h{host}")).collect();
        prop_assert_eq!(selected, expected, "{}", pattern);
    }

    #[test]
    fn operators_of_node_sets_are_set_algebra_from_left_to_right(
        first in 0..3usize,
        more in vec((prop::sample::select(vec![',', '!', '&', '^']), 0..3usize, any::<bool>()), 0..8),
        members in members(),
    ) {
        let mut text = "groups:\n  every: {hosts: {'h[0:19]': }}\n".to_owned();
        let mut sets = Vec::new();
        for (group, hosts) in members.iter().enumerate() {
            let names: Vec<String> = hosts.iter().map(|host| format!("h{host}")).collect();
            text += &format!("  g{group}: {{hosts: {{{}: }}}}\n", names.join(": , "));
            sets.push(fold_nodes(names));
        }
        let inventory = Inventory::parse(&text, "t").expect("good");
        let (mut pattern, mut expected) = (format!("@g{first}"), members[first].clone());
        for (operator, group, as_names) in &more {
            let operand = if *as_names { sets[*group].clone() } else { format!("@g{group}") };
            // Several items are one operand only in parentheses.
            let operand = if operand.contains("],") || !operand.contains('[') && operand.contains(',') {
                format!("({operand})")
            } else {
                operand
            };
            pattern = format!("{pattern}{operator}{operand}");
            let other = &members[*group];
            expected = match operator {
                ',' => &expected | other,
                '!' => &expected - other,
                '&' => &expected & other,
                _ => &expected ^ other,
            };
        }
        let selected: Vec<&str> = inventory.select(&pattern).expect("all there").into_iter().map(|host| host.name()).collect();
        let expected: Vec<String> = expected.into_iter().map(|host| format!("h{host}")).collect();
        prop_assert_eq!(selected, expected, "{}", pattern);
    }

    #[test]
    fn narrowing_is_intersection_and_difference(members in members(), limit in any::<bool>(), excluded in 0..3usize) {
        let mut text = "groups:\n  every: {hosts: {'h[0:19]': }}\n".to_owned();
        for (group, hosts) in members.iter().enumerate() {
            let names: Vec<String> = hosts.iter().map(|host| format!("h{host}: ")).collect();
            text += &format!("  g{group}: {{hosts: {{{}}}}}\n", names.join(", "));
        }
        let inventory = Inventory::parse(&text, "t").expect("good");
        let excluded: Vec<String> = ["g2", "h0:h1", "h2!h3"][..excluded].iter().map(|x| (*x).to_owned()).collect();
        let pattern = narrow("g0:!h5", limit.then_some("g1,h7"), &excluded);
        let mut expected = &members[0] - &BTreeSet::from([5]);
        if limit {
            expected = &expected & &(&members[1] | &BTreeSet::from([7]));
        }
        for gone in [members[2].clone(), BTreeSet::from([0, 1]), BTreeSet::from([2])].iter().take(excluded.len()) {
            expected = &expected - gone;
        }
        let selected: Vec<&str> = inventory.select(&pattern).expect("all there").into_iter().map(|host| host.name()).collect();
        let expected: Vec<String> = expected.into_iter().map(|host| format!("h{host}")).collect();
        prop_assert_eq!(selected, expected, "{}", pattern);
    }

    #[test]
    fn no_text_makes_a_reader_panic(
        text in "[a-z0-9\\[\\](){}^/:,&*!~@#'\"\\\\ \n?|><%-]{0,80}",
        wild in ".{0,40}",
    ) {
        let inventory = Inventory::parse("groups: {a: {hosts: {'b[1:3]': }}}", "t").expect("good");
        for text in [&text, &wild] {
            if !text.contains('@') {
                let _ = inventory.select(text).map_err(|error| error.to_string());
            }
            let _ = expand(text).map_err(|error| error.to_string());
            let _ = inventory.select(&narrow(text, Some("b1"), &[])).map_err(|error| error.to_string());
            let _ = Inventory::parse(text, "t").map_err(|error| error.to_string());
            let _ = Inventory::parse(&format!("groups: {{w: {{hosts: {{{text}: {{}}}}}}}}"), "t").map_err(|e| e.to_string());
        }
    }

    #[test]
    fn no_text_makes_a_reader_of_ansibles_formats_panic(
        lines in vec("(\\[?[ab]{1,2}(:(vars|children|hosts)?)?\\]?|[-+a-c0-9xjeE_.'\"\\\\ =\\[\\](){}:,#\u{e9}]{0,24})", 0..12),
        yaml in "[a-c0-9:!&*<?|>\\-'\"\\[\\]{}, \n~\u{e9}]{0,60}",
    ) {
        for (text, name) in [
            (lines.join("\n"), "hosts"),
            (lines.iter().map(|line| format!("a v={line}\n")).collect(), "hosts"),
            (lines.iter().map(|line| format!("v={line}\n")).fold("[all:vars]\n".to_owned(), |all, line| all + &line), "hosts"),
            (yaml.clone(), "t.yml"),
            (format!("a: {{hosts: {{b: {{c: {yaml}}}}}}}"), "t.yml"),
            (format!("{{\"a\": {yaml}}}"), "t.json"),
        ] {
            match Inventory::parse_any(&text, name) {
                Ok(inventory) => {
                    let _ = inventory.ansible_list().expect("nothing is encrypted");
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}

/// The least processor time of three runs, of this thread alone: what else the machine does hardly counts.
fn least(mut run: impl FnMut()) -> Duration {
    let mut time = || {
        let start = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
        run();
        let end = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
        end.expect("a time") - start.expect("a time")
    };
    [time(), time(), time()]
        .into_iter()
        .min()
        .unwrap_or_default()
}

#[test]
fn names_that_do_not_fold_cost_linear_time() {
    let names = |count: u64| -> Vec<String> {
        // Odd steps scatter the numbers, and the letter between them differs: no two names are neighbours.
        (0..count)
            .map(|n| format!("n{}x{}-{}.eu", n * 7919 % 1_000_003 * 2, n * 3, n * 5))
            .collect()
    };
    let (few, many) = (names(10_000), names(100_000));
    assert_eq!(fold(&many).len(), 100_000);
    let (short, long) = (least(|| drop(fold(&few))), least(|| drop(fold(&many))));
    println!("10,000 names in {short:?}, 100,000 in {long:?}");
    // Ten times the names: linear is 10, and some more for colder caches; quadratic is 100.
    assert!(
        long < short * 60,
        "10,000 names took {short:?}, 100,000 took {long:?}"
    );
    let (short, long) = (
        least(|| drop(fold_nodes(&few))),
        least(|| drop(fold_nodes(&many))),
    );
    assert!(
        long < short * 60,
        "as node sets 10,000 names took {short:?}, 100,000 took {long:?}"
    );
}

#[test]
fn one_node_set_of_a_hundred_thousand_gaps_costs_linear_time() {
    let names = |count: u64| -> Vec<String> { (0..count).map(|n| format!("n{}", n * 2)).collect() };
    let (few, many) = (names(10_000), names(100_000));
    let round = |names: &[String]| {
        assert_eq!(
            expand(&fold_nodes(names)).expect("expands").len(),
            names.len()
        )
    };
    let (short, long) = (least(|| round(&few)), least(|| round(&many)));
    assert!(
        long < short * 60,
        "10,000 names took {short:?}, 100,000 took {long:?}"
    );
}

#[test]
fn a_hundred_thousand_names_pasted_as_a_pattern_select_themselves() {
    let text = "groups: {w: {hosts: {'n[0:299999:3]': }}}";
    let inventory = Inventory::parse(text, "t").expect("good");
    let folded = fold_to_string(inventory.hosts().iter().map(|host| host.name()));
    assert_eq!(inventory.select(&folded).expect("all there").len(), 100_000);
}
