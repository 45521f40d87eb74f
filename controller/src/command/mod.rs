//! The command line: one file a verb. Doc comments of the arguments are the help that people read. Every verb ends in an exit
//! code of [`crate::exit`] or an error of [`crate::error`]; only `main` prints errors.

mod apply;
mod ask;
mod bootstrap;
mod control;
pub(crate) mod demo;
mod drift;
mod exec;
pub(crate) mod fleet;
mod follow;
mod foreground;
mod history;
mod inspect;
mod inventory;
mod metrics;
pub(crate) mod nodes;
mod patch;
mod pki;
mod plan;
mod reach;
mod releases;
mod serve;
mod sim;
mod status;
mod steer;
mod sys;
mod take;
mod top;
mod watch;

use std::io;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Format, Rendered};

pub use fleet::{FleetArgs, PkiArgs};

/// Patches code inside running processes, across a fleet, without restarting anything.
///
/// Exit codes: 0 done; 1 usage or internal error; 2 refused, no node was changed; 3 failed, every changed node rolled back;
/// 4 some nodes neither confirmed nor rolled back; 5 paused or still running; 6 aborted; 7 succeeded within the failure budget, not
/// every node confirmed.
#[derive(Debug, Parser)]
#[command(
    name = "midflight",
    version,
    propagate_version = true,
    max_term_width = 110
)]
pub struct Cli {
    /// How output is written.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// More diagnostics on stderr; twice for all. MIDFLIGHT_LOG gives a filter instead.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show waves and nodes, and what would happen; change nothing.
    Plan(plan::PlanVerbArgs),
    /// Bring a patch to nodes, wave by wave.
    Apply(apply::ApplyArgs),
    /// Say where a rollout is, why, and what happens next. Without a rollout: the newest.
    Status(status::StatusArgs),
    /// Show a rollout that runs elsewhere, from the start or a cursor, until its end.
    Watch(watch::WatchArgs),
    /// Start nothing new; what is in flight comes to its end, and leases are renewed.
    Pause(control::ControlArgs),
    /// Go on after a pause, or with a rollout whose process has died.
    Resume(take::ResumeArgs),
    /// Go on to the next wave now: skip the rest of the bake.
    Promote(control::PromoteArgs),
    /// Stop: put back what is in probation, leave what is confirmed.
    Abort(control::AbortArgs),
    /// Put every node that a rollout changed back on the code from before.
    Rollback(take::RollbackArgs),
    /// Try nodes again.
    Retry(take::RetryArgs),
    /// Say what runs on nodes.
    Nodes(nodes::NodesArgs),
    /// Say which releases are on nodes and in which state, or remove one that nothing needs.
    Releases(releases::ReleasesArgs),
    /// List the rollouts in the journal, newest first.
    History(history::HistoryArgs),
    Exec(exec::ExecArgs),
    Bootstrap(Box<bootstrap::BootstrapArgs>),
    /// Read and check inventories.
    #[command(subcommand)]
    Inventory(inventory::InventoryVerb),
    /// Build, sign and read patches and releases.
    #[command(subcommand)]
    Patch(patch::PatchVerb),
    /// Make a private CA and issue certificates.
    #[command(subcommand)]
    Pki(pki::PkiVerb),
    /// Look at one actor or the actors of a module, or change them.
    #[command(subcommand)]
    Sys(sys::SysVerb),
    /// Show the busiest actors of nodes, live: by mailbox, messages, traps or state. q or Ctrl-C ends it.
    Top(top::TopArgs),
    /// Print nodes in numbers, as OpenMetrics text.
    Metrics(metrics::MetricsArgs),
    /// Run rollouts for many people and programs, over mutual TLS.
    Serve(serve::ServeArgs),
    /// Start a fleet of agents on this machine and patch it, well and badly, while clients are connected.
    Demo(demo::DemoArgs),
    /// Simulate a fleet of agents in one process, to rehearse a policy or to measure; serves until Ctrl-C.
    Sim(sim::SimArgs),
}

/// Runs a command line.
///
/// # Errors
/// What the verb gives.
pub fn run(cli: Cli) -> Result<Exit, Error> {
    let format = cli.output;
    match cli.verb {
        Verb::Plan(args) => block_on(plan::run(args, format)),
        Verb::Apply(args) => block_on(apply::run(args, apply::Steering::Signals, format)),
        Verb::Status(args) => block_on(status::run(args, format)),
        Verb::Watch(args) => block_on(watch::run(args, format)),
        Verb::Pause(args) => block_on(control::pause(args, format)),
        Verb::Resume(args) => block_on(take::resume(args, format)),
        Verb::Promote(args) => block_on(control::promote(args, format)),
        Verb::Abort(args) => block_on(control::abort(args, format)),
        Verb::Rollback(args) => block_on(take::rollback(args, format)),
        Verb::Retry(args) => block_on(take::retry(args, format)),
        Verb::Serve(args) => block_on(serve::run(args)),
        Verb::Nodes(args) => block_on(nodes::run(args, format)),
        Verb::Releases(args) => block_on(releases::run(args, format)),
        Verb::History(args) => block_on(history::run(args, format)),
        Verb::Bootstrap(args) => block_on(bootstrap::run(*args, format)),
        Verb::Exec(args) => block_on(exec::run(args, format)),
        Verb::Inventory(verb) => inventory::run(&verb, format),
        Verb::Patch(verb) => patch::run(&verb, format),
        Verb::Pki(verb) => pki::run(&verb, format),
        Verb::Sys(verb) => block_on(sys::run(verb, format)),
        Verb::Top(args) => block_on(top::run(args, format)),
        Verb::Metrics(args) => block_on(metrics::run(args, format)),
        Verb::Demo(args) => block_on(demo::run(args, format)),
        Verb::Sim(args) => sim::run(&args),
    }
}

/// Runs a verb on a thread for every two cores. Most of what a rollout does is small messages, and one thread that has them all
/// is never woken by another: on two cores it needs a fifth less processor time than two threads.
fn block_on<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2);
    let mut runtime = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(threads.max(1)).enable_all().build();
    let runtime = runtime.map_err(|source| Error::Output { source })?;
    // On a thread of the runtime's own: the one that waits for it would have to be woken for each step.
    match runtime.block_on(async { tokio::spawn(work).await }) {
        Ok(answer) => answer,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Writes to stdout. A reader that went away, as `head` does, is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    print_from(|out| Ok(out.write_all(text.as_bytes())))
}

/// Lets something write itself to stdout, as [`print`] does.
pub(crate) fn print_from(
    write: impl FnOnce(&mut dyn io::Write) -> Result<io::Result<()>, Error>,
) -> Result<(), Error> {
    use io::Write as _;

    let mut out = io::stdout().lock();
    match write(&mut out)?.and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output { source }),
        _ => Ok(()),
    }
}

/// Shows the answer of a verb, and gives its exit code.
pub(crate) fn show(answer: Rendered, format: Format) -> Result<Exit, Error> {
    match format {
        Format::Text => print(&answer.text)?,
        Format::Json => print(&answer.json)?,
    }
    Ok(answer.exit)
}

/// Writes one value as a line of JSON to stdout.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|error| Error::Output {
        source: error.into(),
    })?;
    print(&format!("{text}\n"))
}

/// Writes a line to stderr: what is no data.
pub(crate) fn tell(text: &str) {
    use std::io::Write as _;

    // Nobody is left to tell that it failed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
