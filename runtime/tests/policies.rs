//! How actors come to new code: at once, by `load_module`, by draining; modules that come and go; all in one transaction.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::Duration;

use common::*;
use midflight_patch::plan::{AfterDraining, Policy, Purge};
use midflight_runtime::{
    Direction, Limits, Node, OnDownFailure, Order,
    upgrade::{AddModule, DeleteModule, ModuleOrder, Probation},
};

const BUDGET: Duration = Duration::from_secs(2);
const LONG: u64 = 60_000;

fn probes(count: u32) -> Node {
    boot(&[part("probe", "probe_v1", count)])
}

fn code(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["code"].clone()
}

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

fn vsn_of(node: &Node, who: &str) -> String {
    node.status(&actor(who), SOON).unwrap().vsn
}

fn spawn(node: &Node, by: &str, name: &str) {
    ask(
        node,
        by,
        json!({"op": "spawn", "module": "probe", "args": {}, "name": name}),
    );
    until("it is born", || node.whereis(name).is_some());
}

/// The probe to version 2 under this policy.
fn probe_to_v2(node: &Node, policy: Policy) -> Order {
    let mut order = order(
        node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    order.modules[0].policy = policy;
    order
}

fn draining(deadline_ms: u64, then: AfterDraining) -> Policy {
    Policy::Draining { deadline_ms, then }
}

fn roll_back(probation: Probation) -> midflight_runtime::upgrade::RolledBack {
    probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap()
}

fn finish(mut probation: Probation) {
    probation.confirm();
    probation.finish().map_err(|e| e.1).unwrap();
}

/// OTP: `load_module`; otp-parity row 1.
#[test]
fn load_module_suspends_nobody_and_existing_actors_switch_at_their_next_event() {
    let limits = Limits {
        handler_ms: 2_000,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 2)]);
    ask(&node, "probe.2", json!({"op": "add", "n": 3}));
    let mut order = order(
        &node,
        vec![change("probe", "1.0.0", "1.1.0", "probe_v1", json!({}))],
    );
    order.modules[0].policy = Policy::LoadModule;
    tell(&node, "probe.1", json!({"op": "loop"}));
    let busy = || {
        node.status(&actor("probe.1"), Duration::from_millis(1))
            .is_err()
    };
    until("it runs", busy);
    let probation = upgrade(&node, order).unwrap();
    assert!(busy(), "nobody waited for the handler that runs");
    assert_eq!(node.modules()[0].vsn, vsn("1.1.0"));
    assert_eq!(
        ask(&node, "probe.2", json!({"op": "add", "n": 4})),
        json!({"total": 7}),
        "the state is as it was"
    );
    assert_eq!(vsn_of(&node, "probe.2"), "1.1.0");
    let report = roll_back(probation);
    assert_eq!((report.migrated, report.held.len()), (0, 0), "{report:?}");
    assert_eq!(vsn_of(&node, "probe.2"), "1.0.0");
    assert_eq!(core(&node, "probe.2")["total"], 7);
}

/// otp-parity row 1 and Beyond 1.
#[test]
fn load_module_that_fails_in_probation_parks_and_the_old_code_answers_after_the_rollback() {
    let node = boot(&[part("counter", "counter_v1", 2)]);
    let mut order = order(
        &node,
        vec![change(
            "counter",
            "1.0.0",
            "2.0.0",
            "counter_bad_first",
            json!({}),
        )],
    );
    order.modules[0].policy = Policy::LoadModule;
    let probation = upgrade(&node, order).unwrap();
    node.cast(&actor("counter.1"), vec![0]).unwrap();
    until("it is parked", || probation.health().parked == 1);
    assert_eq!(roll_back(probation).redelivered, 1);
    until("the old code handles it", || {
        node.get_state(&actor("counter.1"), SOON).unwrap() == "1"
    });
}

/// otp-parity row 1: existing stay on old until they end; rows 2 and 3: then it is purged, in the background.
#[test]
fn drained_actors_end_on_the_old_code_new_ones_start_on_the_new_and_then_the_old_is_purged() {
    let node = probes(2);
    let order = probe_to_v2(&node, draining(LONG, AfterDraining::Update));
    let probation = upgrade(&node, order).unwrap();
    spawn(&node, "probe.1", "born");
    let both = |when: &str| {
        let codes = (code(&node, "probe.1"), code(&node, "born"));
        assert_eq!(codes, (json!("v1"), json!("v2")), "{when}");
        let old = node.old_code();
        assert_eq!(old.len(), 1, "{when}");
        assert_eq!((old[0].actors, old[0].vsn.clone()), (2, vsn("1.0.0")));
        let mut pids = old[0].pids.clone();
        pids.sort_unstable();
        let mut expected = vec![
            node.whereis("probe.1").unwrap(),
            node.whereis("probe.2").unwrap(),
        ];
        expected.sort_unstable();
        assert_eq!(pids, expected, "{when}");
    };
    both("in probation");
    finish(probation);
    both("finished");
    assert_eq!(node.modules()[0].actors_on_old, 2);
    tell(&node, "probe.1", json!({"op": "stop", "reason": "normal"}));
    until("one is left", || {
        node.old_code().first().is_some_and(|old| old.actors == 1)
    });
    tell(&node, "probe.2", json!({"op": "stop", "reason": "normal"}));
    until("the old code is purged", || {
        node.modules()[0].old_vsn.is_none()
    });
    assert!(node.old_code().is_empty());
    assert_eq!(code(&node, "born"), "v2");
}

/// Draining has a deadline, then update or stop.
#[test]
fn when_their_time_is_up_drained_actors_are_updated_or_stopped_as_the_order_says() {
    for then in [AfterDraining::Update, AfterDraining::Stop] {
        let node = probes(3);
        ask(&node, "probe.2", json!({"op": "add", "n": 8}));
        let probation = upgrade(&node, probe_to_v2(&node, draining(0, then))).unwrap();
        assert_eq!(code(&node, "probe.1"), "v1", "not before it is finished");
        finish(probation);
        until("nobody runs old code", || node.old_code().is_empty());
        until("it is purged", || node.modules()[0].old_vsn.is_none());
        match then {
            AfterDraining::Update => {
                assert_eq!(code(&node, "probe.2"), "v2");
                assert_eq!(core(&node, "probe.2")["total"], 8);
            }
            AfterDraining::Stop => assert_eq!(node.actor_count(), 0),
        }
    }
}

#[test]
fn a_rollback_takes_who_was_born_on_the_new_code_back_and_leaves_the_drained_alone() {
    let node = probes(1);
    let order = probe_to_v2(&node, draining(LONG, AfterDraining::Stop));
    let probation = upgrade(&node, order).unwrap();
    spawn(&node, "probe", "born");
    ask(&node, "born", json!({"op": "add", "n": 6}));
    ask(&node, "probe", json!({"op": "add", "n": 2}));
    let report = roll_back(probation);
    assert_eq!((report.migrated, report.held.len()), (1, 0), "{report:?}");
    for (who, total) in [("probe", 2), ("born", 6)] {
        assert_eq!(code(&node, who), "v1");
        assert_eq!(core(&node, who)["total"], total, "{who}");
    }
    assert!(node.old_code().is_empty());
}

/// actor-contract.md, "Messages across versions".
#[test]
fn messages_between_drained_actors_and_those_on_the_new_code_are_converted() {
    let node = probes(1);
    let order = probe_to_v2(&node, draining(LONG, AfterDraining::Stop));
    let probation = upgrade(&node, order).unwrap();
    spawn(&node, "probe", "born");
    let note = |from: &str, to: &str| {
        let body = json!({"convert": "yes"});
        ask(&node, from, json!({"op": "cast", "to": to, "body": body}));
        until("it arrives", || core(&node, to)["notes"][0].is_string());
        core(&node, to)["notes"][0].to_string()
    };
    let up = note("probe", "born");
    assert!(up.contains("up from 1.0.0"), "{up}");
    finish(probation);
    let down = note("born", "probe");
    assert!(down.contains("down from 1.0.0"), "{down}");
}

/// otp-parity row 4.
#[test]
#[allow(clippy::approx_constant)] // it is the seed's
fn three_policies_are_one_transaction_with_one_way_back() {
    let parts = [
        part("counter", "counter_v1", 2),
        part("pi", "pi_v1", 1),
        part("probe", "probe_v1", 1),
    ];
    let node = boot(&parts);
    let orders = |bad: bool| {
        let file = if bad {
            "counter_bad_error"
        } else {
            "counter_v2"
        };
        let mut order = order(
            &node,
            vec![
                change("counter", "1.0.0", "2.0.0", file, json!({"fail_at": 0})),
                change("pi", "1.0.0", "1.1.0", "pi_v1", json!({})),
                change("probe", "1.0.0", "2.0.0", "probe_v2", json!({})),
            ],
        );
        order.modules[1].policy = Policy::LoadModule;
        order.modules[2].policy = draining(LONG, AfterDraining::Stop);
        order
    };
    let vsns = || {
        let modules = node.modules();
        modules
            .iter()
            .map(|m| m.vsn.to_string())
            .collect::<Vec<_>>()
    };
    let before = vsns();
    assert_eq!(
        upgrade(&node, orders(true)).map(drop).unwrap_err().code(),
        "MF0308"
    );
    assert_eq!(vsns(), before, "one failure and nothing changed");
    let probation = upgrade(&node, orders(false)).unwrap();
    assert_eq!(vsns(), ["2.0.0", "1.1.0", "2.0.0"]);
    assert_eq!(vsn_of(&node, "pi"), "1.1.0");
    assert_eq!(vsn_of(&node, "counter.1"), "2.0.0");
    assert_eq!(code(&node, "probe"), "v1");
    roll_back(probation);
    assert_eq!(vsns(), before);
    assert_eq!(vsn_of(&node, "pi"), "1.0.0");
    assert_eq!(vsn_of(&node, "counter.1"), "1.0.0");
}

fn add(node: &Node, config: Value) -> Order {
    let (blob, bytes) = component("probe_v2");
    node.stage(&name("guest"), &blob, &bytes).unwrap();
    let mut order = Order::new(Direction::Up, Vec::new());
    order.add = vec![AddModule {
        name: name("guest"),
        vsn: vsn("1.0.0"),
        blob,
        config: config.to_string().into_bytes(),
    }];
    order
}

/// OTP: `on_load`; otp-parity row 5.
#[test]
fn anything_but_ok_from_on_load_keeps_the_current_code_also_of_added_modules() {
    let node = probes(1);
    for config in [json!({"refuse": "no"}), json!({"trap": true})] {
        let mut order = probe_to_v2(&node, Policy::Update);
        order.modules[0].config = config.to_string().into_bytes();
        assert_eq!(node.begin(order).map(drop).unwrap_err().code(), "MF0302");
        let order = add(&node, config);
        assert_eq!(node.begin(order).map(drop).unwrap_err().code(), "MF0302");
    }
    let modules = node.modules();
    assert_eq!(modules.len(), 1);
    assert_eq!(
        (&modules[0].vsn, &modules[0].old_vsn),
        (&vsn("1.0.0"), &None)
    );
    assert_eq!(code(&node, "probe"), "v1");
    upgrade(&node, probe_to_v2(&node, Policy::Update))
        .map(drop)
        .unwrap();
}

fn spawn_guest(node: &Node, name: &str) {
    let op = json!({"op": "spawn", "module": "guest", "args": {}, "name": name});
    tell(node, "probe.1", op);
}

/// OTP: `add_module`; otp-parity row 11.
#[test]
fn an_added_module_exists_from_resume_on_and_a_rollback_takes_it_away_with_its_actors() {
    let node = probes(2);
    let (prepared, _) = node
        .begin(add(&node, Value::Null))
        .unwrap()
        .prepare()
        .unwrap();
    assert_eq!(node.modules().len(), 1, "not yet");
    let migrated = prepared
        .suspend()
        .unwrap()
        .load()
        .unwrap()
        .migrate()
        .unwrap();
    let (probation, _) = migrated.resume().unwrap();
    spawn_guest(&node, "visitor");
    until("it is born", || node.whereis("visitor").is_some());
    assert_eq!(code(&node, "visitor"), "v2");
    let report = roll_back(probation);
    assert_eq!(report.stopped, 1);
    until("it is gone", || node.whereis("visitor").is_none());
    assert_eq!(node.modules().len(), 1);
    finish(upgrade(&node, add(&node, Value::Null)).unwrap());
    let error = node.begin(add(&node, Value::Null)).map(drop).unwrap_err();
    assert_eq!(error.code(), "MF0331", "it is there already");
    spawn_guest(&node, "visitor");
    until("it is born", || node.whereis("visitor").is_some());
}

/// OTP: `delete_module`; otp-parity row 11.
#[test]
fn a_deleted_module_must_not_be_run_or_its_actors_are_stopped_and_a_rollback_brings_it_back() {
    let node = boot(&[part("probe", "probe_v1", 1), part("other", "probe_v1", 2)]);
    let delete = |purge| {
        let mut order = Order::new(Direction::Up, Vec::<ModuleOrder>::new());
        order.delete = vec![DeleteModule {
            name: name("other"),
            from: vsn("1.0.0"),
            purge,
        }];
        order
    };
    let error = upgrade(&node, delete(Purge::Soft)).map(drop).unwrap_err();
    assert_eq!(error.code(), "MF0332");
    assert!(
        error.to_string().contains("2 actors run module other"),
        "{error}"
    );
    assert_eq!(code(&node, "other.1"), "v1", "nobody was stopped");
    let other = node.whereis("other.1").unwrap();
    ask(&node, "probe", json!({"op": "monitor", "pid": other}));
    let probation = upgrade(&node, delete(Purge::Brutal)).unwrap();
    until("they are gone", || node.actor_count() == 1);
    until("it hears", || core(&node, "probe")["downs"][0][0] == other);
    assert_eq!(core(&node, "probe")["downs"][0][1], "shutdown");
    assert_eq!(node.modules().len(), 1);
    roll_back(probation);
    assert_eq!(node.modules().len(), 2);
    let op = json!({"op": "spawn", "module": "other", "args": {}, "name": "again"});
    ask(&node, "probe", op);
    until("it is born", || node.whereis("again").is_some());
    // One that is still in its first turn would find no code there, and end by itself.
    assert_eq!(code(&node, "again"), "v1");
    node.purge(&name("other"), Purge::Soft).unwrap();
    let error = node.delete_module(&name("other"), Purge::Soft).unwrap_err();
    assert_eq!(error.code(), "MF0332");
    assert_eq!(
        node.delete_module(&name("other"), Purge::Brutal).unwrap(),
        1
    );
    assert_eq!((node.modules().len(), node.actor_count()), (1, 1));
}
