//! What a handler may know of the world, and what it asks of it. Effects are values: they are released, in this order,
//! when the handler ends well, and dropped when it does not. Nothing here waits or fails.

use crate::codec::Message;
use crate::event::{Active, Dest, Id, Pid, ReplyTo, Socket};
use crate::host::{Level, Lookups};
use crate::wit;
use serde::Serialize;
use std::time::Duration;

/// What is asked of the host, with bytes and text where they lie.
type Effect<'a> = wit::Effect<&'a [u8], &'a str>;

/// One event's view of the world. The same event run again sees the same.
pub struct Cx {
    cx: wit::Cx,
    sender: Option<Pid>,
    effects: wit::Effects,
    stop: Option<String>,
    ids: u64,
    random: u64,
    pub(crate) lookups: Lookups,
}

impl Cx {
    /// For one event, whose effects are a list of their own.
    pub(crate) fn new(cx: wit::Cx) -> Cx {
        let mut effects = wit::Effects::default();
        effects.begin();
        Cx::with(cx, effects)
    }

    /// Before the first event of a batch, whose answer grows in this frame.
    pub(crate) fn within(frame: Vec<u8>) -> Cx {
        let nobody = wit::Cx {
            me: 0,
            wall: 0,
            mono: 0,
            seed: 0,
            id_base: 0,
        };
        Cx::with(nobody, wit::Effects::within(frame))
    }

    fn with(cx: wit::Cx, effects: wit::Effects) -> Cx {
        Cx {
            cx,
            sender: None,
            effects,
            stop: None,
            ids: 0,
            random: cx.seed,
            lookups: Lookups::default(),
        }
    }

    /// The frame.
    pub(crate) fn into_frame(self) -> Vec<u8> {
        self.effects.into_frame()
    }

    /// Turns to the next event of a batch.
    pub(crate) fn begin(&mut self, cx: wit::Cx, sender: Option<u64>) {
        self.cx = cx;
        self.sender = sender.map(Pid);
        self.effects.begin();
        self.stop = None;
        self.ids = 0;
        self.random = cx.seed;
    }

    /// What the event asked for so far.
    pub(crate) fn effects(&mut self) -> &mut wit::Effects {
        &mut self.effects
    }

    pub(crate) fn take_stop(&mut self) -> Option<String> {
        self.stop.take()
    }

    fn push(&mut self, effect: Effect<'_>) {
        self.effects.push(&effect);
    }

    /// An effect that ends with the bytes of a message.
    fn push_with(&mut self, effect: &Effect<'_>, message: &impl Message) -> Result<(), String> {
        self.effects
            .push_with(effect, |out| message.encode_into(out))
    }

    // ---- to know ----

    /// This actor.
    pub fn me(&self) -> Pid {
        Pid(self.cx.me)
    }

    /// Who sent this event; none for what comes from the host.
    pub fn sender(&self) -> Option<Pid> {
        self.sender
    }

    /// Nanoseconds since 1970-01-01 UTC, read once per batch.
    pub fn now_wall(&self) -> u64 {
        self.cx.wall
    }

    /// Nanoseconds since the node started, read once per batch.
    pub fn now_mono(&self) -> u64 {
        self.cx.mono
    }

    /// 64 random bits, drawn from the event's seed (SplitMix64): not for secrets.
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An id that no other event of this actor gets. An event has 65,536 of them; asking for more traps.
    pub fn fresh_id(&mut self) -> Id {
        assert!(
            self.ids < 1 << 16,
            "an event has 65,536 ids for timers, requests and listeners"
        );
        self.ids += 1;
        Id(self.cx.id_base + self.ids - 1)
    }

    /// Who is registered under this name now.
    pub fn whereis(&mut self, name: &str) -> Option<Pid> {
        self.lookups.whereis(name).map(Pid)
    }

    /// Who is in this process group now, in the order in which they joined.
    pub fn members(&mut self, group: &str) -> Vec<Pid> {
        self.lookups.members(group)
    }

    /// A line in the node's log. Kept even when the handler fails.
    pub fn log(&mut self, level: Level, text: &str) {
        self.lookups.log(level, text);
    }

    // ---- messages ----

    /// Sends a message that arrives at `handle_info`.
    pub fn send(&mut self, to: impl Into<Dest>, body: &impl Message) -> Result<(), String> {
        let to = to.into();
        let effect = Effect::Send(wit::Message {
            to: to.wire(),
            body: &[],
        });
        self.push_with(&effect, body)
    }

    /// Sends a message that arrives at `handle_cast`.
    pub fn cast(&mut self, to: impl Into<Dest>, body: &impl Message) -> Result<(), String> {
        let to = to.into();
        let effect = Effect::Cast(wit::Message {
            to: to.wire(),
            body: &[],
        });
        self.push_with(&effect, body)
    }

    /// Calls another actor. Its answer, or why there is none, arrives at `handle_response` with the cookie. The timeout
    /// counts in whole milliseconds, rounded up; zero waits for ever.
    pub fn request(
        &mut self,
        to: impl Into<Dest>,
        body: &impl Message,
        cookie: &impl Message,
        timeout: Duration,
    ) -> Result<Id, String> {
        let (to, id) = (to.into(), self.fresh_id());
        let ask = wit::Ask {
            id: id.0,
            to: to.wire(),
            body: &[][..],
            cookie: &[],
            timeout: milliseconds(timeout),
        };
        self.effects.push_request(
            ask,
            |out| body.encode_into(out),
            |out| cookie.encode_into(out),
        )?;
        Ok(id)
    }

    /// Answers a call whose handler returned none.
    pub fn reply(&mut self, to: ReplyTo, reply: &impl Message) -> Result<(), String> {
        let effect = Effect::Reply(wit::Answer {
            caller: to.caller.0,
            id: to.id.0,
            body: &[],
        });
        self.push_with(&effect, reply)
    }

    // ---- actors ----

    /// Starts an actor; its init runs after this handler. Fails when the arguments are no JSON.
    pub fn spawn(&mut self, spawn: Spawn<'_, impl Serialize>) -> Result<Pid, String> {
        let args = serde_json::to_vec(&spawn.args)
            .map_err(|error| format!("arguments that are no JSON: {error}"))?;
        let pid = self.lookups.reserve();
        self.push(Effect::Spawn(wit::Spawn {
            pid,
            module: spawn.module,
            args: &args,
            name: spawn.name,
            monitor: spawn.monitor,
            link: spawn.link,
            under: spawn.under,
        }));
        Ok(Pid(pid))
    }

    /// Asks for a name; `handle_registered` learns who holds it.
    pub fn register(&mut self, name: &str) {
        self.push(Effect::Register(name));
    }

    /// Gives a name up.
    pub fn unregister(&mut self, name: &str) {
        self.push(Effect::Unregister(name));
    }

    /// Asks to be told, at `handle_down`, when that actor ends.
    pub fn monitor(&mut self, pid: Pid) {
        self.push(Effect::Monitor(pid.0));
    }

    /// Takes `monitor` back.
    pub fn demonitor(&mut self, pid: Pid) {
        self.push(Effect::Demonitor(pid.0));
    }

    /// The end of one is the end of the other, unless that one traps exits or the reason is `normal`.
    pub fn link(&mut self, pid: Pid) {
        self.push(Effect::Link(pid.0));
    }

    /// Takes `link` back, for both.
    pub fn unlink(&mut self, pid: Pid) {
        self.push(Effect::Unlink(pid.0));
    }

    /// Whether exit signals arrive at `handle_exit` instead of ending this actor.
    pub fn trap_exit(&mut self, on: bool) {
        self.push(Effect::TrapExit(on));
    }

    /// Sends an exit signal. `kill` cannot be trapped.
    pub fn exit(&mut self, to: Pid, reason: &str) {
        self.push(Effect::Exit(wit::ExitSignal { to: to.0, reason }));
    }

    /// Lets a supervisor end one of its children and keep it ended.
    pub fn stop_child(&mut self, supervisor: &str, child: impl Into<Dest>) {
        self.push(Effect::StopChild(order(supervisor, &child.into())));
    }

    /// Lets a supervisor start a child again that was ended.
    pub fn restart_child(&mut self, supervisor: &str, child: impl Into<Dest>) {
        self.push(Effect::RestartChild(order(supervisor, &child.into())));
    }

    /// Makes this actor a member of a process group, once more if it is one already.
    pub fn join(&mut self, group: &str) {
        self.push(Effect::Join(group));
    }

    /// Takes one `join` back.
    pub fn leave(&mut self, group: &str) {
        self.push(Effect::Leave(group));
    }

    /// Ends this actor after this handler. `normal` and `shutdown` are ordinary ends; any other reason is a failure to
    /// a supervisor.
    pub fn stop(&mut self, reason: &str) {
        self.stop = Some(reason.to_owned());
    }

    // ---- time ----

    /// `handle_timer` runs once, this much later, with the body. Whole milliseconds, rounded up.
    pub fn start_timer(&mut self, after: Duration, body: &impl Message) -> Result<Id, String> {
        let id = self.fresh_id();
        let effect = Effect::StartTimer(wit::StartTimer {
            id: id.0,
            after_ms: milliseconds(after),
            body: &[],
        });
        self.push_with(&effect, body)?;
        Ok(id)
    }

    /// Stops a timer; one that is already in the mailbox still arrives.
    pub fn cancel_timer(&mut self, id: Id) {
        self.push(Effect::CancelTimer(id.0));
    }

    // ---- sockets ----

    /// Opens a TCP listener; port 0 lets the host choose. `handle_socket` gets the outcome.
    pub fn listen(&mut self, port: u16) -> Id {
        let id = self.fresh_id();
        self.push(Effect::Listen(wit::Listen { id: id.0, port }));
        id
    }

    /// Opens a TCP connection to an address or a name that the release allows. `handle_socket` gets the outcome; zero leaves the
    /// time to the runtime.
    pub fn connect(&mut self, host: &str, port: u16, timeout: Duration) -> Id {
        let id = self.fresh_id();
        self.push(Effect::Connect(wit::Connect {
            id: id.0,
            host,
            port,
            timeout: milliseconds(timeout),
        }));
        id
    }

    /// Writes all the bytes, after those written before.
    pub fn write(&mut self, socket: Socket, bytes: impl Into<Vec<u8>>) {
        self.push(Effect::Write(wit::Write {
            socket: socket.0,
            bytes: &bytes.into(),
        }));
    }

    /// How much the host reads on its own.
    pub fn set_active(&mut self, socket: Socket, mode: Active) {
        self.push(Effect::SetActive(wit::SetActive {
            socket: socket.0,
            mode: mode.into(),
        }));
    }

    /// Makes another actor the owner of a socket.
    pub fn give(&mut self, socket: Socket, to: Pid) {
        self.push(Effect::Give(wit::Give {
            socket: socket.0,
            to: to.0,
        }));
    }

    /// Closes a socket after what was written.
    pub fn close(&mut self, socket: Socket) {
        self.push(Effect::Close(socket.0));
    }
}

/// An actor to start: `Spawn::new("tcp_demo", &args).named("echo").monitored()`.
#[derive(Debug, Clone)]
pub struct Spawn<'a, A> {
    module: &'a str,
    args: A,
    name: Option<&'a str>,
    monitor: bool,
    link: bool,
    under: Option<&'a str>,
}

impl<'a, A: Serialize> Spawn<'a, A> {
    /// An actor of this module; the arguments travel as JSON.
    pub fn new(module: &'a str, args: A) -> Spawn<'a, A> {
        Spawn {
            module,
            args,
            name: None,
            monitor: false,
            link: false,
            under: None,
        }
    }

    /// Registered under this name from its first moment.
    pub fn named(self, name: &'a str) -> Spawn<'a, A> {
        Spawn {
            name: Some(name),
            ..self
        }
    }

    /// Its end arrives at `handle_down`, also when its init fails.
    pub fn monitored(self) -> Spawn<'a, A> {
        Spawn {
            monitor: true,
            ..self
        }
    }

    /// Linked to this actor from its first moment.
    pub fn linked(self) -> Spawn<'a, A> {
        Spawn { link: true, ..self }
    }

    /// A child of that supervisor, which starts it again as it does its own.
    pub fn under(self, supervisor: &'a str) -> Spawn<'a, A> {
        Spawn {
            under: Some(supervisor),
            ..self
        }
    }
}

fn order<'a>(supervisor: &'a str, child: &'a Dest) -> wit::ChildOrder<&'a str> {
    wit::ChildOrder {
        supervisor,
        child: match child {
            Dest::Pid(pid) => wit::Child::Pid(pid.0),
            Dest::Name(name) => wit::Child::Name(name),
        },
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
