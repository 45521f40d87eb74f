//! `midflight-agent dial-stdio` as all that a key may do.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use midflight_tests::{Sshd, binary};

#[test]
fn a_forced_command_dials_the_agent_whatever_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(folder.path(), 1, &[]);
    let socket = folder.path().join("agent.sock");
    let keys = sshd.folder.join("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    let dial = format!(
        "{} dial-stdio --socket {}",
        binary("midflight-agent").display(),
        socket.display()
    );
    fs::write(&keys, format!("restrict,command=\"{dial}\" {key}")).unwrap();
    let ssh = || {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(sshd.folder.join("config"));
        ssh.args([&sshd.addresses[0], "cat /etc/passwd"]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
        ssh.stderr(Stdio::piped());
        ssh.spawn().unwrap()
    };
    // Nobody listens.
    let output = ssh().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("MF0446") && output.stdout.is_empty(),
        "{said}"
    );
    // An agent that answers when it has heard all.
    let listener = UnixListener::bind(&socket).unwrap();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        stream.read_to_end(&mut asked).unwrap();
        asked.reverse();
        stream.write_all(&asked).unwrap();
    });
    let mut client = ssh();
    let asked: Vec<u8> = (0..2 << 20).map(|n: u32| ((n * 7) >> 3) as u8).collect();
    client.stdin.take().unwrap().write_all(&asked).unwrap();
    let output = client.wait_with_output().unwrap();
    agent.join().unwrap();
    let answer: Vec<u8> = asked.into_iter().rev().collect();
    assert!(
        output.stdout == answer,
        "{} bytes came",
        output.stdout.len()
    );
    assert_eq!(output.status.code(), Some(0));
}
