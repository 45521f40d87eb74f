//! What an actor sees of a patch. `code_change` reads the state of another version of its module and returns its own;
//! `code_change_down` returns the state that another version reads. Both are pure: they run on copies, perhaps more than
//! once, before the actor is even suspended; only what they redeliver has an effect, when the state is installed.

use crate::codec::{Json, Message, decode, encode};
use crate::event::{Pid, Socket};
use crate::host::{Level, Lookups};
use crate::wit;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One actor's migration.
pub struct Change<'a> {
    cx: wit::Cx,
    vsn: &'a str,
    extra: Json<'a>,
    redeliver: Vec<wit::Event>,
}

impl<'a> Change<'a> {
    pub(crate) fn new(cx: wit::Cx, vsn: &'a str, extra: &'a [u8]) -> Change<'a> {
        Change {
            cx,
            vsn,
            extra: Json(extra),
            redeliver: Vec::new(),
        }
    }

    pub(crate) fn into_redeliver(self) -> Vec<wit::Event> {
        self.redeliver
    }

    /// The other version: the one the state comes from on the way up, and goes to on the way down.
    pub fn vsn(&self) -> &'a str {
        self.vsn
    }

    /// What the patch's `extra` says.
    pub fn extra(&self) -> Json<'a> {
        self.extra
    }

    /// This actor.
    pub fn me(&self) -> Pid {
        Pid(self.cx.me)
    }

    /// Nanoseconds since 1970-01-01 UTC.
    pub fn now_wall(&self) -> u64 {
        self.cx.wall
    }

    /// Nanoseconds since the node started.
    pub fn now_mono(&self) -> u64 {
        self.cx.mono
    }

    /// A line in the node's log.
    pub fn log(&mut self, level: Level, text: &str) {
        Lookups::default().log(level, text);
    }

    /// Puts an event at the head of the mailbox, after those redelivered before it.
    pub fn redeliver(&mut self, event: wit::Event) {
        self.redeliver.push(event);
    }

    /// Puts bytes back as if the connection had just delivered them.
    pub fn redeliver_data(&mut self, socket: Socket, bytes: Vec<u8>) {
        let data = wit::Data {
            socket: socket.0,
            bytes,
        };
        self.redeliver(wit::Event::Socket(wit::SocketEvent::Data(data)));
    }

    /// Lets the actor cast to itself.
    pub fn redeliver_cast(&mut self, message: &impl Message) -> Result<(), String> {
        self.redeliver.push(wit::Event::Cast(message.encode()?));
        Ok(())
    }
}

/// A state that another version of the module wrote.
#[derive(Debug, Clone, Copy)]
pub struct OldState<'a>(pub(crate) &'a [u8]);

impl OldState<'_> {
    /// Fails when the bytes are not exactly one `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        decode(self.0).map_err(|error| format!("the old state has another shape: {error}"))
    }

    /// As it was written.
    pub fn bytes(&self) -> &[u8] {
        self.0
    }
}

/// A state as another version of the module reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downgraded(pub(crate) Vec<u8>);

impl Downgraded {
    /// The state's older shape.
    pub fn to<T: Serialize>(old: &T) -> Result<Downgraded, String> {
        encode(old).map(Downgraded)
    }
}
