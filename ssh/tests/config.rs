//! The configuration against the real `ssh -G`: a corpus of files, and generated ones.

mod support;

use std::path::Path;

use midflight_ssh::config::{Config, Proxy};
use midflight_ssh::{Destination, Error, Resolved};
use proptest::prelude::*;
use support::ssh_g::{self, Settings};

/// What the text of a file makes of a host, here and by `ssh -G`.
fn both(
    folder: &Path,
    text: &str,
    host: &str,
    options: &[&str],
) -> (Result<Resolved, Error>, Result<Settings, String>) {
    let file = folder.join("config");
    std::fs::write(&file, text).expect("a file");
    let mut destination = Destination::new(host);
    destination.options = options.iter().map(|&option| option.to_owned()).collect();
    let ours = Config::load(Some(&file)).and_then(|config| config.resolve(&destination));
    (ours, ssh_g::run(&file, host, options))
}

fn agree(text: &str, host: &str, options: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = both(folder.path(), text, host, options);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            theirs.assert_equals(&ours, &format!("{text}\nfor {host} {options:?}"))
        }
        (Err(_), Err(_)) => {}
        (ours, theirs) => {
            panic!("{text}\nfor {host} {options:?}\nhere: {ours:?}\nssh -G: {theirs:?}")
        }
    }
}

#[test]
fn every_file_of_the_corpus_means_what_it_means_to_ssh() {
    for (text, hosts) in support::corpus::CORPUS {
        for host in *hosts {
            agree(text, host, &[]);
        }
    }
}

#[test]
fn options_come_before_files_and_count_as_for_ssh() {
    let file = "Port 2\nUser file\nIdentityFile /f\nProxyJump j\n";
    for options in [
        &["-p", "3", "-o", "port=4"][..],
        &["-o", "port 4", "-p3"],
        &["-oUser=x", "-l", "y"],
        &["-l", "y", "-oUser=x"],
        &["-C", "-q", "-4"],
        &["-qC6T"],
        &["-i", "/etc/passwd", "-o", "IdentityFile=/q"],
        &["-i", "/there/is/none"],
        &["-J", "a,b"],
        &["-J", "none"],
        &["-o", "ProxyCommand=nc %h"],
        &["-c", "aes128-ctr", "-m", "hmac-sha1", "-b", "127.0.0.1"],
        &["-o", "Host a"],
        &["-o", "Nonsense=1"],
        &["-o", "Port=x"],
        &["-p", "x"],
        &["-F", "none"],
        &[
            "-o",
            "HostName=%h.z",
            "-o",
            "ControlMaster=auto",
            "-o",
            "ControlPersist=60s",
        ],
    ] {
        agree(file, "a", options);
        agree(file, "u@a", options);
    }
}

#[test]
fn includes_stay_within_the_block_that_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    write("1.conf", "User one\nHost a\n Port 1\n");
    write(
        "2.conf",
        "Host b\n Port 2\nMatch final\n ConnectTimeout 5\n",
    );
    write("x.other", "User never\n");
    let top = folder.path().display();
    for text in [
        format!("Include {top}/*.conf\nUser two\nPort 3\n"),
        format!("Host b\nInclude {top}/*.conf\nCompression yes\nHost *\nPort 3\n"),
        format!("Host b\nInclude {top}/[0-9].conf\nInclude {top}/none\nHost *\nPort 3\n"),
        format!("Include \"{top}/1.conf\" {top}/2.conf\n"),
        "Include relative-to-dot-ssh-and-not-there\nPort 4\n".to_owned(),
    ] {
        for host in ["a", "b", "c"] {
            agree(&text, host, &[]);
        }
    }
    let bad = write("3.conf", "Nonsense 1\n");
    let (ours, theirs) = both(
        folder.path(),
        &format!("Host zz\nInclude {top}/*.conf\n"),
        "a",
        &[],
    );
    assert!(theirs.is_err());
    let message = ours.expect_err("an unknown keyword").to_string();
    assert!(
        message.starts_with(&format!("{}:1: unknown keyword Nonsense", bad.display())),
        "{message}"
    );
}

#[test]
fn a_file_that_others_may_write_to_is_refused_as_by_ssh() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let included = folder.path().join("included");
    std::fs::write(&included, "Port 5\n").expect("a file");
    let text = format!("Include {}\n", included.display());
    for mode in [0o600, 0o644, 0o646, 0o666] {
        std::fs::set_permissions(&included, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let (ours, theirs) = both(folder.path(), &text, "a", &[]);
        assert_eq!(
            ours.is_ok(),
            theirs.is_ok(),
            "{mode:o}: {ours:?} {theirs:?}"
        );
        if let Err(error) = ours {
            assert_eq!(error.code(), "MF0603");
        }
    }
}

#[test]
fn keys_and_certificates_are_those_that_ssh_tries() {
    let folder = tempfile::tempdir().expect("a folder");
    for text in [
        "",
        "IdentityFile ~/.ssh/x\nIdentityFile %d/%r-%h-%p\nIdentityFile ~root/y\nHostName hh\nPort 7\nUser me\n",
        "IdentityFile none\nIdentityFile /z\n",
        "IdentityFile ${HOME}/k%%\nCertificateFile ~/%n-cert.pub\nCertificateFile none\n",
        "IdentityFile %C\n",
        "IdentityFile ${NO_SUCH_VARIABLE_HERE}\n",
        "IdentityFile %q\n",
    ] {
        let (ours, _) = both(folder.path(), text, "a", &[]);
        let theirs = ssh_g::identities(&folder.path().join("config"), "a");
        match (ours, theirs) {
            (Ok(ours), Some(theirs)) => {
                let known: Vec<String> = ours
                    .identity_files
                    .iter()
                    .map(|p| p.display().to_string())
                    .collect();
                // Keys of kinds that have gone from OpenSSH, or are of one distribution, are not tried here.
                let theirs: Vec<String> = theirs
                    .into_iter()
                    .filter(|p| !p.ends_with("_dsa") && !p.ends_with("_xmss"))
                    .collect();
                assert_eq!(known, theirs, "{text}");
            }
            (ours, theirs) => assert_eq!(ours.is_ok(), theirs.is_some(), "{text} {ours:?}"),
        }
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name_where_it_applies_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    for (line, name) in [
        (
            "PKCS11Provider /usr/lib/x.so",
            "PKCS11Provider /usr/lib/x.so",
        ),
        ("HostbasedAuthentication yes", "HostbasedAuthentication yes"),
        ("CanonicalizeHostname always", "CanonicalizeHostname always"),
        ("KnownHostsCommand /bin/x %H", "KnownHostsCommand /bin/x"),
        ("VerifyHostKeyDNS yes", "VerifyHostKeyDNS yes"),
        ("RemoteCommand top", "RemoteCommand top"),
        ("Match localnetwork 10.0.0.0/8", "Match localnetwork"),
    ] {
        let text = format!("Host a\n# why\n {line}\n");
        let (ours, _) = both(folder.path(), &text, "a", &[]);
        let message = ours.expect_err("refused").to_string();
        let expected = format!(
            "{}:3: {name} is not supported: ",
            folder.path().join("config").display()
        );
        assert!(message.starts_with(&expected), "{message}");
        if !line.starts_with("Match") {
            let (elsewhere, _) = both(folder.path(), &text, "b", &[]);
            assert!(elsewhere.is_ok(), "{elsewhere:?}");
        }
    }
    let (settled, _) = both(
        folder.path(),
        "PermitLocalCommand no\nPermitLocalCommand yes\n",
        "a",
        &[],
    );
    assert!(settled.is_ok(), "the first value counts: {settled:?}");
}

#[test]
fn hops_are_reached_as_ssh_reaches_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "Host e\n ProxyJump a,b@c:7,%h-gate\nHost loop\n ProxyJump loop\nHost *\n User me\n";
    let file = folder.path().join("config");
    std::fs::write(&file, text).expect("a file");
    let config = Config::load(Some(&file)).expect("a good file");
    let there = config.resolve(&Destination::new("e")).expect("settings");
    let gate = there.jump().expect("a hop");
    assert_eq!(
        (gate.host.as_str(), &gate.user, gate.port),
        ("e-gate", &None, None)
    );
    let gate = config.resolve(&gate).expect("settings");
    assert_eq!(gate.user, "me");
    let c = gate.jump().expect("a hop");
    assert_eq!(
        (c.host.as_str(), c.user.as_deref(), c.port),
        ("c", Some("b"), Some(7))
    );
    let a = config.resolve(&c).expect("settings").jump().expect("a hop");
    assert_eq!(a.host, "a");
    assert_eq!(config.resolve(&a).expect("settings").proxy, Proxy::None);
    let error = config
        .resolve(&Destination::new("loop"))
        .expect_err("through itself");
    assert_eq!(error.code(), "MF0612");
}

#[test]
fn names_that_a_shell_would_read_are_refused() {
    let config = Config::load(Some(Path::new("none"))).expect("no file");
    for name in [
        "",
        "-oProxyCommand=x",
        "a b",
        "a;b",
        "$(x)",
        "a`b`",
        "u;x@a",
        "-x@a",
        "u -l@a",
        "u@",
    ] {
        let error = config.resolve(&Destination::new(name)).expect_err(name);
        assert_eq!(error.code(), "MF0608", "{name}");
    }
}

#[test]
fn hostile_files_are_refused_before_they_cost_much() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let circle = write(
        "circle",
        &format!("Include {0}/circle\n", folder.path().display()),
    );
    assert_eq!(
        Config::load(Some(&circle)).expect_err("a circle").code(),
        "MF0602"
    );
    let fan = write(
        "fan",
        &format!("Include {0}/fan {0}/fan\n", folder.path().display()),
    );
    assert_eq!(
        Config::load(Some(&fan)).expect_err("a fan").code(),
        "MF0602"
    );
    let huge = folder.path().join("huge");
    std::fs::File::create(&huge)
        .and_then(|file| file.set_len(1 << 30))
        .expect("a sparse file");
    assert_eq!(
        Config::load(Some(&huge)).expect_err("a gigabyte").code(),
        "MF0602"
    );
}

#[test]
fn the_hosts_of_a_file_are_its_plain_names_with_their_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let more = write("more", "Host c d\n User x\nHost a\n");
    let only = write("only", "Host web1 db1\n");
    let text = format!(
        "Host a b *.x !n\n Port 1\nHost a\nHost * !z\nInclude {}\nHost web*\nInclude {}\nMatch user x\nHost e?\nHost last\nPKCS11Provider x\n",
        more.display(),
        only.display()
    );
    let file = write("config", &text);
    let found = midflight_ssh::config::aliases(&file).expect("hosts");
    let found: Vec<(&str, &Path, u32)> = found
        .iter()
        .map(|a| (a.name.as_str(), a.file.as_path(), a.line))
        .collect();
    assert_eq!(
        found,
        [
            ("a", file.as_path(), 1),
            ("b", &file, 1),
            ("c", &more, 1),
            ("d", &more, 1),
            ("web1", &only, 1),
            ("last", &file, 10),
        ]
    );
}

fn line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "a", "b", "web1", "web2", "*", "web*", "!a", "!web1", "?", "w?b[12]",
    ]);
    let names = prop::collection::vec(name, 1..4).prop_map(|names| names.join(" "));
    let commas = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "web*", "!b", "*", "h-*"]),
        1..3,
    )
    .prop_map(|n| n.join(","));
    prop_oneof![
        3 => names.prop_map(|names| format!("Host {names}")),
        1 => commas.clone().prop_map(|list| format!("Match host {list}")),
        1 => commas.prop_map(|list| format!("Match originalhost {list} user root,me")),
        1 => Just("Match final".to_owned()),
        1 => Just("Match final host h-*".to_owned()),
        1 => Just("Match all".to_owned()),
        2 => (1u32..70000).prop_map(|port| format!("Port {port}")),
        2 => "[a-z #=\"']{0,6}".prop_map(|user| format!("User {user}")),
        2 => prop::sample::select(vec!["h-%h", "b", "%%x", "%h.Example"]).prop_map(|name| format!("HostName {name}")),
        1 => prop::sample::select(vec!["yes", "no", "ask", "accept-new", "off", "maybe"]).prop_map(|v| format!("StrictHostKeyChecking={v}")),
        1 => "[0-9]{1,3}[smhdwx]?[0-9]{0,2}".prop_map(|time| format!("ConnectTimeout {time}")),
        1 => prop::sample::select(vec!["b", "x@c:5", "none", "b,c", "b,,c"]).prop_map(|jump| format!("ProxyJump {jump}")),
        1 => Just("ProxyCommand nc %h %p".to_owned()),
        1 => prop::sample::select(vec!["a", "a b", "none", "~/x"]).prop_map(|f| format!("UserKnownHostsFile {f}")),
        1 => prop::sample::select(vec!["aes128-ctr", "+3des-cbc", "-aes*", "^aes256-ctr", "foo"]).prop_map(|c| format!("Ciphers {c}")),
        1 => prop::sample::select(vec!["a", "b", "~/c"]).prop_map(|f| format!("IdentityFile {f}")),
        1 => "[ -~]{0,20}".prop_map(|noise| format!("# {noise}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_files_mean_what_they_mean_to_ssh(
        lines in prop::collection::vec(line(), 0..14),
        host in prop::sample::select(vec!["a", "b", "web1", "web2", "me@a", "X"]),
    ) {
        agree(&(lines.join("\n") + "\n"), host, &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config");
        // Nothing is run: bytes that happen to say Match exec are taken out.
        let text: Vec<u8> = bytes.into_iter().map(|b| if b | 0x20 == b'x' { b'.' } else { b }).collect();
        std::fs::write(&file, text).expect("a file");
        if let Ok(config) = Config::load(Some(&file)) {
            let _ = config.resolve(&Destination::new("a"));
        }
        let _ = midflight_ssh::config::aliases(&file);
    }

    #[test]
    fn no_line_makes_it_panic(text in "(Host|Match|Include|Port|User|ProxyJump|SetEnv|RekeyLimit|Ciphers|HostName)[ =\"'\\\\#%$~,!*?a-w0-9:@\\[\\]-]{0,40}", host in "[a-z%@:/\\[\\]-]{0,12}") {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config");
        std::fs::write(&file, &text).expect("a file");
        if let Ok(config) = Config::load(Some(&file)) {
            let _ = config.resolve(&Destination::new(host));
        }
    }
}
