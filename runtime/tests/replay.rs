//! What a handler learns from the host comes through one recorded door, so a run can be replayed from its record: module
//! digest, state, events, answers.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use midflight_runtime::{Limits, Node, Outcome, Record, Replayer};

const RUNS: usize = 10_000;

fn replayer(limits: Limits) -> Replayer {
    Replayer::new(limits, Some(code_cache())).unwrap()
}

/// xorshift64*: the same programs each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn probe(&mut self) -> String {
        format!("probe.{}", 1 + self.below(4))
    }

    fn op(&mut self, depth: u64) -> Value {
        let n = self.below(1_000);
        match self.below(if depth > 0 { 18 } else { 12 }) {
            0 => json!({"op": "add", "n": n}),
            1 => json!({"op": "random"}),
            2 => json!({"op": "now"}),
            3 => json!({"op": "whereis", "name": self.probe()}),
            4 => json!({"op": "join", "group": format!("g{}", n % 3)}),
            5 => json!({"op": "leave", "group": format!("g{}", n % 3)}),
            6 => json!({"op": "members", "group": format!("g{}", n % 3)}),
            7 => json!({"op": "log", "n": n % 5, "text": "line"}),
            8 => json!({"op": "grow", "bytes": n * 8}),
            9 => json!({"seq": n}),
            10 => json!({"op": "flag", "on": n.is_multiple_of(2)}),
            11 => json!({"op": "echo"}),
            12 => {
                json!({"op": "cast", "to": self.probe(), "times": n % 9, "body": self.op(depth - 1)})
            }
            13 => json!({"op": "send", "to": self.probe(), "body": self.op(depth - 1)}),
            14 => json!({"op": "ask", "to": self.probe(), "body": {"op": "now"}}),
            15 => json!({"op": "timer", "after_ms": n % 5, "body": self.op(depth - 1)}),
            16 => {
                let mut ops: Vec<Value> = (0..n % 4).map(|_| self.op(depth - 1)).collect();
                ops.push(
                    json!({"op": "timer", "after_ms": 5, "body": {"op": "stop", "reason": "done"}}),
                );
                json!({"op": "spawn", "module": "probe", "args": {"ops": ops}})
            }
            // A child that fails, in init or at its second event.
            _ => {
                let end = match n % 3 {
                    0 => json!({"op": "trap"}),
                    1 => json!({"op": "error_after"}),
                    _ => json!({"op": "stop", "reason": "done"}),
                };
                let name = format!("child{n}");
                if n.is_multiple_of(2) {
                    json!({"op": "spawn", "module": "probe", "args": {"ops": [end]}})
                } else {
                    json!([{"op": "spawn", "module": "probe", "name": name},
                        {"op": "cast", "to": name, "body": self.op(depth - 1)},
                        {"op": "cast", "to": name, "body": end}])
                }
            }
        }
    }
}

fn some_runs(node: &Node, random: &mut Random) -> Vec<Record> {
    node.record(None, RUNS).unwrap();
    for _ in 0..500 {
        let ops: Vec<Value> = (0..1 + random.below(4)).map(|_| random.op(2)).collect();
        // One that is an array already is a message of its own.
        let (programs, ops): (Vec<_>, Vec<_>) = ops.into_iter().partition(Value::is_array);
        tell(node, &random.probe(), Value::Array(ops));
        programs
            .into_iter()
            .for_each(|p| tell(node, &random.probe(), p));
    }
    ask(node, "probe.1", json!({"op": "add", "n": 0}));
    node.recorded()
}

#[test]
fn ten_thousand_random_runs_replay_to_the_same_state_and_effects_on_another_node() {
    let limits = Limits {
        hermetic: false,
        state_bytes: 1 << 20,
        ..limits()
    };
    let node = boot_with(limits.clone(), &[part("probe", "probe_v1", 4)]);
    let (_, component) = component("probe_v1");
    let replayer = replayer(limits);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut runs, mut failed) = (0, 0);
    while runs < RUNS {
        for record in some_runs(&node, &mut random) {
            let record = Record::from_bytes(&record.to_bytes()).unwrap();
            assert_eq!(
                replayer.replay(&component, &record).unwrap(),
                record.outcome
            );
            runs += 1;
            failed += usize::from(!matches!(record.outcome, Outcome::Done(_)));
        }
    }
    assert!(failed > 50, "only {failed} of them failed");
}

#[test]
fn a_crash_is_a_record_that_fails_again_anywhere_and_outlives_its_actor() {
    let node = boot(&[part("probe", "probe_v1", 2)]);
    let (_, component) = component("probe_v1");
    tell(&node, "probe.1", json!({"op": "add", "n": 7}));
    tell(
        &node,
        "probe.1",
        json!([{"op": "whereis", "name": "probe.2"}, {"op": "trap"}]),
    );
    until("it is gone", || node.whereis("probe.1").is_none());
    let error = try_ask(&node, "probe.2", json!({"op": "error", "text": "no more"}));
    assert!(error.is_err());
    let crashes = node.crashes();
    let names: Vec<&str> = crashes.iter().map(|c| c.actor.as_str()).collect();
    assert_eq!(names, ["probe.1", "probe.2"]);
    let replayer = replayer(limits());
    for crash in &crashes {
        let outcome = replayer.replay(&component, &crash.record).unwrap();
        assert_eq!(outcome, crash.record.outcome);
    }
    assert!(crashes[0].reason.contains("told to trap"));
    assert!(
        matches!(&crashes[0].record.outcome, Outcome::Trap(reason) if *reason == crashes[0].reason)
    );
}

#[test]
fn a_record_of_another_component_and_bytes_that_are_none_are_refused() {
    let node = boot(&[part("probe", "probe_v1", 1)]);
    tell(&node, "probe", json!({"op": "trap"}));
    until("it is gone", || node.whereis("probe").is_none());
    let record = node.crashes()[0].record.clone();
    let replayer = replayer(limits());
    let error = replayer.replay(&component("probe_v2").1, &record);
    assert_eq!(error.unwrap_err().code(), "MF0330");
    let bytes = record.to_bytes();
    for cut in 0..bytes.len() {
        assert!(Record::from_bytes(&bytes[..cut]).is_err());
    }
}

#[test]
fn only_the_last_failures_of_a_module_are_kept_and_sampling_ends_by_itself() {
    let node = boot(&[part("probe", "probe_v1", 8)]);
    for n in 1..=6 {
        tell(&node, &format!("probe.{n}"), json!({"op": "trap"}));
        until("it is gone", || {
            node.whereis(&format!("probe.{n}")).is_none()
        });
    }
    let kept: Vec<String> = node.crashes().into_iter().map(|c| c.actor).collect();
    assert_eq!(kept, ["probe.3", "probe.4", "probe.5", "probe.6"]);

    node.record(Some(&actor("probe.7")), 2).unwrap();
    for who in ["probe.7", "probe.8", "probe.7", "probe.7"] {
        ask(&node, who, json!({"op": "add", "n": 1}));
    }
    assert_eq!(node.recorded().len(), 2);
    ask(&node, "probe.7", json!({"op": "add", "n": 1}));
    assert!(node.recorded().is_empty());
}
