//! `Match`: criteria, and the commands of `Match exec`.
//!
//! A command is run once in the life of a [`Config`](super::Config) for each text that it expands to, and for at most
//! [`limits::MATCH_EXEC_SECONDS`]; `ssh` runs it for every connection. Criteria that OpenSSH has and Midflight has not
//! are refused by name where the answer depends on them.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;

/// One criterion.
#[derive(Debug)]
pub(crate) struct Criterion {
    pub negated: bool,
    pub test: Test,
}

/// What is compared.
#[derive(Debug)]
pub(crate) enum Test {
    All,
    /// `final`, or `canonical`, which alone does not ask for a second pass.
    Final {
        asks: bool,
    },
    Host(String),
    OriginalHost(String),
    User(String),
    LocalUser(String),
    Tagged(String),
    Exec(String),
    Unsupported(String),
}

/// The criteria of a line.
pub(crate) fn criteria(words: Vec<String>) -> Result<Vec<Criterion>, String> {
    let mut criteria = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let (negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word.as_str()),
        };
        let (name, attached) = match name.split_once('=') {
            Some((name, argument)) => (name.to_ascii_lowercase(), Some(argument.to_owned())),
            None => (name.to_ascii_lowercase(), None),
        };
        let mut argument = || {
            // `host=x`, `host = x`, `host =x` and `host x` are the same.
            let text = match attached.clone().filter(|text| !text.is_empty()) {
                Some(text) => Some(text),
                None => match words.next_if(|word| word.starts_with('=')) {
                    Some(text) if text.len() > 1 => Some(text[1..].to_owned()),
                    _ => words.next(),
                },
            };
            text.ok_or_else(|| format!("Match {name} needs an argument"))
        };
        let test = match name.as_str() {
            "all" => Test::All,
            "canonical" => Test::Final { asks: false },
            "final" => Test::Final { asks: true },
            "host" => Test::Host(argument()?),
            "originalhost" => Test::OriginalHost(argument()?),
            "user" => Test::User(argument()?),
            "localuser" => Test::LocalUser(argument()?),
            "tagged" => Test::Tagged(argument()?),
            "exec" => Test::Exec(argument()?),
            "localnetwork" | "version" | "command" | "sessiontype" => {
                argument()?;
                Test::Unsupported(name)
            }
            _ => return Err(format!("there is no Match criterion {name}")),
        };
        let last = matches!(test, Test::All);
        criteria.push(Criterion { negated, test });
        if last && words.peek().is_some() {
            return Err("nothing may follow Match all".to_owned());
        }
    }
    Ok(criteria)
}

/// The answers of commands that were run.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    answers: Mutex<HashMap<String, Arc<Answer>>>,
}

/// Whether the command succeeded, or why it has no answer.
type Answer = OnceLock<Result<bool, String>>;

impl Commands {
    /// Whether the command ends with status 0. Whoever asks for the same command meanwhile waits for the one answer.
    pub(crate) fn succeeds(&self, command: &str) -> Result<bool, String> {
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(answers.entry(command.to_owned()).or_default())
        };
        answer
            .get_or_init(|| run(command, Duration::from_secs(limits::MATCH_EXEC_SECONDS)))
            .clone()
    }
}

/// Runs a command in the user's shell, without input and output, as `ssh` does.
fn run(command: &str, bound: Duration) -> Result<bool, String> {
    let shell = std::env::var_os("SHELL")
        .filter(|shell| !shell.is_empty())
        .unwrap_or_else(|| "/bin/sh".into());
    let mut child = Command::new(&shell)
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own, so that what it starts ends with it.
        .process_group(0)
        .spawn()
        .map_err(|e| format!("could not be started by {}: {e}", shell.display()))?;
    let deadline = Instant::now() + bound;
    let mut pause = Duration::from_micros(200);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Err(e) => return Err(format!("could not be waited for: {e}")),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Ok(None) => {
                let group = i32::try_from(child.id())
                    .ok()
                    .and_then(rustix::process::Pid::from_raw);
                if let Some(group) = group {
                    // It may have ended by itself meanwhile.
                    let _ =
                        rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                let _ = child.wait();
                return Err(format!("did not end within {} s", bound.as_secs_f32()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_end_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let command = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let error = run(&command, Duration::from_millis(300)).expect_err("no answer in time");
        assert!(error.contains("did not end"), "{error}");
        let pid: u32 = std::fs::read_to_string(pid)
            .expect("it ran")
            .trim()
            .parse()
            .expect("a number");
        let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat
                .rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('Z')),
            Err(_) => true,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !gone() {
            assert!(Instant::now() < deadline, "the sleep is still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_command_is_run_once_for_all_who_ask() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let command = format!("echo x >> {}; test 1 = 1", log.display());
        let commands = Commands::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(commands.succeeds(&command), Ok(true)));
            }
        });
        assert_eq!(std::fs::read_to_string(log).expect("it ran"), "x\n");
        assert_eq!(commands.succeeds("exit 3"), Ok(false));
    }
}
