//! `midflight.controller.v1` and what stands behind it. Read [`lives`] (which rollouts run here), [`watch`] (their events as a
//! stream), [`service`] (the API), then [`host`] (what only `midflight serve` does). A connection is mutual TLS or a Unix socket
//! of mode 0600 whose peer's user is checked; there is no other kind.

pub mod host;
pub mod late;
pub mod lives;
pub mod problem;
pub mod service;
pub mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use midflight_proto::controller::v1::controller_server::ControllerServer;
use midflight_proto::listen::{self, SocketFile};
use midflight_proto::peer::Locals;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::Lock;
use service::Service;

/// Requests at a time on one connection.
const MAX_STREAMS: u32 = 64;
/// After so much silence a peer is asked whether it is there, and has as long again to answer.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long open requests may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// A service that is listened for.
pub struct Server {
    address: Option<SocketAddr>,
    stop: signal::Sender<bool>,
    tasks: JoinSet<()>,
    _socket: Option<Socket>,
}

/// A socket in the journal's folder of locks. It is bound by way of the open folder, so that the length of the path is not
/// bounded by what fits a socket's address.
struct Socket {
    _file: SocketFile,
    _folder: std::fs::File,
}

/// Where a server listens.
pub struct Listen {
    /// With mutual TLS.
    pub tcp: Option<(SocketAddr, Arc<ServerConfig>)>,
    /// On a socket of this name beside the journal.
    pub socket: Option<String>,
}

impl Server {
    /// Begins to serve.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn start(listen: Listen, service: Service) -> Result<Self, Error> {
        let (connections, incoming) = mpsc::channel(16);
        let (mut tasks, mut address, mut socket) = (JoinSet::new(), None, None);
        if let Some((place, tls)) = listen.tcp {
            let failed = |source| Error::Listen {
                address: place.to_string(),
                source,
            };
            let listener = TcpListener::bind(place).await.map_err(failed)?;
            address = Some(listener.local_addr().map_err(failed)?);
            let acceptor = TlsAcceptor::from(tls);
            tasks.spawn(listen::accept_tcp(listener, acceptor, connections.clone()));
        }
        if let Some(name) = listen.socket {
            let folder = Lock::folder(&service.path);
            let failed = |source| Error::Listen {
                address: folder.join(&name).display().to_string(),
                source,
            };
            let open = std::fs::create_dir_all(&folder).and_then(|()| std::fs::File::open(&folder));
            let opened = open.map_err(failed)?;
            let locals = Locals::new(BTreeMap::new());
            let (listener, file) =
                listen::bind_unix(&by_descriptor(&opened, &name), &locals).map_err(failed)?;
            tasks.spawn(listen::accept_unix(listener, locals, connections.clone()));
            socket = Some(Socket {
                _file: file,
                _folder: opened,
            });
        }
        let (stop, mut stopped) = signal::channel(false);
        let served = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(MAX_STREAMS)
            .add_service(ControllerServer::new(service))
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), async move {
                // Told, or the server was dropped.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            });
        tasks.spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the server ended");
            }
        });
        Ok(Self {
            address,
            stop,
            tasks,
            _socket: socket,
        })
    }

    /// The TCP address, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Takes no more connections, and gives open requests a moment to end.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// The name of the socket of `midflight serve` beside its journal.
pub const SERVE_SOCKET: &str = "serve.sock";

/// The name of the socket of the process that runs one rollout.
#[must_use]
pub fn socket_of(rollout: &RolloutId) -> String {
    format!("{rollout}.sock")
}

/// The path of a file in an open folder, short whatever the folder's own path is.
pub(crate) fn by_descriptor(folder: &std::fs::File, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd as _;

    Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name)
}
