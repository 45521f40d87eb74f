//! Agents behind real SSH servers: every transport does what every other does, whichever way leads to the agent, and a patch
//! is applied over SSH alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, future::join_all};
use midflight_controller::engine::event::Ssh as Settings;
use midflight_controller::engine::payload::Payload;
use midflight_controller::transport::grpc::Grpc;
use midflight_controller::transport::memory;
use midflight_controller::transport::ssh::{Ssh, Way};
use midflight_controller::transport::{Agent, CallError, Credentials, Target, Transport};
use midflight_patch::Bundle;
use midflight_proto::agent::v1 as pb;
use midflight_tests::{Fleet, binary};

#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../ssh/tests/sshd/fixture.rs"]
mod fixture;

use fixture::{Sshd, World};

const PATIENCE: Duration = Duration::from_secs(30);

fn target(fleet: &Fleet, ssh: Option<Box<Settings>>) -> Target {
    Target {
        name: "n1".to_owned(),
        address: fleet.nodes[0].address.clone(),
        port: 7400,
        ssh,
    }
}

async fn connect(transport: &dyn Transport, target: &Target) -> Arc<dyn Agent> {
    match transport.connect(target, PATIENCE).await {
        Ok(agent) => agent,
        Err(error) => panic!("{}", midflight_controller::error::chain(&error)),
    }
}

/// A node whose agent can be killed, and started again.
trait Mortal {
    fn kill(&mut self);
    fn boot(&mut self);
}

impl Mortal for Fleet {
    fn kill(&mut self) {
        Fleet::kill(self, 0);
    }

    fn boot(&mut self) {
        Fleet::boot(self, 0);
        self.await_all();
    }
}

impl Mortal for &memory::Fleet {
    fn kill(&mut self) {
        self.cut_off("n1", true);
    }

    fn boot(&mut self) {
        self.cut_off("n1", false);
    }
}

/// What holds for the transport to any agent: this one runs, and is killed in the end.
async fn conforms(transport: &dyn Transport, node: &mut dyn Mortal, target: &Target, patch: &Path) {
    let agent = connect(transport, target).await;
    let described = agent.describe().await.expect("it answers");
    assert_eq!(described.node, "n1");
    // Many calls at a time over one connection.
    let many = join_all((0..64).map(|_| agent.describe())).await;
    assert!(
        many.into_iter()
            .all(|answer| answer.is_ok_and(|answer| answer.node == "n1"))
    );
    assert!(
        !agent
            .releases()
            .await
            .expect("it answers")
            .releases
            .is_empty()
    );
    agent.metrics().await.expect("it answers");

    // A patch goes up in pieces, and what is there is not asked for again.
    let bundle = Bundle::read(patch).expect("it was built");
    let payload = Arc::new(Payload::from(bundle));
    let key = pb::Key {
        rollout_id: format!("r-{}", patch.file_stem().unwrap_or_default().display()),
        patch_digest: payload.digest.clone(),
        attempt: 1,
    };
    let header = payload.header(&key, 0);
    let have = agent
        .stage(futures::stream::iter([header.clone()]).boxed())
        .await
        .expect("it answers");
    assert!(!have.complete);
    let chunks = payload.clone().missing(&have.blobs);
    let all = futures::stream::iter([header.clone()].into_iter().chain(chunks));
    assert!(
        agent
            .stage(all.boxed())
            .await
            .expect("it takes them")
            .complete
    );
    let have = agent
        .stage(futures::stream::iter([header]).boxed())
        .await
        .expect("it answers");
    assert!(have.complete);

    // What the agent refuses is its failure, with its code, and the connection goes on.
    let other = pb::Key {
        patch_digest: format!("sha256:{}", "0".repeat(64)),
        ..key
    };
    let header = payload.header(&other, 0);
    let staged = agent.stage(futures::stream::iter([header]).boxed()).await;
    let refused = staged.expect_err("the digest is another patch's");
    assert!(
        matches!(&refused, CallError::Failed(failure) if failure.code.starts_with("MF")),
        "{refused}"
    );
    // A call that is given up is no trouble for the others.
    drop(tokio::time::timeout(Duration::ZERO, agent.describe()).await);
    agent.describe().await.expect("it answers");

    // An agent that dies is silence; one that is back is reached anew.
    node.kill();
    let silence = agent.describe().await.expect_err("it is dead");
    assert!(silence.is_silence(), "{silence}");
    let unreachable = transport.connect(target, PATIENCE).await;
    let silent = match unreachable {
        Err(error) => error.is_silence(),
        Ok(agent) => agent
            .describe()
            .await
            .is_err_and(|error| error.is_silence()),
    };
    assert!(silent);
    node.boot();
    let agent = connect(transport, target).await;
    assert_eq!(agent.describe().await.expect("it is back").node, "n1");
}

/// The counter's second version, and a custom section behind it that makes a large blob of its own.
fn padded(fleet: &Fleet, n: u32) -> String {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/out");
    let mut module = std::fs::read(guests.join("counter_v2.wasm")).expect("it was built");
    let content = [&[1, b'x'][..], &n.to_le_bytes(), &[7; 300_000]].concat();
    module.push(0);
    let mut left = content.len();
    while left >= 128 {
        module.push((left % 128) as u8 | 128);
        left /= 128;
    }
    module.push(left as u8);
    module.extend(content);
    let path = fleet.path(&format!("counter-{n}.wasm"));
    std::fs::write(&path, module).expect("it can be written");
    path.display().to_string()
}

/// The folder of the programs, for a server's PATH.
fn programs() -> String {
    let program = binary("midflight-agent");
    program
        .parent()
        .expect("it is in a folder")
        .display()
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_over_tls_and_over_ssh_by_each_way_pass_the_same_suite() {
    let mut fleet = Fleet::start(1);
    let patch = |n: u32| {
        let module = padded(&fleet, n);
        fleet.counter_patch(&format!("p{n}"), "1.0.0", "2.0.0", &module, &n.to_string())
    };
    let patches: Vec<PathBuf> = (0..5).map(|n| fleet.path(&patch(n))).collect();
    let mut world = World::new();
    let path = format!("SetEnv PATH={}:/usr/bin:/bin", programs());
    let open = Sshd::start(&world, &[]);
    let no_sockets = Sshd::start(&world, &["AllowStreamLocalForwarding no"]);
    let nothing = Sshd::start(&world, &["AllowTcpForwarding no", &path]);
    let forced = Sshd::start(&world, &[]);
    let socket = fleet.nodes[0].dir.join("agent.sock").display().to_string();
    // The agent listens on an address of its own: this is the port that leads there from 127.0.0.1.
    let agent = (fleet.nodes[0].address.clone(), 7400);
    let (port, _relay) = relay(agent).await;
    let line = format!(
        "restrict,command=\"{}/midflight-agent dial-stdio --socket {socket}\" {}",
        programs(),
        world.public("id")
    );
    std::fs::write(forced.folder.join("authorized_keys"), line).expect("it can be written");
    let servers = [
        ("open", &open, Way::Socket),
        ("no-sockets", &no_sockets, Way::Port),
        ("nothing", &nothing, Way::Stdio),
        ("forced", &forced, Way::Stdio),
    ];
    for (name, server, _) in servers {
        world.host(name, server);
    }
    let config = world.config().display().to_string();

    let credentials = Credentials::in_folder(&fleet.path("pki"));
    let grpc = Grpc::new(&credentials).expect("the certificates are good");
    let straight = target(&fleet, None);
    conforms(&grpc, &mut fleet, &straight, &patches[0]).await;
    for ((name, _, way), patch) in servers.into_iter().zip(&patches[1..]) {
        let ssh = Ssh::with_credentials(&credentials).expect("the certificates are good");
        let settings = Settings {
            args: vec!["-F".to_owned(), config.clone()],
            socket: Some(socket.clone()),
            ..Settings::default()
        };
        let mut target = target(&fleet, Some(Box::new(settings)));
        target.address = name.to_owned();
        target.port = port;
        conforms(&ssh, &mut fleet, &target, patch).await;
        assert_eq!(ssh.chosen("n1"), Some(way), "{name}");

        // The name in the inventory is the node's, or nothing is done.
        target.name = "n2".to_owned();
        let error = transport_error(&ssh, &target).await;
        let of_port = way == Way::Port && error.contains("not valid for name");
        assert!(of_port || error.contains("n1"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_fleet_in_memory_passes_it_too() {
    let fleet = Fleet::prepare(1);
    let module = padded(&fleet, 0);
    let patch = fleet.counter_patch("p0", "1.0.0", "2.0.0", &module, "0");
    let mut simulated = memory::Fleet::default();
    let script = memory::Script::default();
    simulated.add("n1", "test", "1.0.0", "2.0.0", script);
    let target = target(&fleet, None);
    conforms(&simulated, &mut &simulated, &target, &fleet.path(&patch)).await;
}

async fn transport_error(transport: &dyn Transport, target: &Target) -> String {
    match transport.connect(target, PATIENCE).await {
        Ok(_) => panic!("{} was believed", target.name),
        Err(error) => midflight_controller::error::chain(&error),
    }
}

/// A port of 127.0.0.1 that leads to an address; ends with the task.
async fn relay(to: (String, u16)) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let relay = tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                if let Ok(mut to) = tokio::net::TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });
    (port, relay)
}

#[test]
fn a_patch_is_applied_over_ssh_alone_and_a_changed_host_key_stops_its_node() {
    let fleet = Fleet::start(3);
    let patch = fleet.patch_v2();
    let mut world = World::new();
    let servers: Vec<Sshd> = (0..3).map(|_| Sshd::start(&world, &[])).collect();
    let mut inventory = String::from("transport: ssh\ngroups:\n  all_nodes:\n    hosts:\n");
    for (node, server) in fleet.nodes.iter().zip(&servers) {
        world.host(&format!("{}.alias", node.name), server);
        inventory += &format!(
            "      {}: {{address: {}.alias, vars: {{midflight_socket: {}}}}}\n",
            node.name,
            node.name,
            node.dir.join("agent.sock").display()
        );
    }
    let config = world.config();
    let inventory = format!("ssh: {{args: -F {}}}\n{inventory}", config.display());
    std::fs::write(fleet.path("over-ssh.yaml"), inventory).expect("it can be written");
    let policy = fleet.policy("[1, 100%]");
    let words = [
        "apply",
        &patch,
        "all_nodes",
        "--all",
        "--policy",
        &policy,
        "--output",
        "json",
    ];
    // No certificate is named: SSH says who everybody is.
    let run = |words: &[&str]| {
        let done = Command::new(binary("midflight"))
            .args(words)
            .args(["-i", "over-ssh.yaml"])
            .current_dir(fleet.dir.path())
            .env("MIDFLIGHT_JOURNAL", "journal.db")
            .env_remove("MIDFLIGHT_PKI")
            .env_remove("MIDFLIGHT_INVENTORY")
            .output()
            .expect("midflight runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let (code, text) = run(&words);
    assert_eq!(code, Some(0), "{text}");
    for node in 0..3 {
        assert_eq!(fleet.vsns(node), ("2.0.0".to_owned(), "2.0.0".to_owned()));
    }

    // Somebody else answers for the second node.
    let known = world.path("known_hosts");
    let all = std::fs::read_to_string(&known).expect("it is there");
    let changed: Vec<String> = all
        .lines()
        .map(|line| match line.contains(&servers[1].ip) {
            true => format!(
                "[{}]:{} {}",
                servers[1].ip, servers[1].port, servers[0].host_key
            ),
            false => line.to_owned(),
        })
        .collect();
    std::fs::write(&known, changed.join("\n") + "\n").expect("it can be written");
    let (code, text) = run(&["nodes", "--all", "all_nodes", "--output", "json"]);
    assert_eq!(code, Some(7), "{text}");
    assert!(
        text.contains("MF0630") && text.contains(&place(&known)),
        "{text}"
    );
}

/// The line of the second server.
fn place(known: &Path) -> String {
    format!("{}:2", known.display())
}
