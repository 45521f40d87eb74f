//! An agent inside another program: made of [`Parts`] that need no file system, no threads and no clock of a machine, and served
//! on any stream of bytes. Simulations, deterministic and large, run real agents so. What is given up with other parts is
//! theirs to answer for: an agent promises what its storage and its target keep.

use std::{fmt::Display, sync::Arc};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use midflight_proto::agent::v1::node_agent_server::NodeAgentServer;
pub use midflight_proto::peer::{Peer, Role};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::{Service as _, http::Request};

pub use crate::{
    agent::{Agent, Boot, Parts, Verified},
    config::Sys,
    journal::Storage,
    sim::memory::{MemoryBlobs, MemoryStorage, Pool},
    store::Blobs,
    trust::{Signers, Trust},
    work::{Inline, Threads, Work, Worker},
};
use crate::{
    server::{KEEPALIVE, MAX_MESSAGE, MAX_STREAMS},
    service::Service,
};

/// Bytes that a peer may send ahead, on one stream and on one connection.
const WINDOW: u32 = 1 << 16;
/// Bytes of one frame: a small patch comes in one, and costs its sender one write.
const FRAME: u32 = WINDOW;

/// Serves one connection, HTTP/2 without a handshake of its own, until the peer or the stream ends it. Who the peer is was
/// found out before.
///
/// # Errors
/// What broke the connection.
pub async fn serve(
    agent: Arc<Agent>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    peer: Peer,
) -> Result<(), impl Display> {
    let service = NodeAgentServer::new(Service::new(agent)).max_decoding_message_size(MAX_MESSAGE);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        service.clone().call(request)
    });
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}
