//! A hostile guest meets a limit; an application beside it on the same node goes on answering. One test a limit.
#![allow(clippy::unwrap_used)]

mod common;
use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use common::*;
use midflight_runtime::{Limits, Node};

/// Both workers can be kept busy by the hostile application alone.
fn limits() -> Limits {
    Limits {
        workers: 2,
        handler_ms: 50,
        hermetic: false,
        ..Limits::default()
    }
}

/// `hostile.1` to `hostile.N`, and `probe.1` and `probe.2` of another application.
fn beside(limits: Limits, hostile: u32) -> Node {
    let parts = [
        part("probe", "probe_v1", 2),
        part("hostile", "probe_v1", hostile),
    ];
    try_boot_apart(limits, &parts, Some("hostile")).unwrap()
}

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

/// The well-behaved application answers calls from outside, and between its own actors.
fn goes_on(node: &Node) {
    for n in 0..20 {
        let start = Instant::now();
        let answer = ask(
            node,
            "probe.1",
            json!({"op": "relay", "to": "probe.2", "body": {"op": "echo", "n": n}}),
        );
        assert_eq!(answer["n"], n);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "an answer took {took:?}");
    }
}

fn gone(node: &Node, who: &str) {
    until("it has ended", || node.whereis(who).is_none());
}

#[test]
fn memory_ends_the_actor_that_asks_for_too_much() {
    let node = beside(limits(), 3);
    for n in 1..=3 {
        tell(
            &node,
            &format!("hostile.{n}"),
            json!({"op": "alloc", "mib": 1_024}),
        );
        goes_on(&node);
        gone(&node, &format!("hostile.{n}"));
    }
}

#[test]
fn endless_loops_on_all_workers_are_cut_and_others_run_between_them() {
    let node = beside(limits(), 40);
    for n in 1..=40 {
        tell(&node, &format!("hostile.{n}"), json!({"op": "loop"}));
    }
    // One after the other the loops take 40 times 50 ms of a worker; the others wait for the first of them at most.
    let start = Instant::now();
    goes_on(&node);
    let looping = (1..=40).filter(|n| node.whereis(&format!("hostile.{n}")).is_some());
    assert!(
        looping.count() > 5,
        "answered only after {:?}",
        start.elapsed()
    );
    (1..=40).for_each(|n| gone(&node, &format!("hostile.{n}")));
}

#[test]
fn a_mailbox_flood_leaves_the_rest_of_a_mailbox_to_its_own_application() {
    let limits = Limits {
        mailbox: 1_000,
        ..limits()
    };
    let node = beside(limits, 1);
    node.suspend(&actor("probe.1"), SOON).unwrap();
    for to in ["probe.1", "hostile"] {
        for _ in 0..4 {
            let flood = json!({"op": "cast", "to": to, "times": 900, "body": {"flood": 1}});
            // Its own mailbox is as full as it made it: then it refuses the host too.
            let _ = node.cast(&actor("hostile"), flood.to_string().into_bytes());
        }
    }
    until("what is too much is counted", || {
        node.dead_letters() > 2_000
    });
    ask(
        &node,
        "probe.2",
        json!({"op": "cast", "to": "probe.1", "times": 100, "from": 1, "body": {}}),
    );
    node.resume(&actor("probe.1"), SOON).unwrap();
    goes_on(&node);
    let core = core(&node, "probe.1");
    assert_eq!(
        (&core["noted"], &core["out_of_order"]),
        (&json!(100), &json!(0))
    );
}

#[test]
fn bodies_that_wait_fill_the_share_of_their_application_alone() {
    let limits = Limits {
        application_mailbox_mb: 4,
        ..limits()
    };
    let node = beside(limits, 20);
    let bytes = |node: &Node, module: &str| {
        let all = node.metrics().mailbox_bytes;
        all.into_iter()
            .find(|(name, _)| name.as_ref() == module)
            .unwrap()
            .1
    };
    node.suspend_module("hostile", SOON).unwrap();
    let body = json!({"op": "echo", "text": "x".repeat(60_000)})
        .to_string()
        .into_bytes();
    let full = (0..200).filter(|n| {
        let to = actor(&format!("hostile.{}", n % 20 + 1));
        node.cast(&to, body.clone()).is_err()
    });
    // Each mailbox has room for thousands: it is the sum that is too much.
    let refused = full.count();
    assert!((100..160).contains(&refused), "{refused}");
    assert!((4 << 20..5 << 20).contains(&bytes(&node, "hostile")));
    ask(
        &node,
        "probe.2",
        json!({"op": "cast", "to": "probe.1", "times": 200, "body": {}}),
    );
    goes_on(&node);
    let bounds = node.metrics().bounds;
    assert!(
        bounds.contains(&("application_mailbox_mb", refused as u64)),
        "{bounds:?}"
    );

    node.resume_module("hostile").unwrap();
    until("all that waited is handled", || {
        bytes(&node, "hostile") == 0
    });
    assert_eq!(
        ask(&node, "hostile.1", json!({"op": "echo", "n": 1}))["n"],
        1
    );
    until("nothing waits", || bytes(&node, "probe") == 0);
}

#[test]
fn a_spawn_bomb_fills_the_share_of_its_application_alone() {
    let limits = Limits {
        actors: 2_000,
        actors_per_application: 500,
        ..limits()
    };
    let node = beside(limits, 20);
    let child = json!({"op": "spawn", "module": "hostile"});
    let bomb = Value::Array(vec![child; 100]);
    for n in 1..=20 {
        tell(&node, &format!("hostile.{n}"), bomb.clone());
    }
    goes_on(&node);
    until("the bombs have met their bound", || {
        (1..=20).any(|n| node.whereis(&format!("hostile.{n}")).is_none())
    });
    let hostile = |node: &Node| {
        let modules = node.modules();
        let of_it = modules.iter().find(|m| m.name.as_ref() == "hostile");
        of_it.unwrap().actors
    };
    // Two workers look at the share at the same time: each may pass it by one event's children.
    assert!(hostile(&node) <= 500 + 100, "{}", hostile(&node));
    let child = json!({"op": "spawn", "module": "probe"});
    ask(&node, "probe.2", Value::Array(vec![child; 400]));
    goes_on(&node);
    let error = node.crashes().pop().unwrap();
    assert!(
        error.reason.contains("actors_per_application"),
        "{}",
        error.reason
    );
}

#[test]
fn a_flood_of_connections_fills_the_share_of_its_application_alone() {
    let limits = Limits {
        connections: 20,
        connections_per_application: 10,
        ..limits()
    };
    let node = beside(limits, 1);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let connect = json!({"op": "connect", "host": "127.0.0.1", "port": port});
    tell(&node, "hostile", Value::Array(vec![connect.clone(); 50]));
    until("all fifty have come to something", || {
        let core = core(&node, "hostile");
        core["notes"].as_array().unwrap().len() == 40
            && core["sockets"].as_array().unwrap().len() == 10
    });
    let note = core(&node, "hostile")["notes"][0].to_string();
    assert!(note.contains("connections_per_application"), "{note}");
    ask(&node, "probe.1", connect);
    until("the other application connects", || {
        core(&node, "probe.1")["sockets"].as_array().unwrap().len() == 1
    });
    goes_on(&node);
}

#[test]
fn write_buffers_of_one_application_are_bounded_together() {
    let limits = Limits {
        application_buffer_mb: 4,
        socket_buffer_bytes: 64 << 20,
        ..limits()
    };
    let node = beside(limits, 1);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let connect = json!({"op": "connect", "host": "127.0.0.1", "port": port, "active": "Always"});
    for who in ["hostile", "probe.1"] {
        ask(&node, who, connect.clone());
        until("it is connected", || {
            core(&node, who)["sockets"].as_array().unwrap().len() == 1
        });
    }
    // Nobody reads the other ends.
    let socket = core(&node, "hostile")["sockets"][0].clone();
    let write = json!({"op": "write", "socket": socket, "text": "x".repeat(1_024), "times": 1_024});
    for _ in 0..64 {
        // It may have been closed already.
        tell(&node, "hostile", write.clone());
    }
    until("its connection is closed", || {
        core(&node, "hostile")["closed"][0][1] == json!("its peer does not read what was written")
    });
    goes_on(&node);
    assert_eq!(core(&node, "probe.1")["closed"], json!([]));
}

#[test]
fn timers_requests_names_and_groups_end_the_actor_that_takes_too_many() {
    let limits = Limits {
        mailbox: 100,
        effects: 2_000,
        ..limits()
    };
    let long = "n".repeat(300);
    let many = |op: Value, n: usize| Value::Array(vec![op; n]);
    let joins: Vec<Value> = (0..1_001)
        .map(|n| json!({"op": "join", "group": n.to_string()}))
        .collect();
    let cases = [
        (
            many(json!({"op": "timer", "after_ms": 60_000, "body": 1}), 101),
            "timers",
        ),
        (
            many(
                json!({"op": "ask", "to": "probe.2", "body": {"op": "later"}}),
                101,
            ),
            "requests",
        ),
        (
            json!({"op": "register", "name": long}),
            "a name of 300 bytes",
        ),
        (json!({"op": "join", "group": long}), "a name of 300 bytes"),
        (Value::Array(joins), "memberships"),
        (
            many(json!({"op": "cast", "to": "hostile.1", "body": 1}), 2_001),
            "limits.effects",
        ),
        (json!({"op": "grow", "bytes": 66_000}), "limits.state_bytes"),
    ];
    let node = beside(limits, cases.len() as u32);
    for (n, (ops, what)) in cases.into_iter().enumerate() {
        let who = format!("hostile.{}", n + 1);
        tell(&node, &who, ops);
        gone(&node, &who);
        let reason = node.crashes().pop().unwrap().reason;
        assert!(reason.contains(what), "{what}: {reason}");
        goes_on(&node);
    }
}

#[test]
fn a_log_flood_is_cut_and_so_is_a_huge_reason() {
    let node = beside(limits(), 2);
    let line = "x".repeat(5_000);
    tell(
        &node,
        "hostile.1",
        json!({"op": "log", "n": 1_000, "text": line}),
    );
    goes_on(&node);
    // 100 lines and the word that there were more; what the actor keeps is bounded in bytes as well.
    let kept = node.log(&actor("hostile.1"), SOON).unwrap();
    let bytes: usize = kept.iter().map(|l| l.text.len()).sum();
    assert!(kept.len() <= 32 && bytes <= 16 << 10, "{bytes}");

    let pid = node.whereis("hostile.2").unwrap();
    ask(&node, "probe.1", json!({"op": "monitor", "pid": pid}));
    tell(
        &node,
        "hostile.2",
        json!({"op": "stop", "reason": "r".repeat(60_000)}),
    );
    until("the watcher hears", || {
        let reason = core(&node, "probe.1")["downs"][0][1].clone();
        reason
            .as_str()
            .is_some_and(|r| (4_096..4_110).contains(&r.len()))
    });
    goes_on(&node);
}
