//! gRPC over mutual TLS: one TLS configuration for all nodes, one connection a node, and for a node that was known before, the
//! TLS session of then. A node is believed only if its certificate carries its name in the inventory, whatever address it is
//! dialled at.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, Stream, StreamExt as _};
use midflight_proto::agent::v1 as pb;
use midflight_proto::agent::v1::node_agent_client::NodeAgentClient;
use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::{Code, Status};

use crate::error::Error;
pub use crate::transport::http2::BoxError;
use crate::transport::http2::Http2;
use crate::transport::{Agent, CallError, Credentials, Steps, Target, Transport};

/// After so much silence the kernel asks whether the peer is there, and again after each of the following.
const IDLE: Duration = Duration::from_secs(10);
/// Between two such questions; three without an answer end the connection.
const PROBE: Duration = Duration::from_secs(4);
/// How old what an agent said may be when it is passed on.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Most bytes of an answer: an actor's state travels whole in `sys`, so that it may be larger than tonic's 4 MiB.
const LARGEST: usize = 64 << 20;

/// The transport; cheap to clone.
#[derive(Clone)]
pub struct Grpc {
    tls: Arc<ClientConfig>,
}

impl Grpc {
    /// Reads the credentials.
    ///
    /// # Errors
    /// [`Error::Credentials`].
    pub fn new(credentials: &Credentials) -> Result<Self, Error> {
        Ok(Self {
            tls: credentials.client_config()?,
        })
    }

    /// Who the controller is, and whom it believes.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        self.tls.clone()
    }

    async fn dial(&self, target: &Target) -> Result<Http2, BoxError> {
        let name = ServerName::try_from(target.name.clone())?;
        let tcp = TcpStream::connect((target.address.as_str(), target.port)).await?;
        tcp.set_nodelay(true)?;
        // The kernel's timers cost nothing here, unlike ten thousand of our own.
        sockopt::set_socket_keepalive(&tcp, true)?;
        sockopt::set_tcp_keepidle(&tcp, IDLE)?;
        sockopt::set_tcp_keepintvl(&tcp, PROBE)?;
        sockopt::set_tcp_keepcnt(&tcp, 3)?;
        let connector = TlsConnector::from(self.tls.clone());
        Http2::start(connector.connect(name, tcp).await?).await
    }
}

impl Transport for Grpc {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Arc<dyn Agent>, CallError>> {
        let address = || match target.address.contains(':') {
            true => format!("[{}]:{}", target.address, target.port),
            false => format!("{}:{}", target.address, target.port),
        };
        async move {
            match tokio::time::timeout(timeout, self.dial(target)).await {
                Ok(Ok(connection)) => Ok(Arc::new(GrpcAgent::new(connection)) as Arc<dyn Agent>),
                Ok(Err(source)) => Err(CallError::Unreachable {
                    address: address(),
                    source,
                }),
                Err(_) => {
                    let source = format!("no connection within {} ms", timeout.as_millis()).into();
                    Err(CallError::Unreachable {
                        address: address(),
                        source,
                    })
                }
            }
        }
        .boxed()
    }
}

/// Speaks to an agent over a stream that somebody else has made: who is at its other end, is his to know.
///
/// # Errors
/// The stream broke.
pub async fn over(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Arc<dyn Agent>, BoxError> {
    Ok(Arc::new(GrpcAgent::new(Http2::start(stream).await?)))
}

/// The same, and asks at once who it is: the first bytes that leave are the
/// question, so that it costs no more time than an agent's first word. What it said is also the answer to the next
/// [`Agent::describe`], if that comes at once and nothing else before it.
///
/// # Errors
/// What broke, or the agent's refusal to answer, which is a connection all the same.
pub(crate) async fn meet(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(Arc<dyn Agent>, Result<String, Box<pb::Failure>>), BoxError> {
    let agent = GrpcAgent::new(Http2::start(stream).await?);
    let said = match agent.describe().await {
        Ok(said) => said,
        Err(CallError::Failed(failure)) => return Ok((Arc::new(agent), Err(failure))),
        Err(CallError::Lost { source }) => return Err(source),
        Err(other) => return Err(other.into()),
    };
    let node = said.node.clone();
    *agent.said() = Some((Instant::now(), said));
    Ok((Arc::new(agent), Ok(node)))
}

struct GrpcAgent {
    client: NodeAgentClient<Http2>,
    /// What it said of itself when it was met.
    said: Mutex<Option<(Instant, pb::DescribeResponse)>>,
}

impl GrpcAgent {
    fn new(connection: Http2) -> Self {
        // The authority of requests; the name that counts is checked in TLS.
        let origin = Uri::from_static("http://agent");
        let client = NodeAgentClient::with_origin(connection, origin);
        Self {
            client: client.max_decoding_message_size(LARGEST),
            said: Mutex::new(None),
        }
    }

    fn said(&self) -> MutexGuard<'_, Option<(Instant, pb::DescribeResponse)>> {
        // Every step with it leaves it whole.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a call, which may change what the agent would say.
    fn client(&self) -> NodeAgentClient<Http2> {
        *self.said() = None;
        self.client.clone()
    }
}

impl Agent for GrpcAgent {
    fn describe(&self) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        let said = self.said().take();
        if let Some((at, said)) = said
            && at.elapsed() < AT_ONCE
        {
            return std::future::ready(Ok(said)).boxed();
        }
        let mut client = self.client();
        async move { answer(client.describe(pb::DescribeRequest::default()).await) }.boxed()
    }

    fn stage(
        &self,
        parts: BoxStream<'static, pb::StageRequest>,
    ) -> BoxFuture<'_, Result<pb::StageResponse, CallError>> {
        stage(self.client(), Outgoing(parts)).boxed()
    }

    fn upgrade(
        &self,
        orders: BoxStream<'static, pb::UpgradeRequest>,
    ) -> BoxFuture<'_, Result<Steps, CallError>> {
        upgrade(self.client(), Outgoing(orders)).boxed()
    }

    fn confirm(
        &self,
        request: pb::ConfirmRequest,
    ) -> BoxFuture<'_, Result<pb::ConfirmResponse, CallError>> {
        let mut client = self.client();
        async move { answer(client.confirm(request).await) }.boxed()
    }

    fn describe_order(
        &self,
        key: pb::Key,
    ) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        let mut client = self.client();
        let request = pb::DescribeRequest {
            key: Some(key),
            measures: false,
        };
        async move { answer(client.describe(request).await) }.boxed()
    }

    fn measure(&self, key: pb::Key) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        let mut client = self.client();
        let request = pb::DescribeRequest {
            key: Some(key),
            measures: true,
        };
        async move { answer(client.describe(request).await) }.boxed()
    }

    fn renew(
        &self,
        request: pb::RenewRequest,
    ) -> BoxFuture<'_, Result<pb::RenewResponse, CallError>> {
        let mut client = self.client();
        async move { answer(client.renew(request).await) }.boxed()
    }

    fn releases(&self) -> BoxFuture<'_, Result<pb::ReleasesResponse, CallError>> {
        let mut client = self.client();
        async move { answer(client.releases(pb::ReleasesRequest {}).await) }.boxed()
    }

    fn remove_release(
        &self,
        request: pb::RemoveReleaseRequest,
    ) -> BoxFuture<'_, Result<pb::RemoveReleaseResponse, CallError>> {
        let mut client = self.client();
        async move { answer(client.remove_release(request).await) }.boxed()
    }

    fn rollback(
        &self,
        request: pb::RollbackRequest,
    ) -> BoxFuture<'_, Result<pb::RollbackResponse, CallError>> {
        let mut client = self.client();
        async move { answer(client.rollback(request).await) }.boxed()
    }

    fn sys(&self, request: pb::SysRequest) -> BoxFuture<'_, Result<pb::SysResponse, CallError>> {
        let mut client = self.client();
        async move { answer(client.sys(request).await) }.boxed()
    }

    fn metrics(&self) -> BoxFuture<'_, Result<pb::MetricsResponse, CallError>> {
        let mut client = self.client();
        async move { answer(client.metrics(pb::MetricsRequest {}).await) }.boxed()
    }
}

/// A stream to the agent. The compiler cannot prove a call with the boxed stream itself `Send` (rust-lang/rust#102211).
struct Outgoing<T>(BoxStream<'static, T>);

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(context)
    }
}

async fn stage(
    mut client: NodeAgentClient<Http2>,
    parts: Outgoing<pb::StageRequest>,
) -> Result<pb::StageResponse, CallError> {
    answer(client.stage(parts).await)
}

async fn upgrade(
    mut client: NodeAgentClient<Http2>,
    orders: Outgoing<pb::UpgradeRequest>,
) -> Result<Steps, CallError> {
    let steps = answer(client.upgrade(orders).await)?;
    Ok(steps.map(|step| step.map_err(call_error)).boxed())
}

fn answer<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, CallError> {
    answer.map(tonic::Response::into_inner).map_err(call_error)
}

/// What a status means: an agent that answers puts a failure into it; anything else that says "no connection" is silence.
fn call_error(status: Status) -> CallError {
    let silent = matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded
    ) || (status.code() == Code::Internal && status.source().is_some());
    match pb::Failure::from_status(&status) {
        // An agent that is shutting down says so, and will be back.
        Some(_) | None if silent => CallError::Lost { source: what_broke(status) },
        Some(failure) => CallError::Failed(Box::new(failure)),
        None => CallError::Failed(Box::new(pb::Failure {
            code: "MF0523".to_owned(),
            what: format!("the agent answered {:?}: {}", status.code(), status.message()),
            hint: "see that controller and agent are of the same version, and that the certificate's role allows this"
                .to_owned(),
            refused: true,
            ..pb::Failure::default()
        })),
    }
}

/// The cause in a status, if it has one, else its message: its own text repeats both and adds metadata.
fn what_broke(status: Status) -> Box<dyn StdError + Send + Sync> {
    match status.source() {
        Some(source) => crate::error::chain(source).into(),
        None => status.message().to_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_is_told_from_silence() {
        let failure = pb::Failure {
            code: "MF0420".into(),
            what: "no".into(),
            ..Default::default()
        };
        let said = call_error(failure.clone().into_status(Code::FailedPrecondition));
        assert_eq!((said.code(), said.is_silence()), ("MF0420", false));
        assert!(call_error(failure.into_status(Code::Unavailable)).is_silence());
        assert!(call_error(Status::unavailable("tcp reset")).is_silence());
        let denied = call_error(Status::unimplemented("what?"));
        assert_eq!((denied.code(), denied.is_silence()), ("MF0523", false));
    }
}
