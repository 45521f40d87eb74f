//! Sockets have one owner: who may use them, how they are handed over (OTP: `controlling_process`), how they are opened
//! outwards (OTP: `gen_tcp:connect`), and that nothing of theirs is lost when a node drains.
#![allow(clippy::unwrap_used)]

mod common;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use common::*;
use midflight_runtime::{Limits, Node, OnDownFailure};

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

/// Two probes, the first with a connection in this mode; the other end of it, and its number.
fn connected(limits: Limits, mode: Value) -> (Node, TcpStream, u64) {
    let node = boot_with(limits, &[part("probe", "probe_v1", 2)]);
    ask(
        &node,
        "probe.1",
        json!({"op": "listen", "port": 0, "active": mode, "echo": false}),
    );
    let mut port = 0;
    until("it listens", || {
        port = core(&node, "probe.1")["listener"][1].as_u64().unwrap_or(0);
        port != 0
    });
    let stream = TcpStream::connect(("127.0.0.1", port as u16)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut socket = 0;
    until("it is accepted", || {
        socket = core(&node, "probe.1")["sockets"][0].as_u64().unwrap_or(0);
        socket != 0
    });
    (node, stream, socket)
}

/// OTP: `gen_tcp:controlling_process/2` moves what waits in the mailbox to the new owner.
#[test]
fn controlling_process_what_waits_moves_with_the_socket_in_order_and_nothing_is_lost() {
    let (node, mut stream, socket) = connected(limits(), json!("Always"));
    let two = node.whereis("probe.2").unwrap();
    for round in 0..20 {
        // The order to give comes first; what is read behind it waits in the same mailbox, and the same batch.
        node.suspend(&actor("probe.1"), SOON).unwrap();
        tell(
            &node,
            "probe.1",
            json!({"op": "give", "socket": socket, "to": two}),
        );
        stream.write_all(format!("{round}a ").as_bytes()).unwrap();
        until("it waits behind the order", || {
            node.status(&actor("probe.1"), SOON).unwrap().mailbox == 2
        });
        node.resume(&actor("probe.1"), SOON).unwrap();
        stream.write_all(format!("{round}b ").as_bytes()).unwrap();
        let all: String = (0..=round).map(|n| format!("{n}a {n}b ")).collect();
        let seen = |who: &str| core(&node, who)["heard"].as_str().unwrap().len();
        until("the new owner has all of it", || {
            core(&node, "probe.2")["heard"] == json!(all)
        });
        assert_eq!(seen("probe.1"), 0, "nothing after it was given");
        let one = node.whereis("probe.1").unwrap();
        ask(
            &node,
            "probe.2",
            json!({"op": "give", "socket": socket, "to": one}),
        );
    }
}

/// OTP: `{error, not_owner}`.
#[test]
fn a_socket_is_out_of_reach_for_all_but_its_owner() {
    for op in [
        json!({"op": "write", "text": "mine"}),
        json!({"op": "close"}),
        json!({"op": "active", "mode": "Always"}),
        json!({"op": "give", "to": 1}),
    ] {
        let (node, mut stream, socket) = connected(limits(), json!("Once"));
        let mut op = op;
        op["socket"] = json!(socket);
        let error = try_ask(&node, "probe.2", op).unwrap_err();
        assert!(error.to_string().contains("another actor's"), "{error}");
        ask(
            &node,
            "probe.1",
            json!({"op": "write", "socket": socket, "text": "still here"}),
        );
        let mut bytes = [0; 10];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"still here");
    }
}

#[test]
fn what_an_actor_writes_after_it_gave_a_socket_away_is_not_written_and_counted() {
    let (node, mut stream, socket) = connected(limits(), json!("Once"));
    let two = node.whereis("probe.2").unwrap();
    ask(
        &node,
        "probe.1",
        json!([{"op": "give", "socket": socket, "to": two}, {"op": "write", "socket": socket, "text": "late"}]),
    );
    assert_eq!(node.not_owned(), 1);
    ask(
        &node,
        "probe.2",
        json!([{"op": "write", "socket": socket, "text": "mine"}, {"op": "close", "socket": socket}]),
    );
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "mine");
}

#[test]
fn a_socket_given_to_an_actor_that_is_gone_is_closed() {
    let (node, mut stream, socket) = connected(limits(), json!("Once"));
    ask(
        &node,
        "probe.1",
        json!({"op": "give", "socket": socket, "to": 12345}),
    );
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

/// OTP: `gen_tcp:connect/4`.
#[test]
fn connect_opens_a_connection_to_what_the_release_lists_and_its_owner_reads_and_writes() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    ask(
        &node,
        "probe",
        json!({"op": "connect", "host": "127.0.0.1", "port": port, "active": "Always", "echo": true}),
    );
    let (mut stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"back please").unwrap();
    let mut bytes = [0; 11];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"back please");
    drop(stream);
    until("the end is told", || {
        core(&node, "probe")["closed"][0][1] == json!("closed by the peer")
    });
}

fn refused(node: &Node, host: &str, port: u16, timeout: u64) -> String {
    let before = core(node, "probe")["notes"].as_array().unwrap().len();
    ask(
        node,
        "probe",
        json!({"op": "connect", "host": host, "port": port, "timeout_ms": timeout}),
    );
    let mut text = String::new();
    until("it fails", || {
        let notes = core(node, "probe")["notes"].clone();
        text = notes[before].as_str().unwrap_or_default().to_owned();
        !text.is_empty()
    });
    text
}

#[test]
fn connect_is_refused_with_a_reason_where_the_release_lists_nothing_and_fails_in_time() {
    let node = boot_with(
        Limits {
            connections: 3,
            ..limits()
        },
        &[part("probe", "probe_v1", 1)],
    );
    let unlisted = refused(&node, "localhost", 80, 0);
    assert!(unlisted.contains("does not list it"), "{unlisted}");
    let unlisted = refused(&node, "10.0.0.5", 5432, 0);
    assert!(
        unlisted.contains("10.0.0.5:5432: the release does not list it"),
        "{unlisted}"
    );
    let unknown = refused(&node, "nobody.invalid", 80, 0);
    assert!(!unknown.contains("does not list it"), "{unknown}");

    // A listener whose queue is full leaves the rest unanswered.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _filler = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let slow = refused(&node, "127.0.0.1", port, 50);
    assert!(slow.contains("no connection within 50ms"), "{slow}");

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    for _ in 0..3 {
        ask(
            &node,
            "probe",
            json!({"op": "connect", "host": "127.0.0.1", "port": port}),
        );
    }
    until("three are open", || {
        core(&node, "probe")["sockets"].as_array().unwrap().len() == 3
    });
    let full = refused(&node, "127.0.0.1", port, 0);
    assert!(full.contains("limits.connections"), "{full}");
}

#[test]
fn drain_writes_out_what_a_closed_connection_still_holds() {
    let (node, mut stream, socket) = connected(limits(), json!("Once"));
    const MIB: usize = 1 << 20;
    ask(
        &node,
        "probe.1",
        json!([{"op": "write", "socket": socket, "text": "x".repeat(1024), "times": 3 * 1024}, {"op": "close", "socket": socket}]),
    );
    let draining = std::thread::spawn(move || node.drain(SOON));
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 3 * MIB);
    assert!(draining.join().unwrap());
}

#[test]
fn drain_waits_for_actors_at_a_closed_gate() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    let order = order(
        &node,
        vec![change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}))],
    );
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    let suspended = prepared.suspend().unwrap();
    tell(&node, "probe", json!({"op": "add", "n": 1}));
    assert!(
        !node.drain(Duration::from_millis(100)),
        "somebody still waits"
    );
    drop(suspended);
}

#[test]
fn an_answer_that_comes_after_its_time_confuses_nobody() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    for cookie in ["first", "second"] {
        ask(
            &node,
            "probe.1",
            json!({"op": "ask", "to": "probe.2", "body": {"op": "later"}, "timeout_ms": 20, "cookie": cookie}),
        );
    }
    let answers = || core(&node, "probe.1")["answers"].clone();
    until("both time out", || answers().as_array().unwrap().len() == 2);
    ask(
        &node,
        "probe.1",
        json!({"op": "ask", "to": "probe.2", "body": {"op": "later"}, "cookie": "third"}),
    );
    for n in 0..3 {
        ask(
            &node,
            "probe.2",
            json!({"op": "answer", "body": {"answer": n}}),
        );
    }
    until("the third is answered", || {
        answers().as_array().unwrap().len() >= 3
    });
    // Behind this nothing is on its way any more.
    ask(&node, "probe.2", json!({"op": "get"}));
    let answers = answers();
    assert_eq!(answers.as_array().unwrap().len(), 3, "{answers}");
    assert_eq!(answers[2][0], "third");
    assert!(answers[2][1]["Ok"].as_str().unwrap().contains("2"));
}

#[test]
fn an_actor_keeps_its_last_log_lines() {
    let limits = Limits {
        actor_log_lines: 3,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 2)]);
    for text in ["a", "b"] {
        ask(&node, "probe.1", json!({"op": "log", "n": 2, "text": text}));
    }
    let lines = node.log(&actor("probe.1"), SOON).unwrap();
    let texts: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
    assert_eq!(texts, ["a", "b", "b"]);
    assert!(node.log(&actor("probe.2"), SOON).unwrap().is_empty());
}

#[test]
fn where_actors_may_connect_changes_at_resume_and_goes_back_with_a_rollback() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let change = change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}));
    // Its order lists nothing.
    let probation = upgrade(&node, order(&node, vec![change])).unwrap();
    let text = refused(&node, "127.0.0.1", port, 0);
    assert!(text.contains("does not list it"), "{text}");
    probation
        .rollback(Duration::from_secs(2), OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    let connect = json!({"op": "connect", "host": "127.0.0.1", "port": port});
    ask(&node, "probe", connect);
    until("it is connected", || {
        core(&node, "probe")["sockets"].as_array().unwrap().len() == 1
    });
}
