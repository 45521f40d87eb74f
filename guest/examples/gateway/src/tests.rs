//! The gateway's connection actor, line by line.

use crate::{Asked, Cookie, Gateway, State};
use api::{counter, greeter};
use midflight_guest::{Event, Message, Socket, native, wit};

fn data(bytes: &str) -> Event {
    Event::Socket(wit::SocketEvent::Data(wit::Data {
        socket: 5,
        bytes: bytes.into(),
    }))
}

fn response(seq: u64, asked: Asked, outcome: Result<Vec<u8>, wit::RequestError>) -> Event {
    let cookie = Cookie { seq, asked }.encode().expect("encodes");
    Event::Response(wit::Response {
        id: 1,
        cookie,
        issued_by: None,
        outcome,
    })
}

/// What a fresh connection does with these events: each effect in a word or two, and what stays in the buffer.
fn run(events: Vec<Event>) -> (Vec<String>, String) {
    let connection = State::Connection {
        socket: Socket(5),
        buffer: Vec::new(),
    };
    let (state, batch) = native::handle::<Gateway>(&connection, events).expect("runs");
    assert_eq!(batch.error, None);
    let State::Connection { buffer, .. } = state else {
        panic!("a connection stays one")
    };
    let effects =
        batch
            .steps
            .into_iter()
            .flat_map(|step| step.effects)
            .map(|effect| match effect {
                wit::Effect::Cast(wit::Message {
                    to: wit::Dest::Name(name),
                    ..
                }) => format!("cast {name}"),
                wit::Effect::Request(wit::Ask {
                    to: wit::Dest::Name(name),
                    cookie,
                    ..
                }) => {
                    format!(
                        "ask {name} {}",
                        Cookie::decode(&cookie).expect("decodes").seq
                    )
                }
                wit::Effect::Write(write) => {
                    format!("write {}", String::from_utf8_lossy(&write.bytes))
                }
                wit::Effect::Close(_) => "close".to_owned(),
                other => format!("{other:?}"),
            });
    (
        effects.collect(),
        String::from_utf8_lossy(&buffer).into_owned(),
    )
}

#[test]
fn requests_follow_each_other_without_waiting() {
    let (effects, rest) = run(vec![data(
        "inc 1 counter-7\r\nget 2 counter-8\ngreet 3 Alice B\npi 4\npi",
    )]);
    assert_eq!(
        effects,
        [
            "cast counter-7",
            "ask counter-7 1",
            "ask counter-8 2",
            "ask greeter 3",
            "ask pi 4"
        ]
    );
    assert_eq!(rest, "pi");
}

#[test]
fn a_line_may_be_cut_anywhere() {
    let text = "inc 1 counter-7\npi 2\n";
    for cut in 1..text.len() {
        let (effects, rest) = run(vec![data(&text[..cut]), data(&text[cut..])]);
        assert_eq!(
            effects,
            ["cast counter-7", "ask counter-7 1", "ask pi 2"],
            "cut at {cut}"
        );
        assert_eq!(rest, "");
    }
}

#[test]
fn answers_carry_the_clients_number() {
    let count = counter::v2::Reply::Count(12).encode().expect("encodes");
    let line = greeter::Reply::from("Hello, Alice!")
        .encode()
        .expect("encodes");
    let pi = 2.5_f64.encode().expect("encodes");
    let (effects, _) = run(vec![
        response(1, Asked::Counter, Ok(count)),
        response(2, Asked::Greeter, Ok(line)),
        response(3, Asked::Pi, Ok(pi)),
        response(4, Asked::Pi, Err(wit::RequestError::Timeout)),
        response(
            5,
            Asked::Counter,
            Err(wit::RequestError::Down("noproc".to_owned())),
        ),
        response(6, Asked::Counter, Ok(vec![200])),
    ]);
    let answers = [
        "ok 1 12\n",
        "ok 2 Hello, Alice!\n",
        "ok 3 2.5\n",
        "err 4 timeout\n",
        "err 5 down: noproc\n",
        "err 6 1 bytes do not decode: Hit the end of buffer, expected more data\n",
    ];
    assert_eq!(effects, answers.map(|answer| format!("write {answer}")));
}

#[test]
fn a_line_that_asks_for_nothing_is_answered_too() {
    let (effects, _) = run(vec![data(
        "dec 1 counter\ninc x counter\ninc 1\n\u{0}\npi\n",
    )]);
    let answers = [
        "err - expected inc, get, greet or pi\n",
        "err - the sequence number is no number\n",
        "err - a name is missing\n",
        "err - expected inc, get, greet or pi\n",
        "err - a sequence number is missing\n",
    ];
    assert_eq!(effects, answers.map(|answer| format!("write {answer}")));
}

#[test]
fn a_line_without_end_closes_its_connection() {
    let (effects, _) = run(vec![data(&"x".repeat(5000))]);
    assert_eq!(effects, ["write err - the line is too long\n", "close"]);
}
