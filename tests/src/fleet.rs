//! A fleet in a folder of its own: certificates, signing key, release, inventory, and agents that are real processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Client, until};

/// Every fleet of this process gets a loopback network of its own; another process, another range.
static NETWORKS: AtomicU8 = AtomicU8::new(1);

/// What a command line came to.
pub struct Done {
    /// Its exit code.
    pub code: i32,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

impl Done {
    /// The last line of stdout as JSON.
    pub fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}\n{}", self.err))
    }

    /// Everything that was printed, for messages of tests.
    pub fn text(&self) -> String {
        format!("exit {}\n{}\n{}", self.code, self.out, self.err)
    }
}

/// One agent.
pub struct NodeProcess {
    /// Its name in the inventory.
    pub name: String,
    /// Its loopback address.
    pub address: String,
    /// Its folder.
    pub dir: PathBuf,
    child: Option<Child>,
}

/// How programs of a fleet are started.
#[derive(Default)]
pub struct Start {
    /// A program that starts them, with its arguments: in namespaces of their own.
    pub by: Vec<String>,
    /// What their environment has in addition.
    pub env: Vec<(String, String)>,
}

impl Start {
    fn command(&self, program: &Path) -> Command {
        let words = self.by.iter().map(AsRef::as_ref);
        let mut words = words.chain([program.as_os_str()]);
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words);
        command
    }
}

/// The whole.
pub struct Fleet {
    /// Everything is in here.
    pub dir: TempDir,
    /// In the order of the inventory.
    pub nodes: Vec<NodeProcess>,
    /// How agents are started.
    pub agents: Start,
    /// How `midflight` is started.
    pub controllers: Start,
}

/// A program of the product, as `make build` left it.
pub fn binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a program knows where it is");
    // Benches lie beside it in target/release, tests a folder below in deps.
    let folder = exe.parent().expect("a program lies in a folder");
    let beside = folder.join(name);
    let path = match beside.exists() {
        true => beside,
        false => folder.parent().unwrap_or(folder).join(name),
    };
    assert!(
        path.exists(),
        "{} is not there; `make build` builds it",
        path.display()
    );
    path
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/out")
}

impl Fleet {
    /// Starts `nodes` agents, each with 1,000 counters, a greeter, a pi server, a TCP demo and a gateway.
    pub fn start(nodes: usize) -> Self {
        let mut fleet = Self::prepare(nodes);
        for index in 0..nodes {
            fleet.boot(index);
        }
        fleet.await_all();
        fleet
    }

    /// The same, without starting an agent.
    pub fn prepare(count: usize) -> Self {
        let pid = std::process::id();
        let net = NETWORKS.fetch_add(1, Ordering::Relaxed);
        Self::prepare_at(count, |n| format!("127.{}.{net}.{n}", 20 + pid % 200))
    }

    /// The same, with agents that listen at other addresses; they count from 1.
    pub fn prepare_at(count: usize, address: impl Fn(usize) -> String) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("midflight-test-")
            .tempdir()
            .expect("a folder can be made");
        let mut fleet = Self {
            dir,
            nodes: Vec::new(),
            agents: Start::default(),
            controllers: Start::default(),
        };
        fleet.ok(&["pki", "init", "pki", "--fleet", "test"]);
        fleet.ok(&[
            "pki",
            "issue",
            "pki",
            "--role",
            "operator",
            "--name",
            "controller",
        ]);
        fleet.ok(&[
            "pki", "issue", "pki", "--role", "debugger", "--name", "debugger",
        ]);
        fleet.ok(&[
            "pki", "issue", "pki", "--role", "viewer", "--name", "viewer",
        ]);
        fleet.keygen("signer");
        let public = fs::read_to_string(fleet.path("signer.pub")).expect("ssh-keygen wrote it");
        let signers = format!("oncall@test namespaces=\"patch@midflight\" {public}");
        fs::write(fleet.path("allowed_signers"), signers).expect("a file can be written");
        fleet.bundle(
            "release",
            &RELEASE.replace("GUESTS", &guests().display().to_string()),
        );
        let mut inventory = String::from("groups:\n  all_nodes:\n    hosts:\n");
        for n in 0..count {
            let name = format!("n{}", n + 1);
            let address = address(n + 1);
            let dir = fleet.path(&name);
            fs::create_dir(&dir).expect("a folder can be made");
            fleet.ok(&["pki", "issue", "pki", "--node", &name]);
            let config = CONFIG.replace("NAME", &name).replace("ADDRESS", &address);
            fs::write(dir.join("agent.yaml"), config).expect("a file can be written");
            inventory.push_str(&format!("      {name}: {{address: {address}}}\n"));
            fleet.nodes.push(NodeProcess {
                name,
                address,
                dir,
                child: None,
            });
        }
        fs::write(fleet.path("inventory.yaml"), inventory).expect("a file can be written");
        fleet
    }

    /// A path in the fleet's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new signing key.
    pub fn keygen(&self, name: &str) {
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(self.path(name))
            .status();
        assert!(status.expect("ssh-keygen runs").success());
    }

    /// Starts an agent, once more after it ended.
    pub fn boot(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(node.dir.join("log"))
            .expect("a log can be opened");
        let child = self
            .agents
            .command(&binary("midflight-agent"))
            .args(["--config", "agent.yaml"])
            .current_dir(&node.dir)
            .envs(self.agents.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        node.child = Some(child);
    }

    /// Waits until every agent answers.
    pub fn await_all(&mut self) {
        until("every agent answers", || {
            for node in &mut self.nodes {
                if let Some(ended) = node
                    .child
                    .as_mut()
                    .and_then(|c| c.try_wait().expect("a child can be asked"))
                {
                    panic!("{} ended: {ended}\n{}", node.name, node.log());
                }
            }
            let done = self.run(&["nodes", "all_nodes", "--all", "--output", "json"]);
            done.code == 0
                && self
                    .nodes
                    .iter()
                    .all(|n| done.out.contains(&format!("\"{}\"", n.name)))
        });
    }

    /// Kills an agent as a crash does.
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.nodes[index].child.take() {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be awaited");
        }
    }

    /// Sends an agent a signal: TERM, STOP, CONT. After STOP none of its threads runs any more.
    pub fn signal(&self, index: usize, signal: &str) {
        let child = self.nodes[index].child.as_ref();
        let pid = child.expect("the agent runs").id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(sent.expect("kill runs").success());
        if signal == "STOP" {
            // The signal stops all threads once the first of them is at it, which takes a while on a busy machine.
            until("the agent has stopped", || {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('T'))
            });
        }
    }

    /// Asks an agent to end; its exit code.
    pub fn terminate(&mut self, index: usize) -> Option<i32> {
        self.signal(index, "TERM");
        let mut child = self.nodes[index].child.take()?;
        child.wait().expect("a child can be awaited").code()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.controllers.command(&binary("midflight"));
        command.args(args);
        self.dress(&mut command);
        command
    }

    /// The place and the environment of `midflight`.
    fn dress(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("MIDFLIGHT_INVENTORY", "inventory.yaml")
            .env("MIDFLIGHT_PKI", "pki")
            .env("MIDFLIGHT_JOURNAL", "journal.db")
            .env_remove("RUST_LOG")
            .envs(self.controllers.env.iter().cloned())
            .stdin(Stdio::null());
    }

    /// Starts `midflight` on a terminal of its own: what is written to stdin is typed, what is read from stdout is shown. No
    /// word may mean anything to a shell.
    pub fn terminal(&self, args: &[&str]) -> Child {
        let program = binary("midflight").display().to_string();
        let line = [&["exec", &program][..], args].concat().join(" ");
        let mut command = Command::new("script");
        command.args([
            "--quiet",
            "--return",
            "--flush",
            "--command",
            &line,
            "/dev/null",
        ]);
        self.dress(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().expect("script runs")
    }

    /// The id of the rollout that was begun last.
    pub fn newest(&self) -> String {
        let done = self.ok(&["history", "-n", "1", "--output", "json"]);
        let head: Value = serde_json::from_str(&done.out).expect("history prints JSON");
        head["rollout"].as_str().expect("it has a name").to_owned()
    }

    /// `midflight apply` with the policy in `policy.yaml`, which runs until somebody ends it.
    pub fn begin(&self, bundle: &str) -> Child {
        self.spawn(&[
            "apply",
            bundle,
            "all_nodes",
            "--all",
            "--policy",
            "policy.yaml",
        ])
    }

    /// Runs `midflight` in the fleet's folder.
    pub fn run(&self, args: &[&str]) -> Done {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(args).output().expect("midflight runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
        Done {
            code: status.code().unwrap_or(-1),
            out: text(stdout),
            err: text(stderr),
        }
    }

    /// Starts `midflight` and does not wait for it.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.spawn_with(args, Stdio::piped(), Stdio::piped())
    }

    /// The same, with stdout and stderr where they are to go.
    pub fn spawn_with(&self, args: &[&str], out: Stdio, err: Stdio) -> Child {
        self.command(args)
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("midflight starts")
    }

    /// Runs it, and it must succeed.
    pub fn ok(&self, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{args:?}: {}", done.text());
        done
    }

    /// Builds and signs a bundle from a description.
    pub fn bundle(&self, name: &str, spec: &str) -> String {
        let yaml = format!("{name}.yaml");
        let tar = format!("{name}.tar");
        fs::write(self.path(&yaml), spec).expect("a file can be written");
        self.ok(&["patch", "build", &yaml, "-o", &tar]);
        self.ok(&["patch", "sign", &tar, "--key", "signer"]);
        tar
    }

    /// A signed patch of the counter alone.
    pub fn counter_patch(
        &self,
        name: &str,
        from: &str,
        to: &str,
        file: &str,
        extra: &str,
    ) -> String {
        let file = guests().join(file);
        let spec = format!(
            "name: test\nfrom: \"{from}\"\nto: \"{to}\"\nmodules:\n  - {{name: counter, file: {}, update: advanced, from: \"{from}\", extra: {extra}}}\n",
            file.display()
        );
        self.bundle(name, &spec)
    }

    /// A signed patch of everything from version 1 to version 2.
    pub fn patch_v2(&self) -> String {
        self.bundle(
            "v2",
            &PATCH.replace("GUESTS", &guests().display().to_string()),
        )
    }

    /// A policy whose bakes are short.
    pub fn policy(&self, waves: &str) -> String {
        fs::write(self.path("policy.yaml"), POLICY.replace("WAVES", waves))
            .expect("a file can be written");
        "policy.yaml".into()
    }

    /// `midflight apply` to all nodes, in JSON.
    pub fn apply(&self, bundle: &str, waves: &str) -> Done {
        self.apply_with(bundle, waves, &[])
    }

    /// The same, with more arguments.
    pub fn apply_with(&self, bundle: &str, waves: &str, more: &[&str]) -> Done {
        let policy = self.policy(waves);
        let mut args = vec![
            "apply",
            bundle,
            "all_nodes",
            "--all",
            "--policy",
            &policy,
            "--output",
            "json",
        ];
        args.extend(more);
        self.run(&args)
    }

    /// An actor's state, by the debugger.
    pub fn state(&self, node: usize, actor: &str) -> Value {
        let name = &self.nodes[node].name;
        let done = self.sys(&["get-state", name, actor]);
        done.json()
    }

    /// `midflight sys`, by the debugger.
    pub fn sys(&self, args: &[&str]) -> Done {
        let files = ["--cert", "pki/debugger.pem", "--key", "pki/debugger.key"];
        let mut all = vec!["sys"];
        all.extend_from_slice(args);
        all.extend_from_slice(&files);
        self.run(&all)
    }

    /// A client of the gateway of a node.
    pub fn gateway(&self, node: usize) -> Client {
        Client::connect(&self.nodes[node].address, 7001)
    }

    /// A client of the TCP demo of a node.
    pub fn tcp_demo(&self, node: usize) -> Client {
        Client::connect(&self.nodes[node].address, 7002)
    }

    /// The vsn that runs and the vsn that would boot.
    pub fn vsns(&self, node: usize) -> (String, String) {
        let done = self.ok(&["nodes", &self.nodes[node].name, "--output", "json", "--all"]);
        let node = done.json();
        let vsn = |release: &str| {
            node[release]["vsn"]
                .as_str()
                .unwrap_or_else(|| panic!("{node}"))
                .to_owned()
        };
        (vsn("current"), vsn("permanent"))
    }
}

impl NodeProcess {
    /// What the agent logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            self.kill(index);
        }
    }
}

const CONFIG: &str = "\
node: NAME
data_dir: data
code_cache: ../code
boot: ../release.tar
allowed_signers: ../allowed_signers
guest_address: ADDRESS
sys: true
listen:
  tcp: {address: \"ADDRESS:7400\", cert: ../pki/NAME.pem, key: ../pki/NAME.key, client_ca: ../pki/ca.pem}
  unix: {path: agent.sock}
limits: {workers: 2}
";

const RELEASE: &str = "\
name: test
to: \"1.0.0\"
modules:
  - {name: counter, file: GUESTS/counter_v1.wasm}
  - {name: greeter, file: GUESTS/greeter_v1.wasm}
  - {name: pi, file: GUESTS/pi_v1.wasm}
  - {name: tcp_demo, file: GUESTS/tcp_demo_v1.wasm}
  - {name: gateway, file: GUESTS/gateway.wasm}
start:
  - {name: counter, module: counter, count: 1000}
  - {name: greeter, module: greeter}
  - {name: pi, module: pi}
  - {name: tcp_demo, module: tcp_demo, args: {port: 7002}}
  - {name: gateway, module: gateway, args: {port: 7001}}
listen: [7001, 7002]
";

const PATCH: &str = "\
name: test
from: \"1.0.0\"
to: \"2.0.0\"
modules:
  - {name: counter, file: GUESTS/counter_v2.wasm, update: advanced}
  - {name: greeter, file: GUESTS/greeter_v2.wasm, update: soft}
  - {name: pi, file: GUESTS/pi_v2.wasm, update: advanced}
  - {name: tcp_demo, file: GUESTS/tcp_demo_v2.wasm, update: advanced}
";

const POLICY: &str = "\
waves: WAVES
gates: [{parked: 0}, {traps: 0}, {restarts: 0}, {ended: 0}]
timeouts: {connect: 5s, stage: 120s, prepare: 60s, pause: 2s}
";
