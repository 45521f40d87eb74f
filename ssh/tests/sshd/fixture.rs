//! Servers, agents and keys of a test, in a folder of its own. Everything ends with the test.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use midflight_ssh::{Client, Config, Destination, Error, Options, Session};
use tempfile::TempDir;

/// Far more than anything here needs.
pub const LONG: Duration = Duration::from_secs(60);

/// A folder with keys, and a client's configuration in it.
pub struct World {
    pub folder: TempDir,
    lines: Vec<String>,
}

/// Waits for something to come true.
pub fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < LONG, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program that must succeed, and returns what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(done.stdout).unwrap()
}

pub fn me() -> String {
    run("id", &["-un"]).trim().to_owned()
}

/// An address of this process alone.
pub fn address() -> (String, u16) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let ip = format!(
        "127.{}.{}.{}",
        64 + (process >> 8) % 128,
        process % 256,
        1 + next % 250
    );
    let port = TcpListener::bind((ip.as_str(), 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    (ip, port)
}

impl World {
    pub fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            lines: Vec::new(),
        };
        world.key("id", "ed25519", &[]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A key pair without a passphrase, unless `more` says otherwise.
    pub fn key(&self, name: &str, kind: &str, more: &[&str]) -> String {
        let path = self.text(name);
        let mut arguments = vec!["-q", "-t", kind, "-f", &path];
        if !more.contains(&"-N") {
            arguments.extend(["-N", ""]);
        }
        arguments.extend(more);
        run("ssh-keygen", &arguments);
        path
    }

    pub fn public(&self, name: &str) -> String {
        self.read(&format!("{name}.pub")).trim().to_owned()
    }

    /// A line of the client's configuration, for all hosts.
    pub fn set(&mut self, line: impl Into<String>) -> &mut Self {
        self.lines.push(line.into());
        self
    }

    /// A server as `Host name`, with its host key known.
    pub fn host(&mut self, name: &str, server: &Sshd) {
        self.known(server, "");
        self.unknown_host(name, server);
    }

    /// A server as `Host name`, whose host key nobody knows.
    pub fn unknown_host(&mut self, name: &str, server: &Sshd) {
        self.set(format!("Host {name}"));
        self.set(format!("  HostName {}\n  Port {}", server.ip, server.port));
        self.set("Host *");
    }

    /// Puts a server's host key into known_hosts, with a marker before it.
    pub fn known(&self, server: &Sshd, marker: &str) {
        let line = format!(
            "{marker}[{}]:{} {}\n",
            server.ip, server.port, server.host_key
        );
        let all = self.read("known_hosts") + &line;
        self.write("known_hosts", &all);
    }

    /// The configuration as it stands, as a file.
    pub fn config(&self) -> PathBuf {
        let mut text = self.lines.join("\n");
        for (keyword, value) in [
            ("IdentityFile", self.text("id")),
            ("UserKnownHostsFile", self.text("known_hosts")),
            ("GlobalKnownHostsFile", "none".to_owned()),
            ("StrictHostKeyChecking", "yes".to_owned()),
            ("IdentityAgent", "none".to_owned()),
            ("User", me()),
        ] {
            let mut written = self.lines.iter().flat_map(|line| line.lines());
            if !written.any(|line| line.split_whitespace().next() == Some(keyword)) {
                text += &format!("\n{keyword} {value}");
            }
        }
        self.write("config", &(text + "\n"));
        self.path("config")
    }

    pub fn client(&self) -> Client {
        Client::new(Options::new(Config::load(Some(&self.config())).unwrap()))
    }

    pub async fn connect(&self, name: &str) -> Result<Session, Error> {
        self.client().connect(&Destination::new(name), LONG).await
    }
}

/// An sshd that ends with this.
pub struct Sshd {
    pub ip: String,
    pub port: u16,
    pub host_key: String,
    pub folder: PathBuf,
    child: Child,
}

impl Sshd {
    /// A server that lets `id` in, with further lines of configuration, which come first.
    pub fn start(world: &World, lines: &[&str]) -> Self {
        let (ip, port) = address();
        let name = format!("sshd-{port}");
        let folder = world.path(&name);
        std::fs::create_dir(&folder).unwrap();
        // Where sshd runs as root it wants this folder.
        let _ = std::fs::create_dir_all("/run/sshd");
        world.key(&format!("{name}/host"), "ed25519", &[]);
        world.write(
            &format!("{name}/authorized_keys"),
            &(world.public("id") + "\n"),
        );
        let at = |file: &str| folder.join(file).display().to_string();
        let mut text = lines.join("\n");
        // What the user's own shell does at its start is none of the tests' business; sshd takes one SetEnv.
        let home = format!("SetEnv HOME={}", folder.display());
        match text.contains("SetEnv ") {
            true => text = text.replace("SetEnv", &home),
            false => text = text + "\n" + &home,
        }
        text += &format!(
            "\nListenAddress {ip}\nPort {port}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nLogLevel DEBUG1\nUseDNS no\n",
            at("host"),
            at("authorized_keys"),
        );
        let config = world.write(&format!("{name}/config"), &text);
        let log = at("log");
        // The server ends with the thread that started it, should that be killed.
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "/usr/sbin/sshd",
                "-D",
                "-f",
                &config,
                "-E",
                &log,
            ])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            ip,
            port,
            host_key: world.public(&format!("{name}/host")),
            folder,
            child,
        };
        until("sshd listens", || server.log().contains("Server listening"));
        server
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.log().matches("Connection from").count()
    }

    /// Lets a further key in, with options before it.
    pub fn authorize(&self, line: &str) {
        let path = self.folder.join("authorized_keys");
        let all = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, all + line + "\n").unwrap();
    }

    /// The processes of its connections.
    pub fn connections(&self) -> Vec<String> {
        let listener = self.child.id().to_string();
        descendants(&listener)
    }
}

fn descendants(parent: &str) -> Vec<String> {
    let children = Command::new("pgrep").args(["-P", parent]).output().unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    let mut all = Vec::new();
    for child in children.lines() {
        all.push(child.to_owned());
        all.extend(descendants(child));
    }
    all
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // The connections first: they outlive the listener.
        for process in self.connections() {
            let _ = Command::new("kill").args(["-KILL", &process]).output();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An ssh-agent that ends with this.
pub struct SshAgent {
    pub socket: String,
    child: Child,
}

impl SshAgent {
    pub fn start(world: &World) -> Self {
        let socket = world.text("agent.sock");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "ssh-agent", "-D", "-a", &socket])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("ssh-agent listens", || Path::new(&socket).exists());
        Self { socket, child }
    }

    pub fn add(&self, path: &str) {
        let done = Command::new("ssh-add")
            .args(["-q", path])
            .env("SSH_AUTH_SOCK", &self.socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a file as private as ssh wants it.
pub fn private(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// An error and its causes.
pub fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

/// What a command writes, and its exit status.
pub async fn output(session: &Session, command: &str) -> (String, String, midflight_ssh::Exit) {
    let mut exec = session.exec(command).await.unwrap();
    drop(exec.stdin());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match exec.next().await.unwrap().unwrap() {
            midflight_ssh::Event::Stdout(data) => out.extend_from_slice(&data),
            midflight_ssh::Event::Stderr(data) => err.extend_from_slice(&data),
            midflight_ssh::Event::Exit(exit) => {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return (text(out), text(err), exit);
            }
        }
    }
}
