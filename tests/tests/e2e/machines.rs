//! What machines do to a rollout of real processes: a link that is cut, a disk that is full, a clock that is set. Links and disks
//! are in namespaces, which takes root, and end with the process that holds them; that process ends with the test.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use midflight_tests::{Fleet, until};

/// Namespaces of their own for network and mounts.
struct Apart {
    holder: Child,
}

impl Apart {
    /// `None`, with the reason on stderr, where a process may make none.
    fn new() -> Option<Self> {
        let tried = Command::new("unshare")
            .args(["--net", "--mount", "true"])
            .output();
        let tried = tried.expect("unshare runs");
        if !tried.status.success() {
            let why = String::from_utf8_lossy(&tried.stderr);
            eprintln!("skipped: no namespaces for this user: {}", why.trim());
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private"])
            .args(["sh", "-c", "ip link set lo up && echo there && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let mut line = String::new();
        let out = holder.stdout.take().expect("stdout is piped");
        let read = BufReader::new(out).read_line(&mut line);
        assert_eq!((read.ok(), line.as_str()), (Some(6), "there\n"));
        Some(Self { holder })
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    /// What starts a program in there, in a folder.
    fn by(&self, folder: &Path) -> Vec<String> {
        let words = ["nsenter", "--net", "--mount", "--target", &self.pid()];
        let folder = format!("--wd={}", folder.display());
        words
            .map(str::to_owned)
            .into_iter()
            .chain([folder])
            .collect()
    }

    /// Runs a program in there, and it must succeed.
    fn run(&self, words: &str) {
        let by = self.by(Path::new("/"));
        let done = Command::new(&by[0])
            .args(&by[1..])
            .args(words.split(' '))
            .output();
        let done = done.expect("nsenter runs");
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{words}: {error}");
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Two agents in a network of their own, the controller in another, and a link between the two.
struct Linked {
    fleet: Fleet,
    /// The controller's; dropped, the link goes.
    here: Apart,
    _there: Apart,
}

impl Linked {
    fn start() -> Option<Self> {
        let (here, there) = (Apart::new()?, Apart::new()?);
        // Addresses that lead nowhere else: nothing but the two is in there.
        let mut fleet = Fleet::prepare_at(2, |n| format!("10.64.0.{}", 10 + n));
        here.run(&format!(
            "ip link add wire type veth peer name wire netns {}",
            there.pid()
        ));
        here.run("ip address add 10.64.0.1/24 dev wire");
        there.run("ip address add 10.64.0.11/24 dev wire");
        there.run("ip address add 10.64.0.12/24 dev wire");
        there.run("ip link set wire up");
        here.run("ip link set wire up");
        fleet.controllers.by = here.by(fleet.dir.path());
        for index in 0..2 {
            fleet.agents.by = there.by(&fleet.nodes[index].dir);
            fleet.boot(index);
        }
        fleet.await_all();
        Some(Self {
            fleet,
            here,
            _there: there,
        })
    }

    fn cut(&self) {
        self.here.run("ip link set wire down");
        let nodes = self.fleet.run(&["nodes", "n1"]);
        assert_eq!(nodes.code, 7, "{}", nodes.text());
    }

    fn heal(&self) {
        self.here.run("ip link set wire up");
    }

    /// Begins a rollout with one canary, and waits until it runs the new code.
    fn begin(&self, lease: &str) -> Child {
        let patch = self.fleet.patch_v2();
        let policy = format!(
            "waves: [{{nodes: 1, bake: 20s}}, 100%]\nprobation: {{lease: {lease}}}\ntimeouts: {{pause: 2s}}\n"
        );
        fs::write(self.fleet.path("policy.yaml"), policy).expect("a file can be written");
        let apply = self.fleet.begin(&patch);
        until("the canary is in probation", || {
            self.fleet.vsns(0).0 == "2.0.0"
        });
        apply
    }
}

#[test]
fn a_link_that_is_cut_and_healed_within_the_lease_changes_nothing() {
    let Some(linked) = Linked::start() else {
        return;
    };
    let mut apply = linked.begin("10m");
    linked.cut();
    linked.heal();
    assert_eq!(apply.wait().expect("it ends").code(), Some(0));
    for node in 0..2 {
        assert_eq!(linked.fleet.vsns(node), ("2.0.0".into(), "2.0.0".into()));
    }
}

#[test]
fn a_link_that_is_cut_for_longer_than_the_lease_takes_the_canary_back() {
    let Some(linked) = Linked::start() else {
        return;
    };
    let mut apply = linked.begin("5s");
    linked.cut();
    // Nobody tells it to.
    until("the canary goes back by itself", || {
        went_back(&linked.fleet, 0)
    });
    linked.heal();
    assert_eq!(apply.wait().expect("it ends").code(), Some(3));
    for node in 0..2 {
        assert_eq!(linked.fleet.vsns(node), ("1.0.0".into(), "1.0.0".into()));
    }
    let status = linked.fleet.run(&["status"]);
    assert!(status.out.contains("rolled_back"), "{}", status.text());
}

/// A node's own log says that its lease ran out.
fn went_back(fleet: &Fleet, node: usize) -> bool {
    fleet.nodes[node].log().contains("the node rolls back")
}

/// A small disk that the controllers of a fleet see, with their journal on it.
struct Disk {
    apart: Apart,
    filler: PathBuf,
}

impl Disk {
    fn below(fleet: &mut Fleet) -> Option<Self> {
        let (apart, dir) = (Apart::new()?, fleet.path("disk"));
        fs::create_dir(&dir).expect("a folder can be made");
        apart.run(&format!(
            "mount -t tmpfs -o size=16m none {}",
            dir.display()
        ));
        fleet.controllers.by = vec![
            "nsenter".into(),
            "--mount".into(),
            format!("--target={}", apart.pid()),
            format!("--wd={}", fleet.dir.path().display()),
        ];
        fleet.controllers.env = vec![("MIDFLIGHT_JOURNAL".into(), "disk/journal.db".into())];
        let inside = format!("/proc/{}/root{}", apart.pid(), dir.display());
        let filler = Path::new(&inside).join("filler");
        Some(Self { apart, filler })
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut file = File::create(&self.filler).expect("a file can be made");
        let block = vec![1; 4096];
        while file.write_all(&block).is_ok() {}
        self.apart.run("sync");
    }

    fn clear(&self) {
        fs::remove_file(&self.filler).expect("a file can be removed");
    }
}

#[test]
fn a_journal_that_is_full_is_a_clear_error_and_the_rollout_goes_on_when_there_is_room() {
    let mut fleet = Fleet::start(2);
    let Some(disk) = Disk::below(&mut fleet) else {
        return;
    };
    // Small enough that the log below the journal never begins again, and each event needs room.
    let patch = fleet.counter_patch("patch", "1.0.0", "2.0.0", "counter_v2.wasm", "null");
    fleet.ok(&["history"]);
    disk.fill();
    let refused = fleet.apply(&patch, "[1, 100%]");
    assert_eq!(refused.code, 1, "{}", refused.text());
    assert!(refused.err.contains("MF0510"), "{}", refused.text());
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
    disk.clear();
    // Full in the middle: the process says so, and leaves the rollout as it is.
    fs::write(
        fleet.path("policy.yaml"),
        "waves: [{nodes: 1, bake: 10m}, 100%]\nprobation: {lease: 10m}\ntimeouts: {pause: 2s}\n",
    )
    .expect("a file can be written");
    let apply = fleet.begin(&patch);
    until("the canary bakes", || {
        fleet
            .run(&["status"])
            .out
            .contains("the gate of wave 1 opens in")
    });
    let rollout = fleet.newest();
    disk.fill();
    let promoted = fleet.run(&["promote", &rollout]);
    assert_ne!(promoted.code, 0, "{}", promoted.text());
    let left = apply.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert_eq!(left.status.code(), Some(4), "{said}");
    for text in ["MF0510", "full", &format!("midflight resume {rollout}")] {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "1.0.0".into()));
    assert_eq!(fleet.vsns(1), ("1.0.0".into(), "1.0.0".into()));
    // With room, another process goes on; nothing is lost, and nothing was done that nobody was told.
    disk.clear();
    let resumed = fleet.spawn(&["resume", &rollout, "--output", "json"]);
    until("the canary bakes again", || {
        fleet.run(&["promote", &rollout]).code == 0
    });
    let done = resumed.wait_with_output().expect("it ends");
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    for node in 0..2 {
        assert_eq!(fleet.vsns(node), ("2.0.0".into(), "2.0.0".into()));
    }
    let events = fleet.ok(&["watch", &rollout, "--output", "json"]).out;
    let promotions = events
        .lines()
        .filter(|line| line.contains("\"promote\""))
        .count();
    assert_eq!(promotions, 1, "{events}");
}

/// A wall clock of the agents of a fleet.
struct WallClock {
    file: PathBuf,
}

impl WallClock {
    fn of(fleet: &mut Fleet) -> Self {
        let (source, library) = (
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/clock.c"),
            fleet.path("clock.so"),
        );
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([library.as_os_str(), source.as_ref()])
            .status();
        assert!(compiled.expect("cc runs").success());
        let file = fleet.path("clock");
        fleet.agents.env = vec![
            ("LD_PRELOAD".into(), library.display().to_string()),
            ("CLOCK_OFFSET".into(), file.display().to_string()),
        ];
        Self { file }
    }

    /// To so many seconds from the truth.
    fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, seconds.to_string()).expect("a file can be written");
        fs::rename(&new, &self.file).expect("a file can be renamed");
    }
}

/// The time of the last line of a node's log.
fn logged(fleet: &Fleet) -> String {
    let log = fleet.nodes[0].log();
    let mut time = log
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    time.next_back().unwrap_or_default().to_owned()
}

#[test]
fn a_wall_clock_that_is_set_neither_ends_a_lease_nor_lengthens_it() {
    let mut fleet = Fleet::prepare(1);
    let clock = WallClock::of(&mut fleet);
    fleet.boot(0);
    fleet.await_all();
    let first = fleet.counter_patch("first", "1.0.0", "2.0.0", "counter_v2.wasm", "null");
    let policy = |lease: &str| {
        let text = format!(
            "waves: [{{nodes: 1, bake: 10m}}]\nprobation: {{lease: {lease}}}\ntimeouts: {{pause: 2s}}\n"
        );
        fs::write(fleet.path("policy.yaml"), text).expect("a file can be written");
    };
    // Set forward by more than the lease: it goes on.
    policy("10m");
    let mut apply = fleet.begin(&first);
    until("it is in probation", || fleet.vsns(0).0 == "2.0.0");
    let before = logged(&fleet);
    clock.set(3 * 3600);
    let promoted = fleet.run(&["promote", &fleet.newest()]);
    assert_eq!(promoted.code, 0, "{}", promoted.text());
    assert_eq!(apply.wait().expect("it ends").code(), Some(0));
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "2.0.0".into()));
    // Set back by more than the lease: it ends when it has to.
    let second = fleet.counter_patch("second", "2.0.0", "2.1.0", "counter_v2.wasm", "null");
    policy("10s");
    let mut apply = fleet.begin(&second);
    until("it is in probation", || fleet.vsns(0).0 == "2.1.0");
    let later = logged(&fleet);
    clock.set(0);
    apply.kill().expect("the controller can be killed");
    apply.wait().expect("it is gone");
    until("the node goes back by itself", || went_back(&fleet, 0));
    until("it is back", || {
        fleet.vsns(0) == ("2.0.0".into(), "2.0.0".into())
    });
    let last = logged(&fleet);
    assert!(
        before < last && last < later,
        "{before} {last} {later}: the clock was set"
    );
}
