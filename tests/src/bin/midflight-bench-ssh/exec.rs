//! What `true` on 500 hosts costs: `midflight exec` beside ssh under xargs and clush, interleaved, wall time and the client's processor
//! time; then within kept connections, and what a live connection holds in memory.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use midflight_controller::fanout::answer::End;
use midflight_controller::fanout::drive::Stop;
use midflight_controller::fanout::run::{Event, Options, run};
use midflight_controller::fanout::shell::Shell;
use midflight_controller::fanout::ssh::{Ssh, SshArgs};
use midflight_inventory::Inventory;
use midflight_tests::binary;
use midflight_tests::figures::Figures;
use midflight_tests::process::{Measured, measure};
use tokio::sync::mpsc;

use crate::Result;
use crate::place::{PORT, Place, USER};

/// Hosts.
pub(crate) const HOSTS: usize = 500;
/// Hosts at a time.
pub(crate) const FAN_OUT: &str = "64";
/// Rounds; each program once in each, the median counts.
pub(crate) const ROUNDS: usize = 5;

/// `ssh_true_wall` and `ssh_true_cpu`.
pub(crate) fn cold(figures: &mut Figures) -> Result<()> {
    let place = Place::start(HOSTS, |_| String::new())?;
    let midflight = exec_true(&place.inventory(PORT, |_| String::new())?);
    let identity = place.path("id").display().to_string();
    let options = [
        "-q".to_owned(),
        format!("-p{PORT}"),
        "-i".to_owned(),
        identity,
        "-oStrictHostKeyChecking=no".to_owned(),
        "-oUserKnownHostsFile=/dev/null".to_owned(),
    ];
    let mut xargs = Command::new("xargs");
    xargs.args([&format!("-P{FAN_OUT}"), "-I{}", "ssh"]);
    xargs.args(&options).args([&format!("{USER}@{{}}"), "true"]);
    let mut clush = Command::new("clush");
    clush.args(["-l", USER, "-f", FAN_OUT, "-o", &options.join(" "), "-w"]);
    clush.arg(place.hosts.join(",")).arg("true");
    let mut subjects = vec![("midflight", midflight), ("openssh", xargs)];
    match Command::new("clush").arg("--version").output() {
        Ok(_) => subjects.push(("clush", clush)),
        Err(_) => eprintln!("# no clush: no ratio against it"),
    }
    let mut measured: Vec<Vec<Measured>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((name, command), runs) in subjects.iter_mut().zip(&mut measured) {
            command.stdin(File::open(place.path("hosts"))?);
            let run = measure(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
            if !run.status.success() {
                return Err(format!("{name}: {}", run.status).into());
            }
            runs.push(run);
        }
    }
    for ((name, _), runs) in subjects.iter().zip(&measured) {
        let wall = median(runs.iter().map(|run| run.wall));
        figures.add("ssh_true_wall", name, HOSTS as u64, (wall * 1e3, "ms"));
    }
    for ((name, _), runs) in subjects.iter().zip(&measured) {
        let cpu = median(runs.iter().map(|run| run.cpu));
        let each = cpu * 1e3 / HOSTS as f64;
        figures.add("ssh_true_cpu", name, HOSTS as u64, (each, "ms a host"));
    }
    Ok(())
}

/// `true` on all hosts of an inventory.
pub(crate) fn exec_true(inventory: &Path) -> Command {
    let mut midflight = Command::new(binary("midflight"));
    midflight.args(["exec", "all", "--all", "--fan-out", FAN_OUT, "-i"]);
    midflight.arg(inventory).args(["--", "true"]);
    midflight.stdin(Stdio::null()).stdout(Stdio::null());
    midflight.stderr(Stdio::null());
    midflight
}

/// `ssh_warm` and `ssh_memory`.
pub(crate) fn warm(figures: &mut Figures) -> Result<()> {
    let place = Place::start(HOSTS, |_| String::new())?;
    let inventory = Inventory::load(&[place.inventory(PORT, |_| String::new())?])?;
    let hosts: Vec<_> = inventory.hosts().iter().collect();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let shell: Arc<dyn Shell> = Arc::new(Ssh::new(&hosts, &SshArgs::default())?.keeping());
        // What the first connection brings along, threads and code, is not a connection's.
        all(&shell, 1).await?;
        let before = memory()?;
        let first = all(&shell, HOSTS).await?;
        let each = (memory()?.saturating_sub(before)) as f64 / (HOSTS - 1) as f64;
        let mut again = Vec::new();
        for _ in 0..ROUNDS {
            again.push(all(&shell, HOSTS).await?);
        }
        let n = HOSTS as u64;
        figures.add("ssh_warm", "first", n, (first.as_secs_f64() * 1e3, "ms"));
        figures.add(
            "ssh_warm",
            "midflight",
            n,
            (median(again.into_iter()) * 1e3, "ms"),
        );
        figures.add(
            "ssh_memory",
            "midflight",
            n,
            (each / 1e3, "kB a connection"),
        );
        Ok(())
    })
}

/// `true` on the first so many hosts.
async fn all(shell: &Arc<dyn Shell>, nodes: usize) -> Result<Duration> {
    let options = Options {
        command: "true".into(),
        input: None,
        at_once: FAN_OUT.parse()?,
        timeout: Duration::from_secs(60),
        most: 1 << 16,
        most_in_all: 1 << 24,
        live: false,
    };
    let (_say, stop) = Stop::new();
    let (events, mut read) = mpsc::channel(64);
    let start = Instant::now();
    let running = tokio::spawn(run(shell.clone(), nodes, options, stop, events));
    while let Some(event) = read.recv().await {
        if let Event::Ended { node, answer, .. } = event
            && answer.end != End::Exit(0)
        {
            return Err(format!("host {node}: {:?}", answer.end).into());
        }
    }
    let took = start.elapsed();
    running.await??;
    Ok(took)
}

/// Bytes of this process in memory.
fn memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.ok_or("/proc does not say")?.parse::<u64>()? * 1024)
}

/// In seconds.
pub(crate) fn median(times: impl Iterator<Item = Duration>) -> f64 {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}
