//! Lines, halves of lines, and what a migration does with them.

use crate::{State, TcpDemo, v1};
use midflight_guest::native::{down, handle, up};
use midflight_guest::{Event, Socket, wit};

fn data(bytes: &[u8]) -> Event {
    Event::Socket(wit::SocketEvent::Data(wit::Data {
        socket: 5,
        bytes: bytes.to_vec(),
    }))
}

fn connection(buffer: &str) -> State {
    State::Connection {
        socket: Socket(5),
        buffer: buffer.into(),
    }
}

/// What is written, and what stays in the buffer.
fn run(state: State, events: Vec<Event>) -> (String, String) {
    let (state, batch) = handle::<TcpDemo>(&state, events).expect("runs");
    assert_eq!(batch.error, None);
    let written = batch
        .steps
        .into_iter()
        .flat_map(|step| step.effects)
        .flat_map(|effect| match effect {
            wit::Effect::Write(write) => write.bytes,
            _ => Vec::new(),
        });
    let written = String::from_utf8_lossy(&written.collect::<Vec<_>>()).into_owned();
    (written, buffer(&state))
}

fn buffer(state: &State) -> String {
    match state {
        State::Connection { buffer, .. } => String::from_utf8_lossy(buffer).into_owned(),
        State::Listener { .. } => panic!("a connection stays one"),
    }
}

#[test]
fn each_whole_line_comes_back_in_upper_case() {
    assert_eq!(
        run(connection(""), vec![data(b"one\ntwo\nthr")]),
        ("ONE\nTWO\n".into(), "thr".into())
    );
    assert_eq!(
        run(connection("thr"), vec![data(b"ee\n")]),
        ("THREE\n".into(), String::new())
    );
}

#[test]
fn a_line_may_be_cut_inside_a_letter() {
    let text = "größe\n".as_bytes();
    for cut in 1..text.len() {
        assert_eq!(
            run(connection(""), vec![data(&text[..cut]), data(&text[cut..])]),
            ("GRÖSSE\n".into(), String::new())
        );
    }
}

#[test]
fn bytes_that_are_not_text_survive() {
    let (state, batch) = handle::<TcpDemo>(&connection(""), vec![data(b"a\xff\n")]).expect("runs");
    assert!(
        matches!(&batch.steps[0].effects[..], [wit::Effect::Write(write)] if write.bytes == b"A\xff\n")
    );
    assert_eq!(buffer(&state), "");
}

#[test]
fn the_way_up_adds_an_empty_buffer_and_a_second_one_keeps_what_is_in_it() {
    let (state, _) =
        up::<TcpDemo>("1.0.0", "", &v1::State::Connection { socket: Socket(5) }).expect("migrates");
    assert_eq!(run(state, vec![data(b"ha")]), (String::new(), "ha".into()));
    let (state, redelivered) = up::<TcpDemo>("2.0.0", "", &connection("ha")).expect("migrates");
    assert_eq!(redelivered.len(), 0);
    assert_eq!(
        run(state, vec![data(b"lf\n")]),
        ("HALF\n".into(), String::new())
    );
}

#[test]
fn the_way_down_hands_back_what_the_buffer_held() {
    let (state, redelivered) =
        down::<TcpDemo, v1::State>("1.0.0", "", &connection("ha")).expect("migrates");
    assert!(matches!(state, v1::State::Connection { socket: Socket(5) }));
    let [Event::Socket(wit::SocketEvent::Data(data))] = &redelivered[..] else {
        panic!("{redelivered:?}")
    };
    assert_eq!((data.socket, data.bytes.as_slice()), (5, b"ha".as_slice()));
    let (_, redelivered) =
        down::<TcpDemo, v1::State>("1.0.0", "", &connection("")).expect("migrates");
    assert_eq!(redelivered.len(), 0);
}

#[test]
fn the_listener_passes_through_both_ways() {
    let old = v1::State::Listener {
        port: 7002,
        socket: Some(Socket(3)),
    };
    let (state, _) = up::<TcpDemo>("1.0.0", "", &old).expect("migrates");
    let (old, _) = down::<TcpDemo, v1::State>("1.0.0", "", &state).expect("migrates");
    assert!(matches!(
        old,
        v1::State::Listener {
            port: 7002,
            socket: Some(Socket(3))
        }
    ));
}

#[test]
fn a_line_that_is_too_long_closes_its_connection() {
    let (_, batch) = handle::<TcpDemo>(&connection(""), vec![data(&[b'x'; 20_000])]).expect("runs");
    assert!(matches!(
        &batch.steps[0].effects[..],
        [wit::Effect::Close(5)]
    ));
    assert!(matches!(batch.steps[0].next, wit::Next::Stop(_)));
}
