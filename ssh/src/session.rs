//! A connection that is made and authenticated, and what can be opened over it: programs, Unix sockets, TCP ports.
//!
//! A refusal by the server (forwarding that is disabled, no such socket) is told apart from a connection that is gone. A
//! request that is given up leaves nothing open behind it.

use std::sync::Arc;

use russh::client::{Handle, Msg};
use russh::{
    Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Disconnect,
};
use tokio::sync::oneshot;

use crate::client_handler::{Handler, Seen};
use crate::client_wire::Cut;
use crate::config::Resolved;
use crate::error::Error;
use crate::exec::Exec;
use crate::stream::Stream;
use crate::stream_inbox::{Allowance, Reading};

/// Both directions of a channel.
type Halves = (ChannelReadHalf, ChannelWriteHalf<Msg>);

/// A connection. It ends when its session and all that was opened over it are gone.
pub(crate) struct Link {
    pub(crate) handle: Handle<Handler>,
    pub(crate) resolved: Arc<Resolved>,
    pub(crate) seen: Seen,
    pub(crate) allowance: Allowance,
    /// Ends the connection for good, whatever its task waits for.
    pub(crate) _cut: Cut,
}

impl Link {
    /// Whether it can still be used, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.handle.is_closed()
    }

    pub(crate) fn lost(&self, why: &dyn std::fmt::Display) -> Error {
        let ending = self.seen.ending();
        Error::Lost {
            host: self.resolved.alias.clone(),
            why: ending.map_or_else(|| why.to_string(), |ending| ending.to_string()),
        }
    }
}

/// What to open.
#[derive(Clone)]
enum Way {
    Program,
    Unix(String),
    Tcp(String, u16),
}

impl Way {
    fn name(&self) -> String {
        match self {
            Self::Program => "a session".to_owned(),
            Self::Unix(path) => format!("the socket {path}"),
            Self::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp(host, port) => format!("{host}:{port}"),
        }
    }

    async fn open(&self, handle: &Handle<Handler>) -> Result<Channel<Msg>, russh::Error> {
        match self {
            Self::Program => handle.channel_open_session().await,
            Self::Unix(path) => handle.channel_open_direct_streamlocal(path.as_str()).await,
            Self::Tcp(host, port) => {
                // RFC 4254, 7.2 wants an originator, and sshd only logs it.
                handle
                    .channel_open_direct_tcpip(host.as_str(), u32::from(*port), "127.0.0.1", 0)
                    .await
            }
        }
    }
}

impl Link {
    async fn open(self: &Arc<Self>, way: Way) -> Result<Channel<Msg>, Error> {
        let (answer, answered) = oneshot::channel();
        let (link, what) = (self.clone(), way.clone());
        // A task of its own, so that a channel which opens after its caller has gone is closed.
        tokio::spawn(async move {
            let opened = what.open(&link.handle).await;
            if let Err(Ok(unwanted)) = answer.send(opened) {
                let _ = unwanted.close().await;
            }
        });
        match answered.await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                Err(self.refused(way.name(), &reason))
            }
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_) => Err(self.lost(&"the connection ended")),
        }
    }

    async fn start(self: &Arc<Self>, command: &str) -> Result<Halves, Error> {
        let (mut from, to) = self.open(Way::Program).await?.split();
        let lost = |error| self.lost(&error);
        let set = &self.resolved.set_env;
        let sent = self.resolved.send_env.iter();
        let sent = sent.filter(|(name, _)| set.iter().all(|(other, _)| other != name));
        for (name, value) in set.iter().chain(sent) {
            to.set_env(false, name.as_str(), value.as_str())
                .await
                .map_err(lost)?;
        }
        to.exec(true, command).await.map_err(lost)?;
        loop {
            match from.wait().await {
                Some(ChannelMsg::Success) => return Ok((from, to)),
                Some(ChannelMsg::Failure) => {
                    let _ = to.close().await;
                    return Err(Error::RefusedByServer {
                        host: self.resolved.alias.clone(),
                        what: "to run a command".to_owned(),
                        why: "the server does not allow it".to_owned(),
                    });
                }
                Some(ChannelMsg::Close) | None => return Err(self.lost(&"the channel was closed")),
                Some(_) => {}
            }
        }
    }

    fn refused(&self, what: String, reason: &ChannelOpenFailure) -> Error {
        let words = self.seen.refusal(reason.code());
        let why = match (reason, words) {
            (ChannelOpenFailure::AdministrativelyProhibited, words) => {
                let words = words.map_or_else(String::new, |words| format!(" ({words})"));
                format!("the server's configuration forbids it{words}")
            }
            (_, Some(words)) if words != "open failed" => words,
            (ChannelOpenFailure::ConnectFailed, _) => {
                "nothing accepts connections there, or the server's configuration forbids it"
                    .to_owned()
            }
            (other, _) => other.description().to_lowercase(),
        };
        Error::RefusedByServer {
            host: self.resolved.alias.clone(),
            what,
            why,
        }
    }

    /// A port behind this connection, for a connection above it that may have so much in flight.
    pub(crate) async fn hop(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        above: Allowance,
    ) -> Result<Stream, Error> {
        let channel = self.open(Way::Tcp(host.to_owned(), port)).await?;
        Ok(Stream::new(
            channel.split(),
            self.clone(),
            Reading::Connection(above),
        ))
    }
}

/// A connection to a server. Cheap to share by reference; several things may be opened at once.
pub struct Session {
    pub(crate) link: Arc<Link>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.link.resolved.alias)
    }
}

impl Session {
    /// Starts a command, which the server gives to the user's shell (a forced command of the server comes before it). The
    /// variables of `SetEnv` and `SendEnv` go with it, where the server takes them.
    ///
    /// # Errors
    /// [`Error::RefusedByServer`], [`Error::Lost`].
    pub async fn exec(&self, command: &str) -> Result<Exec, Error> {
        let halves = self.start(command).await?;
        Ok(Exec::new(halves, self.link.clone()))
    }

    /// The same, its standard input and output as one stream. Its standard error is kept for [`Stream::last_words`].
    ///
    /// # Errors
    /// [`Error::RefusedByServer`], [`Error::Lost`].
    pub async fn exec_stream(&self, command: &str) -> Result<Stream, Error> {
        let halves = self.start(command).await?;
        let reading = Reading::Caller { errors: false };
        Ok(Stream::new(halves, self.link.clone(), reading))
    }

    async fn start(&self, command: &str) -> Result<Halves, Error> {
        let (answer, answered) = oneshot::channel();
        let (link, command) = (self.link.clone(), command.to_owned());
        // A task of its own, so that a program which starts after its caller has gone is hung up.
        tokio::spawn(async move {
            let started = link.start(&command).await;
            if let Err(Ok((_, unwanted))) = answer.send(started) {
                let _ = unwanted.close().await;
            }
        });
        match answered.await {
            Ok(started) => started,
            Err(_) => Err(self.link.lost(&"the connection ended")),
        }
    }

    /// Connects to a Unix socket on the server (`direct-streamlocal@openssh.com`, OpenSSH's PROTOCOL, 2.4).
    ///
    /// # Errors
    /// [`Error::RefusedByServer`], [`Error::Lost`].
    pub async fn unix(&self, path: &str) -> Result<Stream, Error> {
        self.stream(Way::Unix(path.to_owned())).await
    }

    /// Connects from the server to a TCP port (`direct-tcpip`, RFC 4254, 7.2).
    ///
    /// # Errors
    /// [`Error::RefusedByServer`], [`Error::Lost`].
    pub async fn tcp(&self, host: &str, port: u16) -> Result<Stream, Error> {
        self.stream(Way::Tcp(host.to_owned(), port)).await
    }

    async fn stream(&self, way: Way) -> Result<Stream, Error> {
        let channel = self.link.open(way).await?;
        let reading = Reading::Caller { errors: false };
        Ok(Stream::new(channel.split(), self.link.clone(), reading))
    }

    /// The settings it was made with.
    #[must_use]
    pub fn destination(&self) -> &Resolved {
        &self.link.resolved
    }

    /// Whether it can still be used, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// Ends it, and all that is open over it. Dropping the session instead ends the connection with the last stream.
    pub async fn close(self) {
        // A connection that is gone needs no goodbye.
        let _ = self
            .link
            .handle
            .disconnect(Disconnect::ByApplication, "", "")
            .await;
    }
}
