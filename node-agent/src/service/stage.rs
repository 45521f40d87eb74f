//! Stage: a signed patch arrives, in as many calls as it takes. The header is verified before anything is stored; then each
//! chunk must continue what is here; at the end everything is read back, compiled and written down. Staging what is here
//! already answers at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use midflight_patch::{Digest, Manifest, limits};
use midflight_proto::agent::v1::{self as pb, stage_request::Body};
use midflight_proto::peer::Peer;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Service;
use crate::{
    agent::{Agent, MAX_STAGES},
    error::Error,
    journal::{Entry, StagedPatch},
    key::Key,
    store::{Pin, pin},
};

/// Most bytes of one chunk.
const MAX_CHUNK: usize = 256 << 10;
/// How long a stage may be silent; it takes one of few places.
const SILENCE: Duration = Duration::from_secs(30);

/// A patch whose header is good.
struct Plan {
    key: Key,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    signatures: Vec<String>,
    signers: Vec<String>,
    /// Each blob once, with its size.
    sizes: BTreeMap<Digest, u64>,
    _pin: Pin,
}

impl Service {
    pub(super) async fn stage_stream(
        &self,
        peer: Peer,
        mut stream: Streaming<pb::StageRequest>,
    ) -> Result<pb::StageResponse, Error> {
        let start = self.agent.clock.now();
        self.agent.check_running()?;
        let permit = self.agent.stages.clone().try_acquire_owned();
        let _permit = permit.map_err(|_| Error::TooManyStages { most: MAX_STAGES })?;
        let Some(Body::Header(header)) = next(&mut stream).await? else {
            return Err(request("body", "must be a header in the first message"));
        };
        let plan = self
            .blocking("check of the header", move |agent| {
                plan(agent, &peer, header)
            })
            .await??;
        let plan = Arc::new(plan);
        loop {
            match next(&mut stream).await? {
                None => break,
                Some(Body::Header(_)) => return Err(request("body", "holds a second header")),
                Some(Body::Chunk(chunk)) => {
                    let plan = plan.clone();
                    self.blocking("writing of a chunk", move |agent| {
                        append(agent, &plan, &chunk)
                    })
                    .await??;
                }
            }
        }
        let mut response = self
            .blocking("staging", move |agent| complete(agent, &plan))
            .await??;
        response.elapsed_us = crate::journal::micros(self.agent.clock.now().saturating_sub(start));
        Ok(response)
    }
}

async fn next(stream: &mut Streaming<pb::StageRequest>) -> Result<Option<Body>, Error> {
    let broken = |status: Status| request("stream", &format!("broke: {}", status.message()));
    let message = timeout(SILENCE, stream.message())
        .await
        .map_err(|_| request("stream", "was silent for 30 s"))?;
    match message.map_err(broken)? {
        None => Ok(None),
        Some(message) => message
            .body
            .map(Some)
            .ok_or_else(|| request("body", "is missing")),
    }
}

/// Checks a header. Blocks. Nothing is stored yet, but for the refusal.
fn plan(agent: &Arc<Agent>, peer: &Peer, header: pb::StageHeader) -> Result<Plan, Error> {
    let key = Key::read(header.key.as_ref())?;
    verify(agent, key.clone(), header)
        .inspect_err(|error| agent.refuse("stage", Some(&key), peer, Vec::new(), error))
}

fn verify(agent: &Arc<Agent>, key: Key, header: pb::StageHeader) -> Result<Plan, Error> {
    let pb::StageHeader {
        manifest: bytes,
        signatures,
        epoch,
        ..
    } = header;
    let state = agent.book.state();
    state.check_epoch(&key.rollout, epoch.max(1))?;
    if bytes.len() as u64 > limits::MANIFEST {
        return Err(request("manifest", "is longer than 1 MiB"));
    }
    if signatures.len() as u64 > limits::SIGNATURES {
        return Err(request("signatures", "are more than 64"));
    }
    if Digest::of(&bytes) != key.patch {
        return Err(request(
            "key.patch_digest",
            "is not the digest of the manifest",
        ));
    }
    let what = format!("patch {}", key.patch.short());
    let signers = agent
        .trust
        .verify(&what, &bytes, &signatures, agent.clock.wall())?;
    let manifest = Manifest::parse(&bytes).map_err(Error::patch(&what))?;
    if manifest.is_release() {
        let (name, vsn) = (manifest.name.clone(), manifest.to.clone());
        let source = midflight_patch::Error::WrongKind {
            name,
            vsn,
            have: "release",
            want: "patch",
        };
        return Err(Error::patch(what)(source));
    }
    let sizes: BTreeMap<_, _> = manifest
        .modules
        .iter()
        .map(|module| (module.blob, module.size))
        .collect();
    let pin = pin(&agent.store, sizes.keys().copied().collect());
    Ok(Plan {
        key,
        manifest,
        manifest_bytes: bytes.to_vec(),
        signatures,
        signers,
        sizes,
        _pin: pin,
    })
}

fn append(agent: &Agent, plan: &Plan, chunk: &pb::BlobChunk) -> Result<(), Error> {
    let bad = |problem: &str| Error::Chunk {
        digest: chunk.digest.chars().take(80).collect(),
        offset: chunk.offset,
        problem: problem.to_owned(),
    };
    if chunk.data.len() > MAX_CHUNK {
        return Err(bad("it is longer than 256 KiB"));
    }
    let digest: Digest = chunk.digest.parse().map_err(|_| bad("that is no digest"))?;
    let size = *plan
        .sizes
        .get(&digest)
        .ok_or_else(|| bad("the patch has no such blob"))?;
    agent.store.append(&digest, size, chunk.offset, &chunk.data)
}

/// Says what is here; if that is everything, reads it back, compiles it and writes it down. Blocks.
fn complete(agent: &Agent, plan: &Plan) -> Result<pb::StageResponse, Error> {
    let mut seen = BTreeSet::new();
    let mut blobs = Vec::new();
    for module in plan
        .manifest
        .modules
        .iter()
        .filter(|module| seen.insert(module.blob))
    {
        let received = agent.store.received(&module.blob, module.size);
        blobs.push(pb::BlobStatus {
            digest: module.blob.to_string(),
            size: module.size,
            received,
        });
    }
    let complete = plan.sizes.keys().all(|blob| agent.store.has(blob));
    if complete {
        compile(agent, plan)?;
        remember(agent, plan)?;
    }
    Ok(pb::StageResponse {
        blobs,
        complete,
        elapsed_us: 0,
        signers: plan.signers.clone(),
    })
}

fn compile(agent: &Agent, plan: &Plan) -> Result<(), Error> {
    if agent.compiled.lock().contains(&plan.key.patch) {
        return Ok(());
    }
    for module in &plan.manifest.modules {
        agent
            .target
            .stage(&module.name, &module.blob, &agent.store.read(&module.blob)?)?;
    }
    agent.compiled.lock().insert(plan.key.patch);
    Ok(())
}

fn remember(agent: &Agent, plan: &Plan) -> Result<(), Error> {
    let signatures = serde_json::to_vec(&plan.signatures)
        .map_err(|error| request("signatures", &error.to_string()))?;
    // Nothing is collected until the journal names all of it; the blobs themselves are pinned by the plan.
    let _collecting = agent.collecting.lock();
    let patch = StagedPatch {
        manifest: agent.store.put(&plan.manifest_bytes)?,
        signatures: agent.store.put(&signatures)?,
        blobs: plan.sizes.keys().copied().collect(),
    };
    if agent
        .book
        .state()
        .staged
        .get(&patch.manifest)
        .is_some_and(|known| **known == patch)
    {
        return Ok(());
    }
    agent.book.record(&Entry::Staged {
        patch,
        signers: plan.signers.clone(),
    })?;
    agent.events.add(
        "upgrade",
        format!("staged: {}", plan.manifest.to),
        Some(&plan.key),
        None,
    );
    Ok(())
}

fn request(field: &'static str, problem: &str) -> Error {
    Error::Request {
        field,
        problem: problem.to_owned(),
    }
}
