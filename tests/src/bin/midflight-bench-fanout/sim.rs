//! The simulated fleet, and the controller as it is run against it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use midflight_tests::{Simulator, binary};

use crate::{POLICY, Result};

/// Not the agents' own port, so that a fleet of somebody else does not answer.
const PORT: u16 = 7411;
/// Where `midflight serve` listens.
pub(crate) const SERVER: &str = "127.0.0.1:7412";

/// A fleet that listens.
pub(crate) struct Sim(Simulator);

impl Sim {
    /// Boots a fleet, and waits until it listens.
    pub(crate) fn start(nodes: u64, scenario: &str) -> Result<Self> {
        let fleet = Simulator::start(nodes, PORT, scenario, &[])?;
        fs::write(fleet.folder().join("policy.yaml"), POLICY)?;
        eprintln!("# simulator: {}", fleet.said);
        Ok(Self(fleet))
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// The controller with these words, run in the folder, told where everything is.
    pub(crate) fn controller(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("midflight"));
        command
            .args(words)
            .args([
                "--inventory",
                "fleet.yaml",
                "--pki",
                "pki",
                "--journal",
                "journal.db",
            ])
            .args(["--output", "json"])
            .current_dir(self.folder())
            .stdout(fs::File::create(self.folder().join("out.json"))?)
            .stderr(fs::File::create(self.folder().join("err.txt"))?);
        Ok(command)
    }

    /// The rollout of a patch over all nodes.
    pub(crate) fn apply(&self, bundle: &str, policy: &str) -> Result<Command> {
        self.controller(&["apply", bundle, "sim", "--all", "--policy", policy])
    }

    /// A server for the fleet, once it listens.
    pub(crate) fn serve(&self) -> Result<Server> {
        let mut child = Command::new(binary("midflight"))
            .args(["serve", "--listen", SERVER, "--policy", "policy.yaml"])
            .args([
                "--inventory",
                "fleet.yaml",
                "--pki",
                "pki",
                "--journal",
                "server.db",
            ])
            .current_dir(self.folder())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut said = BufReader::new(stderr).lines();
        let listens = |line: std::io::Result<String>| {
            line.is_ok_and(|line| line.starts_with("listening on "))
        };
        if !said.by_ref().any(listens) {
            let _ = child.kill();
            return Err("midflight serve did not start".into());
        }
        // What it says later has to go somewhere.
        std::thread::spawn(move || said.for_each(drop));
        Ok(Server(child))
    }

    /// What a command wrote, for messages.
    pub(crate) fn said(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.folder().join(name)).unwrap_or_default();
            let start = text.len().saturating_sub(2_000);
            text.get(start..).unwrap_or_default().to_owned()
        };
        format!("{}\n{}", tail("out.json"), tail("err.txt"))
    }

    /// Ends the fleet; gives what happened on the nodes, one JSON object a line.
    pub(crate) fn end(self) -> Result<String> {
        Ok(self.0.end()?)
    }
}

/// `midflight serve`; killed when it is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
