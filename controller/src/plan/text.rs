//! The plan for people and for programs: a line a wave with its nodes folded, what it is compared with, the gates, the budget, and about
//! how long it takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use midflight_inventory::fold_to_string;
use midflight_patch::Manifest;
use serde_json::json;

use crate::engine::rollout::Wave;
use crate::output::count;
use crate::plan::{Plan, describe};
use crate::policy::{Policy, Span};

/// How long one node takes from stage to resume, for the estimate.
const NODE: Duration = Duration::from_secs(1);

impl Plan {
    /// The plan as text for people.
    #[must_use]
    pub fn text(&self, manifest: &Manifest, policy: &Policy) -> String {
        let changed = self.changed();
        let mut text = format!(
            "{}: {changed} of {} in {}\n",
            describe(manifest),
            count(self.targets.len() as u64, "node"),
            count(self.waves.len() as u64, "wave")
        );
        let mut so_far = 0;
        for (number, wave) in (1..).zip(&self.waves) {
            so_far += wave.nodes.len();
            let batches = match wave.batches.len() {
                0 => String::new(),
                1 => ", 1 batch in lockstep".to_owned(),
                more => format!(", {more} batches in lockstep"),
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  wave {number}: {} ({so_far} of {changed}){batches}, bake {}: {}",
                count(wave.nodes.len() as u64, "node"),
                span(wave.bake),
                self.fold(&wave.nodes)
            );
            self.say_zones(&mut text, wave);
            if !wave.control.is_empty() {
                let _ = writeln!(
                    text,
                    "    compared with {}: {}",
                    count(wave.control.len() as u64, "node"),
                    self.fold(&wave.control)
                );
            } else if policy.needs_control() {
                text.push_str("    compared with its own nodes before the patch\n");
            }
        }
        if !self.current.is_empty() {
            let _ = writeln!(
                text,
                "  already current: {}: {}",
                count(self.current.len() as u64, "node"),
                self.fold(&self.current)
            );
        }
        if !self.unreachable.is_empty() {
            let nodes: Vec<usize> = self.unreachable.iter().map(|(node, _)| *node).collect();
            let _ = writeln!(
                text,
                "  unreachable: {}: {}",
                count(nodes.len() as u64, "node"),
                self.fold(&nodes)
            );
        }
        let gates: Vec<String> = policy.gates.iter().map(ToString::to_string).collect();
        let gates = match gates.is_empty() {
            true => "none".to_owned(),
            false => gates.join(", "),
        };
        let _ = writeln!(text, "  gate after each wave: {gates}");
        let budget = &policy.failure_budget;
        // See `plan`.
        let max = budget.max.at_most(changed as u32);
        let _ = writeln!(
            text,
            "  failure budget: {} once {} have finished, none before",
            count(max, "node"),
            budget.min_sample,
        );
        let _ = writeln!(
            text,
            "  about {}, at {} a node; policy {}",
            span(self.estimate(policy)),
            span(NODE),
            policy.digest().short()
        );
        text
    }

    /// The same as a JSON object; `patch` is the patch's digest.
    #[must_use]
    pub fn json(&self, manifest: &Manifest, policy: &Policy, patch: &str) -> serde_json::Value {
        let name = |node: &usize| self.targets[*node].name.as_str();
        let names = |nodes: &[usize]| nodes.iter().map(name).collect::<Vec<_>>();
        let wave = |wave: &Wave| {
            json!({
                "nodes": names(&wave.nodes),
                "bake_ms": millis(wave.bake),
                "batches": wave.batches,
                "zones": self.count_zones(wave),
                "control": names(&wave.control),
            })
        };
        let unreachable = |(node, cause): &(usize, _)| json!({"node": name(node), "cause": cause});
        let budget = &policy.failure_budget;
        json!({
            "name": manifest.name,
            "from": manifest.from,
            "to": manifest.to,
            "patch": patch,
            "policy": policy.digest().to_string(),
            "waves": self.waves.iter().map(wave).collect::<Vec<_>>(),
            "gates": policy.gates,
            // See `plan`.
            "budget": {"max": budget.max.at_most(self.changed() as u32), "min_sample": budget.min_sample},
            "estimate_ms": millis(self.estimate(policy)),
            "already_current": names(&self.current),
            "unreachable": self.unreachable.iter().map(unreachable).collect::<Vec<_>>(),
        })
    }

    fn changed(&self) -> usize {
        self.waves.iter().map(|wave| wave.nodes.len()).sum()
    }

    fn fold(&self, nodes: &[usize]) -> String {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        fold_to_string(nodes.iter().map(|node| &self.targets[*node].name))
    }

    /// How many nodes of a wave are in each zone; those without a zone are left out.
    fn count_zones(&self, wave: &Wave) -> BTreeMap<&str, usize> {
        let mut zones = BTreeMap::new();
        for zone in wave
            .nodes
            .iter()
            .filter_map(|node| self.zones[*node].as_deref())
        {
            *zones.entry(zone).or_default() += 1;
        }
        zones
    }

    fn say_zones(&self, text: &mut String, wave: &Wave) {
        let zones = self.count_zones(wave);
        if zones.is_empty() {
            return;
        }
        let zones: Vec<String> = zones
            .iter()
            .map(|(zone, nodes)| format!("{zone} {nodes}"))
            .collect();
        let _ = writeln!(text, "    zones: {}", zones.join(", "));
    }

    /// Bakes, and rounds of nodes as the budget lets them be in flight, when nothing fails.
    fn estimate(&self, policy: &Policy) -> Duration {
        let mut time = Duration::ZERO;
        let mut healthy = 0;
        for wave in &self.waves {
            let mut left = wave.nodes.len();
            while left > 0 {
                let sample = policy.failure_budget.min_sample.max(1) as usize;
                let round = sample
                    .max(healthy * 2)
                    .min(policy.concurrency.max(1) as usize)
                    .min(left);
                (left, healthy) = (left - round, healthy + round);
                time = time.saturating_add(NODE);
            }
            time = time.saturating_add(wave.bake);
        }
        time
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// In the units of a policy.
fn span(time: Duration) -> Span {
    Span::from_millis(millis(time))
}
