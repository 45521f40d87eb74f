//! `midflight`: reads the command line, runs one verb, prints an error with its whole chain and what to do, and ends with one
//! of the documented exit codes. Everything else is in the library.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use midflight_controller::command::{self, Cli};
use midflight_controller::{Exit, error};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout, mistakes to stderr; neither can be reported anywhere else.
            let _ = error.print();
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return if asked { Exit::OK } else { Exit::USAGE }.into();
        }
    };
    log(cli.verbose);
    match command::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let hint = error.hint();
            let hint = if hint.is_empty() {
                String::new()
            } else {
                format!("\n  hint: {hint}")
            };
            let _ = writeln!(
                std::io::stderr(),
                "error: {}: {}{hint}",
                error.code(),
                error::chain(&error)
            );
            error.exit().into()
        }
    }
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "midflight_controller=debug,info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("MIDFLIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
