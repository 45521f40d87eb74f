//! How nodes are reached. One TCP listener for all: the address that a connection came to says whose it is, since every address
//! of 127.0.0.0/8 is this machine; each connection is mutual TLS with that node's certificate. And a Unix socket each, by the
//! agent's own listener, where there are to be any. In both, HTTP/2 for that node's service alone.

use std::os::unix::fs::DirBuilderExt as _;
use std::{convert::Infallible, fs::DirBuilder, io, net::IpAddr, sync::Arc, time::Duration};

use midflight_proto::listen::{self, Connection, SocketFile};
use midflight_proto::peer::{Locals, Peer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufWriter},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected as _;

use super::{Node, Sockets};
use crate::{embed, error::Error};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Connections that the kernel may hold before they are accepted.
const BACKLOG: u32 = 16_384;
/// How long to wait when the operating system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Frames up to this size together become one write, and with TLS one record.
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
                    tasks.spawn(tcp(node, stream));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What listens on Unix sockets, until it is dropped, which removes them.
pub struct Listening {
    _files: Vec<SocketFile>,
    _listeners: JoinSet<()>,
}

/// Listens on a Unix socket for each node, in a folder that is made when it is not there; connections are tasks of `tasks`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Listen`].
pub fn sockets(
    nodes: &[Arc<Node>],
    sockets: &Sockets,
    tasks: &TaskTracker,
) -> Result<Listening, Error> {
    // Who may use a socket, the socket says.
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&sockets.folder);
    made.map_err(Error::io("create", &sockets.folder))?;
    let (mut files, mut listeners) = (Vec::new(), JoinSet::new());
    for node in nodes {
        let path = sockets.path(&node.name);
        let bound = listen::bind_unix(&path, &sockets.locals);
        let (listener, file) = bound.map_err(|source| Error::Listen {
            address: path.display().to_string(),
            source,
        })?;
        files.push(file);
        let locals = sockets.locals.clone();
        listeners.spawn(socket(node.clone(), listener, locals, tasks.clone()));
    }
    Ok(Listening {
        _files: files,
        _listeners: listeners,
    })
}

async fn socket(node: Arc<Node>, listener: UnixListener, locals: Locals, tasks: TaskTracker) {
    let (connections, mut incoming) = mpsc::channel(1);
    let serve = async move {
        // An error would be one of tonic's server, which is not here.
        while let Some(Ok(connection)) = incoming.recv().await {
            tasks.spawn(unix(node.clone(), connection));
        }
    };
    tokio::join!(listen::accept_unix(listener, locals, connections), serve);
}

async fn tcp(node: Arc<Node>, stream: TcpStream) {
    if node.script.silent {
        return silence(stream).await;
    }
    match handshake(&node, stream).await {
        Ok((stream, peer)) => serve(&node, stream, peer).await,
        Err(error) => tracing::debug!(node = node.name, error, "a handshake failed"),
    }
}

async fn unix(node: Arc<Node>, connection: Connection) {
    let peer = connection.connect_info();
    match node.script.silent {
        true => silence(connection).await,
        false => serve(&node, connection, peer).await,
    }
}

/// Held until the peer gives up, and never answered.
async fn silence(mut stream: impl AsyncRead + Unpin) {
    let _ = stream.read_u8().await;
    tokio::time::sleep(HANDSHAKE).await;
}

async fn handshake(node: &Node, stream: TcpStream) -> Result<(TlsStream<TcpStream>, Peer), String> {
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
    Ok((stream, peer))
}

async fn serve(node: &Node, stream: impl AsyncRead + AsyncWrite + Unpin + Send, peer: Peer) {
    let stream = BufWriter::with_capacity(TOGETHER, stream);
    if let Err(error) = embed::serve(node.agent.clone(), stream, peer).await {
        tracing::debug!(node = node.name, %error, "a connection ended");
    }
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
