//! The first facts of a rollout: its plan, as everything that comes later reads it, and the nodes that the plan settled.

use crate::engine::event::{Fact, Owner, Place, Planned};
use crate::engine::payload::Payload;
use crate::engine::words::Outcome;
use crate::plan::Plan;
use crate::policy::Policy;

/// What a rollout begins with.
#[derive(Debug)]
pub struct Begin<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The patch.
    pub payload: &'a Payload,
    /// How the rollout proceeds.
    pub policy: &'a Policy,
    /// Which nodes were asked for.
    pub pattern: &'a str,
    /// The process that runs it.
    pub owner: Owner,
    /// Stage and prepare alone.
    pub prepare_only: bool,
    /// The rollout whose nodes it may take over; empty: none.
    pub supersedes: &'a str,
    /// Under which digests the journal keeps the patch's bundle, and those of the patches on the way.
    pub bundles: &'a [midflight_patch::Digest],
}

impl Begin<'_> {
    /// The facts, in order.
    #[must_use]
    pub fn facts(self) -> Vec<Fact> {
        let Self {
            plan,
            policy,
            payload,
            ..
        } = self;
        let manifest = &payload.manifest;
        let name = |node: usize| plan.targets[node].name.clone();
        let names = |nodes: &[usize]| nodes.iter().map(|node| name(*node)).collect();
        let waves = plan.waves.iter();
        let sizes = |batches: &Vec<usize>| batches.iter().map(|nodes| *nodes as u32).collect();
        let batched = plan.waves.iter().any(|wave| !wave.batches.is_empty());
        let from = manifest.from.as_ref();
        let planned = Planned {
            name: manifest.name.clone(),
            from: from.map(ToString::to_string).unwrap_or_default(),
            to: manifest.to.to_string(),
            patch: payload.digest.clone(),
            through: payload
                .through
                .iter()
                .map(|patch| patch.digest.clone())
                .collect(),
            bundles: self.bundles.iter().map(ToString::to_string).collect(),
            policy: policy.digest().to_string(),
            pattern: self.pattern.to_owned(),
            on_down_failure: policy.on_down_failure.as_str().to_owned(),
            owner: self.owner,
            bakes_ms: waves.clone().map(|wave| millis(wave.bake)).collect(),
            // A plan's nodes fit 32 bits.
            batches: match batched {
                true => waves.clone().map(|wave| sizes(&wave.batches)).collect(),
                false => Vec::new(),
            },
            controls: match plan.waves.iter().any(|wave| !wave.control.is_empty()) {
                true => waves.clone().map(|wave| names(&wave.control)).collect(),
                false => Vec::new(),
            },
            waves: waves.map(|wave| names(&wave.nodes)).collect(),
            prepare_only: self.prepare_only,
            supersedes: self.supersedes.to_owned(),
            gate_ms: millis(policy.timeouts.gate.get()),
            rollback_until_ms: millis(policy.rollback_until.get()),
            nodes: plan.targets.iter().map(Place::from).collect(),
        };
        let settled = |node, outcome, cause| Fact::Node {
            node: name(node),
            outcome,
            pause_us: None,
            steps: Vec::new(),
            cause,
            rollback: None,
        };
        let mut facts = vec![Fact::Planned(Box::new(planned))];
        for node in &plan.current {
            facts.push(settled(*node, Outcome::AlreadyCurrent, None));
        }
        for (node, cause) in &plan.unreachable {
            facts.push(settled(*node, Outcome::Unreachable, Some(cause.clone())));
        }
        facts
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
