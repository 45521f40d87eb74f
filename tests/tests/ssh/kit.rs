//! What hosts without an agent are to be given: the agent's program, signed by a builder; a release, and the inventory that leads
//! to one host, n1.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use midflight_tests::{Done, Fleet, Value, binary};

/// All of it, in a folder of its own.
pub(crate) struct Kit {
    pub(crate) fleet: Fleet,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let kit = Self {
            fleet: Fleet::prepare(1),
        };
        fs::create_dir(kit.fleet.path("agents")).unwrap();
        kit.fleet.keygen("builder");
        let public = fs::read_to_string(kit.fleet.path("builder.pub")).unwrap();
        let signers = format!("build@test namespaces=\"agent@midflight\" {public}");
        fs::write(kit.fleet.path("agent_signers"), signers).unwrap();
        let name = format!("midflight-agent-{}", std::env::consts::ARCH);
        let program = kit.fleet.path("agents").join(name);
        fs::copy(binary("midflight-agent"), &program).unwrap();
        kit.sign(&program);
        kit
    }

    /// Signs a program as the builder.
    pub(crate) fn sign(&self, program: &Path) {
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "agent@midflight", "-f"])
            .arg(self.fleet.path("builder"))
            .arg(program)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(signed.unwrap().success());
    }

    /// The host n1, at an address, by these arguments of `ssh`, with further variables.
    pub(crate) fn inventory(&self, address: &str, args: &str, vars: &str) {
        let text = format!(
            "transport: ssh\ngroups:\n  web:\n    hosts:\n      n1: {{address: {address}, vars: {{where: here{vars}}}}}\n    \
             ssh: {{args: {args}}}\n"
        );
        fs::write(self.fleet.path("ssh.yaml"), text).unwrap();
    }

    pub(crate) fn bootstrap(&self, more: &[&str]) -> Done {
        let mut args = vec!["bootstrap", "n1", "-i", "ssh.yaml", "--agents", "agents"];
        args.extend([
            "--agent-signers",
            "agent_signers",
            "--release",
            "release.tar",
        ]);
        args.extend(["--allowed-signers", "allowed_signers"]);
        args.extend(more);
        self.fleet.run(&args)
    }

    /// What it says of the host in JSON.
    pub(crate) fn event(&self, more: &[&str]) -> Value {
        let done = self.bootstrap(&[more, &["--output", "json"]].concat());
        let line = done.out.lines().next().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", done.text()))
    }
}
