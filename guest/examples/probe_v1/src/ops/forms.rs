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
//! {"op":"spawn","module":M,"args":JSON,"name":N?,"monitor":B?,"link":B?,"under":S?}   answers {"pid":PID}; kept in `children`
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
//! {"op":"connect","host":H,"port":P,"timeout_ms":N?,"active":MODE?,"echo":B?}   a failure is kept in `notes`
//! {"op":"link"|"unlink","pid":PID}  {"op":"trap_exit","on":B}    trapped exits are kept in `exits`
//! {"op":"exit","pid":PID,"reason":R}            an exit signal
//! {"op":"join"|"leave","group":G}  {"op":"members","group":G}    answers {"pids":[..]}
//! {"op":"stop_child"|"restart_child","supervisor":S,"child":TO}
//! ```
//!
//! `init` takes anything; of an object it takes `"ops": [..]`, done as an info, and `"flag": B`. `on_load` refuses with
//! `{"refuse": TEXT}` and panics with `{"trap": true}`.

use midflight_guest::serde::Deserialize;
use midflight_guest::serde_json::Value;
use midflight_guest::{Active, Dest, Id, Pid, Socket};

/// A pid or a name.
#[derive(Deserialize)]
#[serde(crate = "midflight_guest::serde", untagged)]
pub enum To {
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
pub enum Op {
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
        #[serde(default)]
        link: bool,
        under: Option<String>,
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
    Connect {
        host: String,
        port: u16,
        timeout_ms: Option<u64>,
        active: Option<Active>,
        echo: Option<bool>,
    },
    Link {
        pid: Pid,
    },
    Unlink {
        pid: Pid,
    },
    TrapExit {
        on: bool,
    },
    Exit {
        pid: Pid,
        reason: String,
    },
    Join {
        group: String,
    },
    Leave {
        group: String,
    },
    Members {
        group: String,
    },
    StopChild {
        supervisor: String,
        child: To,
    },
    RestartChild {
        supervisor: String,
        child: To,
    },
}
