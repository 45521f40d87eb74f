//! What runs over a connection: programs, forwarded sockets and ports, and how they end.

use std::process::Command;
use std::time::Duration;

use midflight_ssh::{Destination, Error, Event, Exit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use crate::fixture::{LONG, Sshd, World, address, chain, output, until};

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("it hangs")
}

#[tokio::test]
async fn a_program_has_its_output_errors_and_exit_status() {
    let mut world = World::new();
    let server = Sshd::start(&world, &["AcceptEnv GREETING"]);
    world.host("node", &server);
    world.set("SetEnv GREETING=hello");
    let session = world.connect("node").await.unwrap();
    let (out, err, exit) = output(&session, "echo $GREETING; echo oh >&2; exit 7").await;
    assert_eq!(
        (out.as_str(), err.as_str(), exit),
        ("hello\n", "oh\n", Exit::Status(7))
    );
    let (_, _, exit) = output(&session, "kill -TERM $$").await;
    assert_eq!(
        exit,
        Exit::Signal {
            name: "TERM".to_owned(),
            core_dumped: false
        }
    );
    // Several at a time, each with an end of its own.
    let both = in_time(async {
        tokio::join!(output(&session, "cat; echo a"), output(&session, "echo b"))
    })
    .await;
    assert_eq!((both.0.0.as_str(), both.1.0.as_str()), ("a\n", "b\n"));
}

#[tokio::test]
async fn large_transfers_pass_both_ways_with_a_slow_reader() {
    const SIZE: usize = 24 << 20;
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    let session = world.connect("node").await.unwrap();
    let mut exec = session.exec("cat").await.unwrap();
    let mut stdin = exec.stdin().unwrap();
    let sent: Vec<u8> = (0..SIZE).map(|n| (n / 7) as u8).collect();
    let copy = sent.clone();
    let send = tokio::spawn(async move {
        stdin.write_all(&copy).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    let exit = in_time(async {
        loop {
            match exec.next().await.unwrap().unwrap() {
                Event::Stdout(data) => back.extend_from_slice(&data),
                Event::Stderr(_) => {}
                Event::Exit(exit) => break exit,
            }
            if back.len() < 1 << 20 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    })
    .await;
    send.await.unwrap();
    assert_eq!(exit, Exit::Status(0));
    assert!(back == sent, "{} bytes came back", back.len());
}

#[tokio::test]
async fn a_reader_that_stops_behind_a_bastion_holds_up_no_other_host() {
    let mut world = World::new();
    let (bastion, node) = (Sshd::start(&world, &[]), Sshd::start(&world, &[]));
    world.host("bastion", &bastion);
    world.host("node*", &node);
    world.set("Host node*\n  ProxyJump bastion\nHost *");
    let client = world.client();
    let stuck = client
        .connect(&Destination::new("node1"), LONG)
        .await
        .unwrap();
    let mut flood = stuck.exec("head -c 60000000 /dev/zero").await.unwrap();
    // It has begun, and nobody reads on.
    let Some(Event::Stdout(first)) = flood.next().await.unwrap() else {
        panic!("no output")
    };
    let mut length = first.len();
    for number in 2..5 {
        let to = Destination::new(format!("node{number}"));
        let session = in_time(client.connect(&to, LONG)).await.unwrap();
        let (out, ..) = in_time(output(&session, "head -c 8000000 /dev/zero | wc -c")).await;
        assert_eq!(out.trim(), "8000000");
    }
    // What was held back is whole.
    in_time(async {
        while let Some(event) = flood.next().await.unwrap() {
            if let Event::Stdout(data) = event {
                length += data.len();
            }
        }
    })
    .await;
    assert_eq!(length, 60_000_000);
}

#[tokio::test]
async fn writing_and_reading_much_behind_a_bastion_at_once_ends() {
    const SIZE: usize = 16 << 20;
    let mut world = World::new();
    let (bastion, node) = (Sshd::start(&world, &[]), Sshd::start(&world, &[]));
    world.host("bastion", &bastion);
    world.host("node", &node);
    world.set("Host node\n  ProxyJump bastion\nHost *");
    let session = world.connect("node").await.unwrap();
    let stream = session.exec_stream("cat").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        write.write_all(&vec![3; SIZE]).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receive = async {
        let mut back = Vec::new();
        read.read_to_end(&mut back).await.unwrap();
        back.len()
    };
    let ((), back) = in_time(async { tokio::join!(send, receive) }).await;
    assert_eq!(back, SIZE);
}

/// A socket and a port on the "server" that send everything back.
async fn echo(world: &World) -> (String, String, u16) {
    let path = world.text("echo.sock");
    let unix = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = unix.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let (ip, port) = address();
    let tcp = TcpListener::bind((ip.as_str(), port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    (path, ip, port)
}

#[tokio::test]
async fn sockets_and_ports_are_forwarded_and_refused_where_the_server_forbids_it() {
    let mut world = World::new();
    let both = Sshd::start(&world, &[]);
    let no_unix = Sshd::start(&world, &["AllowStreamLocalForwarding no"]);
    // To sshd this means sockets as well: they are on no list of its permissions.
    let neither = Sshd::start(&world, &["AllowTcpForwarding no"]);
    let servers = [
        ("both", &both),
        ("no-unix", &no_unix),
        ("neither", &neither),
    ];
    for (name, server) in servers {
        world.host(name, server);
    }
    let (path, ip, port) = echo(&world).await;
    let client = world.client();
    for (name, unix, tcp) in [
        ("both", true, true),
        ("no-unix", false, true),
        ("neither", false, false),
    ] {
        let session = client.connect(&Destination::new(name), LONG).await.unwrap();
        for (expected, opened) in [
            (unix, session.unix(&path).await),
            (tcp, session.tcp(&ip, port).await),
        ] {
            match (expected, opened) {
                (true, Ok(mut stream)) => {
                    stream.write_all(b"there").await.unwrap();
                    stream.shutdown().await.unwrap();
                    let mut back = String::new();
                    in_time(stream.read_to_string(&mut back)).await.unwrap();
                    assert_eq!(back, "there");
                }
                (false, Err(error)) => {
                    assert_eq!(error.code(), "MF0670");
                    assert!(chain(&error).contains("forbids"), "{}", chain(&error));
                }
                (expected, opened) => panic!("{name}: {expected}, {opened:?}"),
            }
        }
        // The connection outlives a refusal.
        assert_eq!(output(&session, "echo in").await.0, "in\n");
    }
    let session = client
        .connect(&Destination::new("both"), LONG)
        .await
        .unwrap();
    for error in [
        session.unix("/no/such/socket").await.unwrap_err(),
        session.tcp("127.0.0.1", 1).await.unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::RefusedByServer { .. }),
            "{}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn a_dropped_stream_closes_its_channel_and_leaves_the_others() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    let session = world.connect("node").await.unwrap();
    let stream = session
        .exec_stream("echo $$; exec sleep 1000")
        .await
        .unwrap();
    let mut stream = tokio::io::BufReader::new(stream);
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut line)
        .await
        .unwrap();
    drop(stream);
    let closed = async {
        while !server.log().contains("close_session") && !server.log().contains("session_close") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(closed).await;
    assert_eq!(output(&session, "echo in").await.0, "in\n");
    let _ = Command::new("kill").arg(line.trim()).output();
}

#[tokio::test]
async fn a_server_that_is_stopped_is_noticed_by_its_silence() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    world.set("ServerAliveInterval 1\nServerAliveCountMax 1");
    let session = world.connect("node").await.unwrap();
    let mut stream = session.exec_stream("cat").await.unwrap();
    let processes = server.connections();
    let stop = |process: &String| {
        Command::new("kill")
            .args(["-STOP", process])
            .status()
            .unwrap()
    };
    // One that has ended meanwhile is no matter.
    assert!(
        processes
            .iter()
            .filter(|process| stop(process).success())
            .count()
            > 0
    );
    let mut byte = [0];
    let error = in_time(stream.read(&mut byte)).await.unwrap_err();
    assert!(error.to_string().contains("ServerAliveInterval"), "{error}");
    assert!(!session.is_open());
    let error = in_time(session.exec("true")).await.unwrap_err();
    assert_eq!(error.code(), "MF0671", "{}", chain(&error));
    assert!(in_time(stream.write_all(b"x")).await.is_err());
}

#[tokio::test]
async fn a_server_that_dies_ends_what_runs_over_it() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    let session = world.connect("node").await.unwrap();
    let mut exec = session.exec("cat").await.unwrap();
    for process in server.connections() {
        let _ = Command::new("kill").args(["-KILL", &process]).status();
    }
    let error = in_time(exec.next()).await.unwrap_err();
    assert_eq!(error.code(), "MF0671", "{}", chain(&error));
    assert_eq!(
        in_time(session.unix("/x")).await.unwrap_err().code(),
        "MF0671"
    );
}

#[tokio::test]
async fn keys_are_changed_under_way() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    world.set("RekeyLimit 1M");
    let session = world.connect("node").await.unwrap();
    let (out, ..) = in_time(output(&session, "base64 /dev/urandom | head -c 9000000")).await;
    assert_eq!(out.len(), 9_000_000);
    until("keys are changed", || {
        server.log().matches("set_newkeys").count() > 4 || server.log().matches("rekey").count() > 4
    });
}

#[tokio::test]
async fn what_is_compressed_arrives_whole() {
    let mut world = World::new();
    let server = Sshd::start(&world, &["Compression yes"]);
    world.host("node", &server);
    world.set("Compression yes");
    let session = world.connect("node").await.unwrap();
    let (out, ..) = in_time(output(&session, "seq 1 400000")).await;
    assert_eq!(out.lines().count(), 400_000);
    assert!(server.log().contains("Enabling compression"));
}

#[tokio::test]
async fn a_forced_command_comes_before_the_one_that_is_asked_for() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    let line = format!(
        "restrict,command=\"echo forced; echo why >&2; exit 3\" {}",
        world.public("id")
    );
    std::fs::write(server.folder.join("authorized_keys"), line).unwrap();
    let session = world.connect("node").await.unwrap();
    let (out, _, exit) = output(&session, "echo asked").await;
    assert_eq!((out.as_str(), exit), ("forced\n", Exit::Status(3)));
    let mut stream = session.exec_stream("x").await.unwrap();
    let words = stream.last_words();
    let mut all = String::new();
    in_time(stream.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "forced\n");
    in_time(async {
        while words.text() != "why (exit status 3)" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
