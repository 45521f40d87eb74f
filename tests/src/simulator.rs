//! A simulated fleet: `midflight sim` as a process of its own, in a folder of its own. It ends with its owner, also when that is
//! killed. What a controller does with it is for the owner.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::binary;

/// A fleet that listens.
pub struct Simulator {
    child: Child,
    /// Kept, so that it can go on talking.
    _stderr: BufReader<ChildStderr>,
    folder: TempDir,
    /// What it said when it listened.
    pub said: String,
}

impl Simulator {
    /// Boots a fleet, and waits until it listens. An empty scenario is none; `more` are further arguments.
    ///
    /// # Errors
    /// When it does not start; with what it said.
    pub fn start(nodes: u64, port: u16, scenario: &str, more: &[&str]) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("midflight-sim-")
            .tempdir()?;
        let mut command = Command::new(binary("midflight"));
        command
            .args(["sim", "--dir", ".", "--events", "events.json"])
            .args(["--nodes", &nodes.to_string(), "--port", &port.to_string()])
            .args(["--die-with-parent", &std::process::id().to_string()])
            .args(more);
        if !scenario.is_empty() {
            fs::write(folder.path().join("scenario.yaml"), scenario)?;
            command.args(["--scenario", "scenario.yaml"]);
        }
        let mut child = command
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child
            .stderr
            .take()
            .ok_or_else(|| io::Error::other("no stderr"))?;
        let mut stderr = BufReader::new(stderr);
        let mut said = String::new();
        let read = stderr.read_line(&mut said);
        if read.is_err() || !said.contains(" listen on port ") {
            let _ = child.kill();
            let _ = child.wait();
            let why = format!("the simulator did not start: {said}");
            return Err(io::Error::other(why));
        }
        Ok(Self {
            child,
            _stderr: stderr,
            folder,
            said: said.trim_end().to_owned(),
        })
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the fleet in good order; gives what happened on the nodes, one JSON object a line.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn end(mut self) -> io::Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        match status.success() {
            true => fs::read_to_string(self.folder().join("events.json")),
            false => Err(io::Error::other(format!(
                "the simulator ended with {status}"
            ))),
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
