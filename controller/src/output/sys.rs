//! What agents answer to `sys`, for people and for programs. Text of a node may hold what a guest wrote, and is shown
//! without its control characters.

use midflight_proto::agent::v1::{self as pb, sys_request::Op};
use serde_json::{Value, json};

use super::{count, plain};

/// The columns of a list of actors.
pub const ACTORS: [&str; 8] = [
    "PID", "NAME", "MODULE", "VSN", "STATUS", "MAILBOX", "STATE", "EVENTS",
];

/// The columns of a list of old code.
pub const OLD_CODE: [&str; 5] = ["MODULE", "OLD", "CURRENT", "ACTORS", "SINCE"];

/// The rows of a list of actors.
pub fn actors(answer: &pb::SysResponse) -> Vec<([String; 8], Value)> {
    answer
        .actors
        .iter()
        .map(|actor| (cells(actor), actor_json(actor)))
        .collect()
}

/// One actor as cells under [`ACTORS`].
pub fn cells(actor: &pb::ActorStatus) -> [String; 8] {
    [
        actor.pid.to_string(),
        name(&actor.name),
        plain(&actor.module),
        plain(&actor.vsn),
        plain(&actor.status),
        actor.mailbox.to_string(),
        actor.state_bytes.to_string(),
        actor.events.to_string(),
    ]
}

/// The rows of a list of old code.
pub fn old_code(answer: &pb::SysResponse) -> Vec<([String; 5], Value)> {
    let row = |old: &pb::OldCode| {
        let cells = [
            plain(&old.module),
            plain(&old.vsn),
            plain(&old.current),
            old.actors.to_string(),
            format!("{} ago", super::duration(old.since_ms)),
        ];
        let value = json!({
            "module": old.module, "vsn": old.vsn, "current": old.current, "since_ms": old.since_ms,
            "actors": old.actors, "pids": old.pids,
        });
        (cells, value)
    };
    answer.old_code.iter().map(row).collect()
}

fn name(name: &str) -> String {
    match name {
        "" => "-".to_owned(),
        name => plain(name),
    }
}

/// An actor for programs.
pub fn actor_json(actor: &pb::ActorStatus) -> Value {
    json!({
        "pid": actor.pid, "name": actor.name, "module": actor.module, "vsn": actor.vsn, "status": actor.status,
        "suspended": actor.suspended, "mailbox": actor.mailbox, "mailbox_bound": actor.mailbox_bound,
        "state_bytes": actor.state_bytes, "events": actor.events,
    })
}

/// An answer for people.
pub fn text(op: &Op, answer: &pb::SysResponse) -> String {
    if !answer.state.is_empty() {
        return format!("{}\n", answer.state);
    }
    let is_statistics = matches!(op, Op::Statistics(_));
    if is_statistics {
        return statistics(answer);
    }
    if matches!(op, Op::Trace(_)) {
        return answer
            .trace
            .as_ref()
            .map_or_else(|| "there is no trace\n".to_owned(), trace);
    }
    if matches!(op, Op::Log(_)) {
        return answer.log.iter().map(log_line).collect();
    }
    if let Some(caught) = &answer.caught_up {
        return caught_up(caught);
    }
    if let Some(done) = &answer.affected {
        let gone = match done.gone {
            0 => String::new(),
            gone => format!(", {gone} had ended by themselves"),
        };
        return format!("{}{gone}\n", count(done.actors, "actor"));
    }
    match (&answer.status, &answer.module) {
        (Some(actor), _) => status(actor),
        (None, Some(module)) => of_module(module),
        (None, None) => "done\n".to_owned(),
    }
}

fn caught_up(caught: &pb::CaughtUp) -> String {
    let mut text = format!("{} on the current code\n", count(caught.updated, "actor"));
    for held in &caught.held {
        text.push_str(&format!(
            "held: pid {}  name {}  {}\n",
            held.pid,
            name(&held.name),
            plain(&held.reason)
        ));
    }
    text
}

fn status(actor: &pb::ActorStatus) -> String {
    let also = if actor.suspended && actor.status != "suspended" {
        " and suspended"
    } else {
        ""
    };
    format!(
        "pid {}  name {}  {} {}  {}{also}\nmailbox {} of {}  state {}  {} handled\n",
        actor.pid,
        name(&actor.name),
        plain(&actor.module),
        plain(&actor.vsn),
        plain(&actor.status),
        actor.mailbox,
        actor.mailbox_bound,
        count(actor.state_bytes, "byte"),
        count(actor.events, "event")
    )
}

fn of_module(module: &pb::ModuleActors) -> String {
    format!(
        "{} {}  {}: {} waiting, {} running, {} suspended, {} parked, {} held\nmailboxes {}, the longest {}\n",
        plain(&module.module),
        plain(&module.vsn),
        count(module.actors, "actor"),
        module.waiting,
        module.running,
        module.suspended,
        module.parked,
        module.held,
        count(module.mailbox, "event"),
        module.mailbox_max,
    )
}

fn statistics(answer: &pb::SysResponse) -> String {
    let mut text = String::new();
    if let Some(module) = &answer.counters {
        text.push_str(&format!(
            "{} {}  {}\nsince it was loaded: {} handled, {}, {}, {}\n",
            plain(&module.name),
            plain(&module.vsn),
            count(module.actors, "actor"),
            count(module.events, "event"),
            count(module.traps, "trap"),
            count(module.errors, "error"),
            count(module.restarts, "restart"),
        ));
    }
    match &answer.counts {
        None => text.push_str("statistics are off\n"),
        Some(counts) => text.push_str(&format!(
            "since {}: {} handled, {} in, {} out, {}; mailbox {}\n",
            clock(counts.since_ns),
            count(counts.events, "event"),
            count(counts.messages_in, "message"),
            count(counts.messages_out, "message"),
            count(counts.errors, "error"),
            counts.mailbox,
        )),
    }
    text
}

fn trace(report: &pb::TraceReport) -> String {
    let how = if report.running { "runs" } else { "has ended" };
    let mut text = format!(
        "the trace {how}: {} noted, {} kept, {} dropped\n",
        count(report.events, "event"),
        report.entries.len(),
        report.dropped
    );
    for entry in &report.entries {
        let cut = if entry.bytes > entry.body.len() as u64 {
            "…"
        } else {
            ""
        };
        text.push_str(&format!(
            "{}  {}  {:<6} {} {}  {}{cut}\n",
            clock(entry.clock_ns),
            entry.pid,
            plain(&entry.way),
            plain(&entry.kind),
            name(&entry.peer),
            body(&entry.body),
        ));
    }
    text
}

fn log_line(line: &pb::LogLine) -> String {
    let text: String = line.text.chars().filter(|c| !c.is_control()).collect();
    format!(
        "{}  {:<5}  {text}\n",
        clock(line.clock_ns),
        plain(&line.level)
    )
}

/// Text as it is, other bytes as hexadecimal.
fn body(bytes: &[u8]) -> String {
    // A body that was cut may end inside a character.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `2026-11-21T15:04:05.678Z`.
fn clock(ns: u64) -> String {
    let at =
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns) / 1_000_000 * 1_000_000);
    at.ok()
        .and_then(|at| {
            at.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| ns.to_string())
}

/// An answer for programs.
pub fn json(answer: &pb::SysResponse) -> Value {
    // What is no JSON, which an agent should not send, is shown as text.
    let state = (!answer.state.is_empty())
        .then(|| serde_json::from_str(&answer.state).unwrap_or_else(|_| json!(answer.state)));
    let mut value = json!({
        "status": answer.status.as_ref().map(actor_json),
        "state": state,
    });
    let mut add = |key: &str, part: Option<Value>| {
        if let (Some(part), Some(object)) = (part, value.as_object_mut()) {
            object.insert(key.to_owned(), part);
        }
    };
    add("module", answer.module.as_ref().map(module_json));
    let affected = |done: &pb::SysAffected| json!({"actors": done.actors, "gone": done.gone});
    add("affected", answer.affected.as_ref().map(affected));
    let held = |held: &pb::ActorFailure| json!({"pid": held.pid, "name": held.name, "module": held.module, "reason": held.reason});
    let caught = |caught: &pb::CaughtUp| json!({"updated": caught.updated, "held": caught.held.iter().map(held).collect::<Vec<_>>()});
    add("caught_up", answer.caught_up.as_ref().map(caught));
    let counts = |counts: &pb::SysCounts| {
        json!({
            "since_ns": counts.since_ns, "events": counts.events, "messages_in": counts.messages_in,
            "messages_out": counts.messages_out, "errors": counts.errors, "mailbox": counts.mailbox,
        })
    };
    add("statistics", answer.counts.as_ref().map(counts));
    let counters = |module: &pb::ModuleStatus| {
        json!({
            "events": module.events, "traps": module.traps, "errors": module.errors, "restarts": module.restarts,
        })
    };
    add("counters", answer.counters.as_ref().map(counters));
    let line = |line: &pb::LogLine| json!({"clock_ns": line.clock_ns, "level": line.level, "text": line.text});
    let lines: Vec<Value> = answer.log.iter().map(line).collect();
    add("log", (!lines.is_empty()).then(|| json!(lines)));
    add("trace", answer.trace.as_ref().map(trace_json));
    value
}

fn module_json(module: &pb::ModuleActors) -> Value {
    json!({
        "module": module.module, "vsn": module.vsn, "actors": module.actors, "waiting": module.waiting,
        "running": module.running, "suspended": module.suspended, "parked": module.parked, "held": module.held,
        "mailbox": module.mailbox, "mailbox_max": module.mailbox_max,
    })
}

fn trace_json(report: &pb::TraceReport) -> Value {
    let entry = |entry: &pb::TraceEntry| {
        json!({
            "seq": entry.seq, "clock_ns": entry.clock_ns, "pid": entry.pid, "way": entry.way, "kind": entry.kind,
            "peer": entry.peer, "bytes": entry.bytes, "body": String::from_utf8_lossy(&entry.body),
            "body_hex": hex(&entry.body),
        })
    };
    json!({
        "running": report.running, "events": report.events, "dropped": report.dropped,
        "entries": report.entries.iter().map(entry).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_text_when_it_is_text_also_when_it_was_cut() {
        assert_eq!(body(b"{\"n\":1}"), "{\"n\":1}");
        assert_eq!(body("zwölf".as_bytes().split_at(3).0), "zw");
        assert_eq!(body(&[0xff, 0x00]), "ff00");
        assert_eq!(
            body(b"\x1b[2J"),
            "1b5b324a",
            "no control character reaches a terminal"
        );
    }

    #[test]
    fn times_are_in_utc_with_milliseconds() {
        assert_eq!(clock(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
    }
}
