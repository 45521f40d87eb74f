//! Fleets in which something is wrong: a halt while everything is in flight, and nodes that are silent or slow.

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use midflight_tests::{figures::Figures, process::measure};

use crate::{Result, healthy::good, sim::Sim};

/// Everything is under way for seconds, one of twenty nodes hangs, and enough fail to end the rollout.
const STALLED: &str = "zones:
- {name: a, upgrade: {takes: 3s..20s, fails: 20%, stalls: 5%}, stall: 30s}
";
/// All nodes in flight at a time.
const ALL_AT_ONCE: &str = "waves: [100%]
bake: 0s
concurrency: 10000
failure_budget: {max: 1%, min_sample: 10000, unreachable: 10%}
timeouts: {connect: 30s, gate: 60s}
gates: [{traps: 0}]
";
/// Contiguous nodes of one zone behind a wall, and nodes that take their time.
const FAULTY: &str = "zones:
- {name: dark, share: 5%, silent: 100%}
- {name: slow, share: 5%, latency: 20ms, stage: {takes: 200ms..500ms}, upgrade: {takes: 100ms..1s}}
- {name: good}
";

/// Both, on fleets of this size.
pub(crate) fn run(n: u64, figures: &mut Figures) -> Result<()> {
    halt(n, figures)?;
    faulty(n, figures)
}

/// How long after the decision to halt the last node that had not resumed was told.
fn halt(n: u64, figures: &mut Figures) -> Result<()> {
    let sim = Sim::start(n, STALLED)?;
    fs::write(sim.folder().join("all.yaml"), ALL_AT_ONCE)?;
    let mut apply = sim.apply("patch-2.bundle", "all.yaml")?;
    measure(&mut apply)?;
    let out = fs::read_to_string(sim.folder().join("out.json"))?;
    let events = out
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let halted = events
        .filter(|event| event["event"] == "state" && event["state"] == "rolling_back")
        .find_map(|event| event["time_ms"].as_u64())
        .ok_or_else(|| format!("the rollout was not halted: {}", sim.said()))?;
    // The last that each node was told, or did by itself, before it stood still.
    let mut told = BTreeMap::new();
    let (mut late, mut resumed_late) = (0, 0);
    for line in sim.end()?.lines() {
        let event: Value = serde_json::from_str(line)?;
        let (node, text) = (
            event["node"].to_string(),
            event["text"].as_str().unwrap_or_default(),
        );
        let at = event["clock_ns"].as_u64().unwrap_or(0) / 1_000_000;
        let after = at.saturating_sub(halted);
        if text.starts_with("aborting") || text.ends_with(" aborted") {
            told.entry(node).or_insert(after);
        } else if text == "staged" || text.starts_with("prepare started") {
            late = late.max(after);
        } else if text == "resume done" {
            resumed_late = resumed_late.max(after);
        }
    }
    let worst = told
        .values()
        .max()
        .copied()
        .ok_or("no node was told to abort")?;
    eprintln!(
        "# halt: {} nodes aborted, the last order of an upgrade began {late} ms after the halt, the last resume was {resumed_late} ms after it",
        told.len()
    );
    figures.add("halt_latency", "midflight", n, (worst as f64, "ms"));
    Ok(())
}

/// The whole rollout, over that of a healthy fleet.
fn faulty(n: u64, figures: &mut Figures) -> Result<()> {
    let sim = Sim::start(n, FAULTY)?;
    let measured = measure(&mut sim.apply("patch-2.bundle", "policy.yaml")?)?;
    // 7: succeeded within the budget, and not every node is confirmed.
    if measured.status.code() != Some(7) {
        good(&sim, measured)?;
    }
    let wall = measured.wall.as_secs_f64();
    figures.add("fanout_faulty", "midflight", n, (wall, "s"));
    let rate = figures.value("fanout_rate", "midflight", n);
    if let Some(rate) = rate {
        // The connect timeout of the policy is not counted.
        let share = (wall - 5.0) / (n as f64 / rate);
        figures.add(
            "fanout_faulty_share",
            "midflight",
            n,
            (share, "of the healthy time"),
        );
    }
    Ok(())
}
