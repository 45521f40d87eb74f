//! Executable inventories: run without a shell, within bounds, and believed only as far as their output can be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::PoisonError;

use midflight_inventory::{Error, Inventory};

use crate::real::STARTING;

fn run(script: &str) -> Result<Inventory, Error> {
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("inv");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    Inventory::load(&[path])
}

#[track_caller]
fn refused(script: &str, code: &str, expected: &str) {
    let error = run(script).expect_err("refused");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_program_that_fails_is_shown_with_its_last_complaints() {
    refused(
        "#!/bin/sh\necho first >&2\necho 'no credentials' >&2\nexit 3\n",
        "MF0126",
        "inv --list: it ended with exit code 3\n first\n no credentials\n run it by hand",
    );
    refused(
        "#!/bin/sh\nkill -9 $$\n",
        "MF0126",
        "it was ended by signal 9",
    );
    refused("#!/no/such/interpreter\n", "MF0126", "it cannot be run: ");
}

#[test]
fn a_program_that_prints_without_end_is_stopped() {
    refused("#!/bin/sh\nexec yes\n", "MF0126", "it prints more than ");
}

#[test]
fn a_program_has_no_input_and_no_shell() {
    let inventory = run("#!/bin/sh\ncat\necho '{\"g\": [\"a;b\"]}'\n").expect_err("a bad name");
    assert_eq!(inventory.code(), "MF0109");
    let inventory = run("#!/bin/sh\ncat\necho '{\"g\": {\"hosts\": [\"a\"]}, \"_meta\": {}}'\n");
    assert_eq!(inventory.expect("good").hosts().len(), 1);
}

#[test]
fn output_that_is_no_inventory_is_refused_with_its_place() {
    refused(
        "#!/bin/sh\necho '{\"g\":'\necho ' x}'\n",
        "MF0104",
        "inv --list:2:2: not valid YAML: as JSON: this is no value",
    );
    refused(
        "#!/bin/sh\necho '{\"g\": {\"hosts\": \"a\"}}'\n",
        "MF0107",
        "inv --list:1:17: the hosts of g must be a list, not \"a\"",
    );
    refused(
        "#!/bin/sh\necho '{\"g\": {\"ansible_host\": \"a\"}}'\n",
        "MF0106",
        "inv --list:1:8: unknown key \"ansible_host\" in a group that a program prints",
    );
}

#[test]
fn what_ansible_inventory_prints_can_be_read_again() {
    let first = run(
        "#!/bin/sh\necho '{\"g\": {\"hosts\": [\"b\", \"a\"], \"vars\": {\"x\": 1}}, \"p\": {\"children\": [\"g\"]}}'\n",
    );
    let listing = first.expect("good").ansible_list().expect("a list");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("all.json");
    fs::write(&path, &listing).expect("written");
    let second = Inventory::load(&[path]).expect("good");
    assert_eq!(second.ansible_list().expect("a list"), listing);
}
