//! `midflight-agent dial-stdio` as a process: what it carries, how it ends, and who may use the socket behind it.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // other tests need more of it
#[path = "agent/support/mod.rs"]
mod support;

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

use hyper_util::rt::TokioIo;
use midflight_proto::agent::v1::{self as pb, node_agent_client::NodeAgentClient};
use support::{Client, Node, failure};
use tokio::process as asynchronous;
use tonic::transport::{Endpoint, Uri};

const AGENT: &str = env!("CARGO_BIN_EXE_midflight-agent");

fn dial(more: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(AGENT);
    command.arg("dial-stdio").args(more).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command
}

/// The exit code and stderr.
fn end(output: Output) -> (i32, String) {
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), said)
}

/// A client over the stdin and stdout of a process.
async fn client(command: Command) -> (Client, asynchronous::Child) {
    let mut child = asynchronous::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pipes = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let mut pipes = Some(TokioIo::new(tokio::io::join(pipes.0, pipes.1)));
    let connect = tower::service_fn(move |_: Uri| {
        let pipes = pipes.take();
        async move { pipes.ok_or_else(|| std::io::Error::other("one process, one connection")) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connect).await.unwrap();
    (NodeAgentClient::new(channel), child)
}

fn renew() -> pb::RenewRequest {
    pb::RenewRequest::default()
}

/// The code with which an order is refused.
async fn refusal(client: &mut Client) -> String {
    failure(client.renew(renew()).await).1.code
}

#[tokio::test]
async fn it_carries_requests_between_its_pipes_and_the_agent_and_ends_when_they_are_closed() {
    let node = Node::start().await;
    let (mut client, mut process) =
        client(dial(&["--config", "agent.yaml"], node.folder.path())).await;
    let described = client.describe(pb::DescribeRequest::default()).await;
    assert_eq!(described.unwrap().into_inner().node, "web1.eu");
    drop(client);
    assert_eq!(process.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn it_ends_when_the_agent_stops() {
    let mut node = Node::start().await;
    let (mut client, mut process) =
        client(dial(&["--config", "agent.yaml"], node.folder.path())).await;
    let described = client.describe(pb::DescribeRequest::default()).await;
    described.unwrap();
    node.server.take().unwrap().stop().await;
    // Its stdin is open still.
    assert_eq!(process.wait().await.unwrap().code(), Some(0));
}

#[test]
fn without_an_agent_it_exits_2_and_says_where_none_listens() {
    let node = Node::prepare("");
    let folder = node.folder.path();
    let (code, said) = end(dial(&["--config", "agent.yaml"], folder).output().unwrap());
    assert_eq!(code, 2);
    assert!(
        said.contains("MF0446") && said.contains("agent.sock"),
        "{said}"
    );
    // A socket file that an agent left behind is none that listens.
    drop(UnixListener::bind(node.path("left.sock")).unwrap());
    let (code, said) = end(dial(&["--socket", "left.sock"], folder).output().unwrap());
    assert_eq!(code, 2);
    assert!(
        said.contains("MF0446") && said.contains("left.sock"),
        "{said}"
    );
}

#[test]
fn a_configuration_that_cannot_be_read_or_has_no_socket_exits_1() {
    let node = Node::prepare("");
    let folder = node.folder.path();
    let (code, said) = end(dial(&["--config", "no.yaml"], folder).output().unwrap());
    assert_eq!(code, 1);
    assert!(
        said.contains("MF0402") && said.contains("no.yaml"),
        "{said}"
    );
    let text = fs::read_to_string(node.path("agent.yaml")).unwrap();
    let tcp_only = text.replace("  unix: {path: agent.sock}\n", "");
    fs::write(node.path("tcp.yaml"), tcp_only).unwrap();
    let (code, said) = end(dial(&["--config", "tcp.yaml"], folder).output().unwrap());
    assert_eq!(code, 1);
    assert!(
        said.contains("MF0453") && said.contains("tcp.yaml"),
        "{said}"
    );
}

#[test]
fn an_agent_that_lets_the_connection_go_without_a_word_is_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let mut child = dial(&["--socket", "s"], folder.path()).spawn().unwrap();
    let open = child.stdin.take();
    drop(listener.accept().unwrap());
    let (code, said) = end(child.wait_with_output().unwrap());
    drop(open);
    assert_eq!(code, 2);
    assert!(
        said.contains("MF0452") && said.contains("listen.unix.peers"),
        "{said}"
    );
}

#[test]
fn the_end_of_stdin_reaches_the_agent_and_its_answer_still_comes() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let agent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        stream.read_to_end(&mut asked).unwrap();
        stream.write_all(&vec![7; 3 << 20]).unwrap();
        asked
    });
    let mut child = dial(&["--socket", "s"], folder.path()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"all of it").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(agent.join().unwrap(), b"all of it");
    assert_eq!(output.stdout, vec![7; 3 << 20]);
    assert_eq!(end(output), (0, String::new()));
}

#[test]
fn many_bytes_go_both_ways_at_once_and_none_stay_in_the_process() {
    const MUCH: usize = 48 << 20;
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let agent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut chunk, mut total) = (vec![0; 1 << 16], 0);
        while total < MUCH {
            let read = stream.read(&mut chunk).unwrap();
            stream.write_all(&chunk[..read]).unwrap();
            total += read;
        }
        assert_eq!(stream.read(&mut chunk).unwrap(), 0);
    });
    let mut child = dial(&["--socket", "s"], folder.path()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sent: Vec<u8> = (0..MUCH).map(|at| ((at * 31) >> 7) as u8).collect();
    let copy = sent.clone();
    let writer = thread::spawn(move || {
        input.write_all(&copy).unwrap();
        input
    });
    let mut came = vec![0; MUCH];
    output.read_exact(&mut came).unwrap();
    assert!(came == sent, "other bytes came back");
    let input = writer.join().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    if let Ok(status) = status {
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let peak: usize = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        assert!(peak < 32 << 10, "{peak} KiB");
    }
    drop((input, output));
    agent.join().unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn the_own_user_has_the_role_that_is_listed_for_it() {
    let own = rustix::process::geteuid().as_raw();
    for (listed, code) in [("viewer", "MF0416"), ("operator", "MF0415")] {
        let mut node = Node::prepare("");
        listing(&node, &format!("{own}: {listed}"));
        node.boot().await.unwrap();
        let mode = fs::metadata(node.path("agent.sock")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let (mut client, _process) =
            client(dial(&["--config", "agent.yaml"], node.folder.path())).await;
        client
            .describe(pb::DescribeRequest::default())
            .await
            .unwrap();
        assert_eq!(refusal(&mut client).await, code, "{listed}");
    }
}

/// As root alone a test can be somebody else.
#[tokio::test]
async fn another_user_has_the_role_that_is_listed_and_who_is_not_listed_is_let_go() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut node = Node::prepare("");
    listing(&node, "54321: , nobody: operator");
    node.boot().await.unwrap();
    let folder = node.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let mode = fs::metadata(node.path("agent.sock")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o666);
    // The build's folder may be one that others cannot enter.
    fs::copy(AGENT, node.path("midflight-agent")).unwrap();
    let dial = |uid: u32| {
        let mut command = Command::new(node.path("midflight-agent"));
        command.args(["dial-stdio", "--socket"]);
        command.arg(node.path("agent.sock")).uid(uid).gid(uid);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        command
    };
    let (mut viewer, _process) = client(dial(54_321)).await;
    let described = viewer.describe(pb::DescribeRequest::default()).await;
    described.unwrap();
    assert_eq!(refusal(&mut viewer).await, "MF0416");
    let (mut operator, _process) = client(dial(65_534)).await;
    assert_eq!(refusal(&mut operator).await, "MF0415");
    let mut stranger = asynchronous::Command::from(dial(54_322));
    let mut stranger = stranger.kill_on_drop(true).spawn().unwrap();
    let _open = stranger.stdin.take();
    let (code, said) = end(stranger.wait_with_output().await.unwrap());
    assert_eq!(code, 2);
    assert!(said.contains("MF0452"), "{said}");
}

fn listing(node: &Node, peers: &str) {
    let text = fs::read_to_string(node.path("agent.yaml")).unwrap();
    let unix = format!("{{path: agent.sock, peers: {{{peers}}}}}");
    let text = text.replace("{path: agent.sock}", &unix);
    fs::write(node.path("agent.yaml"), text).unwrap();
}
