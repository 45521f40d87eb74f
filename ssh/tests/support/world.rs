//! Keys, certificates and files of a test, and the real `ssh` and `sshd` on them.
//!
//! `sshd -i` serves one connection over its standard input and output and is started by `ssh` itself, as a `ProxyCommand`:
//! nothing listens, and nothing outlives the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use midflight_ssh::{Config, Destination, HostKey, KnownHosts, Resolved};
use ssh_key::{Certificate, PublicKey};
use tempfile::TempDir;

/// A folder with keys.
pub struct World {
    folder: TempDir,
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

impl World {
    /// With a key of each type, and certificates `NAME-cert` for `ed` by the authority `ca`.
    pub fn new() -> Self {
        let world = World {
            folder: tempfile::tempdir().expect("a folder"),
        };
        for (name, kind) in [
            ("ed", "ed25519"),
            ("ed2", "ed25519"),
            ("ec", "ecdsa"),
            ("ca", "ed25519"),
            ("ca2", "ecdsa"),
        ] {
            world.key(name, kind, &[]);
        }
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    pub fn key(&self, name: &str, kind: &str, more: &[&str]) {
        let path = self.text(name);
        run(
            "ssh-keygen",
            &[&["-q", "-t", kind, "-N", "", "-C", name, "-f", &path], more].concat(),
        );
    }

    /// A certificate of a host for `key` by `authority`, as `key-cert.pub`.
    pub fn certify(&self, key: &str, authority: &str, more: &[&str]) {
        let (key, authority) = (self.text(&format!("{key}.pub")), self.text(authority));
        run(
            "ssh-keygen",
            &[&["-q", "-s", &authority, "-I", "id", "-h"], more, &[&key]].concat(),
        );
    }

    /// A text in which `{name}` is the public key of that name.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for name in ["ed", "ed2", "ec", "ca", "ca2", "rsa"] {
            if let Ok(public) = std::fs::read_to_string(self.path(&format!("{name}.pub"))) {
                let public = public.split(' ').take(2).collect::<Vec<_>>().join(" ");
                filled = filled.replace(&format!("{{{name}}}"), &public);
            }
        }
        filled
    }

    /// Hashes the names of `known_hosts`; false when `ssh-keygen` does not take a file with a broken line.
    pub fn hash(&self) -> bool {
        let file = self.text("known_hosts");
        let output = Command::new("ssh-keygen")
            .args(["-q", "-H", "-f", &file])
            .output()
            .expect("it is installed");
        output.status.success()
    }

    /// The settings of a host with these lines and the `known_hosts` file of this folder.
    pub fn resolve(&self, host: &str, lines: &str) -> Resolved {
        let file = self.write("config", &self.config(lines));
        let config = Config::load(Some(&file)).expect("a good file");
        config.resolve(&Destination::new(host)).expect("settings")
    }

    fn config(&self, lines: &str) -> String {
        format!(
            "{lines}\nUserKnownHostsFile {}\nGlobalKnownHostsFile {}\n",
            self.text("known_hosts"),
            self.text("global")
        )
    }

    /// Whether the real `ssh` goes on with a server that has these keys, and what it says.
    pub fn ssh(&self, host: &str, lines: &str, keys: &[&str]) -> (bool, String) {
        // Where sshd runs as root it wants this folder.
        let _ = std::fs::create_dir_all("/run/sshd");
        let mut server = "UsePAM no\nStrictModes no\nLogLevel QUIET\n".to_owned();
        for key in keys {
            match key.strip_suffix("-cert") {
                Some(key) => server += &format!("HostCertificate {}-cert.pub\n", self.text(key)),
                None => server += &format!("HostKey {}\n", self.text(key)),
            }
        }
        let server = self.write("sshd_config", &server);
        let config = self.write("config", &self.config(lines));
        let proxy = format!("ProxyCommand=/usr/sbin/sshd -i -f {}", server.display());
        let output = Command::new("ssh")
            .args([
                "-v",
                "-n",
                "-o",
                "BatchMode=yes",
                "-o",
                "PubkeyAuthentication=no",
                "-o",
                &proxy,
                "-F",
            ])
            .arg(config)
            .args([host, "true"])
            .stdin(Stdio::null())
            .output()
            .expect("ssh is installed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let went_on = said.contains("SSH2_MSG_SERVICE_ACCEPT received");
        assert!(
            went_on || said.contains("Host key verification failed"),
            "{said}"
        );
        (went_on, said)
    }

    /// What a server with these keys would offer for this list of algorithms, and its name there.
    pub fn offered(&self, algorithms: &[String], keys: &[&str]) -> (String, Offer) {
        for algorithm in algorithms {
            for key in keys {
                let offer = Offer::read(&self.path(&format!("{key}.pub")));
                if offer.name() == *algorithm {
                    return (algorithm.clone(), offer);
                }
            }
        }
        panic!("nothing of {keys:?} is in {algorithms:?}")
    }

    /// Whether we go on with a server that has these keys, and why not.
    pub fn ours(
        &self,
        host: &str,
        lines: &str,
        keys: &[&str],
    ) -> (
        String,
        Result<midflight_ssh::known_hosts::Trusted, midflight_ssh::Error>,
    ) {
        let to = self.resolve(host, lines);
        let known = KnownHosts::default();
        let algorithms = known.algorithms(&to).expect("files that can be read");
        let (algorithm, offer) = self.offered(&algorithms, keys);
        (algorithm, known.verify(&to, None, offer.as_host_key()))
    }
}

/// A key or a certificate from a file.
pub enum Offer {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

impl Offer {
    pub fn read(path: &Path) -> Self {
        match path.to_string_lossy().ends_with("-cert.pub") {
            true => {
                let certificate = Certificate::read_file(path).expect("a certificate");
                Offer::Certificate(Box::new(certificate))
            }
            false => Offer::Key(PublicKey::read_openssh_file(path).expect("a key")),
        }
    }

    fn name(&self) -> String {
        match self {
            // RSA keys are offered by the names of their hashes, of which servers prefer the longer one.
            Offer::Key(key) if key.algorithm().is_rsa() => "rsa-sha2-512".to_owned(),
            Offer::Key(key) => key.algorithm().to_string(),
            Offer::Certificate(certificate) => certificate.algorithm().to_certificate_type(),
        }
    }

    pub fn as_host_key(&self) -> HostKey<'_> {
        match self {
            Offer::Key(key) => HostKey::Key(key),
            Offer::Certificate(certificate) => HostKey::Certificate(certificate),
        }
    }
}
