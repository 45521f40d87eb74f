//! The probe's handlers, shared by its versions: each takes the part of the state that both have, and what to call the
//! code that runs. The messages are in `forms.rs`, what they do in `perform.rs`, what is kept in `core.rs`.

mod apply;
mod core;
mod forms;
pub mod perform;

pub use self::apply::apply;
pub use self::core::Core;

use self::core::{KEPT, keep};
use midflight_guest::serde_json::{self, Value, json};
use midflight_guest::{Active, Cx, Json, Pid, Raw, ReplyTo, Response, SocketEvent, message};
use perform::perform;

/// Comes back with the answer to a request.
#[message]
enum Cookie {
    Keep(String),
    Relay(ReplyTo),
}

/// What a body wants a call to be answered with.
enum Answer {
    Ok,
    Now(Value),
    Later,
}

pub fn init(cx: &mut Cx, args: Value) -> Result<Core, String> {
    let mut core = Core {
        flag: args["flag"] == true,
        ..Core::default()
    };
    if args["ops"].is_array() {
        run(cx, &mut core, "init", args["ops"].clone(), None)?;
    }
    Ok(core)
}

pub fn call(
    cx: &mut Cx,
    core: &mut Core,
    code: &str,
    body: &[u8],
    from: ReplyTo,
) -> Result<Option<Raw>, String> {
    core.calls += 1;
    Ok(match read(cx, core, code, body, Some(from))? {
        Answer::Ok => Some(Raw(b"{\"ok\":true}".to_vec())),
        Answer::Now(value) => Some(raw(&value)),
        Answer::Later => None,
    })
}

pub fn cast(cx: &mut Cx, core: &mut Core, code: &str, body: &[u8]) -> Result<(), String> {
    core.casts += 1;
    read(cx, core, code, body, None).map(drop)
}

pub fn info(cx: &mut Cx, core: &mut Core, code: &str, body: &[u8]) -> Result<(), String> {
    core.infos += 1;
    read(cx, core, code, body, None).map(drop)
}

pub fn timer(cx: &mut Cx, core: &mut Core, code: &str, body: &[u8]) -> Result<(), String> {
    core.timers += 1;
    read(cx, core, code, body, None).map(drop)
}

pub fn response(cx: &mut Cx, core: &mut Core, response: Response<'_>) -> Result<(), String> {
    let outcome = response
        .reply::<Raw>()?
        .map(|raw| raw.0)
        .map_err(|error| error.to_string());
    match response.cookie.decode()? {
        Cookie::Relay(to) => {
            let body = outcome.unwrap_or_else(|error| raw(&json!({ "error": error })).0);
            cx.reply(to, &Raw(body))
        }
        Cookie::Keep(cookie) => {
            let outcome = outcome.map(|body| String::from_utf8_lossy(&body).into_owned());
            keep(&mut core.answers, (cookie, outcome));
            Ok(())
        }
    }
}

pub fn down(core: &mut Core, pid: Pid, reason: &str) -> Result<(), String> {
    keep(&mut core.downs, (pid.0, reason.to_owned()));
    Ok(())
}

pub fn exit(core: &mut Core, pid: Pid, reason: &str) -> Result<(), String> {
    keep(&mut core.exits, (pid.0, reason.to_owned()));
    Ok(())
}

pub fn registered(core: &mut Core, name: &str, holder: Pid) -> Result<(), String> {
    keep(&mut core.registered, (name.to_owned(), holder.0));
    Ok(())
}

pub fn socket(cx: &mut Cx, core: &mut Core, event: SocketEvent<'_>) -> Result<(), String> {
    match event {
        SocketEvent::Listening { socket, port, .. } => core.listener = Some((socket, port)),
        SocketEvent::ListenFailed { port, reason, .. } => {
            keep(&mut core.notes, format!("listen {port}: {reason}"))
        }
        SocketEvent::ConnectFailed { reason, .. } => {
            keep(&mut core.notes, format!("connect: {reason}"))
        }
        SocketEvent::Accepted { socket, .. } | SocketEvent::Connected { socket, .. } => {
            core.sockets.push(socket);
            cx.set_active(socket, core.active.unwrap_or(Active::Off));
        }
        SocketEvent::Data { socket, bytes } => {
            core.bytes_heard += bytes.len() as u64;
            if core.heard.len() < KEPT {
                core.heard.push_str(&String::from_utf8_lossy(bytes));
            }
            if core.echo {
                cx.write(socket, bytes);
            }
        }
        SocketEvent::Passive { .. } => core.passive += 1,
        SocketEvent::Closed { socket, reason } => {
            core.sockets.retain(|other| *other != socket);
            keep(&mut core.closed, (socket.0, reason.to_owned()));
        }
    }
    Ok(())
}

pub fn on_load(config: Json<'_>) -> Result<(), String> {
    let config: Value = config.decode()?;
    assert!(config["trap"] != true, "told to trap on load");
    match config["refuse"].as_str() {
        Some(text) => Err(text.to_owned()),
        None => Ok(()),
    }
}

pub fn terminate(cx: &mut Cx, reason: &str, core: &Core) {
    if let Some(to) = &core.last_words {
        // The only error is a body that does not encode, and JSON values do.
        let _ = cx.send(to.clone(), &raw(&json!({ "terminated": reason })));
    }
}

fn read(
    cx: &mut Cx,
    core: &mut Core,
    code: &str,
    body: &[u8],
    from: Option<ReplyTo>,
) -> Result<Answer, String> {
    match serde_json::from_slice(body) {
        Ok(body) => run(cx, core, code, body, from),
        Err(_) => {
            core.unreadable += 1;
            Ok(Answer::Ok)
        }
    }
}

fn run(
    cx: &mut Cx,
    core: &mut Core,
    code: &str,
    body: Value,
    from: Option<ReplyTo>,
) -> Result<Answer, String> {
    let objects = match body {
        Value::Array(objects) => objects,
        object => vec![object],
    };
    let mut answer = Answer::Ok;
    for object in objects {
        let seq = object["seq"].as_u64();
        if let Some(seq) = seq {
            note(core, cx.sender().map_or(0, |pid| pid.0), seq);
        }
        if object["op"].is_null() {
            if seq.is_none() {
                keep(&mut core.notes, object.to_string());
            }
            continue;
        }
        match serde_json::from_value(object.clone()) {
            Ok(op) => match perform(cx, core, code, op, object, from)? {
                Answer::Ok => {}
                other => answer = other,
            },
            Err(_) => core.unreadable += 1,
        }
    }
    Ok(answer)
}

fn note(core: &mut Core, sender: u64, seq: u64) {
    core.noted += 1;
    if core
        .last
        .insert(sender, seq)
        .is_some_and(|last| seq != last + 1)
    {
        core.out_of_order += 1;
    }
    keep(&mut core.received, (sender, seq));
}

/// A JSON value as the bytes of a message.
pub fn raw(value: &Value) -> Raw {
    Raw(value.to_string().into_bytes())
}
