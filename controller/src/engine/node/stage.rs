//! Brings a patch to a node: only what the node does not have, and after a break from where the node stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use midflight_proto::agent::v1 as pb;

use crate::engine::link::Link;
use crate::engine::node::Order;
use crate::engine::payload::Payload;
use crate::transport::CallError;

/// Brings the patches that may stand on the way, and the one that is ordered.
pub(super) async fn stage_all(
    link: &Link,
    order: &Order,
    key: &pb::Key,
    payload: &Arc<Payload>,
) -> Result<(), CallError> {
    for patch in payload.through.iter().chain([payload]) {
        stage(link, order, key, patch).await?;
    }
    Ok(())
}

/// Patches up to so many bytes go to a node whole before it is asked what it has of them.
const AT_ONCE: usize = 1 << 20;
/// The agent's code for bytes that do not continue what it has.
const HAS_SOME: &str = "MF0412";

/// Brings what the node does not have. Most nodes have nothing of a patch, so that all of it goes with the first question;
/// a node that has something says so, and from then on it goes on where the node stopped.
async fn stage(
    link: &Link,
    order: &Order,
    key: &pb::Key,
    payload: &Arc<Payload>,
) -> Result<(), CallError> {
    let limit = order.timeouts.stage.get();
    let key = &pb::Key {
        patch_digest: payload.digest.clone(),
        ..key.clone()
    };
    let whole = &AtomicBool::new(payload.size() <= AT_ONCE);
    link.patiently(limit, limit, |agent| async move {
        let header = payload.header(key, order.epoch);
        if whole.swap(false, Ordering::Relaxed) {
            let all = payload.clone().missing(&[]);
            let parts = futures::stream::iter([header.clone()].into_iter().chain(all));
            match agent.stage(parts.boxed()).await {
                Ok(have) if have.complete => return Ok(()),
                Ok(_) => {}
                Err(CallError::Failed(failure)) if failure.code == HAS_SOME => {}
                Err(error) => return Err(error),
            }
        }
        let have = agent
            .stage(futures::stream::iter([header.clone()]).boxed())
            .await?;
        if have.complete {
            return Ok(());
        }
        let chunks = payload.clone().missing(&have.blobs);
        let have = agent
            .stage(futures::stream::iter([header].into_iter().chain(chunks)).boxed())
            .await?;
        if have.complete {
            return Ok(());
        }
        Err(CallError::Lost {
            source: "the node has not all of the patch yet".into(),
        })
    })
    .await
}
