//! What happens to one event: order, transactions, bounds.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use midflight_runtime::Limits;

#[test]
fn a_call_is_answered_and_a_cast_is_counted() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    tell(&node, "probe", json!({"op": "add", "n": 2}));
    assert_eq!(
        ask(&node, "probe", json!({"op": "add", "n": 3})),
        json!({"total": 5})
    );
    let all = ask(&node, "probe", json!({"op": "get"}));
    assert_eq!(all["code"], "v1");
    assert_eq!(all["core"]["casts"], 1);
}

#[test]
fn messages_of_one_sender_arrive_in_order_and_once() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    tell(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "times": 400, "from": 1, "body": {}}),
    );
    tell(
        &node,
        "probe.1",
        json!({"op": "send", "to": "probe.2", "times": 400, "from": 401, "body": {}}),
    );
    until("800 arrive", || {
        ask(&node, "probe.2", json!({"op": "get"}))["core"]["noted"] == 800
    });
    let core = &ask(&node, "probe.2", json!({"op": "get"}))["core"];
    assert_eq!(core["out_of_order"], 0);
}

#[test]
fn a_handler_that_fails_releases_neither_state_nor_effects_and_ends_its_actor_alone() {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    let before = node.actor_count();
    tell(
        &node,
        "probe.2",
        json!([{"op": "add", "n": 1}, {"op": "cast", "to": "probe.3", "body": {"seq": 1}}, {"op": "trap"}]),
    );
    until("it is gone", || node.whereis("probe.2").is_none());
    assert_eq!(node.actor_count(), before - 1);
    let core = &ask(&node, "probe.3", json!({"op": "get"}))["core"];
    assert_eq!(core["noted"], 0, "the cast was never released");
    assert_eq!(
        ask(&node, "probe.1", json!({"op": "add", "n": 1})),
        json!({"total": 1})
    );
}

#[test]
fn in_a_batch_only_the_event_that_fails_is_lost() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    node.suspend(&actor("probe.1"), SOON).unwrap();
    for n in 1..=5 {
        tell(
            &node,
            "probe.1",
            json!({"op": "cast", "to": "probe.2", "body": {"seq": n}}),
        );
    }
    tell(&node, "probe.1", json!({"op": "trap"}));
    tell(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "body": {"seq": 99}}),
    );
    node.resume(&actor("probe.1"), SOON).unwrap();
    until("it is gone", || node.whereis("probe.1").is_none());
    let core = &ask(&node, "probe.2", json!({"op": "get"}))["core"];
    assert_eq!(core["noted"], 5);
    assert_eq!(core["out_of_order"], 0);
    assert_eq!(node.dead_letters(), 1, "the one behind the trap is counted");
}

#[test]
fn an_error_ends_the_actor_and_tells_its_callers_and_watchers() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let pid = node.whereis("probe.2").unwrap();
    ask(&node, "probe.1", json!({"op": "monitor", "pid": pid}));
    let error = try_ask(&node, "probe.2", json!({"op": "error", "text": "no more"})).unwrap_err();
    assert!(error.to_string().contains("no more"), "{error}");
    until("the watcher hears", || {
        ask(&node, "probe.1", json!({"op": "get"}))["core"]["downs"][0][0] == pid
    });
}

#[test]
fn an_endless_loop_is_ended_within_its_time() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let error = try_ask(&node, "probe.1", json!({"op": "loop"})).unwrap_err();
    assert!(error.to_string().contains("handler_ms"), "{error}");
    assert_eq!(
        ask(&node, "probe.2", json!({"op": "add", "n": 1})),
        json!({"total": 1})
    );
}

#[test]
fn memory_state_and_messages_are_bounded() {
    let limits = Limits {
        instance_memory_mb: 8,
        state_bytes: 4096,
        message_bytes: 4096,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 4)]);
    assert!(try_ask(&node, "probe.1", json!({"op": "alloc", "mib": 32})).is_err());
    let error = try_ask(&node, "probe.2", json!({"op": "grow", "bytes": 8000})).unwrap_err();
    assert!(error.to_string().contains("limits.state_bytes"), "{error}");
    let pad = "x".repeat(5000);
    let error = try_ask(
        &node,
        "probe.3",
        json!({"op": "cast", "to": "probe.4", "body": {"text": pad}}),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("limits.message_bytes"),
        "{error}"
    );
    assert_eq!(
        ask(&node, "probe.4", json!({"op": "add", "n": 1})),
        json!({"total": 1})
    );
}

#[test]
fn a_full_mailbox_refuses_and_counts() {
    let node = boot_with(
        Limits {
            mailbox: 10,
            ..limits()
        },
        &[part("probe", "probe_v1", 2)],
    );
    node.suspend(&actor("probe.2"), SOON).unwrap();
    ask(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "times": 15, "body": {}}),
    );
    assert_eq!(node.dead_letters(), 5);
    let answer = ask(
        &node,
        "probe.1",
        json!({"op": "relay", "to": "probe.2", "body": {"op": "get"}}),
    );
    assert!(
        answer["error"]
            .to_string()
            .to_lowercase()
            .contains("overflow"),
        "{answer}"
    );
    assert_eq!(node.status(&actor("probe.2"), SOON).unwrap().mailbox, 10);
}

#[test]
fn requests_time_out_and_name_a_dead_receiver() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    node.suspend(&actor("probe.2"), SOON).unwrap();
    let answer = ask(
        &node,
        "probe.1",
        json!({"op": "relay", "to": "probe.2", "body": {"op": "get"}, "timeout_ms": 20}),
    );
    assert!(
        answer["error"]
            .to_string()
            .to_lowercase()
            .contains("timeout"),
        "{answer}"
    );
    let answer = ask(
        &node,
        "probe.1",
        json!({"op": "relay", "to": "nobody", "body": {"op": "get"}}),
    );
    assert!(answer["error"].to_string().contains("noproc"), "{answer}");
}

#[test]
fn an_answer_that_was_put_off_comes_later_and_a_debt_is_paid_at_death() {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    tell(
        &node,
        "probe.1",
        json!({"op": "ask", "to": "probe.2", "body": {"op": "later"}, "cookie": "first"}),
    );
    until("it is owed", || {
        ask(&node, "probe.2", json!({"op": "get"}))["core"]["put_off"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    ask(
        &node,
        "probe.2",
        json!({"op": "answer", "body": {"well": true}}),
    );
    until("it came", || {
        ask(&node, "probe.1", json!({"op": "get"}))["core"]["answers"][0][0] == "first"
    });
    tell(
        &node,
        "probe.1",
        json!({"op": "ask", "to": "probe.3", "body": {"op": "later"}, "cookie": "second"}),
    );
    until("it is owed", || {
        ask(&node, "probe.3", json!({"op": "get"}))["core"]["put_off"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    tell(&node, "probe.3", json!({"op": "stop", "reason": "enough"}));
    until("it is told", || {
        ask(&node, "probe.1", json!({"op": "get"}))["core"]["answers"][1][1]["Err"]
            .to_string()
            .contains("enough")
    });
}

#[test]
fn timers_fire_once_and_cancelled_ones_never() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    let id = ask(
        &node,
        "probe",
        json!({"op": "timer", "after_ms": 60, "body": {"seq": 7}}),
    )["id"]
        .clone();
    ask(
        &node,
        "probe",
        json!({"op": "timer", "after_ms": 120, "body": {"seq": 8}}),
    );
    ask(&node, "probe", json!({"op": "cancel", "id": id}));
    until("the second fires", || {
        ask(&node, "probe", json!({"op": "get"}))["core"]["timers"] == 1
    });
    let received = ask(&node, "probe", json!({"op": "get"}))["core"]["received"].clone();
    assert_eq!(received, json!([[0, 8]]));
}

#[test]
fn children_are_spawned_named_and_watched_and_a_failed_init_is_told() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    ask(
        &node,
        "probe",
        json!({"op": "spawn", "module": "probe", "args": {}, "name": "child", "monitor": true}),
    );
    until("it lives", || node.whereis("child").is_some());
    assert_eq!(
        ask(&node, "child", json!({"op": "add", "n": 4})),
        json!({"total": 4})
    );
    tell(&node, "child", json!({"op": "stop", "reason": "normal"}));
    until("its parent hears", || {
        ask(&node, "probe", json!({"op": "get"}))["core"]["downs"][0][1] == "normal"
    });
    ask(
        &node,
        "probe",
        json!({"op": "spawn", "module": "probe", "args": {"ops": [{"op": "trap"}]}}),
    );
    until("its parent hears", || {
        ask(&node, "probe", json!({"op": "get"}))["core"]["downs"]
            .as_array()
            .unwrap()
            .len()
            == 2
    });
    ask(
        &node,
        "probe",
        json!({"op": "spawn", "module": "probe", "args": {}, "name": "probe"}),
    );
    until("a taken name is told", || {
        ask(&node, "probe", json!({"op": "get"}))["core"]["downs"][2][1]
            .to_string()
            .contains("already_started")
    });
    assert_eq!(node.actor_count(), 1);
}

#[test]
fn hermetic_mode_notices_meaning_in_guest_memory() {
    let node = boot_with(
        Limits {
            workers: 1,
            ..limits()
        },
        &[part("probe", "probe_v1", 1)],
    );
    ask(&node, "probe", json!({"op": "impure"}));
    let error = try_ask(&node, "probe", json!({"op": "impure"})).unwrap_err();
    assert!(error.to_string().contains("hermetic"), "{error}");
}

#[test]
fn sys_reads_and_replaces_a_state_and_a_bad_replacement_keeps_it() {
    let node = boot(&[part("counter", "counter_v1", 1)]);
    assert_eq!(node.get_state(&actor("counter"), SOON).unwrap(), "0");
    assert_eq!(
        node.replace_state(&actor("counter"), "41", SOON).unwrap(),
        "41"
    );
    let error = node
        .replace_state(&actor("counter"), "\"many\"", SOON)
        .unwrap_err();
    assert_eq!(error.code(), "MF0315");
    assert_eq!(node.get_state(&actor("counter"), SOON).unwrap(), "41");
}

#[test]
fn a_suspended_actor_keeps_its_messages_in_order() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    assert_eq!(
        node.suspend(&actor("probe.2"), SOON).unwrap().status,
        "suspended"
    );
    ask(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "times": 100, "from": 1, "body": {}}),
    );
    assert_eq!(node.status(&actor("probe.2"), SOON).unwrap().mailbox, 100);
    node.resume(&actor("probe.2"), SOON).unwrap();
    until("all arrive", || {
        ask(&node, "probe.2", json!({"op": "get"}))["core"]["noted"] == 100
    });
    assert_eq!(
        ask(&node, "probe.2", json!({"op": "get"}))["core"]["out_of_order"],
        0
    );
}
