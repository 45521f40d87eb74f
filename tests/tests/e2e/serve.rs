//! Rollouts that outlive the terminal, or the process, that began them: a server for many, verbs from another terminal, detaching,
//! taking over.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use midflight_tests::{Done, Fleet, until};
use serde_json::Value;

/// `midflight serve` of a fleet; killed when it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(fleet: &Fleet) -> Self {
        Self::start_with(fleet, &[])
    }

    fn start_with(fleet: &Fleet, more: &[&str]) -> Self {
        if !fleet.path("pki/server.pem").exists() {
            fleet.ok(&[
                "pki",
                "issue",
                "pki",
                "--node",
                "server",
                "--address",
                "127.0.0.1",
            ]);
        }
        let mut child = fleet.spawn_with(
            &[&["serve", "--listen", "127.0.0.1:0"], more].concat(),
            Stdio::null(),
            Stdio::piped(),
        );
        let err = child.stderr.take().expect("stderr is piped");
        let mut lines = BufReader::new(err).lines();
        let address = lines
            .by_ref()
            .map(|line| line.expect("it prints UTF-8"))
            .find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()))
            .expect("it listens");
        // Whatever it says later has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is gone");
    }

    /// SIGTERM; the exit code.
    fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("it is gone").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn apply<'a>(patch: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = [
        "apply",
        patch,
        "all_nodes",
        "--all",
        "--policy",
        "policy.yaml",
        "--output",
        "json",
    ];
    words.iter().chain(more).copied().collect()
}

fn newest(fleet: &Fleet, more: &[&str]) -> Option<String> {
    let words = [&["history", "-n", "1", "--output", "json"], more].concat();
    let done = fleet.ok(&words);
    let head: Value = serde_json::from_str(done.out.lines().next()?).expect("history prints JSON");
    Some(head["rollout"].as_str()?.to_owned())
}

fn last(done: &Done) -> Value {
    let line = done
        .out
        .lines()
        .last()
        .unwrap_or_else(|| panic!("{}", done.text()));
    serde_json::from_str(line).expect("events are JSON")
}

#[test]
fn a_server_runs_rollouts_for_operators_and_shows_them_to_viewers() {
    let fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    fleet.policy("[1, 100%]");
    let server = Server::start(&fleet);
    let at = ["--server", &server.address];
    let viewer = ["--cert", "pki/viewer.pem", "--key", "pki/viewer.key"];
    let refused = fleet.run(&apply(&patch, &[&at[..], &viewer].concat()));
    assert_eq!(refused.code, 2, "{}", refused.text());
    assert!(refused.err.contains("MF0544"), "{}", refused.text());
    let plan = fleet.ok(&[
        "plan",
        &patch,
        "all_nodes",
        "--all",
        "--server",
        &server.address,
    ]);
    assert!(plan.out.contains("wave 1"), "{}", plan.text());
    let done = fleet.run(&apply(&patch, &at));
    assert_eq!(done.code, 0, "{}", done.text());
    assert_eq!(last(&done)["event"], "ended");
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "2.0.0".into()));
    // A viewer sees the same stream, from the start and from a cursor.
    let rollout = newest(&fleet, &[&at[..], &viewer].concat()).expect("there is one");
    let words = |verb: &'static str| {
        [
            &[verb, rollout.as_str(), "--output", "json"],
            &at[..],
            &viewer,
        ]
        .concat()
    };
    let watched = fleet.run(&words("watch"));
    assert_eq!(
        (watched.code, watched.out.as_str()),
        (0, done.out.as_str()),
        "{}",
        watched.text()
    );
    let rest = fleet.run(&[&words("watch")[..], &["--from", "3"]].concat());
    let skipped: Vec<&str> = done.out.lines().skip(3).collect();
    assert_eq!(rest.out.lines().collect::<Vec<_>>(), skipped);
    assert_eq!(fleet.run(&words("status")).code, 0);
    let refused = fleet.run(&[&["rollback", &rollout][..], &at, &viewer].concat());
    assert_eq!(refused.code, 2, "{}", refused.text());
    let nodes = fleet.ok(&[&["nodes", "all_nodes"][..], &at, &viewer].concat());
    assert!(nodes.out.contains("2.0.0"), "{}", nodes.text());
    // What was done can be taken back, by way of the server.
    let back = fleet.run(&[&["rollback", &rollout][..], &at].concat());
    assert_eq!(back.code, 0, "{}", back.text());
    assert_eq!(fleet.vsns(1), ("1.0.0".into(), "1.0.0".into()));
}

#[test]
fn lists_of_hosts_are_read_where_the_person_is_and_never_by_the_server() {
    let fleet = Fleet::start(2);
    let server = Server::start(&fleet);
    std::fs::write(fleet.path("list"), "n2 # the other one\n").expect("a file can be written");
    let ask = |more: &[&str]| {
        let words = ["nodes", "--server", &server.address, "--output", "json"];
        fleet.run(&[&words, more].concat())
    };
    for words in [&["@./list"][..], &["all_nodes", "--limit", "@./list"]] {
        let done = ask(words);
        assert_eq!(done.code, 0, "{}", done.text());
        assert!(
            done.out.contains("\"n2\"") && !done.out.contains("\"n1\""),
            "{}",
            done.text()
        );
    }
    let unclear = ask(&["@list"]);
    assert!(
        unclear.code == 2 && unclear.err.contains("MF0141") && unclear.err.contains("@./list"),
        "{}",
        unclear.text()
    );
    // In a policy it gets there.
    let patch = fleet.patch_v2();
    let list = fleet.path("list").display().to_string();
    fleet.policy(&format!("[\"@{list}\", 100%]"));
    let refused = fleet.run(&apply(&patch, &["--server", &server.address]));
    assert_eq!(refused.code, 2, "{}", refused.text());
    assert!(
        refused.err.contains("cannot name a file"),
        "{}",
        refused.text()
    );
    assert_eq!(newest(&fleet, &["--server", &server.address]), None);
}

#[test]
fn a_node_that_was_away_follows_when_it_answers_again() {
    let mut fleet = Fleet::start(3);
    let patch = fleet.patch_v2();
    std::fs::write(
        fleet.path("policy.yaml"),
        "waves: [1, 100%]\nbake: 0s\nfailure_budget: {unreachable: 1}\ntimeouts: {connect: 2s}\n",
    )
    .expect("a file can be written");
    fleet.kill(2);
    let server = Server::start_with(&fleet, &["--look-every", "500ms"]);
    let at = ["--server", &server.address];
    let done = fleet.run(&apply(&patch, &at));
    assert_eq!(done.code, 7, "{}", done.text());
    fleet.boot(2);
    fleet.await_all();
    let confirmed = ("2.0.0".to_owned(), "2.0.0".to_owned());
    until("the node has followed", || fleet.vsns(2) == confirmed);
    let rollout = newest(&fleet, &at).expect("there is one");
    until("the rollout has ended", || {
        let told = fleet.run(&["status", &rollout, "--server", &server.address]);
        told.code == 0
            && told
                .out
                .contains("1 of 1 node that were away have followed")
    });
    let words = ["watch", &rollout, "--from", "0", "--output", "json"];
    let watched = fleet.ok(&[&words[..], &at].concat());
    assert!(
        watched.out.contains(r#""verb":"converge""#) && watched.out.contains("midflight serve"),
        "{}",
        watched.text()
    );
    // It belongs to the rollout, and goes back with the others.
    let back = fleet.run(&[&["rollback", &rollout][..], &at].concat());
    assert_eq!(back.code, 0, "{}", back.text());
    assert_eq!(fleet.vsns(2), ("1.0.0".into(), "1.0.0".into()));
    drop(server);
}

#[test]
fn nobody_reaches_a_server_without_a_certificate_of_its_ca() {
    let fleet = Fleet::prepare(1);
    let server = Server::start(&fleet);
    fleet.ok(&["pki", "init", "other", "--fleet", "other"]);
    fleet.ok(&[
        "pki", "issue", "other", "--role", "operator", "--name", "mallory",
    ]);
    let stranger = [
        "--ca",
        "pki/ca.pem",
        "--cert",
        "other/mallory.pem",
        "--key",
        "other/mallory.key",
    ];
    let words = [&["history", "--server", &server.address][..], &stranger].concat();
    let refused = fleet.run(&words);
    assert!(
        refused.code == 1 && refused.err.contains("MF0543"),
        "{}",
        refused.text()
    );
    // Plain HTTP/2 is not spoken at all.
    let mut plain = std::net::TcpStream::connect(&server.address).expect("it listens");
    std::io::Write::write_all(&mut plain, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("written");
    let mut answer = Vec::new();
    // The server hangs up, with or without a TLS alert.
    let _ = std::io::Read::read_to_end(&mut plain, &mut answer);
    assert!(answer.len() < 10, "{answer:?}");
}

#[test]
fn a_server_that_dies_or_stops_goes_on_with_its_rollouts_when_it_is_back() {
    let fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    fleet.policy("[{nodes: 1, bake: 20s}, 100%]");
    let server = Server::start(&fleet);
    let begun = fleet.run(&apply(&patch, &["--server", &server.address, "--detach"]));
    assert_eq!(begun.code, 5, "{}", begun.text());
    let rollout = newest(&fleet, &[]).expect("there is one");
    until("the canary is in probation", || fleet.vsns(0).0 == "2.0.0");
    server.kill();
    let mut second = Server::start(&fleet);
    let status = fleet.run(&[
        "status",
        &rollout,
        "--output",
        "json",
        "--server",
        &second.address,
    ]);
    assert_eq!(status.code, 5, "{}", status.text());
    assert_eq!(status.json()["alive"], true);
    assert_eq!(second.stop(), Some(0), "a clean end");
    let third = Server::start(&fleet);
    let at = ["--server", &third.address];
    let promoted =
        fleet.run(&[&["promote", &rollout, "--reason", "it looks good"][..], &at].concat());
    assert_eq!(promoted.code, 0, "{}", promoted.text());
    let watched = fleet.run(&[&["watch", &rollout, "--output", "json"][..], &at].concat());
    assert_eq!(watched.code, 0, "{}", watched.text());
    let owners = watched
        .out
        .lines()
        .filter(|line| line.contains("\"event\":\"owned\""));
    assert_eq!(owners.count(), 2, "{}", watched.out);
    assert_eq!(fleet.vsns(1), ("2.0.0".into(), "2.0.0".into()));
}

#[test]
fn verbs_reach_a_rollout_in_another_terminal() {
    let fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    fleet.policy("[{nodes: 1, bake: 60s}, 100%]");
    let mut running = fleet.spawn_with(&apply(&patch, &[]), Stdio::null(), Stdio::null());
    until("the canary bakes", || {
        fleet
            .run(&["status"])
            .out
            .contains("the gate of wave 1 opens in")
    });
    let rollout = newest(&fleet, &[]).expect("there is one");
    let paused = fleet.run(&["pause", &rollout, "--reason", "a look"]);
    assert_eq!(paused.code, 0, "{}", paused.text());
    assert_eq!(fleet.run(&["status"]).code, 5);
    let again = fleet.run(&["pause", &rollout]);
    assert!(
        again.code == 2 && again.err.contains("MF0547"),
        "{}",
        again.text()
    );
    for verb in ["resume", "promote"] {
        let done = fleet.run(&[verb, &rollout]);
        assert_eq!(done.code, 0, "{verb}: {}", done.text());
    }
    let watched = fleet.run(&["watch", &rollout, "--output", "json"]);
    assert_eq!(watched.code, 0, "{}", watched.text());
    assert!(watched.out.contains("a look"), "{}", watched.out);
    assert_eq!(running.wait().expect("it ends").code(), Some(0));
    let late = fleet.run(&["pause", &rollout]);
    assert!(
        late.code == 2 && late.err.contains("MF0546"),
        "{}",
        late.text()
    );
}

#[test]
fn a_detached_rollout_goes_on_in_the_background() {
    let fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    fleet.policy("[1, 100%]");
    let begun = fleet.run(&apply(&patch, &["--detach"]));
    assert_eq!(begun.code, 5, "{}", begun.text());
    let rollout = newest(&fleet, &[]).expect("there is one");
    let watched = fleet.run(&["watch", &rollout]);
    assert_eq!(watched.code, 0, "{}", watched.text());
    assert_eq!(fleet.vsns(1), ("2.0.0".into(), "2.0.0".into()));
}

#[test]
fn a_rollout_whose_process_died_is_taken_over_and_goes_on() {
    let fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    fleet.policy("[{nodes: 1, bake: 5s}, 100%]");
    let mut first = fleet.spawn_with(&apply(&patch, &[]), Stdio::null(), Stdio::null());
    until("the canary is in probation", || fleet.vsns(0).0 == "2.0.0");
    first.kill().expect("it can be killed");
    first.wait().expect("it is gone");
    let rollout = newest(&fleet, &[]).expect("there is one");
    let asked = fleet.run(&["promote", &rollout]);
    assert!(
        asked.code == 2 && asked.err.contains("MF0546"),
        "{}",
        asked.text()
    );
    let done = fleet.run(&["resume", &rollout, "--output", "json"]);
    assert_eq!(done.code, 0, "{}", done.text());
    assert_eq!(last(&done)["event"], "ended");
    for node in 0..2 {
        assert_eq!(fleet.vsns(node), ("2.0.0".into(), "2.0.0".into()));
    }
}
