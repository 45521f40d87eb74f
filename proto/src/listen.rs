//! The listeners: TCP with mutual TLS, and Unix sockets, by default of mode 0600. Handshakes run beside each other, each with a
//! deadline; when there are too many, the oldest gives way, so that peers who connect and stay silent keep nobody out.
//! What comes out is connections with a known peer, for the gRPC server.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use crate::peer::{Locals, Peer};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many handshakes may be under way at a time.
const MAX_HANDSHAKES: usize = 256;
/// How long to wait when the operating system has no descriptor left for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection and who is at its other end.
pub struct Connection {
    io: Io,
    peer: Peer,
}

enum Io {
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Accepts on TCP until the receiver of `out` is gone.
pub async fn accept_tcp(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    out: mpsc::Sender<io::Result<Connection>>,
) {
    let mut handshakes = JoinSet::new();
    let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = out.closed() => return,
            Some(_) = handshakes.join_next() => {
                waiting.retain(|handshake| !handshake.is_finished());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if waiting.len() >= MAX_HANDSHAKES
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.abort();
        }
        let (acceptor, out) = (acceptor.clone(), out.clone());
        waiting.push_back(handshakes.spawn(async move {
            match timeout(
                HANDSHAKE,
                handshake(stream, &acceptor, &address.to_string()),
            )
            .await
            {
                Ok(Ok(connection)) => drop(out.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::info!(%address, %error, "a TLS handshake failed"),
                Err(_) => tracing::info!(%address, "a TLS handshake took too long"),
            }
        }));
    }
}

async fn handshake(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    address: &str,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    // The verifier lets nobody through without a certificate.
    let certificate =
        certificate.ok_or_else(|| io::Error::other("the client showed no certificate"))?;
    let peer = Peer::of_certificate(certificate, address);
    Ok(Connection {
        io: Io::Tls(Box::new(stream)),
        peer,
    })
}

/// Accepts on a Unix socket until the receiver of `out` is gone. Who has no role there is let go before a byte is read.
pub async fn accept_unix(
    listener: UnixListener,
    locals: Locals,
    out: mpsc::Sender<io::Result<Connection>>,
) {
    loop {
        let accepted = tokio::select! {
            () = out.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let connection = accepted.and_then(|(stream, _)| {
            let peer = locals.peer(stream.peer_cred()?.uid());
            Ok(Connection {
                io: Io::Unix(stream),
                peer,
            })
        });
        match connection {
            Ok(Connection { peer, .. }) if peer.role.is_none() => {
                tracing::info!(peer = peer.name, "a process without a role is let go");
            }
            Ok(connection) => {
                if out.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the Unix socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A Unix socket that is removed when it is dropped.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // a socket that stays behind is replaced by the next start
    }
}

/// Binds a Unix socket for those who may use it: of mode 0600, or 0666 where others than the own user and root may. It is made
/// under another name and renamed, so that it is open to nobody else before; a socket left by an earlier process is replaced,
/// and any other file refused.
///
/// # Errors
/// What the operating system says, and `AlreadyExists` for another file.
pub fn bind_unix(path: &Path, locals: &Locals) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        _ => {}
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    let listener = UnixListener::bind(&fresh)?;
    let mode = if locals.has_others() { 0o666 } else { 0o600 };
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
    fs::rename(&fresh, path)?;
    Ok((listener, SocketFile(path.to_owned())))
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
