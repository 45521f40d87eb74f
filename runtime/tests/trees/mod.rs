//! Supervision trees for tests: applications from JSON, a node that runs them, and who of their children lives.
#![allow(dead_code, clippy::unwrap_used)]

use std::{collections::BTreeMap, path::PathBuf};

use midflight_patch::{Application, Release, ReleaseModule};
use midflight_runtime::{ApplicationState, ChildKind, Config, Error, Limits, Node};

use crate::common::*;

/// An application of this supervisor, whose defaults are those of a description.
pub fn application(name: &str, depends: &[&str], supervisor: Value) -> Application {
    serde_json::from_value(json!({
        "name": name, "vsn": "1", "depends": depends, "config": null, "modules": [], "supervisor": supervisor,
    }))
    .unwrap()
}

/// A probe that does these ops when it is initialised.
pub fn worker(name: &str, more: Value, ops: Value) -> Value {
    let mut spec = json!({"name": name, "module": "probe", "args": {"ops": ops}});
    let object = spec.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    json!({ "worker": spec })
}

/// A probe without a wish.
pub fn plain(name: &str) -> Value {
    worker(name, json!({}), json!([]))
}

/// The application whose one actor, `rec`, others write to; first in every tree of `try_boot_trees`.
fn recorder() -> Application {
    application(
        "recorder",
        &[],
        json!({"name": "recorder", "children": [plain("rec")]}),
    )
}

pub fn try_boot_trees(limits: Limits, applications: Vec<Application>) -> (Node, Result<(), Error>) {
    let node = Node::start(Config {
        limits,
        cache: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("code")),
        address: [127, 0, 0, 1].into(),
    })
    .unwrap();
    let (blob, bytes) = component("probe_v1");
    let module = ReleaseModule {
        vsn: vsn("1.0.0"),
        blob,
        size: bytes.len() as u64,
        config: Value::Null,
    };
    let release = Release {
        name: "test".into(),
        vsn: vsn("1.0.0"),
        modules: BTreeMap::from([(name("probe"), module)]),
        start: Vec::new(),
        applications: [recorder()].into_iter().chain(applications).collect(),
        listen: Vec::new(),
        connect: Vec::new(),
    };
    let booted = node.boot(&release, &BTreeMap::from([(blob, bytes)]));
    (node, booted)
}

/// A node with these applications and the recorder's.
pub fn boot_trees(applications: Vec<Application>) -> Node {
    let (node, booted) = try_boot_trees(limits(), applications);
    booted.unwrap();
    node
}

/// One application, `app`.
pub fn boot_tree(supervisor: Value) -> Node {
    boot_trees(vec![application("app", &[], supervisor)])
}

pub fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

pub fn pid(node: &Node, who: &str) -> u64 {
    node.whereis(who)
        .unwrap_or_else(|| panic!("nobody is {who}"))
}

pub fn pids(node: &Node, who: &[&str]) -> Vec<u64> {
    who.iter().map(|who| pid(node, who)).collect()
}

/// The recorder watches these; see `ended`.
pub fn watch(node: &Node, pids: &[u64]) {
    for pid in pids {
        ask(node, "rec", json!({"op": "monitor", "pid": pid}));
    }
}

/// Pid and reason of those that ended, in the order in which they did.
pub fn ended(node: &Node) -> Vec<(u64, String)> {
    serde_json::from_value(core(node, "rec")["downs"].clone()).unwrap()
}

/// What was written to the recorder.
pub fn notes(node: &Node) -> Vec<String> {
    serde_json::from_value(core(node, "rec")["notes"].clone()).unwrap()
}

/// Makes an actor crash, and waits until it has.
pub fn crash(node: &Node, who: &str) {
    end(node, who, "broken");
}

/// Makes an actor stop with this reason, and waits until it has.
pub fn end(node: &Node, who: &str, reason: &str) {
    let before = pid(node, who);
    tell(node, who, json!({"op": "stop", "reason": reason}));
    until("it ended", || node.whereis(who) != Some(before));
}

/// Waits until somebody else has the name.
pub fn again(node: &Node, who: &str, before: u64) -> u64 {
    until(&format!("{who} runs again"), || {
        node.whereis(who).is_some_and(|now| now != before)
    });
    pid(node, who)
}

pub fn state(node: &Node, application: &str) -> ApplicationState {
    let all = node.applications();
    all.iter().find(|a| a.name == application).unwrap().state
}

/// All actors below a supervisor that live, by name, spawned ones left out.
pub fn living(node: &Node, supervisor: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for child in node.which_children(supervisor).unwrap_or_default() {
        match (child.kind, child.pid) {
            (ChildKind::Supervisor, _) if child.live => all.extend(living(node, &child.name)),
            (ChildKind::Worker, Some(pid)) if !child.spawned => {
                all.insert(child.name, pid);
            }
            _ => {}
        }
    }
    all
}
