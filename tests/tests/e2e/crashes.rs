//! What survives the death of an agent or of a controller.

use std::fs;

use midflight_tests::{Fleet, until};

#[test]
fn upgrade_then_kill_before_confirm_then_boot_on_the_old() {
    let mut fleet = Fleet::start(1);
    let patch = fleet.patch_v2();
    fleet.policy("[{nodes: 1, bake: 60s}, 100%]");
    let mut apply = fleet.spawn(&[
        "apply",
        &patch,
        "all_nodes",
        "--all",
        "--policy",
        "policy.yaml",
    ]);
    until("it is in probation", || {
        fleet.vsns(0) == ("2.0.0".into(), "1.0.0".into())
    });
    fleet.kill(0);
    apply.kill().expect("the controller can be killed too");
    apply.wait().expect("it is gone");
    fleet.boot(0);
    fleet.await_all();
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
    assert_eq!(fleet.gateway(0).ask("greet", "Bob"), "Hello, Bob!");
    let done = fleet.apply(&patch, "[100%]");
    assert_eq!(
        done.code,
        0,
        "leftovers do not block the next try: {}",
        done.text()
    );
}

#[test]
fn upgrade_confirm_kill_then_boot_on_the_new() {
    let mut fleet = Fleet::start(1);
    assert_eq!(fleet.apply(&fleet.patch_v2(), "[100%]").code, 0);
    fleet.kill(0);
    fleet.boot(0);
    fleet.await_all();
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "2.0.0".into()));
    assert_eq!(
        fleet.gateway(0).ask("greet", "Bob"),
        "Howdy, Bob! Welcome to Erlang!"
    );
}

#[test]
fn an_agent_that_is_asked_to_end_drains_and_exits_0() {
    let mut fleet = Fleet::start(1);
    let mut gateway = fleet.gateway(0);
    for _ in 1..=200 {
        gateway.begin("inc", "counter.1");
    }
    assert_eq!(gateway.line(), "ok 1 1");
    assert_eq!(fleet.terminate(0), Some(0), "{}", fleet.nodes[0].log());
    // What it still answered came in order and without a gap; the rest it had not read.
    for (n, line) in (2..).zip(gateway.rest()) {
        assert_eq!(line, format!("ok {n} {n}"));
    }
}

#[test]
fn a_controller_that_was_killed_leaves_a_rollout_that_the_next_one_can_take_back() {
    let fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    fleet.policy("[{nodes: 1, bake: 60s}, 100%]");
    let mut apply = fleet.spawn(&[
        "apply",
        &patch,
        "all_nodes",
        "--all",
        "--policy",
        "policy.yaml",
    ]);
    until("the canary is in probation", || fleet.vsns(0).0 == "2.0.0");
    apply.kill().expect("the controller can be killed");
    apply.wait().expect("it is gone");
    let status = fleet.run(&["status"]);
    assert_eq!(
        status.code,
        4,
        "a node is neither confirmed nor rolled back: {}",
        status.text()
    );
    let history = fleet.ok(&["history", "--output", "json"]);
    let rollout = history.json()["rollout"]
        .as_str()
        .expect("history names rollouts")
        .to_owned();
    assert!(status.out.contains(&rollout), "{}", status.out);
    let back = fleet.run(&["rollback", &rollout]);
    assert_eq!(back.code, 0, "{}", back.text());
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
}

#[test]
fn a_damaged_cache_of_compiled_code_is_compiled_anew() {
    let mut fleet = Fleet::start(1);
    assert_eq!(fleet.terminate(0), Some(0));
    let mut damaged = 0;
    for folder in fs::read_dir(fleet.path("code")).expect("the cache is there") {
        for file in fs::read_dir(folder.expect("an entry").path()).expect("a folder") {
            let file = file.expect("an entry").path();
            let mut bytes = fs::read(&file).expect("a file");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            fs::write(&file, bytes).expect("a file can be written");
            damaged += 1;
        }
    }
    assert!(damaged >= 5);
    fleet.boot(0);
    fleet.await_all();
    assert_eq!(fleet.gateway(0).ask("inc", "counter.1"), "1");
}
