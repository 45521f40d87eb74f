//! Running a program within bounds: so much time for all its calls, so much output for each.
//!
//! What runs too long is killed with all that it has started in its process group. A program that leaves that group and
//! keeps the output open is not waited for.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::Error;
use crate::limits;

/// Bytes of a program's complaints that are kept.
const COMPLAINTS: u64 = 64 * 1024;

/// Whether a file is a program: one that may be executed, and begins as scripts or ELF files do.
pub(crate) fn is_program(path: &Path) -> io::Result<Kind> {
    let mut file = File::open(path)?;
    let executable = file.metadata()?.permissions().mode() & 0o111 != 0;
    let mut begin = Vec::new();
    file.by_ref().take(4).read_to_end(&mut begin)?;
    let script = begin.starts_with(b"#!");
    Ok(match (script, executable) {
        (true, true) => Kind::Program,
        (true, false) => Kind::ScriptWithoutPermission,
        (false, true) if begin == b"\x7fELF" => Kind::Program,
        _ => Kind::Text,
    })
}

/// What a file is to the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Program,
    ScriptWithoutPermission,
    Text,
}

/// A program that is called one or more times.
pub(crate) struct Program {
    path: PathBuf,
    deadline: Instant,
}

enum Report {
    Output(io::Result<Vec<u8>>),
    Complaints(Vec<u8>),
    Exit(io::Result<ExitStatus>),
}

impl Program {
    pub(crate) fn new(path: &Path) -> Result<Program, Error> {
        // A name without a slash would be looked for in PATH.
        let absolute = std::path::absolute(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Program {
            path: absolute,
            deadline: Instant::now() + Duration::from_secs(limits::PROGRAM_SECONDS),
        })
    }

    /// What the program prints; at most `limit` bytes.
    pub(crate) fn output(&self, args: &[&str], limit: u64) -> Result<String, Error> {
        let failed = |reason: String, complaints: &[u8]| Error::Program {
            path: self.path.clone(),
            args: args.join(" "),
            reason,
            complaints: shown(complaints),
        };
        let started = self.start(args, limit);
        let (pid, reports) =
            started.map_err(|error| failed(format!("it cannot be run: {error}"), &[]))?;
        let (mut output, mut complaints, mut exit) = (None, None, None);
        while output.is_none() || complaints.is_none() || exit.is_none() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match reports.recv_timeout(left) {
                Ok(Report::Output(bytes)) => output = Some(bytes),
                Ok(Report::Complaints(bytes)) => complaints = Some(bytes),
                Ok(Report::Exit(status)) => exit = Some(status),
                Err(RecvTimeoutError::Timeout) => {
                    if exit.is_none() {
                        // It may have ended just now; then there is nothing to kill.
                        let _ = kill_process_group(pid, Signal::KILL);
                    }
                    let reason = format!("it took more than {} seconds", limits::PROGRAM_SECONDS);
                    return Err(failed(reason, &complaints.unwrap_or_default()));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Some(Ok(bytes)) = &output
                && bytes.len() as u64 > limit
            {
                let _ = kill_process_group(pid, Signal::KILL);
                return Err(failed(format!("it prints more than {limit} bytes"), &[]));
            }
        }
        let complaints = complaints.unwrap_or_default();
        let ended = match exit {
            Some(Ok(status)) if status.success() => None,
            Some(Ok(status)) => Some(match (status.code(), status.signal()) {
                (Some(code), _) => format!("it ended with exit code {code}"),
                (None, signal) => format!("it was ended by signal {}", signal.unwrap_or(0)),
            }),
            Some(Err(error)) => Some(error.to_string()),
            None => Some("it cannot be waited for".to_owned()),
        };
        if let Some(reason) = ended {
            return Err(failed(reason, &complaints));
        }
        let bytes = match output {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(failed(error.to_string(), &complaints)),
            None => Vec::new(),
        };
        String::from_utf8(bytes)
            .map_err(|_| failed("what it prints is not UTF-8".to_owned(), &complaints))
    }

    /// Starts the program, with a thread for each thing to wait for.
    fn start(&self, args: &[&str], limit: u64) -> io::Result<(Pid, Receiver<Report>)> {
        let mut child = Command::new(&self.path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let (sender, reports) = sync_channel(3);
        if let Some(pipe) = child.stdout.take() {
            report(&sender, move || Report::Output(bounded(pipe, limit + 1)));
        }
        if let Some(pipe) = child.stderr.take() {
            report(&sender, move || {
                Report::Complaints(bounded(pipe, COMPLAINTS).unwrap_or_default())
            });
        }
        report(&sender, move || Report::Exit(child.wait()));
        Ok((pid, reports))
    }
}

/// A thread that waits for one thing. It ends with the program, whose process group is killed when time is up.
fn report(sender: &SyncSender<Report>, wait: impl FnOnce() -> Report + Send + 'static) {
    let sender = sender.clone();
    thread::spawn(move || {
        // Nobody listens any more when the program was given up.
        let _ = sender.send(wait());
    });
}

fn bounded(pipe: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a program's complaints.
fn shown(complaints: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaints);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let plain = |line: &&str| -> String {
        let plain = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(200).collect()
    };
    let last = lines.iter().skip(lines.len().saturating_sub(5)).map(plain);
    last.collect::<Vec<_>>().join("\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_ends_is_stopped_with_what_it_started() {
        let program = Program {
            path: PathBuf::from("/bin/sh"),
            deadline: Instant::now() + Duration::from_millis(200),
        };
        let started = Instant::now();
        let args = ["-c", "echo waiting >&2; sleep 600 & sleep 600"];
        let error = program.output(&args, 1000).expect_err("stopped");
        assert_eq!(error.code(), "MF0126");
        assert!(error.to_string().contains("it took more than"), "{error}");
        // Generous: it is only to be told from waiting for the end.
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
