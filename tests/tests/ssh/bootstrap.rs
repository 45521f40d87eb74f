//! `midflight bootstrap`, against a real SSH server, with the real agent below a folder of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use midflight_tests::{Done, Sshd, Value, binary, until};

use crate::kit::Kit;

/// A host without an agent, and what it is to be given. Ends what was started there.
struct Site {
    kit: Kit,
    sshd: Sshd,
    prefix: PathBuf,
}

impl Site {
    fn new() -> Self {
        let kit = Kit::new();
        let site = Self {
            sshd: Sshd::start(kit.fleet.dir.path(), 1, &[]),
            prefix: kit.fleet.path("there"),
            kit,
        };
        site.inventory(&site.sshd.addresses[0], site.sshd.port);
        site
    }

    /// The host n1, behind that port; its key is the server's all the same.
    fn inventory(&self, address: &str, port: u16) {
        let config = self.sshd.folder.join("config").display().to_string();
        let server = &self.sshd;
        let alias = format!("HostKeyAlias=[{}]:{}", server.addresses[0], server.port);
        let args = format!("[-F, {config}, -p, '{port}', -o, '{alias}']");
        self.kit.inventory(address, &args, "");
    }

    fn prefixed<'a>(prefix: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["--prefix", prefix][..], more].concat()
    }

    fn bootstrap(&self, more: &[&str]) -> Done {
        let prefix = self.prefix.display().to_string();
        self.kit.bootstrap(&Self::prefixed(&prefix, more))
    }

    fn event(&self, more: &[&str]) -> Value {
        let prefix = self.prefix.display().to_string();
        self.kit.event(&Self::prefixed(&prefix, more))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.prefix.join(name)
    }

    fn status(&self) -> Value {
        let output = Command::new(self.at("bin/midflight-agent"))
            .args(["status", "--json", "--config"])
            .arg(self.at("etc/agent.yaml"))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.at("run/midflight-agent.pid")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let pid = self.pid();
        if !pid.is_empty() {
            let _ = Command::new("kill").arg(pid.trim()).status();
            until("the agent has ended", || self.pid().is_empty());
        }
    }
}

#[test]
fn a_host_gets_its_agent_and_a_second_run_changes_nothing() {
    let site = Site::new();
    let dry = site.bootstrap(&["--dry-run"]);
    assert!(
        dry.code == 0 && dry.out.contains("would write 5 files and start the agent"),
        "{}",
        dry.text()
    );
    assert!(!site.prefix.exists());
    let done = site.bootstrap(&[]);
    assert_eq!(done.code, 0, "{}", done.text());
    assert!(
        done.out
            .contains("n1: 5 files written, the agent started, release 1"),
        "{}",
        done.text()
    );
    let status = site.status();
    assert_eq!(status["node"], "n1");
    assert!(status["actors"].as_u64().unwrap() > 1_000, "{status}");
    let mode = |name: &str| fs::metadata(site.at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (
            mode("bin/midflight-agent"),
            mode("etc/agent.yaml"),
            mode("data")
        ),
        (0o755, 0o644, 0o700)
    );
    let left = fs::read_dir(site.at("bin")).unwrap();
    assert_eq!(left.count(), 2, "the program and what keeps it running");
    let (pid, inode) = (
        site.pid(),
        fs::metadata(site.at("bin/midflight-agent")).unwrap().ino(),
    );
    let again = site.bootstrap(&[]);
    assert_eq!(
        (again.code, again.out.as_str()),
        (0, "n1: nothing to do, the agent runs\n"),
        "{}",
        again.text()
    );
    assert_eq!(
        (
            site.pid(),
            fs::metadata(site.at("bin/midflight-agent")).unwrap().ino()
        ),
        (pid, inode)
    );
}

#[test]
fn an_agent_that_holds_actors_is_restarted_only_when_told_and_signer_files_are_never_overwritten() {
    let site = Site::new();
    assert_eq!(site.bootstrap(&[]).code, 0);
    let before = (site.pid(), site.status()["uptime_ms"].as_u64().unwrap());
    let signers = fs::read_to_string(site.at("etc/allowed_signers")).unwrap() + "# by hand\n";
    fs::write(site.at("etc/allowed_signers"), &signers).unwrap();
    let template =
        fs::read_to_string(site.at("etc/agent.yaml")).unwrap() + "sys: read # {{where}}\n";
    fs::write(site.kit.fleet.path("template"), template).unwrap();
    let refused = site.bootstrap(&["--config", "template"]);
    assert_eq!(refused.code, 2, "{}", refused.text());
    assert!(
        refused.err.contains("MF0561") && refused.err.contains("actors"),
        "{}",
        refused.text()
    );
    assert!(
        !fs::read_to_string(site.at("etc/agent.yaml"))
            .unwrap()
            .contains("sys")
    );
    assert_eq!(site.pid(), before.0);
    let event = site.event(&["--config", "template", "--lose-state"]);
    assert_eq!(event["agent"], "restarted", "{event}");
    assert_eq!(
        event["kept"],
        serde_json::json!([site.at("etc/allowed_signers")])
    );
    assert_eq!(
        fs::read_to_string(site.at("etc/allowed_signers")).unwrap(),
        signers
    );
    assert!(
        fs::read_to_string(site.at("etc/agent.yaml"))
            .unwrap()
            .contains("sys: read # here")
    );
    assert_ne!(site.pid(), before.0);
    assert_eq!(site.status()["node"], "n1");
}

#[test]
fn a_configuration_that_the_agent_refuses_is_told_in_its_words() {
    let site = Site::new();
    fs::write(
        site.kit.fleet.path("template"),
        "node: {{node}}\nnonsense: 1\n",
    )
    .unwrap();
    let event = site.event(&["--config", "template"]);
    let what = event["error"]["what"].as_str().unwrap();
    assert!(
        what.contains("MF0401") && what.contains("nonsense"),
        "{event}"
    );
    fs::write(
        site.kit.fleet.path("template"),
        "node: {{node}}\nx: {{nothing}}\n",
    )
    .unwrap();
    let event = site.event(&["--config", "template"]);
    assert_eq!(event["error"]["code"], "MF0565", "{event}");
}

#[test]
fn a_program_that_was_tampered_with_or_signed_by_somebody_else_does_not_leave_this_machine() {
    let site = Site::new();
    let name = format!("agents/midflight-agent-{}", std::env::consts::ARCH);
    let good = fs::read(site.kit.fleet.path(&name)).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(site.kit.fleet.path(&name), bad).unwrap();
    let done = site.bootstrap(&[]);
    assert!(
        done.code == 2 && done.err.contains("MF0214"),
        "{}",
        done.text()
    );
    fs::write(site.kit.fleet.path(&name), &good).unwrap();
    fs::remove_file(site.kit.fleet.path(&format!("{name}.sig"))).unwrap();
    let done = site.bootstrap(&[]);
    assert!(
        done.code == 2 && done.err.contains("MF0213"),
        "{}",
        done.text()
    );
    // A patch signer is no signer of agents.
    site.kit.sign(&site.kit.fleet.path(&name));
    fs::copy(
        site.kit.fleet.path("allowed_signers"),
        site.kit.fleet.path("agent_signers"),
    )
    .unwrap();
    let done = site.bootstrap(&[]);
    assert_eq!(done.code, 2, "{}", done.text());
    assert!(!site.prefix.exists());
}

#[test]
fn a_machine_without_a_program_is_told_which_is_missing() {
    let site = Site::new();
    let name = format!("midflight-agent-{}", std::env::consts::ARCH);
    for more in ["", ".sig"] {
        let from = site.kit.fleet.path(&format!("agents/{name}{more}"));
        fs::rename(
            from,
            site.kit
                .fleet
                .path(&format!("agents/midflight-agent-sparc64{more}")),
        )
        .unwrap();
    }
    let done = site.bootstrap(&[]);
    assert_eq!(done.code, 2);
    let want = format!("MF0560: there is no {name} for this machine; there is one for sparc64");
    assert!(done.err.contains(&want), "{}", done.text());
    assert!(!site.prefix.exists());
}

#[test]
fn a_copy_that_was_cut_off_goes_on_where_it_was() {
    let site = Site::new();
    let size = fs::metadata(binary("midflight-agent")).unwrap().len();
    let server = (site.sshd.addresses[0].clone(), site.sshd.port);
    let cutting = Proxy::start(server.clone(), size / 4);
    site.inventory(&cutting.address.0, cutting.address.1);
    let done = site.bootstrap(&[]);
    assert_eq!(done.code, 2, "{}", done.text());
    assert!(done.err.contains("MF06"), "{}", done.text());
    assert!(!site.at("bin/midflight-agent").exists());
    let partial = fs::read_dir(site.at("bin"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let arrived = partial.metadata().unwrap().len();
    assert!(arrived > size / 4 && arrived < size, "{arrived} of {size}");
    let whole = Proxy::start(server, u64::MAX);
    site.inventory(&whole.address.0, whole.address.1);
    let done = site.bootstrap(&[]);
    assert_eq!(done.code, 0, "{}", done.text());
    let sent = whole.sent.load(Relaxed);
    assert!(
        sent < size - arrived + (8 << 20),
        "{sent} sent, {arrived} had arrived of {size}"
    );
    assert_eq!(site.status()["node"], "n1");
}

/// Passes bytes on to a server, and cuts each connection after so many from the client.
struct Proxy {
    address: (String, u16),
    sent: Arc<AtomicU64>,
}

impl Proxy {
    fn start(server: (String, u16), most: u64) -> Self {
        let listener = TcpListener::bind((server.0.as_str(), 0)).unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let address = (server.0.clone(), listener.local_addr().unwrap().port());
        let count = sent.clone();
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) =
                    (client, TcpStream::connect((server.0.as_str(), server.1)))
                else {
                    continue;
                };
                let (mut back, mut forth) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back, &mut forth);
                    let _ = forth.shutdown(Shutdown::Both);
                });
                let count = count.clone();
                std::thread::spawn(move || pass(client, server, most, &count));
            }
        });
        Self { address, sent }
    }
}

fn pass(mut client: TcpStream, mut server: TcpStream, most: u64, count: &AtomicU64) {
    let (mut chunk, mut passed) = (vec![0; 1 << 16], 0);
    while passed < most {
        let read = client.read(&mut chunk).unwrap_or(0);
        if read == 0 || server.write_all(&chunk[..read]).is_err() {
            break;
        }
        passed += read as u64;
        count.fetch_add(read as u64, Relaxed);
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
