//! Which keys and certificates are offered, in which order and under which algorithm: the same that the real `ssh` offers,
//! with the same files and the same agent, as the server's log has it.

use std::process::{Command, Stdio};

use crate::fixture::{SshAgent, Sshd, World, run};

/// The offers in a log: algorithm and key.
fn offers(log: &str) -> Vec<String> {
    let offers = log
        .lines()
        .filter_map(|line| line.split_once("publickey test pkalg "));
    offers
        .map(|(_, offer)| offer.replace(" [preauth]", ""))
        .collect()
}

/// What both offer to a server that takes none of it.
async fn compare(world: &World, server: &Sshd, agent: &SshAgent) -> Vec<String> {
    let before = server.log().len();
    let error = world.connect("node").await.unwrap_err();
    let ours = offers(&server.log()[before..]);
    let before = server.log().len();
    let done = Command::new("ssh")
        .args([
            "-F",
            &world.text("config"),
            "-o",
            "BatchMode=yes",
            "node",
            "true",
        ])
        .env("SSH_AUTH_SOCK", &agent.socket)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("Permission denied"), "{said}");
    let theirs = offers(&server.log()[before..]);
    assert_eq!(ours, theirs, "{}\n{error}", world.read("config"));
    ours
}

#[tokio::test]
async fn what_is_offered_is_what_ssh_offers() {
    let world = World::new();
    let agent = SshAgent::start(&world);
    let server = Sshd::start(&world, &["MaxAuthTries 30"]);
    let ca = world.key("ca", "ed25519", &[]);
    let me = crate::fixture::me();
    for (name, kind) in [
        ("a", "ed25519"),
        ("b", "ecdsa"),
        ("c", "rsa"),
        ("d", "ed25519"),
        ("e", "ed25519"),
        ("f", "rsa"),
        ("g", "ecdsa"),
    ] {
        world.key(name, kind, &[]);
    }
    let certify = |name: &str, user: &str| {
        run(
            "ssh-keygen",
            &[
                "-q",
                "-s",
                &ca,
                "-I",
                name,
                "-n",
                user,
                &world.text(&format!("{name}.pub")),
            ],
        );
    };
    // `d` and `f` have a certificate beside them; that of `e` is elsewhere, and so is that of `a`, for somebody else.
    for (name, user) in [
        ("d", me.as_str()),
        ("e", &me),
        ("f", &me),
        ("a", "somebody-else"),
    ] {
        certify(name, user);
    }
    for name in ["a", "e"] {
        std::fs::rename(
            world.path(&format!("{name}-cert.pub")),
            world.path(&format!("{name}.cert")),
        )
        .unwrap();
    }
    // The agent has b, g, and d with its certificate.
    for name in ["b", "g", "d"] {
        agent.add(&world.text(name));
    }
    // Only the public half of g is in a file.
    std::fs::remove_file(world.path("g")).unwrap();
    let file = |name: &str| format!("IdentityFile {}\n", world.text(name));
    let named = |name: &str| format!("CertificateFile {}\n", world.text(name));
    let socket = format!("IdentityAgent {}\n", agent.socket);
    let none = "IdentityAgent none\n".to_owned();
    let only = "IdentitiesOnly yes\n";
    let mut compared = 0;
    for lines in [
        none.clone() + &file("a") + &file("b"),
        none.clone() + &file("b") + &file("a") + &file("c"),
        none.clone() + &file("d"),
        none.clone() + &file("f"),
        none.clone() + &file("e") + &named("e.cert"),
        none.clone() + &file("a") + &named("a.cert"),
        none.clone() + &file("a") + &file("e") + &named("e.cert") + &named("a.cert"),
        none.clone() + &file("d") + &file("e") + &named("e.cert"),
        none.clone() + &file("g") + &file("a"),
        none.clone() + &file("a.pub") + &file("b"),
        none.clone() + &file("missing") + &file("a"),
        none.clone() + &file("c") + "PubkeyAcceptedAlgorithms rsa-sha2-256\n",
        none.clone() + &file("c") + &file("a") + "PubkeyAcceptedAlgorithms -rsa*\n",
        none.clone() + &file("d") + "PubkeyAcceptedAlgorithms -*cert*\n",
        none + &file("d")
            + &file("f")
            + "PubkeyAcceptedAlgorithms -ssh-ed25519,rsa-sha2-512-cert*\n",
        socket.clone() + "IdentityFile none\n",
        socket.clone() + &file("a"),
        socket.clone() + &file("a") + &file("b"),
        socket.clone() + &file("g") + &file("a") + only,
        socket.clone() + &file("d") + only,
        socket.clone() + &file("a") + only,
        socket.clone() + &file("d"),
        socket.clone() + &file("e") + &named("e.cert"),
        socket.clone() + &file("e") + &named("e.cert") + only,
        socket.clone() + "IdentityFile none\n" + &named("d-cert.pub") + only,
        socket.clone() + "IdentityFile none\n" + &named("d-cert.pub"),
        socket.clone() + &file("a") + &named("d-cert.pub"),
        socket.clone()
            + &file("f")
            + &file("c")
            + &file("b")
            + "PubkeyAcceptedAlgorithms -ecdsa*\n",
        socket + &file("a.pub") + &file("b.pub") + only,
    ] {
        let mut world = World::new();
        world.host("node", &server);
        world.set(lines);
        compared += compare(&world, &server, &agent).await.len();
    }
    assert!(compared > 40, "{compared}");
}
