//! Connections belong to the host: they outlive a change of code, wait for their owner, and lose no byte.
#![allow(clippy::unwrap_used)]

mod common;
use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use common::*;
use midflight_runtime::{Limits, Node, OnDownFailure};

const BUDGET: Duration = Duration::from_secs(2);

fn tcp_demo() -> (Node, u16) {
    let node = boot(&[Part {
        args: json!({"port": 0}),
        ..part("tcp_demo", "tcp_demo_v1", 1)
    }]);
    let port = listening_port(&node);
    (node, port)
}

fn listening_port(node: &Node) -> u16 {
    let mut port = 0;
    until("it listens", || {
        let state: Value =
            serde_json::from_str(&node.get_state(&actor("tcp_demo"), SOON).unwrap()).unwrap();
        port = find_port(&state);
        port != 0
    });
    port
}

/// The port in the listener's state, wherever the example keeps it.
fn find_port(state: &Value) -> u16 {
    match state {
        Value::Object(map) => match map.get("port").and_then(Value::as_u64) {
            Some(port) if map.get("socket").is_none_or(|s| !s.is_null()) => port as u16,
            _ => map.values().map(find_port).find(|&p| p != 0).unwrap_or(0),
        },
        _ => 0,
    }
}

fn connect(port: u16) -> (TcpStream, BufReader<TcpStream>) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    (stream, reader)
}

fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut text = String::new();
    reader.read_line(&mut text).unwrap();
    text
}

fn patch(node: &Node, from: &str, to: &str, file: &str) -> midflight_runtime::upgrade::Probation {
    upgrade(
        node,
        order(node, vec![change("tcp_demo", from, to, file, json!({}))]),
    )
    .unwrap()
}

#[test]
fn an_echo_becomes_upper_case_on_the_same_connection_and_lower_case_again() {
    let (node, port) = tcp_demo();
    let (mut stream, mut reader) = connect(port);
    stream.write_all(b"hello\n").unwrap();
    assert_eq!(line(&mut reader), "hello\n");
    let probation = patch(&node, "1.0.0", "2.0.0", "tcp_demo_v2");
    stream.write_all(b"hello\n").unwrap();
    assert_eq!(line(&mut reader), "HELLO\n");
    probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    stream.write_all(b"hello\n").unwrap();
    assert_eq!(line(&mut reader), "hello\n");
}

#[test]
fn a_line_in_two_halves_after_the_upgrade_and_around_a_second_one_comes_back_once_in_upper_case() {
    let (node, port) = tcp_demo();
    let (mut stream, mut reader) = connect(port);
    stream.write_all(b"first\n").unwrap();
    assert_eq!(line(&mut reader), "first\n");
    let mut probation = patch(&node, "1.0.0", "2.0.0", "tcp_demo_v2");
    stream.write_all(b"one ").unwrap();
    until("the half is in the buffer", || buffered(&node, "one "));
    stream.write_all(b"line\n").unwrap();
    assert_eq!(line(&mut reader), "ONE LINE\n");

    probation.confirm();
    probation.finish().map_err(|e| e.1).unwrap();
    stream.write_all(b"half before ").unwrap();
    until("the half is in the buffer", || {
        buffered(&node, "half before ")
    });
    let _probation = patch(&node, "2.0.0", "2.0.1", "tcp_demo_v2");
    stream.write_all(b"and half after\n").unwrap();
    assert_eq!(line(&mut reader), "HALF BEFORE AND HALF AFTER\n");
    nothing_more(stream, reader);
}

#[test]
fn a_rollback_hands_back_what_the_buffer_held() {
    let (node, port) = tcp_demo();
    let (mut stream, mut reader) = connect(port);
    let probation = patch(&node, "1.0.0", "2.0.0", "tcp_demo_v2");
    stream.write_all(b"whole\nha").unwrap();
    assert_eq!(line(&mut reader), "WHOLE\n");
    until("the half is in the buffer", || buffered(&node, "ha"));
    probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    stream.write_all(b"lf\n").unwrap();
    assert_eq!(
        line(&mut reader),
        "half\n",
        "the older code echoes what came in, and no byte is lost"
    );
    nothing_more(stream, reader);
}

#[test]
fn what_arrives_while_suspended_waits_and_is_answered_by_the_code_that_won() {
    let (node, port) = tcp_demo();
    let (mut stream, mut reader) = connect(port);
    stream.write_all(b"a\n").unwrap();
    assert_eq!(line(&mut reader), "a\n");
    for (keep, expected) in [(false, "echo\n"), (true, "ECHO\n")] {
        let order = order(
            &node,
            vec![change(
                "tcp_demo",
                "1.0.0",
                "2.0.0",
                "tcp_demo_v2",
                json!({}),
            )],
        );
        let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
        let suspended = prepared.suspend().unwrap();
        stream.write_all(b"echo\n").unwrap();
        reader
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let early = reader.fill_buf().map(<[u8]>::len).map_err(|e| e.kind());
        assert!(
            matches!(early, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)),
            "{early:?}"
        );
        reader.get_ref().set_read_timeout(Some(SOON)).unwrap();
        if keep {
            let _probation = suspended
                .load()
                .unwrap()
                .migrate()
                .unwrap()
                .resume()
                .unwrap();
            assert_eq!(line(&mut reader), expected);
        } else {
            drop(suspended);
            assert_eq!(line(&mut reader), expected);
        }
    }
}

#[test]
fn a_flood_is_read_no_faster_than_it_is_handled_and_comes_back_whole() {
    let limits = Limits {
        hermetic: false,
        mailbox: 50,
        ..limits()
    };
    let node = boot_with(
        limits,
        &[Part {
            args: json!({"port": 0}),
            ..part("tcp_demo", "tcp_demo_v1", 1)
        }],
    );
    let port = listening_port(&node);
    let (mut stream, mut reader) = connect(port);
    let sent: Vec<u8> = (0..40_000_u32)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    let expected = sent.clone();
    let writer = std::thread::spawn(move || {
        stream.write_all(&sent).unwrap();
        stream
    });
    let mut back = vec![0; expected.len()];
    reader.read_exact(&mut back).unwrap();
    assert!(back == expected, "every byte, in order");
    drop(writer.join().unwrap());
    assert_eq!(node.dead_letters(), 0);
}

#[test]
fn active_modes_bound_what_is_delivered() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    ask(
        &node,
        "probe",
        json!({"op": "listen", "port": 0, "active": {"Count": 2}}),
    );
    let core = |node: &Node| ask(node, "probe", json!({"op": "get"}))["core"].clone();
    until("it listens", || !core(&node)["listener"].is_null());
    let port = core(&node)["listener"][1].as_u64().unwrap() as u16;
    let (mut stream, _reader) = connect(port);
    stream.write_all(b"1").unwrap();
    until("the first is heard", || core(&node)["heard"] == "1");
    stream.write_all(b"2").unwrap();
    until("the count is spent", || core(&node)["passive"] == 1);
    stream.write_all(b"3").unwrap();
    assert_eq!(core(&node)["heard"], "12");
    let socket = core(&node)["sockets"][0].clone();
    ask(
        &node,
        "probe",
        json!({"op": "active", "socket": socket, "mode": "Once"}),
    );
    until("one more is heard", || core(&node)["heard"] == "123");
    drop((stream, _reader));
    ask(
        &node,
        "probe",
        json!({"op": "active", "socket": socket, "mode": "Always"}),
    );
    until("the end is told", || {
        core(&node)["closed"].as_array().unwrap().len() == 1
    });
}

#[test]
fn a_port_that_the_release_does_not_list_is_refused() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    ask(
        &node,
        "probe",
        json!({"op": "listen", "port": 7999, "active": "Always"}),
    );
    assert!(TcpStream::connect(("127.0.0.1", 7999)).is_err());
    assert!(ask(&node, "probe", json!({"op": "get"}))["core"]["listener"].is_null());
}

#[test]
fn drain_answers_what_came_in_and_ends() {
    let (node, port) = tcp_demo();
    let (mut stream, mut reader) = connect(port);
    stream.write_all(b"last words\n").unwrap();
    assert_eq!(line(&mut reader), "last words\n");
    assert!(node.drain(SOON));
    let mut rest = Vec::new();
    let end = reader.read_to_end(&mut rest);
    assert!(end.is_ok() || end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    assert!(rest.is_empty());
}

/// Some connection's actor holds this text in its buffer.
fn buffered(node: &Node, text: &str) -> bool {
    let wanted = json!(text.as_bytes());
    (0..64).any(|slot| {
        let pid = 1_u64 << 32 | slot;
        node.get_state(&midflight_runtime::ActorRef::Pid(pid), SOON)
            .is_ok_and(|state| {
                let state: Value = serde_json::from_str(&state).unwrap();
                holds(&state, &wanted, text)
            })
    })
}

fn holds(state: &Value, bytes: &Value, text: &str) -> bool {
    state == bytes
        || state == text
        || match state {
            Value::Object(map) => map.values().any(|v| holds(v, bytes, text)),
            _ => false,
        }
}

fn nothing_more(stream: TcpStream, mut reader: BufReader<TcpStream>) {
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}
