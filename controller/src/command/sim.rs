//! `midflight sim`: becomes the simulator, which is part of the agent's program, since this one never links what it drives.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;

use crate::demo::agents;
use crate::error::Error;
use crate::exit::Exit;

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct SimArgs {
    /// As of midflight-agent sim; see --help.
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

pub fn run(args: &SimArgs) -> Result<Exit, Error> {
    let program = agents::program(std::env::var_os("MIDFLIGHT_AGENT").map(Into::into))?;
    let error = Command::new(&program)
        .arg("sim")
        .args(&args.arguments)
        .exec();
    Err(Error::io("start", &program)(error))
}
