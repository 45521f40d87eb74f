//! OTP doing the same, when Erlang is installed.

use std::{path::Path, process::Command};

use crate::{
    Result,
    figure::{Figure, read},
};

/// OTP's figures, or none without Erlang.
pub(crate) fn run(n: u64) -> Result<Vec<Figure>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/otp.erl");
    let folder = tempfile::tempdir()?;
    let compiled = Command::new("erlc")
        .arg("-o")
        .arg(folder.path())
        .arg(&source)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!(
            "midflight-bench: no Erlang here (Debian: erlang-base), so no figures of OTP and no ratios"
        );
        return Ok(Vec::new());
    }
    let mut erl = Command::new("erl");
    erl.current_dir(folder.path()).args([
        "+P",
        "2000000",
        "-noshell",
        "-s",
        "otp",
        "main",
        &n.to_string(),
    ]);
    read(&mut erl)
}
