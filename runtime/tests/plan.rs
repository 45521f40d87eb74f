//! The node runs the plan that a patch expands to: its checks, its order, and what it does behind the switch.
#![allow(clippy::unwrap_used)]

mod common;
use std::{collections::BTreeMap, time::Duration};

use common::*;
use midflight_patch::{
    Application, Plan, Release, Update,
    plan::{Direction, Hop, Instruction, ModulePlan, Policy, Purge, Subject, When},
};
use midflight_runtime::{ApplicationState, Node, OnDownFailure, Order};

/// The probe from version 1 to 2, with these instructions around the switch.
fn plan(node: &Node, before: Vec<Instruction>, after: Vec<Instruction>) -> Order {
    let (blob, bytes) = component("probe_v2");
    node.stage(&name("probe"), &blob, &bytes).unwrap();
    let modules = vec![name("probe")];
    let mut steps = vec![Instruction::LoadObjectCode {
        modules: modules.clone(),
    }];
    steps.extend(before);
    steps.push(Instruction::PointOfNoReturn);
    steps.push(Instruction::Suspend {
        modules: modules.clone(),
        timeout_ms: Some(1_000),
    });
    steps.push(Instruction::Load {
        module: name("probe"),
        pre_purge: Purge::Soft,
        post_purge: Purge::Soft,
    });
    steps.push(Instruction::Resume { modules });
    steps.extend(after);
    let plan = Plan {
        name: "test".into(),
        from: vsn("1.0.0"),
        to: vsn("2.0.0"),
        direction: Direction::Up,
        modules: vec![ModulePlan {
            name: name("probe"),
            from: Some(vsn("1.0.0")),
            to: Some(vsn("2.0.0")),
            policy: Policy::Update,
            hops: vec![Hop {
                vsn: vsn("2.0.0"),
                blob,
                update: Update::Advanced,
                extra: json!({}),
                config: json!({"tell": "watcher"}),
            }],
            pre_purge: Purge::Soft,
            post_purge: Purge::Soft,
        }],
        steps,
    };
    Order {
        pause_budget: Duration::from_secs(2),
        ..Order::of_plan(&plan, &release(&[]))
    }
}

/// A release with these applications.
fn release(applications: &[Application]) -> Release {
    Release {
        name: "test".into(),
        vsn: vsn("2.0.0"),
        modules: BTreeMap::new(),
        start: Vec::new(),
        applications: applications.to_vec(),
        listen: vec![0],
        connect: Vec::new(),
    }
}

/// An application of probes with these names.
fn application(name: &str, children: &[&str]) -> Application {
    let child = |name: &&str| json!({"worker": {"name": name, "module": "probe"}});
    let children: Vec<Value> = children.iter().map(child).collect();
    let application = json!({
        "name": name, "vsn": "1", "depends": [], "config": null, "modules": [],
        "supervisor": {"name": format!("{name}_sup"), "children": children},
    });
    serde_json::from_value(application).unwrap()
}

/// The same upgrade of the probe, with these instructions about these applications behind it.
fn with_applications(node: &Node, to: &[Application], after: Vec<Instruction>) -> Order {
    let mut order = plan(node, Vec::new(), Vec::new());
    let nothing = Plan {
        name: "test".into(),
        from: vsn("1.0.0"),
        to: vsn("2.0.0"),
        direction: Direction::Up,
        modules: Vec::new(),
        steps: after,
    };
    order.after = Order::of_plan(&nothing, &release(to)).after;
    order
}

fn running(node: &Node) -> Vec<String> {
    let applications = node.applications().into_iter();
    let running = applications.filter(|a| a.state == ApplicationState::Running);
    running
        .map(|a| a.name)
        .filter(|name| name.starts_with("app"))
        .collect()
}

fn apply(function: &str, args: Value, when: When) -> Instruction {
    Instruction::Apply {
        module: name("probe"),
        function: function.into(),
        args,
        when,
    }
}

fn node() -> Node {
    boot(&[part("probe", "probe_v1", 2), part("watcher", "probe_v1", 1)])
}

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

/// OTP: `apply` after `point_of_no_return`; otp-parity rows 11 and 20.
#[test]
fn apply_after_the_point_of_no_return_runs_once_on_the_new_code_and_its_messages_arrive() {
    let node = node();
    let tell = apply("tell", json!({"to": "watcher", "n": 1}), When::After);
    let probation = upgrade(&node, plan(&node, Vec::new(), vec![tell])).unwrap();
    until("it hears", || {
        core(&node, "watcher")["notes"][0].is_string()
    });
    let notes = core(&node, "watcher")["notes"].to_string();
    assert!(
        notes.contains(r#"\"code\":\"v2\""#) && notes.contains(r#"\"n\":1"#),
        "{notes}"
    );
    assert_eq!(core(&node, "watcher")["notes"].as_array().unwrap().len(), 1);
    assert!(probation.in_probation());
}

/// OTP: `apply` before `point_of_no_return`; otp-parity rows 12 and 20.
#[test]
fn apply_before_the_point_of_no_return_is_a_check_by_the_code_that_runs_and_releases_nothing() {
    let node = node();
    let tell = apply("tell", json!({"to": "watcher"}), When::Before);
    upgrade(&node, plan(&node, vec![tell], Vec::new()))
        .map(drop)
        .unwrap();
    assert_eq!(core(&node, "watcher")["notes"], json!([]));
    for function in ["refuse", "trap", "watch"] {
        let node = self::node();
        let check = apply(function, Value::Null, When::Before);
        let error = upgrade(&node, plan(&node, vec![check], Vec::new()))
            .map(drop)
            .unwrap_err();
        assert_eq!((error.code(), error.refused()), ("MF0333", true), "{error}");
        assert_eq!(ask(&node, "probe.1", json!({"op": "get"}))["code"], "v1");
    }
}

/// Beyond 1: what OTP answers with a restart of the node is taken back in memory.
#[test]
fn apply_that_fails_after_resume_takes_the_whole_upgrade_back() {
    for function in ["refuse", "trap", "watch"] {
        let node = node();
        ask(&node, "probe.1", json!({"op": "add", "n": 4}));
        let failing = apply(function, Value::Null, When::After);
        let tell = apply("tell", json!({"to": "watcher"}), When::After);
        let order = plan(&node, Vec::new(), vec![failing, tell]);
        let error = upgrade(&node, order).map(drop).unwrap_err();
        assert_eq!(
            (error.code(), error.refused()),
            ("MF0333", false),
            "{error}"
        );
        assert!(error.to_string().contains("went back"), "{error}");
        let all = ask(&node, "probe.1", json!({"op": "get"}));
        assert_eq!(
            (&all["code"], &all["core"]["total"]),
            (&json!("v1"), &json!(4))
        );
        let module = &node.modules()[0];
        assert_eq!((&module.vsn, &module.old_vsn), (&vsn("1.0.0"), &None));
        assert_eq!(
            core(&node, "watcher")["notes"],
            json!([]),
            "the next was not called"
        );
        let again = plan(&node, Vec::new(), Vec::new());
        upgrade(&node, again).map(drop).unwrap();
    }
}

/// OTP: `config_change/3`; otp-parity row 20.
#[test]
fn a_module_hears_what_its_configuration_becomes() {
    let node = node();
    let map = |value: Value| value.as_object().unwrap().clone();
    let configure = Instruction::Configure {
        application: "test".into(),
        module: name("probe"),
        changed: map(json!({"port": 9})),
        new: map(json!({"tell": "watcher"})),
        removed: vec!["old".into()],
    };
    upgrade(&node, plan(&node, Vec::new(), vec![configure]))
        .map(drop)
        .unwrap();
    until("it hears", || {
        core(&node, "watcher")["notes"][0].is_string()
    });
    let note = core(&node, "watcher")["notes"][0].clone();
    let note: Value = serde_json::from_str(note.as_str().unwrap()).unwrap();
    assert_eq!(
        note["applied"],
        json!({"changed": {"port": 9}, "new": {"tell": "watcher"}, "removed": ["old"]})
    );
}

#[test]
fn apply_may_send_exit_signals() {
    let node = node();
    let pid = node.whereis("watcher").unwrap();
    let exit = apply("exit", json!({"pid": pid}), When::After);
    upgrade(&node, plan(&node, Vec::new(), vec![exit]))
        .map(drop)
        .unwrap();
    until("it ends", || node.whereis("watcher").is_none());
}

/// OTP: `add_application` and `remove_application`; otp-parity row 11.
#[test]
fn applications_start_and_stop_behind_the_switch_and_a_rollback_takes_that_back() {
    let node = node();
    node.add_application(application("app_old", &["old"]))
        .unwrap();
    node.start_application("app_old").unwrap();
    let steps = || {
        vec![
            Instruction::Stop {
                what: Subject::Application("app_old".into()),
            },
            Instruction::Start {
                what: Subject::Application("app_new".into()),
            },
        ]
    };
    let to = [application("app_new", &["one", "two"])];
    let probation = upgrade(&node, with_applications(&node, &to, steps())).unwrap();
    assert_eq!(running(&node), ["app_new"]);
    assert_eq!(node.whereis("old"), None);
    assert_eq!(ask(&node, "two", json!({"op": "get"}))["code"], "v2");
    let budget = Duration::from_secs(2);
    let undone = probation.rollback(budget, OnDownFailure::Hold);
    assert!(undone.map_err(|e| e.1).unwrap().held.is_empty());
    assert_eq!(running(&node), ["app_old"]);
    assert_eq!(node.whereis("one"), None);
    assert_eq!(ask(&node, "old", json!({"op": "get"}))["code"], "v1");
    let mut failing = steps();
    failing.push(apply("refuse", Value::Null, When::After));
    let error = upgrade(&node, with_applications(&node, &to, failing))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code(), "MF0333");
    assert_eq!(running(&node), ["app_old"]);
    assert_eq!(ask(&node, "old", json!({"op": "get"}))["code"], "v1");
}

/// OTP: `{update, Module, supervisor}`; otp-parity rows 11 and 14.
#[test]
fn a_changed_child_list_is_taken_over_behind_the_switch_and_taken_back_by_a_rollback() {
    let node = node();
    node.add_application(application("app", &["kept", "gone"]))
        .unwrap();
    node.start_application("app").unwrap();
    let kept = node.whereis("kept").unwrap();
    let mut changed = application("app", &["kept", "come"]);
    changed.supervisor.stop_removed = true;
    let update = vec![Instruction::UpdateSupervisors {
        application: "app".into(),
    }];
    let order = with_applications(&node, &[changed], update);
    let probation = upgrade(&node, order).unwrap();
    assert_eq!(
        (node.whereis("kept"), node.whereis("gone")),
        (Some(kept), None)
    );
    assert_eq!(ask(&node, "come", json!({"op": "get"}))["code"], "v2");
    let undone = probation.rollback(Duration::from_secs(2), OnDownFailure::Hold);
    undone.map_err(|e| e.1).map(drop).unwrap();
    assert_eq!(
        (node.whereis("kept"), node.whereis("come")),
        (Some(kept), None)
    );
    assert_eq!(ask(&node, "gone", json!({"op": "get"}))["code"], "v1");
}
