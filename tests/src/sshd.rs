//! A real OpenSSH server on loopback addresses, with keys and a client's configuration for it, in a folder that its owner removes.
//! It ends with its owner, also when that is killed.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

use crate::until;

/// Every server of this process gets a loopback network of its own; another process, another range.
static NETWORKS: AtomicU8 = AtomicU8::new(1);

/// A server that runs.
pub struct Sshd {
    /// Where it listens.
    pub addresses: Vec<String>,
    /// The same port at each of them.
    pub port: u16,
    /// Its folder: `id`, `config`, `known_hosts`, `inventory.yaml`.
    pub folder: PathBuf,
    child: Child,
}

impl Sshd {
    /// A server at so many addresses, 16 at most, with further lines of its configuration, which come first. In its folder are an
    /// inventory with the hosts `h1`, `h2`… in the group `ssh`, and all that is needed to log in to them.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(folder: &Path, addresses: u8, lines: &[&str]) -> Self {
        let (process, net) = (std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let at = |n| format!("127.{}.{net}.{n}", 220 + process % 30);
        Self::start_at(folder, (1..=addresses).map(at).collect(), lines)
    }

    /// The same at these addresses.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_at(folder: &Path, addresses: Vec<String>, lines: &[&str]) -> Self {
        assert!(addresses.len() <= 16, "sshd takes 16 addresses at most");
        let folder = folder.join("sshd");
        fs::create_dir_all(&folder).expect("a folder can be made");
        let port = TcpListener::bind((addresses[0].as_str(), 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        prepare(&folder, &addresses, port, lines);
        // Where sshd runs as root it wants this folder.
        let _ = fs::create_dir_all("/run/sshd");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "/usr/sbin/sshd", "-D", "-f"])
            .arg(folder.join("sshd_config"))
            .arg("-E")
            .arg(folder.join("log"))
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd starts");
        let server = Self {
            addresses,
            port,
            folder,
            child,
        };
        until("sshd listens", || {
            let all = &server.addresses;
            all.iter()
                .all(|address| TcpStream::connect((address.as_str(), port)).is_ok())
        });
        server
    }

    /// The inventory, for `-i`.
    #[must_use]
    pub fn inventory(&self) -> String {
        self.folder.join("inventory.yaml").display().to_string()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Its connections are processes of their own, which end with their clients.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files of a server at these addresses, and of its clients.
pub(crate) fn prepare(folder: &Path, addresses: &[String], port: u16, lines: &[&str]) {
    keygen(&folder.join("host"));
    keygen(&folder.join("id"));
    let path = |name: &str| folder.join(name).display().to_string();
    fs::copy(folder.join("id.pub"), folder.join("authorized_keys")).expect("a key was made");
    let mut config = lines.join("\n");
    for address in addresses {
        config += &format!("\nListenAddress {address}");
    }
    config += &format!(
        "\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nUseDNS no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         MaxStartups 100\nKexAlgorithms curve25519-sha256\nSetEnv HOME={}\n",
        path("host"),
        path("authorized_keys"),
        // What the user's own shell does at its start is none of the tests' business.
        folder.display(),
    );
    fs::write(folder.join("sshd_config"), config).expect("a file can be written");
    let host_key = fs::read_to_string(folder.join("host.pub")).expect("a key was made");
    let (mut known, mut inventory) = (String::new(), String::from("groups:\n  ssh:\n    hosts:\n"));
    for (n, address) in addresses.iter().enumerate() {
        known += &format!("[{address}]:{port} {host_key}");
        inventory += &format!("      h{}: {{address: {address}}}\n", n + 1);
    }
    fs::write(folder.join("known_hosts"), known).expect("a file can be written");
    let client = format!(
        "Port {port}\nIdentityFile {}\nIdentityAgent none\nUserKnownHostsFile {}\nGlobalKnownHostsFile none\n",
        path("id"),
        path("known_hosts"),
    );
    fs::write(folder.join("config"), client).expect("a file can be written");
    inventory += &format!(
        "    transport: ssh\n    ssh: {{args: [-F, {}]}}\n",
        path("config")
    );
    fs::write(folder.join("inventory.yaml"), inventory).expect("a file can be written");
}

fn keygen(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .status();
    assert!(made.expect("ssh-keygen runs").success());
}
