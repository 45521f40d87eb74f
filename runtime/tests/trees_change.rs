//! A patch changes a tree that runs, and an upgrade goes on while supervisors work (OTP: `{update, Module, supervisor}`,
//! supervisor:code_change/3). The terms are in the names.
#![allow(clippy::unwrap_used)]

mod common;
mod trees;
use std::time::Duration;

use common::*;
use midflight_runtime::{ApplicationState, ChildRef, OnDownFailure};
use trees::*;

fn change(
    node: &midflight_runtime::Node,
    supervisor: Value,
) -> Result<(), midflight_runtime::Error> {
    node.update_supervisors(&application("app", &[], supervisor))
}

#[test]
fn a_changed_child_list_starts_new_children_and_does_not_touch_those_that_run() {
    let node = boot_tree(json!({"name": "top", "children": [
        plain("a"), plain("gone"),
        {"supervisor": {"name": "below", "children": [plain("b")]}},
    ]}));
    ask(&node, "a", json!({"op": "add", "n": 4}));
    let before = pids(&node, &["a", "gone", "b"]);
    change(
        &node,
        json!({"name": "top", "children": [
            worker("first", json!({"count": 2}), json!([])),
            worker("a", json!({"count": 1}), json!([{"op": "add", "n": 9}])),
            {"supervisor": {"name": "below", "children": [plain("new"), plain("b")]}},
            {"supervisor": {"name": "more", "children": [plain("m")]}},
        ]}),
    )
    .unwrap();
    for name in ["first.1", "first.2", "new", "m"] {
        assert!(
            node.whereis(name).is_some(),
            "{name} runs when the call returns"
        );
    }
    assert_eq!(
        pids(&node, &["a", "gone", "b"]),
        before,
        "also one that the list does not name any more"
    );
    assert_eq!(core(&node, "a")["total"], 4);
    let names: Vec<_> = node
        .which_children("top")
        .unwrap()
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(names, ["first.1", "first.2", "a", "below", "more", "gone"]);
    // What changed of a child that runs is used when it is started again.
    crash(&node, "a");
    again(&node, "a", before[0]);
    assert_eq!(core(&node, "a")["total"], 9);
}

#[test]
fn removed_children_end_in_reverse_when_the_patch_says_so() {
    let node = boot_tree(json!({"name": "top", "children": [
        plain("a"), plain("b"), worker("c", json!({"count": 3}), json!([])),
    ]}));
    let before = pids(&node, &["a", "b", "c.1", "c.2", "c.3"]);
    watch(&node, &before);
    let fewer = json!({"name": "top", "stop_removed": true, "children": [worker("c", json!({"count": 2}), json!([]))]});
    change(&node, fewer).unwrap();
    until("three ends are heard", || ended(&node).len() == 3);
    let mut gone: Vec<_> = ended(&node).into_iter().map(|(pid, _)| pid).collect();
    gone[1..].sort_by_key(|pid| std::cmp::Reverse(before.iter().position(|p| p == pid)));
    assert_eq!(gone, [before[4], before[1], before[0]]);
    assert_eq!(pids(&node, &["c.1", "c.2"]), before[2..4]);
    assert_eq!(node.count_children("top").unwrap().specs, 1);
}

#[test]
fn changed_restart_types_and_intensity_take_effect_at_once() {
    let node =
        boot_tree(json!({"name": "top", "intensity": 0, "children": [plain("a"), plain("b")]}));
    change(
        &node,
        json!({"name": "head", "strategy": "one_for_all", "intensity": 1, "children": [
            worker("a", json!({"restart": "temporary"}), json!([])), plain("b"),
        ]}),
    )
    .unwrap();
    assert!(
        node.which_children("top").is_err(),
        "the top supervisor has another name"
    );
    let b = pid(&node, "b");
    crash(&node, "a");
    until("it is no child any more", || {
        node.count_children("head").unwrap().specs == 1
    });
    assert_eq!(pid(&node, "b"), b);
    crash(&node, "b");
    again(&node, "b", b);
    crash(&node, "b");
    until("the new intensity is reached", || {
        state(&node, "app") == ApplicationState::Ended
    });
}

#[test]
fn a_new_child_that_does_not_start_leaves_the_tree_as_it_was() {
    let tree = json!({"name": "top", "intensity": 2, "children": [
        plain("a"), plain("b"), {"supervisor": {"name": "below", "children": [plain("c")]}},
    ]});
    let node = boot_tree(tree.clone());
    let before = pids(&node, &["a", "b", "c"]);
    let error = change(&node, json!({"name": "top", "stop_removed": true, "children": [
        plain("new"), plain("a"),
        {"supervisor": {"name": "below", "stop_removed": true, "children": [
            plain("other"), worker("bad", json!({}), json!([{"op": "error", "text": "no license"}])),
        ]}},
    ]})).unwrap_err();
    assert!(
        error.code() == "MF0303" && error.to_string().contains("no license"),
        "{error}"
    );
    assert_eq!(
        living(&node, "top").keys().collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert_eq!(pid(&node, "a"), before[0], "what was not touched runs on");
    for _ in 0..2 {
        let b = pid(&node, "b");
        crash(&node, "b");
        again(&node, "b", b);
    }
    assert_eq!(
        state(&node, "app"),
        ApplicationState::Running,
        "the former intensity holds"
    );
}

#[test]
fn a_tree_that_cannot_be_is_refused_before_anything_is_done() {
    let node = boot_tree(json!({"name": "top", "children": [
        plain("a"), {"supervisor": {"name": "pool", "strategy": "simple_one_for_one", "children": [plain("p")]}},
    ]}));
    let a = pid(&node, "a");
    for (tree, code) in [
        (
            json!({"name": "top", "children": [{"supervisor": {"name": "a"}}]}),
            "MF0345",
        ),
        (
            json!({"name": "top", "children": [plain("pool")]}),
            "MF0345",
        ),
        (
            json!({"name": "top", "children": [{"supervisor": {"name": "pool", "children": [plain("p")]}}]}),
            "MF0345",
        ),
        (
            json!({"name": "top", "strategy": "simple_one_for_one", "children": [plain("a")]}),
            "MF0345",
        ),
        (
            json!({"name": "top", "children": [{"worker": {"name": "x", "module": "absent"}}]}),
            "MF0304",
        ),
    ] {
        let error = change(&node, tree).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let names: Vec<_> = node
        .which_children("top")
        .unwrap()
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(
        (names, pid(&node, "a")),
        (vec!["a".to_owned(), "pool".to_owned()], a)
    );
    let none = node.update_supervisors(&application("none", &[], json!({"name": "none"})));
    assert_eq!(none.unwrap_err().code(), "MF0343");
}

#[test]
fn an_application_can_be_added_started_changed_and_removed() {
    let node = boot_tree(json!({"name": "top", "children": [plain("a")]}));
    let new = application(
        "new",
        &["app"],
        json!({"name": "new", "children": [plain("n")]}),
    );
    node.add_application(new.clone()).unwrap();
    assert_eq!(
        node.add_application(new.clone()).unwrap_err().code(),
        "MF0344"
    );
    node.start_application("new").unwrap();
    let n = pid(&node, "n");
    assert_eq!(node.remove_application("new").unwrap_err().code(), "MF0344");
    node.stop_application("new").unwrap();
    // A tree for the next start.
    let next = application(
        "new",
        &[],
        json!({"name": "new", "children": [plain("n"), plain("m")]}),
    );
    node.update_supervisors(&next).unwrap();
    node.start_application("new").unwrap();
    assert!(pid(&node, "n") != n && node.whereis("m").is_some());
    node.stop_application("new").unwrap();
    assert_eq!(node.remove_application("new").unwrap(), next);
    assert_eq!(node.remove_application("new").unwrap_err().code(), "MF0343");
}

#[test]
fn starts_of_affected_modules_wait_while_an_upgrade_has_suspended_them_and_start_on_the_new_code() {
    let brutal = worker("a", json!({"shutdown": "brutal_kill"}), json!([]));
    let node = boot_tree(json!({"name": "top", "intensity": 9, "children": [brutal, plain("b")]}));
    let before = pid(&node, "a");
    let change = common::change("probe", "1.0.0", "2.0.0", "probe_v2", Value::Null);
    let mut order = order(&node, vec![change]);
    order.pause_budget = Duration::from_secs(20);
    let (prepared, _) = node.begin(order).unwrap().prepare().unwrap();
    let suspended = prepared.suspend().unwrap();
    // Exit signals to suspended actors wait, kill excepted.
    let a = || ChildRef::Name("a".into());
    node.terminate_child("top", a()).unwrap();
    let mut probation = std::thread::scope(|scope| {
        let started = scope.spawn(|| node.restart_child("top", a()));
        until("it is about to be born", || node.whereis("a").is_some());
        assert!(node.which_children("top").unwrap()[0].live);
        assert!(!started.is_finished(), "its init waits");
        let (probation, _) = suspended
            .load()
            .unwrap()
            .migrate()
            .unwrap()
            .resume()
            .unwrap();
        started.join().unwrap().unwrap();
        probation
    });
    assert_ne!(pid(&node, "a"), before);
    assert_eq!(
        ask(&node, "a", json!({"op": "get"}))["code"],
        "v2",
        "who is started starts on current"
    );
    probation.confirm();
    probation.finish().map_err(|(_, e)| e).unwrap();
}

#[test]
fn an_application_that_ends_by_itself_in_probation_is_in_the_health_of_the_upgrade() {
    let app = |name: &str, child: &str| {
        application(
            name,
            &[],
            json!({"name": name, "intensity": 0, "children": [plain(child)]}),
        )
    };
    let node = boot_trees(vec![app("one", "a"), app("two", "b")]);
    let ended = |name: &str| {
        until("the application ended", || {
            state(&node, name) == ApplicationState::Ended
        });
    };
    crash(&node, "a");
    ended("one");
    let change = common::change("probe", "1.0.0", "2.0.0", "probe_v2", Value::Null);
    let probation = upgrade(&node, order(&node, vec![change])).unwrap();
    assert_eq!(
        probation.health().ended,
        0,
        "what was before resume is no fault of the patch"
    );
    crash(&node, "b");
    ended("two");
    let health = probation.health();
    assert_eq!((health.ended, health.restarts), (1, 0));
    assert_eq!(node.metrics().ended, 2);
}

#[test]
fn a_child_started_again_in_probation_goes_back_with_a_rollback() {
    let node = boot_tree(json!({"name": "top", "intensity": 9, "children": [plain("a")]}));
    let before = pid(&node, "a");
    let change = common::change("probe", "1.0.0", "2.0.0", "probe_v2", Value::Null);
    let order = order(&node, vec![change]);
    let probation = upgrade(&node, order).unwrap();
    crash(&node, "a");
    let born = again(&node, "a", before);
    assert_eq!(ask(&node, "a", json!({"op": "get"}))["code"], "v2");
    until("it is counted", || probation.health().restarts == 1);
    let undone = probation.rollback(Duration::from_secs(1), OnDownFailure::Hold);
    assert_eq!(undone.map_err(|(_, e)| e).unwrap().migrated, 1);
    assert_eq!(
        (
            ask(&node, "a", json!({"op": "get"}))["code"].clone(),
            pid(&node, "a")
        ),
        (json!("v1"), born)
    );
    crash(&node, "a");
    again(&node, "a", born);
}

#[test]
fn a_child_that_is_parked_in_probation_is_no_crash_until_confirm() {
    for confirm in [false, true] {
        let node = boot_tree(json!({"name": "top", "intensity": 9, "children": [plain("a")]}));
        let before = pid(&node, "a");
        let change = common::change("probe", "1.0.0", "2.0.0", "probe_v2", Value::Null);
        let order = order(&node, vec![change]);
        let mut probation = upgrade(&node, order).unwrap();
        tell(
            &node,
            "a",
            json!({"op": "error", "text": "new code is broken"}),
        );
        until("it is parked", || probation.health().parked == 1);
        assert_eq!(
            (pid(&node, "a"), probation.health().restarts),
            (before, 0),
            "its supervisor hears nothing"
        );
        if confirm {
            probation.confirm();
            again(&node, "a", before);
            // Counted once the child has its name.
            until("confirmed, it is an ordinary crash", || {
                probation.health().restarts == 1
            });
            probation.finish().map_err(|(_, e)| e).unwrap();
        } else {
            // The older code fails in the same way, and has no probation.
            let undone = probation.rollback(Duration::from_secs(1), OnDownFailure::Hold);
            assert_eq!(undone.map_err(|(_, e)| e).unwrap().redelivered, 1);
            again(&node, "a", before);
        }
    }
}
