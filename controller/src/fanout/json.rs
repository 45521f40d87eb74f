//! Answers for programs: one JSON object a line. What is UTF-8 is text, byte for byte; what is not is `..._hex`, so that nothing
//! is lost on the way.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::fanout::answer::{Answer, End, Stream};

/// A line of `--live`.
#[must_use]
pub fn line(node: &str, stream: Stream, line: &[u8]) -> Value {
    let mut event = object(json!({"event": "line", "node": node, "stream": stream}));
    put(&mut event, "text", line);
    Value::Object(event)
}

/// The end on a node, with what it said.
#[must_use]
pub fn ended(node: &str, answer: &Answer, took: Duration) -> Value {
    let mut event = object(json!({"event": "ended", "node": node}));
    let (how, value) = match &answer.end {
        End::Exit(status) => ("exit", json!(status)),
        End::Signal(name) => ("signal", json!(name)),
        End::Failed(failure) => ("error", json!(failure)),
        End::TimedOut => ("stopped", json!("timeout")),
        End::Interrupted => ("stopped", json!("interrupted")),
        End::NotStarted => ("stopped", json!("not_started")),
    };
    event.insert(how.to_owned(), value);
    for (stream, key) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
        let bytes = answer.output.of(stream);
        if !bytes.is_empty() {
            put(&mut event, key, bytes);
        }
    }
    if answer.output.cut() > 0 {
        event.insert("cut_bytes".to_owned(), json!(answer.output.cut()));
    }
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    event.insert("ms".to_owned(), json!(ms));
    Value::Object(event)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(), // objects alone are given
    }
}

fn put(event: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => event.insert(key.to_owned(), json!(text)),
        Err(_) => {
            let mut hex = String::with_capacity(bytes.len() * 2);
            for byte in bytes {
                let _ = write!(hex, "{byte:02x}");
            }
            event.insert(format!("{key}_hex"), json!(hex))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::answer::{Budget, Failure, Output};

    #[test]
    fn an_end_says_all_there_is_to_say_and_nothing_is_lost() {
        let mut output = Output::new(5, Budget::new(100));
        output.push(Stream::Stdout, b"a\n");
        output.push(Stream::Stderr, b"\xff\x00zzz");
        let answer = Answer {
            output,
            end: End::Exit(3),
        };
        let event = ended("web1", &answer, Duration::from_millis(12));
        assert_eq!(
            event,
            json!({"event": "ended", "node": "web1", "exit": 3, "stdout": "a\n", "stderr_hex": "ff007a",
                   "cut_bytes": 2, "ms": 12})
        );
        let failure = Failure {
            code: "MF0650".into(),
            what: "refused".into(),
            hint: "look".into(),
            began: false,
        };
        let answer = Answer {
            output: Output::new(5, Budget::new(100)),
            end: End::Failed(failure),
        };
        let event = ended("web1", &answer, Duration::ZERO);
        let error = json!({"code": "MF0650", "what": "refused", "hint": "look", "began": false});
        assert_eq!(event["error"], error);
        assert_eq!(line("a", Stream::Stderr, b"x")["text"], "x");
    }
}
