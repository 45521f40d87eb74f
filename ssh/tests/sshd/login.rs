//! Who we are, to a server: keys of each type, certificates, the agent.

use std::sync::Arc;

use midflight_ssh::{Client, Config, Destination, Error, Options};

use crate::fixture::{LONG, SshAgent, Sshd, World, chain, output, private, run};

async fn lets_in(world: &World, name: &str) {
    let session = world
        .connect(name)
        .await
        .unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    assert_eq!(output(&session, "echo in").await.0, "in\n");
    session.close().await;
}

#[tokio::test]
async fn a_key_of_each_type_opens_a_session() {
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    for (name, kind, more) in [
        ("ed25519", "ed25519", &[][..]),
        ("p256", "ecdsa", &["-b", "256"]),
        ("p384", "ecdsa", &["-b", "384"]),
        ("p521", "ecdsa", &["-b", "521"]),
        ("rsa2048", "rsa", &["-b", "2048"]),
        ("rsa3072", "rsa", &["-b", "3072"]),
        ("rsa-pkcs1", "rsa", &["-b", "2048", "-m", "PEM"]),
        ("rsa-pkcs8", "rsa", &["-b", "2048", "-m", "PKCS8"]),
        ("p256-pkcs8", "ecdsa", &["-b", "256", "-m", "PKCS8"]),
    ] {
        let path = world.key(name, kind, more);
        server.authorize(&world.public(name));
        world.set(format!("Host {name}\n  IdentityFile {path}"));
    }
    world.host("*", &server);
    for name in [
        "ed25519",
        "p256",
        "p384",
        "p521",
        "rsa2048",
        "rsa3072",
        "rsa-pkcs1",
        "rsa-pkcs8",
        "p256-pkcs8",
    ] {
        lets_in(&world, name).await;
    }
}

#[tokio::test]
async fn a_server_that_takes_rsa_with_sha_256_alone_is_given_that() {
    let mut world = World::new();
    let path = world.key("rsa", "rsa", &["-b", "2048"]);
    let server = Sshd::start(&world, &["PubkeyAcceptedAlgorithms rsa-sha2-256"]);
    server.authorize(&world.public("rsa"));
    // A server of that time does not say so in its extensions; ssh has to be told too.
    world.set(format!(
        "IdentityFile {path}\nPubkeyAcceptedAlgorithms rsa-sha2-256"
    ));
    world.host("node", &server);
    lets_in(&world, "node").await;
}

#[tokio::test]
async fn a_key_behind_a_passphrase_is_unlocked_by_whoever_can_be_asked_and_is_named_otherwise() {
    let mut world = World::new();
    let path = world.key("locked", "ed25519", &["-N", "sesame", "-a", "2"]);
    let server = Sshd::start(&world, &[]);
    server.authorize(&world.public("locked"));
    world.set(format!("IdentityFile {path}"));
    world.host("node", &server);
    let refused = world.connect("node").await.unwrap_err();
    let text = chain(&refused);
    assert!(matches!(refused, Error::Authentication { .. }), "{text}");
    assert!(
        text.contains(&path) && text.contains("passphrase") && text.contains("ssh-add"),
        "{text}"
    );

    let mut options = Options::new(Config::load(Some(&world.config())).unwrap());
    options.ask_passphrase = Some(Arc::new(|_| Some("sesame".to_owned())));
    let client = Client::new(options);
    let session = client
        .connect(&Destination::new("node"), LONG)
        .await
        .unwrap();
    assert_eq!(output(&session, "echo in").await.0, "in\n");
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_by_name() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world = World::new();
    let server = Sshd::start(&world, &[]);
    world.host("node", &server);
    std::fs::set_permissions(world.path("id"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let text = chain(&world.connect("node").await.unwrap_err());
    assert!(
        text.contains("0644") && text.contains("chmod 600"),
        "{text}"
    );
}

#[tokio::test]
async fn a_certificate_beside_its_key_opens_a_session_where_the_key_alone_does_not() {
    let mut world = World::new();
    let ca = world.key("ca", "ed25519", &[]);
    let me = crate::fixture::me();
    for (name, kind) in [("ed", "ed25519"), ("rsa", "rsa")] {
        let path = world.key(name, kind, &[]);
        run(
            "ssh-keygen",
            &[
                "-q",
                "-s",
                &ca,
                "-I",
                "an engineer",
                "-n",
                &me,
                &format!("{path}.pub"),
            ],
        );
        world.set(format!("Host {name}\n  IdentityFile {path}"));
        world.set(format!(
            "Host {name}-named\n  IdentityFile {path}\n  CertificateFile {path}-cert.pub"
        ));
    }
    let server = Sshd::start(
        &world,
        &[&format!("TrustedUserCAKeys {}.pub", world.text("ca"))],
    );
    world.host("*", &server);
    for name in ["ed", "rsa", "ed-named", "rsa-named"] {
        lets_in(&world, name).await;
    }
    assert!(server.log().contains("an engineer"));
}

#[tokio::test]
async fn the_agent_signs_for_the_keys_and_certificates_that_it_holds() {
    let mut world = World::new();
    let agent = SshAgent::start(&world);
    let ca = world.key("ca", "ed25519", &[]);
    let server = Sshd::start(
        &world,
        &[&format!("TrustedUserCAKeys {}.pub", world.text("ca"))],
    );
    world
        .set(format!("IdentityAgent {}", agent.socket))
        .set("IdentityFile none");
    world.host("node", &server);
    for (name, kind) in [("ed", "ed25519"), ("rsa", "rsa"), ("ec", "ecdsa")] {
        let path = world.key(name, kind, &[]);
        server.authorize(&world.public(name));
        agent.add(&path);
        lets_in(&world, "node").await;
        run(
            "sh",
            &[
                "-c",
                &format!("SSH_AUTH_SOCK={} ssh-add -q -D", agent.socket),
            ],
        );
    }
    let path = world.key("certified", "ed25519", &[]);
    run(
        "ssh-keygen",
        &[
            "-q",
            "-s",
            &ca,
            "-I",
            "by agent",
            "-n",
            &crate::fixture::me(),
            &format!("{path}.pub"),
        ],
    );
    agent.add(&path);
    lets_in(&world, "node").await;
    assert!(server.log().contains("by agent"));
}

#[tokio::test]
async fn of_the_agents_keys_only_the_named_one_is_offered_under_identities_only() {
    let mut world = World::new();
    let agent = SshAgent::start(&world);
    let server = Sshd::start(&world, &["MaxAuthTries 2"]);
    for number in 0..4 {
        let path = world.key(&format!("other{number}"), "ed25519", &[]);
        agent.add(&path);
    }
    agent.add(&world.text("id"));
    // The private half is in the agent alone.
    std::fs::remove_file(world.path("id")).unwrap();
    world.set(format!("IdentityAgent {}", agent.socket));
    let id = world.text("id");
    world.set(format!(
        "Host only\n  IdentitiesOnly yes\n  IdentityFile {id}"
    ));
    world.set("Host all\n  IdentityFile none");
    world.host("*", &server);
    lets_in(&world, "only").await;
    let error = world.connect("all").await.unwrap_err();
    assert!(
        matches!(error, Error::TooManyKeys { .. }),
        "{}",
        chain(&error)
    );
    assert!(
        chain(&error).contains("IdentitiesOnly"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn who_is_not_let_in_learns_what_was_offered_and_what_the_server_takes() {
    let mut world = World::new();
    let path = world.key("stranger", "ed25519", &[]);
    let server = Sshd::start(
        &world,
        &[
            "KbdInteractiveAuthentication no",
            "PasswordAuthentication yes",
        ],
    );
    world.set(format!(
        "IdentityFile {path}\nIdentityFile {}",
        world.text("missing")
    ));
    world.host("node", &server);
    let error = world.connect("node").await.unwrap_err();
    let text = chain(&error);
    assert_eq!(error.code(), "MF0658");
    for part in [
        path.as_str(),
        "SHA256:",
        "publickey, password",
        "missing does not exist",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_wants_two_keys_is_given_two() {
    let mut world = World::new();
    let second = world.key("second", "ed25519", &[]);
    let server = Sshd::start(&world, &["AuthenticationMethods publickey,publickey"]);
    server.authorize(&world.public("second"));
    world.set(format!(
        "IdentityFile {}\nIdentityFile {second}",
        world.text("id")
    ));
    world.host("node", &server);
    lets_in(&world, "node").await;
    private(&world.path("id"));
}
