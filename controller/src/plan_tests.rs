//! Plans as tables and as golden text.

use super::*;
use crate::policy::{Amount, Span};

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

fn cut(
    mut answers: Vec<Result<pb::DescribeResponse, CallError>>,
    policy: &Policy,
) -> Result<Plan, Error> {
    let inventory = Inventory::parse(TEN, "fleet.yaml").unwrap();
    let targets = targets(&inventory, "web", true).unwrap();
    answers.resize_with(targets.len(), old);
    plan(targets, answers, &manifest(), &[], policy, &inventory)
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
fn an_earlier_rollout_that_was_never_finished_is_listed() {
    let plan = cut(vec![held(pb::UpgradeState::Confirmed)], &policy(&["100%"])).unwrap();
    assert_eq!(plan.unfinished.len(), 1);
    assert_eq!(plan.unfinished[0].1.rollout_id, "r-other");
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
    ");
}
