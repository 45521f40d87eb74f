//! The upgrade transaction: all or nothing, nothing lost, and a way back.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::Duration;

use common::*;
use midflight_runtime::{Direction, Error, Limits, Node, OnDownFailure};

const BUDGET: Duration = Duration::from_secs(2);

fn counters(count: u32) -> Node {
    boot_with(limits(), &[part("counter", "counter_v1", count)])
}

fn state(node: &Node, who: &str) -> Value {
    serde_json::from_str(&node.get_state(&actor(who), SOON).unwrap()).unwrap()
}

fn to_v2(node: &Node, file: &str, extra: Value) -> midflight_runtime::Order {
    order(node, vec![change("counter", "1.0.0", "2.0.0", file, extra)])
}

#[test]
fn the_counter_of_the_seed_becomes_a_record_and_an_integer_again() {
    let node = counters(3);
    for (who, count) in [("counter.1", 2), ("counter.2", 3)] {
        node.replace_state(&actor(who), &count.to_string(), SOON)
            .unwrap();
    }
    let probation = upgrade(&node, to_v2(&node, "counter_v2", json!({}))).unwrap();
    let migrated = state(&node, "counter.1");
    assert_eq!(
        (&migrated["count"], &migrated["increment_count"]),
        (&json!(2), &json!(2))
    );
    assert!(migrated["last_updated"].is_u64());
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!(
        (report.pinned, report.migrated),
        (3, 0),
        "nobody did anything: no code ran for it"
    );
    assert_eq!(state(&node, "counter.1"), json!(2));
    assert_eq!(state(&node, "counter.2"), json!(3));
    assert_eq!(node.modules()[0].vsn, vsn("1.0.0"));
}

#[test]
fn a_rollback_keeps_what_was_counted_on_the_new_code() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    ask(&node, "probe.1", json!({"op": "add", "n": 5}));
    let order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    let probation = upgrade(&node, order).unwrap();
    assert_eq!(
        ask(&node, "probe.1", json!({"op": "add", "n": 7})),
        json!({"total": 12})
    );
    assert_eq!(ask(&node, "probe.1", json!({"op": "get"}))["code"], "v2");
    ask(
        &node,
        "probe.2",
        json!({"op": "spawn", "module": "probe", "args": {}, "name": "born"}),
    );
    until("it is born", || node.whereis("born").is_some());
    ask(&node, "born", json!({"op": "add", "n": 9}));
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!(
        (report.pinned, report.migrated, report.held.len()),
        (0, 3, 0),
        "{report:?}"
    );
    for (who, total) in [("probe.1", 12), ("born", 9)] {
        let all = ask(&node, who, json!({"op": "get"}));
        assert_eq!(
            (&all["code"], &all["core"]["total"]),
            (&json!("v1"), &json!(total)),
            "{who}"
        );
    }
}

#[test]
fn a_failing_code_change_in_one_of_1000_actors_leaves_all_1000_untouched() {
    let node = counters(1000);
    node.replace_state(&actor("counter.777"), "50", SOON)
        .unwrap();
    let error = upgrade(
        &node,
        to_v2(&node, "counter_bad_error", json!({"fail_at": 50})),
    )
    .map(drop)
    .unwrap_err();
    let Error::CodeChange(failing) = &error else {
        panic!("{error}")
    };
    assert_eq!(failing.len(), 1);
    assert_eq!(
        (failing[0].name.as_str(), error.code()),
        ("counter.777", "MF0308")
    );
    for n in 1..=1000 {
        let expected = if n == 777 { json!(50) } else { json!(0) };
        assert_eq!(state(&node, &format!("counter.{n}")), expected);
    }
    assert_eq!(node.modules()[0].vsn, vsn("1.0.0"));
    upgrade(&node, to_v2(&node, "counter_v2", json!({})))
        .map(drop)
        .unwrap();
}

#[test]
fn a_code_change_that_traps_names_who_and_changes_nothing() {
    let node = counters(200);
    node.replace_state(&actor("counter.150"), "9", SOON)
        .unwrap();
    let error = upgrade(
        &node,
        to_v2(&node, "counter_bad_trap", json!({"trap_at": 9})),
    )
    .map(drop)
    .unwrap_err();
    let Error::CodeChange(failing) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        failing.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
        ["counter.150"]
    );
    assert_eq!(state(&node, "counter.150"), json!(9));
}

#[test]
fn the_1000th_code_change_fails_inside_the_pause_after_a_clean_prepare_and_nothing_changed() {
    let node = counters(1000);
    let order = to_v2(&node, "counter_bad_error", json!({"fail_at": 50}));
    let (prepared, report) = node.begin(order).unwrap().prepare().unwrap();
    assert_eq!((report.actors, report.dirty), (1000, 0), "prepare is clean");
    node.replace_state(&actor("counter.1000"), "50", SOON)
        .unwrap();
    let error = prepared
        .suspend()
        .unwrap()
        .load()
        .unwrap()
        .migrate()
        .map(drop)
        .unwrap_err();
    let Error::CodeChange(failing) = &error else {
        panic!("{error}")
    };
    assert_eq!(failing[0].name, "counter.1000");
    for n in 1..=1000 {
        let expected = if n == 1000 { json!(50) } else { json!(0) };
        assert_eq!(state(&node, &format!("counter.{n}")), expected);
    }
    assert_eq!(
        (
            node.modules()[0].vsn.clone(),
            node.modules()[0].old_vsn.clone()
        ),
        (vsn("1.0.0"), None)
    );
}

#[test]
fn states_that_change_during_prepare_are_migrated_again() {
    let node = boot(&[part("probe", "probe_v1", 100)]);
    let order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    for n in 1..=100 {
        ask(&node, &format!("probe.{n}"), json!({"op": "add", "n": n}));
    }
    ask(
        &node,
        "probe.1",
        json!({"op": "spawn", "module": "probe", "args": {"ops": [{"op": "add", "n": 500}]}, "name": "late"}),
    );
    until("it is born", || node.whereis("late").is_some());
    ask(&node, "late", json!({"op": "add", "n": 1}));
    let (_probation, resumed) = prepared
        .suspend()
        .unwrap()
        .load()
        .unwrap()
        .migrate()
        .unwrap()
        .resume()
        .unwrap();
    assert_eq!(resumed.migrated_in_pause, 101);
    for n in 1..=100 {
        let all = ask(&node, &format!("probe.{n}"), json!({"op": "get"}));
        assert_eq!(
            (&all["code"], &all["core"]["total"]),
            (&json!("v2"), &json!(n))
        );
    }
    assert_eq!(
        ask(&node, "late", json!({"op": "get"}))["core"]["total"],
        501
    );
}

#[test]
fn an_actor_that_dies_meanwhile_is_no_failure() {
    let node = counters(10);
    let (prepared, _) = node
        .begin(to_v2(&node, "counter_v2", json!({})))
        .unwrap()
        .prepare()
        .unwrap();
    // A message that the counter cannot read ends it.
    let _ = node.call(&actor("counter.3"), vec![250, 250], SOON);
    until("it is gone", || node.whereis("counter.3").is_none());
    let (_, resumed) = prepared
        .suspend()
        .unwrap()
        .load()
        .unwrap()
        .migrate()
        .unwrap()
        .resume()
        .unwrap();
    assert_eq!(resumed.migrated_in_pause, 0);
}

#[test]
fn messages_sent_while_suspended_wait_in_order_and_none_is_lost() {
    let node = boot(&[part("probe", "probe_v1", 1), part("sender", "probe_v1", 1)]);
    let order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    let suspended = prepared.suspend().unwrap();
    ask(
        &node,
        "sender",
        json!({"op": "cast", "to": "probe", "times": 500, "from": 1, "body": {}}),
    );
    // Other actors go on meanwhile: one that were not suspended would have had its turn many times.
    for _ in 0..500 {
        ask(&node, "sender", json!({"op": "get"}));
    }
    assert_eq!(node.status(&actor("probe"), SOON).unwrap().mailbox, 500);
    let (_probation, _) = suspended
        .load()
        .unwrap()
        .migrate()
        .unwrap()
        .resume()
        .unwrap();
    until("all arrive", || {
        ask(&node, "probe", json!({"op": "get"}))["core"]["noted"] == 500
    });
    let all = ask(&node, "probe", json!({"op": "get"}));
    assert_eq!(
        (&all["code"], &all["core"]["out_of_order"]),
        (&json!("v2"), &json!(0))
    );
}

#[test]
fn dropped_or_aborted_before_resume_the_old_code_goes_on_with_what_waited() {
    for phase in 0..4 {
        let node = boot(&[part("probe", "probe_v1", 1), part("sender", "probe_v1", 1)]);
        ask(&node, "probe", json!({"op": "add", "n": 3}));
        let order = order(
            &node,
            vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
        );
        let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
        let send = || {
            ask(
                &node,
                "sender",
                json!({"op": "cast", "to": "probe", "times": 50, "from": 1, "body": {}}),
            )
        };
        match phase {
            0 => {
                send();
                drop(prepared);
            }
            1 => {
                let suspended = prepared.suspend().unwrap();
                send();
                drop(suspended);
            }
            2 => {
                let loaded = prepared.suspend().unwrap().load().unwrap();
                send();
                drop(loaded);
            }
            _ => {
                let migrated = prepared
                    .suspend()
                    .unwrap()
                    .load()
                    .unwrap()
                    .migrate()
                    .unwrap();
                send();
                drop(migrated);
            }
        }
        until("all arrive", || {
            ask(&node, "probe", json!({"op": "get"}))["core"]["noted"] == 50
        });
        let all = ask(&node, "probe", json!({"op": "get"}));
        assert_eq!(
            (&all["code"], &all["core"]["total"]),
            (&json!("v1"), &json!(3)),
            "dropped in phase {phase}"
        );
        assert_eq!(node.modules()[0].old_vsn, None);
    }
}

#[test]
fn a_handler_that_fails_in_probation_parks_and_the_old_code_answers_after_the_rollback() {
    let node = counters(3);
    let get_count = vec![0];
    let node = &node;
    let probation = upgrade(node, to_v2(node, "counter_bad_first", json!({}))).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.call(&actor("counter.1"), get_count, SOON));
        until("it is parked", || {
            node.status(&actor("counter.1"), SOON)
                .is_ok_and(|s| s.status == "parked")
        });
        node.cast(&actor("counter.2"), vec![0]).unwrap();
        until("both are parked", || probation.health().parked == 2);
        assert_eq!(probation.health().traps, 2);
        let report = probation
            .rollback(BUDGET, OnDownFailure::Hold)
            .map_err(|e| e.1)
            .unwrap();
        assert_eq!(report.redelivered, 2);
        waiting.join().unwrap().expect("the old code answers");
    });
    until("the cast is handled", || {
        state(node, "counter.2") == json!(1)
    });
}

#[test]
fn confirm_turns_parked_actors_into_ordinary_crashes() {
    let node = counters(2);
    let mut probation = upgrade(&node, to_v2(&node, "counter_bad_first", json!({}))).unwrap();
    node.cast(&actor("counter.1"), vec![0]).unwrap();
    until("it is parked", || probation.health().parked == 1);
    assert_eq!(probation.confirm(), 1);
    until("it is gone", || node.whereis("counter.1").is_none());
    assert!(node.whereis("counter.2").is_some());
    probation.finish().map_err(|e| e.1).unwrap();
    assert_eq!(
        (
            node.modules()[0].vsn.clone(),
            node.modules()[0].old_vsn.clone()
        ),
        (vsn("2.0.0"), None)
    );
}

#[test]
fn a_second_upgrade_after_a_first_and_a_downgrade() {
    let node = counters(2);
    node.replace_state(&actor("counter.1"), "6", SOON).unwrap();
    for (from, to) in [("1.0.0", "2.0.0"), ("2.0.0", "2.0.1")] {
        let order = order(
            &node,
            vec![change("counter", from, to, "counter_v2", json!({}))],
        );
        let mut probation = upgrade(&node, order).unwrap();
        probation.confirm();
        probation.finish().map_err(|e| e.1).unwrap();
        assert_eq!(state(&node, "counter.1")["count"], 6, "{to}");
    }
    let mut down = order(
        &node,
        vec![change("counter", "2.0.1", "1.0.0", "counter_v1", json!({}))],
    );
    down.direction = Direction::Down;
    let mut probation = upgrade(&node, down).unwrap();
    assert_eq!(state(&node, "counter.1"), json!(6));
    probation.confirm();
    probation.finish().map_err(|e| e.1).unwrap();
    assert_eq!(node.modules()[0].vsn, vsn("1.0.0"));
}

#[test]
fn two_upgrades_at_once_one_is_refused() {
    let node = counters(2);
    let opened = node.begin(to_v2(&node, "counter_v2", json!({}))).unwrap();
    let error = node
        .begin(to_v2(&node, "counter_v2", json!({})))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code(), "MF0306");
    drop(opened);
    let probation = upgrade(&node, to_v2(&node, "counter_v2", json!({}))).unwrap();
    let error = node
        .begin(to_v2(&node, "counter_v2", json!({})))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("in probation"), "{error}");
    let (_, error) = probation.finish().unwrap_err();
    assert_eq!(error.code(), "MF0307", "not before it is confirmed");
}

#[test]
fn a_patch_for_another_version_or_module_is_refused() {
    let node = counters(1);
    let wrong = order(
        &node,
        vec![change("counter", "0.9.0", "2.0.0", "counter_v2", json!({}))],
    );
    assert_eq!(node.begin(wrong).map(drop).unwrap_err().code(), "MF0305");
    let unknown = order(
        &node,
        vec![change("nobody", "1.0.0", "2.0.0", "counter_v2", json!({}))],
    );
    assert_eq!(node.begin(unknown).map(drop).unwrap_err().code(), "MF0304");
    let mut refusing = order(
        &node,
        vec![change("counter", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    refusing.modules[0].config = br#"{"refuse": "not here"}"#.to_vec();
    let error = node.begin(refusing).map(drop).unwrap_err();
    assert_eq!(error.code(), "MF0302");
    assert!(error.to_string().contains("not here"), "{error}");
}

#[test]
#[allow(clippy::approx_constant)] // it is the seed's
fn several_modules_commit_together_or_not_at_all() {
    let node = boot(&[
        part("counter", "counter_v1", 5),
        part("pi", "pi_v1", 1),
        part("greeter", "greeter_v1", 1),
    ]);
    let changes = |bad: &str, extra: Value| {
        vec![
            change("pi", "1.0.0", "2.0.0", "pi_v2", json!({})),
            change("greeter", "1.0.0", "2.0.0", "greeter_v2", json!({})),
            change("counter", "1.0.0", "2.0.0", bad, extra),
        ]
    };
    let error = upgrade(
        &node,
        order(&node, changes("counter_bad_error", json!({"fail_at": 0}))),
    )
    .map(drop)
    .unwrap_err();
    assert_eq!(error.code(), "MF0308");
    assert!(node.modules().iter().all(|m| m.vsn == vsn("1.0.0")));
    assert_eq!(state(&node, "pi"), json!(3.14));
    let probation = upgrade(&node, order(&node, changes("counter_v2", json!({})))).unwrap();
    assert!(node.modules().iter().all(|m| m.vsn == vsn("2.0.0")));
    assert_eq!(state(&node, "pi"), json!([3.14]));
    drop(probation);
}

#[test]
fn what_cannot_go_back_is_held_restored_or_stopped_as_the_order_says() {
    for (policy, expected) in [
        (OnDownFailure::Hold, "held"),
        (OnDownFailure::Restore, "waiting"),
        (OnDownFailure::Stop, "gone"),
    ] {
        let node = boot(&[part("probe", "probe_v1", 3)]);
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
        for who in ["probe.1", "probe.2"] {
            ask(&node, who, json!({"op": "add", "n": 5}));
        }
        let report = probation.rollback(BUDGET, policy).map_err(|e| e.1).unwrap();
        assert_eq!(
            (report.pinned, report.migrated),
            (1, 1),
            "{policy:?}: {report:?}"
        );
        assert_eq!(
            ask(&node, "probe.1", json!({"op": "get"}))["core"]["total"],
            5,
            "the others are not held up"
        );
        match policy {
            OnDownFailure::Hold => {
                assert_eq!(report.held[0].name, "probe.2");
                let status = node.status(&actor("probe.2"), SOON).unwrap();
                assert_eq!((status.status, status.vsn.as_str()), (expected, "2.0.0"));
            }
            OnDownFailure::Restore => {
                assert_eq!((report.restored, report.events_discarded), (1, 1));
                let all = ask(&node, "probe.2", json!({"op": "get"}));
                assert_eq!(
                    (&all["code"], &all["core"]["total"]),
                    (&json!("v1"), &json!(10))
                );
            }
            OnDownFailure::Stop => {
                assert_eq!(report.stopped, 1);
                assert_eq!(node.whereis("probe.2"), None, "{expected}");
            }
        }
    }
}

#[test]
fn an_upgrade_may_make_its_actors_act() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let order = order(
        &node,
        vec![change(
            "probe",
            "1.0.0",
            "2.0.0",
            "probe_v2",
            json!({"up": "redeliver", "all": true}),
        )],
    );
    let _probation = upgrade(&node, order).unwrap();
    until("an idle actor handles what it redelivered", || {
        node.status(&actor("probe.2"), SOON).unwrap().events >= 2
    });
    assert_eq!(
        ask(&node, "probe.2", json!({"op": "get"}))["core"]["received"],
        json!([[0, 0]])
    );
}

#[test]
fn messages_from_the_other_side_of_the_patch_are_converted_or_dead_lettered() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    node.suspend(&actor("probe.2"), SOON).unwrap();
    for word in ["yes", "none", "error"] {
        ask(
            &node,
            "probe.1",
            json!({"op": "cast", "to": "probe.2", "body": {"convert": word}}),
        );
    }
    let probation = upgrade(&node, order).unwrap();
    node.resume(&actor("probe.2"), SOON).unwrap();
    until("the first arrives", || {
        ask(&node, "probe.2", json!({"op": "get"}))["core"]["notes"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    let note = ask(&node, "probe.2", json!({"op": "get"}))["core"]["notes"][0].to_string();
    assert!(note.contains("up from 1.0.0"), "{note}");
    assert_eq!(node.dead_letters(), 2);
    drop(probation);
}

#[test]
fn a_pause_that_exceeds_its_budget_ends_by_itself_on_the_old_code() {
    let node = boot_with(
        Limits {
            handler_ms: 1_000,
            ..limits()
        },
        &[part("probe", "probe_v1", 2)],
    );
    let mut order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    order.pause_budget = Duration::from_millis(40);
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    // Its handler runs into its bound, which is far beyond the budget.
    tell(&node, "probe.1", json!({"op": "loop"}));
    until("it runs", || {
        node.status(&actor("probe.1"), Duration::from_millis(1))
            .is_err()
    });
    let error = prepared.suspend().map(drop).unwrap_err();
    assert_eq!(error.code(), "MF0311");
    assert_eq!(ask(&node, "probe.2", json!({"op": "get"}))["code"], "v1");
}

#[test]
fn a_mailbox_near_its_bound_ends_the_pause_on_the_old_code() {
    let node = boot_with(
        Limits {
            mailbox: 100,
            ..limits()
        },
        &[part("probe", "probe_v1", 1), part("sender", "probe_v1", 1)],
    );
    let order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    let suspended = prepared.suspend().unwrap();
    ask(
        &node,
        "sender",
        json!({"op": "cast", "to": "probe", "times": 90, "from": 1, "body": {}}),
    );
    assert_eq!(suspended.load().map(drop).unwrap_err().code(), "MF0312");
    until("all arrive", || {
        ask(&node, "probe", json!({"op": "get"}))["core"]["noted"] == 90
    });
    assert_eq!(node.dead_letters(), 0);
}

#[test]
fn a_fleet_of_messages_flows_through_upgrades_and_rollbacks_and_none_is_lost_or_doubled() {
    let node = boot_with(
        Limits {
            hermetic: false,
            ..limits()
        },
        &[part("probe", "probe_v1", 8), part("driver", "probe_v1", 1)],
    );
    for round in 0..6_u64 {
        for n in 1..=8 {
            tell(
                &node,
                "driver",
                json!({"op": "cast", "to": format!("probe.{n}"), "times": 300, "from": round * 300 + 1, "body": {}}),
            );
        }
        let order = order(
            &node,
            vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
        );
        let probation = upgrade(&node, order).unwrap();
        probation
            .rollback(BUDGET, OnDownFailure::Hold)
            .map_err(|e| e.1)
            .unwrap();
    }
    for n in 1..=8 {
        until("all arrive", || {
            ask(&node, &format!("probe.{n}"), json!({"op": "get"}))["core"]["noted"] == 1800
        });
        let all = ask(&node, &format!("probe.{n}"), json!({"op": "get"}));
        assert_eq!(
            (&all["code"], &all["core"]["out_of_order"]),
            (&json!("v1"), &json!(0))
        );
    }
    assert_eq!(node.dead_letters(), 0);
}
