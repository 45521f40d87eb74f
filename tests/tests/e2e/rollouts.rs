//! Patches that go well, patches that do not, and the way back.

use midflight_tests::{Done, Fleet, json, until};

#[test]
#[allow(clippy::approx_constant)] // the seed's pi is 3.14
fn the_seeds_become_version_2_on_every_node_and_no_connection_notices() {
    let fleet = Fleet::start(3);
    let mut clients: Vec<_> = (0..3)
        .map(|n| (fleet.gateway(n), fleet.tcp_demo(n)))
        .collect();
    for (gateway, demo) in &mut clients {
        assert_eq!(gateway.ask("inc", "counter.7"), "1");
        assert_eq!(gateway.ask("inc", "counter.7"), "2");
        assert_eq!(gateway.ask("greet", "Alice"), "Hello, Alice!");
        assert_eq!(gateway.ask("pi", ""), "3.14");
        assert_eq!(demo.echo("quiet"), "quiet");
    }
    let done = fleet.apply(&fleet.patch_v2(), "[1, 100%]");
    assert_eq!(done.code, 0, "{}", done.text());
    for (n, (gateway, demo)) in clients.iter_mut().enumerate() {
        assert_eq!(gateway.ask("inc", "counter.7"), "3");
        assert_eq!(
            gateway.ask("greet", "Alice"),
            "Howdy, Alice! Welcome to Erlang!"
        );
        assert_eq!(gateway.ask("pi", ""), "3.14");
        assert_eq!(demo.echo("loud"), "LOUD");
        assert_eq!(fleet.vsns(n), ("2.0.0".into(), "2.0.0".into()));
        let idle = fleet.state(n, "counter.8");
        assert_eq!(
            (&idle["count"], &idle["increment_count"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(fleet.state(n, "pi"), json!([3.14]));
    }
}

#[test]
fn a_second_upgrade_after_a_first_then_a_downgrade_by_rollback() {
    let fleet = Fleet::start(1);
    let mut gateway = fleet.gateway(0);
    gateway.ask("inc", "counter.1");
    let first = fleet.counter_patch("first", "1.0.0", "2.0.0", "counter_v2.wasm", "null");
    assert_eq!(fleet.apply(&first, "[100%]").code, 0);
    gateway.ask("inc", "counter.1");
    let second = fleet.counter_patch("second", "2.0.0", "2.1.0", "counter_v2.wasm", "null");
    let done = fleet.apply(&second, "[100%]");
    assert_eq!(done.code, 0, "{}", done.text());
    assert_eq!(gateway.ask("inc", "counter.1"), "3");
    assert_eq!(fleet.vsns(0), ("2.1.0".into(), "2.1.0".into()));

    let rollout = roll_back(&fleet, &done);
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "2.0.0".into()));
    assert_eq!(
        gateway.ask("inc", "counter.1"),
        "4",
        "state and connection came along"
    );
    let status = fleet.ok(&["status", &rollout, "--output", "json"]);
    assert!(status.out.contains("rolled_back"), "{}", status.out);
}

/// Beyond 15: nodes that stand on different releases come to one, each by the shortest chain, each in one upgrade, and go
/// back to where each of them was.
#[test]
fn a_chain_of_patches_is_one_upgrade_on_each_node_and_one_rollback() {
    let fleet = Fleet::start(1);
    let mut gateway = fleet.gateway(0);
    gateway.ask("inc", "counter.1");
    let first = fleet.counter_patch("first", "1.0.0", "2.0.0", "counter_v2.wasm", "null");
    let second = fleet.counter_patch("second", "2.*", "3.0.0", "counter_v2.wasm", "null");
    let refused = fleet.apply(&second, "[100%]");
    assert_ne!(refused.code, 0, "{}", refused.text());
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));

    let done = fleet.apply_with(&second, "[100%]", &["--through", &first]);
    assert_eq!(done.code, 0, "{}", done.text());
    assert_eq!(fleet.vsns(0), ("3.0.0".into(), "3.0.0".into()));
    assert_eq!(gateway.ask("inc", "counter.1"), "2");
    assert_eq!(fleet.state(0, "counter.1")["increment_count"], json!(1));

    roll_back(&fleet, &done);
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
    assert_eq!(
        gateway.ask("inc", "counter.1"),
        "3",
        "state and connection came along"
    );
}

/// Rolls back the rollout of these events; its name.
fn roll_back(fleet: &Fleet, done: &Done) -> String {
    let rollout_of = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        event["rollout"].as_str().map(ToOwned::to_owned)
    };
    let rollout = done.out.lines().find_map(rollout_of);
    let rollout = rollout.expect("events name the rollout");
    let back = fleet.run(&["rollback", &rollout, "--output", "json"]);
    assert_eq!(back.code, 0, "{}", back.text());
    rollout
}

#[test]
fn a_failing_code_change_in_one_of_1000_actors_leaves_all_1000_untouched() {
    let fleet = Fleet::start(2);
    let mut gateway = fleet.gateway(0);
    for _ in 0..5 {
        gateway.ask("inc", "counter.500");
    }
    let bad = fleet.counter_patch(
        "bad",
        "1.0.0",
        "2.0.0",
        "counter_bad_error.wasm",
        "{fail_at: 5}",
    );
    let done = fleet.apply(&bad, "[1, 100%]");
    assert_eq!(done.code, 2, "{}", done.text());
    assert!(
        done.text().contains("counter.500"),
        "the actor is named: {}",
        done.text()
    );
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
    for n in 1..=1000 {
        let wanted = if n == 500 { "5" } else { "0" };
        assert_eq!(gateway.ask("get", &format!("counter.{n}")), wanted);
    }
    let trap = fleet.counter_patch(
        "trap",
        "1.0.0",
        "2.0.0",
        "counter_bad_trap.wasm",
        "{trap_at: 5}",
    );
    assert_eq!(fleet.apply(&trap, "[1, 100%]").code, 2);
    assert_eq!(gateway.ask("get", "counter.500"), "5");
}

#[test]
fn a_patch_that_traps_on_its_first_message_is_rolled_back_and_the_old_code_answers_that_message() {
    let fleet = Fleet::start(2);
    let mut gateway = fleet.gateway(0);
    assert_eq!(gateway.ask("inc", "counter.1"), "1");
    let bad = fleet.counter_patch("bad", "1.0.0", "2.0.0", "counter_bad_first.wasm", "null");
    fleet.policy("[{nodes: 1, bake: 3s}, 100%]");
    let mut apply = fleet.spawn(&[
        "apply",
        &bad,
        "all_nodes",
        "--all",
        "--policy",
        "policy.yaml",
        "--output",
        "json",
    ]);
    until("the canary runs the new code", || {
        fleet.vsns(0).0 == "2.0.0"
    });
    gateway.begin("inc", "counter.1");
    assert_eq!(gateway.answer(), "2", "answered by the old code, once");
    assert_eq!(apply.wait().expect("it ends").code(), Some(3));
    for n in 0..2 {
        assert_eq!(fleet.vsns(n), ("1.0.0".into(), "1.0.0".into()));
    }
    assert_eq!(gateway.ask("get", "counter.1"), "2");
}

#[test]
fn a_line_in_two_halves_after_the_upgrade_and_around_a_second_one_comes_back_once_in_upper_case() {
    let fleet = Fleet::start(1);
    let mut demo = fleet.tcp_demo(0);
    assert_eq!(demo.echo("before"), "before");
    assert_eq!(fleet.apply(&fleet.patch_v2(), "[100%]").code, 0);
    demo.send("one ");
    demo.send("line\n");
    assert_eq!(demo.line(), "ONE LINE");
    demo.send("half before ");
    let file = format!(
        "{}/../guest/out/tcp_demo_v2.wasm",
        env!("CARGO_MANIFEST_DIR")
    );
    let spec = format!(
        "name: test\nfrom: \"2.0.0\"\nto: \"2.1.0\"\nmodules:\n  - {{name: tcp_demo, file: {file}, update: advanced}}\n"
    );
    let second = fleet.bundle("second", &spec);
    let done = fleet.apply(&second, "[100%]");
    assert_eq!(done.code, 0, "{}", done.text());
    demo.send("and half after\n");
    assert_eq!(demo.line(), "HALF BEFORE AND HALF AFTER");
    assert_eq!(demo.echo("next"), "NEXT", "nothing came twice");
}

#[test]
fn a_patch_that_is_there_already_changes_nothing() {
    let fleet = Fleet::start(1);
    let patch = fleet.patch_v2();
    assert_eq!(fleet.apply(&patch, "[100%]").code, 0);
    let again = fleet.apply(&patch, "[100%]");
    assert_eq!(again.code, 0, "{}", again.text());
    assert!(again.out.contains("already_current"), "{}", again.out);
}

#[test]
fn ctrl_c_aborts_and_what_was_in_probation_is_rolled_back() {
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
    let pid = apply.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    assert_eq!(apply.wait().expect("it ends").code(), Some(6));
    for n in 0..2 {
        assert_eq!(fleet.vsns(n), ("1.0.0".into(), "1.0.0".into()));
    }
}
