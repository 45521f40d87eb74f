//! One node for a test: its files, its agent, and clients of every role.

pub mod bundles;
pub mod pki;
pub mod values;

use std::{fs, path::Path, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use midflight_agent::{Config, Error, Server};
use midflight_patch::{Bundle, Digest};
use midflight_proto::agent::v1::{
    self as pb, Failure, node_agent_client::NodeAgentClient, stage_request, upgrade_request,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use self::{
    bundles::Signers,
    pki::Pki,
    values::{Control, Values},
};

pub type Client = NodeAgentClient<Channel>;

/// A node's files, and its agent while it runs.
pub struct Node {
    pub folder: TempDir,
    pub pki: Pki,
    pub signers: Signers,
    pub control: Arc<Control>,
    pub server: Option<Server>,
}

impl Node {
    /// A node that runs release 1 of `app`: modules `counter` and `greeter`, three counters.
    pub async fn start() -> Self {
        Self::start_with("sys: true\n").await
    }

    /// The same, with more lines in its configuration.
    pub async fn start_with(more: &str) -> Self {
        let mut node = Self::prepare(more);
        node.boot().await.unwrap();
        node
    }

    /// Its files alone.
    pub fn prepare(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (pki, signers) = (Pki::new(folder.path()), Signers::new(folder.path()));
        let mut release = bundles::release();
        signers.sign(&mut release, "ann");
        release.write(&folder.path().join("release.tar")).unwrap();
        let text = format!(
            "node: web1.eu\ndata_dir: data\nboot: release.tar\nallowed_signers: allowed_signers\n\
             listen:\n  tcp: {{address: 127.0.0.1:0, cert: agent.pem, key: agent.key, client_ca: ca.pem}}\n  \
             unix: {{path: agent.sock}}\n{more}"
        );
        fs::write(folder.path().join("agent.yaml"), text).unwrap();
        let control = Arc::default();
        Self {
            folder,
            pki,
            signers,
            control,
            server: None,
        }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the agent on a new target.
    pub async fn boot(&mut self) -> Result<(), Error> {
        let config = Config::read(&self.path("agent.yaml"))?;
        self.control = Arc::default();
        self.server =
            Some(Server::start(&config, Arc::new(Values::new(self.control.clone()))).await?);
        Ok(())
    }

    /// Stops the agent, and starts it again with the same data directory. To the journal this is what a crash is: nothing
    /// is written on the way out.
    pub async fn restart(&mut self) {
        self.server.take().unwrap().stop().await;
        self.boot().await.unwrap();
    }

    pub async fn client(&self, role: &str) -> Client {
        self.pki
            .client(self.server.as_ref().unwrap().address().unwrap(), Some(role))
            .await
            .unwrap()
    }

    pub async fn operator(&self) -> Client {
        self.client("operator").await
    }

    /// What runs, and what is permanent.
    pub async fn releases(&self) -> (String, String) {
        let mut client = self.client("viewer").await;
        let described = client
            .describe(pb::DescribeRequest::default())
            .await
            .unwrap()
            .into_inner();
        (
            described.current.unwrap().vsn,
            described.permanent.unwrap().vsn,
        )
    }

    /// Stages a patch signed by Ann, and gives the key of rollout `rollout`.
    pub async fn staged(&self, rollout: &str, patch: &Bundle) -> pb::Key {
        let mut patch = patch.clone();
        self.signers.sign(&mut patch, "ann");
        let key = key(rollout, &patch);
        let response = stage(&mut self.operator().await, &key, &patch)
            .await
            .unwrap();
        assert!(response.complete);
        key
    }

    /// What the agent says of the node, and of one order.
    pub async fn described(&self, key: Option<&pb::Key>) -> pb::DescribeResponse {
        let request = pb::DescribeRequest {
            key: key.cloned(),
            ..pb::DescribeRequest::default()
        };
        let mut client = self.client("viewer").await;
        client.describe(request).await.unwrap().into_inner()
    }

    /// Asks until what the agent says of an order is so.
    pub async fn until_asked(
        &self,
        key: &pb::Key,
        good: impl Fn(&pb::UpgradeStatus) -> bool,
    ) -> pb::UpgradeStatus {
        within(async {
            loop {
                let asked = self.described(Some(key)).await.asked;
                if let Some(asked) = asked.filter(&good) {
                    return asked;
                }
            }
        })
        .await
    }

    /// Stages a patch and drives it through resume.
    pub async fn upgraded(&self, rollout: &str, patch: &Bundle) -> pb::Key {
        self.upgraded_as(rollout, patch, pb::UpgradeOpen::default())
            .await
    }

    /// The same, with more said in the order.
    pub async fn upgraded_as(
        &self,
        rollout: &str,
        patch: &Bundle,
        open: pb::UpgradeOpen,
    ) -> pb::Key {
        let key = self.staged(rollout, patch).await;
        let open = pb::UpgradeOpen {
            key: Some(key.clone()),
            ..open
        };
        let order = Order::open_as(&mut self.operator().await, open)
            .await
            .unwrap();
        order.phases(&ALL).await;
        let steps = order.rest().await;
        let last = steps.last().unwrap();
        assert_eq!(
            (last.phase(), last.status()),
            (pb::Phase::Resume, pb::StepStatus::Done),
            "{steps:#?}"
        );
        key
    }
}

pub const ALL: [pb::Phase; 5] = [
    pb::Phase::Prepare,
    pb::Phase::Suspend,
    pb::Phase::Load,
    pb::Phase::Migrate,
    pb::Phase::Resume,
];

pub fn key(rollout: &str, patch: &Bundle) -> pb::Key {
    pb::Key {
        rollout_id: rollout.into(),
        patch_digest: patch.digest().to_string(),
        attempt: 1,
    }
}

pub fn header(key: &pb::Key, patch: &Bundle) -> pb::StageRequest {
    let header = pb::StageHeader {
        key: Some(key.clone()),
        manifest: patch.manifest_bytes.clone().into(),
        signatures: patch.signatures.clone(),
        epoch: 1,
    };
    pb::StageRequest {
        body: Some(stage_request::Body::Header(header)),
    }
}

pub fn chunk(digest: &Digest, offset: u64, data: &[u8]) -> pb::StageRequest {
    let chunk = pb::BlobChunk {
        digest: digest.to_string(),
        offset,
        data: data.to_vec().into(),
    };
    pb::StageRequest {
        body: Some(stage_request::Body::Chunk(chunk)),
    }
}

pub async fn send(
    client: &mut Client,
    requests: Vec<pb::StageRequest>,
) -> Result<pb::StageResponse, Status> {
    client
        .stage(futures::stream::iter(requests))
        .await
        .map(tonic::Response::into_inner)
}

/// Sends the whole patch.
pub async fn stage(
    client: &mut Client,
    key: &pb::Key,
    patch: &Bundle,
) -> Result<pb::StageResponse, Status> {
    let status = send(client, vec![header(key, patch)]).await?;
    let mut requests = vec![header(key, patch)];
    for blob in status.blobs.iter().filter(|blob| blob.received < blob.size) {
        let digest = blob.digest.parse().unwrap();
        let rest = &patch.blobs[&digest][usize::try_from(blob.received).unwrap()..];
        let offsets = (blob.received..).step_by(200_000);
        requests.extend(
            rest.chunks(200_000)
                .zip(offsets)
                .map(|(data, offset)| chunk(&digest, offset, data)),
        );
    }
    send(client, requests).await
}

/// One upgrade stream.
pub struct Order {
    requests: mpsc::Sender<pb::UpgradeRequest>,
    pub steps: Streaming<pb::StepEvent>,
}

impl Order {
    pub async fn open(client: &mut Client, key: &pb::Key) -> Result<Self, Status> {
        Self::open_with(client, key, 500).await
    }

    pub async fn open_with(
        client: &mut Client,
        key: &pb::Key,
        pause_budget_ms: u32,
    ) -> Result<Self, Status> {
        Self::open_through(client, key, pause_budget_ms, &[]).await
    }

    /// The same, with patches that may stand on the way.
    pub async fn open_through(
        client: &mut Client,
        key: &pb::Key,
        pause_budget_ms: u32,
        through: &[&pb::Key],
    ) -> Result<Self, Status> {
        let through = through.iter().map(|key| key.patch_digest.clone());
        let open = pb::UpgradeOpen {
            key: Some(key.clone()),
            pause_budget_ms,
            through: through.collect(),
            ..Default::default()
        };
        Self::open_as(client, open).await
    }

    /// The order, word by word.
    pub async fn open_as(client: &mut Client, open: pb::UpgradeOpen) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(8);
        requests
            .send(request(upgrade_request::Body::Open(open)))
            .await
            .unwrap();
        let steps = client
            .upgrade(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        Ok(Self { requests, steps })
    }

    pub async fn phases(&self, phases: &[pb::Phase]) {
        let phases = phases.iter().map(|phase| (*phase).into()).collect();
        self.requests
            .send(request(upgrade_request::Body::Phases(pb::OpenPhases {
                phases,
            })))
            .await
            .unwrap();
    }

    pub async fn abort(&self, reason: &str) {
        let abort = pb::Abort {
            reason: reason.into(),
        };
        self.requests
            .send(request(upgrade_request::Body::Abort(abort)))
            .await
            .unwrap();
    }

    pub async fn step(&mut self) -> pb::StepEvent {
        within(self.steps.next()).await.unwrap().unwrap()
    }

    /// Reads until this phase has this status.
    pub async fn until(&mut self, phase: pb::Phase, status: pb::StepStatus) -> pb::StepEvent {
        loop {
            let step = self.step().await;
            if (step.phase(), step.status()) == (phase, status) {
                return step;
            }
        }
    }

    /// Everything to the end of the stream; the sending half stays open.
    pub async fn rest(self) -> Vec<pb::StepEvent> {
        all(self.steps).await
    }
}

fn request(body: upgrade_request::Body) -> pb::UpgradeRequest {
    pb::UpgradeRequest { body: Some(body) }
}

/// Every step of a stream.
pub async fn all(steps: impl Stream<Item = Result<pb::StepEvent, Status>>) -> Vec<pb::StepEvent> {
    within(steps.map(Result::unwrap).collect()).await
}

/// A deadline for what should happen soon.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("it happens within 10 s")
}

/// The failure in a status, and the code under which it came.
pub fn failure<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, Failure) {
    let status = result.unwrap_err();
    let failure =
        Failure::from_status(&status).unwrap_or_else(|| panic!("no failure in {status:?}"));
    assert!(
        !failure.hint.is_empty() || failure.code.starts_with("MF03"),
        "{failure}"
    );
    (status.code(), failure)
}

/// The journal's entries, as JSON.
pub fn journal(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("data/journal")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["entry"].clone())
        .collect()
}
