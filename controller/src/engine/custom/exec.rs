//! A gate that is a program: no shell, the wave as JSON on its standard input, and a process group of its own, which is killed as a whole
//! when the time is over or nobody waits any more. Exit code 0 passes, 1 trips, all else is inconclusive; the reason is what it
//! wrote last.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::engine::custom::{Subject, quoted};
use crate::engine::gate::Verdict;
use crate::policy::Exec;

/// Bytes that are kept of each of its outputs, the last ones.
const KEPT: usize = 4096;
/// How long its outputs are read after it ended: something that it started may hold them open.
const GRACE: Duration = Duration::from_millis(200);

/// Runs the program.
pub(super) async fn ask(exec: &Exec, subject: &Subject) -> Verdict {
    let name = exec.to_string();
    let undecided = |why: String| Verdict::Inconclusive(vec![format!("{name}: {why}")]);
    let Some((program, arguments)) = exec.command.split_first() else {
        return undecided("it names no program".to_owned());
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => Group(child),
        Err(error) => return undecided(format!("it cannot be started: {error}")),
    };
    // Plain text and numbers into memory: that does not fail.
    let input = serde_json::to_vec(subject).unwrap_or_default();
    match timeout(exec.timeout.get(), run(&mut child.0, input)).await {
        Err(_) => undecided(format!("it was killed after {}", exec.timeout)),
        Ok(Err(error)) => undecided(format!("it cannot be waited for: {error}")),
        Ok(Ok((status, said))) => {
            let why = match (status.code(), said.is_empty()) {
                (Some(code), true) => format!("exit code {code}"),
                (Some(code), false) => format!("exit code {code}: {said}"),
                (None, true) => status.to_string(),
                (None, false) => format!("{status}: {said}"),
            };
            match status.code() {
                Some(0) => Verdict::Pass,
                Some(1) => Verdict::Trip(vec![format!("{name}: {why}")]),
                _ => undecided(why),
            }
        }
    }
}

/// The program and all that it started: dropped, they are killed.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self
            .0
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended by itself.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Gives its exit status and the last line that it wrote, to standard error if it wrote there.
async fn run(
    child: &mut Child,
    input: Vec<u8>,
) -> std::io::Result<(std::process::ExitStatus, String)> {
    let leader = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // It need not read what it is given.
            let _ = stdin.write_all(&input).await;
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = {
        let read = async { tokio::join!(tail(stdout, &mut out), tail(stderr, &mut err)) };
        tokio::pin!(read);
        let ended = async { tokio::join!(child.wait(), feed).0 };
        tokio::pin!(ended);
        let mut all_read = false;
        let status = loop {
            tokio::select! {
                status = &mut ended => break status?,
                _ = &mut read, if !all_read => all_read = true,
            }
        };
        if !all_read {
            // What is still open after that is not its own.
            let _ = timeout(GRACE, read).await;
        }
        status
    };
    if let Some(leader) = leader {
        // It is waited for, so that its number may be another's soon; the group's is taken while one of it lives.
        let _ = kill_process_group(leader, Signal::KILL);
    }
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        line.map(quoted).unwrap_or_default()
    };
    let said = Some(last(&err)).filter(|line| !line.is_empty());
    Ok((status, said.unwrap_or_else(|| last(&out))))
}

/// Reads all, keeps the end.
async fn tail(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; KEPT];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let more = kept.len().saturating_sub(KEPT);
        kept.drain(..more);
    }
}
