//! Verdicts about host keys against the real `ssh`, `sshd` and `ssh-keygen`, on the same files.

mod support;

use std::path::Path;
use std::sync::Arc;

use midflight_ssh::known_hosts::Trusted;
use midflight_ssh::{Error, KnownHosts};
use support::servers::{CASES, STRICT};
use support::world::{Offer, World, run};

#[test]
fn a_server_is_trusted_if_and_only_if_ssh_trusts_it() {
    let world = World::new();
    world.certify("ed", "ca", &["-n", "h,*.example"]);
    world.write("global", "");
    for (known, host, lines, keys) in CASES {
        // As they are, and with their plain names hashed.
        for hashed in [false, true] {
            world.write("known_hosts", &world.fill(known));
            if hashed && !world.hash() {
                continue;
            }
            let context = format!("{host} with {keys:?}\n{lines}{}", world.read("known_hosts"));
            let (theirs, said) = world.ssh(host, lines, keys);
            let (algorithm, ours) = world.ours(host, lines, keys);
            assert!(
                said.contains(&format!("kex: host key algorithm: {algorithm}\r")),
                "{algorithm} for {context}\n{said}"
            );
            assert_eq!(ours.is_ok(), theirs, "{context}\n{ours:?}\n{said}");
            // Where both found a line it is the same one.
            if let Ok(Trusted::Known(at) | Trusted::Certified(at)) = &ours {
                assert!(
                    said.contains(&format!("in {at}\r")),
                    "{at} for {context}\n{said}"
                );
            }
        }
    }
}

#[test]
fn certificates_count_if_and_only_if_they_count_for_ssh() {
    let world = World::new();
    world.key("rsa", "rsa", &["-b", "3072"]);
    world.write("global", "");
    for (authority, more) in [
        ("ca", &["-n", "h"][..]),
        ("ca", &[]),
        ("ca", &["-n", "*"]),
        ("ca", &["-n", "other,h"]),
        ("ca", &["-n", "other"]),
        ("ca", &["-n", "H"]),
        ("ca", &["-n", "h", "-V", "-1d:+1d"]),
        ("ca", &["-n", "h", "-V", "-2d:-1d"]),
        ("ca", &["-n", "h", "-V", "+1d:+2d"]),
        ("ca", &["-n", "h", "-O", "critical:x=y"]),
        ("ca", &["-n", "h", "-O", "extension:x=y"]),
        ("ca2", &["-n", "h"]),
        ("rsa", &["-n", "h"]),
        ("rsa", &["-n", "h", "-t", "rsa-sha2-256"]),
    ] {
        world.certify("ed", authority, more);
        let known = format!("@cert-authority * {{{authority}}}\n");
        world.write("known_hosts", &world.fill(&known));
        let (theirs, said) = world.ssh("h", STRICT, &["ed", "ed-cert"]);
        let (_, ours) = world.ours("h", STRICT, &["ed", "ed-cert"]);
        assert_eq!(
            ours.is_ok(),
            theirs,
            "{authority} {more:?}\n{ours:?}\n{said}"
        );
        if let Err(error) = ours {
            assert_eq!(error.code(), "MF0632");
            assert!(
                error
                    .to_string()
                    .contains("its certificate does not count: it "),
                "{error}"
            );
        }
    }
}

#[test]
fn a_certificate_that_was_tampered_with_does_not_count() {
    let world = World::new();
    world.key("rsa", "rsa", &["-b", "3072"]);
    world.write("global", "");
    for authority in ["ca", "ca2", "rsa"] {
        world.certify("ed", authority, &["-n", "h"]);
        world.write(
            "known_hosts",
            &world.fill(&format!("@cert-authority * {{{authority}}}\n")),
        );
        let Offer::Certificate(certificate) = Offer::read(&world.path("ed-cert.pub")) else {
            panic!("it is a certificate");
        };
        let bytes = certificate.to_bytes().expect("its bytes");
        let principal = bytes
            .windows(9)
            .position(|w| w == b"\0\0\0\x05\0\0\0\x01h")
            .expect("its principal")
            + 8;
        let mut other = bytes.clone();
        other[principal] = b'g';
        let forged = ssh_key::Certificate::from_bytes(&other).expect("well formed");
        let error = KnownHosts::default()
            .verify(
                &world.resolve("g", STRICT),
                None,
                midflight_ssh::HostKey::Certificate(&forged),
            )
            .expect_err("forged");
        assert!(
            error.to_string().contains("its signature is wrong"),
            "{authority}: {error}"
        );
    }
}

#[test]
fn a_changed_key_is_refused_with_its_line_whatever_is_configured() {
    let world = World::new();
    world.write("global", "");
    for checking in ["yes", "ask", "accept-new", "no"] {
        let known = world.write(
            "known_hosts",
            &world.fill("x {ed}\n# comment\n[h]:2200 {ec}\n[h]:2200 {ed2}\n"),
        );
        let lines = format!("StrictHostKeyChecking {checking}\nPort 2200\n");
        let (_, ours) = world.ours("h", &lines, &["ed"]);
        let error = ours.expect_err("another key");
        assert_eq!(error.code(), "MF0630");
        let fingerprint = |key: &str| {
            let line = run("ssh-keygen", &["-lf", &world.text(&format!("{key}.pub"))]);
            format!(
                "ssh-ed25519 {}",
                line.split(' ').nth(1).expect("a fingerprint")
            )
        };
        let expected = format!(
            "{}:4: the host key of [h]:2200 has changed: this line has {}, the host offers {};",
            known.display(),
            fingerprint("ed2"),
            fingerprint("ed")
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(
            world.read("known_hosts"),
            world.fill("x {ed}\n# comment\n[h]:2200 {ec}\n[h]:2200 {ed2}\n")
        );
        // The command in the message is the right one.
        run(
            "ssh-keygen",
            &["-q", "-R", "[h]:2200", "-f", &world.text("known_hosts")],
        );
        assert_eq!(world.read("known_hosts"), world.fill("x {ed}\n# comment\n"));
    }
}

#[test]
fn a_key_of_another_type_than_the_one_on_record_is_refused_by_that_name() {
    let world = World::new();
    world.write("global", "");
    world.write("known_hosts", &world.fill("\nh {ed}\n"));
    for checking in ["yes", "accept-new", "no"] {
        let lines = format!("StrictHostKeyChecking {checking}\n");
        let error = world
            .ours("h", &lines, &["ec"])
            .1
            .expect_err("another type");
        assert_eq!(error.code(), "MF0635");
        let at = format!(
            "{}:2: h is on record with a key of another type",
            world.text("known_hosts")
        );
        assert!(error.to_string().starts_with(&at), "{error}");
    }
    assert!(!world.ssh("h", STRICT, &["ec"]).0);
}

#[test]
fn a_new_host_is_added_as_ssh_adds_it() {
    let world = World::new();
    world.write("global", "");
    for (host, port, hash) in [
        ("H.example", 22, "no"),
        ("h", 2200, "no"),
        ("h", 22, "yes"),
        ("h", 2200, "yes"),
    ] {
        let lines =
            format!("StrictHostKeyChecking accept-new\nHashKnownHosts {hash}\nPort {port}\n");
        // The last line has no end.
        let before = world.fill("other {ec}");
        world.write("known_hosts", &before);
        let (_, ours) = world.ours(host, &lines, &["ed"]);
        assert_eq!(
            ours.expect("added"),
            Trusted::Added(world.path("known_hosts"))
        );
        let added = world.read("known_hosts");
        let (start, line) = added.split_at(before.len());
        assert_eq!(start, before);
        if hash == "no" {
            let name = if port == 22 {
                host.to_lowercase()
            } else {
                format!("[{host}]:{port}")
            };
            assert_eq!(line, world.fill(&format!("\n{name} {{ed}}\n")));
        } else {
            assert!(line.starts_with("\n|1|"), "{line}");
        }
        // Now it is known, to us and to ssh, and nothing is added again.
        let strict = format!("StrictHostKeyChecking yes\nPort {port}\n");
        assert!(world.ssh(host, &strict, &["ed"]).0);
        let (_, again) = world.ours(host, &lines, &["ed"]);
        assert!(matches!(again, Ok(Trusted::Known(at)) if at.line == 2));
        assert_eq!(world.read("known_hosts"), added);
    }
}

#[test]
fn nothing_is_added_where_nothing_can_be() {
    let world = World::new();
    world.write("global", "");
    let lines = "StrictHostKeyChecking accept-new\n";
    for (file, expected) in [
        ("none", None),
        ("/dev/null", Some("/dev/null")),
        ("/proc/there/is/none", None),
    ] {
        let mut to = world.resolve("h", lines);
        to.user_known_hosts = if file == "none" {
            Vec::new()
        } else {
            vec![file.into()]
        };
        let offer = Offer::read(&world.path("ed.pub"));
        let trusted = KnownHosts::default()
            .verify(&to, None, offer.as_host_key())
            .expect("accepted");
        let expected = expected.map_or(Trusted::Unrecorded, |path| Trusted::Added(path.into()));
        assert_eq!(trusted, expected, "{file}");
    }
}

#[test]
fn thousands_of_new_hosts_are_added_once_each_by_several_processes() {
    let world = World::new();
    world.write("global", "");
    world.write("known_hosts", "");
    let base = world.resolve(
        "h",
        "StrictHostKeyChecking accept-new\nHashKnownHosts yes\n",
    );
    let offer = Arc::new(Offer::read(&world.path("ed.pub")));
    // Two sets of files stand for two processes; both add every host.
    std::thread::scope(|scope| {
        for known in [KnownHosts::default(), KnownHosts::default()] {
            for thread in 0..4 {
                let (known, base, offer) = (known.clone(), &base, Arc::clone(&offer));
                scope.spawn(move || {
                    for host in 0..100 {
                        let mut to = base.clone();
                        to.hostname = format!("h{}", (host + thread * 25) % 100);
                        known
                            .verify(&to, None, offer.as_host_key())
                            .expect("accepted");
                    }
                });
            }
        }
    });
    let text = world.read("known_hosts");
    let key = world.fill(" {ed}");
    assert!(
        text.lines()
            .all(|line| line.starts_with("|1|") && line.ends_with(&key)),
        "no line is torn"
    );
    // Each process adds a host at most once.
    assert!(
        (100..=200).contains(&text.lines().count()),
        "{}",
        text.lines().count()
    );
    for host in ["h0", "h57", "h99"] {
        let found = run(
            "ssh-keygen",
            &["-F", host, "-f", &world.text("known_hosts")],
        );
        assert!(found.contains("found: line"), "{found}");
    }
}

#[test]
fn addresses_are_checked_when_check_host_ip_is_set() {
    let world = World::new();
    world.write("global", "");
    let lines = "CheckHostIP yes\nStrictHostKeyChecking accept-new\nPort 2200\n";
    let offer = Offer::read(&world.path("ed.pub"));
    let verify = |known: &str, ip: &str, lines: &str| {
        world.write("known_hosts", &world.fill(known));
        let ip = Some(ip.parse().expect("an address"));
        KnownHosts::default().verify(&world.resolve("h", lines), ip, offer.as_host_key())
    };
    let error = verify("[h]:2200 {ed}\n[10.0.0.7]:2200 {ed2}\n", "10.0.0.7", lines)
        .expect_err("another key there");
    assert!(
        error
            .to_string()
            .contains("known_hosts:2: the host key of [10.0.0.7]:2200 has changed"),
        "{error}"
    );
    assert!(verify("[h]:2200 {ed}\n", "10.0.0.7", lines).is_ok());
    assert!(
        verify(
            "[h]:2200 {ed}\n[127.0.0.1]:2200 {ed2}\n",
            "127.0.0.1",
            lines
        )
        .is_ok(),
        "this machine is not checked"
    );
    assert!(verify("", "10.0.0.7", lines).is_ok());
    assert_eq!(
        world.read("known_hosts"),
        world.fill("[h]:2200,[10.0.0.7]:2200 {ed}\n")
    );
    let lines = "NoHostAuthenticationForLocalhost yes\nStrictHostKeyChecking yes\n";
    assert_eq!(
        verify("h {ed2}\n", "127.0.0.9", lines).expect("not looked at"),
        Trusted::Localhost
    );
    assert!(verify("h {ed2}\n", "10.0.0.7", lines).is_err());
}

#[test]
fn revoked_host_keys_are_those_of_the_file() {
    let world = World::new();
    world.certify("ed", "ca", &["-n", "h"]);
    world.write("global", "");
    world.write(
        "known_hosts",
        &world.fill("@cert-authority h {ca}\nh {ed}\nh {ec}\n"),
    );
    let lines = format!("{STRICT}RevokedHostKeys {}\n", world.text("revoked"));
    for (revoked, keys) in [
        ("# none\n", &["ed"][..]),
        ("{ed}\n", &["ed"]),
        ("{ed2} x\n\n{ed} y\n", &["ed"]),
        ("{ed2}\n", &["ed", "ed-cert"]),
        ("{ca}\n", &["ed", "ed-cert"]),
        ("{ed}\n", &["ed", "ed-cert"]),
    ] {
        world.write("revoked", &world.fill(revoked));
        let (theirs, said) = world.ssh("h", &lines, keys);
        let (_, ours) = world.ours("h", &lines, keys);
        assert_eq!(ours.is_ok(), theirs, "{revoked} {keys:?}\n{ours:?}\n{said}");
        if let Err(error) = ours {
            assert_eq!(error.code(), "MF0631");
        }
    }
    run(
        "ssh-keygen",
        &[
            "-q",
            "-k",
            "-f",
            &world.text("revoked"),
            &world.text("ed2.pub"),
        ],
    );
    assert_eq!(
        world
            .ours("h", &lines, &["ed"])
            .1
            .expect_err("a KRL")
            .code(),
        "MF0634"
    );
    std::fs::remove_file(world.path("revoked")).expect("it is there");
    assert_eq!(
        world
            .ours("h", &lines, &["ed"])
            .1
            .expect_err("no file")
            .code(),
        "MF0601"
    );
    assert!(!world.ssh("h", &lines, &["ed"]).0);
}

#[test]
fn a_short_rsa_key_is_refused_as_by_ssh() {
    let world = World::new();
    world.key("rsa", "rsa", &["-b", "2048"]);
    world.write("global", "");
    world.write("known_hosts", &world.fill("h {rsa}\n"));
    let to = |least: u32| world.resolve("h", &format!("{STRICT}RequiredRSASize {least}\n"));
    let offer = Offer::read(&world.path("rsa.pub"));
    let verify = |least| KnownHosts::default().verify(&to(least), None, offer.as_host_key());
    assert!(verify(2048).is_ok());
    assert!(matches!(
        verify(2049),
        Err(Error::HostKeyTooSmall {
            bits: 2048,
            least: 2049,
            ..
        })
    ));
}

#[test]
fn files_that_change_are_read_again() {
    let world = World::new();
    world.write("global", "");
    let to = world.resolve("h", STRICT);
    let known = KnownHosts::default();
    let offer = Offer::read(&world.path("ed.pub"));
    let verify = |text: Option<&str>| {
        match text {
            Some(text) => drop(world.write("known_hosts", &world.fill(text))),
            None => std::fs::remove_file(world.path("known_hosts")).expect("it is there"),
        }
        known
            .verify(&to, None, offer.as_host_key())
            .map_err(|e| e.code())
    };
    assert_eq!(verify(Some("")), Err("MF0632"));
    assert!(verify(Some("h {ed}\n")).is_ok());
    assert_eq!(verify(Some("h {ed2} x\n")), Err("MF0630"));
    assert_eq!(verify(None), Err("MF0632"));
}

#[test]
fn a_line_that_counts_for_nothing_is_named_when_its_host_is_not_known() {
    let world = World::new();
    world.write("global", "");
    world.write("known_hosts", "# x\nh ssh-ed25519 AAAA\n");
    let error = world
        .ours("h", STRICT, &["ed"])
        .1
        .expect_err("not known")
        .to_string();
    let expected = format!(
        "; {}:2 counts for nothing: its key is not of the type that it says",
        world.text("known_hosts")
    );
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn hostile_files_are_refused_before_they_cost_much() {
    let world = World::new();
    world.write("global", "");
    let to = world.resolve("h", STRICT);
    let offer = Offer::read(&world.path("ed.pub"));
    std::fs::File::create(world.path("known_hosts"))
        .and_then(|file| file.set_len(1 << 30))
        .expect("a sparse file");
    let error = KnownHosts::default()
        .verify(&to, None, offer.as_host_key())
        .expect_err("a gigabyte");
    assert_eq!(error.code(), "MF0602");
    std::fs::remove_file(world.path("known_hosts")).expect("it is there");
    std::fs::create_dir(world.path("known_hosts")).expect("a folder");
    assert!(Path::is_dir(&world.path("known_hosts")));
    let unknown = KnownHosts::default()
        .verify(&to, None, offer.as_host_key())
        .expect_err("no lines");
    assert_eq!(unknown.code(), "MF0632");
}
