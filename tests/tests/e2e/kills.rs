//! A controller that is killed with SIGKILL before and after every write of its journal, and another that goes on: the outcome is
//! that of a rollout that nobody disturbed. The nodes are simulated ones; the controllers are processes of this test's own
//! program, whose journal kills them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use midflight_controller::engine::event::{Event, Fact};
use midflight_controller::engine::id::RolloutId;
use midflight_controller::engine::words::{Outcome, RolloutState};
use midflight_controller::journal::{Head, Journal, Pending, Sqlite, Which, read_all};
use midflight_controller::launch::wanted::Wanted;
use midflight_controller::launch::{Launch, Take};
use midflight_controller::output::Silent;
use midflight_controller::server::lives::Lives;
use midflight_controller::transport::{Credentials, grpc::Grpc};
use midflight_controller::{Exit, policy};
use midflight_inventory::Inventory;
use midflight_patch::{Bundle, Digest};
use midflight_tests::{Value, binary, until};

const NODES: usize = 3;
/// Vsns of the simulated release: the simulator makes no more, and each rollout takes one.
const VSNS: usize = 100;
const PLACE: &str = "MIDFLIGHT_TEST_KILLS";
const KILL: &str = "MIDFLIGHT_TEST_KILL";
const POLICY: &str = "\
waves: [1, 100%]
bake: 20ms
gates: [{parked: 0}]
failure_budget: {max: 0, min_sample: 1}
probation: {lease: 30s}
";

/// A journal that kills its process with SIGKILL before or after its nth write.
struct Killing {
    inner: Sqlite,
    written: Arc<AtomicUsize>,
    at: Option<(usize, bool)>,
}

fn die() {
    let own = rustix::process::getpid();
    // The process ends in this call.
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
}

impl Journal for Killing {
    fn append(&self, events: &[Event]) -> Pending<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        if self.at == Some((number, false)) {
            die();
        }
        let (written, dies) = (self.inner.append(events), self.at == Some((number, true)));
        Box::pin(async move {
            written.await?;
            if dies {
                die();
            }
            Ok(())
        })
    }

    fn events(&self, rollout: &RolloutId, after: u64, most: usize) -> Pending<Vec<Event>> {
        self.inner.events(rollout, after, most)
    }

    fn head(&self, rollout: &RolloutId) -> Pending<Option<Head>> {
        self.inner.head(rollout)
    }

    fn heads(&self, which: Which) -> Pending<Vec<Head>> {
        self.inner.heads(which)
    }

    fn put_blob(&self, bytes: Vec<u8>) -> Pending<Digest> {
        self.inner.put_blob(bytes)
    }

    fn blob(&self, digest: Digest) -> Pending<Vec<u8>> {
        self.inner.blob(digest)
    }
}

/// Not a test: the process that may be killed. Goes on with the open rollout, or begins one with the patch of a vsn. Prints how
/// many writes it made.
#[tokio::test]
#[ignore = "is run by the test below"]
async fn a_controller_process() {
    let (Some(dir), Ok(kill)) = (std::env::var_os(PLACE), std::env::var(KILL)) else {
        return;
    };
    let (dir, words) = (PathBuf::from(dir), kill.split(' ').collect::<Vec<_>>());
    let at = match words[..] {
        [_, "never"] => None,
        [_, number, when] => Some((number.parse().expect("a number"), when == "after")),
        _ => panic!("{kill}"),
    };
    let path = dir.join("journal.db");
    let written = Arc::new(AtomicUsize::new(0));
    let journal = Arc::new(Killing {
        inner: Sqlite::open(&path).expect("the journal opens"),
        written: written.clone(),
        at,
    });
    let credentials = Credentials::in_folder(&dir.join("pki"));
    let launch = Launch {
        path,
        journal: journal.clone(),
        transport: Arc::new(Grpc::new(&credentials).expect("the certificates are good")),
        lives: Lives::default(),
    };
    let open = journal
        .heads(Which::Open)
        .await
        .expect("the journal reads")
        .pop();
    let taken = match open {
        Some(head) => {
            let lock = launch.lock(&head.rollout, None).expect("nobody holds it");
            launch
                .take(&head.rollout, lock, None, Take::default())
                .await
        }
        None => {
            let bundle = dir.join(format!("patch-{}.bundle", words[0]));
            let wanted = Wanted {
                bundle: Bundle::read(&bundle).expect("the simulator made it"),
                through: Vec::new(),
                inventory: Inventory::load(&[dir.join("fleet.yaml")]).expect("it reads"),
                policy: policy::parse(POLICY, "policy").expect("it reads"),
                pattern: "sim".into(),
                all: true,
                prepare_only: false,
                supersedes: String::new(),
            };
            let prepared = wanted
                .prepare(&launch.transport)
                .await
                .expect("it can be planned");
            let (id, lock) = launch
                .record(&prepared, "sim")
                .await
                .expect("it is recorded");
            launch
                .take(&id, lock, Some(prepared.links), Take::default())
                .await
        }
    };
    let ended = taken.expect("it can be taken").run(Box::new(Silent)).await;
    assert!(ended.over, "{:?}", ended.error);
    assert_eq!(ended.view.exit(), Exit::OK, "{}", ended.view.reason);
    println!("wrote {}", written.load(Ordering::Relaxed));
}

struct World {
    dir: tempfile::TempDir,
    simulator: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
    }
}

impl World {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let port = (20_000 + std::process::id() % 20_000).to_string();
        let simulator = Command::new(binary("midflight-agent"))
            .args([
                "sim",
                "--nodes",
                &NODES.to_string(),
                "--vsns",
                &VSNS.to_string(),
            ])
            .args([
                "--patch-bytes",
                "200",
                "--port",
                &port,
                "--events",
                "events.json",
                "--dir",
                ".",
            ])
            .current_dir(dir.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        let world = Self { dir, simulator };
        until("the simulated nodes answer", || world.vsns().len() == NODES);
        world
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Current and permanent vsn of the nodes that answer.
    fn vsns(&self) -> Vec<(String, String)> {
        let output = Command::new(binary("midflight"))
            .args([
                "nodes",
                "sim",
                "-i",
                "fleet.yaml",
                "--pki",
                "pki",
                "--output",
                "json",
            ])
            .current_dir(self.path())
            .env_remove("MIDFLIGHT_SERVER")
            .output()
            .expect("midflight runs");
        let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
        let nodes = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        nodes
            .filter_map(|node| {
                let vsn = |of: &str| Some(node[of]["vsn"].as_str()?.to_owned());
                Some((vsn("current")?, vsn("permanent")?))
            })
            .collect()
    }

    /// Runs a controller that brings a vsn; how many writes it made, or `None` when it was killed.
    fn controller(&self, vsn: usize, kill: &str) -> Option<usize> {
        let output = Command::new(std::env::current_exe().expect("this program has a path"))
            .args([
                "kills::a_controller_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(PLACE, self.path())
            .env(KILL, format!("{vsn} {kill}"))
            .output()
            .expect("this program runs");
        if std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9) {
            return None;
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrote = text.lines().find_map(|line| line.split("wrote ").nth(1));
        let error = String::from_utf8_lossy(&output.stderr);
        Some(
            wrote
                .unwrap_or_else(|| panic!("{kill}: {text}{error}"))
                .trim()
                .parse()
                .expect("a number"),
        )
    }

    /// What the journal says of the newest rollout.
    async fn newest(&self) -> (Head, Vec<Event>) {
        let journal = Sqlite::open(&self.path().join("journal.db")).expect("the journal opens");
        let heads = journal.heads(Which::Newest(1)).await;
        let head = heads.expect("it reads").pop().expect("there is one");
        let events = read_all(&journal, &head.rollout).await.expect("it reads");
        (head, events)
    }
}

/// What has to be the same, whatever was killed: the end, and how often each node got which outcome.
fn outcome(events: &[Event]) -> (Option<RolloutState>, Vec<(String, Outcome)>) {
    let (mut state, mut nodes) = (None, Vec::new());
    for event in events {
        match &event.fact {
            Fact::State { state: now, .. } => state = Some(*now),
            Fact::Node { node, outcome, .. } => nodes.push((node.clone(), *outcome)),
            _ => {}
        }
    }
    nodes.sort();
    (state, nodes)
}

#[tokio::test]
async fn a_controller_that_is_killed_at_any_write_is_gone_on_with_as_if_nothing_had_been() {
    let world = World::start();
    let undisturbed = world.controller(2, "never").expect("nobody kills it");
    let want = outcome(&world.newest().await.1);
    assert_eq!(want.0, Some(RolloutState::Succeeded));
    let (mut vsn, mut killed) = (2, 0);
    for write in 0..undisturbed + 4 {
        for when in ["before", "after"] {
            vsn += 1;
            // Answers come in another order each time, so that a rollout may make fewer writes.
            if world.controller(vsn, &format!("{write} {when}")).is_none() {
                killed += 1;
                let at = format!("{when} write {write} of {undisturbed}");
                // Killed after the last fact that matters, it has nothing left to do.
                let (head, _) = world.newest().await;
                if head.to != vsn.to_string() || head.is_open() {
                    let went_on = world.controller(vsn, "never");
                    went_on.unwrap_or_else(|| panic!("{at}"));
                }
                let (_, events) = world.newest().await;
                assert_eq!(outcome(&events), want, "{at}");
            }
            let vsns = world.vsns();
            let permanent = (vsn.to_string(), vsn.to_string());
            assert_eq!(vsns, vec![permanent; NODES], "{when} write {write}");
        }
    }
    assert!(killed >= undisturbed, "{killed} of {undisturbed} writes");
    world.each_node_resumed_once_a_vsn(vsn);
}

impl World {
    /// The nodes' own events: the new code was resumed once for every vsn, and never taken back.
    fn each_node_resumed_once_a_vsn(mut self, vsn: usize) {
        let pid = self.simulator.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.expect("kill runs").success());
        self.simulator.wait().expect("it ends");
        let text = fs::read_to_string(self.path().join("events.json")).expect("it wrote them");
        let resumed = |line: &&str| line.contains("resume done");
        assert_eq!(
            text.lines().filter(resumed).count(),
            NODES * (vsn - 1),
            "{text}"
        );
        assert!(!text.contains("rolled back"), "{text}");
    }
}
