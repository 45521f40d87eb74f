//! The fleet simulator, driven by the real command line: its agents speak real TLS and check real signatures.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
};

use midflight_tests::{Simulator, Sshd, binary, until};
use serde_json::Value;

/// A fleet, and the controller as it is run against it.
struct Sim(Simulator);

impl Sim {
    /// Beside other tests' fleets, which listen on 7400 of other addresses.
    fn start(port: u16, nodes: u32, scenario: &str) -> Self {
        Self::start_with(port, nodes, scenario, &[])
    }

    fn start_with(port: u16, nodes: u32, scenario: &str, more: &[&str]) -> Self {
        let fleet = Simulator::start(nodes.into(), port, scenario, more);
        Self(fleet.expect("the simulator starts"))
    }

    fn midflight(&self, words: &[&str]) -> Output {
        Command::new(binary("midflight"))
            .args(words)
            .args(["-i", "fleet.yaml", "--pki", "pki", "--output", "json"])
            .current_dir(self.0.folder())
            .output()
            .expect("midflight runs")
    }

    fn policy(&self, policy: &str) {
        fs::write(self.0.folder().join("policy.yaml"), policy).expect("a file can be written");
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
            .current_dir(self.0.folder())
            .stdout(Stdio::piped())
            .spawn()
            .expect("midflight starts")
    }

    fn end(self) -> Vec<Value> {
        let text = self.0.end().expect("it ends well");
        let read = |line| serde_json::from_str(line).expect("a line is JSON");
        text.lines().map(read).collect()
    }
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
    let stranger = other.0.folder().join("patch-2.bundle");
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
            .current_dir(sim.0.folder())
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

/// Two servers at the nodes' addresses: one forwards, the other runs commands only.
#[test]
fn a_simulated_fleet_is_patched_over_ssh_by_its_sockets_and_by_dial_stdio() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let sockets = folder.path().join("sockets");
    let sim = Sim::start_with(
        17_407,
        5,
        "zones: [{name: dark, share: 20%, silent: 100%}, {name: good}]\n",
        &["--sockets", &sockets.display().to_string()],
    );
    sim.policy(&format!(
        "{POLICY}failure_budget: {{unreachable: 20%}}\ntimeouts: {{connect: 3s}}\n"
    ));
    let agent = binary("midflight-agent");
    let programs = agent.parent().expect("it is in a folder").display();
    let environment = format!("SetEnv HOME={} PATH={programs}", folder.path().display());
    let ways: [(&str, &[&str]); 2] = [
        ("patch-2.bundle", &[]),
        ("patch-3.bundle", &["AllowTcpForwarding no", &environment]),
    ];
    for (bundle, lines) in ways {
        let addresses = (1..=5).map(|n| format!("127.64.0.{n}")).collect();
        let sshd = Sshd::start_at(&folder.path().join(bundle), addresses, lines);
        let settings = sshd.folder.join("settings.yaml").display().to_string();
        let config = sshd.folder.join("config");
        let text = format!("ssh: {{args: [-F, {}]}}\n", config.display());
        fs::write(&settings, text).expect("a file can be written");
        let words = ["apply", bundle, "sim", "--all", "--policy", "policy.yaml"];
        let done = Command::new(binary("midflight"))
            .args(words)
            .args(["-i", "fleet-ssh.yaml", "-i", &settings, "--output", "json"])
            .args(["--journal", "journal.db"])
            .env_remove("MIDFLIGHT_PKI")
            .current_dir(sim.0.folder())
            .output()
            .expect("midflight runs");
        // The dark one was left out.
        assert_eq!(done.status.code(), Some(7), "{done:?}");
    }
    let finished = sim.end();
    let finished = finished.iter().filter(|event| event["text"] == "finished");
    assert_eq!(finished.count(), 8);
    let left = fs::read_dir(&sockets).expect("the folder is there");
    assert_eq!(left.count(), 0);
}
