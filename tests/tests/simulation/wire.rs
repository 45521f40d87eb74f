//! How a simulated controller speaks to nodes: HTTP/2 and gRPC as in production, over the simulated network. It looks whether a
//! node still obeys a process after it has met a later one.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use midflight_controller::transport::{Agent, CallError, Steps, Target, Transport, grpc};
use midflight_proto::agent::v1 as pb;
use tokio::time::timeout;

use crate::net::Net;
use crate::truth::Truth;

/// Nodes over the simulated network, HTTP/2 and gRPC as in production. Who a node is, its place says: there is no TLS.
pub struct Wire {
    pub net: Net,
    pub truth: Truth,
    pub process: u64,
}

impl Transport for Wire {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Arc<dyn Agent>, CallError>> {
        let unreachable = |source: grpc::BoxError| CallError::Unreachable {
            address: target.name.clone(),
            source,
        };
        async move {
            let node = target
                .name
                .trim_start_matches('n')
                .parse()
                .unwrap_or(usize::MAX);
            let dial = async {
                let stream = self.net.connect(self.process, node).await?;
                grpc::over(stream).await
            };
            match timeout(limit, dial).await {
                Ok(agent) => agent
                    .map(|agent| self.watched(agent, node))
                    .map_err(unreachable),
                Err(late) => Err(unreachable(late.into())),
            }
        }
        .boxed()
    }
}

impl Wire {
    fn watched(&self, agent: Arc<dyn Agent>, node: usize) -> Arc<dyn Agent> {
        Arc::new(Watched {
            agent,
            truth: self.truth.clone(),
            node,
        })
    }
}

/// An agent, and what is known of its node.
struct Watched {
    agent: Arc<dyn Agent>,
    truth: Truth,
    node: usize,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, CallError>>;

impl Agent for Watched {
    fn describe(&self) -> Answer<'_, pb::DescribeResponse> {
        self.agent.describe()
    }
    fn stage(&self, parts: BoxStream<'static, pb::StageRequest>) -> Answer<'_, pb::StageResponse> {
        self.agent.stage(parts)
    }
    fn upgrade(&self, orders: BoxStream<'static, pb::UpgradeRequest>) -> Answer<'_, Steps> {
        self.agent.upgrade(orders)
    }
    fn confirm(&self, request: pb::ConfirmRequest) -> Answer<'_, pb::ConfirmResponse> {
        self.agent.confirm(request)
    }
    fn describe_order(&self, key: pb::Key) -> Answer<'_, pb::DescribeResponse> {
        self.agent.describe_order(key)
    }
    fn measure(&self, key: pb::Key) -> Answer<'_, pb::DescribeResponse> {
        self.agent.measure(key)
    }
    fn renew(&self, request: pb::RenewRequest) -> Answer<'_, pb::RenewResponse> {
        let key = request.key.clone().unwrap_or_default();
        let (rollout, epoch) = (key.rollout_id, request.epoch);
        let met = self.truth.met(self.node, &rollout);
        async move {
            let renewed = self.agent.renew(request).await;
            if renewed.is_ok() && epoch < met {
                self.truth.broken(format!(
                    "n{} renews a lease for epoch {epoch} of {rollout} after it has met epoch {met}",
                    self.node
                ));
            }
            renewed
        }
        .boxed()
    }
    fn releases(&self) -> Answer<'_, pb::ReleasesResponse> {
        self.agent.releases()
    }
    fn remove_release(
        &self,
        request: pb::RemoveReleaseRequest,
    ) -> Answer<'_, pb::RemoveReleaseResponse> {
        self.agent.remove_release(request)
    }
    fn rollback(&self, request: pb::RollbackRequest) -> Answer<'_, pb::RollbackResponse> {
        self.agent.rollback(request)
    }
    fn sys(&self, request: pb::SysRequest) -> Answer<'_, pb::SysResponse> {
        self.agent.sys(request)
    }
    fn metrics(&self) -> Answer<'_, pb::MetricsResponse> {
        self.agent.metrics()
    }
}
