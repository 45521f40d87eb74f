//! The command line of the simulator: boots the fleet, says how to reach it, and serves until SIGTERM or SIGINT.

use std::{
    io::Write as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use super::{Fleet, MOST, Options, Sockets, scenario::Scenario, serve};
use crate::{
    error::Error,
    peers::{Listed, Peers},
};

/// How long connections may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// Simulate a fleet of agents in one process: real mutual TLS, signatures, claims and journals, over targets that run nothing
#[derive(Args, Debug)]
pub struct SimArgs {
    /// How many nodes; they are at 127.64.0.1 and the addresses after it
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    nodes: u32,
    /// The port of all nodes
    #[arg(long, value_name = "PORT", default_value_t = 7400, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Where a controller finds inventory, certificates, signers and bundles; files of an earlier run are replaced
    #[arg(long, value_name = "DIR", default_value = "midflight-sim")]
    dir: PathBuf,
    /// Each node also listens on a Unix socket in this folder, NODE.sock: for a controller that comes over SSH
    #[arg(long, value_name = "DIR")]
    sockets: Option<PathBuf>,
    /// Who may use the sockets beside the own user and root, and as what: viewer, operator or debugger. Default: viewer
    #[arg(long = "peer", value_name = "USER[:ROLE]", requires = "sockets")]
    peers: Vec<Listed>,
    /// How nodes behave (YAML): latency, failures and stalls by zone. Default: all healthy
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Decides everything that chance decides. Default: the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A signed release of yours to boot, instead of one that is made
    #[arg(long, value_name = "FILE", requires = "allowed_signers")]
    release: Option<PathBuf>,
    /// Who may sign your patches
    #[arg(long, value_name = "FILE", requires = "release")]
    allowed_signers: Option<PathBuf>,
    /// Vsns of the release that is made: it boots 1, and there is a patch for each further one
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    vsns: u32,
    /// Bytes of the component in each patch that is made
    #[arg(long, value_name = "BYTES", default_value_t = 20_480, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    patch_bytes: u32,
    /// At the end, write what happened on each node to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Threads that serve
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

/// Simulates until a signal comes.
///
/// # Errors
/// Whatever keeps the fleet from starting, or the events from being written.
pub fn run(args: SimArgs) -> Result<(), Error> {
    let mut scenario = match &args.scenario {
        Some(path) => Scenario::read(path)?,
        None => Scenario::default(),
    };
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    let options = Options {
        nodes: args.nodes as usize,
        port: args.port,
        folder: args.dir,
        sockets: match args.sockets {
            Some(folder) => Some(Sockets {
                locals: args.peers.into_iter().collect::<Peers>().locals()?,
                folder: std::path::absolute(&folder).map_err(Error::io("find", &folder))?,
            }),
            None => None,
        },
        scenario,
        release: args.release.zip(args.allowed_signers),
        vsns: args.vsns,
        patch_bytes: args.patch_bytes as usize,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads.into())
        .enable_all()
        .build()
        .map_err(Error::io("start threads for", &options.folder))?;
    runtime.block_on(simulate(&options, args.events))
}

async fn simulate(options: &Options, events: Option<PathBuf>) -> Result<(), Error> {
    let failed = Error::io("wait for signals for", &options.folder);
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    let (mut terminate, mut interrupt) = match (terminate, interrupt) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return Err(failed(error)),
    };
    // First the address: whoever finds it taken has written nothing.
    let listener = serve::bind(options.port)?;
    let (start, before) = (Instant::now(), resident());
    let fleet = Arc::new(Fleet::boot(options)?);
    let (took, after) = (start.elapsed(), resident());
    let tasks = TaskTracker::new();
    // Dropped at the end, which removes the sockets.
    let _sockets = match &options.sockets {
        Some(sockets) => Some(serve::sockets(&fleet.nodes, sockets, &tasks)?),
        None => None,
    };
    let each = after.saturating_sub(before) / options.nodes as u64;
    tell(&fleet, options, took, each);
    let nodes = fleet.clone();
    tokio::select! {
        never = serve::accept(listener, move |address| nodes.find(address), &tasks) => match never {},
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    for node in &fleet.nodes {
        node.agent.stop();
    }
    tasks.close();
    // Peers that hang on are cut off by the end of the process.
    let _ = tokio::time::timeout(GRACE, tasks.wait()).await;
    match events {
        Some(path) => fleet.write_events(&path),
        None => Ok(()),
    }
}

/// On stderr, as everything that is no data.
fn tell(fleet: &Fleet, options: &Options, took: Duration, each: u64) {
    let dir = fleet.folder.display();
    let mut err = std::io::stderr();
    // Nobody may listen, and the fleet serves all the same.
    let _ = writeln!(
        err,
        "{} nodes listen on port {} ({} ms to boot, {:.1} KiB a node)",
        fleet.nodes.len(),
        options.port,
        took.as_millis(),
        each as f64 / 1024.0
    );
    let bundle = match options.release {
        Some(_) => "PATCH".to_owned(),
        None => format!("{dir}/patch-2.bundle"),
    };
    let _ = writeln!(
        err,
        "midflight apply {bundle} sim -i {dir}/fleet.yaml --pki {dir}/pki --all"
    );
    if options.sockets.is_some() {
        let _ = writeln!(
            err,
            "midflight apply {bundle} sim -i {dir}/fleet-ssh.yaml --all"
        );
    }
}

/// Bytes of this process in memory; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
