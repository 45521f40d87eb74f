//! `midflight-agent`: the agent of one node over the runtime of this project.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use midflight_agent::{cli, runtime_target::RuntimeTarget};

fn main() -> ExitCode {
    cli::main(RuntimeTarget::new)
}
