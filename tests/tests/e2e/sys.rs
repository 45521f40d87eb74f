//! `midflight sys`, `midflight top` and `midflight metrics` against real agents.

use midflight_tests::{Done, Fleet, openmetrics, until};
use serde_json::{Value, json};

fn sys(fleet: &Fleet, args: &[&str]) -> Done {
    fleet.sys(args)
}

fn json_of(fleet: &Fleet, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.extend(["--output", "json"]);
    let done = sys(fleet, &all);
    assert_eq!(done.code, 0, "{args:?}: {}", done.text());
    done.json()
}

#[test]
fn sys_looks_at_actors_and_modules_and_changes_them() {
    let fleet = Fleet::start(1);
    let done = sys(&fleet, &["status", "n1", "counter.1"]);
    assert!(
        done.out.contains("counter 1.0.0  waiting"),
        "{}",
        done.text()
    );
    let module = json_of(&fleet, &["status", "n1", "--module", "counter"]);
    assert_eq!(module["module"]["actors"], 1_000);

    let done = sys(&fleet, &["suspend", "n1", "--module", "counter"]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "1000 actors\n"),
        "{}",
        done.text()
    );
    let module = json_of(&fleet, &["status", "n1", "--module", "counter"]);
    assert_eq!(module["module"]["suspended"], 1_000);
    let list = json_of(
        &fleet,
        &["list", "n1", "--status", "suspended", "--rows", "5000"],
    );
    assert_eq!(list["actors"].as_array().unwrap().len(), 1_000, "two pages");
    let done = sys(&fleet, &["list", "n1", "--module", "greeter"]);
    assert_eq!(done.out.lines().count(), 2, "{}", done.text());
    assert!(
        done.out.lines().next().unwrap().starts_with("PID"),
        "{}",
        done.text()
    );
    assert_eq!(
        sys(&fleet, &["resume", "n1", "--module", "counter"]).code,
        0
    );

    let state = json_of(&fleet, &["replace-state", "n1", "counter.2", "41"]);
    assert_eq!(state["state"], 41);
    let done = sys(&fleet, &["replace-state", "n1", "counter.2", "\"many\""]);
    assert_eq!(done.code, 2, "{}", done.text());
    assert!(done.err.contains("MF0315"), "{}", done.text());
    assert_eq!(sys(&fleet, &["get-state", "n1", "counter.2"]).out, "41\n");

    let done = sys(
        &fleet,
        &[
            "terminate",
            "n1",
            "counter.3",
            "--reason",
            "an operator asked",
        ],
    );
    assert_eq!(done.code, 0, "{}", done.text());
    let pid = done.out.split_whitespace().nth(1).unwrap().to_owned();
    let done = sys(&fleet, &["status", "n1", &pid]);
    assert!(done.err.contains("MF0313"), "{}", done.text());
    until("its supervisor starts it again", || {
        sys(&fleet, &["status", "n1", "counter.3"]).code == 0
    });
    let done = sys(&fleet, &["old-code", "n1"]);
    assert_eq!(
        (done.code, done.out.lines().count()),
        (0, 1),
        "{}",
        done.text()
    );
    let journal = std::fs::read_to_string(fleet.nodes[0].dir.join("data/journal")).unwrap();
    for verb in ["suspend", "resume", "replace_state", "terminate"] {
        assert!(
            journal.contains(&format!("\"verb\":\"{verb}\"")),
            "{verb} is in the journal"
        );
    }
}

/// Beyond 8: leftovers never block the next; here those that drain, whose time is ended by hand.
#[test]
fn actors_on_old_code_are_brought_to_the_current_by_catch_up() {
    let fleet = Fleet::start(1);
    let file = format!(
        "{}/../guest/out/counter_v2.wasm",
        env!("CARGO_MANIFEST_DIR")
    );
    let patch = fleet.bundle(
        "drain",
        &format!(
            "name: test\nfrom: \"1.0.0\"\nto: \"2.0.0\"\nmodules:\n  - {{name: counter, file: {file}}}\n\
             instructions:\n  - application: test\n    up:\n      - update: {{module: counter, change: advanced, \
             draining: {{deadline_ms: 3600000, then: stop}}}}\n"
        ),
    );
    let done = fleet.apply(&patch, "[100%]");
    assert_eq!(done.code, 0, "{}", done.text());
    let counter = |fleet: &Fleet| {
        let nodes = fleet.ok(&["nodes", "n1", "--output", "json"]).json();
        let modules = nodes["modules"].as_array().unwrap().clone();
        modules
            .into_iter()
            .find(|m| m["name"] == "counter")
            .unwrap()
    };
    let old = counter(&fleet);
    assert_eq!(
        (&old["actors_on_old"], &old["old_vsn"]),
        (&json!(1_000), &json!("1.0.0"))
    );
    assert!(old["old_since_ms"].as_u64().unwrap() > 0, "{old}");
    let wrong = sys(&fleet, &["catch-up", "n1", "--module", "nobody"]);
    assert!(wrong.err.contains("MF0304"), "{}", wrong.text());
    let done = sys(&fleet, &["catch-up", "n1", "--module", "counter"]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "1000 actors on the current code\n"),
        "{}",
        done.text()
    );
    let now = counter(&fleet);
    assert_eq!(
        (&now["actors_on_old"], &now["old_since_ms"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(fleet.state(0, "counter.1")["count"], 0, "a record now");
    let journal = std::fs::read_to_string(fleet.nodes[0].dir.join("data/journal")).unwrap();
    assert!(journal.contains("\"verb\":\"catch_up\""));
}

#[test]
fn sys_statistics_and_trace_show_what_an_actor_does() {
    let fleet = Fleet::start(1);
    let done = sys(&fleet, &["statistics", "n1", "gateway"]);
    assert_eq!(done.out, "statistics are off\n", "{}", done.text());
    assert_eq!(
        sys(&fleet, &["statistics", "n1", "gateway", "--on"]).code,
        0
    );
    let on = [
        "trace",
        "n1",
        "gateway",
        "--on",
        "--entries",
        "50",
        "--for",
        "5m",
    ];
    assert_eq!(sys(&fleet, &on).code, 0);
    let mut client = fleet.gateway(0);
    client.ask("inc", "counter.1");
    until("it is counted", || {
        json_of(&fleet, &["statistics", "n1", "gateway"])["statistics"]["events"]
            .as_u64()
            .is_some_and(|events| events > 0)
    });
    let trace = json_of(&fleet, &["trace", "n1", "gateway", "--off"])["trace"].clone();
    let entries = trace["entries"].as_array().unwrap();
    assert!(entries.iter().any(|e| e["way"] == "in"), "{trace}");
    assert!(entries.iter().any(|e| e["way"] == "out"), "{trace}");
    let done = sys(&fleet, &["trace", "n1", "gateway"]);
    assert_eq!(done.out, "there is no trace\n", "{}", done.text());
    let module = json_of(&fleet, &["statistics", "n1", "--module", "gateway"]);
    assert!(
        module["counters"]["events"].as_u64().unwrap() > 0,
        "always there"
    );
}

#[test]
fn several_nodes_answer_folded_and_one_that_is_gone_makes_it_exit_7() {
    let mut fleet = Fleet::start(3);
    let done = sys(&fleet, &["status", "all_nodes", "--module", "greeter"]);
    assert_eq!(done.code, 0, "{}", done.text());
    assert!(
        done.out.starts_with("n[1:3]:\n  greeter 1.0.0"),
        "{}",
        done.text()
    );
    let done = sys(&fleet, &["suspend", "all_nodes", "greeter"]);
    assert!(
        done.err.contains("MF0504"),
        "a change on all takes --all: {}",
        done.text()
    );
    assert_eq!(
        sys(&fleet, &["suspend", "all_nodes", "greeter", "--all"]).code,
        0
    );
    fleet.kill(2);
    let done = sys(&fleet, &["status", "all_nodes", "greeter"]);
    assert_eq!(done.code, 7, "{}", done.text());
    assert!(
        done.out.contains("suspended") && done.err.starts_with("n3: MF0520"),
        "{}",
        done.text()
    );
    let done = sys(&fleet, &["status", "n3", "greeter"]);
    assert_eq!(done.code, 2, "{}", done.text());
}

#[test]
fn top_once_shows_the_busiest_actors_and_a_viewer_may_look() {
    let fleet = Fleet::start(2);
    let viewer = ["--cert", "pki/viewer.pem", "--key", "pki/viewer.key"];
    let mut client = fleet.gateway(0);
    assert_eq!(sys(&fleet, &["suspend", "n1", "counter.5"]).code, 0);
    client.begin("get", "counter.5");
    until("it waits", || {
        json_of(&fleet, &["status", "n1", "counter.5"])["status"]["mailbox"] == 1
    });
    let mut args = vec!["top", "all_nodes", "--once", "--rows", "3"];
    args.extend(viewer);
    let done = fleet.ok(&args);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", done.text());
    assert!(lines[0].starts_with("2 nodes  20"), "{}", done.text());
    assert!(
        lines[2].contains("counter.5") && lines[2].starts_with("n1"),
        "{}",
        done.text()
    );
    args.extend(["--output", "json", "--sort", "state"]);
    let done = fleet.ok(&args);
    assert_eq!(
        done.out.lines().count(),
        2,
        "a line a node: {}",
        done.text()
    );
    assert_eq!(done.json()["rows"].as_array().unwrap().len(), 3);
    let mut args = vec!["sys", "suspend", "n1", "greeter"];
    args.extend(viewer);
    let done = fleet.run(&args);
    assert!(done.err.contains("MF0416"), "{}", done.text());
}

#[test]
fn metrics_of_a_fleet_are_one_strict_openmetrics_text() {
    let fleet = Fleet::start(2);
    let patch = fleet.patch_v2();
    let done = fleet.apply(&patch, "[\"100%\"]");
    assert_eq!(done.code, 0, "{}", done.text());
    let done = fleet.ok(&["metrics", "all_nodes"]);
    let families = openmetrics::parse(&done.out).unwrap_or_else(|e| panic!("{e}\n{}", done.out));
    let of = |family: &str, name: &str| -> Vec<f64> {
        let samples = families[family].samples.iter();
        samples
            .filter(|s| s.name == name)
            .map(|s| s.value)
            .collect()
    };
    assert_eq!(of("midflight_agent", "midflight_agent_info"), [1.0, 1.0]);
    let pauses = "midflight_node_pause_seconds";
    assert_eq!(
        of(pauses, &format!("{pauses}_count")),
        [1.0, 1.0],
        "one upgrade each"
    );
    assert!(
        of(pauses, &format!("{pauses}_sum"))
            .iter()
            .all(|s| *s > 0.0)
    );
    let actors = &families["midflight_module_actors"].samples;
    let counters = actors.iter().filter(|s| s.labels["module"] == "counter");
    assert!(counters.clone().all(|s| s.value == 1_000.0));
    assert_eq!(counters.count(), 2, "one a node");
    assert_eq!(
        of("midflight_dead_letters", "midflight_dead_letters_total"),
        [0.0, 0.0]
    );
    let done = fleet.ok(&["metrics", "n1", "--output", "json"]);
    let metrics = done.json()["metrics"].clone();
    let info = &metrics.as_array().unwrap()[0];
    assert_eq!(info["labels"]["vsn"], json!("2.0.0"));
}
