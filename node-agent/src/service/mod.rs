//! The gRPC service `midflight.agent.v1.NodeAgent`: each request is checked against the peer's role, read, given to a thread
//! that may block, and answered. What the orders mean stands in [`crate::orders`]; this turns messages into calls.

mod describe;
mod orders;
mod stage;
mod sys;
mod upgrade;

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use midflight_proto::agent::v1::{self as pb, node_agent_server::NodeAgent};
use midflight_proto::peer::{Peer, Right};
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::{agent::Agent, error::Error, key::Key, work};

/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service over one agent.
#[derive(Clone)]
pub struct Service {
    agent: Arc<Agent>,
}

impl Service {
    /// Serves this agent.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }

    /// Who asks, when that peer may. A peer that may not give this order is written down.
    async fn peer(
        &self,
        extensions: &Extensions,
        right: Right,
        order: &'static str,
    ) -> Result<Peer, Status> {
        let refused = match check_peer(&self.agent.node, extensions, right) {
            Ok(peer) => return Ok(peer),
            Err(refused) => refused,
        };
        let (peer, error) = *refused;
        let status = error.status(pb::Phase::Unspecified, false);
        if right != Right::Read {
            let work =
                move |agent: &Arc<Agent>| agent.refuse(order, None, &peer, Vec::new(), &error);
            let recorded = self.blocking("audit", work).await;
            recorded.map_err(|error| error.status(pb::Phase::Unspecified, false))?;
        }
        Err(status)
    }

    /// Runs work that blocks. It runs to its end even if the client goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Arc<Agent>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let agent = self.agent.clone();
        work::run(&self.agent.worker, what, move || work(&agent)).await
    }
}

/// Who asks, when that peer may; else who asked, and the error.
pub(crate) fn check_peer(
    node: &str,
    extensions: &Extensions,
    right: Right,
) -> Result<Peer, Box<(Peer, Error)>> {
    let unknown = || Peer {
        name: "an unknown peer".to_owned(),
        role: None,
    };
    let peer = extensions.get::<Peer>().cloned().unwrap_or_else(unknown);
    if peer.may(right) {
        return Ok(peer);
    }
    tracing::warn!(
        peer = peer.name,
        ?right,
        "a request was refused for its role"
    );
    let error = Error::Forbidden {
        peer: peer.name.clone(),
        node: node.to_owned(),
    };
    Err(Box::new((peer, error)))
}

#[tonic::async_trait]
impl NodeAgent for Service {
    type UpgradeStream = Answers<pb::StepEvent>;
    type WatchEventsStream = Answers<pb::NodeEvent>;

    async fn describe(
        &self,
        request: Request<pb::DescribeRequest>,
    ) -> Result<Response<pb::DescribeResponse>, Status> {
        self.peer(request.extensions(), Right::Read, "describe")
            .await?;
        let pb::DescribeRequest { key, measures } = request.into_inner();
        let asked = key.as_ref().map(|key| Key::read(Some(key))).transpose();
        let asked = asked.map_err(|error| error.status(pb::Phase::Unspecified, false))?;
        let work = move |agent: &Arc<Agent>| describe::describe(agent, asked.as_ref(), measures);
        let described = self.blocking("description", work).await;
        described
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Unspecified, false))
    }

    async fn stage(
        &self,
        request: Request<Streaming<pb::StageRequest>>,
    ) -> Result<Response<pb::StageResponse>, Status> {
        let peer = self
            .peer(request.extensions(), Right::Roll, "stage")
            .await?;
        let staged = self.stage_stream(peer, request.into_inner()).await;
        staged
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Stage, false))
    }

    async fn upgrade(
        &self,
        request: Request<Streaming<pb::UpgradeRequest>>,
    ) -> Result<Response<Self::UpgradeStream>, Status> {
        let peer = self
            .peer(request.extensions(), Right::Roll, "upgrade")
            .await?;
        let opened = self.open(peer, request.into_inner()).await;
        opened
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Prepare, false))
    }

    async fn confirm(
        &self,
        request: Request<pb::ConfirmRequest>,
    ) -> Result<Response<pb::ConfirmResponse>, Status> {
        let peer = self
            .peer(request.extensions(), Right::Roll, "confirm")
            .await?;
        self.confirm_order(peer, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn renew(
        &self,
        request: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewResponse>, Status> {
        let peer = self
            .peer(request.extensions(), Right::Roll, "renew")
            .await?;
        let renewed = self.renew_order(peer, request.into_inner()).await;
        renewed
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Probation, false))
    }

    async fn releases(
        &self,
        request: Request<pb::ReleasesRequest>,
    ) -> Result<Response<pb::ReleasesResponse>, Status> {
        self.peer(request.extensions(), Right::Read, "releases")
            .await?;
        let work = |agent: &Arc<Agent>| agent.releases();
        let releases = self.blocking("list of releases", work).await;
        releases
            .map(|releases| Response::new(pb::ReleasesResponse { releases }))
            .map_err(|error| error.status(pb::Phase::Unspecified, false))
    }

    async fn remove_release(
        &self,
        request: Request<pb::RemoveReleaseRequest>,
    ) -> Result<Response<pb::RemoveReleaseResponse>, Status> {
        let peer = self
            .peer(request.extensions(), Right::Roll, "remove_release")
            .await?;
        let removed = self.remove_release_order(peer, request.into_inner()).await;
        removed
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Unspecified, false))
    }

    async fn rollback(
        &self,
        request: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::RollbackResponse>, Status> {
        let peer = self
            .peer(request.extensions(), Right::Roll, "rollback")
            .await?;
        let rolled_back = self.rollback_order(peer, request.into_inner()).await;
        rolled_back
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Rollback, false))
    }

    async fn sys(
        &self,
        request: Request<pb::SysRequest>,
    ) -> Result<Response<pb::SysResponse>, Status> {
        let right = sys::right(request.get_ref());
        let peer = self.peer(request.extensions(), right, "sys").await?;
        let answered = self.sys_order(peer, request.into_inner()).await;
        answered
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Unspecified, false))
    }

    async fn metrics(
        &self,
        request: Request<pb::MetricsRequest>,
    ) -> Result<Response<pb::MetricsResponse>, Status> {
        self.peer(request.extensions(), Right::Read, "metrics")
            .await?;
        let numbers = self.numbers().await;
        numbers
            .map(Response::new)
            .map_err(|error| error.status(pb::Phase::Unspecified, false))
    }

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.peer(request.extensions(), Right::Read, "watch_events")
            .await?;
        let agent = self.agent.clone();
        let reader = agent.events.reader(request.into_inner().from_seq);
        let events = futures::stream::unfold((agent, reader), |(agent, mut reader)| async move {
            let events = agent.events.next(&mut reader).await?;
            Some((
                futures::stream::iter(events.into_iter().map(Ok)),
                (agent, reader),
            ))
        });
        Ok(Response::new(Box::pin(futures::StreamExt::flatten(events))))
    }
}
