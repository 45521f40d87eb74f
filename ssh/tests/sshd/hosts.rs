//! Whether a server is the one that it should be: known, unknown, changed, revoked, certified.

use crate::fixture::{Sshd, World, chain, output, run};

async fn lets_in(world: &World, name: &str) {
    let session = world
        .connect(name)
        .await
        .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    assert_eq!(output(&session, "echo in").await.0, "in\n");
}

#[tokio::test]
async fn an_unknown_host_is_refused_asked_about_or_added_as_the_configuration_says() {
    for (checking, let_in, written) in [
        ("yes", false, false),
        ("ask", false, false),
        ("accept-new", true, true),
        ("no", true, true),
    ] {
        let mut world = World::new();
        let server = Sshd::start(&world, &[]);
        world.unknown_host("node", &server);
        world.set(format!("StrictHostKeyChecking {checking}"));
        match (let_in, world.connect("node").await) {
            (true, Ok(_)) => {}
            (false, Err(error)) => {
                let text = chain(&error);
                assert!(
                    text.contains("SHA256:") && text.contains(&server.ip),
                    "{text}"
                );
            }
            (_, other) => panic!("{checking}: {other:?}"),
        }
        let key = server.host_key.split(' ').nth(1).unwrap();
        assert_eq!(
            world.read("known_hosts").contains(key),
            written,
            "{checking}"
        );
        assert!(!server.log().contains("Accepted publickey") || let_in);
    }
}

#[tokio::test]
async fn a_changed_host_key_stops_the_connection_with_the_line_to_look_at() {
    for checking in ["yes", "accept-new"] {
        let mut world = World::new();
        let (server, other) = (Sshd::start(&world, &[]), Sshd::start(&world, &[]));
        world.write("known_hosts", "# a comment\n");
        let line = format!("[{}]:{} {}\n", server.ip, server.port, other.host_key);
        let all = world.read("known_hosts") + &line;
        world.write("known_hosts", &all);
        world.unknown_host("node", &server);
        world.set(format!("StrictHostKeyChecking {checking}"));
        let text = chain(&world.connect("node").await.unwrap_err());
        assert!(
            text.contains(&format!("{}:2", world.text("known_hosts"))),
            "{text}"
        );
        assert_eq!(world.read("known_hosts"), all);
        assert!(
            !server.log().contains("userauth-request"),
            "it was asked to let us in"
        );
    }
}

#[tokio::test]
async fn a_revoked_host_key_is_refused_though_it_is_known() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    world.known(&server, "@revoked ");
    world.set("StrictHostKeyChecking no");
    let text = chain(&world.connect("node").await.unwrap_err());
    assert!(
        text.contains("revokes") && text.contains("known_hosts:2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_host_certificate_is_taken_from_its_authority_and_for_its_name_alone() {
    let mut world = World::new();
    let ca = world.key("ca", "ed25519", &[]);
    let other = world.key("other", "ed25519", &[]);
    let key = world.key("hostkey", "ecdsa", &[]);
    let certified = |ca: &str, name: &str| {
        run(
            "ssh-keygen",
            &[
                "-q",
                "-s",
                ca,
                "-I",
                "a host",
                "-h",
                "-n",
                name,
                &format!("{key}.pub"),
            ],
        );
    };
    let line = format!("HostKey {key}\nHostCertificate {key}-cert.pub");
    world.write(
        "known_hosts",
        &format!("@cert-authority *.fleet {}\n", world.public("ca")),
    );
    for (number, (authority, name, let_in)) in [
        (&ca, "node.fleet", true),
        (&ca, "another.fleet", false),
        (&other, "node.fleet", false),
    ]
    .into_iter()
    .enumerate()
    {
        certified(authority, name);
        let server = Sshd::start(&world, &[&line]);
        world.unknown_host(&format!("node{number}"), &server);
        world.set(format!(
            "Host node{number}\n  HostKeyAlias node.fleet\nHost *"
        ));
        match (let_in, world.connect(&format!("node{number}")).await) {
            (true, Ok(_)) => {}
            (false, Err(error)) => {
                assert!(chain(&error).contains("certificate"), "{}", chain(&error))
            }
            (_, other) => panic!("{authority} {name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_host_known_by_one_type_of_key_is_asked_for_that_one() {
    let mut world = World::new();
    let key = world.key("hostkey", "ecdsa", &[]);
    let server = Sshd::start(&world, &[&format!("HostKey {key}")]);
    world.write(
        "known_hosts",
        &format!(
            "[{}]:{} {}\n",
            server.ip,
            server.port,
            world.public("hostkey")
        ),
    );
    world.unknown_host("node", &server);
    lets_in(&world, "node").await;
}

#[tokio::test]
async fn a_server_with_an_rsa_host_key_alone_is_refused_by_name() {
    let mut world = World::new();
    let key = world.key("rsa", "rsa", &[]);
    let server = Sshd::start(
        &world,
        &[&format!("HostKeyAlgorithms rsa-sha2-512\nHostKey {key}")],
    );
    world.unknown_host("node", &server);
    let error = world.connect("node").await.unwrap_err();
    assert_eq!(error.code(), "MF0653", "{}", chain(&error));
    assert!(chain(&error).contains("rsa-sha2-512"), "{}", chain(&error));
}
