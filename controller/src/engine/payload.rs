//! A patch as the engine carries it to many nodes: the bytes of a bundle, shared and not copied, cut into the messages of the
//! protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use midflight_patch::{Bundle, Manifest};
use midflight_proto::agent::v1 as pb;
use tonic::codegen::Bytes;

/// Most bytes of one chunk, as the protocol bounds it.
const CHUNK: usize = 256 * 1024;

/// A signed patch, ready to be staged.
#[derive(Debug)]
pub struct Payload {
    /// What the patch is.
    pub manifest: Manifest,
    /// Its digest, `sha256:` and 64 hex digits.
    pub digest: String,
    manifest_bytes: Bytes,
    signatures: Vec<String>,
    blobs: Vec<(String, Bytes)>,
    /// Patches that may stand on the way to this one.
    pub through: Vec<Arc<Payload>>,
}

impl From<Bundle> for Payload {
    fn from(bundle: Bundle) -> Self {
        let digest = bundle.digest().to_string();
        let blobs = bundle
            .blobs
            .into_iter()
            .map(|(digest, bytes)| (digest.to_string(), bytes.into()))
            .collect();
        Self {
            manifest: bundle.manifest,
            digest,
            manifest_bytes: bundle.manifest_bytes.into(),
            signatures: bundle.signatures,
            blobs,
            through: Vec::new(),
        }
    }
}

impl Payload {
    /// A patch with those that may stand on the way to it.
    #[must_use]
    pub fn with(bundle: Bundle, through: Vec<Bundle>) -> Self {
        let through = through.into_iter().map(Self::from).map(Arc::new);
        Self {
            through: through.collect(),
            ..Self::from(bundle)
        }
    }

    /// Bytes of all its blobs.
    #[must_use]
    pub fn size(&self) -> usize {
        self.blobs.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// The first message of every stage call.
    #[must_use]
    pub fn header(&self, key: &pb::Key, epoch: u64) -> pb::StageRequest {
        let header = pb::StageHeader {
            key: Some(key.clone()),
            manifest: self.manifest_bytes.clone(),
            signatures: self.signatures.clone(),
            epoch,
        };
        pb::StageRequest {
            body: Some(pb::stage_request::Body::Header(header)),
        }
    }

    /// The messages that bring what is missing, as the node told it in answer to the header. Bytes are shared.
    pub fn missing(
        self: Arc<Self>,
        blobs: &[pb::BlobStatus],
    ) -> impl Iterator<Item = pb::StageRequest> + Send + use<> {
        let received: BTreeMap<String, u64> = blobs
            .iter()
            .map(|blob| (blob.digest.clone(), blob.received))
            .collect();
        (0..self.blobs.len()).flat_map(move |index| {
            let (digest, bytes) = self.blobs[index].clone();
            let start = received
                .get(&digest)
                .map_or(0, |bytes| usize::try_from(*bytes).unwrap_or(usize::MAX));
            let start = start.min(bytes.len());
            (start..bytes.len()).step_by(CHUNK).map(move |offset| {
                let data = bytes.slice(offset..bytes.len().min(offset + CHUNK));
                let chunk = pb::BlobChunk {
                    digest: digest.clone(),
                    offset: offset as u64,
                    data,
                };
                pb::StageRequest {
                    body: Some(pb::stage_request::Body::Chunk(chunk)),
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(sizes: &[usize]) -> Arc<Payload> {
        let manifest = serde_json::json!({
            "schema": 1, "name": "demo", "from": "1", "to": "2", "world": midflight_patch::WORLD,
            "modules": [], "start": [], "listen": null,
        });
        let blobs = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| (format!("b{i}"), vec![7u8; *size].into()))
            .collect();
        Arc::new(Payload {
            manifest: serde_json::from_value(manifest).unwrap(),
            digest: "sha256:0".into(),
            manifest_bytes: Bytes::new(),
            signatures: Vec::new(),
            blobs,
            through: Vec::new(),
        })
    }

    fn offsets(payload: &Arc<Payload>, received: &[(&str, u64)]) -> Vec<(String, u64, usize)> {
        let status = |(digest, received): &(&str, u64)| pb::BlobStatus {
            digest: (*digest).into(),
            received: *received,
            ..Default::default()
        };
        let blobs: Vec<_> = received.iter().map(status).collect();
        let chunk = |request: pb::StageRequest| match request.body {
            Some(pb::stage_request::Body::Chunk(chunk)) => {
                (chunk.digest, chunk.offset, chunk.data.len())
            }
            other => panic!("{other:?}"),
        };
        payload.clone().missing(&blobs).map(chunk).collect()
    }

    #[test]
    fn staging_goes_on_where_the_node_stopped() {
        let payload = payload(&[CHUNK + 10, 5]);
        let all = [
            ("b0".to_owned(), 0, CHUNK),
            ("b0".to_owned(), CHUNK as u64, 10),
            ("b1".to_owned(), 0, 5),
        ];
        assert_eq!(offsets(&payload, &[]), all);
        let rest = [("b0".to_owned(), 100, CHUNK - 90), ("b1".to_owned(), 3, 2)];
        assert_eq!(offsets(&payload, &[("b0", 100), ("b1", 3)]), rest);
        assert_eq!(
            offsets(&payload, &[("b0", CHUNK as u64 + 10), ("b1", u64::MAX)]),
            []
        );
    }
}
