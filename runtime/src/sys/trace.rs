//! The trace of an actor or a module (OTP's `sys:trace` and `sys:log`): one in so many events with what came of it, in a
//! ring of so many entries, bodies cut. It turns itself off after a time and after a number of events, and what is in
//! the ring stays readable until it is turned off by hand or on again.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Error,
    bindings::{Dest, Effect, Envelope, Event, SocketEvent},
    node::Shared,
    table::Pid,
};

/// Traces kept on a node at once, of actors and of modules.
pub const MAX_TRACES: usize = 64;

/// What a trace keeps, and when it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceOrder {
    /// One in so many events, 1 to 1,000,000.
    pub sample: u32,
    /// Entries in the ring, 1 to 4,096; the oldest give way.
    pub entries: usize,
    /// Bytes of each body, 0 to 4,096; the rest is cut.
    pub body_bytes: usize,
    /// Events noted before it ends, 1 to 1,000,000.
    pub events: u64,
    /// Time before it ends, 1 ms to 1 h.
    pub time: Duration,
}

impl Default for TraceOrder {
    fn default() -> Self {
        Self {
            sample: 1,
            entries: 256,
            body_bytes: 256,
            events: 10_000,
            time: Duration::from_secs(60),
        }
    }
}

impl TraceOrder {
    fn check(&self) -> Result<(), Error> {
        let range = |name: &str, value: u128, min: u128, max: u128| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(Error::SysArgument(format!(
                "{name} of a trace is {value}; it must be {min} to {max}"
            )))
        };
        range("sample", self.sample.into(), 1, 1_000_000)?;
        range("entries", self.entries as u128, 1, 4_096)?;
        range("body_bytes", self.body_bytes as u128, 0, 4_096)?;
        range("events", self.events.into(), 1, 1_000_000)?;
        range("time in ms", self.time.as_millis(), 1, 3_600_000)
    }
}

/// Whether an entry came in, went out, or was an event whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traced {
    /// An event that was handled.
    In,
    /// An effect of the event before it.
    Out,
    /// An event whose handler failed; the body is the reason.
    Failed,
}

impl Traced {
    /// `in`, `out` or `failed`.
    pub fn text(self) -> &'static str {
        match self {
            Traced::In => "in",
            Traced::Out => "out",
            Traced::Failed => "failed",
        }
    }
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEntry {
    /// Counts from 1 in each trace; a gap is what left the ring.
    pub seq: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub wall: u64,
    /// The actor that handled the event.
    pub pid: u64,
    /// Which way.
    pub way: Traced,
    /// `call`, `cast`, `send`, `reply` and so on.
    pub kind: &'static str,
    /// Sender or receiver: a pid or a name as people read it; empty when there is none.
    pub peer: String,
    /// Bytes of the body before it was cut.
    pub bytes: u64,
    /// The body, cut.
    pub body: Vec<u8>,
}

/// A trace as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceReport {
    /// False: it ended by its time or its number of events.
    pub running: bool,
    /// Events noted.
    pub events: u64,
    /// Entries that left the ring for newer ones.
    pub dropped: u64,
    /// What the ring holds, oldest first.
    pub entries: Vec<TraceEntry>,
    /// What it was turned on with.
    pub order: TraceOrder,
}

/// Room for one trace among those of the node; given back when dropped.
struct Room(Arc<AtomicUsize>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) struct Trace {
    order: TraceOrder,
    ends: Instant,
    /// Events seen, sampled or not.
    seen: u64,
    events: u64,
    seq: u64,
    ring: VecDeque<TraceEntry>,
    over: bool,
    _room: Room,
}

impl Trace {
    pub(super) fn new(traces: &Arc<AtomicUsize>, order: TraceOrder) -> Result<Self, Error> {
        order.check()?;
        let room = Room(traces.clone());
        if traces.fetch_add(1, Ordering::Relaxed) >= MAX_TRACES {
            return Err(Error::TooManyTraces);
        }
        Ok(Self {
            order,
            ends: Instant::now() + order.time,
            seen: 0,
            events: 0,
            seq: 0,
            ring: VecDeque::new(),
            over: false,
            _room: room,
        })
    }

    pub(super) fn report(&self) -> TraceReport {
        TraceReport {
            running: !self.over && Instant::now() < self.ends,
            events: self.events,
            dropped: self.seq - self.ring.len() as u64,
            entries: self.ring.iter().cloned().collect(),
            order: self.order,
        }
    }

    /// Whether this event is one of the sample.
    fn takes(&mut self) -> bool {
        if self.over {
            return false;
        }
        self.seen += 1;
        if !(self.seen - 1).is_multiple_of(self.order.sample.into()) {
            return false;
        }
        self.over = Instant::now() >= self.ends;
        if self.over {
            return false;
        }
        self.events += 1;
        self.over = self.events >= self.order.events;
        true
    }

    pub(super) fn handled(&mut self, pid: Pid, envelope: &Envelope, effects: &[Effect]) {
        if !self.takes() {
            return;
        }
        let wall = Shared::wall();
        let (kind, body) = of_event(&envelope.body);
        let peer = sender(envelope);
        self.add(wall, pid, Traced::In, kind, peer, body);
        for effect in effects {
            let (kind, peer, body) = of_effect(effect);
            self.add(wall, pid, Traced::Out, kind, peer, body);
        }
    }

    pub(super) fn failed(&mut self, pid: Pid, envelope: &Envelope, reason: &str) {
        if !self.takes() {
            return;
        }
        let (kind, peer) = (of_event(&envelope.body).0, sender(envelope));
        self.add(
            Shared::wall(),
            pid,
            Traced::Failed,
            kind,
            peer,
            reason.as_bytes(),
        );
    }

    fn add(
        &mut self,
        wall: u64,
        pid: Pid,
        way: Traced,
        kind: &'static str,
        peer: String,
        body: &[u8],
    ) {
        if self.ring.len() == self.order.entries {
            self.ring.pop_front();
        }
        self.seq += 1;
        self.ring.push_back(TraceEntry {
            seq: self.seq,
            wall,
            pid,
            way,
            kind,
            peer,
            bytes: body.len() as u64,
            body: body[..body.len().min(self.order.body_bytes)].to_vec(),
        });
    }
}

fn sender(envelope: &Envelope) -> String {
    envelope.sender.map_or_else(String::new, crate::pid_text)
}

fn of_event(event: &Event) -> (&'static str, &[u8]) {
    match event {
        Event::Call(call) => ("call", &call.body),
        Event::Cast(body) => ("cast", body),
        Event::Info(body) => ("info", body),
        Event::Timer(timer) => ("timer", &timer.body),
        Event::Response(response) => match &response.outcome {
            Ok(body) => ("response", body),
            Err(_) => ("response error", &[]),
        },
        Event::Down(down) => ("down", down.reason.as_bytes()),
        Event::Exit(exit) => ("exit", exit.reason.as_bytes()),
        Event::Socket(SocketEvent::Data(data)) => ("socket data", &data.bytes),
        Event::Socket(_) => ("socket", &[]),
        Event::Registered(registered) => ("registered", registered.name.as_bytes()),
    }
}

fn of_effect(effect: &Effect) -> (&'static str, String, &[u8]) {
    let dest = |to: &Dest| match to {
        Dest::Pid(pid) => crate::pid_text(*pid),
        Dest::Name(name) => name.clone(),
    };
    let pid = |pid: &Pid| crate::pid_text(*pid);
    match effect {
        Effect::Send(m) => ("send", dest(&m.to), &m.body),
        Effect::Cast(m) => ("cast", dest(&m.to), &m.body),
        Effect::Request(ask) => ("request", dest(&ask.to), &ask.body),
        Effect::Reply(answer) => ("reply", pid(&answer.caller), &answer.body),
        Effect::Spawn(spawn) => ("spawn", pid(&spawn.pid), spawn.module.as_bytes()),
        Effect::Exit(exit) => ("exit", pid(&exit.to), exit.reason.as_bytes()),
        Effect::Monitor(watched) => ("monitor", pid(watched), &[]),
        Effect::Demonitor(watched) => ("demonitor", pid(watched), &[]),
        Effect::Link(other) => ("link", pid(other), &[]),
        Effect::Unlink(other) => ("unlink", pid(other), &[]),
        Effect::TrapExit(_) => ("trap exit", String::new(), &[]),
        Effect::Register(name) => ("register", name.clone(), &[]),
        Effect::Unregister(name) => ("unregister", name.clone(), &[]),
        Effect::StartTimer(timer) => ("start timer", String::new(), &timer.body),
        Effect::CancelTimer(_) => ("cancel timer", String::new(), &[]),
        Effect::StopChild(order) => ("stop child", order.supervisor.clone(), &[]),
        Effect::RestartChild(order) => ("restart child", order.supervisor.clone(), &[]),
        Effect::Join(group) => ("join", group.clone(), &[]),
        Effect::Leave(group) => ("leave", group.clone(), &[]),
        Effect::Write(write) => ("write", format!("socket {}", write.socket), &write.bytes),
        Effect::Close(socket) => ("close", format!("socket {socket}"), &[]),
        Effect::SetActive(set) => ("set active", format!("socket {}", set.socket), &[]),
        Effect::Give(give) => ("give", pid(&give.to), &[]),
        Effect::Listen(listen) => ("listen", format!("port {}", listen.port), &[]),
        Effect::Connect(connect) => ("connect", format!("{}:{}", connect.host, connect.port), &[]),
    }
}
