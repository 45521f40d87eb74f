//! What arrives on a channel and is not read yet.
//!
//! Two kinds of flow control, for russh gives a server more window as soon as data arrives, whoever reads it. A channel of
//! a caller holds its connection back when its reader does not keep up. A channel that carries another connection (a jump)
//! never does, or one host would hold up all others behind the same bastion: it takes what the windows of the connection
//! above allow, and a server that sends more loses that connection.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::Notify;

use crate::client_handler::{Seen, one_line};
use crate::exec::Exit;

/// The window that a server is given on each channel.
pub(crate) const WINDOW: u32 = 2 << 20;
/// Bytes that a slow reader of a caller's channel may leave unread before the connection waits for it.
const UNREAD: usize = 256 << 10;
/// Bytes of a program's last words that are kept for an error.
const LAST_WORDS: usize = 512;

/// How much the connection above a channel may have in flight: a window for each of its channels, twice for what a server
/// sends before it learns of an end, and as much again for the handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    fn bytes(&self) -> usize {
        let channels = self.0.load(Ordering::Relaxed);
        (channels + 1) * 2 * WINDOW as usize
    }

    /// One more channel, until what is given back is dropped.
    pub(crate) fn channel(&self) -> OneChannel {
        self.0.fetch_add(1, Ordering::Relaxed);
        OneChannel(self.clone())
    }
}

/// A channel that counts.
#[derive(Debug)]
pub(crate) struct OneChannel(Allowance);

impl Drop for OneChannel {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece of what arrived.
#[derive(Debug)]
pub(crate) enum Piece {
    Out(Bytes),
    Err(Bytes),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Out(data) | Self::Err(data) => data.len(),
        }
    }
}

/// Why nothing more comes.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The other side has no more to send; it may still read.
    Eof,
    /// Both sides are done.
    Closed,
    /// The connection is gone, and why.
    Lost(String),
}

/// Shared between the task that fills it and whoever reads.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Something was read, or nobody reads any more.
    taken: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pieces: VecDeque<Piece>,
    bytes: usize,
    pub(crate) end: Option<End>,
    pub(crate) exit: Option<Exit>,
    /// The last words on standard error, where its pieces are not wanted.
    words: Vec<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    dropped: bool,
}

impl State {
    /// The next piece, cut to `most` bytes.
    pub(crate) fn take(&mut self, most: usize) -> Option<Piece> {
        let piece = match self.pieces.front_mut()? {
            Piece::Out(data) => Piece::Out(data.split_to(data.len().min(most))),
            Piece::Err(data) => Piece::Err(data.split_to(data.len().min(most))),
        };
        if self.pieces.front().is_some_and(|front| front.len() == 0) {
            self.pieces.pop_front();
        }
        self.bytes -= piece.len();
        if self.pieces.is_empty() {
            // A busy moment leaves no memory behind.
            self.pieces.shrink_to(4);
        }
        Some(piece)
    }

    /// The task is woken when something arrives.
    pub(crate) fn wake_reader(&mut self, context: &Context<'_>) {
        self.reader = Some(context.waker().clone());
    }

    /// Why nothing can be sent; if something can, the task is woken when that changes.
    pub(crate) fn writable(&mut self, context: &Context<'_>) -> io::Result<()> {
        match &self.end {
            Some(End::Closed) => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the channel is closed",
            )),
            Some(End::Lost(why)) => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, why.clone()))
            }
            Some(End::Eof) | None => {
                self.writer = Some(context.waker().clone());
                Ok(())
            }
        }
    }

    /// What a program said last on its standard error, and how it ended.
    pub(crate) fn last_words(&self) -> String {
        let words = one_line(&String::from_utf8_lossy(&self.words));
        match (&self.exit, words.is_empty()) {
            (Some(exit), true) => exit.to_string(),
            (Some(exit), false) => format!("{words} ({exit})"),
            (None, _) => words,
        }
    }
}

impl Inbox {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every step with the state leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was read.
    pub(crate) fn taken(&self) {
        self.taken.notify_one();
    }

    /// Nobody reads any more: the channel is closed.
    pub(crate) fn abandon(&self) {
        self.state().dropped = true;
        self.taken.notify_one();
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.end = Some(match (&state.end, end) {
            // All had arrived.
            (Some(End::Eof), End::Lost(_)) => End::Closed,
            (_, end) => end,
        });
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn push(&self, piece: Piece) -> usize {
        let mut state = self.state();
        state.bytes += piece.len();
        state.pieces.push_back(piece);
        let (bytes, reader) = (state.bytes, state.reader.take());
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        bytes
    }

    fn said(&self, words: &[u8]) {
        let mut state = self.state();
        state.words.extend_from_slice(words);
        let over = state.words.len().saturating_sub(LAST_WORDS);
        state.words.drain(..over);
    }

    async fn until(&self, ready: impl Fn(&State) -> bool) {
        loop {
            // A notification that comes between the look and the wait is kept.
            if ready(&self.state()) {
                return;
            }
            self.taken.notified().await;
        }
    }
}

/// How a channel is read.
pub(crate) enum Reading {
    /// By a caller, who may be slow; standard error is wanted or not.
    Caller { errors: bool },
    /// By another connection, which may have so much in flight.
    Connection(Allowance),
}

/// Takes from the channel what arrives, and closes it when nobody wants it. Ends with the channel.
pub(crate) async fn fill(
    mut from: ChannelReadHalf,
    to: ChannelWriteHalf<Msg>,
    inbox: Arc<Inbox>,
    seen: Seen,
    reading: Reading,
) {
    loop {
        let message = tokio::select! {
            biased;
            () = inbox.until(|state| state.dropped) => break,
            message = from.wait() => message,
        };
        let piece = match message {
            Some(ChannelMsg::Data { data }) => Piece::Out(data),
            Some(ChannelMsg::ExtendedData { data, .. }) => match reading {
                Reading::Caller { errors: true } => Piece::Err(data),
                _ => {
                    inbox.said(&data);
                    continue;
                }
            },
            Some(ChannelMsg::Eof) => {
                inbox.end(End::Eof);
                continue;
            }
            Some(ChannelMsg::Close) => return inbox.end(End::Closed),
            None => {
                let why = seen.ending().map(|ending| ending.to_string());
                let why = why.unwrap_or_else(|| "the connection ended".to_owned());
                return inbox.end(End::Lost(why));
            }
            Some(other) => {
                if let Some(exit) = Exit::of(other) {
                    inbox.state().exit = Some(exit);
                }
                continue;
            }
        };
        if piece.len() == 0 {
            continue;
        }
        let unread = inbox.push(piece);
        match &reading {
            Reading::Connection(allowance) if unread > allowance.bytes() => {
                inbox.end(End::Lost(format!(
                    "{unread} bytes came that no window allows"
                )));
                break;
            }
            Reading::Connection(_) => {}
            Reading::Caller { .. } => {
                inbox
                    .until(|state| state.bytes < UNREAD || state.dropped)
                    .await;
            }
        }
    }
    // The connection may be waiting for us to read.
    drop(from);
    // A connection that is gone has closed it already.
    let _ = to.close().await;
}
