//! Asking many nodes what they run, so many at a time. The answers come in the order of the nodes; a node that does not answer
//! is an answer too.

use std::sync::Arc;

use midflight_proto::agent::v1 as pb;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::engine::link::Link;
use crate::error::Error;
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

/// Refuses targets that the transport has no means for, before any of them is dialled.
///
/// # Errors
/// [`Error::NoCredentials`].
pub fn check(targets: &[Target], transport: &Arc<dyn Transport>) -> Result<(), Error> {
    targets
        .iter()
        .try_for_each(|target| transport.check(target))
}

/// What each node says of itself. A node has twice the connect timeout: once to connect, once to answer. So many are asked at a
/// time, and those that do not answer hold up nobody but whoever waits for their places.
pub async fn survey(
    links: &[Arc<Link>],
    policy: &Policy,
) -> Vec<Result<pb::DescribeResponse, CallError>> {
    let limit = policy.timeouts.connect.get() * 2;
    let permits = Arc::new(Semaphore::new(policy.concurrency.max(1) as usize));
    let mut asked = JoinSet::new();
    for (node, link) in links.iter().cloned().enumerate() {
        // The semaphore is never closed.
        let permit = permits.clone().acquire_owned().await;
        asked.spawn(async move {
            let _permit = permit;
            let answer = link.once(limit, |agent| async move { agent.describe().await });
            (node, answer.await)
        });
    }
    let mut answers: Vec<_> = links.iter().map(|_| None).collect();
    while let Some(asked) = asked.join_next().await {
        if let Ok((node, answer)) = asked {
            answers[node] = Some(answer);
        }
    }
    let panicked = || CallError::Lost {
        source: "asking it panicked: a defect of the program".into(),
    };
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|| Err(panicked())))
        .collect()
}
