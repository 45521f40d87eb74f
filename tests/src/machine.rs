//! A machine of its own, in namespaces: an SSH server, users, the system's folders, and systemd as process 1 where that is wanted.
//! What is written there is written to memory, so that nothing of this machine changes, and it ends with its owner, also when that is
//! killed. It takes root, and the programs of this machine are its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Done, sshd, until};

/// The server's port, at the machine's own loopback address.
const PORT: u16 = 2222;
const ADDRESS: &str = "127.0.0.1";

/// Whether there can be one: a root that is written to memory, and for systemd a control group.
const TRIED: &str = r#"
mount -t tmpfs tmpfs "$1"
mkdir "$1/written" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/written,workdir=$1/work" overlay "$1/root"
[ -n "$2" ] || exit 0
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/midflight-tried-$$
mkdir "$group"
rmdir "$group"
"#;

/// What process 1 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// The SSH server, and nothing else.
    Sshd,
    /// systemd, which runs the SSH server.
    Systemd,
}

/// A machine that runs. It has the users `ann`, who may do nothing, and `bea`, who may become root by sudo.
pub struct Machine {
    /// `config` for clients of its server, with `id`, and `log`.
    pub folder: PathBuf,
    pid: u32,
    holder: Child,
}

impl Machine {
    /// A machine whose files are in a folder; `None`, with the reason on stderr, where a process may make none.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(folder: &Path, init: Init) -> Option<Self> {
        let mut tried = Command::new("unshare");
        tried
            .args(["--net", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "sh", "-euc", TRIED, "sh"])
            .arg(folder)
            .arg(if init == Init::Systemd { "systemd" } else { "" });
        let tried = tried.output().expect("unshare runs");
        if !tried.status.success() {
            let why = String::from_utf8_lossy(&tried.stderr);
            eprintln!("skipped: no machines for this user here: {}", why.trim());
            return None;
        }
        // Its server reads keys as the user who logs in.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder, open.clone()).expect("the folder is ours");
        let folder = folder.join("machine");
        fs::create_dir(&folder).expect("a folder can be made");
        fs::set_permissions(&folder, open).expect("the folder is ours");
        sshd::prepare(&folder, &[ADDRESS.to_owned()], PORT, &[]);
        let public = fs::Permissions::from_mode(0o644);
        fs::set_permissions(folder.join("authorized_keys"), public).expect("the file is ours");
        let script = folder.join("machine.sh");
        fs::write(&script, include_str!("machine.sh")).expect("a file can be written");
        let mut holder = Command::new("setpriv");
        holder
            .args(["--pdeathsig", "TERM", "unshare", "--mount"])
            .args(["--propagation", "private", "sh"])
            .arg(&script);
        match init {
            Init::Sshd => holder
                .arg("sshd")
                .arg(&folder)
                .args(["/usr/sbin/sshd", "-D", "-f"])
                .arg(folder.join("sshd_config"))
                .arg("-E")
                .arg(folder.join("log")),
            Init::Systemd => holder
                .arg("systemd")
                .arg(&folder)
                .args(["/lib/systemd/systemd", "--system"])
                .args(["--unit=multi-user.target", "--show-status=no"]),
        };
        let mut holder = holder
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv runs");
        let mut line = String::new();
        let out = holder.stdout.take().expect("stdout is piped");
        let read = BufReader::new(out).read_line(&mut line);
        let pid = line.trim().strip_prefix("ready ").map(str::parse);
        let Some(Ok(pid)) = pid else {
            panic!("the machine did not start: {read:?} {line:?}");
        };
        let machine = Self {
            folder,
            pid,
            holder,
        };
        let path = machine.folder.join("config");
        let by = format!("ProxyCommand nsenter --net --target {pid} nc {ADDRESS} {PORT}\n");
        let config = fs::read_to_string(&path).expect("it was written") + &by;
        fs::write(path, config).expect("a file can be written");
        until("the machine's sshd listens", || {
            machine.run(&format!("nc -z {ADDRESS} {PORT}")).code == 0
        });
        Some(machine)
    }

    /// Runs a script there as root.
    ///
    /// # Panics
    /// When there is no shell.
    #[must_use]
    pub fn run(&self, script: &str) -> Done {
        let output = Command::new("nsenter")
            .args(["--all", "--target", &self.pid.to_string()])
            .args(["--root", "--wd", "sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .expect("nsenter runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Done {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// What a script says there that must succeed, without white space around it.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn say(&self, script: &str) -> String {
        let done = self.run(script);
        assert_eq!(done.code, 0, "{script}: {}", done.text());
        done.out.trim().to_owned()
    }

    /// The words of an inventory that lead there, as a user.
    #[must_use]
    pub fn args(&self, user: &str) -> String {
        format!("[-F, {}, -l, {user}]", self.folder.join("config").display())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let pid = self.holder.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.holder.wait();
    }
}
