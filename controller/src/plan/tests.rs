//! Plans as tables and as golden text.

use super::*;
use crate::policy::{Amount, Span, WaveSize};

const TEN: &str =
    "groups: {web: {hosts: {'web[01:10].eu': null}}, canary: {hosts: {web07.eu: null}}}\n";

fn manifest() -> Manifest {
    serde_json::from_value(serde_json::json!({
        "schema": 1, "name": "demo", "from": "1.0.0", "to": "2.0.0", "world": midflight_patch::WORLD,
        "modules": [{
            "name": "counter", "vsn": "2", "from": "1", "update": "advanced", "extra": null, "config": null,
            "blob": format!("sha256:{}", "a".repeat(64)), "size": 1,
        }],
        "start": [], "listen": null,
    }))
    .unwrap()
}

fn node(vsn: &str, permanent: &str, module: &str) -> pb::DescribeResponse {
    let release = |vsn: &str| {
        Some(pb::Release {
            name: "demo".into(),
            vsn: vsn.into(),
            digest: String::new(),
        })
    };
    let module = pb::ModuleStatus {
        name: "counter".into(),
        vsn: module.into(),
        ..Default::default()
    };
    pb::DescribeResponse {
        current: release(vsn),
        permanent: release(permanent),
        modules: vec![module],
        ..Default::default()
    }
}

fn old() -> Result<pb::DescribeResponse, CallError> {
    Ok(node("1.0.0", "1.0.0", "1"))
}

fn dead() -> Result<pb::DescribeResponse, CallError> {
    Err(CallError::Unreachable {
        address: "10.0.0.1:7400".into(),
        source: "connection refused".into(),
    })
}

fn held(state: pb::UpgradeState) -> Result<pb::DescribeResponse, CallError> {
    let key = pb::Key {
        rollout_id: "r-other".into(),
        ..Default::default()
    };
    let upgrade = pb::UpgradeStatus {
        key: Some(key),
        state: state.into(),
        ..Default::default()
    };
    Ok(pb::DescribeResponse {
        upgrade: Some(upgrade),
        ..node("1.0.0", "1.0.0", "1")
    })
}

fn policy(waves: &[&str]) -> Policy {
    let size = |text: &&str| match text.parse() {
        Ok(amount) => WaveSize::UpTo(amount),
        Err(_) => WaveSize::Pattern((*text).to_owned()),
    };
    Policy {
        waves: waves.iter().map(|text| size(text).into()).collect(),
        ..Policy::default()
    }
}

fn read(text: &str) -> Policy {
    crate::policy::parse(text, "p").unwrap()
}

/// The plan for a fleet that runs the old code everywhere.
fn cut_fleet(fleet: &str, pattern: &str, policy: &Policy) -> Result<Plan, Error> {
    let inventory = Inventory::parse(fleet, "fleet.yaml").unwrap();
    let targets = targets(&inventory, pattern, true).unwrap();
    let answers = targets.iter().map(|_| old()).collect();
    plan("", targets, answers, &manifest(), &[], policy, &inventory)
}

fn cut(
    mut answers: Vec<Result<pb::DescribeResponse, CallError>>,
    policy: &Policy,
) -> Result<Plan, Error> {
    let inventory = Inventory::parse(TEN, "fleet.yaml").unwrap();
    let targets = targets(&inventory, "web", true).unwrap();
    answers.resize_with(targets.len(), old);
    plan("", targets, answers, &manifest(), &[], policy, &inventory)
}

fn sizes(waves: &[&str]) -> Vec<usize> {
    cut(Vec::new(), &policy(waves))
        .unwrap()
        .waves
        .iter()
        .map(|wave| wave.nodes.len())
        .collect()
}

#[test]
fn each_wave_says_how_much_of_the_fleet_has_the_patch_after_it() {
    let table: &[(&[&str], &[usize])] = &[
        (&["1", "25%", "100%"], &[1, 2, 7]),
        (&["1", "1%", "10%", "50%", "100%"], &[1, 4, 5]),
        (&["100%"], &[10]),
        (&["3", "2", "10"], &[3, 7]),
        (&["web07.eu", "50%", "100%"], &[1, 4, 5]),
        (&["50%", "web", "100%"], &[5, 5]),
        (&["1000", "100%"], &[10]),
    ];
    for (waves, want) in table {
        assert_eq!(&sizes(waves), want, "{waves:?}");
    }
}

#[test]
fn a_pattern_puts_its_nodes_first_and_the_rest_follow_in_the_order_of_the_inventory() {
    let plan = cut(Vec::new(), &policy(&["canary", "30%", "100%"])).unwrap();
    assert_eq!(plan.waves[0].nodes, [6]);
    assert_eq!(plan.waves[1].nodes, [0, 1]);
    assert_eq!(plan.waves[2].nodes, [2, 3, 4, 5, 7, 8, 9]);
}

#[test]
fn waves_that_leave_nodes_out_are_refused() {
    let error = cut(Vec::new(), &policy(&["1", "50%"])).unwrap_err();
    assert_eq!(error.code(), "MF0505");
    assert_eq!(
        error.to_string(),
        "the policy's waves never reach 5 nodes: web[06:10].eu"
    );
}

#[test]
fn the_canary_is_a_node_that_lives_and_needs_the_patch() {
    let mut allowing = policy(&["1", "100%"]);
    allowing.failure_budget.unreachable = Amount::Nodes(1);
    let plan = cut(vec![dead(), Ok(node("2.0.0", "2.0.0", "2"))], &allowing).unwrap();
    assert_eq!(plan.waves[0].nodes, [2]);
    assert_eq!(
        (plan.current.as_slice(), plan.unreachable.len()),
        ([1].as_slice(), 1)
    );
}

#[test]
fn a_node_on_the_new_release_that_would_boot_the_old_is_not_current() {
    let error = cut(vec![Ok(node("2.0.0", "1.0.0", "2"))], &policy(&["100%"])).unwrap_err();
    assert_eq!(error.code(), "MF0507");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_changed() {
    let all = policy(&["100%"]);
    let refusal = |answer| cut(vec![old(), answer], &all).unwrap_err();
    let table = [
        (
            Ok(node("0.9.0", "0.9.0", "1")),
            "MF0507",
            "demo 0.9.0 runs there",
        ),
        (
            Ok(node("1.0.0", "1.0.0", "0")),
            "MF0507",
            "module counter 0 runs there",
        ),
        (
            Ok(pb::DescribeResponse::default()),
            "MF0507",
            "no release runs there",
        ),
        (
            held(pb::UpgradeState::Open),
            "MF0506",
            "rollout r-other has not ended on web02.eu",
        ),
        (
            held(pb::UpgradeState::Probation),
            "MF0506",
            "rollout r-other has not ended on web02.eu",
        ),
        (
            dead(),
            "MF0508",
            "1 of 10 nodes do not answer, and at most 0 may be dead",
        ),
    ];
    for (answer, code, text) in table {
        let error = refusal(answer);
        assert_eq!((error.code(), error.exit().code()), (code, 2));
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_superseded_rollout_gives_its_nodes_up_and_no_other_does() {
    let probation = |from: &str, module: &str| {
        let mut answer = held(pb::UpgradeState::Probation).unwrap();
        answer.upgrade.as_mut().unwrap().from = Some(pb::Release {
            name: "demo".into(),
            vsn: from.into(),
            ..Default::default()
        });
        answer.current.as_mut().unwrap().vsn = "1.5.0".into();
        answer.modules[0].vsn = module.into();
        Ok(answer)
    };
    let cut = |over: &str, answer| {
        let inventory = Inventory::parse(TEN, "fleet.yaml").unwrap();
        let targets = targets(&inventory, "web01.eu", true).unwrap();
        plan(
            over,
            targets,
            vec![answer],
            &manifest(),
            &[],
            &policy(&["100%"]),
            &inventory,
        )
    };
    let plan = cut("r-other", probation("1.0.0", "1.5")).unwrap();
    assert_eq!(plan.waves[0].nodes, [0]);
    assert_eq!(
        cut("r-other", held(pb::UpgradeState::Open)).unwrap().waves[0].nodes,
        [0]
    );
    assert!(
        cut("r-other", held(pb::UpgradeState::Confirmed))
            .unwrap()
            .unfinished
            .is_empty()
    );
    assert_eq!(
        cut("r-third", probation("1.0.0", "1.5"))
            .unwrap_err()
            .code(),
        "MF0506"
    );
    assert_eq!(
        cut("r-other", probation("0.9.0", "1.5"))
            .unwrap_err()
            .code(),
        "MF0507"
    );
    let hint = cut("", probation("1.0.0", "1.5")).unwrap_err().hint();
    assert!(
        hint.ends_with("midflight apply --supersede r-other"),
        "{hint}"
    );
}

#[test]
fn an_earlier_rollout_that_was_never_finished_is_listed() {
    let mut answer = held(pb::UpgradeState::Confirmed).unwrap();
    answer.upgrade.as_mut().unwrap().epoch = 3;
    let plan = cut(vec![Ok(answer)], &policy(&["100%"])).unwrap();
    assert_eq!(plan.unfinished.len(), 1);
    assert_eq!(plan.unfinished[0].1.rollout_id, "r-other");
    assert_eq!(plan.unfinished[0].2, 3, "the node refuses an older one");
}

#[test]
fn all_nodes_need_a_word_more() {
    let inventory = Inventory::parse(TEN, "fleet.yaml").unwrap();
    assert_eq!(
        targets(&inventory, "web", false).unwrap_err().code(),
        "MF0504"
    );
    assert_eq!(targets(&inventory, "web:!canary", false).unwrap().len(), 9);
    assert_eq!(
        targets(&inventory, "web:!web", false).unwrap_err().code(),
        "MF0503"
    );
    assert_eq!(
        targets(&inventory, "wob", false).unwrap_err().exit().code(),
        2
    );
}

#[test]
fn a_plan_reads_well() {
    let mut allowing = policy(&["1", "25%", "100%"]);
    allowing.failure_budget.unreachable = Amount::Nodes(1);
    allowing.waves[1].bake = Some(Span::from_secs(90));
    let plan = cut(
        vec![old(), dead(), Ok(node("2.0.0", "2.0.0", "2"))],
        &allowing,
    )
    .unwrap();
    let text = plan.text(&manifest(), &allowing);
    let text = text.split_once("; policy").map(|(text, _)| text).unwrap();
    insta::assert_snapshot!(text, @r"
    demo from 1.0.0 to 2.0.0: 8 of 10 nodes in 3 waves
      wave 1: 1 node (1 of 8), bake 5s: web01.eu
      wave 2: 1 node (2 of 8), bake 90s: web04.eu
      wave 3: 6 nodes (8 of 8), bake 5s: web[05:10].eu
      already current: 1 node: web03.eu
      unreachable: 1 node: web02.eu
      gate after each wave: parked at most 0, traps at most 0, restarts at most 0, ended at most 0
      failure budget: 0 nodes once 20 have finished, none before
      about 103s, at 1s a node
    ");
}

/// 120 nodes in three zones, of which the last is small; every tenth is a cache as well.
const ZONES: &str = "
groups:
  web:
    hosts: {'a[01:50]': {zone: a}, 'b[01:50]': {zone: b}, 'c[01:20]': {zone: c}}
  cache: {hosts: {'a[01:10]': null, 'b[01:10]': null}}
";

fn zones_of(plan: &Plan, nodes: &[usize]) -> Vec<usize> {
    let of = |zone: &str| {
        nodes
            .iter()
            .filter(|node| plan.zones[**node].as_deref() == Some(zone))
            .count()
    };
    ["a", "b", "c"].map(of).to_vec()
}

#[test]
fn a_wave_that_is_spread_takes_from_each_zone_in_turn() {
    let policy = read(
        "waves: [{nodes: 3, spread: zone}, {nodes: 10%, spread: zone}, {nodes: 90, spread: zone}, 100%]",
    );
    let plan = cut_fleet(ZONES, "web", &policy).unwrap();
    let sizes: Vec<_> = plan
        .waves
        .iter()
        .map(|wave| zones_of(&plan, &wave.nodes))
        .collect();
    assert_eq!(sizes[..2], [[1, 1, 1], [3, 3, 3]]);
    // The small zone is used up, and the others share what is left.
    assert_eq!(sizes[2], [31, 31, 16]);
    assert_eq!(sizes[3], [15, 15, 0]);
    let again = cut_fleet(ZONES, "web", &policy).unwrap();
    assert_eq!(plan.waves, again.waves);
    let plain = cut_fleet(ZONES, "web", &read("waves: [3, 100%]")).unwrap();
    assert_eq!(zones_of(&plain, &plain.waves[0].nodes), [3, 0, 0]);
}

#[test]
fn the_spread_is_by_the_patch_so_that_it_is_not_always_the_same_nodes() {
    let cut_for = |to: &str| {
        let inventory = Inventory::parse(ZONES, "fleet.yaml").unwrap();
        let targets = targets(&inventory, "web", true).unwrap();
        let answers = targets.iter().map(|_| old()).collect();
        let manifest = Manifest {
            to: to.parse().unwrap(),
            ..manifest()
        };
        let policy = read("waves: [{nodes: 6, spread: zone}, 100%]");
        plan("", targets, answers, &manifest, &[], &policy, &inventory)
            .unwrap()
            .waves[0]
            .nodes
            .clone()
    };
    assert_ne!(cut_for("2.0.0"), cut_for("2.0.1"));
}

#[test]
fn a_control_set_is_like_its_wave_and_comes_out_of_the_last() {
    let policy = read(
        "waves: [1, {nodes: 10%, spread: zone}, 50%, 100%]\ngates: [{p99: 1.2x, against: control}]",
    );
    let plan = cut_fleet(ZONES, "web", &policy).unwrap();
    let [first, second, third, last] = plan.waves.as_slice() else {
        panic!("{:?}", plan.waves)
    };
    // The waves are as large as without one.
    let sizes = [first, second, third, last].map(|wave| wave.nodes.len());
    assert_eq!(sizes, [1, 11, 48, 60]);
    for wave in [first, second, third] {
        assert_eq!(wave.control.len(), 3, "{wave:?}");
        assert!(wave.control.iter().all(|node| last.nodes.contains(node)));
    }
    assert!(last.control.is_empty());
    // The first node is a cache in zone a, and so are those that it is compared with.
    assert_eq!(zones_of(&plan, &first.control), [3, 0, 0]);
    assert!(
        first.control.iter().all(|node| *node < 10),
        "{:?}",
        first.control
    );
    assert_eq!(zones_of(&plan, &second.control), [1, 1, 1]);
}

#[test]
fn a_control_set_is_a_hundredth_of_a_large_fleet() {
    let fleet = "groups: {web: {hosts: {'n[0001:2000]': {zone: a}}}}";
    let policy = read("waves: [1, 10%, 100%]\ngates: [{error_rate: +1%}]");
    let plan = cut_fleet(fleet, "web", &policy).unwrap();
    assert_eq!(plan.waves[0].control.len(), 20);
    assert_eq!(
        plan.waves[0].control, plan.waves[1].control,
        "the same nodes serve both"
    );
}

#[test]
fn no_gate_that_compares_no_control_set_and_a_small_fleet_gives_what_it_has() {
    let without = cut_fleet(ZONES, "web", &read("waves: [1, 100%]")).unwrap();
    assert!(without.waves.iter().all(|wave| wave.control.is_empty()));
    let compares = "gates: [{traps: 2x}]\nwaves: ";
    let fleet = "groups: {web: {hosts: {'n[1:3]': null}}}";
    let small =
        |waves: &str| cut_fleet(fleet, "web", &read(&format!("{compares}{waves}"))).unwrap();
    assert_eq!(small("[1, 100%]").waves[0].control, [1, 2]);
    assert!(small("[100%]").waves[0].control.is_empty());
    // A node that is named for a wave is in it.
    let plan = small("[1, n2, 100%]");
    assert_eq!(
        (
            plan.waves[1].nodes.as_slice(),
            plan.waves[0].control.as_slice()
        ),
        ([1].as_slice(), [2].as_slice())
    );
}

#[test]
fn in_lockstep_batches_stay_whole_the_canary_too() {
    let fleet = "
groups:
  web:
    hosts:
      'a[1:4]': {vars: {cell: one}}
      'b[1:4]': {vars: {cell: two}}
      'c[1:2]': {vars: {cell: 3}}
      'd[1:4]': {vars: {cell: four}}
";
    let policy = read("waves: [1, 50%, 100%]\nmode: lockstep\nbatch: cell\ngates: [{traps: 2x}]");
    let plan = cut_fleet(fleet, "web", &policy).unwrap();
    let batches: Vec<_> = plan
        .waves
        .iter()
        .map(|wave| wave.batches.as_slice())
        .collect();
    assert_eq!(batches[0], [4]);
    assert_eq!(
        plan.waves
            .iter()
            .map(|wave| wave.nodes.len())
            .sum::<usize>(),
        14
    );
    for wave in &plan.waves {
        assert_eq!(wave.batches.iter().sum::<usize>(), wave.nodes.len());
    }
    let last = &plan.waves[plan.waves.len() - 1];
    assert!(
        plan.waves[0]
            .control
            .iter()
            .all(|node| last.nodes.contains(node))
    );
    let error = cut_fleet(fleet, "web", &read("mode: lockstep\n")).unwrap_err();
    assert_eq!((error.code(), error.exit().code()), ("MF0505", 2));
    assert!(
        error.to_string().ends_with(
            "14 nodes have no \"zone\" that names their batch: a[1:4],b[1:4],c[1:2],d[1:4]"
        ),
        "{error}"
    );
}

#[test]
fn a_plan_with_zones_batches_and_a_control_set_reads_well() {
    let policy = read(
        "waves: [1, {nodes: 10%, spread: zone, bake: 30s}, 100%]\ngates: [{parked: 0}, {p99: 1.2x, against: control}, {exec: {command: [check, --fast]}}, {promql: {url: 'http://p', query: up, at_least: 1}}]",
    );
    let plan = cut_fleet(ZONES, "web", &policy).unwrap();
    let text = plan.text(&manifest(), &policy);
    insta::assert_snapshot!(text.split_once("; policy").unwrap().0);
    let json = plan.json(&manifest(), &policy, "sha256:0");
    assert_eq!(
        json["waves"][1]["zones"],
        serde_json::json!({"a": 3, "b": 4, "c": 4})
    );
    assert_eq!(json["waves"][0]["control"].as_array().unwrap().len(), 3);
    assert_eq!(json["gates"][1]["p99"], "1.2x");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn wave() -> impl Strategy<Value = String> {
        let size = prop_oneof![
            (1_u32..150).prop_map(|nodes| nodes.to_string()),
            (1_u32..=100).prop_map(|share| format!("{share}%")),
            Just("cache".to_owned()),
            Just("a[01:20]".to_owned()),
        ];
        (
            size,
            prop::option::of(prop::sample::select(vec!["zone", "cell"])),
        )
            .prop_map(|(size, spread)| match spread {
                Some(spread) => format!("{{nodes: '{size}', spread: {spread}}}"),
                None => format!("'{size}'"),
            })
    }

    proptest! {
        #[test]
        fn every_node_is_in_one_wave_and_no_control_set_is_patched_early(
            waves in prop::collection::vec(wave(), 0..6),
            compare in any::<bool>(),
            lockstep in any::<bool>(),
        ) {
            let gate = if compare { "{p50: 2x}" } else { "{traps: 0}" };
            let mode = if lockstep { "lockstep" } else { "free" };
            let waves: Vec<String> = waves.into_iter().chain(["100%".to_owned()]).collect();
            let policy = read(&format!("waves: [{}]\ngates: [{gate}]\nmode: {mode}\n", waves.join(", ")));
            let plan = cut_fleet(ZONES, "web", &policy).unwrap();
            let mut nodes: Vec<usize> = plan.waves.iter().flat_map(|wave| wave.nodes.clone()).collect();
            nodes.sort_unstable();
            prop_assert_eq!(nodes, (0..120).collect::<Vec<_>>());
            let last = plan.waves.last().unwrap();
            for wave in &plan.waves {
                prop_assert!(!wave.nodes.is_empty());
                prop_assert!(wave.control.iter().all(|node| last.nodes.contains(node)));
                prop_assert_eq!(wave.batches.iter().sum::<usize>(), if lockstep { wave.nodes.len() } else { 0 });
            }
            prop_assert!(last.control.is_empty() && (compare || plan.waves.iter().all(|wave| wave.control.is_empty())));
        }
    }
}
