//! The phases one by one, by a controller that speaks gRPC itself: what happens between them.

use std::fs;

use midflight_patch::Bundle;
use midflight_proto::agent::v1::{
    self as pb, OpenPhases, Phase, StageHeader, StageRequest, StepStatus, SysReplaceState,
    SysRequest, UpgradeOpen, UpgradeRequest, node_agent_client::NodeAgentClient, stage_request,
    sys_request, upgrade_request,
};
use midflight_tests::Fleet;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub(crate) async fn connect(fleet: &Fleet, who: &str) -> NodeAgentClient<Channel> {
    let read = |name: &str| fs::read(fleet.path(name)).expect("the pki is there");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("pki/ca.pem")))
        .identity(Identity::from_pem(
            read(&format!("pki/{who}.pem")),
            read(&format!("pki/{who}.key")),
        ))
        .domain_name("n1");
    let endpoint = Endpoint::from_shared(format!("https://{}:7400", fleet.nodes[0].address))
        .expect("an address");
    let channel = endpoint
        .tls_config(tls)
        .expect("the pki is good")
        .connect()
        .await
        .expect("the agent answers");
    NodeAgentClient::new(channel)
}

pub(crate) fn key(bundle: &Bundle, rollout: &str) -> pb::Key {
    pb::Key {
        rollout_id: rollout.into(),
        patch_digest: bundle.digest().to_string(),
        attempt: 1,
    }
}

pub(crate) async fn stage(agent: &mut NodeAgentClient<Channel>, bundle: &Bundle, rollout: &str) {
    let header = StageHeader {
        key: Some(key(bundle, rollout)),
        manifest: bundle.manifest_bytes.clone().into(),
        signatures: bundle.signatures.clone(),
        epoch: 1,
    };
    let header = StageRequest {
        body: Some(stage_request::Body::Header(header)),
    };
    let asked = agent
        .stage(tokio_stream::iter([header.clone()]))
        .await
        .expect("the header is good")
        .into_inner();
    let mut messages = vec![header];
    for blob in asked.blobs {
        let (_, bytes) = bundle
            .blobs
            .iter()
            .find(|(digest, _)| digest.to_string() == blob.digest)
            .expect("a blob of the bundle");
        let mut offset = blob.received;
        for data in bytes[offset as usize..].chunks(200 << 10) {
            let chunk = pb::BlobChunk {
                digest: blob.digest.clone(),
                offset,
                data: data.to_vec().into(),
            };
            messages.push(StageRequest {
                body: Some(stage_request::Body::Chunk(chunk)),
            });
            offset += data.len() as u64;
        }
    }
    let answer = agent
        .stage(tokio_stream::iter(messages))
        .await
        .expect("it is staged")
        .into_inner();
    assert!(answer.complete);
}

fn phases(all: &[Phase]) -> UpgradeRequest {
    let phases = all.iter().map(|&p| p as i32).collect();
    UpgradeRequest {
        body: Some(upgrade_request::Body::Phases(OpenPhases { phases })),
    }
}

pub(crate) struct Upgrade {
    ask: mpsc::Sender<UpgradeRequest>,
    events: tonic::Streaming<pb::StepEvent>,
}

async fn open(
    agent: &mut NodeAgentClient<Channel>,
    key: pb::Key,
) -> Result<Upgrade, tonic::Status> {
    let open = UpgradeOpen {
        key: Some(key),
        pause_budget_ms: 5_000,
        prepare_timeout_ms: 60_000,
        ..UpgradeOpen::default()
    };
    open_as(agent, open).await
}

pub(crate) async fn open_as(
    agent: &mut NodeAgentClient<Channel>,
    open: UpgradeOpen,
) -> Result<Upgrade, tonic::Status> {
    let (ask, requests) = mpsc::channel(8);
    let first = UpgradeRequest {
        body: Some(upgrade_request::Body::Open(open)),
    };
    ask.send(first).await.expect("the stream is open");
    let events = agent
        .upgrade(ReceiverStream::new(requests))
        .await?
        .into_inner();
    Ok(Upgrade { ask, events })
}

impl Upgrade {
    /// Asks for phases and waits until the last of them ended.
    pub(crate) async fn run(&mut self, all: &[Phase]) -> pb::StepEvent {
        self.ask
            .send(phases(all))
            .await
            .expect("the stream is open");
        let last = *all.last().expect("some phase");
        loop {
            let event = self
                .events
                .next()
                .await
                .expect("an event")
                .expect("no error");
            let ended = event.status() != StepStatus::Started;
            if ended && (event.phase() == last || event.status() != StepStatus::Done) {
                return event;
            }
        }
    }
}

pub(crate) fn patch(fleet: &Fleet, name: &str, file: &str, extra: &str) -> Bundle {
    let path = fleet.counter_patch(name, "1.0.0", "2.0.0", file, extra);
    Bundle::read(&fleet.path(&path)).expect("it was just built")
}

#[tokio::test]
async fn the_1000th_code_change_fails_inside_the_pause_after_a_clean_prepare_and_nothing_changed() {
    let fleet = Fleet::start(1);
    let bundle = patch(&fleet, "bad", "counter_bad_error.wasm", "{fail_at: 77}");
    let mut agent = connect(&fleet, "controller").await;
    stage(&mut agent, &bundle, "r-1").await;
    let mut upgrade = open(&mut agent, key(&bundle, "r-1"))
        .await
        .expect("it opens");
    let prepared = upgrade.run(&[Phase::Prepare]).await;
    assert_eq!(prepared.status(), StepStatus::Done);
    assert_eq!(
        prepared.prepared.map(|p| (p.actors, p.dirty)),
        Some((1000, 0)),
        "prepare is clean"
    );

    let replace = SysRequest {
        actor: Some(sys_request::Actor::Name("counter.1000".into())),
        timeout_ms: 0,
        op: Some(sys_request::Op::ReplaceState(SysReplaceState {
            state: "77".into(),
        })),
    };
    connect(&fleet, "debugger")
        .await
        .sys(replace)
        .await
        .expect("the state is replaced");

    let failed = upgrade
        .run(&[Phase::Suspend, Phase::Load, Phase::Migrate, Phase::Resume])
        .await;
    assert_eq!(
        (failed.phase(), failed.status()),
        (Phase::Migrate, StepStatus::Failed),
        "{failed:?}"
    );
    let failure = failed.failure.expect("it says why");
    assert_eq!(failure.actors.len(), 1);
    assert_eq!(failure.actors[0].name, "counter.1000");
    assert!(!failure.changed);
    let mut gateway = fleet.gateway(0);
    for n in 1..=1000 {
        let wanted = if n == 1000 { "77" } else { "0" };
        assert_eq!(gateway.ask("get", &format!("counter.{n}")), wanted);
    }
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
    assert_eq!(gateway.ask("inc", "counter.1000"), "78");
}

#[tokio::test]
async fn two_upgrades_at_once_one_is_refused() {
    let fleet = Fleet::start(1);
    let (one, two) = (
        patch(&fleet, "one", "counter_v2.wasm", "1"),
        patch(&fleet, "two", "counter_v2.wasm", "2"),
    );
    let mut agent = connect(&fleet, "controller").await;
    stage(&mut agent, &one, "r-one").await;
    stage(&mut agent, &two, "r-two").await;
    let mut first = open(&mut agent, key(&one, "r-one"))
        .await
        .expect("the first opens");
    assert_eq!(
        first.run(&[Phase::Prepare]).await.status(),
        StepStatus::Done
    );
    let refused = open(&mut agent, key(&two, "r-two"))
        .await
        .map(drop)
        .expect_err("the second is refused");
    let failure = pb::Failure::from_status(&refused).expect("it says why");
    assert!(
        failure.refused && !failure.changed && failure.to_string().contains("r-one"),
        "{failure}"
    );
    let done = first
        .run(&[Phase::Suspend, Phase::Load, Phase::Migrate, Phase::Resume])
        .await;
    assert_eq!(
        (done.phase(), done.status()),
        (Phase::Resume, StepStatus::Done)
    );
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "1.0.0".into()));
}

#[tokio::test]
async fn a_stream_that_breaks_inside_the_pause_leaves_the_old_code_running_with_what_waited() {
    let fleet = Fleet::start(1);
    let bundle = patch(&fleet, "good", "counter_v2.wasm", "null");
    let mut agent = connect(&fleet, "controller").await;
    stage(&mut agent, &bundle, "r-1").await;
    let mut upgrade = open(&mut agent, key(&bundle, "r-1"))
        .await
        .expect("it opens");
    assert_eq!(
        upgrade
            .run(&[Phase::Prepare, Phase::Suspend, Phase::Load])
            .await
            .status(),
        StepStatus::Done
    );
    let mut gateway = fleet.gateway(0);
    gateway.begin("inc", "counter.1");
    drop(upgrade);
    drop(agent);
    assert_eq!(gateway.answer(), "1");
    assert_eq!(
        fleet.state(0, "counter.1"),
        1,
        "the old code's state is a number"
    );
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
}
