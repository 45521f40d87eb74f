//! Drives the benchmark's actor from inside the node, so that a figure is the cost of messages between actors and of
//! nothing else. It does one job at a time and answers the call that brought it when the job is done.
//!
//! ```text
//! {"casts": N, "target": NAME or PID, "size": 64}    N casts, then an empty call to know that all arrived
//! {"calls": N, "target": NAME or PID, "size": 64}    N calls, one after the other
//! {"spawns": N, "start": SUM, "busy": false}         N actors of module `bench`; busy ones never stop changing their state
//! answer: {"ns": elapsed, "sum": the target's last answer}, or {"error": REASON}
//! ```
//!
//! Casts and spawns go out 100 a handler, and after each thousand an empty call waits for the target, whose mailbox is bounded.

use api::bench::{AGAIN, Reply};
use midflight_guest::serde::Deserialize;
use midflight_guest::serde_json::{self, Value, json};
use midflight_guest::{Cx, GenServer, NoArgs, Pid, Raw, ReplyTo, Response, Spawn, message, state};
use std::time::Duration;

const CASTS_A_HANDLER: u64 = 100;
const CASTS_A_WINDOW: u64 = 1000;

#[derive(Deserialize)]
#[serde(crate = "midflight_guest::serde")]
struct Order {
    casts: Option<u64>,
    calls: Option<u64>,
    spawns: Option<u64>,
    #[serde(default)]
    start: u64,
    #[serde(default)]
    busy: bool,
    #[serde(default)]
    target: Value,
    #[serde(default = "usual_size")]
    size: u32,
}

fn usual_size() -> u32 {
    64
}

#[state]
struct Job {
    from: ReplyTo,
    target: Pid,
    /// Bytes of a message.
    size: u32,
    casts_left: u64,
    calls_left: u64,
    spawns_left: u64,
    start: u64,
    busy: bool,
    /// Nanoseconds since the node started.
    began: u64,
}

/// Sent by the driver to itself: the next handful of casts.
#[message]
enum Cast {
    Go,
}

struct Driver;

impl GenServer for Driver {
    type State = Option<Job>;
    type Args = NoArgs;
    type Call = Raw;
    type Reply = Raw;
    type Cast = Cast;

    fn init(_: &mut Cx, _: NoArgs) -> Result<Option<Job>, String> {
        Ok(None)
    }

    fn handle_call(
        cx: &mut Cx,
        state: &mut Option<Job>,
        call: Raw,
        from: ReplyTo,
    ) -> Result<Option<Raw>, String> {
        if state.is_some() {
            return Ok(Some(raw(&json!({ "error": "busy" }))));
        }
        match job(cx, &call.0, from) {
            Ok(job) => {
                advance(cx, state.insert(job))?;
                Ok(None)
            }
            Err(error) => Ok(Some(raw(&json!({ "error": error })))),
        }
    }

    fn handle_cast(cx: &mut Cx, state: &mut Option<Job>, Cast::Go: Cast) -> Result<(), String> {
        match state {
            Some(job) => advance(cx, job),
            None => Ok(()),
        }
    }

    fn handle_response(
        cx: &mut Cx,
        state: &mut Option<Job>,
        response: Response<'_>,
    ) -> Result<(), String> {
        let Some(job) = state else { return Ok(()) };
        let answer = match response.reply::<Reply>()? {
            Ok(_) if job.casts_left > 0 || job.calls_left > 0 => return advance(cx, job),
            Ok(sum) => json!({ "ns": cx.now_mono() - job.began, "sum": sum }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        cx.reply(job.from, &raw(&answer))?;
        *state = None;
        Ok(())
    }
}

fn job(cx: &mut Cx, order: &[u8], from: ReplyTo) -> Result<Job, String> {
    let order: Order = serde_json::from_slice(order).map_err(|error| error.to_string())?;
    let target = match (order.target.as_str(), order.target.as_u64()) {
        (Some(name), _) => cx
            .whereis(name)
            .ok_or_else(|| format!("nobody is registered as {name}"))?,
        (_, Some(pid)) => Pid(pid),
        _ if order.spawns.is_some() => cx.me(),
        _ => return Err("the target is neither a name nor a pid".to_owned()),
    };
    Ok(Job {
        from,
        target,
        size: order.size,
        casts_left: order.casts.unwrap_or(0),
        calls_left: order.calls.unwrap_or(0),
        spawns_left: order.spawns.unwrap_or(0),
        start: order.start,
        busy: order.busy,
        began: cx.now_mono(),
    })
}

/// Sends what may be sent now; what comes back calls this again.
fn advance(cx: &mut Cx, job: &mut Job) -> Result<(), String> {
    if job.spawns_left > 0 {
        let now = job.spawns_left.min(CASTS_A_HANDLER);
        for _ in 0..now {
            job.target = cx.spawn(Spawn::new("bench", job.start))?;
            if job.busy {
                cx.cast(job.target, &Raw(AGAIN.to_vec()))?;
            }
        }
        job.spawns_left -= now;
        // The call waits behind the last one's init.
        return match job.spawns_left {
            0 => ask(cx, job, Raw::default()),
            _ => cx.cast(cx.me(), &Cast::Go),
        };
    }
    if job.casts_left > 0 {
        let body = bytes(job);
        let now = job.casts_left.min(CASTS_A_HANDLER);
        for _ in 0..now {
            cx.cast(job.target, &body)?;
        }
        job.casts_left -= now;
        return if job.casts_left > 0 && !job.casts_left.is_multiple_of(CASTS_A_WINDOW) {
            cx.cast(cx.me(), &Cast::Go)
        } else {
            ask(cx, job, Raw::default())
        };
    }
    let body = if job.calls_left > 0 {
        bytes(job)
    } else {
        Raw::default()
    };
    job.calls_left = job.calls_left.saturating_sub(1);
    ask(cx, job, body)
}

fn bytes(job: &Job) -> Raw {
    Raw(vec![1; job.size as usize])
}

fn ask(cx: &mut Cx, job: &Job, body: Raw) -> Result<(), String> {
    cx.request(job.target, &body, &(), Duration::ZERO).map(drop)
}

fn raw(value: &Value) -> Raw {
    Raw(value.to_string().into_bytes())
}

midflight_guest::export!(Driver);
