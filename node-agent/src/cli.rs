//! The program: reads its arguments, starts the agent, and ends it on SIGTERM or SIGINT. The first signal drains and exits 0,
//! a second one exits at once. What keeps it from starting is one message on stderr and exit code 1; 2 where an agent was to
//! be reached and none takes the connection.

use std::{
    io::{IsTerminal, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use rustix::process::{Signal as Killed, getppid, set_parent_process_death_signal};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use crate::{
    agent,
    config::{Config, DEFAULT_PATH},
    data_dir, dial,
    error::Error,
    local,
    server::Server,
    sim::cli as sim,
    target::Target,
};

/// Threads that serve requests. Actors run on threads of their own, and work that blocks on others again.
const THREADS: usize = 2;

/// How the process ends when it was to reach an agent, and none takes the connection.
const NOBODY: u8 = 2;

/// The agent of one node: runs its release, and changes it when a signed patch comes.
#[derive(Parser)]
#[command(
    name = "midflight-agent",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The configuration file (YAML).
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Check the configuration and everything it names, change nothing, and exit.
    #[arg(long)]
    check: bool,
    /// End at once when the process PID, which must be the one that starts the agent, ends. For fleets on one machine.
    #[arg(long, value_name = "PID", global = true)]
    die_with_parent: Option<i32>,
}

/// What the program does instead of being an agent.
#[derive(Subcommand)]
enum Verb {
    #[command(flatten)]
    Local(Order),
    DialStdio(dial::DialArgs),
    Sim(sim::SimArgs),
}

/// What is asked or ordered on the node itself.
#[derive(Subcommand)]
enum Order {
    Status(local::StatusArgs),
    Rollback(local::RollbackArgs),
    Confirm(local::ConfirmArgs),
}

/// The whole program, over targets that `make_target` makes.
pub fn main(make_target: impl FnOnce(&Config) -> Result<Arc<dyn Target>, Error>) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let failed = error.use_stderr();
            let _ = error.print(); // nobody is left to tell
            return if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(arguments, make_target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "midflight-agent: {}: {}\n  {}",
                error.code(),
                error.chain(),
                error.hint()
            );
            match error {
                Error::NoAgent { .. } | Error::Dropped { .. } => ExitCode::from(NOBODY),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(
    arguments: Arguments,
    make_target: impl FnOnce(&Config) -> Result<Arc<dyn Target>, Error>,
) -> Result<(), Error> {
    if let Some(parent) = arguments.die_with_parent {
        die_with(parent).map_err(Error::io("follow the parent process of", "the agent"))?;
    }
    match arguments.verb {
        Some(Verb::Sim(args)) => return sim::run(args),
        Some(Verb::Local(order)) => return local_order(order),
        Some(Verb::DialStdio(args)) => return dial::run(&args),
        None => {}
    }
    let config = Config::read(&arguments.config)?;
    if arguments.check {
        return agent::check(&config);
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // Before the target, which may keep compiled code there: nobody else may read or write it.
    data_dir::make(&config.data_dir)?;
    let target = make_target(&config)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build();
    runtime
        .map_err(Error::io("start threads for", &config.data_dir))?
        .block_on(serve(&config, target))
}

/// A question or an order on the node itself; what happened goes to stdout.
fn local_order(order: Order) -> Result<(), Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("start a thread for", "an order"))?;
    let text = runtime.block_on(async {
        match order {
            Order::Status(args) => local::status(&args).await,
            Order::Rollback(args) => local::rollback(&args).await,
            Order::Confirm(args) => local::confirm(&args).await,
        }
    })?;
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(Error::io("write to", "stdout"))
}

/// Has the system kill this process when its parent ends, also when nobody could tell it.
fn die_with(parent: i32) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Killed::KILL))?;
    // It may have ended before that.
    match getppid() {
        Some(pid) if pid.as_raw_nonzero().get() == parent => Ok(()),
        _ => Err(std::io::Error::other(format!(
            "the parent is not process {parent}"
        ))),
    }
}

/// Serves until the process is told to end, then drains.
///
/// # Errors
/// Whatever keeps the agent from starting, or ends its server.
pub async fn serve(config: &Config, target: Arc<dyn Target>) -> Result<(), Error> {
    // Before anything runs: a signal during the start must not be lost.
    let mut signals =
        Signals::new().map_err(Error::io("wait for signals for", &config.data_dir))?;
    let mut server = tokio::select! {
        started = Server::start(config, target) => started?,
        () = signals.next() => return Ok(()),
    };
    tokio::select! {
        () = signals.next() => {}
        failed = server.failed() => return failed,
    }
    tracing::info!("stopping: draining mailboxes");
    tokio::select! {
        drained = server.stop() => {
            if !drained {
                tracing::warn!("some mailboxes were not empty when the time was over");
            }
        }
        () = signals.next() => {
            tracing::warn!("a second signal: exiting at once");
            std::process::exit(1);
        }
    }
    tracing::info!("stopped");
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
