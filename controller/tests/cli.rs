//! The command line as a process: verbs that reach no node, refusals before any node is reached, and exit codes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use midflight_patch::Bundle;
use tempfile::TempDir;

struct Shell {
    folder: TempDir,
}

impl Shell {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn midflight(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_midflight"));
        command
            .args(line.split_whitespace())
            .current_dir(self.path());
        for name in [
            "MIDFLIGHT_INVENTORY",
            "MIDFLIGHT_PKI",
            "MIDFLIGHT_ALLOWED_SIGNERS",
            "SSH_AUTH_SOCK",
        ] {
            command.env_remove(name);
        }
        command.env("MIDFLIGHT_JOURNAL", self.path().join("journal.db"));
        command
    }

    /// Exit code, stdout, stderr.
    fn run(&self, line: &str) -> (i32, String, String) {
        read(self.midflight(line).output().unwrap())
    }

    /// Stdout of a line that must work.
    fn good(&self, line: &str) -> String {
        let (code, out, err) = self.run(line);
        assert_eq!(code, 0, "{line}: {err}");
        out
    }

    fn tool(&self, program: &str, line: &str) -> String {
        let output = Command::new(program)
            .args(line.split_whitespace())
            .current_dir(self.path())
            .output()
            .unwrap();
        let (code, out, err) = read(output);
        assert_eq!(code, 0, "{program} {line}: {out}{err}");
        out
    }

    /// A patch without signatures; the component is no real one, which only `patch build` would mind.
    fn patch(&self, name: &str) {
        self.bundle(name, serde_json::json!({"from": "1", "to": "2"}));
    }

    /// A bundle of one module; `more` has its `from`, `to` and whatever else it is to say.
    fn bundle(&self, name: &str, more: serde_json::Value) {
        let component = b"not run here".to_vec();
        let blob = midflight_patch::Digest::of(&component);
        let mut manifest = serde_json::json!({
            "schema": 1, "name": "demo", "world": midflight_patch::WORLD,
            "modules": [{
                "name": "counter", "vsn": more["to"], "from": more["from"], "update": "advanced", "extra": null,
                "config": null, "blob": blob, "size": component.len(),
            }],
            "start": [], "listen": null,
        });
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        let manifest: midflight_patch::Manifest = serde_json::from_value(manifest).unwrap();
        let blobs = [(blob, component)].into();
        let bundle = Bundle::assemble(manifest.to_bytes().unwrap(), blobs, Vec::new()).unwrap();
        bundle.write(&self.path().join(name)).unwrap();
    }

    fn key(&self, name: &str) {
        let path = self.path().join(name);
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path)
            .status();
        assert!(status.unwrap().success());
        let public = fs::read_to_string(self.path().join(format!("{name}.pub"))).unwrap();
        let words: Vec<&str> = public.split_whitespace().collect();
        self.write(
            &format!("{name}.allowed"),
            &format!("{name}@example {} {}\n", words[0], words[1]),
        );
    }
}

fn read(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

const FLEET: &str = "groups: {web: {hosts: {'n[1:3]': {address: '127.0.0.[1:3]', port: 1}}}}\n";

#[test]
fn a_wrong_command_line_is_exit_1_and_help_is_exit_0() {
    let shell = Shell::new();
    for line in [
        "",
        "aply x y",
        "apply onlyone",
        "patch sign x",
        "pki issue d",
        "status R_1",
        "--output xml history",
    ] {
        let (code, out, err) = shell.run(line);
        assert_eq!((code, out.as_str()), (1, ""), "{line}");
        assert!(!err.is_empty(), "{line}");
    }
    for verb in [
        "",
        "plan",
        "apply",
        "status",
        "rollback",
        "nodes",
        "history",
        "inventory",
        "patch",
        "pki",
        "sys",
    ] {
        assert!(
            shell.good(&format!("{verb} --help")).contains("Usage:"),
            "{verb}"
        );
    }
}

#[test]
fn what_is_wrong_before_any_node_is_reached_is_exit_2() {
    let shell = Shell::new();
    shell.patch("unsigned.tar");
    shell.key("eve");
    shell.key("mallory");
    shell.patch("signed.tar");
    shell.good("patch sign signed.tar --key eve");
    let whole = fs::read(shell.path().join("signed.tar")).unwrap();
    fs::write(shell.path().join("short.tar"), &whole[..whole.len() / 2]).unwrap();
    let mut altered = whole.clone();
    let at = altered
        .windows(12)
        .position(|bytes| bytes == b"not run here")
        .unwrap();
    altered[at] ^= 1;
    fs::write(shell.path().join("altered.tar"), altered).unwrap();
    shell.write("fleet.yaml", FLEET);
    shell.write("broken.yaml", "groups: {web: [\n");
    shell.write("policy.yaml", "waves: [1]\nbaek: 5s\n");
    shell.write("short.yaml", "waves: [1, 50%]\n");
    shell.good("pki init pki --fleet test");
    shell.good("pki issue pki --role operator --name controller");
    let table = [
        ("apply missing.tar web -i fleet.yaml --pki pki", 2, "MF0202"),
        (
            "apply unsigned.tar web -i fleet.yaml --pki pki",
            2,
            "MF0213",
        ),
        ("apply short.tar web -i fleet.yaml --pki pki", 2, "MF0211"),
        ("apply altered.tar web -i fleet.yaml --pki pki", 2, "MF0212"),
        (
            "apply signed.tar web -i fleet.yaml --pki pki --allowed-signers mallory.allowed",
            2,
            "MF0215",
        ),
        (
            "apply signed.tar web -i broken.yaml --pki pki",
            2,
            "broken.yaml:",
        ),
        ("apply signed.tar wob -i fleet.yaml --pki pki", 2, "MF01"),
        ("apply signed.tar web -i fleet.yaml --pki pki", 2, "MF0504"),
        (
            "apply signed.tar web --all -i fleet.yaml --pki pki --policy policy.yaml",
            2,
            "policy.yaml:2:1",
        ),
        (
            "apply signed.tar web --all -i fleet.yaml --pki pki",
            2,
            "MF0508",
        ),
        ("apply signed.tar web --all -i fleet.yaml", 1, "MF0514"),
        (
            "apply signed.tar web --all -i fleet.yaml --pki nowhere",
            1,
            "MF0514",
        ),
        ("apply signed.tar web --all --pki pki", 1, "MF0502"),
        ("rollback 20260101-none", 1, "MF0512"),
        ("nodes n1 -i fleet.yaml --pki pki", 7, ""),
    ];
    for (line, want, text) in table {
        let (code, _, err) = shell.run(line);
        assert_eq!(code, want, "{line}: {err}");
        assert!(err.contains(text), "{line}: {err}");
        assert!(
            text.is_empty() || err.contains("hint:") || text.contains(":") || text == "MF01",
            "{line}: {err}"
        );
    }
    // None of it left a rollout behind.
    assert_eq!(shell.good("history"), "");
}

/// Row 13, `check_install_release` for the plan: what a node will run, as it will run it, without a node.
#[test]
fn inspect_prints_the_plan_that_a_node_makes() {
    let shell = Shell::new();
    shell.bundle("release.tar", serde_json::json!({"from": null, "to": "1"}));
    shell.bundle("first.tar", serde_json::json!({"from": "1", "to": "2"}));
    let instructions = serde_json::json!([{"application": "demo", "down": null, "up": [
        {"update": {"module": "counter", "timeout_ms": 1000, "pre_purge": "soft", "post_purge": "soft"}},
        {"apply": {"module": "counter", "function": "ready", "when": "before"}},
        {"apply": {"module": "counter", "function": "seed", "args": {"rows": 3}}},
        "restart_application",
    ]}]);
    shell.bundle(
        "second.tar",
        serde_json::json!({"from": "2|2.*", "to": "3", "instructions": instructions}),
    );
    let plain = |text: String| {
        let digest = |word: &str| match word.strip_prefix("sha256:") {
            Some(_) => "sha256:…".to_owned(),
            None => word.to_owned(),
        };
        let line = |line: &str| line.split(' ').map(digest).collect::<Vec<_>>().join(" ");
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(plain(shell.good("patch inspect first.tar")), @r"
    patch demo 1 -> 2
    digest  sha256:…
    world   midflight:actor/gen-server@0.3.0
    listen  as before
    connect as before
    modules
      counter: 1 -> 2, advanced, 12 bytes, sha256:…
    signatures: none
    plan demo 1 -> 2, up
      counter: 1 -> 2 (advanced)
       1  load_object_code counter
       2  point_of_no_return
       3  suspend counter
       4  load counter
       5  code_change up counter
       6  resume counter
    ");
    insta::assert_snapshot!(plain(shell.good("patch inspect second.tar")), @r"
    patch demo 2|2.* -> 3
    digest  sha256:…
    world   midflight:actor/gen-server@0.3.0
    listen  as before
    connect as before
    modules
      counter: 2|2.* -> 3, advanced, 12 bytes, sha256:…
    signatures: none
    plan: depends on the release that runs; name its bundle with --from
    ");
    let third = serde_json::json!({"from": "2", "to": "3"});
    shell.bundle("third.tar", third);
    let chain = "patch inspect --from release.tar first.tar third.tar";
    insta::assert_snapshot!(plain(shell.good(chain)), @r"
    patch demo 1 -> 2
    digest  sha256:…
    world   midflight:actor/gen-server@0.3.0
    listen  as before
    connect as before
    modules
      counter: 1 -> 2, advanced, 12 bytes, sha256:…
    signatures: none
    patch demo 2 -> 3
    digest  sha256:…
    world   midflight:actor/gen-server@0.3.0
    listen  as before
    connect as before
    modules
      counter: 2 -> 3, advanced, 12 bytes, sha256:…
    signatures: none
    plan demo 1 -> 3, up
      counter: 1 -> 2 (advanced) -> 3 (advanced)
       1  load_object_code counter
       2  point_of_no_return
       3  suspend counter
       4  load counter
       5  code_change up counter counter
       6  resume counter
    ");
    let json = shell.good(&format!("--output json {chain}"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["plan"]["modules"][0]["hops"][1]["vsn"], "3");
    assert_eq!(json["bundles"][1]["manifest"]["to"], "3");

    let (code, out, err) = shell.run("patch inspect --from release.tar third.tar");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("MF0224"), "{err}");
    shell.bundle("far.tar", serde_json::json!({"from": "7", "to": "8"}));
    let (_, _, err) = shell.run("patch inspect --from release.tar first.tar far.tar");
    assert!(
        err.contains("MF0263") && err.contains("8 is reached from 7 only"),
        "{err}"
    );
}

#[test]
fn a_patch_is_signed_by_a_key_file_and_ssh_keygen_agrees() {
    let shell = Shell::new();
    shell.key("eve");
    shell.patch("p.tar");
    let digest = shell.good("patch sign p.tar --key eve -o signed.tar");
    let verified = shell.good("patch verify signed.tar --allowed-signers eve.allowed");
    assert!(verified.starts_with("good signature by eve@example (ssh-ed25519 SHA256:"));
    assert!(verified.ends_with(&digest));
    let json = shell.good("--output json patch inspect signed.tar");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (json["signatures"].as_u64(), json["manifest"]["to"].as_str()),
        (Some(1), Some("2"))
    );
    // The other way round: ssh-keygen signs the manifest, and the bundle takes the signature.
    shell.write("manifest", &shell.good("patch inspect --manifest p.tar"));
    shell.tool(
        "ssh-keygen",
        "-q -Y sign -n patch@midflight -f eve manifest",
    );
    shell.good("patch sign p.tar --signature manifest.sig");
    shell.good("patch verify p.tar --allowed-signers eve.allowed");
    let (code, _, err) = shell.run("patch verify p.tar --allowed-signers missing");
    assert_eq!((code, err.contains("missing")), (1, true));
}

/// A real ssh-agent, ended with the test.
struct SshAgent(Child);

impl SshAgent {
    fn start(shell: &Shell) -> Self {
        let socket = shell.path().join("agent.sock");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "the ssh-agent does not listen");
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_patch_is_signed_by_an_ssh_agent() {
    let shell = Shell::new();
    let _agent = SshAgent::start(&shell);
    let sign = |line: &str| {
        let socket = shell.path().join("agent.sock");
        read(
            shell
                .midflight(line)
                .env("SSH_AUTH_SOCK", socket)
                .output()
                .unwrap(),
        )
    };
    let add = |key: &str| {
        let mut command = Command::new("ssh-add");
        command
            .args(["-q", key])
            .current_dir(shell.path())
            .env("SSH_AUTH_SOCK", shell.path().join("agent.sock"));
        assert!(command.status().unwrap().success());
    };
    shell.patch("p.tar");
    let (code, _, err) = sign("patch sign p.tar --agent");
    assert_eq!(code, 1);
    assert!(err.contains("it holds no key"), "{err}");
    shell.key("eve");
    add("eve");
    let (code, _, err) = sign("patch sign p.tar --agent");
    assert_eq!(code, 0, "{err}");
    shell.good("patch verify p.tar --allowed-signers eve.allowed");
    shell.key("bob");
    add("bob");
    let (code, _, err) = sign("patch sign p.tar --agent");
    assert_eq!(code, 1);
    assert!(err.contains("2 keys; name one with --pubkey"), "{err}");
    let (code, _, err) = sign("patch sign p.tar --agent --pubkey bob.pub");
    assert_eq!(code, 0, "{err}");
    shell.good("patch verify p.tar --allowed-signers bob.allowed");
    let (code, _, err) = shell.run("patch sign p.tar --agent");
    assert_eq!((code, err.contains("SSH_AUTH_SOCK")), (1, true));
}

#[test]
fn certificates_carry_name_role_and_purpose_and_openssl_agrees() {
    let shell = Shell::new();
    shell.good("pki init pki --fleet test");
    let files = shell.good("pki issue pki --node web[1:2].eu");
    assert_eq!(files.lines().count(), 4);
    shell.good("pki issue pki --role operator --name controller --days 7");
    for name in ["web1.eu", "controller"] {
        shell.tool(
            "openssl",
            &format!("verify -x509_strict -CAfile pki/ca.pem pki/{name}.pem"),
        );
    }
    shell.tool(
        "openssl",
        "verify -CAfile pki/ca.pem -purpose sslserver -verify_hostname web1.eu pki/web1.eu.pem",
    );
    shell.tool(
        "openssl",
        "verify -CAfile pki/ca.pem -purpose sslclient pki/controller.pem",
    );
    let subject = shell.tool("openssl", "x509 -in pki/controller.pem -noout -subject");
    assert!(
        subject.contains("OU=operator") || subject.contains("OU = operator"),
        "{subject}"
    );
    for (name, mode) in [("ca.key", 0o600), ("web1.eu.key", 0o600), ("ca.pem", 0o644)] {
        let metadata = fs::metadata(shell.path().join("pki").join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    let key = fs::read(shell.path().join("pki/ca.key")).unwrap();
    for line in ["pki init pki --fleet test", "pki issue pki --node web1.eu"] {
        let (code, _, err) = shell.run(line);
        assert_eq!((code, err.contains("MF0516")), (1, true), "{line}: {err}");
    }
    assert_eq!(fs::read(shell.path().join("pki/ca.key")).unwrap(), key);
    shell.good("pki issue pki --node web1.eu --force");
    for line in [
        "pki issue pki --node ../up",
        "pki issue pki --role viewer --name ca",
        "pki issue none --node web9.eu",
    ] {
        assert_eq!(shell.run(line).0, 1, "{line}");
    }
}

#[test]
fn what_a_pattern_names_is_matched_within_a_limit_and_without_exclusions() {
    let shell = Shell::new();
    shell.write("fleet.yaml", FLEET);
    shell.write("failed", "n2\nn[3]\n");
    let (code, out, err) = shell.run("inventory match web -i fleet.yaml -x n2");
    assert_eq!((code, out.as_str()), (0, "n1\nn3\n"));
    assert!(err.contains("2 of 3 hosts"), "{err}");
    assert_eq!(
        shell.good("inventory match n1,n2,n3!n2 -i fleet.yaml --fold"),
        "n[1,3]\n"
    );
    assert_eq!(
        shell.good("inventory match web --limit @failed -x n3 -i fleet.yaml"),
        "n2\n"
    );
    assert_eq!(
        shell.good("--output json inventory match web[0:1] -i fleet.yaml"),
        "\"n1\"\n\"n2\"\n"
    );
    assert_eq!(
        shell.good("inventory list all -l n1:n2 -x n1 --fold -i fleet.yaml"),
        "n2\n"
    );
    let (code, out, err) = shell.run("inventory match web:!web -i fleet.yaml");
    assert_eq!(
        (code, out.as_str(), err.contains("names no node")),
        (2, "", true),
        "{err}"
    );
    let (code, _, err) = shell.run("inventory match wbe -i fleet.yaml");
    assert!(
        code == 2 && err.contains("MF0120") && err.contains("did you mean web?"),
        "{err}"
    );
}

#[test]
fn sources_of_every_kind_are_one_inventory() {
    let shell = Shell::new();
    shell.write("fleet.yaml", FLEET);
    shell.write(
        "hosts.ini",
        "[db]\ndb[1:2] ansible_user=deploy ansible_port=2222\n",
    );
    shell.write("cluster", "node[001-003,7]!node002\n");
    shell.write("ssh_config", "Host bastion web*\nHost jump\n");
    let sources = "-i fleet.yaml -i hosts.ini -i cluster -i ssh_config=ssh_config -i login[1-2]";
    assert_eq!(
        shell.good(&format!("inventory match all --fold {sources}")),
        "n[1-3],db[1-2],node[7,001,003],bastion,jump,login[1-2]\n"
    );
    assert_eq!(
        shell.good(&format!("inventory list n1,db,jump {sources}")),
        "n1  127.0.0.1:1  web\ndb1  ssh deploy@db1:2222  db\ndb2  ssh deploy@db2:2222  db\njump  ssh jump  ungrouped\n"
    );
    let listed = shell.good(&format!("inventory list --format ansible {sources}"));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["db"]["hosts"], serde_json::json!(["db1", "db2"]));
    assert_eq!(listed["_meta"]["hostvars"]["db2"]["ansible_port"], 2222);
    let (code, _, err) = shell.run("inventory list --format ansible db -i hosts.ini");
    assert!(code == 1 && err.contains("MF0519"), "{err}");
    assert!(
        shell
            .good(&format!("inventory graph {sources}"))
            .contains("@ungrouped:\n")
    );
    shell.good(&format!("inventory check {sources}"));
    shell.write("bad", "node[3-1]\n");
    let (code, _, err) = shell.run("inventory check -i hosts.ini -i bad");
    assert!(
        code == 2 && err.contains("bad:1:5") && err.contains("\n   |     ^\n"),
        "{err}"
    );
    shell.write("config", "Host \"half\n");
    let (code, _, err) = shell.run("inventory check -i ssh_config=config");
    assert!(code == 2 && err.contains("config:1"), "{err}");
}

#[test]
fn an_inventory_is_listed_drawn_and_checked() {
    let shell = Shell::new();
    shell.write("fleet.yaml", FLEET);
    shell.write(
        "more.yaml",
        "groups: {db: {hosts: {db1: null}}}\npolicy: {bake: 1s}\n",
    );
    assert_eq!(
        shell.good("inventory list web -i fleet.yaml --fold"),
        "n[1:3]\n"
    );
    assert_eq!(
        shell
            .good("inventory list -i fleet.yaml -i more.yaml")
            .lines()
            .count(),
        4
    );
    assert!(
        shell
            .good("inventory graph -i fleet.yaml")
            .contains("n[1:3]")
    );
    let host: serde_json::Value = serde_json::from_str(
        shell
            .good("--output json inventory list n2 -i fleet.yaml")
            .trim(),
    )
    .unwrap();
    assert_eq!(
        (host["name"].as_str(), host["port"].as_u64()),
        (Some("n2"), Some(1))
    );
    shell.good("inventory check -i fleet.yaml -i more.yaml");
    shell.write("bad.yaml", "policy: {bake: soon}\n");
    let (code, _, err) = shell.run("inventory check -i bad.yaml");
    assert_eq!((code, err.contains("bad.yaml:1:1")), (2, true), "{err}");
}

#[test]
fn a_check_notes_what_a_vault_hides_and_is_good_all_the_same() {
    let shell = Shell::new();
    shell.write("hosts", "[web]\nweb1\n");
    shell.write("group_vars/web.yaml", "a: 1\nb: !vault x\n");
    shell.write("host_vars/web1", "$ANSIBLE_VAULT;1.1;AES256\n61\n");
    let (code, _, err) = shell.run("inventory check -i hosts");
    assert_eq!(code, 0, "{err}");
    for note in [
        "web.yaml:2:1: the variable b is encrypted",
        "host_vars/web1:1: encrypted by ansible-vault",
        "good: 1 hosts in",
    ] {
        assert!(err.contains(note), "{note}: {err}");
    }
}

#[test]
fn a_host_that_ansible_reaches_without_ssh_is_listed_and_not_connected_to() {
    let shell = Shell::new();
    shell.write(
        "hosts",
        "localhost ansible_connection=local\nweb1 ansible_host=127.0.0.1 ansible_port=1\n",
    );
    assert_eq!(
        shell.good("inventory list -i hosts"),
        "localhost  localhost not by ssh  ungrouped\nweb1  ssh 127.0.0.1:1  ungrouped\n"
    );
    for verb in ["nodes all -i hosts", "exec all --all -i hosts -- true"] {
        let (code, _, err) = shell.run(verb);
        assert!(
            code == 2
                && err.contains("MF0128")
                && err.contains("hosts:1:11")
                && err.contains("--exclude localhost"),
            "{verb}: {err}"
        );
    }
    let (_, _, err) = shell.run("nodes all -x localhost -i hosts");
    assert!(!err.contains("MF0128"), "{err}");
}

#[test]
fn an_empty_journal_says_so() {
    let shell = Shell::new();
    assert_eq!(
        shell.good("status"),
        "no rollout was ever run with this journal\n"
    );
}
