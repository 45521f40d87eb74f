//! Where the benches over SSH run: a network namespace of their own, so that a server at all loopback addresses can be reached by
//! nobody else, and in it one sshd, with a user whose shell starts at once. Needs root, as the sshd and the user do.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use midflight_tests::until;
use tempfile::TempDir;

use crate::Result;

/// The user that everybody logs in as.
pub(crate) const USER: &str = "fleet";
/// The server's port at every address.
pub(crate) const PORT: u16 = 2222;
/// Set in the namespace.
const INSIDE: &str = "MIDFLIGHT_BENCH_NAMESPACE";

/// Runs this program once more in a network namespace, and does not return; returns in it.
///
/// # Errors
/// When there can be none.
pub(crate) fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"])?;
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(
            "the benches over SSH run as root: they make a user, a server and a network namespace"
                .into(),
        );
    }
    let mut again = Command::new("unshare");
    again.arg("--net").arg("--").arg(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Err(again.exec().into())
}

/// A server with hosts, which ends with this.
pub(crate) struct Place {
    folder: TempDir,
    child: Child,
    /// The addresses of the hosts.
    pub(crate) hosts: Vec<String>,
}

impl Place {
    /// A server, so many hosts, and further lines of its configuration, made for its folder; the last may be a `Match`.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(hosts: usize, lines: impl Fn(&Path) -> String) -> Result<Self> {
        user()?;
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        // The server reads the keys as the user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        for key in ["host", "id"] {
            run(
                "ssh-keygen",
                &["-q", "-t", "ed25519", "-N", "", "-f", &text(key)],
            )?;
        }
        fs::copy(path("id.pub"), path("authorized_keys"))?;
        fs::set_permissions(path("authorized_keys"), fs::Permissions::from_mode(0o644))?;
        // One key exchange and one cipher for all clients: sntrup761 costs OpenSSH's ten times as much as anything else.
        let config = format!(
            "Port {PORT}\nListenAddress 0.0.0.0\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             UseDNS no\nPrintMotd no\nMaxStartups 4000:30:8000\nMaxSessions 1000\nKexAlgorithms curve25519-sha256\n\
             Ciphers chacha20-poly1305@openssh.com\nLogLevel ERROR\n{}\n",
            text("host"),
            text("authorized_keys"),
            lines(folder.path())
        );
        fs::write(path("sshd_config"), config)?;
        let client = format!(
            "User {USER}\nPort {PORT}\nIdentityFile {}\nIdentityAgent none\nUserKnownHostsFile /dev/null\n\
             GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking no\nLogLevel QUIET\n",
            text("id")
        );
        fs::write(path("config"), client)?;
        let hosts: Vec<String> = (0..hosts)
            .map(|n| format!("127.0.{}.{}", 1 + n / 250, 1 + n % 250))
            .collect();
        fs::write(path("hosts"), hosts.join("\n") + "\n")?;
        fs::create_dir_all("/run/sshd")?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "/usr/sbin/sshd", "-D", "-f"])
            .arg(path("sshd_config"))
            .stdin(Stdio::null())
            .spawn()?;
        let place = Self {
            folder,
            child,
            hosts,
        };
        until("sshd listens", || {
            TcpStream::connect(("127.0.0.1", PORT)).is_ok()
        });
        Ok(place)
    }

    /// A file in its folder: `config` of clients, `hosts`, one a line.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An inventory of these hosts, reached at this port, with more settings for each.
    pub(crate) fn inventory(&self, port: u16, each: impl Fn(usize) -> String) -> Result<PathBuf> {
        let config = self.path("config");
        let mut text = format!(
            "transport: ssh\nssh: {{args: [-F, {}], port: {port}}}\ngroups:\n  fleet:\n    hosts:\n",
            config.display()
        );
        for (n, host) in self.hosts.iter().enumerate() {
            writeln!(text, "      n{:03}: {{address: {host}{}}}", n + 1, each(n))?;
        }
        let path = self.path(&format!("inventory-{port}.yaml"));
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Waits until the server has no connection left.
    pub(crate) fn alone(&self) {
        let server = self.child.id().to_string();
        until("sshd is alone", || {
            let mut children = Command::new("pgrep");
            children.args(["-P", &server]).stdout(Stdio::null());
            // 1: there is none.
            children
                .status()
                .is_ok_and(|status| status.code() == Some(1))
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the user, with a plain shell, so that no start-up file is measured; without a password, and not locked.
fn user() -> Result<()> {
    let known = Command::new("id").args(["-u", USER]).output()?;
    if !known.status.success() {
        run("useradd", &["-m", "-s", "/bin/dash", USER])?;
        run("usermod", &["-p", "*", USER])?;
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {args:?}: {status}").into()),
        Err(error) => Err(format!("{program}: {error}").into()),
    }
}
