//! A channel as a stream of bytes: a forwarded socket, a forwarded port, or a program's standard input and output.
//!
//! Dropping it closes the channel. A clean end reads as an end; a connection that broke is an error that says why.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use russh::client::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::session::Link;
use crate::stream_inbox::{End, Inbox, OneChannel, Piece, Reading, fill};

/// What is written to a channel.
pub(crate) type Outbox = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// Bytes both ways over one channel. The connection lasts at least as long as it does.
pub struct Stream {
    inbox: Arc<Inbox>,
    outbox: Outbox,
    _channel: OneChannel,
    _link: Arc<Link>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

/// What a program behind a [`Stream`] said on its standard error, to be asked for when the stream fails.
#[derive(Clone, Debug)]
pub struct LastWords(Arc<Inbox>);

impl LastWords {
    /// At most 400 characters in one line, with the exit status if there is one; empty when nothing was said.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.state().last_words()
    }
}

impl Stream {
    pub(crate) fn new(
        (from, to): (ChannelReadHalf, ChannelWriteHalf<Msg>),
        link: Arc<Link>,
        reading: Reading,
    ) -> Self {
        let inbox = Arc::new(Inbox::default());
        let outbox = Box::new(to.make_writer());
        let channel = link.allowance.channel();
        // Ends with the channel, which ends with this.
        tokio::spawn(fill(from, to, inbox.clone(), link.seen.clone(), reading));
        Self {
            inbox,
            outbox,
            _channel: channel,
            _link: link,
        }
    }

    /// What the program behind it says on its standard error; nothing for sockets and ports.
    #[must_use]
    pub fn last_words(&self) -> LastWords {
        LastWords(self.inbox.clone())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.inbox.abandon();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let mut state = self.inbox.state();
        while buffer.remaining() > 0
            && let Some(Piece::Out(data) | Piece::Err(data)) = state.take(buffer.remaining())
        {
            buffer.put_slice(&data);
        }
        if buffer.filled().len() > before {
            drop(state);
            self.inbox.taken();
            return Poll::Ready(Ok(()));
        }
        match &state.end {
            Some(End::Eof | End::Closed) => Poll::Ready(Ok(())),
            Some(End::Lost(why)) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                why.clone(),
            ))),
            None => {
                state.wake_reader(context);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        write(&self.inbox.clone(), &mut self.outbox, context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outbox).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        shutdown(&self.inbox.clone(), &mut self.outbox, context)
    }
}

/// Writes, as long as the channel is open.
pub(crate) fn write(
    inbox: &Inbox,
    outbox: &mut Outbox,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    if bytes.is_empty() {
        return Poll::Ready(Ok(0));
    }
    inbox.state().writable(context)?;
    Pin::new(outbox).poll_write(context, bytes)
}

/// Ends what is written; a channel that is closed needs no end.
pub(crate) fn shutdown(
    inbox: &Inbox,
    outbox: &mut Outbox,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if inbox.state().writable(context).is_err() {
        return Poll::Ready(Ok(()));
    }
    Pin::new(outbox).poll_shutdown(context)
}
