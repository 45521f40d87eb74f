//! Corners that a review found: each of these failed once.
#![allow(clippy::unwrap_used)]

mod common;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use common::*;
use midflight_runtime::{Limits, Node, OnDownFailure};

const BUDGET: Duration = Duration::from_secs(2);

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

fn to_v2(node: &Node) -> midflight_runtime::Order {
    order(
        node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    )
}

#[test]
fn a_child_spawned_before_a_trap_in_the_same_batch_lives() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    node.suspend(&actor("probe.1"), SOON).unwrap();
    tell(
        &node,
        "probe.1",
        json!({"op": "spawn", "module": "probe", "args": {}, "name": "child"}),
    );
    tell(&node, "probe.1", json!({"op": "add", "n": 1}));
    tell(&node, "probe.1", json!({"op": "trap"}));
    node.resume(&actor("probe.1"), SOON).unwrap();
    until("its parent is gone", || node.whereis("probe.1").is_none());
    assert_eq!(
        ask(&node, "child", json!({"op": "add", "n": 4})),
        json!({"total": 4})
    );
    assert_eq!(node.actor_count(), 2);
}

#[test]
fn what_newer_code_sent_to_an_actor_that_did_not_run_since_is_converted_back() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    node.suspend(&actor("probe.2"), SOON).unwrap();
    let probation = upgrade(&node, to_v2(&node)).unwrap();
    ask(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "body": {"convert": "yes"}}),
    );
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!((report.pinned, report.migrated), (1, 1));
    node.resume(&actor("probe.2"), SOON).unwrap();
    until("it arrives", || {
        core(&node, "probe.2")["notes"][0].is_string()
    });
    let note = core(&node, "probe.2")["notes"][0].to_string();
    assert!(
        note.contains("down from 1.0.0") || note.contains("down from"),
        "{note}"
    );
}

#[test]
fn a_state_cannot_be_replaced_behind_the_back_of_a_migration() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    let (prepared, _) = node.begin(to_v2(&node)).unwrap().prepare().unwrap();
    let migrated = prepared
        .suspend()
        .unwrap()
        .load()
        .unwrap()
        .migrate()
        .unwrap();
    let state = node.get_state(&actor("probe"), SOON).unwrap();
    let error = node
        .replace_state(&actor("probe"), &state, SOON)
        .unwrap_err();
    assert!(error.to_string().contains("suspended"), "{error}");
    let (_probation, _) = migrated.resume().unwrap();
    assert_eq!(ask(&node, "probe", json!({"op": "get"}))["code"], "v2");
}

#[test]
fn a_name_is_free_when_the_parent_hears_that_init_failed() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    for n in 1..=200 {
        ask(
            &node,
            "probe",
            json!({"op": "spawn", "module": "probe", "args": {"ops": [{"op": "error", "text": "no"}]}, "name": "child"}),
        );
        let mut freed = None;
        until("its parent hears", || {
            let downs = core(&node, "probe")["downs"].as_array().unwrap().len();
            freed = Some(node.whereis("child").is_none());
            downs == n
        });
        assert_eq!(freed, Some(true), "attempt {n}");
    }
    assert_eq!(core(&node, "probe")["downs"][199][1], "no");
}

#[test]
fn names_timers_requests_and_reasons_are_bounded() {
    let few = Limits {
        mailbox: 10,
        ..limits()
    };
    let node = boot_with(few, &[part("probe", "probe_v1", 6)]);
    let long = "n".repeat(300);
    let error = try_ask(
        &node,
        "probe.1",
        json!({"op": "spawn", "module": "probe", "args": {}, "name": long}),
    )
    .unwrap_err();
    assert!(error.to_string().contains("a name of 300 bytes"), "{error}");
    let error = try_ask(&node, "probe.2", json!({"op": "register", "name": long})).unwrap_err();
    assert!(error.to_string().contains("a name of 300 bytes"), "{error}");
    let timer = json!({"op": "timer", "after_ms": 60_000, "body": {}});
    for _ in 0..10 {
        ask(&node, "probe.3", timer.clone());
    }
    let error = try_ask(&node, "probe.3", timer).unwrap_err();
    assert!(error.to_string().contains("limits.mailbox"), "{error}");
    let request = json!({"op": "ask", "to": "probe.5", "body": {"op": "later"}});
    for _ in 0..10 {
        ask(&node, "probe.4", request.clone());
    }
    let error = try_ask(&node, "probe.4", request).unwrap_err();
    assert!(error.to_string().contains("limits.mailbox"), "{error}");
    let text = "r".repeat(10_000);
    let error = try_ask(&node, "probe.6", json!({"op": "error", "text": text})).unwrap_err();
    assert!(
        error.to_string().len() < 5_000,
        "{}",
        error.to_string().len()
    );
}

#[test]
fn an_event_that_grows_beyond_its_bound_when_it_is_converted_is_dead_lettered() {
    let node = boot_with(
        Limits {
            message_bytes: 64,
            ..limits()
        },
        &[part("probe", "probe_v1", 2), part("sender", "probe_v1", 1)],
    );
    node.suspend(&actor("probe.2"), SOON).unwrap();
    let pad = "x".repeat(20);
    tell(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "body": {"convert": "yes", "pad": pad}}),
    );
    until("it waits", || {
        let status = node.status(&actor("probe.2"), SOON).unwrap();
        status.mailbox == 1
    });
    let _probation = upgrade(&node, to_v2(&node)).unwrap();
    node.resume(&actor("probe.2"), SOON).unwrap();
    until("it is dead-lettered", || node.dead_letters() == 1);
    let state = node.get_state(&actor("probe.2"), SOON).unwrap();
    assert!(state.contains("\"notes\":[]"), "{state}");
}

fn listener(node: &Node, who: &str, active: Value) -> u16 {
    ask(
        node,
        who,
        json!({"op": "listen", "port": 0, "active": active, "echo": false}),
    );
    until("it listens", || core(node, who)["listener"].is_array());
    core(node, who)["listener"][1].as_u64().unwrap() as u16
}

fn socket(node: &Node, who: &str) -> u64 {
    until("it is accepted", || core(node, who)["sockets"][0].is_u64());
    core(node, who)["sockets"][0].as_u64().unwrap()
}

#[test]
fn a_connection_that_is_set_passive_while_it_waits_for_data_delivers_none() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    let port = listener(&node, "probe", json!("Always"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"a").unwrap();
    until("it reads", || core(&node, "probe")["heard"] == "a");
    let socket = socket(&node, "probe");
    ask(
        &node,
        "probe",
        json!({"op": "active", "socket": socket, "mode": "Off"}),
    );
    stream.write_all(b"b").unwrap();
    let end = Instant::now() + Duration::from_millis(100);
    while Instant::now() < end {
        assert_eq!(core(&node, "probe")["heard"], "a");
    }
    ask(
        &node,
        "probe",
        json!({"op": "active", "socket": socket, "mode": "Once"}),
    );
    until("it reads again", || core(&node, "probe")["heard"] == "ab");
}

#[test]
fn a_connection_given_to_nobody_is_closed() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let port = listener(&node, "probe.1", json!("Off"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let socket = socket(&node, "probe.1");
    let gone = node.whereis("probe.2").unwrap();
    tell(&node, "probe.2", json!({"op": "stop", "reason": "normal"}));
    until("it is gone", || node.whereis("probe.2").is_none());
    ask(
        &node,
        "probe.1",
        json!({"op": "give", "socket": socket, "to": gone}),
    );
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "closed");
}

#[test]
fn a_connection_whose_peer_does_not_read_is_dropped_with_what_waited_for_it() {
    let node = boot_with(
        Limits {
            socket_buffer_bytes: 1 << 20,
            ..limits()
        },
        &[part("probe", "probe_v1", 1)],
    );
    let port = listener(&node, "probe", json!("Always"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let socket = socket(&node, "probe");
    let mut written = 0;
    until("it is closed", || {
        ask(
            &node,
            "probe",
            json!({"op": "write", "socket": socket, "text": "x".repeat(1_000), "times": 60}),
        );
        written += 60_000;
        !core(&node, "probe")["closed"]
            .as_array()
            .unwrap()
            .is_empty()
    });
    let mut read = 0;
    let mut buffer = vec![0; 65_536];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            break;
        }
        read += n;
    }
    assert!(read + (512 << 10) < written, "read {read} of {written}");
}
