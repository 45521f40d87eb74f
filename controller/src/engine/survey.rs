//! Asking many nodes what they run, so many at a time. The answers come in the order of the nodes; a node that does not answer
//! is an answer too.

use std::sync::Arc;

use futures::StreamExt as _;
use midflight_proto::agent::v1 as pb;

use crate::engine::link::Link;
use crate::policy::Policy;
use crate::transport::{CallError, Target, Transport};

/// Nodes that are not connected yet, in the same order.
#[must_use]
pub fn links(
    targets: &[Target],
    transport: &Arc<dyn Transport>,
    policy: &Policy,
) -> Vec<Arc<Link>> {
    let connect = policy.timeouts.connect.get();
    targets
        .iter()
        .map(|target| Arc::new(Link::new(target.clone(), transport.clone(), connect)))
        .collect()
}

/// What each node says of itself. A node has twice the connect timeout: once to connect, once to answer.
pub async fn survey(
    links: &[Arc<Link>],
    policy: &Policy,
) -> Vec<Result<pb::DescribeResponse, CallError>> {
    let limit = policy.timeouts.connect.get() * 2;
    let ask = |link: Arc<Link>| async move {
        link.once(limit, |agent| async move { agent.describe().await })
            .await
    };
    futures::stream::iter(links.iter().cloned())
        .map(ask)
        .buffered(policy.concurrency.max(1) as usize)
        .collect()
        .await
}
