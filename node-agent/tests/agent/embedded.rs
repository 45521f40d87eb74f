//! Agents in one process and on one thread, on a clock that is paused: what takes minutes on a machine, and the moments in
//! which two things happen at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use futures::{StreamExt as _, future::BoxFuture};
use hyper_util::rt::TokioIo;
use midflight_agent::{
    clock::{Clock, TokioClock},
    embed::{
        Agent, Boot, Inline, MemoryBlobs, Parts, Peer, Role, Signers, Storage, Sys, Trust,
        Verified, serve,
    },
};
use midflight_proto::agent::v1::{self as pb, OnLostContact, UpgradeState};
use parking_lot::Mutex;
use tonic::transport::{Endpoint, Uri};

use crate::support::{
    ALL, Client, Node as Files, Order,
    bundles::patch,
    failure, key, stage,
    values::{Control, Values},
};

/// A clock that goes on in a jump, as a machine's does that slept: whoever waits on a timer is not woken by it.
struct Sleepy {
    awake: TokioClock,
    slept_ms: AtomicU64,
}

impl Clock for Sleepy {
    fn now(&self) -> Duration {
        self.awake.now() + Duration::from_millis(self.slept_ms.load(SeqCst))
    }

    fn wall(&self) -> SystemTime {
        self.awake.wall()
    }

    fn until(&self, at: Duration) -> BoxFuture<'static, ()> {
        let left = at.saturating_sub(self.now());
        self.awake.until(self.awake.now() + left)
    }
}

/// A disk that outlives its agent, and that can be full.
#[derive(Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Storage for Disk {
    fn place(&self) -> String {
        "a disk".to_owned()
    }

    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        Ok(self.bytes.lock().clone())
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.full.load(SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.lock().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> std::io::Result<()> {
        self.bytes.lock().truncate(usize::try_from(len).unwrap());
        Ok(())
    }
}

struct Node {
    files: Arc<Files>,
    control: Arc<Control>,
    clock: Arc<Sleepy>,
    disk: Disk,
    blobs: Arc<MemoryBlobs>,
    agent: Arc<Agent>,
}

impl Node {
    fn start() -> Self {
        Self::start_with(&Arc::new(Files::prepare("")))
    }

    /// With the keys and the release of other nodes.
    fn start_with(files: &Arc<Files>) -> Self {
        let files = files.clone();
        let (control, disk) = (Arc::<Control>::default(), Disk::default());
        let clock = Arc::new(Sleepy {
            awake: TokioClock::new(SystemTime::now()),
            slept_ms: AtomicU64::new(0),
        });
        let blobs = Arc::new(MemoryBlobs::new(Arc::default()));
        let agent = boot(&files, &control, &clock, &disk, &blobs);
        Self {
            blobs,
            files,
            control,
            clock,
            disk,
            agent,
        }
    }

    /// The agent that a restart finds.
    fn restart(&mut self) {
        self.control = Arc::default();
        self.agent = boot(
            &self.files,
            &self.control,
            &self.clock,
            &self.disk,
            &self.blobs,
        );
    }

    async fn client(&self) -> Client {
        let agent = self.agent.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let peer = Peer {
                name: "a controller".into(),
                role: Some(Role::Operator),
            };
            let agent = agent.clone();
            tokio::spawn(async move { serve(agent, theirs, peer).await.map_err(drop) });
            async move { Ok::<_, std::io::Error>(TokioIo::new(ours)) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        Client::new(endpoint.connect_with_connector(connect).await.unwrap())
    }

    async fn staged(&self, client: &mut Client, rollout: &str, to: &str) -> pb::Key {
        let mut patch = patch("1", to);
        self.files.signers.sign(&mut patch, "ann");
        let key = key(rollout, &patch);
        assert!(stage(client, &key, &patch).await.unwrap().complete);
        key
    }

    async fn upgraded(&self, client: &mut Client, lease_ms: u32, lost: OnLostContact) -> pb::Key {
        let key = self.staged(client, "r", "2").await;
        let open = pb::UpgradeOpen {
            key: Some(key.clone()),
            lease_ms,
            on_lost_contact: lost.into(),
            ..Default::default()
        };
        let order = Order::open_as(client, open).await.unwrap();
        order.phases(&ALL).await;
        order.rest().await;
        key
    }

    fn runs(&self) -> String {
        self.control.actors()[0].0.clone()
    }

    fn rollbacks(&self) -> usize {
        let calls = self.control.calls();
        calls.iter().filter(|call| *call == "rollback").count()
    }
}

fn boot(
    files: &Files,
    control: &Arc<Control>,
    clock: &Arc<Sleepy>,
    disk: &Disk,
    blobs: &Arc<MemoryBlobs>,
) -> Arc<Agent> {
    let trust = Trust {
        signers: Signers::read(&files.path("allowed_signers")).unwrap(),
        required: 1,
    };
    let release = Verified::read(&files.path("release.tar"), &trust, clock.wall()).unwrap();
    let agent = Agent::from_parts(Parts {
        node: "web1.eu".into(),
        sys: Sys::Off,
        target: Arc::new(Values::new(control.clone())),
        storage: Box::new(disk.clone()),
        store: blobs.clone(),
        trust,
        worker: Arc::new(Inline),
        clock: clock.clone(),
        boot: Boot::Read(Arc::new(release)),
        data: None,
    });
    agent.unwrap()
}

fn renew(key: &pb::Key, epoch: u64) -> pb::RenewRequest {
    pb::RenewRequest {
        key: Some(key.clone()),
        epoch,
    }
}

fn confirm(key: &pb::Key) -> pb::ConfirmRequest {
    pb::ConfirmRequest {
        key: Some(key.clone()),
        ..Default::default()
    }
}

async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn renewals_keep_a_node_in_probation_and_without_them_it_goes_back_after_the_lease() {
    let node = Node::start();
    let mut client = node.client().await;
    // 0: a minute, then back.
    let key = node
        .upgraded(&mut client, 0, OnLostContact::Unspecified)
        .await;
    for _ in 0..6 {
        after(20).await;
        let renewed = client.renew(renew(&key, 1)).await.unwrap().into_inner();
        assert_eq!(renewed.lease.unwrap().left_ms, 60_000);
    }
    after(59).await;
    assert_eq!(node.runs(), "2");
    after(2).await;
    assert_eq!(node.runs(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_longer_than_the_lease_takes_no_confirm_and_goes_back_at_once() {
    let node = Node::start();
    let mut client = node.client().await;
    let key = node
        .upgraded(&mut client, 60_000, OnLostContact::Rollback)
        .await;
    node.clock.slept_ms.store(3_600_000, SeqCst);
    let (_, late) = failure(client.confirm(confirm(&key)).await);
    assert_eq!(late.code, "MF0445");
    // Long before a timer that did not count the sleep.
    after(1).await;
    assert_eq!(node.runs(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_by_itself_that_fails_is_tried_again_and_again() {
    let node = Node::start();
    let mut client = node.client().await;
    node.control.fail("rollback");
    let key = node
        .upgraded(&mut client, 10_000, OnLostContact::Rollback)
        .await;
    after(11).await;
    assert_eq!(node.rollbacks(), 1);
    // After 5, 10, 20, 40, 60 and 60 seconds.
    after(200).await;
    assert_eq!((node.rollbacks(), node.runs()), (7, "2".to_owned()));
    assert_eq!(
        failure(client.confirm(confirm(&key)).await).1.code,
        "MF0445"
    );
    node.control.mend("rollback");
    after(60).await;
    assert_eq!((node.rollbacks(), node.runs()), (8, "1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn of_a_confirm_and_the_end_of_the_lease_in_one_moment_exactly_one_holds() {
    let files = Arc::new(Files::prepare(""));
    let (mut confirmed, mut expired) = (0, 0);
    for offset_us in (0..40).map(|step| step * 50) {
        let node = Node::start_with(&files);
        let mut client = node.client().await;
        let key = node
            .upgraded(&mut client, 1_000, OnLostContact::Rollback)
            .await;
        let left = client.renew(renew(&key, 1)).await.unwrap().into_inner();
        let left = Duration::from_millis(left.lease.unwrap().left_ms);
        let at = left - Duration::from_millis(1) + Duration::from_micros(offset_us);
        tokio::time::sleep(at).await;
        let answer = client.confirm(confirm(&key)).await;
        after(5).await;
        let request = pb::DescribeRequest {
            key: Some(key),
            ..Default::default()
        };
        let told = client.describe(request).await.unwrap().into_inner();
        let (asked, permanent) = (told.asked.unwrap(), told.permanent.unwrap().vsn);
        match answer {
            Ok(_) => {
                confirmed += 1;
                assert_eq!((node.runs().as_str(), permanent.as_str()), ("2", "2"));
                assert_eq!(asked.state(), UpgradeState::Confirmed);
                assert_eq!(node.rollbacks(), 0);
            }
            Err(late) => {
                expired += 1;
                assert_eq!(failure(Err::<(), _>(late)).1.code, "MF0445");
                assert_eq!((node.runs().as_str(), permanent.as_str()), ("1", "1"));
                assert_eq!(asked.state(), UpgradeState::RolledBack);
            }
        }
    }
    assert!(confirmed > 0 && expired > 0, "{confirmed} {expired}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_refuses_every_order_before_anything_changes() {
    let mut node = Node::start();
    let mut client = node.client().await;
    let later = node.staged(&mut client, "later", "3").await;
    let key = node
        .upgraded(&mut client, 10_000, OnLostContact::Rollback)
        .await;
    let calls = node.control.calls();
    node.disk.full.store(true, SeqCst);
    let full = |failure: pb::Failure| {
        assert_eq!((failure.code.as_str(), failure.changed), ("MF0407", false))
    };
    full(failure(client.renew(renew(&key, 2)).await).1);
    full(failure(client.confirm(confirm(&key)).await).1);
    let taking = pb::UpgradeOpen {
        key: Some(later.clone()),
        supersede: "r".into(),
        ..Default::default()
    };
    full(failure(Order::open_as(&mut client, taking).await.map(drop)).1);
    let remove = pb::RemoveReleaseRequest {
        vsn: "3".into(),
        digest: String::new(),
    };
    full(failure(client.remove_release(remove).await).1);
    assert_eq!(node.control.calls(), calls);
    let told = client
        .describe(pb::DescribeRequest::default())
        .await
        .unwrap();
    assert_eq!(
        (told.get_ref().claims[0].epoch, node.runs().as_str()),
        (1, "2")
    );

    // The end of the lease is not an order: the old code must run, whatever the disk says, as it does after a restart.
    after(11).await;
    assert_eq!(node.runs(), "1");
    node.disk.full.store(false, SeqCst);
    node.restart();
    assert_eq!(node.runs(), "1");
    let mut client = node.client().await;
    let request = pb::DescribeRequest {
        key: Some(key),
        ..Default::default()
    };
    let asked = client
        .describe(request)
        .await
        .unwrap()
        .into_inner()
        .asked
        .unwrap();
    assert_eq!(asked.failure.unwrap().code, "MF0424");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_agents_live_on_one_thread() {
    let files = Arc::new(Files::prepare(""));
    let nodes: Vec<Node> = (0..1_000).map(|_| Node::start_with(&files)).collect();
    let described = futures::stream::iter(&nodes).then(|node| async {
        let mut client = node.client().await;
        client
            .describe(pb::DescribeRequest::default())
            .await
            .unwrap();
    });
    assert_eq!(described.collect::<Vec<()>>().await.len(), 1_000);
}
