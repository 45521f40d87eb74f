//! Links, exit signals and process groups, as the Erlang reference manual and OTP's `pg` have them. The terms are in the
//! names.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::Duration;

use common::*;
use midflight_runtime::{Limits, Node, OnDownFailure};

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

fn pid(node: &Node, who: &str) -> u64 {
    node.whereis(who).unwrap()
}

fn gone(node: &Node, who: &str) {
    until("it is gone", || node.whereis(who).is_none());
}

/// Three probes; the second and the third are linked.
fn linked() -> Node {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    ask(
        &node,
        "probe.2",
        json!({"op": "link", "pid": pid(&node, "probe.3")}),
    );
    node
}

#[test]
fn link_is_bidirectional_and_a_crash_of_either_ends_the_other_with_its_reason() {
    for (falls, follows) in [("probe.2", "probe.3"), ("probe.3", "probe.2")] {
        let node = linked();
        let follower = pid(&node, follows);
        ask(&node, "probe.1", json!({"op": "monitor", "pid": follower}));
        tell(&node, falls, json!({"op": "error", "text": "it broke"}));
        gone(&node, follows);
        until("the reason is heard", || {
            core(&node, "probe.1")["downs"] == json!([[follower, "it broke"]])
        });
    }
}

#[test]
fn an_exit_signal_normal_of_a_link_is_ignored() {
    let node = linked();
    tell(&node, "probe.2", json!({"op": "stop", "reason": "normal"}));
    gone(&node, "probe.2");
    assert_eq!(core(&node, "probe.3")["exits"], json!([]));
    // The link went with it: nothing is left that a later unlink could meet.
    ask(&node, "probe.3", json!({"op": "add", "n": 1}));
}

#[test]
fn trap_exit_makes_events_of_exit_signals_normal_too() {
    let node = linked();
    ask(&node, "probe.3", json!({"op": "trap_exit", "on": true}));
    let from = pid(&node, "probe.2");
    tell(&node, "probe.2", json!({"op": "stop", "reason": "normal"}));
    until("it hears", || {
        core(&node, "probe.3")["exits"] == json!([[from, "normal"]])
    });
}

#[test]
fn link_is_idempotent_and_one_unlink_takes_it_back_for_both() {
    let node = linked();
    ask(&node, "probe.3", json!({"op": "trap_exit", "on": true}));
    let (two, three) = (pid(&node, "probe.2"), pid(&node, "probe.3"));
    ask(&node, "probe.2", json!({"op": "link", "pid": three}));
    ask(&node, "probe.3", json!({"op": "link", "pid": two}));
    ask(&node, "probe.3", json!({"op": "unlink", "pid": two}));
    tell(&node, "probe.2", json!({"op": "trap"}));
    gone(&node, "probe.2");
    assert_eq!(core(&node, "probe.3")["exits"], json!([]));
}

#[test]
fn a_link_and_a_monitor_of_the_same_actor_are_both_heard_once() {
    let node = linked();
    let two = pid(&node, "probe.2");
    ask(
        &node,
        "probe.3",
        json!([{"op": "trap_exit", "on": true}, {"op": "monitor", "pid": two}]),
    );
    tell(&node, "probe.2", json!({"op": "error", "text": "both"}));
    until("both are heard", || {
        let core = core(&node, "probe.3");
        core["exits"] == json!([[two, "both"]]) && core["downs"] == json!([[two, "both"]])
    });
}

#[test]
fn a_link_to_a_pid_that_is_gone_gives_noproc() {
    let node = linked();
    let one = pid(&node, "probe.1");
    tell(&node, "probe.1", json!({"op": "stop", "reason": "normal"}));
    gone(&node, "probe.1");
    ask(
        &node,
        "probe.3",
        json!([{"op": "unlink", "pid": pid(&node, "probe.2")}, {"op": "trap_exit", "on": true}, {"op": "link", "pid": one}]),
    );
    until("noproc is heard", || {
        core(&node, "probe.3")["exits"] == json!([[one, "noproc"]])
    });
    ask(&node, "probe.2", json!({"op": "link", "pid": one}));
    gone(&node, "probe.2");
}

#[test]
fn after_unlink_no_exit_arrives_from_that_link_though_it_waited_already() {
    let node = linked();
    let two = pid(&node, "probe.2");
    node.suspend(&actor("probe.3"), SOON).unwrap();
    // Behind this waits the signal; when it is done the link is no more.
    tell(&node, "probe.3", json!({"op": "unlink", "pid": two}));
    tell(&node, "probe.2", json!({"op": "trap"}));
    gone(&node, "probe.2");
    node.resume(&actor("probe.3"), SOON).unwrap();
    assert_eq!(core(&node, "probe.3")["exits"], json!([]));
}

#[test]
fn spawn_link_is_atomic_the_parent_hears_even_of_a_child_that_fails_in_init() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    let args = json!({"ops": [{"op": "error", "text": "never lived"}]});
    let child = ask(
        &node,
        "probe",
        json!([{"op": "trap_exit", "on": true}, {"op": "spawn", "module": "probe", "link": true, "args": args}]),
    )["pid"]
        .clone();
    until("the exit is heard", || {
        core(&node, "probe")["exits"] == json!([[child, "never lived"]])
    });
}

#[test]
fn exit_2_ends_another_with_the_reason_and_kill_is_untrappable_and_becomes_killed() {
    let node = linked();
    ask(&node, "probe.2", json!({"op": "trap_exit", "on": true}));
    ask(&node, "probe.3", json!({"op": "trap_exit", "on": true}));
    let (one, two, three) = (
        pid(&node, "probe.1"),
        pid(&node, "probe.2"),
        pid(&node, "probe.3"),
    );
    ask(
        &node,
        "probe.1",
        json!({"op": "exit", "pid": three, "reason": "please"}),
    );
    until("it is trapped", || {
        core(&node, "probe.3")["exits"] == json!([[one, "please"]])
    });
    ask(
        &node,
        "probe.1",
        json!({"op": "exit", "pid": three, "reason": "kill"}),
    );
    gone(&node, "probe.3");
    until("the other hears `killed`", || {
        core(&node, "probe.2")["exits"] == json!([[three, "killed"]])
    });
    ask(&node, "probe.2", json!({"op": "trap_exit", "on": false}));
    ask(
        &node,
        "probe.1",
        json!({"op": "exit", "pid": two, "reason": "normal"}),
    );
    ask(&node, "probe.2", json!({"op": "add", "n": 1}));
    ask(
        &node,
        "probe.1",
        json!({"op": "exit", "pid": two, "reason": "enough"}),
    );
    gone(&node, "probe.2");
}

#[test]
fn exit_signals_and_messages_of_one_sender_stay_in_order() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let two = pid(&node, "probe.2");
    ask(&node, "probe.1", json!({"op": "monitor", "pid": two}));
    ask(
        &node,
        "probe.1",
        json!([
            {"op": "cast", "to": two, "body": {"op": "last_words", "to": "probe.1"}},
            {"op": "cast", "to": two, "body": {"op": "trap_exit", "on": true}},
            {"op": "exit", "pid": two, "reason": "trapped"},
            {"op": "cast", "to": two, "times": 100, "from": 1, "body": {}},
            {"op": "cast", "to": two, "body": {"op": "send", "to": "probe.1", "body": {"seq": 7}}},
            {"op": "cast", "to": two, "body": {"op": "trap_exit", "on": false}},
            {"op": "exit", "pid": two, "reason": "heeded"},
            {"op": "cast", "to": two, "body": {"op": "send", "to": "probe.1", "body": {"seq": 8}}},
        ]),
    );
    until("it ends", || {
        core(&node, "probe.1")["downs"] == json!([[two, "heeded"]])
    });
    let core = core(&node, "probe.1");
    assert_eq!(core["received"], json!([[two, 7]]));
    // gen_server: `terminate` is not called when exits are not trapped.
    assert_eq!(core["notes"], json!([]));
    assert_eq!(node.dead_letters(), 1, "what came behind the signal");
}

#[test]
fn terminate_runs_when_exits_are_trapped_and_the_parent_ends() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    ask(
        &node,
        "probe.1",
        json!({"op": "spawn", "module": "probe", "name": "child", "link": true}),
    );
    ask(
        &node,
        "child",
        json!([{"op": "trap_exit", "on": true}, {"op": "last_words", "to": "probe.2"}]),
    );
    tell(&node, "probe.1", json!({"op": "stop", "reason": "enough"}));
    gone(&node, "child");
    until("its last words arrive", || {
        core(&node, "probe.2")["notes"][0]
            .as_str()
            .is_some_and(|note| note.contains("enough"))
    });
}

#[test]
fn exit_signals_to_suspended_actors_wait_but_kill_does_not() {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    for who in ["probe.2", "probe.3"] {
        node.suspend(&actor(who), SOON).unwrap();
    }
    node.exit(&actor("probe.2"), "shutdown").unwrap();
    node.exit(&actor("probe.3"), "kill").unwrap();
    gone(&node, "probe.3");
    assert!(node.whereis("probe.2").is_some());
    node.resume(&actor("probe.2"), SOON).unwrap();
    gone(&node, "probe.2");
}

#[test]
fn while_an_upgrade_suspends_a_module_kill_alone_ends_its_actors() {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    let order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    let suspended = prepared.suspend().unwrap();
    tell(&node, "probe.3", json!({"op": "add", "n": 1}));
    node.exit(&actor("probe.2"), "shutdown").unwrap();
    node.exit(&actor("probe.3"), "kill").unwrap();
    gone(&node, "probe.3");
    assert!(node.whereis("probe.2").is_some());
    let (_probation, _) = suspended
        .load()
        .unwrap()
        .migrate()
        .unwrap()
        .resume()
        .unwrap();
    gone(&node, "probe.2");
    assert_eq!(ask(&node, "probe.1", json!({"op": "get"}))["code"], "v2");
}

#[test]
fn a_parked_actor_gives_its_exit_signal_at_confirm() {
    let node = linked();
    ask(&node, "probe.3", json!({"op": "trap_exit", "on": true}));
    let two = pid(&node, "probe.2");
    let change = change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}));
    let mut probation = upgrade(&node, order(&node, vec![change])).unwrap();
    tell(&node, "probe.2", json!({"op": "trap"}));
    until("it is parked", || {
        node.status(&actor("probe.2"), SOON).unwrap().status == "parked"
    });
    assert_eq!(core(&node, "probe.3")["exits"], json!([]));
    probation.confirm();
    until("the signal is given", || {
        core(&node, "probe.3")["exits"][0][0] == json!(two)
    });
}

#[test]
fn a_lossy_restore_takes_back_links_groups_and_trap_exit_and_tells_of_those_who_ended() {
    let node = boot(&[part("probe", "probe_v1", 4)]);
    let pids: Vec<u64> = (1..=4).map(|n| pid(&node, &format!("probe.{n}"))).collect();
    ask(
        &node,
        "probe.1",
        json!([{"op": "link", "pid": pids[1]}, {"op": "trap_exit", "on": true}, {"op": "join", "group": "before"}]),
    );
    let change = change(
        "probe",
        "1.0.0",
        "2.0.0",
        "probe_v2",
        json!({"down": "error"}),
    );
    // Only the actor with the flag fails on the way down.
    ask(&node, "probe.1", json!({"op": "flag", "on": true}));
    let probation = upgrade(&node, order(&node, vec![change])).unwrap();
    ask(
        &node,
        "probe.1",
        json!([{"op": "link", "pid": pids[2]}, {"op": "leave", "group": "before"}, {"op": "join", "group": "since"}]),
    );
    tell(&node, "probe.2", json!({"op": "stop", "reason": "done"}));
    until("the end is heard", || {
        core(&node, "probe.1")["exits"] == json!([[pids[1], "done"]])
    });
    ask(&node, "probe.1", json!({"op": "trap_exit", "on": false}));
    let report = probation
        .rollback(Duration::from_secs(2), OnDownFailure::Restore)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!(report.restored, 1);
    // It traps exits again, and hears again of the one who ended.
    until("the end is told again", || {
        core(&node, "probe.1")["exits"] == json!([[pids[1], "noproc"]])
    });
    let members =
        |group| ask(&node, "probe.4", json!({"op": "members", "group": group}))["pids"].clone();
    assert_eq!(members("before"), json!([pids[0]]));
    assert_eq!(members("since"), json!([]));
    tell(&node, "probe.3", json!({"op": "trap"}));
    gone(&node, "probe.3");
    assert_eq!(core(&node, "probe.1")["exits"].as_array().unwrap().len(), 1);
}

/// OTP: `pg:join/2`, `pg:leave/2`, `pg:get_members/1`.
#[test]
fn a_process_group_lists_its_members_and_an_end_leaves_all_groups() {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    let members = || ask(&node, "probe.3", json!({"op": "members", "group": "g"}))["pids"].clone();
    let (one, two) = (pid(&node, "probe.1"), pid(&node, "probe.2"));
    ask(&node, "probe.1", json!({"op": "join", "group": "g"}));
    ask(
        &node,
        "probe.2",
        json!([{"op": "join", "group": "g"}, {"op": "join", "group": "h"}]),
    );
    ask(&node, "probe.1", json!({"op": "join", "group": "g"}));
    assert_eq!(members(), json!([one, two, one]));
    ask(&node, "probe.1", json!({"op": "leave", "group": "g"}));
    assert_eq!(members(), json!([one, two]));
    tell(&node, "probe.2", json!({"op": "trap"}));
    until("its end took it out", || members() == json!([one]));
    let h = ask(&node, "probe.3", json!({"op": "members", "group": "h"}));
    assert_eq!(h["pids"], json!([]));
}

#[test]
fn memberships_and_links_are_bounded() {
    let limits = Limits {
        mailbox: 10,
        effects: 2_000,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 2)]);
    let joins: Vec<Value> = (0..1_001)
        .map(|n| json!({"op": "join", "group": n.to_string()}))
        .collect();
    let spawns: Vec<Value> = (0..11)
        .map(|_| json!({"op": "spawn", "module": "probe", "link": true}))
        .collect();
    for (who, ops, what) in [
        ("probe.1", joins, "memberships"),
        ("probe.2", spawns, "links"),
    ] {
        let error = try_ask(&node, who, Value::Array(ops)).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}
