//! The probe's messages, the same for calls, casts, infos and timer bodies. A body is JSON: an object, or an array of
//! objects that are done in order. What cannot be read is counted (`unreadable`), never an error.
//!
//! An object with `"seq": n` is noted as (sender's pid or 0, n). An object without `op` or `seq` is kept as text in `notes`.
//! `TO` is a pid as a number, or a name. A call is answered with what its last answering op says, else `{"ok":true}`.
//!
//! ```text
//! {"op":"get"}                                  answers {"code":"v1","me":PID,"core":{..the state..}}
//! {"op":"echo"}                                 answers the object itself; a cast or info: sends it to the sender as info
//! {"op":"spin","n":N}                           burns N rounds of arithmetic
//! {"op":"loop"}                                 never ends
//! {"op":"alloc","mib":N}                        allocates N MiB and frees them
//! {"op":"trap"}  {"op":"error","text":T}        panics; returns an error
//! {"op":"error_after"}                          changes the state (total + 1), sends itself a note, then returns an error
//! {"op":"stop","reason":R}                      stops
//! {"op":"spawn","module":M,"args":JSON,"name":N?,"monitor":B?}   answers {"pid":PID}; kept in `children`
//! {"op":"send"|"cast","to":TO,"times":N?,"from":F?,"body":{..}}  N times (1), with "seq": F, F+1.. when `from` is given
//! {"op":"ask","to":TO,"body":{..},"timeout_ms":N?,"cookie":T?}   a request; its outcome is kept in `answers`
//! {"op":"relay","to":TO,"body":{..},"timeout_ms":N?}             in a call: answers what TO answers, or {"error":reason}
//! {"op":"later"}                                in a call: no answer yet
//! {"op":"answer","body":{..}}                   answers the oldest call that was put off
//! {"op":"ping","to":TO,"n":N}                   casts {"op":"ping","to":ME,"n":N-1} to TO while N > 0; `pings` counts
//! {"op":"timer","after_ms":N,"body":{..}}       starts a timer; answers {"id":ID}
//! {"op":"cancel","id":ID}                       cancels it
//! {"op":"monitor"|"demonitor","pid":PID}        ends are kept in `downs`
//! {"op":"register"|"unregister","name":N}       answers to `register` are kept in `registered`
//! {"op":"whereis","name":N}                     answers {"pid":PID or null}
//! {"op":"grow","bytes":N}                       makes `pad` so long
//! {"op":"log","n":N,"text":T}                   N lines at level info
//! {"op":"flag","on":B}                          sets `flag`, which steers version 2's code_change
//! {"op":"add","n":N}                            adds to `total`; answers {"total":..}
//! {"op":"random"}                               answers {"random":..}
//! {"op":"now"}                                  answers {"wall":..,"mono":..}
//! {"op":"impure"}                               adds a counter in the instance's memory to `total`: hermetic mode must notice
//! {"op":"last_words","to":TO}                   terminate sends {"terminated":REASON,"code":..} to TO
//! {"op":"listen","port":P,"active":MODE,"echo":B?}   listens; connections get MODE: "Off", "Once", {"Count":N}, "Always"
//! {"op":"active","socket":S,"mode":MODE}  {"op":"write","socket":S,"text":T,"times":N?}  {"op":"close","socket":S}
//! {"op":"give","socket":S,"to":PID}
//! ```
//!
//! `init` takes anything; of an object it takes `"ops": [..]`, done as an info, and `"flag": B`. `on_load` refuses with
//! `{"refuse": TEXT}` and panics with `{"trap": true}`.

use midflight_guest::serde::Deserialize;
use midflight_guest::serde_json::{self, Value, json};
use midflight_guest::{
    Active, Cx, Dest, Id, Json, Level, Pid, Raw, ReplyTo, Response, Socket, SocketEvent, Spawn,
    message, state,
};
use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The newest so many pairs, notes and heard bytes are kept.
const KEPT: usize = 512;

/// What the probe remembers.
#[state]
#[derive(Default)]
pub struct Core {
    pub flag: bool,
    pub total: u64,
    pub calls: u64,
    pub casts: u64,
    pub infos: u64,
    pub timers: u64,
    pub pings: u64,
    pub unreadable: u64,
    /// Noted messages, and how many came with a `seq` that does not follow the sender's last one.
    pub noted: u64,
    pub out_of_order: u64,
    pub last: BTreeMap<u64, u64>,
    pub received: VecDeque<(u64, u64)>,
    pub notes: VecDeque<String>,
    pub answers: VecDeque<(String, Result<String, String>)>,
    pub downs: VecDeque<(u64, String)>,
    pub registered: VecDeque<(String, u64)>,
    pub children: Vec<Pid>,
    pub put_off: VecDeque<ReplyTo>,
    pub last_words: Option<Dest>,
    pub listener: Option<(Socket, u16)>,
    pub active: Option<Active>,
    pub echo: bool,
    pub sockets: Vec<Socket>,
    pub passive: u64,
    pub bytes_heard: u64,
    pub heard: String,
    pub closed: VecDeque<(u64, String)>,
    pub pad: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(crate = "midflight_guest::serde", untagged)]
enum To {
    Pid(u64),
    Name(String),
}

impl From<To> for Dest {
    fn from(to: To) -> Dest {
        match to {
            To::Pid(pid) => Dest::Pid(Pid(pid)),
            To::Name(name) => Dest::Name(name),
        }
    }
}

#[derive(Deserialize)]
#[serde(
    crate = "midflight_guest::serde",
    tag = "op",
    rename_all = "snake_case"
)]
enum Op {
    Get,
    Echo,
    Spin {
        n: u64,
    },
    Loop,
    Alloc {
        mib: usize,
    },
    Trap,
    Error {
        text: String,
    },
    ErrorAfter,
    Stop {
        reason: String,
    },
    Spawn {
        module: String,
        #[serde(default)]
        args: Value,
        name: Option<String>,
        #[serde(default)]
        monitor: bool,
    },
    Send {
        to: To,
        times: Option<u64>,
        from: Option<u64>,
        body: Value,
    },
    Cast {
        to: To,
        times: Option<u64>,
        from: Option<u64>,
        body: Value,
    },
    Ask {
        to: To,
        body: Value,
        timeout_ms: Option<u64>,
        cookie: Option<String>,
    },
    Relay {
        to: To,
        body: Value,
        timeout_ms: Option<u64>,
    },
    Later,
    Answer {
        body: Value,
    },
    Ping {
        to: To,
        n: u64,
    },
    Timer {
        after_ms: u64,
        body: Value,
    },
    Cancel {
        id: Id,
    },
    Monitor {
        pid: Pid,
    },
    Demonitor {
        pid: Pid,
    },
    Register {
        name: String,
    },
    Unregister {
        name: String,
    },
    Whereis {
        name: String,
    },
    Grow {
        bytes: usize,
    },
    Log {
        n: u64,
        text: String,
    },
    Flag {
        on: bool,
    },
    Add {
        n: u64,
    },
    Random,
    Now,
    Impure,
    LastWords {
        to: To,
    },
    Listen {
        port: u16,
        active: Active,
        echo: Option<bool>,
    },
    Active {
        socket: Socket,
        mode: Active,
    },
    Write {
        socket: Socket,
        text: String,
        times: Option<u64>,
    },
    Close {
        socket: Socket,
    },
    Give {
        socket: Socket,
        to: Pid,
    },
}

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
        SocketEvent::Accepted { socket, .. } => {
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

fn perform(
    cx: &mut Cx,
    core: &mut Core,
    code: &str,
    op: Op,
    object: Value,
    from: Option<ReplyTo>,
) -> Result<Answer, String> {
    match op {
        Op::Get => {
            return Ok(Answer::Now(
                json!({ "code": code, "me": cx.me(), "core": core }),
            ));
        }
        Op::Echo if from.is_some() => return Ok(Answer::Now(object)),
        Op::Echo => {
            if let Some(sender) = cx.sender() {
                cx.send(sender, &raw(&object))?;
            }
        }
        Op::Spin { n } => spin(n),
        Op::Loop => spin(u64::MAX),
        Op::Alloc { mib } => drop(black_box(vec![1_u8; mib << 20])),
        Op::Trap => panic!("told to trap"),
        Op::Error { text } => return Err(text),
        Op::ErrorAfter => {
            core.total += 1;
            cx.send(cx.me(), &raw(&json!({ "note": "from a failed handler" })))?;
            return Err("told to fail after a change".to_owned());
        }
        Op::Stop { reason } => cx.stop(&reason),
        Op::Spawn {
            module,
            args,
            name,
            monitor,
        } => {
            let mut spawn = Spawn::new(&module, args);
            if let Some(name) = &name {
                spawn = spawn.named(name);
            }
            if monitor {
                spawn = spawn.monitored();
            }
            let pid = cx.spawn(spawn)?;
            core.children.push(pid);
            return Ok(Answer::Now(json!({ "pid": pid })));
        }
        Op::Send {
            to,
            times,
            from,
            body,
        } => {
            let to = Dest::from(to);
            for n in 0..times.unwrap_or(1) {
                cx.send(to.clone(), &numbered(&body, from.map(|from| from + n)))?;
            }
        }
        Op::Cast {
            to,
            times,
            from,
            body,
        } => {
            let to = Dest::from(to);
            for n in 0..times.unwrap_or(1) {
                cx.cast(to.clone(), &numbered(&body, from.map(|from| from + n)))?;
            }
        }
        Op::Ask {
            to,
            body,
            timeout_ms,
            cookie,
        } => {
            let timeout = Duration::from_millis(timeout_ms.unwrap_or(0));
            cx.request(
                to,
                &raw(&body),
                &Cookie::Keep(cookie.unwrap_or_default()),
                timeout,
            )?;
        }
        Op::Relay {
            to,
            body,
            timeout_ms,
        } => {
            if let Some(from) = from {
                let timeout = Duration::from_millis(timeout_ms.unwrap_or(0));
                cx.request(to, &raw(&body), &Cookie::Relay(from), timeout)?;
                return Ok(Answer::Later);
            }
        }
        Op::Later => {
            core.put_off.extend(from);
            return Ok(Answer::Later);
        }
        Op::Answer { body } => {
            if let Some(to) = core.put_off.pop_front() {
                cx.reply(to, &raw(&body))?;
            }
        }
        Op::Ping { to, n } => {
            core.pings += 1;
            if n > 0 {
                cx.cast(
                    to,
                    &raw(&json!({ "op": "ping", "to": cx.me(), "n": n - 1 })),
                )?;
            }
        }
        Op::Timer { after_ms, body } => {
            let id = cx.start_timer(Duration::from_millis(after_ms), &raw(&body))?;
            return Ok(Answer::Now(json!({ "id": id })));
        }
        Op::Cancel { id } => cx.cancel_timer(id),
        Op::Monitor { pid } => cx.monitor(pid),
        Op::Demonitor { pid } => cx.demonitor(pid),
        Op::Register { name } => cx.register(&name),
        Op::Unregister { name } => cx.unregister(&name),
        Op::Whereis { name } => return Ok(Answer::Now(json!({ "pid": cx.whereis(&name) }))),
        Op::Grow { bytes } => core.pad.resize(bytes, b'x'),
        Op::Log { n, text } => (0..n).for_each(|_| cx.log(Level::Info, &text)),
        Op::Flag { on } => core.flag = on,
        Op::Add { n } => {
            core.total += n;
            return Ok(Answer::Now(json!({ "total": core.total })));
        }
        Op::Random => return Ok(Answer::Now(json!({ "random": cx.random() }))),
        Op::Now => {
            return Ok(Answer::Now(
                json!({ "wall": cx.now_wall(), "mono": cx.now_mono() }),
            ));
        }
        Op::Impure => {
            static SCRATCH: AtomicU64 = AtomicU64::new(0);
            core.total += 1 + SCRATCH.fetch_add(1, Ordering::Relaxed);
        }
        Op::LastWords { to } => core.last_words = Some(to.into()),
        Op::Listen { port, active, echo } => {
            core.active = Some(active);
            core.echo = echo.unwrap_or(true);
            cx.listen(port);
        }
        Op::Active { socket, mode } => cx.set_active(socket, mode),
        Op::Write {
            socket,
            text,
            times,
        } => cx.write(socket, text.repeat(times.unwrap_or(1) as usize)),
        Op::Close { socket } => cx.close(socket),
        Op::Give { socket, to } => cx.give(socket, to),
    }
    Ok(Answer::Ok)
}

/// Burns so many rounds of arithmetic.
pub fn spin(rounds: u64) {
    let mut x = 1_u64;
    for round in 0..rounds {
        x = black_box(x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(round));
    }
}

/// A JSON value as the bytes of a message.
pub fn raw(value: &Value) -> Raw {
    Raw(value.to_string().into_bytes())
}

fn numbered(body: &Value, seq: Option<u64>) -> Raw {
    let mut body = body.clone();
    if let (Some(seq), Some(object)) = (seq, body.as_object_mut()) {
        object.insert("seq".to_owned(), json!(seq));
    }
    raw(&body)
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(item);
}
