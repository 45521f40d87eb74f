//! Supervisors, as OTP's `supervisor` has them (supervisor.erl, "Supervision Principles"). The terms are in the names.
#![allow(clippy::unwrap_used)]

mod common;
mod trees;
use std::time::Duration;

use common::*;
use midflight_runtime::{ActorRef, ApplicationState, ChildKind, ChildRef};
use trees::*;

/// Tells the recorder that it is up.
fn up(name: &str) -> Value {
    json!([{"op": "cast", "to": "rec", "body": {"up": name}}])
}

fn named(text: &str) -> ChildRef {
    ChildRef::Name(text.to_owned())
}

#[test]
fn children_start_in_order_each_after_the_init_of_the_one_before_and_end_in_reverse() {
    let slow =
        json!([{"op": "spin", "n": 3_000_000}, {"op": "cast", "to": "rec", "body": {"up": "a"}}]);
    let node = boot_tree(json!({"name": "top", "children": [
        worker("a", json!({}), slow),
        {"supervisor": {"name": "below", "children": [worker("b", json!({}), up("b")), worker("c", json!({}), up("c"))]}},
        worker("d", json!({}), up("d")),
    ]}));
    let order: Vec<String> = ["a", "b", "c", "d"]
        .map(|n| json!({"up": n}).to_string())
        .into();
    until("all are noted", || notes(&node).len() == 4);
    assert_eq!(notes(&node), order);
    let started = pids(&node, &["a", "b", "c", "d"]);
    watch(&node, &started);
    node.stop_application("app").unwrap();
    let reverse: Vec<_> = started
        .iter()
        .rev()
        .map(|pid| (*pid, "shutdown".to_owned()))
        .collect();
    until("all ends are heard", || ended(&node).len() == 4);
    assert_eq!(ended(&node), reverse);
    assert_eq!(state(&node, "app"), ApplicationState::Loaded);
}

#[test]
fn a_child_that_does_not_start_ends_those_started_before_it_and_fails_the_application() {
    let supervisor = json!({"name": "top", "children": [
        plain("a"),
        {"supervisor": {"name": "below", "children": [
            plain("b"),
            worker("bad", json!({}), json!([{"op": "error", "text": "no license"}])),
        ]}},
        plain("never"),
    ]});
    let (node, booted) = try_boot_trees(limits(), vec![application("app", &[], supervisor)]);
    let error = booted.unwrap_err();
    assert_eq!(error.code(), "MF0303");
    assert!(
        error.to_string().contains("bad") && error.to_string().contains("no license"),
        "{error}"
    );
    assert_eq!(
        node.actor_count(),
        0,
        "and the applications before it were stopped"
    );
    assert_eq!(state(&node, "recorder"), ApplicationState::Loaded);
}

#[test]
fn one_for_one_starts_the_child_that_ended_and_no_other() {
    let node = boot_tree(json!({"name": "top", "children": [plain("a"), plain("b"), plain("c")]}));
    let before = pids(&node, &["a", "b", "c"]);
    crash(&node, "b");
    again(&node, "b", before[1]);
    assert_eq!((pid(&node, "a"), pid(&node, "c")), (before[0], before[2]));
}

#[test]
fn one_for_all_ends_the_others_in_reverse_and_starts_all_in_order() {
    let node = boot_tree(
        json!({"name": "top", "strategy": "one_for_all", "children": [
            worker("a", json!({}), up("a")), worker("b", json!({}), up("b")), worker("c", json!({}), up("c")),
            worker("once", json!({"restart": "temporary"}), json!([])),
        ]}),
    );
    let before = pids(&node, &["a", "b", "c", "once"]);
    watch(&node, &before);
    crash(&node, "b");
    for (who, before) in ["a", "b", "c"].iter().zip(&before) {
        again(&node, who, *before);
    }
    let order: Vec<_> = ended(&node).into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(order, [before[1], before[3], before[2], before[0]]);
    until("all are noted", || notes(&node).len() == 6);
    assert_eq!(
        notes(&node)[3..],
        ["a", "b", "c"].map(|n| json!({"up": n}).to_string())
    );
    assert_eq!(
        node.whereis("once"),
        None,
        "a temporary child is never started again"
    );
    assert_eq!(node.count_children("top").unwrap().specs, 3);
}

#[test]
fn one_for_all_starts_a_transient_child_that_had_ended_normally() {
    let node = boot_tree(
        json!({"name": "top", "strategy": "one_for_all", "children": [
            plain("a"), worker("t", json!({"restart": "transient"}), json!([])),
        ]}),
    );
    end(&node, "t", "normal");
    until("it is heard", || {
        node.count_children("top").unwrap().active == 1
    });
    let before = pid(&node, "a");
    crash(&node, "a");
    again(&node, "a", before);
    until("it was started with all others", || {
        node.whereis("t").is_some()
    });
}

#[test]
fn rest_for_one_ends_and_starts_those_that_were_started_after_the_child() {
    let node = boot_tree(
        json!({"name": "top", "strategy": "rest_for_one", "children": [
            plain("a"), worker("b", json!({"count": 3}), json!([])), plain("c"), plain("d"),
        ]}),
    );
    let all = ["a", "b.1", "b.2", "b.3", "c", "d"];
    let before = pids(&node, &all);
    watch(&node, &before);
    crash(&node, "b.2");
    for at in 2..6 {
        again(&node, all[at], before[at]);
    }
    let order: Vec<_> = ended(&node).into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(order, [before[2], before[5], before[4], before[3]]);
    assert_eq!(pids(&node, &["a", "b.1"]), before[..2]);
}

#[test]
fn simple_one_for_one_starts_spawned_children_again_as_their_pattern_says() {
    let node = boot_tree(json!({"name": "top", "intensity": 9, "children": [
        plain("boss"),
        {"supervisor": {"name": "pool", "strategy": "simple_one_for_one", "intensity": 9, "children": [
            worker("pattern", json!({"restart": "transient"}), json!([])),
        ]}},
    ]}));
    assert_eq!(
        node.whereis("pattern"),
        None,
        "the pattern itself is not started"
    );
    let spawn = |name: &str, module: &str| {
        ask(
            &node,
            "boss",
            json!({"op": "spawn", "module": module, "under": "pool", "name": name, "monitor": true,
            "args": {"ops": [{"op": "add", "n": 7}]}}),
        )
    };
    spawn("one", "probe");
    spawn("two", "probe");
    until("both are children", || {
        node.count_children("pool").unwrap().active == 2
    });
    let (one, two) = (pid(&node, "one"), pid(&node, "two"));
    crash(&node, "one");
    again(&node, "one", one);
    assert_eq!(core(&node, "one")["total"], 7, "with the same arguments");
    end(&node, "two", "normal");
    until("it is no child any more", || {
        node.count_children("pool").unwrap().specs == 1
    });
    assert_eq!(node.whereis("two"), None);
    until("the spawner heard of both ends", || {
        core(&node, "boss")["downs"] == json!([[one, "broken"], [two, "normal"]])
    });
    assert!(
        node.restart_child("pool", named("pattern")).is_err(),
        "OTP: {{error, simple_one_for_one}}"
    );
    let modules = node.modules();
    assert_eq!(modules[0].restarts, 1);
}

#[test]
fn simple_one_for_one_refuses_children_that_are_not_of_its_pattern() {
    let node = boot_tree(json!({"name": "top", "children": [
        plain("boss"),
        {"supervisor": {"name": "pool", "strategy": "simple_one_for_one", "children": [
            {"worker": {"name": "pattern", "module": "probe"}},
        ]}},
    ]}));
    let odd = ask(
        &node,
        "boss",
        json!({"op": "spawn", "module": "probe", "under": "nowhere"}),
    )["pid"]
        .clone();
    until("the spawner hears of it", || {
        core(&node, "boss")["downs"][0][0] == odd
    });
    assert!(
        core(&node, "boss")["downs"][0][1]
            .as_str()
            .unwrap()
            .contains("no supervisor nowhere")
    );
    let failing = json!({"op": "spawn", "module": "probe", "under": "pool", "args": {"ops": [{"op": "error", "text": "no"}]}});
    let failed = ask(&node, "boss", failing)["pid"].clone();
    until("the spawner hears of it", || {
        core(&node, "boss")["downs"][1] == json!([failed, "no"])
    });
    // OTP: a child whose first start fails is not kept.
    until("it is no child", || {
        node.count_children("pool").unwrap().specs == 0
    });
    assert_eq!(state(&node, "app"), ApplicationState::Running);
}

#[test]
fn permanent_transient_and_temporary_children_are_started_again_as_their_restart_type_says() {
    for (restart, reason, again_, kept) in [
        ("permanent", "normal", true, true),
        ("permanent", "broken", true, true),
        ("transient", "normal", false, true),
        ("transient", "shutdown", false, true),
        ("transient", "broken", true, true),
        ("temporary", "normal", false, false),
        ("temporary", "broken", false, false),
    ] {
        let node = boot_tree(
            json!({"name": "top", "children": [worker("a", json!({"restart": restart}), json!([]))]}),
        );
        let before = pid(&node, "a");
        end(&node, "a", reason);
        if again_ {
            again(&node, "a", before);
        }
        until("it is counted", || {
            let counts = node.count_children("top").unwrap();
            (counts.active, counts.specs) == (again_.into(), kept.into())
        });
    }
}

#[test]
fn more_restarts_than_intensity_in_period_end_the_supervisor_with_shutdown() {
    for (restart, runs, kept) in [
        ("permanent", true, true),
        ("transient", false, true),
        ("temporary", false, false),
    ] {
        let node = boot_tree(json!({"name": "top", "children": [
            {"supervisor": {"name": "below", "intensity": 2, "period": 3600, "restart": restart, "children": [plain("a"), plain("b")]}},
        ]}));
        let first_b = pid(&node, "b");
        for _ in 0..2 {
            let before = pid(&node, "a");
            crash(&node, "a");
            again(&node, "a", before);
        }
        assert_eq!(
            pid(&node, "b"),
            first_b,
            "two restarts are within the intensity"
        );
        crash(&node, "a");
        if runs {
            again(&node, "b", first_b);
            until("a runs too", || node.whereis("a").is_some());
        }
        until(restart, || {
            let counts = node.count_children("top").unwrap();
            (counts.active, counts.specs) == (runs.into(), kept.into())
                && (runs || node.actor_count() == 1)
        });
        assert_eq!(state(&node, "app"), ApplicationState::Running);
    }
}

/// The name of an actor that starts again is known before its `init` has run: what is sent to it then waits for it.
#[test]
fn an_actor_that_is_found_by_its_name_can_be_written_to() {
    let tree = json!({"name": "top", "intensity": 1_000, "period": 3600, "children": [plain("a")]});
    let node = boot_tree(tree);
    for _ in 0..900 {
        let before = pid(&node, "a");
        // Written to as soon as it is found; an actor that is not there would be an error.
        crash(&node, "a");
        again(&node, "a", before);
    }
    assert_eq!(node.dead_letters(), 0);
}

#[test]
fn a_restart_whose_init_fails_is_tried_again_until_the_intensity_is_reached() {
    let tree =
        |child: Value| json!({"name": "top", "intensity": 3, "period": 3600, "children": [child]});
    let node = boot_tree(tree(plain("a")));
    let failing = worker("a", json!({}), json!([{"op": "error", "text": "no"}]));
    node.update_supervisors(&application("app", &[], tree(failing)))
        .unwrap();
    crash(&node, "a");
    until("the application ended", || {
        state(&node, "app") == ApplicationState::Ended
    });
    assert_eq!(
        node.modules()[0].restarts,
        3,
        "tried as often as the intensity allows"
    );
    assert_eq!(node.actor_count(), 1, "only the recorder is left");
}

#[test]
fn the_end_of_a_top_supervisor_ends_its_application_and_the_node_stays_up() {
    let node = boot_trees(vec![
        application(
            "other",
            &[],
            json!({"name": "other", "children": [plain("o")]}),
        ),
        application(
            "app",
            &[],
            json!({"name": "top", "intensity": 0, "children": [plain("a"), plain("b")]}),
        ),
    ]);
    let other = pid(&node, "o");
    crash(&node, "a");
    until("it has ended", || {
        state(&node, "app") == ApplicationState::Ended
    });
    assert_eq!((node.whereis("b"), pid(&node, "o")), (None, other));
    assert_eq!(node.which_children("top").unwrap_err().code(), "MF0340");
    node.start_application("app").unwrap();
    assert!(node.whereis("a").is_some(), "it can be started again");
}

#[test]
fn shutdown_lets_terminate_run_and_brutal_kill_does_not() {
    let words = json!([{"op": "trap_exit", "on": true}, {"op": "last_words", "to": "rec"}]);
    let node = boot_tree(json!({"name": "top", "children": [
        worker("kind", json!({}), words.clone()),
        worker("brutal", json!({"shutdown": "brutal_kill"}), words),
    ]}));
    let who = pids(&node, &["kind", "brutal"]);
    watch(&node, &who);
    node.stop_application("app").unwrap();
    assert_eq!(
        ended(&node),
        [
            (who[1], "killed".to_owned()),
            (who[0], "shutdown".to_owned())
        ]
    );
    assert_eq!(
        notes(&node),
        [json!({"terminated": "shutdown"}).to_string()]
    );
}

#[test]
fn a_child_that_does_not_end_within_its_shutdown_time_is_killed() {
    let node = boot_tree(
        json!({"name": "top", "children": [worker("a", json!({"shutdown": 30}), json!([]))]}),
    );
    let who = pid(&node, "a");
    watch(&node, &[who]);
    // Suspended, it takes no exit signal but kill.
    node.suspend(&ActorRef::Pid(who), SOON).unwrap();
    node.stop_application("app").unwrap();
    assert_eq!(ended(&node), [(who, "killed".to_owned())]);
}

#[test]
fn terminate_restart_and_delete_child_and_which_and_count_children() {
    let node = boot_tree(json!({"name": "top", "intensity": 0, "children": [
        plain("a"), worker("b", json!({"count": 2, "restart": "transient"}), json!([])),
        worker("t", json!({"restart": "temporary"}), json!([])),
        {"supervisor": {"name": "below", "children": [plain("c")]}},
    ]}));
    let children = node.which_children("top").unwrap();
    let names: Vec<_> = children
        .iter()
        .map(|c| (&*c.name, c.kind, c.live))
        .collect();
    let (w, s) = (ChildKind::Worker, ChildKind::Supervisor);
    assert_eq!(
        names,
        [
            ("a", w, true),
            ("b.1", w, true),
            ("b.2", w, true),
            ("t", w, true),
            ("below", s, true)
        ]
    );
    let counts = node.count_children("top").unwrap();
    assert_eq!(
        (
            counts.specs,
            counts.active,
            counts.supervisors,
            counts.workers
        ),
        (4, 5, 1, 4)
    );

    node.terminate_child("top", named("a")).unwrap();
    assert_eq!(
        node.whereis("a"),
        None,
        "it has ended when the call returns, and is not started again"
    );
    node.restart_child("top", named("a")).unwrap();
    assert!(node.whereis("a").is_some(), "it runs when the call returns");
    assert_eq!(
        node.restart_child("top", named("a")).unwrap_err().code(),
        "MF0342"
    );
    assert_eq!(
        node.delete_child("top", named("a")).unwrap_err().code(),
        "MF0342"
    );
    node.terminate_child("top", ChildRef::Pid(pid(&node, "a")))
        .unwrap();
    node.delete_child("top", named("a")).unwrap();
    assert_eq!(
        node.restart_child("top", named("a")).unwrap_err().code(),
        "MF0341"
    );

    node.terminate_child("top", named("t")).unwrap();
    assert_eq!(
        node.restart_child("top", named("t")).unwrap_err().code(),
        "MF0341",
        "a temporary child is forgotten"
    );
    node.terminate_child("top", named("below")).unwrap();
    assert_eq!(
        (node.whereis("c"), node.which_children("below").is_err()),
        (None, true)
    );
    node.restart_child("top", named("below")).unwrap();
    assert!(node.whereis("c").is_some());
    assert_eq!(
        node.terminate_child("nowhere", named("a"))
            .unwrap_err()
            .code(),
        "MF0340"
    );
}

#[test]
fn an_actor_may_stop_and_restart_children_of_its_own_application_only() {
    let node = boot_trees(vec![
        application(
            "app",
            &[],
            json!({"name": "top", "children": [plain("boss"), plain("a")]}),
        ),
        application(
            "other",
            &[],
            json!({"name": "other", "children": [plain("o")]}),
        ),
    ]);
    let (a, other) = (pid(&node, "a"), pid(&node, "o"));
    let order = |op: &str, supervisor: &str, child: &str| {
        tell(
            &node,
            "boss",
            json!({"op": op, "supervisor": supervisor, "child": child}),
        );
    };
    order("stop_child", "other", "o");
    order("stop_child", "top", "a");
    until("it ended", || node.whereis("a").is_none());
    order("restart_child", "top", "a");
    again(&node, "a", a);
    assert_eq!(pid(&node, "o"), other);
}

#[test]
fn an_actor_that_is_spawned_is_a_temporary_child_of_its_spawners_supervisor() {
    let node = boot_tree(
        json!({"name": "top", "strategy": "one_for_all", "children": [plain("boss"), plain("a")]}),
    );
    let spawned: Vec<u64> = (0..5)
        .map(|n| {
            ask(
                &node,
                "boss",
                json!({"op": "spawn", "module": "probe", "name": format!("s{n}")}),
            )["pid"]
                .as_u64()
                .unwrap()
        })
        .collect();
    let children = node.which_children("top").unwrap();
    let listed: Vec<_> = children
        .iter()
        .filter(|c| c.spawned)
        .map(|c| c.pid.unwrap())
        .collect();
    assert_eq!(listed, spawned);
    let before = pids(&node, &["boss", "a"]);
    crash(&node, "s2");
    until("it is no child", || {
        node.count_children("top").unwrap().active == 6
    });
    assert_eq!(
        pids(&node, &["boss", "a"]),
        before,
        "never started again, and nobody with it"
    );
    watch(&node, &spawned);
    node.terminate_child("top", ChildRef::Pid(spawned[0]))
        .unwrap();
    crash(&node, "a");
    again(&node, "boss", before[0]);
    until("all ends are heard", || ended(&node).len() == 5);
    let mut gone: Vec<_> = ended(&node)
        .into_iter()
        .skip(2)
        .map(|(pid, _)| pid)
        .collect();
    gone.sort();
    assert_eq!(
        gone,
        [spawned[1], spawned[3], spawned[4]],
        "ended with the others by one_for_all"
    );
    until("both run again", || {
        node.count_children("top").unwrap().active == 2
    });
}

#[test]
fn an_actor_spawned_under_a_supervisor_is_started_again_by_its_strategy() {
    let node = boot_tree(
        json!({"name": "top", "strategy": "rest_for_one", "intensity": 5, "spawned": "permanent", "children": [plain("boss")]}),
    );
    for name in ["x", "y"] {
        let args = json!({"ops": [{"op": "add", "n": 3}]});
        ask(
            &node,
            "boss",
            json!({"op": "spawn", "module": "probe", "under": "top", "name": name, "args": args}),
        );
    }
    until("both are children", || {
        node.count_children("top").unwrap().active == 3
    });
    let before = pids(&node, &["boss", "x", "y"]);
    end(&node, "x", "normal");
    again(&node, "x", before[1]);
    again(&node, "y", before[2]);
    assert_eq!(
        (pid(&node, "boss"), core(&node, "y")["total"].clone()),
        (before[0], json!(3))
    );
    node.terminate_child("top", named("y")).unwrap();
    assert_eq!(node.count_children("top").unwrap().specs, 2);
    let (boss, x) = (pid(&node, "boss"), pid(&node, "x"));
    crash(&node, "boss");
    again(&node, "boss", boss);
    again(&node, "x", x);
}

#[test]
fn a_supervisor_that_is_started_again_begins_with_its_specification() {
    let node = boot_tree(json!({"name": "top", "children": [
        {"supervisor": {"name": "below", "intensity": 0, "children": [plain("a"), plain("b")]}},
    ]}));
    node.terminate_child("below", named("b")).unwrap();
    node.delete_child("below", named("b")).unwrap();
    ask(
        &node,
        "a",
        json!({"op": "spawn", "module": "probe", "name": "s"}),
    );
    let a = pid(&node, "a");
    crash(&node, "a");
    again(&node, "a", a);
    until("it has both", || node.whereis("b").is_some());
    assert_eq!(node.whereis("s"), None, "what was spawned ended with it");
}

#[test]
fn applications_start_after_those_they_depend_on_and_stop_in_reverse_when_the_node_drains() {
    let (one, two) = (
        json!({"name": "one", "children": [worker("a", json!({}), up("a"))]}),
        json!({"name": "two", "children": [worker("b", json!({}), up("b"))]}),
    );
    let node = boot_trees(vec![
        application("one", &["two"], one),
        application("two", &["recorder"], two),
    ]);
    until("both are noted", || notes(&node).len() == 2);
    assert_eq!(
        notes(&node),
        ["b", "a"].map(|n| json!({"up": n}).to_string())
    );
    let names: Vec<_> = node.applications().into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["recorder", "two", "one"]);
    node.stop_application("one").unwrap();
    node.stop_application("two").unwrap();
    let error = node.start_application("one").unwrap_err();
    assert!(
        error.code() == "MF0344" && error.to_string().contains("two"),
        "{error}"
    );
    assert_eq!(
        node.start_application("recorder").unwrap_err().code(),
        "MF0344"
    );
    assert_eq!(node.start_application("none").unwrap_err().code(), "MF0343");
    node.start_application("two").unwrap();
    node.start_application("one").unwrap();
    assert!(node.drain(Duration::from_secs(20)));
    assert_eq!(node.actor_count(), 0);
}

#[test]
fn a_hundred_thousand_spawned_actors_are_children_and_end_with_their_supervisor() {
    let limits = midflight_runtime::Limits {
        hermetic: false,
        ..limits()
    };
    let bosses = worker("boss", json!({"count": 50}), json!([]));
    let supervisor = json!({"name": "top", "children": [bosses]});
    let (node, booted) = try_boot_trees(limits, vec![application("app", &[], supervisor)]);
    booted.unwrap();
    let hundred: Vec<Value> = (0..100)
        .map(|_| json!({"op": "spawn", "module": "probe"}))
        .collect();
    for n in 0..1_000 {
        ask(&node, &format!("boss.{}", n % 50 + 1), json!(hundred));
    }
    until("all live", || {
        node.count_children("top").unwrap().active == 100_050
    });
    node.stop_application("app").unwrap();
    assert_eq!(node.actor_count(), 1);
}
