//! A controller as its clients see it: `midflight serve` over mutual TLS, or the process that runs a rollout over the Unix socket
//! beside its journal. The same calls either way. It keeps no state: who loses the connection asks again from its cursor.

use std::fs::File;
use std::path::Path;

use futures::stream::{BoxStream, StreamExt as _};
use hyper_util::rt::TokioIo;
use midflight_proto::controller::v1 as pb;
use midflight_proto::controller::v1::controller_client::ControllerClient;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::engine::control::{Answer, Verb};
use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::{self, Error};
use crate::exit::Exit;
use crate::journal::{Head, Lock};
use crate::output::Rendered;
use crate::server::{SERVE_SOCKET, by_descriptor, problem, socket_of};
use crate::transport::Credentials;

/// How often an idle connection is probed, and how long the answer may take.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(10);
/// How long a connection may take to be made.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);
/// Most bytes of an answer: a status names every node.
const MAX_ANSWER: usize = 256 << 20;
/// Bytes of a bundle in one message.
const CHUNK: usize = 256 << 10;

/// A connection to a controller; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    rpc: ControllerClient<Channel>,
    place: String,
}

impl Client {
    /// Connects to `HOST:PORT`; the server's certificate must carry HOST.
    ///
    /// # Errors
    /// [`Error::ServerLost`], [`Error::Credentials`], [`Error::Usage`] for an address that is none.
    pub async fn tls(address: &str, credentials: &Credentials) -> Result<Self, Error> {
        let wrong = || Error::Usage {
            problem: format!("{address:?} is no address of a server"),
            hint: "write HOST:PORT",
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        let connector = TlsConnector::from(credentials.client_config()?);
        let connect = tower::service_fn(move |_| {
            let (connector, name, place) = (connector.clone(), name.clone(), (host.clone(), port));
            async move {
                let tcp = TcpStream::connect(place).await?;
                tcp.set_nodelay(true)?;
                connector.connect(name, tcp).await.map(TokioIo::new)
            }
        });
        let endpoint = endpoint();
        Self::over(address, endpoint.connect_with_connector(connect)).await
    }

    /// Connects to the process that runs a rollout, or to `midflight serve`, on the socket beside the journal.
    ///
    /// # Errors
    /// [`Error::ServerLost`].
    pub async fn owner(journal: &Path, rollout: &RolloutId) -> Result<Self, Error> {
        let one = Self::socket(journal, &socket_of(rollout)).await;
        match one {
            Ok(client) => Ok(client),
            Err(error) => Self::socket(journal, SERVE_SOCKET).await.map_err(|_| error),
        }
    }

    async fn socket(journal: &Path, name: &str) -> Result<Self, Error> {
        let folder = Lock::folder(journal);
        let place = folder.join(name).display().to_string();
        let name = name.to_owned();
        let connect = tower::service_fn(move |_| {
            let (folder, name) = (folder.clone(), name.clone());
            async move {
                let folder = File::open(folder)?;
                let socket = UnixStream::connect(by_descriptor(&folder, &name)).await?;
                Ok::<_, std::io::Error>(TokioIo::new(socket))
            }
        });
        let endpoint = endpoint();
        Self::over(&place, endpoint.connect_with_connector(connect)).await
    }

    async fn over(
        place: &str,
        connecting: impl Future<Output = Result<Channel, tonic::transport::Error>>,
    ) -> Result<Self, Error> {
        let lost = |problem| Error::ServerLost {
            server: place.to_owned(),
            problem,
        };
        let channel = tokio::time::timeout(CONNECT, connecting)
            .await
            .map_err(|_| lost(format!("no connection within {} s", CONNECT.as_secs())))?
            .map_err(|error| lost(error::chain(&error)))?;
        Ok(Self {
            rpc: ControllerClient::new(channel).max_decoding_message_size(MAX_ANSWER),
            place: place.to_owned(),
        })
    }

    fn failed(&self) -> impl Fn(Status) -> Error + use<> {
        let place = self.place.clone();
        move |status| problem::error(&status, &place)
    }

    /// What an apply would do.
    ///
    /// # Errors
    /// The server's, and [`Error::ServerLost`].
    pub async fn plan(
        &self,
        header: pb::SubmitHeader,
        bundles: Vec<Vec<u8>>,
    ) -> Result<Rendered, Error> {
        let sent = submission(header, bundles);
        let answer = self.rpc.clone().plan(sent).await.map_err(self.failed())?;
        Ok(rendered(answer.into_inner()))
    }

    /// Begins a rollout.
    ///
    /// # Errors
    /// The server's, and [`Error::ServerLost`].
    pub async fn apply(
        &self,
        header: pb::SubmitHeader,
        bundles: Vec<Vec<u8>>,
    ) -> Result<RolloutId, Error> {
        let sent = submission(header, bundles);
        let answer = self.rpc.clone().apply(sent).await.map_err(self.failed())?;
        answer.into_inner().rollout.parse()
    }

    /// Asks something of a rollout. Who asks, the server sees for itself.
    ///
    /// # Errors
    /// The server's, and [`Error::ServerLost`].
    pub async fn control(
        &self,
        rollout: &RolloutId,
        verb: &Verb,
        reason: &str,
    ) -> Result<Answer, Error> {
        let (mut accept_inconclusive, mut keep_nodes) = (String::new(), false);
        let word = match verb {
            Verb::Pause => pb::Verb::Pause,
            Verb::Resume => pb::Verb::Resume,
            Verb::Promote {
                accept_inconclusive: accept,
            } => {
                accept_inconclusive = accept.clone().unwrap_or_default();
                pb::Verb::Promote
            }
            Verb::Abort { keep } => {
                keep_nodes = *keep;
                pb::Verb::Abort
            }
            Verb::Rollback => pb::Verb::Rollback,
            Verb::RetryFailed => pb::Verb::RetryFailed,
            Verb::Detach => pb::Verb::Detach,
            _ => pb::Verb::Unspecified,
        };
        let request = pb::ControlRequest {
            rollout: rollout.to_string(),
            verb: word.into(),
            reason: reason.to_owned(),
            accept_inconclusive,
            keep: keep_nodes,
        };
        let answer = self.rpc.clone().control(request).await;
        let refused = answer.map_err(self.failed())?.into_inner().refused;
        Ok(if refused.is_empty() {
            Answer::Done
        } else {
            Answer::Refused(refused)
        })
    }

    /// The rollouts, newest first.
    ///
    /// # Errors
    /// The server's, and [`Error::ServerLost`].
    pub async fn list(&self, most: u32) -> Result<Vec<Head>, Error> {
        let answer = self.rpc.clone().list(pb::ListRequest { most }).await;
        let answer = answer.map_err(self.failed())?.into_inner();
        let read = |head: &pb::RolloutHead| {
            let read = serde_json::from_str::<Head>(&head.json);
            read.map_err(|source| Error::JournalRecord {
                rollout: head.rollout.clone(),
                seq: head.seq,
                source,
            })
        };
        answer.rollouts.iter().map(read).collect()
    }

    /// Where a rollout is; the newest without one.
    ///
    /// # Errors
    /// The server's, and [`Error::ServerLost`].
    pub async fn status(&self, rollout: Option<&RolloutId>) -> Result<Rendered, Error> {
        let rollout = rollout.map(ToString::to_string).unwrap_or_default();
        let answer = self.rpc.clone().status(pb::StatusRequest { rollout }).await;
        answer
            .map(|answer| rendered(answer.into_inner()))
            .map_err(self.failed())
    }

    /// What runs on nodes.
    ///
    /// # Errors
    /// The server's, and [`Error::ServerLost`].
    pub async fn nodes(&self, pattern: &str) -> Result<Rendered, Error> {
        let pattern = pattern.to_owned();
        let answer = self.rpc.clone().nodes(pb::NodesRequest { pattern }).await;
        answer
            .map(|answer| rendered(answer.into_inner()))
            .map_err(self.failed())
    }

    /// The events after a cursor, until nobody there runs the rollout. A server that goes away ends the stream too.
    ///
    /// # Errors
    /// The server's, and [`Error::ServerLost`].
    pub async fn watch(
        &self,
        rollout: &RolloutId,
        after: u64,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let request = pb::WatchRequest {
            rollout: rollout.to_string(),
            after,
        };
        let failed = self.failed();
        let stream = self.rpc.clone().watch(request).await.map_err(&failed)?;
        let read = move |event: Result<pb::Event, Status>| {
            let event = match event {
                Ok(event) => event,
                Err(status) if is_end(&status) => return None,
                Err(status) => return Some(Err(failed(status))),
            };
            let read = serde_json::from_str::<Event>(&event.json);
            Some(read.map_err(|source| Error::JournalRecord {
                rollout: event.rollout,
                seq: event.seq,
                source,
            }))
        };
        let events = stream.into_inner().map(read);
        Ok(events
            .take_while(|event| std::future::ready(event.is_some()))
            .filter_map(std::future::ready)
            .boxed())
    }
}

/// The server stopped, or its process ended: not the rollout's matter.
fn is_end(status: &Status) -> bool {
    status.details().is_empty()
        && matches!(
            status.code(),
            Code::Unavailable | Code::Cancelled | Code::Unknown
        )
}

fn endpoint() -> Endpoint {
    // The authority of requests; the name that counts is checked in TLS.
    Endpoint::from_static("http://controller")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
}

fn rendered(answer: pb::Rendered) -> Rendered {
    Rendered {
        text: answer.text,
        json: answer.json,
        exit: Exit::from_code(u8::try_from(answer.exit).unwrap_or(1)),
    }
}

/// The header, then the bundles in chunks.
fn submission(
    header: pb::SubmitHeader,
    bundles: Vec<Vec<u8>>,
) -> impl futures::Stream<Item = pb::SubmitRequest> + Send + 'static {
    use pb::submit_request::Body;

    // Patches of one order fit 32 bits.
    let chunks = (0..).zip(bundles).flat_map(|(bundle, bytes)| {
        let cut = |data: &[u8]| {
            let data = data.to_vec().into();
            Body::Chunk(pb::BundleChunk { bundle, data })
        };
        bytes.chunks(CHUNK).map(cut).collect::<Vec<_>>()
    });
    let bodies = std::iter::once(Body::Header(header)).chain(chunks);
    futures::stream::iter(bodies.map(|body| pb::SubmitRequest { body: Some(body) }))
}
