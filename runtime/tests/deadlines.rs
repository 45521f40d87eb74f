//! What a pause costs those who wait for it: their deadlines are extended, how long they waited is measured, and a pause
//! that would cost too much does not happen.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::{Duration, Instant};

use common::*;
use midflight_runtime::{Limits, Node, Order, upgrade::Suspended};

const PAUSE: Duration = Duration::from_millis(400);

fn to_v2(node: &Node) -> Order {
    order(
        node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    )
}

fn suspend(node: &Node) -> Suspended {
    let (prepared, _) = node.begin(to_v2(node)).unwrap().prepare().unwrap();
    prepared.suspend().unwrap()
}

fn pass(suspended: &Suspended, time: Duration) {
    until("the pause is long enough", || {
        suspended.suspended_for() >= time
    });
}

fn answers(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"]["answers"].clone()
}

fn request(node: &Node, from: &str, to: &str, timeout_ms: u64) {
    let op = json!({"op": "ask", "to": to, "body": {"op": "echo"}, "timeout_ms": timeout_ms, "cookie": to});
    ask(node, from, op);
}

/// Beyond 5.
#[test]
fn a_request_to_a_suspended_actor_does_not_time_out_for_the_pause_others_do_on_time() {
    let node = boot(&[part("probe", "probe_v1", 1), part("caller", "probe_v1", 2)]);
    let suspended = suspend(&node);
    request(&node, "caller.1", "probe", 100);
    // It never answers, and nobody suspends it.
    let op = json!({"op": "ask", "to": "caller.2", "body": {"op": "later"}, "timeout_ms": 100, "cookie": "late"});
    ask(&node, "caller.1", op);
    until("the other request times out in the pause", || {
        answers(&node, "caller.1")[0][0] == "late"
    });
    pass(&suspended, PAUSE);
    let migrated = suspended.load().unwrap().migrate().unwrap();
    let (_probation, _) = migrated.resume().unwrap();
    until("the suspended one answers", || {
        answers(&node, "caller.1")[1][0] == "probe"
    });
    assert!(
        answers(&node, "caller.1")[1][1]["Ok"].is_string(),
        "{}",
        answers(&node, "caller.1")
    );
}

/// Beyond 5.
#[test]
fn a_request_by_a_suspended_actor_gets_the_pause_on_top_and_times_out_after_that() {
    let node = boot(&[part("probe", "probe_v1", 1), part("callee", "probe_v1", 1)]);
    let op = json!({"op": "ask", "to": "callee", "body": {"op": "later"}, "timeout_ms": 300, "cookie": "c"});
    let asked = Instant::now();
    ask(&node, "probe", op);
    let suspended = suspend(&node);
    pass(&suspended, PAUSE);
    let migrated = suspended.load().unwrap().migrate().unwrap();
    let (probation, resumed) = migrated.resume().unwrap();
    assert!(resumed.pause >= PAUSE);
    until("it times out in the end", || {
        answers(&node, "probe")[0][0] == "c"
    });
    assert!(asked.elapsed() >= PAUSE + Duration::from_millis(300));
    drop(probation);
}

/// Beyond 5: also of calls from outside, and when the upgrade is given up.
#[test]
fn a_call_from_outside_waits_through_the_pause_also_of_an_upgrade_that_is_given_up() {
    let node = &boot(&[part("probe", "probe_v1", 1)]);
    let suspended = suspend(node);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let body = json!({"op": "get"}).to_string().into_bytes();
            node.call(&actor("probe"), body, Duration::from_millis(100))
        });
        until("it waits", || {
            node.status(&actor("probe"), SOON).unwrap().mailbox == 1
        });
        pass(&suspended, PAUSE);
        drop(suspended);
        call.join().unwrap().expect("the old code answers");
    });
    let pauses = node.pauses();
    assert_eq!((pauses.node.count, pauses.actors.count), (1, 1));
}

/// Beyond 14: per actor, for those with events waiting, and per node.
#[test]
fn the_pause_is_measured_for_each_actor_that_waited_and_for_the_node() {
    let node = boot(&[part("probe", "probe_v1", 50), part("sender", "probe_v1", 1)]);
    let suspended = suspend(&node);
    for n in 1..=20 {
        let op = json!({"op": "cast", "to": format!("probe.{n}"), "body": {}});
        ask(&node, "sender", op);
    }
    pass(&suspended, Duration::from_millis(50));
    let migrated = suspended.load().unwrap().migrate().unwrap();
    let (probation, resumed) = migrated.resume().unwrap();
    assert_eq!(resumed.waited, 20);
    until("all of them ran", || probation.pauses().count == 20);
    let pauses = probation.pauses();
    assert!(pauses.sum_us >= 20 * 50_000, "{pauses:?}");
    assert!(u128::from(pauses.max_us) >= resumed.pause.as_micros());
    ask(&node, "probe.30", json!({"op": "get"}));
    assert_eq!(probation.pauses().count, 20, "it did not wait");
    let all = node.pauses();
    assert_eq!((all.node.count, all.actors), (1, pauses));
    assert_eq!(probation.health().pauses, pauses);
}

/// otp-parity row 7: the queue of a suspended actor is bounded, and the bound is reported.
#[test]
fn the_mailbox_bound_of_a_suspended_actor_is_reported_with_its_name() {
    let few = Limits {
        mailbox: 100,
        ..limits()
    };
    let node = boot_with(
        few,
        &[part("probe", "probe_v1", 1), part("sender", "probe_v1", 1)],
    );
    let suspended = suspend(&node);
    let op = json!({"op": "cast", "to": "probe", "times": 90, "from": 1, "body": {}});
    ask(&node, "sender", op);
    let error = suspended.load().map(drop).unwrap_err();
    let pid = midflight_runtime::pid_text(node.whereis("probe").unwrap());
    let text = error.to_string();
    assert!(
        text.contains(&pid) && text.contains("bound of 100 events"),
        "{text}"
    );
}

/// The pause budget is enforced by the node: what would exceed it is known before, and nobody waits.
#[test]
fn what_would_exceed_the_budget_at_a_barrier_is_refused_before_anybody_is_suspended() {
    let limits = Limits {
        hermetic: false,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 64)]);
    let slow = json!({"up": "slow", "all": true, "spin": 3_000_000});
    let mut slow = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", slow)],
    );
    slow.pause_budget = Duration::from_millis(20);
    let (mut prepared, report) = node.begin(slow).unwrap().prepare().unwrap();
    assert_eq!(report.dirty, 0);
    for n in 1..=64 {
        ask(&node, &format!("probe.{n}"), json!({"op": "add", "n": 1}));
    }
    prepared.refresh().unwrap();
    for n in 1..=64 {
        ask(&node, &format!("probe.{n}"), json!({"op": "add", "n": 1}));
    }
    // Suspend works through them once more, while they run.
    let suspended = prepared.suspend().unwrap();
    assert!(suspended.suspended_for() < Duration::from_millis(20));
    let migrated = suspended.load().unwrap().migrate().unwrap();
    let (_probation, resumed) = migrated.resume().unwrap();
    assert_eq!(resumed.migrated_in_pause, 0);
    assert_eq!(
        ask(&node, "probe.9", json!({"op": "get"}))["core"]["total"],
        2
    );
}

/// Beyond 5: an upgrade that exceeds its budget ends by itself, and the old code runs.
#[test]
fn a_pause_that_outlives_its_budget_between_two_phases_ends_on_the_old_code() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let mut short = to_v2(&node);
    short.pause_budget = Duration::from_millis(100);
    let (prepared, _) = node.begin(short).unwrap().prepare().unwrap();
    let suspended = prepared.suspend().unwrap();
    pass(&suspended, Duration::from_millis(101));
    let error = suspended.load().map(drop).unwrap_err();
    assert_eq!(error.code(), "MF0311");
    assert_eq!(ask(&node, "probe.1", json!({"op": "get"}))["code"], "v1");
    upgrade(&node, to_v2(&node)).map(drop).unwrap();
}

/// OTP: `check_install_release`; otp-parity row 13: here it has no side effects.
#[test]
fn a_check_says_what_an_upgrade_would_find_and_leaves_no_trace() {
    let node = boot(&[part("probe", "probe_v1", 10)]);
    ask(
        &node,
        "probe.3",
        json!([{"op": "add", "n": 4}, {"op": "flag", "on": true}]),
    );
    let before = node.get_state(&actor("probe.3"), SOON).unwrap();
    let report = node.check(to_v2(&node)).unwrap();
    assert_eq!((report.actors, report.dirty), (10, 0));
    let failing = order(
        &node,
        vec![change(
            "probe",
            "1.0.0",
            "2.0.0",
            "probe_v2",
            json!({"up": "error"}),
        )],
    );
    let error = node.check(failing).unwrap_err();
    assert!(error.to_string().contains("probe.3"), "{error}");
    assert_eq!(node.get_state(&actor("probe.3"), SOON).unwrap(), before);
    let module = &node.modules()[0];
    assert_eq!((&module.vsn, &module.old_vsn), (&vsn("1.0.0"), &None));
    assert_eq!(node.pauses().node.count, 0, "nobody was suspended");
    upgrade(&node, to_v2(&node)).map(drop).unwrap();
}

/// A prepare that runs out of time is that, and not a failure of the actors it did not come to.
#[test]
fn a_prepare_that_takes_too_long_says_so_and_blames_no_actor() {
    let limits = Limits {
        hermetic: false,
        handler_ms: 100,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 30)]);
    let mut endless = order(
        &node,
        vec![change(
            "probe",
            "1.0.0",
            "2.0.0",
            "probe_v2",
            json!({"up": "loop", "all": true}),
        )],
    );
    endless.prepare_timeout = Duration::from_millis(1);
    let error = node
        .begin(endless)
        .unwrap()
        .prepare()
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code(), "MF0310", "{error}");
}
