//! Corners of the way back: last words of those it stops, and what waits unread when a state is restored.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::Duration;

use common::*;
use midflight_runtime::{Node, OnDownFailure, upgrade::Probation};

/// Probes on version 2; the way down fails for those whose flag is set.
fn patched(node: &Node) -> Probation {
    let extra = json!({"down": "error"});
    let order = order(
        node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", extra)],
    );
    upgrade(node, order).unwrap()
}

fn roll_back(probation: Probation, policy: OnDownFailure) {
    let done = probation.rollback(Duration::from_secs(2), policy);
    done.map_err(|e| e.1).map(drop).unwrap();
}

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

/// OTP: `terminate/2`.
#[test]
fn an_actor_that_a_rollback_stops_says_its_last_words() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let flag = json!([{"op": "flag", "on": true}, {"op": "last_words", "to": "probe.1"}]);
    ask(&node, "probe.2", flag);
    let probation = patched(&node);
    ask(&node, "probe.2", json!({"op": "add", "n": 1}));
    roll_back(probation, OnDownFailure::Stop);
    assert_eq!(node.whereis("probe.2"), None);
    until("its words arrive", || {
        let notes = core(&node, "probe.1")["notes"].to_string();
        notes.contains("terminated") && notes.contains("code_change(down) failed")
    });
}

#[test]
fn an_actor_that_crashes_at_confirm_says_its_last_words() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    ask(
        &node,
        "probe.2",
        json!({"op": "last_words", "to": "probe.1"}),
    );
    let mut probation = patched(&node);
    tell(&node, "probe.2", json!({"op": "error", "text": "broken"}));
    until("it is parked", || probation.health().parked == 1);
    probation.confirm();
    until("its words arrive", || {
        core(&node, "probe.1")["notes"]
            .to_string()
            .contains("broken")
    });
}

#[test]
fn a_timer_that_fired_and_waits_unread_is_not_set_again_by_a_restore() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    ask(&node, "probe", json!({"op": "flag", "on": true}));
    let timer = json!({"op": "timer", "after_ms": 300, "body": {}});
    ask(&node, "probe", timer);
    let probation = patched(&node);
    ask(&node, "probe", json!({"op": "add", "n": 1}));
    node.suspend(&actor("probe"), SOON).unwrap();
    until("the timer fires", || {
        node.status(&actor("probe"), SOON).unwrap().mailbox == 1
    });
    roll_back(probation, OnDownFailure::Restore);
    node.resume(&actor("probe"), SOON).unwrap();
    // One set again would be due already, and come before this one.
    ask(
        &node,
        "probe",
        json!({"op": "timer", "after_ms": 50, "body": {"seq": 7}}),
    );
    until("the last one fires", || {
        core(&node, "probe")["received"] == json!([[0, 7]])
    });
    assert_eq!(core(&node, "probe")["timers"], 2);
}
