//! One HTTP/2 connection as a service that tonic's client can call: one task a connection and none a call, small windows, and
//! a small request leaves in one write, the first together with what opens the connection. It promises that a request whose future or answer is dropped is reset. It does not
//! connect again.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::future::{BoxFuture, FutureExt as _};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use hyper::body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tonic::codegen::{Bytes, Service, http};

/// What fails.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Bytes that a node may send ahead, on one stream and on one connection: more than any answer but an actor's state.
const WINDOW: u32 = 64 << 10;
/// Bytes of the headers of one answer; a failure rides there.
const HEADERS: u32 = 64 << 10;
/// Bytes of a request that are handed over at once, whether or not there is window for them; of the rest, what there is
/// window for.
const AHEAD: usize = 64 << 10;
/// Frames up to this size together become one record of TLS, and one write.
const TOGETHER: usize = 1 << 10;

/// A connection; cheap to clone. It is closed once all clones and all answers are gone.
#[derive(Clone)]
pub struct Http2 {
    requests: SendRequest<Bytes>,
    /// Until the first request, with which it leaves: what opens the connection needs no write of its own.
    connection: Arc<Mutex<Option<Running>>>,
}

/// Ends with the last handle, or when the peer closes; whoever waits for an answer is told by h2 itself.
type Running = BoxFuture<'static, ()>;

impl Http2 {
    /// Begins HTTP/2 on a connection. Nothing is sent before the first request, which does not wait for the peer.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn start(
        io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, BoxError> {
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEADERS)
            .max_send_buffer_size(AHEAD)
            .enable_push(false)
            .handshake(BufWriter::with_capacity(TOGETHER, io))
            .await?;
        let running = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        };
        Ok(Self {
            requests,
            connection: Arc::new(Mutex::new(Some(running.boxed()))),
        })
    }

    /// Has the connection run, from the first request on.
    fn run(&self) {
        let connection = self.connection.lock();
        // A lock is never poisoned by taking what is in it.
        if let Some(running) = connection.unwrap_or_else(PoisonError::into_inner).take() {
            tokio::spawn(running);
        }
    }
}

impl Service<http::Request<tonic::body::Body>> for Http2 {
    type Response = http::Response<Answer>;
    type Error = BoxError;
    type Future = Call;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.requests.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Call {
        let (parts, body) = request.into_parts();
        let request = http::Request::from_parts(parts, ());
        let sent = self.requests.send_request(request, false);
        self.run();
        Call(match sent {
            Ok((answer, to)) => Sent::Waiting(answer, Some(Pump::new(body, to))),
            Err(error) => Sent::Failed(Some(error)),
        })
    }
}

/// Until the head of the answer is here.
pub struct Call(Sent);

enum Sent {
    Waiting(ResponseFuture, Option<Pump>),
    Failed(Option<h2::Error>),
}

impl Future for Call {
    type Output = Result<http::Response<Answer>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, pump) = match &mut self.0 {
            Sent::Waiting(answer, pump) => (answer, pump),
            // Polled again after it ended, a future may do anything.
            Sent::Failed(error) => {
                let error = error
                    .take()
                    .map_or("the call has ended".into(), BoxError::from);
                return Poll::Ready(Err(error));
            }
        };
        advance(pump, context)?;
        let response = ready!(Pin::new(answer).poll(context))?;
        let pump = pump.take();
        Poll::Ready(Ok(response.map(|body| Answer {
            body,
            pump,
            data: true,
        })))
    }
}

/// Sends on, until the request is sent.
fn advance(pump: &mut Option<Pump>, context: &mut Context<'_>) -> Result<(), BoxError> {
    let sent = match pump {
        Some(sending) => sending.poll(context),
        None => return Ok(()),
    };
    match sent {
        Poll::Pending => Ok(()),
        Poll::Ready(result) => {
            *pump = None;
            result
        }
    }
}

/// The body of a request on its way.
struct Pump {
    body: tonic::body::Body,
    to: SendStream<Bytes>,
    /// Read and not sent; one more than there is window for is read ahead, so that the last can say that it is the last.
    left: VecDeque<Bytes>,
    /// Bytes that were handed over.
    handed: usize,
    ended: bool,
}

impl Pump {
    fn new(body: tonic::body::Body, to: SendStream<Bytes>) -> Self {
        Self {
            body,
            to,
            left: VecDeque::new(),
            handed: 0,
            ended: false,
        }
    }

    /// Ready when all is sent, or nobody reads it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            let waiting = self.read(context)?;
            let Some(data) = self.left.front_mut() else {
                if self.ended {
                    return Poll::Ready(self.send(Bytes::new(), true));
                }
                debug_assert!(waiting);
                // The peer may have answered without reading on.
                return match self.to.poll_reset(context) {
                    Poll::Ready(_) => Poll::Ready(Ok(())),
                    Poll::Pending => Poll::Pending,
                };
            };
            let mut room = AHEAD.saturating_sub(self.handed);
            if room == 0 {
                self.to.reserve_capacity(data.len());
                room = self.to.capacity();
            }
            if room == 0 {
                match ready!(self.to.poll_capacity(context)) {
                    Some(Ok(_)) => continue,
                    // The stream is over: what became of it, the answer says.
                    Some(Err(_)) | None => return Poll::Ready(Ok(())),
                }
            }
            let some = data.split_to(data.len().min(room));
            self.handed += some.len();
            if data.is_empty() {
                self.left.pop_front();
            }
            let last = self.ended && self.left.is_empty();
            self.send(some, last)?;
            if last {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads until two pieces wait or the body does. True: the body waits, and will wake the task.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool, BoxError> {
        while !self.ended && self.left.len() < 2 {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => self.ended = true,
                Poll::Ready(Some(Ok(frame))) => {
                    // A gRPC request has no trailers.
                    self.left.extend(frame.into_data().ok());
                }
                Poll::Ready(Some(Err(status))) => {
                    self.to.send_reset(Reason::CANCEL);
                    return Err(status.into());
                }
            }
        }
        Ok(false)
    }

    fn send(&mut self, data: Bytes, last: bool) -> Result<(), BoxError> {
        match self.to.send_data(data, last) {
            Ok(()) => Ok(()),
            // The peer has answered and closed the stream.
            Err(error) if error.is_reset() || error.is_remote() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The body of an answer; it goes on sending the request meanwhile.
pub struct Answer {
    body: RecvStream,
    pump: Option<Pump>,
    /// Data is still to come; after it, trailers.
    data: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Err(error) = advance(&mut this.pump, context) {
            return Poll::Ready(Some(Err(error)));
        }
        if this.data {
            match ready!(this.body.poll_data(context)) {
                Some(Ok(data)) => {
                    // Read is read: the peer may send as much again.
                    this.body.flow_control().release_capacity(data.len())?;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => this.data = false,
            }
        }
        let trailers = ready!(this.body.poll_trailers(context));
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
