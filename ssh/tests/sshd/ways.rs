//! The way to a server: bastions, commands, full servers, dead ones.

use std::time::{Duration, Instant};

use futures::future::join_all;
use midflight_ssh::{Destination, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fixture::{LONG, Sshd, World, address, chain, output};

#[tokio::test]
async fn two_bastions_lead_to_the_hosts_behind_them_over_one_connection_each() {
    let mut world = World::new();
    let (outer, inner) = (Sshd::start(&world, &[]), Sshd::start(&world, &[]));
    let nodes = [Sshd::start(&world, &[]), Sshd::start(&world, &[])];
    world.host("outer", &outer);
    world.host("inner", &inner);
    for (number, node) in nodes.iter().enumerate() {
        world.host(&format!("node{number}"), node);
    }
    world.set("Host node*\n  ProxyJump outer,inner\nHost *");
    let client = world.client();
    let names: Vec<Destination> = (0..10)
        .map(|n| Destination::new(format!("node{}", n % 2)))
        .collect();
    let sessions = join_all(names.iter().map(|to| client.connect(to, LONG))).await;
    for session in &sessions {
        let session = session.as_ref().unwrap();
        assert_eq!(output(session, "echo in").await.0, "in\n");
    }
    assert_eq!((outer.accepted(), inner.accepted()), (1, 1));
    assert!(nodes.iter().all(|node| node.accepted() == 5));
}

#[tokio::test]
async fn a_bastion_that_cannot_be_used_is_named_and_asked_once_for_all() {
    let mut world = World::new();
    let bastion = Sshd::start(&world, &[]);
    let stranger = world.key("stranger", "ed25519", &[]);
    world.set(format!("Host bastion\n  IdentityFile {stranger}\nHost *"));
    world.host("bastion", &bastion);
    world.set(format!("IdentityFile {}", world.text("id")));
    world.set("Host node*\n  ProxyJump bastion\nHost *");
    // The key of all hosts would let us in.
    std::fs::write(bastion.folder.join("authorized_keys"), "").unwrap();
    let client = world.client();
    let names: Vec<Destination> = (0..8)
        .map(|n| Destination::new(format!("node{n}")))
        .collect();
    let results = join_all(names.iter().map(|to| client.connect(to, LONG))).await;
    for result in results {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "MF0656");
        assert!(
            chain(&error).contains("bastion") && chain(&error).contains("was not let in"),
            "{}",
            chain(&error)
        );
    }
    assert_eq!(bastion.accepted(), 1);
}

#[tokio::test]
async fn a_circle_of_bastions_ends() {
    let mut world = World::new();
    world.set("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\nHost *");
    let error = world.connect("a").await.unwrap_err();
    assert_eq!(error.code(), "MF0657", "{}", chain(&error));
}

#[tokio::test]
async fn a_bastion_that_may_not_forward_is_told_apart_from_a_dead_host() {
    let mut world = World::new();
    let (bastion, closed) = (
        Sshd::start(&world, &["AllowTcpForwarding no"]),
        Sshd::start(&world, &[]),
    );
    world.host("bastion", &bastion);
    world.host("open", &closed);
    world.set("Host node\n  ProxyJump bastion\nHost behind\n  HostName 127.0.0.1\n  Port 1\n  ProxyJump open\nHost *");
    let text = chain(&world.connect("node").await.unwrap_err());
    assert!(text.contains("configuration forbids it"), "{text}");
    let text = chain(&world.connect("behind").await.unwrap_err());
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn a_command_leads_there_and_ends_with_the_connection() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    let mark = world.text("ran");
    world.set(format!(
        "ProxyCommand sh -c 'echo $$ > {mark}; exec nc %h %p'"
    ));
    let session = world.connect("node").await.unwrap();
    assert_eq!(output(&session, "echo in").await.0, "in\n");
    let process = format!("/proc/{}", world.read("ran").trim());
    assert!(std::path::Path::new(&process).exists());
    drop(session);
    let gone = async {
        while std::path::Path::new(&process).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[tokio::test]
async fn what_a_failing_command_says_is_the_error() {
    let mut world = World::new();
    world.set("ProxyCommand sh -c 'echo no route today >&2; exit 1'");
    let error = world.connect("node").await.unwrap_err();
    assert_eq!(error.code(), "MF0655");
    assert!(
        chain(&error).contains("no route today"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn twenty_dials_get_in_where_a_server_takes_two_at_a_time() {
    let mut world = World::new();
    let server = Sshd::start(&world, &["MaxStartups 2:100:2"]);
    world.host("*", &server);
    let client = world.client();
    let names: Vec<Destination> = (0..20)
        .map(|n| Destination::new(format!("node{n}")))
        .collect();
    let sessions = join_all(names.iter().map(|to| client.connect(to, LONG))).await;
    for session in sessions {
        assert!(session.unwrap().is_open());
    }
    assert!(
        server.log().contains("past MaxStartups")
            || server.log().contains("MaxStartups throttling"),
        "nothing was dropped"
    );
}

/// A server that does as it is told with each connection.
async fn listener(world: &mut World, name: &str) -> TcpListener {
    let (ip, port) = address();
    world.set(format!(
        "Host {name}\n  HostName {ip}\n  Port {port}\nHost *"
    ));
    TcpListener::bind((ip.as_str(), port)).await.unwrap()
}

#[tokio::test]
async fn a_server_that_hangs_after_accept_ends_by_timeout_and_holds_up_nobody() {
    let mut world = World::new();
    let hanging = listener(&mut world, "hangs*").await;
    let after_version = listener(&mut world, "mute").await;
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    let hang = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(hanging.accept().await.unwrap());
        }
    });
    let version = tokio::spawn(async move {
        let (mut stream, _) = after_version.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-Mute\r\n").await.unwrap();
        // Until the client has given up and its wire is cut.
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
    });
    let client = world.client();
    // More than there are places.
    let hung = async {
        let names: Vec<Destination> = (0..100)
            .map(|n| Destination::new(format!("hangs{n}")))
            .collect();
        join_all(
            names
                .iter()
                .map(|to| client.connect(to, Duration::from_secs(20))),
        )
        .await
    };
    let began = Instant::now();
    let node = async {
        let session = client
            .connect(&Destination::new("node"), LONG)
            .await
            .unwrap();
        assert_eq!(output(&session, "echo in").await.0, "in\n");
        // Behind every hung dial, and long before the first of them ended.
        assert!(began.elapsed() < Duration::from_secs(20));
    };
    let (hung, ()) = tokio::join!(hung, node);
    for result in hung {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "MF0651", "{}", chain(&error));
        assert!(
            chain(&error).contains("did not exchange keys"),
            "{}",
            chain(&error)
        );
    }
    let mute = client
        .connect(&Destination::new("mute"), Duration::from_millis(500))
        .await;
    assert_eq!(mute.unwrap_err().code(), "MF0651");
    tokio::time::timeout(LONG, version).await.unwrap().unwrap();
    hang.abort();
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_asked_again_and_named_with_its_words() {
    let mut world = World::new();
    let closing = listener(&mut world, "closes").await;
    let counted = tokio::spawn(async move {
        let mut count = 0_u32;
        while let Ok(Ok((mut stream, _))) =
            tokio::time::timeout(Duration::from_secs(3), closing.accept()).await
        {
            stream.write_all(b"Exceeded MaxStartups\r\n").await.unwrap();
            count += 1;
        }
        count
    });
    let client = world.client();
    let error = client
        .connect(&Destination::new("closes"), Duration::from_secs(2))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Dropped { drops, .. } if drops > 1),
        "{}",
        chain(&error)
    );
    assert!(
        chain(&error).contains("Exceeded MaxStartups"),
        "{}",
        chain(&error)
    );
    assert!(counted.await.unwrap() > 1);
}

#[tokio::test]
async fn nobody_there_and_no_such_name_fail_at_once() {
    let mut world = World::new();
    let (ip, port) = address();
    world.set(format!("Host nobody\n  HostName {ip}\n  Port {port}\nHost nowhere\n  HostName no.such.invalid\nHost *"));
    for name in ["nobody", "nowhere"] {
        let error = world.connect(name).await.unwrap_err();
        assert_eq!(error.code(), "MF0650", "{}", chain(&error));
    }
}

#[tokio::test]
async fn connection_attempts_are_a_second_apart() {
    let mut world = World::new();
    let (ip, port) = address();
    world.set(format!(
        "Host nobody\n  HostName {ip}\n  Port {port}\n  ConnectionAttempts 2\nHost *"
    ));
    let began = Instant::now();
    let error = world.connect("nobody").await.unwrap_err();
    assert_eq!(error.code(), "MF0650", "{}", chain(&error));
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_web_server_is_not_taken_for_an_ssh_server() {
    let mut world = World::new();
    let other = listener(&mut world, "web").await;
    let web = tokio::spawn(async move {
        let (mut stream, _) = other.accept().await.unwrap();
        let flood = "x".repeat(300);
        stream
            .write_all(format!("HTTP/1.1 400 Bad Request\r\n{flood}\r\n").as_bytes())
            .await
            .unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    });
    let error = world.connect("web").await.unwrap_err();
    assert_eq!(error.code(), "MF0654", "{}", chain(&error));
    assert!(chain(&error).contains("HTTP/1.1 400"), "{}", chain(&error));
    web.await.unwrap();
}
