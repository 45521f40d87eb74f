//! The program itself: what it says about its configuration, and how it exits.
//! In a program of its own: a child that is being started shares its parent's locks for a moment.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // the node's files alone are needed here
#[path = "agent/support/mod.rs"]
mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use support::Node;

fn run(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_midflight-agent"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn version_and_help_exit_0() {
    let folder = Path::new(".");
    let (code, stdout, _) = run(&["--version"], folder);
    assert_eq!(
        (code, stdout.trim()),
        (0, concat!("midflight-agent ", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(run(&["--help"], folder).0, 0);
}

#[test]
fn wrong_arguments_and_a_missing_file_exit_1() {
    let folder = Path::new(".");
    assert_eq!(run(&["--confg", "x"], folder).0, 1);
    let (code, _, stderr) = run(&["--config", "nowhere.yaml"], folder);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("MF0402") && stderr.contains("nowhere.yaml"),
        "{stderr}"
    );
}

#[test]
fn check_accepts_a_good_configuration_and_leaves_no_trace() {
    let node = Node::prepare("");
    let (code, _, stderr) = run(&["--check", "--config", "agent.yaml"], node.folder.path());
    assert_eq!(code, 0, "{stderr}");
    assert!(!node.path("data").exists());
}

#[test]
fn a_bad_configuration_exits_1_with_file_line_and_column() {
    let node = Node::prepare("drain_ms: soon\n");
    let (code, _, stderr) = run(&["--config", "agent.yaml"], node.folder.path());
    assert_eq!(code, 1);
    assert!(stderr.contains("agent.yaml:8:11:"), "{stderr}");
}

#[test]
fn what_the_configuration_names_is_checked_too() {
    let node = Node::prepare("");
    let check = || run(&["--check", "--config", "agent.yaml"], node.folder.path());
    for (file, code) in [
        ("agent.key", "MF0403"),
        ("ca.pem", "MF0403"),
        ("allowed_signers", "MF0219"),
        ("release.tar", "MF02"),
    ] {
        let good = fs::read(node.path(file)).unwrap();
        fs::write(node.path(file), b"rubbish\n").unwrap();
        let (exit, _, stderr) = check();
        assert_eq!(exit, 1, "{file}");
        assert!(
            stderr.contains(code) && stderr.contains(file),
            "{file}: {stderr}"
        );
        fs::write(node.path(file), good).unwrap();
    }
    assert_eq!(check().0, 0);
}
