//! `midflight demo`: its arguments, the signals that end it, and the way in which its acts run command lines.

use std::path::PathBuf;

use clap::{Args, Parser as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::command::{Cli, Verb, apply};
use crate::demo::{self, MAX_NODES, Options};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many nodes: real agents on this machine.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_NODES)))]
    nodes: u32,
    /// Counters on each node.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    counters: u32,
    /// The folder to use; it must be empty or not there, and is removed at the end. Default: a temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the built modules are.
    #[arg(long, value_name = "DIR", default_value = "guest/out")]
    modules: PathBuf,
    /// The agent's program. Default: midflight-agent beside this program.
    #[arg(long, value_name = "FILE", env = "MIDFLIGHT_AGENT")]
    agent: Option<PathBuf>,
    /// Leave the folder, and say what is in it. It is left in any case when something went wrong.
    #[arg(long)]
    keep: bool,
}

pub async fn run(args: DemoArgs, format: Format) -> Result<Exit, Error> {
    let DemoArgs {
        nodes,
        counters,
        dir,
        modules,
        agent,
        keep,
    } = args;
    let failed = |source| Error::Output { source };
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangups = signal(SignalKind::hangup()).map_err(failed)?;
    let stop = async move {
        tokio::select! {
            _ = interrupts.recv() => "Ctrl-C",
            _ = terminations.recv() => "SIGTERM",
            _ = hangups.recv() => "SIGHUP",
        }
    };
    demo::run(
        Options {
            nodes,
            counters,
            dir,
            modules,
            agent,
            keep,
            format,
        },
        stop,
    )
    .await
}

/// Runs a command line as if it had been typed, except that signals are the demo's.
///
/// # Errors
/// What the verb gives; [`Error::Usage`] for a line that does not read, or is no `apply`.
pub async fn command_line(words: &[String], format: Format) -> Result<Exit, Error> {
    let wrong = |problem: String| Error::Usage {
        problem,
        hint: "this is a defect of the program: report it",
    };
    let cli = Cli::try_parse_from(words).map_err(|error| wrong(error.to_string()))?;
    match cli.verb {
        Verb::Apply(args) => apply::run(args, apply::Steering::Nobody, format).await,
        _ => Err(wrong(format!("{} is no apply", words.join(" ")))),
    }
}
