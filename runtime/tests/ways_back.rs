//! What a step promises and what it takes back: a batch that fails in the middle, a handler that asks for too much, the
//! way back after confirm. Each is here because a fault was planted that no other test had noticed.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::Duration;

use common::*;
use midflight_runtime::{Limits, OnDownFailure};

const BUDGET: Duration = Duration::from_secs(2);

#[test]
fn in_a_batch_an_error_commits_once_what_came_before_it() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    node.suspend(&actor("probe.1"), SOON).unwrap();
    for n in 1..=3 {
        tell(
            &node,
            "probe.1",
            json!({"op": "cast", "to": "probe.2", "body": {"seq": n}}),
        );
    }
    tell(&node, "probe.1", json!({"op": "error", "text": "no"}));
    node.resume(&actor("probe.1"), SOON).unwrap();
    until("it is gone", || node.whereis("probe.1").is_none());
    let core = &ask(&node, "probe.2", json!({"op": "get"}))["core"];
    assert_eq!(
        (&core["noted"], &core["out_of_order"]),
        (&json!(3), &json!(0))
    );
}

#[test]
fn a_handler_that_breaks_a_bound_releases_no_effect() {
    let limits = Limits {
        state_bytes: 4096,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 2)]);
    tell(
        &node,
        "probe.1",
        json!([{"op": "cast", "to": "probe.2", "body": {"seq": 1}}, {"op": "grow", "bytes": 8000}]),
    );
    until("it is gone", || node.whereis("probe.1").is_none());
    let core = &ask(&node, "probe.2", json!({"op": "get"}))["core"];
    assert_eq!(core["noted"], 0, "the cast was never released");
}

#[test]
fn until_finish_a_confirmed_upgrade_goes_back_to_the_old_code_and_states() {
    let node = boot(&[part("counter", "counter_v1", 2)]);
    let v2 = change("counter", "1.0.0", "2.0.0", "counter_v2", json!({}));
    let mut probation = upgrade(&node, order(&node, vec![v2])).unwrap();
    probation.confirm();
    node.cast(&actor("counter.1"), vec![0]).unwrap();
    until("it counts on the new code", || {
        node.status(&actor("counter.1"), SOON).unwrap().events > 1
    });
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!(
        (report.pinned, report.migrated, report.held.len()),
        (1, 1, 0)
    );
    for (who, count) in [("counter.1", "1"), ("counter.2", "0")] {
        assert_eq!(node.get_state(&actor(who), SOON).unwrap(), count);
        node.cast(&actor(who), vec![0]).unwrap();
        until("the old code handles what comes", || {
            node.get_state(&actor(who), SOON).unwrap() != count
        });
    }
}

#[test]
fn after_confirm_a_handler_that_fails_ends_its_actor() {
    let node = boot(&[part("counter", "counter_v1", 2)]);
    let bad = change("counter", "1.0.0", "2.0.0", "counter_bad_first", json!({}));
    let mut probation = upgrade(&node, order(&node, vec![bad])).unwrap();
    probation.confirm();
    node.cast(&actor("counter.1"), vec![0]).unwrap();
    until("it is gone", || node.whereis("counter.1").is_none());
    assert_eq!(probation.health().parked, 0);
}

#[test]
fn given_up_after_load_the_old_code_is_current_again() {
    let node = boot(&[part("counter", "counter_v1", 2)]);
    let v2 = change("counter", "1.0.0", "2.0.0", "counter_v2", json!({}));
    let order = order(&node, vec![v2]);
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    drop(prepared.suspend().unwrap().load().unwrap());
    assert_eq!(node.modules()[0].vsn, vsn("1.0.0"));
}
