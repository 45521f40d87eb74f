//! The nouns of an actor's world, with types of their own where the contract has numbers: so a socket cannot be passed
//! for a pid. All of them can be part of a state. They mean something on one node only, while it runs.

use crate::codec::{Body, Message};
use crate::wit;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An actor of this node. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid(pub u64);

/// A TCP listener or connection of this node. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Socket(pub u64);

/// A timer, a request or a `listen` of the actor that issued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(pub u64);

/// Where the reply to a call goes. Keep it in the state to answer later, with [`Cx::reply`](crate::Cx::reply).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplyTo {
    /// Who called.
    pub caller: Pid,
    /// Which of its calls this is.
    pub id: Id,
}

/// To whom: a pid, or the name that an actor registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dest {
    /// This actor.
    Pid(Pid),
    /// Whoever holds the name when the message is released.
    Name(String),
}

impl From<Pid> for Dest {
    fn from(pid: Pid) -> Dest {
        Dest::Pid(pid)
    }
}
impl From<&str> for Dest {
    fn from(name: &str) -> Dest {
        Dest::Name(name.to_owned())
    }
}
impl From<String> for Dest {
    fn from(name: String) -> Dest {
        Dest::Name(name)
    }
}
impl Dest {
    pub(crate) fn wire(&self) -> wit::Dest<&str> {
        match self {
            Dest::Pid(pid) => wit::Dest::Pid(pid.0),
            Dest::Name(name) => wit::Dest::Name(name),
        }
    }
}

/// How much of a socket the host reads on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Active {
    /// Nothing.
    Off,
    /// One piece of data, then nothing.
    Once,
    /// So many pieces, then [`SocketEvent::Passive`].
    Count(u16),
    /// Everything; the host alone slows the peer down.
    Always,
}

impl From<Active> for wit::Active {
    fn from(mode: Active) -> wit::Active {
        match mode {
            Active::Off => wit::Active::Off,
            Active::Once => wit::Active::Once,
            Active::Count(count) => wit::Active::Count(count),
            Active::Always => wit::Active::Always,
        }
    }
}

/// What a socket has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEvent<'a> {
    /// `listen` succeeded; `port` is the one that was bound, also when 0 was asked for.
    Listening {
        /// What `listen` returned.
        id: Id,
        /// The listener.
        socket: Socket,
        /// The port it is bound to.
        port: u16,
    },
    /// `listen` failed.
    ListenFailed {
        /// What `listen` returned.
        id: Id,
        /// The port that was asked for.
        port: u16,
        /// The host's words.
        reason: &'a str,
    },
    /// A connection came in. Nothing is read from it until it is made active.
    Accepted {
        /// Where it came in.
        listener: Socket,
        /// The connection, owned by this actor until it is given away.
        socket: Socket,
        /// The address of the other side.
        peer: &'a str,
    },
    /// `connect` succeeded. Nothing is read from it until it is made active.
    Connected {
        /// What `connect` returned.
        id: Id,
        /// The connection.
        socket: Socket,
        /// The address of the other side.
        peer: &'a str,
    },
    /// `connect` failed.
    ConnectFailed {
        /// What `connect` returned.
        id: Id,
        /// The host's words.
        reason: &'a str,
    },
    /// Bytes, in order, cut anywhere.
    Data {
        /// The connection.
        socket: Socket,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// The count of [`Active::Count`] ran out.
    Passive {
        /// The connection.
        socket: Socket,
    },
    /// The last event of a socket.
    Closed {
        /// The connection or listener.
        socket: Socket,
        /// `closed` when the peer did it, or why.
        reason: &'a str,
    },
}

impl<'a> From<wit::SocketEvent<&'a [u8], &'a str>> for SocketEvent<'a> {
    fn from(event: wit::SocketEvent<&'a [u8], &'a str>) -> SocketEvent<'a> {
        match event {
            wit::SocketEvent::Listening(e) => SocketEvent::Listening {
                id: Id(e.id),
                socket: Socket(e.socket),
                port: e.port,
            },
            wit::SocketEvent::ListenFailed(e) => SocketEvent::ListenFailed {
                id: Id(e.id),
                port: e.port,
                reason: e.reason,
            },
            wit::SocketEvent::Accepted(e) => SocketEvent::Accepted {
                listener: Socket(e.listener),
                socket: Socket(e.socket),
                peer: e.peer,
            },
            wit::SocketEvent::Connected(e) => SocketEvent::Connected {
                id: Id(e.id),
                socket: Socket(e.socket),
                peer: e.peer,
            },
            wit::SocketEvent::ConnectFailed(e) => SocketEvent::ConnectFailed {
                id: Id(e.id),
                reason: e.reason,
            },
            wit::SocketEvent::Data(e) => SocketEvent::Data {
                socket: Socket(e.socket),
                bytes: e.bytes,
            },
            wit::SocketEvent::Passive(socket) => SocketEvent::Passive {
                socket: Socket(socket),
            },
            wit::SocketEvent::Closed(e) => SocketEvent::Closed {
                socket: Socket(e.socket),
                reason: e.reason,
            },
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Nobody lives there, or it died before it answered: the reason.
    Down(String),
    /// It did not answer in time.
    Timeout,
    /// Its mailbox was full.
    Overflow,
    /// A rollback restored one of the two to a state before the request.
    Restored,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Down(reason) => write!(f, "down: {reason}"),
            RequestError::Timeout => f.write_str("timeout"),
            RequestError::Overflow => f.write_str("overflow"),
            RequestError::Restored => f.write_str("restored"),
        }
    }
}

/// What came of a request: its answer, or why there is none, and the cookie that was sent along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// What `request` returned.
    pub id: Id,
    /// The cookie of the request.
    pub cookie: Body<'a>,
    /// The vsn of the module that issued the request, when it is not the one that runs now.
    pub issued_by: Option<&'a str>,
    /// The answer.
    pub outcome: Result<Body<'a>, RequestError>,
}

impl Response<'_> {
    /// The answer as an `R`. The outer error: the bytes are no `R`; the inner: there is no answer.
    pub fn reply<R: Message>(&self) -> Result<Result<R, RequestError>, String> {
        match &self.outcome {
            Ok(body) => Ok(Ok(body.decode()?)),
            Err(error) => Ok(Err(error.clone())),
        }
    }
}

impl<'a> From<wit::Response<&'a [u8], &'a str>> for Response<'a> {
    fn from(response: wit::Response<&'a [u8], &'a str>) -> Response<'a> {
        Response {
            id: Id(response.id),
            cookie: Body(response.cookie),
            issued_by: response.issued_by,
            outcome: match response.outcome {
                Ok(body) => Ok(Body(body)),
                Err(wit::RequestError::Down(reason)) => Err(RequestError::Down(reason.to_owned())),
                Err(wit::RequestError::Timeout) => Err(RequestError::Timeout),
                Err(wit::RequestError::Overflow) => Err(RequestError::Overflow),
                Err(wit::RequestError::Restored) => Err(RequestError::Restored),
            },
        }
    }
}
