//! Starting a release, and starting its actors again.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use midflight_patch::{Digest, Restart};
use midflight_runtime::{Config, Node};

#[test]
fn a_permanent_actor_is_started_again_under_its_name_and_counted() {
    let node = boot(&[Part {
        restart: Restart::Permanent,
        ..part("probe", "probe_v1", 1)
    }]);
    ask(&node, "probe", json!({"op": "add", "n": 5}));
    let before = node.whereis("probe");
    assert!(try_ask(&node, "probe", json!({"op": "trap"})).is_err());
    until("it lives again", || {
        node.whereis("probe").is_some_and(|pid| Some(pid) != before)
    });
    assert_eq!(
        ask(&node, "probe", json!({"op": "add", "n": 1})),
        json!({"total": 1}),
        "with a fresh state"
    );
    let modules = node.modules();
    assert_eq!((modules[0].restarts, modules[0].traps), (1, 1));
}

#[test]
fn transient_and_temporary_actors_end_as_their_names_say() {
    for (restart, reason, again) in [
        (Restart::Transient, "normal", false),
        (Restart::Transient, "broken", true),
        (Restart::Temporary, "broken", false),
        (Restart::Permanent, "normal", true),
    ] {
        let node = boot(&[Part {
            restart,
            ..part("probe", "probe_v1", 1)
        }]);
        let before = node.whereis("probe");
        tell(&node, "probe", json!({"op": "stop", "reason": reason}));
        until("it ended", || node.whereis("probe") != before);
        if again {
            until("it lives again", || node.whereis("probe").is_some());
        } else {
            assert_eq!(
                (node.whereis("probe"), node.actor_count()),
                (None, 0),
                "{restart:?} {reason}"
            );
        }
    }
}

#[test]
fn an_actor_that_ends_too_often_stays_ended() {
    let node = boot(&[Part {
        restart: Restart::Permanent,
        ..part("probe", "probe_v1", 1)
    }]);
    for _ in 0..4 {
        until("it lives", || node.whereis("probe").is_some());
        let before = node.whereis("probe");
        tell(&node, "probe", json!({"op": "trap"}));
        until("it ended", || node.whereis("probe") != before);
    }
    until("nobody is left", || node.actor_count() == 0);
    assert_eq!(node.modules()[0].restarts, 3);
}

#[test]
fn a_release_whose_actor_does_not_start_is_refused_with_its_name() {
    let failing = Part {
        args: json!({"ops": [{"op": "error", "text": "no license"}]}),
        ..part("probe", "probe_v1", 3)
    };
    let error = try_boot(limits(), &[failing]).map(drop).unwrap_err();
    assert_eq!(error.code(), "MF0303");
    assert!(
        error.to_string().contains("probe.") && error.to_string().contains("no license"),
        "{error}"
    );
}

#[test]
fn what_is_no_component_of_the_contract_is_refused() {
    let node = Node::start(Config {
        limits: limits(),
        cache: None,
        address: [127, 0, 0, 1].into(),
    })
    .unwrap();
    for bytes in [
        b"rubbish".as_slice(),
        b"\0asm\x01\0\0\0",
        b"\0asm\x0d\0\x01\0",
    ] {
        let error = node
            .stage(&name("odd"), &Digest::of(bytes), bytes)
            .unwrap_err();
        assert_eq!(error.code(), "MF0301");
        assert!(error.to_string().contains("odd"), "{error}");
    }
}

#[test]
fn limits_out_of_range_are_refused_by_name() {
    let limits = midflight_runtime::Limits {
        handler_ms: 0,
        ..limits()
    };
    let error = Node::start(Config {
        limits,
        cache: None,
        address: [127, 0, 0, 1].into(),
    })
    .map(drop)
    .unwrap_err();
    assert!(error.to_string().contains("limits.handler_ms"), "{error}");
}
