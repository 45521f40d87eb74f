//! A process that is measured: how long it ran, the processor time that it took, and the most memory that it held.

use std::{
    fs,
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::Result;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What one process came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// From its start to its end.
    pub wall: Duration,
    /// User and system.
    pub cpu: Duration,
    /// Most bytes in memory.
    pub peak: u64,
    /// How it ended.
    pub status: ExitStatus,
}

/// Runs a process to its end.
pub(crate) fn measure(command: &mut Command) -> Result<Measured> {
    let start = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let pid = Pid::from_child(&child);
    let mut peak = 0;
    // The process stays a zombie, which still knows its processor time, until `wait`.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), look)?.is_none() {
        peak = peak.max(memory(&child).unwrap_or(0));
        sleep(LOOK);
    }
    let wall = start.elapsed();
    let cpu = processor_time(child.id())?;
    let status = child.wait()?;
    Ok(Measured {
        wall,
        cpu,
        peak,
        status,
    })
}

/// The most bytes that a process held so far.
fn memory(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// User and system, of a process that was not waited for.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may hold anything but a last parenthesis: state, then eleven more fields, then the two.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = fields
        .get(11..13)
        .ok_or("no times in /proc")?
        .iter()
        .map(|n| n.parse::<u64>().unwrap_or(0))
        .sum();
    // USER_HZ is 100 on every Linux that Rust runs on.
    Ok(Duration::from_millis(ticks * 10))
}
