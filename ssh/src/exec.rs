//! A program on the other side: its standard input, what it says, and how it ends (RFC 4254, 6.5 to 6.10).
//!
//! Output that is not read holds the program back. Dropping an [`Exec`] closes its channel, which most servers pass on to
//! the program as a hang-up; it does not promise that the program ends.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::session::Link;
use crate::stream::{Outbox, shutdown, write};
use crate::stream_inbox::{End, Inbox, OneChannel, Piece, Reading, fill};

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself.
    Status(u32),
    /// By a signal.
    Signal {
        /// Its name without `SIG`, as `TERM`.
        name: String,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal { name, core_dumped } => {
                let core = if *core_dumped { ", core dumped" } else { "" };
                write!(f, "signal {name}{core}")
            }
        }
    }
}

impl Exit {
    pub(crate) fn of(message: ChannelMsg) -> Option<Self> {
        match message {
            ChannelMsg::ExitStatus { exit_status } => Some(Self::Status(exit_status)),
            ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                ..
            } => Some(Self::Signal {
                name: signal(&signal_name),
                core_dumped,
            }),
            _ => None,
        }
    }
}

fn signal(name: &Sig) -> String {
    match name {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It wrote to its standard output.
    Stdout(Bytes),
    /// It wrote to its standard error.
    Stderr(Bytes),
    /// It ended; nothing comes after this.
    Exit(Exit),
}

/// A program that runs.
pub struct Exec {
    inbox: Arc<Inbox>,
    input: Option<Outbox>,
    over: bool,
    _channel: OneChannel,
    link: Arc<Link>,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exec")
    }
}

impl Exec {
    pub(crate) fn new(
        (from, to): (ChannelReadHalf, ChannelWriteHalf<Msg>),
        link: Arc<Link>,
    ) -> Self {
        let inbox = Arc::new(Inbox::default());
        let input = Box::new(to.make_writer());
        let channel = link.allowance.channel();
        let reading = Reading::Caller { errors: true };
        // Ends with the channel, which ends with this.
        tokio::spawn(fill(from, to, inbox.clone(), link.seen.clone(), reading));
        Self {
            inbox,
            input: Some(input),
            over: false,
            _channel: channel,
            link,
        }
    }

    /// Its standard input, once; shutting that down, or dropping it, is the end of file. A program that reads its input to
    /// the end waits until then.
    pub fn stdin(&mut self) -> Option<Stdin> {
        let outbox = self.input.take()?;
        Some(Stdin {
            inbox: self.inbox.clone(),
            outbox: Some(outbox),
        })
    }

    /// What it did next; `None` after it ended. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// [`Error::Lost`]: the connection ended, or the server closed the channel without saying how the program ended.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if self.over {
            return Ok(None);
        }
        let event = poll_fn(|context| self.poll_next(context)).await;
        self.over = matches!(event, Ok(Event::Exit(_)) | Err(_));
        event.map(Some)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        let mut state = self.inbox.state();
        if let Some(piece) = state.take(usize::MAX) {
            drop(state);
            self.inbox.taken();
            return Poll::Ready(Ok(match piece {
                Piece::Out(data) => Event::Stdout(data),
                Piece::Err(data) => Event::Stderr(data),
            }));
        }
        let lost = |why: String| Error::Lost {
            host: self.link.resolved.alias.clone(),
            why,
        };
        match (&state.end, &state.exit) {
            (Some(End::Closed | End::Lost(_)), Some(exit)) => {
                Poll::Ready(Ok(Event::Exit(exit.clone())))
            }
            (Some(End::Lost(why)), None) => Poll::Ready(Err(lost(why.clone()))),
            (Some(End::Closed), None) => {
                let why = "the server closed the channel without saying how the program ended";
                Poll::Ready(Err(lost(why.to_owned())))
            }
            (Some(End::Eof) | None, _) => {
                state.wake_reader(context);
                Poll::Pending
            }
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.inbox.abandon();
    }
}

/// The standard input of a program.
pub struct Stdin {
    inbox: Arc<Inbox>,
    /// Until it is dropped.
    outbox: Option<Outbox>,
}

impl Drop for Stdin {
    fn drop(&mut self) {
        let (Some(mut outbox), Ok(runtime)) = (self.outbox.take(), Handle::try_current()) else {
            return;
        };
        let inbox = self.inbox.clone();
        // Ends at once, or when the connection takes it.
        runtime.spawn(poll_fn(move |context| {
            shutdown(&inbox, &mut outbox, context)
        }));
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdin")
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.outbox {
            Some(outbox) => write(&this.inbox, outbox, context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outbox {
            Some(outbox) => Pin::new(outbox).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(outbox) = &mut this.outbox else {
            return Poll::Ready(Ok(()));
        };
        let done = ready!(shutdown(&this.inbox, outbox, context));
        // One end is enough.
        this.outbox = None;
        Poll::Ready(done)
    }
}
