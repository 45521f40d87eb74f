//! One listener for all nodes: the address that a connection came to says whose it is, since every address of 127.0.0.0/8 is
//! this machine. Each connection is mutual TLS with that node's certificate, then HTTP/2 for that node's service alone.

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use midflight_proto::peer::Peer;
use rustls::ServerConfig;
use tokio::{
    io::BufWriter,
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::Node;
use crate::{embed, error::Error};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Connections that the kernel may hold before they are accepted.
const BACKLOG: u32 = 16_384;
/// How long to wait when the operating system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Frames up to this size together become one record of TLS, and one write.
const TOGETHER: usize = 1 << 10;

/// Listens on every address of this machine.
///
/// # Errors
/// [`Error::Listen`].
pub fn bind(port: u16) -> Result<TcpListener, Error> {
    let bound = || {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(([0, 0, 0, 0], port).into())?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| Error::Listen {
        address: format!("0.0.0.0:{port}"),
        source,
    })
}

/// Accepts for all nodes, until it is dropped; connections are tasks of `tasks`.
pub async fn accept(
    listener: TcpListener,
    find: impl Fn(IpAddr) -> Option<Arc<Node>>,
    tasks: &TaskTracker,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let node = stream.local_addr().ok().and_then(|to| find(to.ip()));
                // Nobody lives at the other addresses.
                if let Some(node) = node {
                    tasks.spawn(serve(node, stream));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(node: Arc<Node>, stream: TcpStream) {
    if node.script.silent {
        // Held until the peer gives up, and never answered.
        let _ = stream.readable().await;
        tokio::time::sleep(HANDSHAKE).await;
        return;
    }
    match connection(&node, stream).await {
        Ok(()) => {}
        Err(error) => tracing::debug!(node = node.name, error, "a connection ended"),
    }
}

async fn connection(node: &Arc<Node>, stream: TcpStream) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    stream.set_nodelay(true).map_err(text)?;
    let address = stream.peer_addr().map_err(text)?;
    let acceptor = TlsAcceptor::from(node.tls.clone());
    let accepted = timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let stream = accepted.map_err(|late| late.to_string())?.map_err(text)?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    // The verifier lets nobody through without one.
    let certificate = certificate.ok_or("the client showed no certificate")?;
    let peer = Peer::of_certificate(certificate, &address.to_string());
    let served = embed::serve(
        node.agent.clone(),
        BufWriter::with_capacity(TOGETHER, stream),
        peer,
    )
    .await;
    served.map_err(|error| error.to_string())
}

/// The part of the TLS configuration that all nodes share.
pub fn tls(
    ca: rustls::pki_types::CertificateDer<'static>,
) -> Result<impl Fn(Arc<rustls::sign::CertifiedKey>) -> Result<Arc<ServerConfig>, Error>, Error> {
    let base =
        midflight_proto::tls::base(vec![ca]).map_err(|problem| Error::Simulation { problem })?;
    Ok(move |key| {
        let resolver = rustls::sign::SingleCertAndKey::from(key);
        let mut config = base.clone().with_cert_resolver(Arc::new(resolver));
        midflight_proto::tls::finish(&mut config)
            .map_err(|problem| Error::Simulation { problem })?;
        Ok(Arc::new(config))
    })
}
