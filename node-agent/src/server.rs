//! The running agent: its listeners, its gRPC server, and its orderly end. Stopping takes no more connections, aborts an
//! upgrade that has not resumed, and drains the target.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt;
use midflight_proto::agent::v1::{self as pb, node_agent_server::NodeAgentServer};
use midflight_proto::listen::{self, Connection, SocketFile};
use midflight_proto::peer::{Locals, Right};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::{
    agent::Agent,
    config::Config,
    data_dir::DataDir,
    error::Error,
    service::{Service, check_peer},
    target::Target,
    tls,
};

/// Most bytes of a message: a manifest and its signatures.
pub const MAX_MESSAGE: usize = 6 << 20;
/// Requests at a time on one connection.
pub const MAX_STREAMS: u32 = 64;
/// After so much silence a peer is asked whether it is there, and has as long again to answer.
pub const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long open requests may take to end when the agent stops.
const GRACE: Duration = Duration::from_secs(5);

/// An agent that serves.
pub struct Server {
    agent: Arc<Agent>,
    address: Option<SocketAddr>,
    drain: Duration,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
    _sockets: Vec<SocketFile>,
}

impl Server {
    /// Boots the target and starts to serve.
    ///
    /// # Errors
    /// Whatever keeps the agent from starting; then nothing listens.
    pub async fn start(config: &Config, target: Arc<dyn Target>) -> Result<Self, Error> {
        let tls = config
            .listen
            .tcp
            .as_ref()
            .map(tls::server_config)
            .transpose()?;
        // The directory first: another agent's socket must not be replaced. Then the addresses: a release that was booted
        // for an agent that cannot listen would lose its state at once.
        let data = DataDir::claim(&config.data_dir)?;
        let (connections, incoming) = mpsc::channel(16);
        let (mut tasks, mut address, mut sockets) = (JoinSet::new(), None, Vec::new());
        if let (Some(tcp), Some(tls)) = (&config.listen.tcp, tls) {
            let refused = |source| Error::Listen {
                address: tcp.address.to_string(),
                source,
            };
            let listener = TcpListener::bind(tcp.address).await.map_err(refused)?;
            address = Some(listener.local_addr().map_err(refused)?);
            let accept = listen::accept_tcp(listener, TlsAcceptor::from(tls), connections.clone());
            tasks.spawn(accept.map(Ok));
        }
        if let Some(unix) = &config.listen.unix {
            let refused = |source| Error::Listen {
                address: unix.path.display().to_string(),
                source,
            };
            let locals = unix.peers.locals()?;
            let (listener, file) = listen::bind_unix(&unix.path, &locals).map_err(refused)?;
            sockets.push(file);
            let accept = listen::accept_unix(listener, locals, connections.clone());
            tasks.spawn(accept.map(Ok));
        }
        let local = crate::local::socket(data.path());
        let own = Locals::new(BTreeMap::new());
        match listen::bind_unix(&local, &own) {
            Ok((listener, file)) => {
                sockets.push(file);
                tasks.spawn(listen::accept_unix(listener, own, connections.clone()).map(Ok));
            }
            // Such a path is too long for a socket. Whoever stands on the node can still restart the agent.
            Err(error) => tracing::warn!(
                %error, path = %local.display(),
                "orders that are given on the node itself will not be heard"
            ),
        }
        let booted = config.clone();
        let agent = tokio::task::spawn_blocking(move || Agent::start(&booted, data, target));
        let agent = agent.await.map_err(Error::panicked("boot"))??;
        let stop = CancellationToken::new();
        tasks.spawn(serve(agent.clone(), incoming, stop.clone()).await);
        tracing::info!(node = agent.node, tcp = ?address, unix = ?config.listen.unix, "listening");
        Ok(Self {
            agent,
            address,
            drain: config.drain(),
            stop,
            tasks,
            _sockets: sockets,
        })
    }

    /// The TCP address, with the port that was chosen.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns when the server has ended by itself, which it should not.
    ///
    /// # Errors
    /// Why.
    pub async fn failed(&mut self) -> Result<(), Error> {
        match self.tasks.join_next().await {
            Some(ended) => ended.map_err(Error::panicked("server"))?,
            None => Ok(()),
        }
    }

    /// Stops. False: the target's mailboxes did not run empty in time.
    pub async fn stop(mut self) -> bool {
        self.stop.cancel();
        self.agent.stop();
        self.agent.tasks.close();
        self.agent.tasks.wait().await;
        let ended = timeout(GRACE, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        if ended.is_err() {
            tracing::warn!("open requests were cut off");
            self.tasks.shutdown().await;
        }
        let (agent, drain) = (self.agent.clone(), self.drain);
        let drained = tokio::task::spawn_blocking(move || agent.target.drain(drain)).await;
        drained.unwrap_or_else(|error| {
            tracing::error!(%error, "draining ended in a panic");
            false
        })
    }
}

async fn serve(
    agent: Arc<Agent>,
    incoming: mpsc::Receiver<io::Result<Connection>>,
    stop: CancellationToken,
) -> impl Future<Output = Result<(), Error>> {
    let node = agent.node.clone();
    let readers = move |request: Request<()>| -> Result<Request<()>, Status> {
        check_peer(&node, request.extensions(), Right::Read)
            .map_err(|refused| refused.1.status(pb::Phase::Unspecified, false))?;
        Ok(request)
    };
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<NodeAgentServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(midflight_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let service = NodeAgentServer::new(Service::new(agent)).max_decoding_message_size(MAX_MESSAGE);
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(service)
        .add_service(tonic::service::interceptor::InterceptedService::new(
            health,
            readers.clone(),
        ))
        .add_optional_service(
            // The descriptors are compiled in: the tests would find one that does not decode.
            reflection.ok().map(|service| {
                tonic::service::interceptor::InterceptedService::new(service, readers)
            }),
        );
    let serving =
        router.serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.cancelled_owned());
    async move { serving.await.map_err(|source| Error::Server { source }) }
}
