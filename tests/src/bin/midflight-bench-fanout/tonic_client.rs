//! The peer: a client as one would first write it with tonic. One channel a node as its documentation shows it, so many nodes
//! at a time, five calls each: describe, stage, upgrade, confirm, finish. It keeps no journal, asks no gate and retries nothing.

use std::{fs, path::Path, sync::Arc, time::Duration};

use midflight_patch::Bundle;
use midflight_proto::agent::v1::{self as pb, node_agent_client::NodeAgentClient};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_stream::{StreamExt as _, iter};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::Result;

/// Nodes at a time.
const CONCURRENCY: usize = 512;

/// One node's address in the inventory that the simulator wrote.
struct Place {
    name: String,
    url: String,
}

struct Job {
    ca: String,
    identity: (String, String),
    bundle: Bundle,
    key: pb::Key,
}

/// Patches every node of a folder's fleet. The connections stay until the end.
pub(crate) fn main(folder: &Path) -> Result<()> {
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let bundle = Bundle::read(&folder.join("patch-2.bundle"))?;
    let job = Arc::new(Job {
        ca: read("pki/ca.pem")?,
        identity: (read("pki/controller.pem")?, read("pki/controller.key")?),
        key: pb::Key {
            rollout_id: "tonic".to_owned(),
            patch_digest: bundle.digest().to_string(),
            attempt: 1,
        },
        bundle,
    });
    let places = places(&read("fleet.yaml")?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        let mut nodes: JoinSet<Result<_>> = JoinSet::new();
        for place in places {
            let (job, permits) = (job.clone(), permits.clone());
            nodes.spawn(async move {
                let _permit = permits.acquire_owned().await?;
                patch(&job, &place)
                    .await
                    .map_err(|error| format!("{}: {error}", place.name).into())
            });
        }
        let mut held: Vec<NodeAgentClient<Channel>> = Vec::new();
        while let Some(node) = nodes.join_next().await {
            held.push(node??);
        }
        Result::<()>::Ok(())
    })
}

async fn patch(job: &Job, place: &Place) -> Result<NodeAgentClient<Channel>> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&job.ca))
        .identity(Identity::from_pem(&job.identity.0, &job.identity.1))
        .domain_name(&place.name);
    let channel = Endpoint::from_shared(place.url.clone())?
        .connect_timeout(Duration::from_secs(30))
        .tls_config(tls)?
        .connect()
        .await?;
    let mut agent = NodeAgentClient::new(channel);
    agent.describe(pb::DescribeRequest::default()).await?;
    agent.stage(iter(stage(job))).await?;
    let orders = iter([
        pb::upgrade_request::Body::Open(pb::UpgradeOpen {
            key: Some(job.key.clone()),
            epoch: 1,
            ..Default::default()
        }),
        pb::upgrade_request::Body::Phases(pb::OpenPhases {
            phases: (pb::Phase::Prepare as i32..=pb::Phase::Resume as i32).collect(),
        }),
    ]);
    let orders = orders.map(|body| pb::UpgradeRequest { body: Some(body) });
    let mut steps = agent.upgrade(orders).await?.into_inner();
    let mut resumed = false;
    while let Some(step) = steps.next().await {
        resumed |= step?.resumed.is_some();
    }
    if !resumed {
        return Err("it did not resume".into());
    }
    for finish in [false, true] {
        let request = pb::ConfirmRequest {
            key: Some(job.key.clone()),
            finish,
            reason: String::new(),
            epoch: 1,
        };
        agent.confirm(request).await?;
    }
    Ok(agent)
}

fn stage(job: &Job) -> Vec<pb::StageRequest> {
    let header = pb::stage_request::Body::Header(pb::StageHeader {
        key: Some(job.key.clone()),
        manifest: job.bundle.manifest_bytes.clone().into(),
        signatures: job.bundle.signatures.clone(),
        ..Default::default()
    });
    let chunk = |(digest, data): (&midflight_patch::Digest, &Vec<u8>)| {
        pb::stage_request::Body::Chunk(pb::BlobChunk {
            digest: digest.to_string(),
            offset: 0,
            data: data.clone().into(),
        })
    };
    let chunks = job.bundle.blobs.iter().map(chunk);
    let bodies = std::iter::once(header).chain(chunks);
    bodies
        .map(|body| pb::StageRequest { body: Some(body) })
        .collect()
}

/// Lines of the form `name: {address: A, port: P, …}`.
fn places(inventory: &str) -> Vec<Place> {
    let read = |line: &str| {
        let (name, rest) = line.trim().split_once(": {address: ")?;
        let (address, rest) = rest.split_once(", port: ")?;
        let (port, _) = rest.split_once(',')?;
        Some(Place {
            name: name.to_owned(),
            url: format!("https://{address}:{port}"),
        })
    };
    inventory.lines().filter_map(read).collect()
}
