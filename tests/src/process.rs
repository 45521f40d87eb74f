//! A process that is measured: how long it ran, the processor time that it took, and the most memory that it held.

use std::{
    fs, io,
    process::{Command, ExitStatus},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What one process came to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// From its start to its end.
    pub wall: Duration,
    /// User and system, also of the children that it waited for, in steps of 10 ms.
    pub cpu: Duration,
    /// Most bytes in memory, seen up to 5 ms before its end.
    pub peak: u64,
    /// How it ended.
    pub status: ExitStatus,
}

/// Runs a process to its end.
///
/// # Errors
/// When it cannot be started or watched; how it ends is in [`Measured::status`].
pub fn measure(command: &mut Command) -> io::Result<Measured> {
    let start = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{command:?}: {error}")))?;
    let id = child.id();
    let (ended, watched) = channel::<()>();
    let memory = thread::spawn(move || {
        let mut peak = 0;
        loop {
            peak = peak.max(memory(id).unwrap_or(0));
            if watched.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                return peak;
            }
        }
    });
    // The process stays a zombie, which still knows its processor time, until `wait`.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let waited = waitid(WaitId::Pid(Pid::from_child(&child)), options);
    let wall = start.elapsed();
    drop(ended);
    let peak = memory.join().unwrap_or(0);
    waited?;
    let cpu = processor_time(id)?;
    let status = child.wait()?;
    Ok(Measured {
        wall,
        cpu,
        peak,
        status,
    })
}

/// The most bytes that a process held so far.
fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// User and system, of a process that was not waited for and of the children that it waited for.
///
/// # Errors
/// When `/proc` does not say.
pub fn processor_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may hold anything but a last parenthesis: state, then ten more fields, then the four.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields
        .get(11..15)
        .ok_or_else(|| io::Error::other("no times in /proc"))?
        .iter()
        .map(|n| n.parse::<u64>().unwrap_or(0))
        .sum();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Ok(Duration::from_millis(ticks * 10))
}
