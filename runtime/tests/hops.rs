//! Several hops are one transaction: states pass through every version in between, actors never do.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::Duration;

use common::*;
use midflight_patch::Update;
use midflight_runtime::{Node, OnDownFailure, Order, upgrade::Hop};

const BUDGET: Duration = Duration::from_secs(2);

fn state(node: &Node, who: &str) -> Value {
    serde_json::from_str(&node.get_state(&actor(who), SOON).unwrap()).unwrap()
}

/// 1.0.0 to 2.0.0 to 2.1.0 to 3.0.0, with these extras.
fn three_hops(node: &Node, extras: [Value; 3]) -> Order {
    let mut order = order(
        node,
        vec![change(
            "probe",
            "1.0.0",
            "3.0.0",
            "probe_v2",
            extras[2].clone(),
        )],
    );
    let (blob, _) = component("probe_v2");
    let hop = |to: &str, extra: &Value| Hop {
        vsn: vsn(to),
        blob,
        update: Update::Advanced,
        extra: extra.to_string().into_bytes(),
    };
    order.modules[0].hops = vec![hop("2.0.0", &extras[0]), hop("2.1.0", &extras[1])];
    order
}

/// Beyond 15; architecture.md: intermediate versions are transient and never occupy `old`.
#[test]
fn several_hops_are_one_upgrade_and_one_rollback_through_every_version_between() {
    let node = boot(&[part("probe", "probe_v1", 3)]);
    ask(&node, "probe.1", json!({"op": "add", "n": 5}));
    let empty = || [json!({}), json!({}), json!({})];
    let (prepared, report) = node
        .begin(three_hops(&node, empty()))
        .unwrap()
        .prepare()
        .unwrap();
    assert_eq!(report.actors, 3);
    ask(&node, "probe.2", json!({"op": "add", "n": 7}));
    let migrated = prepared
        .suspend()
        .unwrap()
        .load()
        .unwrap()
        .migrate()
        .unwrap();
    let (probation, resumed) = migrated.resume().unwrap();
    assert_eq!(resumed.migrated_in_pause, 1);
    let module = &node.modules()[0];
    assert_eq!(
        (&module.vsn, &module.old_vsn),
        (&vsn("3.0.0"), &Some(vsn("1.0.0")))
    );
    for (who, total) in [("probe.1", 5), ("probe.2", 7), ("probe.3", 0)] {
        let state = state(&node, who);
        assert_eq!(
            (
                &state["origin"],
                &state["upgrades"],
                &state["core"]["total"]
            ),
            (&json!("2.1.0"), &json!(3), &json!(total)),
            "{who}"
        );
    }
    ask(&node, "probe.1", json!({"op": "add", "n": 1}));
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!((report.pinned, report.migrated), (2, 1), "{report:?}");
    let all = ask(&node, "probe.1", json!({"op": "get"}));
    assert_eq!(
        (&all["code"], &all["core"]["total"]),
        (&json!("v1"), &json!(6))
    );
    let mut probation = upgrade(&node, three_hops(&node, empty())).unwrap();
    probation.confirm();
    probation.finish().map_err(|e| e.1).unwrap();
    let module = &node.modules()[0];
    assert_eq!((&module.vsn, &module.old_vsn), (&vsn("3.0.0"), &None));
}

#[test]
fn the_hop_that_fails_is_named_up_and_down() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    ask(&node, "probe.2", json!({"op": "flag", "on": true}));
    let failing = [json!({}), json!({"up": "error"}), json!({})];
    let error = upgrade(&node, three_hops(&node, failing))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.code(), "MF0308");
    let text = error.to_string();
    assert!(text.contains("probe.2"), "{text}");
    assert!(text.contains("hop 2.0.0 to 2.1.0: told to fail"), "{text}");
    let trapping = [json!({}), json!({}), json!({"up": "trap"})];
    let error = upgrade(&node, three_hops(&node, trapping))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("hop 2.1.0 to 3.0.0"), "{error}");
    let down = [json!({"down": "error"}), json!({}), json!({})];
    let probation = upgrade(&node, three_hops(&node, down)).unwrap();
    ask(&node, "probe.2", json!({"op": "add", "n": 1}));
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!(report.held.len(), 1);
    assert!(
        report.held[0].reason.contains("hop 2.0.0 back to 1.0.0"),
        "{}",
        report.held[0].reason
    );
    assert_eq!(node.status(&actor("probe.2"), SOON).unwrap().vsn, "3.0.0");
}

#[test]
fn what_waits_is_converted_and_what_is_redelivered_goes_through_every_hop() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    node.suspend(&actor("probe.2"), SOON).unwrap();
    let body = json!({"convert": "yes"});
    ask(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "body": body}),
    );
    let redeliver = json!({"up": "redeliver", "all": true});
    let extras = [redeliver, json!({}), json!({})];
    let _probation = upgrade(&node, three_hops(&node, extras)).unwrap();
    node.resume(&actor("probe.2"), SOON).unwrap();
    until("it arrives", || {
        ask(&node, "probe.2", json!({"op": "get"}))["core"]["notes"][0].is_string()
    });
    let core = &ask(&node, "probe.2", json!({"op": "get"}))["core"];
    let note = core["notes"][0].to_string();
    assert!(note.contains("up from 2.1.0"), "the last of three: {note}");
    assert_eq!(core["received"], json!([[0, 0]]), "redelivered once");
}
