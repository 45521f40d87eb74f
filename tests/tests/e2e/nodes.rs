//! A node by itself: whose controller is gone, that was away, or that was stopped while it was in probation.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use midflight_proto::agent::v1::{self as pb, Phase, StepStatus, UpgradeOpen, UpgradeState};
use midflight_tests::{Done, Fleet, Value, binary, until};

use crate::phases::{connect, key, open_as, patch, stage};

const ALL: [Phase; 5] = [
    Phase::Prepare,
    Phase::Suspend,
    Phase::Load,
    Phase::Migrate,
    Phase::Resume,
];

/// `midflight-agent` in the folder of a node, as its user.
fn on_the_node(fleet: &Fleet, index: usize, order: &[&str]) -> Done {
    let output = Command::new(binary("midflight-agent"))
        .args(order)
        .args([
            "--config",
            "agent.yaml",
            "--reason",
            "the controller is gone",
        ])
        .current_dir(&fleet.nodes[index].dir)
        .stdin(Stdio::null())
        .output()
        .expect("the agent's program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
    Done {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[test]
fn with_the_controller_killed_a_rollout_is_ended_on_the_nodes_themselves() {
    let fleet = Fleet::start(2);
    let bundle = fleet.patch_v2();
    fleet.policy("[{nodes: 100%, bake: 60s}]");
    let mut apply = fleet.spawn(&[
        "apply",
        &bundle,
        "all_nodes",
        "--all",
        "--policy",
        "policy.yaml",
    ]);
    until("both are in probation", || {
        (0..2).all(|n| fleet.vsns(n) == ("2.0.0".into(), "1.0.0".into()))
    });
    apply.kill().expect("the controller can be killed");
    apply.wait().expect("it is gone");

    let back = on_the_node(&fleet, 0, &["rollback"]);
    assert_eq!(back.code, 0, "{}", back.text());
    assert!(back.out.contains("was in probation"), "{}", back.text());
    assert!(
        back.out.contains("1.0.0 runs and is permanent"),
        "{}",
        back.text()
    );
    assert_eq!(fleet.vsns(0), ("1.0.0".into(), "1.0.0".into()));
    assert_eq!(fleet.gateway(0).ask("greet", "Bob"), "Hello, Bob!");
    let kept = on_the_node(&fleet, 1, &["confirm", "--finish"]);
    assert_eq!(kept.code, 0, "{}", kept.text());
    assert_eq!(fleet.vsns(1), ("2.0.0".into(), "2.0.0".into()));
    let again = on_the_node(&fleet, 1, &["confirm"]);
    assert_eq!(again.code, 1, "{}", again.text());
    assert!(again.err.contains("MF0447"), "{}", again.text());
    let journal = fs::read_to_string(fleet.nodes[0].dir.join("data/journal"));
    let journal = journal.expect("the journal is there");
    let order = journal
        .lines()
        .find(|line| line.contains("\"rolling_back\""));
    let order = order.expect("the order is in the journal");
    assert!(
        order.contains("the controller is gone") && order.contains("uid "),
        "{order}"
    );
}

#[test]
fn a_node_that_was_away_shows_as_drift_and_the_same_patch_again_brings_it_on() {
    let mut fleet = Fleet::start(3);
    let bundle = fleet.patch_v2();
    fleet.kill(2);
    fs::write(
        fleet.path("policy.yaml"),
        "waves: [100%]\nfailure_budget: {unreachable: 1}\ntimeouts: {connect: 2s, stage: 120s, prepare: 60s, pause: 2s}\n",
    )
    .expect("a file can be written");
    let apply = [
        "apply",
        &bundle,
        "all_nodes",
        "--all",
        "--policy",
        "policy.yaml",
    ];
    let first = fleet.run(&apply);
    assert_eq!(first.code, 7, "{}", first.text());
    fleet.boot(2);
    fleet.await_all();

    let drift = ["nodes", "--drift", "--want", &bundle, "all_nodes", "--all"];
    let found = fleet.run(&drift);
    assert_eq!(found.code, 7, "{}", found.text());
    let lines: Vec<&str> = found.out.lines().collect();
    assert!(
        lines[1].contains("another release") && lines[1].ends_with("n3"),
        "{}",
        found.out
    );
    assert!(
        lines[2].contains("as wanted") && lines[2].ends_with("n[1:2]"),
        "{}",
        found.out
    );
    // Each by itself is as it boots.
    fleet.ok(&["nodes", "--drift", "all_nodes", "--all"]);

    let second = fleet.run(&apply);
    assert_eq!(second.code, 0, "{}", second.text());
    fleet.ok(&drift);
    assert_eq!(fleet.vsns(2), ("2.0.0".into(), "2.0.0".into()));
}

#[test]
fn releases_are_listed_with_their_states_and_one_that_is_needed_is_not_removed() {
    let fleet = Fleet::start(2);
    let done = fleet.apply(&fleet.patch_v2(), "[100%]");
    assert_eq!(done.code, 0, "{}", done.text());
    let listed = |more: &[&str]| {
        let words = [&["releases", "all_nodes", "--output", "json"], more].concat();
        let done = fleet.run(&words);
        let node: Value = serde_json::from_str(done.out.lines().next().unwrap_or_default())
            .unwrap_or_else(|_| panic!("{}", done.text()));
        let release = |release: &Value| format!("{} {}", release["state"], release["vsn"]);
        let releases = node["releases"].as_array();
        let releases: Vec<String> = releases.into_iter().flatten().map(release).collect();
        (done.code, releases)
    };
    let (permanent, old) = (r#""permanent" "2.0.0""#, r#""old" "1.0.0""#);
    assert_eq!(listed(&[]), (0, vec![permanent.into(), old.into()]));
    // What would boot is not removed; what nothing needs is, and then there is no way back.
    assert_eq!(listed(&["--all", "--remove", "2.0.0"]), (7, vec![]));
    let removed = listed(&["--all", "--remove", "1.0.0"]);
    assert_eq!(removed, (0, vec![permanent.into()]));
    assert_eq!(listed(&[]), (0, vec![permanent.into()]));
    let back = fleet.run(&["rollback", &fleet.newest(), "--reason", "too late"]);
    assert_eq!(back.code, 4, "{}", back.text());
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "2.0.0".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_stopped_for_longer_than_its_lease_refuses_the_confirm_that_waited_for_it()
 {
    let fleet = Fleet::start(1);
    let bundle = patch(&fleet, "good", "counter_v2.wasm", "null");
    let mut agent = connect(&fleet, "controller").await;
    stage(&mut agent, &bundle, "r-1").await;
    let order = UpgradeOpen {
        key: Some(key(&bundle, "r-1")),
        pause_budget_ms: 5_000,
        lease_ms: 2_000,
        ..UpgradeOpen::default()
    };
    let mut upgrade = open_as(&mut agent, order).await.expect("it opens");
    let resumed = upgrade.run(&ALL).await;
    assert_eq!(resumed.status(), StepStatus::Done, "{resumed:?}");
    fleet.signal(0, "STOP");
    let stopped = Instant::now();
    let confirm = pb::ConfirmRequest {
        key: Some(key(&bundle, "r-1")),
        ..Default::default()
    };
    let mut asking = agent.clone();
    let confirmed = tokio::spawn(async move { asking.confirm(confirm).await });
    until("the lease is over", || {
        stopped.elapsed() > Duration::from_secs(3)
    });
    fleet.signal(0, "CONT");
    let late = confirmed
        .await
        .expect("it was asked")
        .expect_err("it is too late");
    let failure = pb::Failure::from_status(&late).expect("the agent answered");
    assert_eq!(failure.code, "MF0445", "{failure}");
    until("it is back", || {
        fleet.vsns(0) == ("1.0.0".into(), "1.0.0".into())
    });
    let request = pb::DescribeRequest {
        key: Some(key(&bundle, "r-1")),
        ..Default::default()
    };
    let told = agent
        .describe(request)
        .await
        .expect("it answers")
        .into_inner();
    assert_eq!(
        told.asked.map(|asked| asked.state()),
        Some(UpgradeState::RolledBack)
    );
}
