//! gRPC over mutual TLS: one TLS configuration for all nodes, one connection a node. A node is believed only if its
//! certificate carries its name in the inventory, whatever address it is dialled at.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use midflight_proto::agent::v1 as pb;
use midflight_proto::agent::v1::node_agent_client::NodeAgentClient;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::error::Error;
use crate::transport::{Agent, CallError, Credentials, Steps, Target, Transport};

/// How often an idle connection is probed, and how long the answer may take.
const KEEPALIVE: Duration = Duration::from_secs(10);

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

    async fn dial(&self, target: &Target) -> Result<Channel, Box<dyn StdError + Send + Sync>> {
        let name = ServerName::try_from(target.name.clone())?;
        let connector = TlsConnector::from(self.tls.clone());
        let place = (target.address.clone(), target.port);
        let connect = tower::service_fn(move |_| {
            let (connector, name, place) = (connector.clone(), name.clone(), place.clone());
            async move {
                let tcp = TcpStream::connect(place).await?;
                tcp.set_nodelay(true)?;
                connector.connect(name, tcp).await.map(TokioIo::new)
            }
        });
        // The authority of requests; the name that counts is checked in TLS.
        let endpoint = Endpoint::from_static("http://agent")
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_with_connector(connect).await?)
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
                Ok(Ok(channel)) => {
                    // An actor's state travels whole in `sys`, so answers may be larger than tonic's 4 MiB.
                    let client = NodeAgentClient::new(channel).max_decoding_message_size(64 << 20);
                    Ok(Arc::new(GrpcAgent { client }) as Arc<dyn Agent>)
                }
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

struct GrpcAgent {
    client: NodeAgentClient<Channel>,
}

impl Agent for GrpcAgent {
    fn describe(&self) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        let mut client = self.client.clone();
        async move { answer(client.describe(pb::DescribeRequest::default()).await) }.boxed()
    }

    fn stage(
        &self,
        parts: BoxStream<'static, pb::StageRequest>,
    ) -> BoxFuture<'_, Result<pb::StageResponse, CallError>> {
        stage(self.client.clone(), Outgoing(parts)).boxed()
    }

    fn upgrade(
        &self,
        orders: BoxStream<'static, pb::UpgradeRequest>,
    ) -> BoxFuture<'_, Result<Steps, CallError>> {
        upgrade(self.client.clone(), Outgoing(orders)).boxed()
    }

    fn confirm(
        &self,
        request: pb::ConfirmRequest,
    ) -> BoxFuture<'_, Result<pb::ConfirmResponse, CallError>> {
        let mut client = self.client.clone();
        async move { answer(client.confirm(request).await) }.boxed()
    }

    fn describe_order(
        &self,
        key: pb::Key,
    ) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        let mut client = self.client.clone();
        let request = pb::DescribeRequest { key: Some(key) };
        async move { answer(client.describe(request).await) }.boxed()
    }

    fn renew(
        &self,
        request: pb::RenewRequest,
    ) -> BoxFuture<'_, Result<pb::RenewResponse, CallError>> {
        let mut client = self.client.clone();
        async move { answer(client.renew(request).await) }.boxed()
    }

    fn releases(&self) -> BoxFuture<'_, Result<pb::ReleasesResponse, CallError>> {
        let mut client = self.client.clone();
        async move { answer(client.releases(pb::ReleasesRequest {}).await) }.boxed()
    }

    fn remove_release(
        &self,
        request: pb::RemoveReleaseRequest,
    ) -> BoxFuture<'_, Result<pb::RemoveReleaseResponse, CallError>> {
        let mut client = self.client.clone();
        async move { answer(client.remove_release(request).await) }.boxed()
    }

    fn rollback(
        &self,
        request: pb::RollbackRequest,
    ) -> BoxFuture<'_, Result<pb::RollbackResponse, CallError>> {
        let mut client = self.client.clone();
        async move { answer(client.rollback(request).await) }.boxed()
    }

    fn sys(&self, request: pb::SysRequest) -> BoxFuture<'_, Result<pb::SysResponse, CallError>> {
        let mut client = self.client.clone();
        async move { answer(client.sys(request).await) }.boxed()
    }

    fn metrics(&self) -> BoxFuture<'_, Result<pb::MetricsResponse, CallError>> {
        let mut client = self.client.clone();
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
    mut client: NodeAgentClient<Channel>,
    parts: Outgoing<pb::StageRequest>,
) -> Result<pb::StageResponse, CallError> {
    answer(client.stage(parts).await)
}

async fn upgrade(
    mut client: NodeAgentClient<Channel>,
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
