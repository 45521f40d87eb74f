//! A release with supervision trees, on a real agent.

use std::path::Path;

use midflight_tests::{Fleet, until};

/// Counters under one application, the gateway under another that depends on it, and an actor that crashes five times a
/// second.
const RELEASE: &str = "\
name: test
to: \"1.0.0\"
modules:
  - {name: counter, file: GUESTS/counter_v1.wasm}
  - {name: gateway, file: GUESTS/gateway.wasm}
  - {name: probe, file: GUESTS/probe_v1.wasm}
applications:
  - name: front
    depends: [base]
    supervisor: {name: front, children: [{worker: {name: gateway, module: gateway, args: {port: 7001}}}]}
  - name: base
    supervisor:
      name: base
      strategy: rest_for_one
      children: [{worker: {name: counter, module: counter, count: 3}}]
  - name: flaky
    supervisor:
      name: flaky
      intensity: 1000
      period: 60
      children:
        - worker:
            name: crasher
            module: probe
            args: {ops: [{op: timer, after_ms: 200, body: {op: error, text: told to}}]}
listen: [7001]
";

const PATCH: &str = "\
name: test
from: \"1.0.0\"
to: \"2.0.0\"
modules:
  - {name: counter, file: GUESTS/counter_v2.wasm, update: advanced}
applications:
  - name: base
    supervisor:
      name: base
      strategy: rest_for_one
      children: [{worker: {name: counter, module: counter, count: 4}}]
";

fn with_guests(spec: &str) -> String {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/out");
    spec.replace("GUESTS", &guests.display().to_string())
}

/// OTP parity, rows 14 and 16: the trees run, their children are started again, and the next boot starts them too.
#[test]
fn a_tree_is_booted_its_children_are_started_again_and_a_crash_of_the_node_boots_it_anew() {
    let mut fleet = Fleet::prepare(1);
    fleet.bundle("release", &with_guests(RELEASE));
    for boots in 1..=2 {
        fleet.boot(0);
        fleet.await_all();
        let mut gateway = fleet.gateway(0);
        assert_eq!(gateway.ask("inc", "counter.3"), "1");
        until("the flaky actor was started again", || {
            fleet.nodes[0].log().matches("started again").count() > 2 * boots
        });
        assert_eq!(gateway.ask("inc", "counter.3"), "2", "nobody else was");
        fleet.kill(0);
    }
}

/// OTP parity, rows 11 and 14: `{update, Module, supervisor}` by a patch, upon which children that run are untouched and
/// new ones start.
#[test]
fn a_patch_changes_the_child_list_of_a_tree_that_runs() {
    let mut fleet = Fleet::prepare(1);
    fleet.bundle("release", &with_guests(RELEASE));
    fleet.boot(0);
    fleet.await_all();
    let mut gateway = fleet.gateway(0);
    for n in 1..=5 {
        assert_eq!(gateway.ask("inc", "counter.3"), n.to_string());
    }
    let patch = fleet.bundle("more", &with_guests(PATCH));
    let done = fleet.apply(&patch, "[100%]");
    assert_eq!(done.code, 0, "{}", done.text());
    let five: u64 = gateway.ask("get", "counter.3").parse().expect("a count");
    assert_eq!(five, 5, "it was migrated, not started again");
    let new: u64 = gateway.ask("get", "counter.4").parse().expect("a count");
    assert_eq!(new, 0, "the new child runs");
    assert_eq!(fleet.vsns(0), ("2.0.0".into(), "2.0.0".into()));
    fleet.kill(0);
    fleet.boot(0);
    fleet.await_all();
    assert_eq!(
        fleet.gateway(0).ask("get", "counter.4"),
        "0",
        "and so it does after the next boot"
    );
}
