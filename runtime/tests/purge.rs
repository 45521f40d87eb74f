//! The third version of a module: who runs old code is asked for, protected, brought along or stopped.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::{Duration, SystemTime};

use common::*;
use midflight_patch::plan::{AfterDraining, Policy, Purge};
use midflight_runtime::{Node, OnDownFailure, Order, upgrade::Probation};

const BUDGET: Duration = Duration::from_secs(2);

fn finish(mut probation: Probation) {
    probation.confirm();
    probation.finish().map_err(|e| e.1).unwrap();
}

/// Probes on 1.0.0 that are drained, under a release of 2.0.0.
fn drained(count: u32) -> Node {
    let node = boot(&[
        part("probe", "probe_v1", count),
        part("watcher", "probe_v1", 1),
    ]);
    let mut order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    order.modules[0].policy = Policy::Draining {
        deadline_ms: 600_000,
        then: AfterDraining::Stop,
    };
    finish(upgrade(&node, order).unwrap());
    node
}

fn third(node: &Node, pre_purge: Purge) -> Order {
    let mut order = order(
        node,
        vec![change("probe", "2.0.0", "3.0.0", "probe_v2", json!({}))],
    );
    order.modules[0].pre_purge = pre_purge;
    order
}

/// A probe on code that a rollback took away, and one that went back.
fn held() -> Node {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    ask(
        &node,
        "probe.2",
        json!([{"op": "add", "n": 10}, {"op": "flag", "on": true}]),
    );
    let order = order(
        &node,
        vec![change(
            "probe",
            "1.0.0",
            "2.0.0",
            "probe_v2",
            json!({"down": "error"}),
        )],
    );
    let probation = upgrade(&node, order).unwrap();
    ask(&node, "probe.2", json!({"op": "add", "n": 5}));
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!(report.held.len(), 1);
    node
}

/// OTP: `not_purged`; otp-parity row 2.
#[test]
fn a_third_version_is_refused_as_not_purged_while_anyone_runs_the_old_one() {
    let node = drained(2);
    let error = node.begin(third(&node, Purge::Soft)).map(drop).unwrap_err();
    assert_eq!((error.code(), error.refused()), ("MF0334", true));
    let text = error.to_string();
    assert_eq!(
        text,
        "not_purged: 2 actors of module probe still run 1.0.0, which is old"
    );
    assert_eq!(node.modules()[0].vsn, vsn("2.0.0"));
    for who in ["probe.1", "probe.2"] {
        assert_eq!(ask(&node, who, json!({"op": "get"}))["code"], "v1");
        tell(&node, who, json!({"op": "stop", "reason": "normal"}));
    }
    until("they are gone", || node.old_code().is_empty());
    upgrade(&node, third(&node, Purge::Soft)).map(drop).unwrap();
    assert_eq!(node.modules()[0].vsn, vsn("3.0.0"));
}

/// OTP: PrePurge `brutal_purge`; otp-parity row 2.
#[test]
fn a_brutal_purge_before_an_upgrade_stops_who_runs_the_old_code_but_only_when_it_succeeds() {
    let node = drained(2);
    let probe = node.whereis("probe.1").unwrap();
    ask(&node, "watcher", json!({"op": "monitor", "pid": probe}));
    let (prepared, _) = node
        .begin(third(&node, Purge::Brutal))
        .unwrap()
        .prepare()
        .unwrap();
    drop(prepared.suspend().unwrap().load().unwrap());
    assert_eq!(
        ask(&node, "probe.1", json!({"op": "get"}))["code"],
        "v1",
        "given up, it has stopped nobody"
    );
    assert_eq!(node.modules()[0].old_vsn, Some(vsn("1.0.0")));
    assert_eq!(node.old_code()[0].actors, 2);
    finish(upgrade(&node, third(&node, Purge::Brutal)).unwrap());
    assert_eq!(node.whereis("probe.1"), None);
    until("it hears", || {
        ask(&node, "watcher", json!({"op": "get"}))["core"]["downs"] == json!([[probe, "killed"]])
    });
    assert!(node.old_code().is_empty());
    assert_eq!(node.modules()[0].old_vsn, None);
}

/// OTP: PostPurge `brutal_purge`; otp-parity row 2.
#[test]
fn a_brutal_purge_after_an_upgrade_stops_who_still_runs_the_old_code() {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    let mut order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    order.modules[0].policy = Policy::Draining {
        deadline_ms: 600_000,
        then: AfterDraining::Update,
    };
    order.modules[0].post_purge = Purge::Brutal;
    let probation = upgrade(&node, order).unwrap();
    assert_eq!(node.actor_count(), 3);
    finish(probation);
    assert_eq!(node.actor_count(), 0);
    assert_eq!(node.modules()[0].old_vsn, None);
}

/// OTP: `code:soft_purge/1` and `code:purge/1`; otp-parity rows 2 and 3.
#[test]
fn purge_is_refused_softly_while_anyone_runs_old_code_and_brutally_stops_them() {
    let node = drained(2);
    let before = SystemTime::now();
    let old = node.old_code();
    assert_eq!((old[0].actors, old[0].module.as_str()), (2, "probe"));
    assert!(old[0].since < before && before < old[0].since + SOON);
    let error = node.purge(&name("probe"), Purge::Soft).unwrap_err();
    assert_eq!(error.code(), "MF0334");
    assert_eq!(node.actor_count(), 3);
    assert_eq!(node.purge(&name("probe"), Purge::Brutal).unwrap(), 2);
    assert_eq!((node.actor_count(), node.old_code().len()), (1, 0));
    assert_eq!(node.purge(&name("probe"), Purge::Soft).unwrap(), 0);
}

#[test]
fn held_actors_count_as_running_old_code_and_a_later_upgrade_is_refused() {
    let node = held();
    let old = node.old_code();
    assert_eq!((old[0].actors, old[0].vsn.clone()), (1, vsn("2.0.0")));
    assert_eq!(node.modules()[0].actors_on_old, 1);
    let next = order(
        &node,
        vec![change("probe", "1.0.0", "3.0.0", "probe_v2", json!({}))],
    );
    let error = node.begin(next).map(drop).unwrap_err();
    assert_eq!(error.code(), "MF0334");
    assert_eq!(node.purge(&name("probe"), Purge::Brutal).unwrap(), 1);
    assert_eq!(node.whereis("probe.2"), None);
    assert!(node.old_code().is_empty());
}

/// Beyond 8: leftovers of a failed attempt never block the next.
#[test]
fn the_code_change_of_a_held_actor_can_be_tried_again_and_its_mailbox_is_kept() {
    let node = held();
    node.cast(
        &actor("probe.2"),
        json!({"op": "add", "n": 1}).to_string().into_bytes(),
    )
    .unwrap();
    let caught = node.catch_up(&name("probe")).unwrap();
    assert_eq!((caught.updated, caught.held.len()), (0, 1));
    assert_eq!(caught.held[0].name, "probe.2");
    let state = node.get_state(&actor("probe.2"), SOON).unwrap();
    let mut state: Value = serde_json::from_str(&state).unwrap();
    state["core"]["flag"] = json!(false);
    node.replace_state(&actor("probe.2"), &state.to_string(), SOON)
        .unwrap();
    let caught = node.catch_up(&name("probe")).unwrap();
    assert_eq!((caught.updated, caught.held.len()), (1, 0));
    let all = ask(&node, "probe.2", json!({"op": "get"}));
    assert_eq!(
        (&all["code"], &all["core"]["total"]),
        (&json!("v1"), &json!(16)),
        "what waited was handled by the current code"
    );
    assert!(node.old_code().is_empty());
    assert_eq!(node.modules()[0].old_vsn, None);
}
