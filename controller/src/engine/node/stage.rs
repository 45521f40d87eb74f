//! Brings a patch to a node: only what the node does not have, and after a break from where the node stopped.

use std::sync::Arc;

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

/// Brings what the node does not have. Asked again after a break, it goes on where the node stopped.
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
    link.patiently(limit, limit, |agent| async move {
        let header = payload.header(key, order.epoch);
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
