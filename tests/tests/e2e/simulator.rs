//! The fleet simulator, driven by the real command line: its agents speak real TLS and check real signatures.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use midflight_tests::{binary, until};
use serde_json::Value;

struct Sim {
    child: Child,
    /// Kept, so that it can go on talking.
    _stderr: BufReader<ChildStderr>,
    dir: tempfile::TempDir,
}

impl Sim {
    fn start(port: u16, nodes: u32, scenario: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder can be made");
        fs::write(dir.path().join("scenario.yaml"), scenario).expect("a file can be written");
        // Beside other tests' fleets, which listen on 7400 of other addresses.
        let mut child = Command::new(binary("midflight"))
            .args([
                "sim",
                "--nodes",
                &nodes.to_string(),
                "--port",
                &port.to_string(),
            ])
            .args([
                "--dir",
                ".",
                "--scenario",
                "scenario.yaml",
                "--events",
                "events.json",
            ])
            .args(["--die-with-parent", &std::process::id().to_string()])
            .current_dir(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the simulator starts");
        let mut said = String::new();
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let mut stderr = BufReader::new(stderr);
        stderr.read_line(&mut said).expect("it says something");
        assert!(said.contains("listen on port"), "{said}");
        Self {
            child,
            _stderr: stderr,
            dir,
        }
    }

    fn midflight(&self, words: &[&str]) -> Output {
        Command::new(binary("midflight"))
            .args(words)
            .args(["-i", "fleet.yaml", "--pki", "pki", "--output", "json"])
            .current_dir(self.dir.path())
            .output()
            .expect("midflight runs")
    }

    fn policy(&self, policy: &str) {
        fs::write(self.dir.path().join("policy.yaml"), policy).expect("a file can be written");
    }

    fn apply(&self, bundle: &str, policy: &str) -> Output {
        self.policy(policy);
        let words = ["apply", bundle, "sim", "--all", "--policy", "policy.yaml"];
        self.midflight(&[&words[..], &["--journal", "journal.db"]].concat())
    }

    /// A rollout that goes on by itself, whoever reads its events from the pipe.
    fn applying(&self) -> Child {
        Command::new(binary("midflight"))
            .args([
                "apply",
                "patch-2.bundle",
                "sim",
                "--all",
                "--output",
                "json",
            ])
            .args([
                "-i",
                "fleet.yaml",
                "--pki",
                "pki",
                "--policy",
                "policy.yaml",
            ])
            .args(["--journal", "journal.db"])
            .current_dir(self.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("midflight starts")
    }

    fn end(mut self) -> Vec<Value> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
        assert!(self.child.wait().expect("it ends").success());
        read(&self.dir.path().join("events.json"))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file is there");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

const POLICY: &str = "waves: [1, 10%, 100%]\nbake: 0s\ngates: [{traps: 0}]\n";

#[test]
fn a_simulated_fleet_is_patched_by_the_real_command_line_and_patched_again() {
    let sim = Sim::start(17_401, 120, "");
    for bundle in ["patch-2.bundle", "patch-3.bundle"] {
        let done = sim.apply(bundle, POLICY);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
    }
    let described = sim.midflight(&["nodes", "n117"]);
    let text = String::from_utf8_lossy(&described.stdout).into_owned();
    assert!(text.contains("\"vsn\":\"3\""), "{text}");
    let finished = sim.end();
    let finished = finished.iter().filter(|event| event["text"] == "finished");
    assert_eq!(finished.count(), 240);
}

#[test]
fn a_patch_of_somebody_else_is_refused_by_simulated_nodes_too() {
    let sim = Sim::start(17_402, 3, "");
    let other = Sim::start(17_403, 3, "");
    let stranger = other.dir.path().join("patch-2.bundle");
    let done = sim.apply(&stranger.display().to_string(), POLICY);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let events = sim.end();
    assert!(
        events.iter().any(|event| event["kind"] == "refused"),
        "{events:?}"
    );
}

#[test]
fn what_the_scenario_makes_fail_fails_and_silent_nodes_are_unreachable() {
    let scenario = "zones:
- {name: dark, share: 5%, silent: 100%}
- {name: bad, share: 50%, upgrade: {fails: 100%}}
- {name: good}
";
    let sim = Sim::start(17_404, 40, scenario);
    let policy = format!(
        "{POLICY}failure_budget: {{max: 0, min_sample: 1, unreachable: 10%}}\ntimeouts: {{connect: 500ms}}\n"
    );
    let done = sim.apply("patch-2.bundle", &policy);
    // The first node that answers is one whose states cannot be migrated.
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(out.contains("MF0308"), "{out}");
    assert_eq!(
        out.matches("\"outcome\":\"unreachable\"").count(),
        2,
        "{out}"
    );
}

/// As with Ctrl-S on the terminal, or a connection to it that hangs: more is written than a pipe takes, and nobody reads.
#[test]
fn output_that_nobody_reads_does_not_hold_up_a_rollout() {
    let sim = Sim::start(17_405, 400, "");
    sim.policy(POLICY);
    let mut apply = sim.applying();
    until("the rollout has succeeded", || {
        let ended = apply.try_wait().expect("it is a child");
        assert!(
            ended.is_none(),
            "it has written everything, or failed: {ended:?}"
        );
        let told = Command::new(binary("midflight"))
            .args(["status", "--journal", "journal.db", "--output", "json"])
            .current_dir(sim.dir.path())
            .output()
            .expect("midflight runs");
        String::from_utf8_lossy(&told.stdout).contains("\"succeeded\"")
    });
    let mut out = String::new();
    let mut stdout = apply.stdout.take().expect("stdout is a pipe");
    std::io::Read::read_to_string(&mut stdout, &mut out).expect("it is text");
    assert!(apply.wait().expect("it ends").success());
    assert!(out.len() > 65_536, "a pipe would have taken it");
    let confirmed = out.lines().filter(|line| {
        let event: Value = serde_json::from_str(line).expect("a line is JSON");
        event["event"] == "node" && event["outcome"] == "confirmed"
    });
    assert_eq!(confirmed.count(), 400);
    assert!(out.trim_end().ends_with('}') && out.contains("\"event\":\"ended\""));
}

/// A node that is confirmed keeps its way back until its rollout ends, also from somebody whose journal does not know that rollout.
#[test]
fn a_confirmed_node_of_a_rollout_that_runs_elsewhere_is_not_finished_by_another_controller() {
    let sim = Sim::start(17_406, 5, "");
    sim.policy("waves: [1, {nodes: 100%, bake: 60s}]\nbake: 0s\ngates: [{traps: 0}]\n");
    let mut first = sim.applying();
    let stdout = BufReader::new(first.stdout.take().expect("stdout is a pipe"));
    let mut events = stdout.lines().map(|line| -> Value {
        serde_json::from_str(&line.expect("it is text")).expect("a line is JSON")
    });
    let confirmed = events
        .find(|event| event["event"] == "node" && event["outcome"] == "confirmed")
        .expect("the first wave is confirmed");
    let node = confirmed["node"].as_str().expect("it has a name");
    let rollout = confirmed["rollout"].as_str().expect("it has an id");
    let second = ["apply", "patch-2.bundle", node, "--policy", "policy.yaml"];
    let second = sim.midflight(&[&second[..], &["--journal", "other.db"]].concat());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("MF0506") && said.contains(rollout), "{said}");
    let back = sim.midflight(&[
        "rollback",
        rollout,
        "--reason",
        "a test",
        "--journal",
        "journal.db",
    ]);
    assert_eq!(back.status.code(), Some(0), "{back:?}");
    assert_eq!(first.wait().expect("it ends").code(), Some(0));
    let finished = sim.end();
    assert!(
        finished.iter().all(|event| event["text"] != "finished"),
        "{finished:?}"
    );
}
