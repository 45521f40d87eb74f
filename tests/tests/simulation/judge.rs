//! What can be judged once a rollout is over and its network has healed: does the report say what is true, is any node
//! forgotten, was the budget kept, did a phase run twice, did an order of an earlier process count.

use std::collections::{BTreeMap, BTreeSet};

use midflight_controller::engine::control::{Request, Verb};
use midflight_controller::engine::event::{Event, Fact};
use midflight_controller::engine::gate::Verdict;
use midflight_controller::engine::view::View;
use midflight_controller::engine::words::{Barrier, Outcome, Phase, RolloutState, WaveStage};
use midflight_controller::policy::Policy;
use midflight_proto::agent::v1 as pb;
use serde_json::Value;

use crate::truth::key_of;

/// What the nodes' truth is compared with: the reports, node by node. The second rollout, where there is one, leads from whatever
/// runs to 3.
pub fn report(view: &View, second: Option<&View>, nodes: &[pb::DescribeResponse]) -> Vec<String> {
    let mut broken = Vec::new();
    let second = |name: &str| {
        let node = second?.nodes.iter().find(|node| node.name == name);
        node.map(|node| node.outcome)
    };
    let vsn =
        |release: &Option<pb::Release>| release.as_ref().map(|r| r.vsn.clone()).unwrap_or_default();
    for node in &view.nodes {
        let Some(told) = nodes.iter().find(|told| told.node == node.name) else {
            broken.push(format!("{} is in no answer", node.name));
            continue;
        };
        let (runs, permanent) = (vsn(&told.current), vsn(&told.permanent));
        let is = |wanted: &str| runs == wanted && permanent == wanted;
        let later = second(&node.name);
        let fits = match (later, node.outcome) {
            (Some(Outcome::Confirmed | Outcome::AlreadyCurrent), _) => {
                if !is("3") {
                    let name = &node.name;
                    broken.push(format!("{name} is confirmed in the second rollout; it runs {runs}, and {permanent} is permanent"));
                }
                continue;
            }
            (Some(Outcome::Unknown | Outcome::RollbackFailed | Outcome::Held), _) => continue,
            (_, outcome) => fits(outcome, is),
        };
        if !fits {
            let (name, outcome) = (&node.name, node.outcome);
            broken.push(format!(
                "{name} is reported {outcome}; it runs {runs}, and {permanent} is permanent"
            ));
        }
        let went_back =
            view.state == RolloutState::RolledBack && node.outcome != Outcome::AlreadyCurrent;
        if went_back && !is("1") {
            broken.push(format!("{} runs {runs} ({permanent} is permanent) after a rollback that is told to be complete", node.name));
        }
        if view.state == RolloutState::Succeeded && node.outcome == Outcome::Pending {
            broken.push(format!("{} is forgotten", node.name));
        }
    }
    broken
}

/// Whether a node may run what it does, as the first rollout reports it.
fn fits(outcome: Outcome, is: impl Fn(&str) -> bool) -> bool {
    match outcome {
        Outcome::Confirmed | Outcome::AlreadyCurrent => is("2"),
        Outcome::RolledBack
        | Outcome::Untouched
        | Outcome::Refused
        | Outcome::Unreachable
        | Outcome::Prepared
        | Outcome::Pending => is("1"),
        // The second took it over, and did not change it in the end.
        Outcome::Superseded => is("1") || is("2"),
        Outcome::Unknown | Outcome::RollbackFailed | Outcome::Held => true,
        _ => false,
    }
}

/// What the events must be like, whatever happened.
pub fn events(events: &[Event], policy: &Policy, done: &[Request]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut asked = events.iter().filter_map(|event| match &event.fact {
        Fact::Control {
            request,
            refused: None,
        } => Some(request),
        _ => None,
    });
    for request in done {
        if !asked.any(|recorded| recorded == request) {
            broken.push(format!(
                "{:?} was answered with done, and is not in the journal",
                request.verb
            ));
        }
    }
    budget(events, policy, &mut broken);
    gates(events, &mut broken);
    rollbacks(events, &mut broken);
    broken
}

/// Of every node that runs the new code, or may, when a rollout begins to go back, it says in the end what became of it.
fn rollbacks(events: &[Event], broken: &mut Vec<String>) {
    let mut outcomes: BTreeMap<&str, Outcome> = BTreeMap::new();
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for Event { seq, fact, .. } in events {
        match fact {
            Fact::Node { node, outcome, .. } => {
                outcomes.insert(node, *outcome);
                open.remove(node.as_str());
            }
            Fact::State {
                state: RolloutState::RollingBack,
                ..
            } => {
                let may_run = |outcome: &Outcome| {
                    matches!(
                        outcome,
                        Outcome::InProbation | Outcome::Confirmed | Outcome::Unknown
                    )
                };
                let nodes = outcomes.iter().filter(|(_, outcome)| may_run(outcome));
                open.extend(nodes.map(|(node, _)| *node));
            }
            Fact::State { state, .. } if state.is_final() && !open.is_empty() => {
                broken.push(format!("event {seq} ends a rollback that forgot {open:?}"));
            }
            _ => {}
        }
    }
}

/// No node is started after more failed than may, nor more at a time than may.
fn budget(events: &[Event], policy: &Policy, broken: &mut Vec<String>) {
    let (mut finished, mut failed, mut healthy) = (0u32, BTreeSet::new(), BTreeSet::new());
    let mut flying: BTreeSet<String> = BTreeSet::new();
    let (mut most, mut sampled, mut forward) = (0, false, true);
    // Nodes that were away, whose failure counts for nobody else.
    let mut late: BTreeSet<String> = BTreeSet::new();
    let sample = policy.failure_budget.min_sample;
    let (mut names, mut waves, mut batches) = (Vec::new(), Vec::<Vec<String>>::new(), Vec::new());
    // What nodes that are put back come to says nothing about the patch.
    let mut back: BTreeSet<String> = BTreeSet::new();
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    for Event { seq, fact, .. } in events {
        match fact {
            Fact::Planned(planned) => {
                names = planned.nodes.iter().map(|node| node.name.clone()).collect();
                (waves, batches) = (planned.waves.clone(), planned.batches.clone());
                let nodes = waves.iter().map(Vec::len).sum::<usize>();
                most = policy.failure_budget.max.at_most(nodes as u32) as usize;
            }
            Fact::State { state, .. } => {
                forward &= !state.is_final() && *state != RolloutState::RollingBack;
            }
            Fact::Control {
                request,
                refused: None,
            } => {
                match &request.verb {
                    Verb::Abort { .. } => forward = false,
                    // A person has looked at what failed, and has it tried again.
                    Verb::RetryFailed => {
                        let is_retried =
                            |node: &&String| outcomes.get(*node).is_some_and(|is| is.is_retried());
                        let again: Vec<String> = names.iter().filter(is_retried).cloned().collect();
                        if !batches.is_empty() {
                            batches.push(vec![again.len() as u32]);
                        }
                        outcomes.retain(|node, _| !again.contains(node));
                        late.clear();
                        waves.push(again);
                        finished = finished.saturating_sub(failed.len() as u32);
                        failed.clear();
                        forward = true;
                    }
                    Verb::Converge { nodes } => {
                        let is_away = |node: &&String| {
                            nodes.contains(node)
                                && outcomes.get(*node).is_some_and(|is| is.is_away())
                        };
                        let again: Vec<String> = names.iter().filter(is_away).cloned().collect();
                        if !batches.is_empty() {
                            batches.push(vec![1; again.len()]);
                        }
                        outcomes.retain(|node, _| !again.contains(node));
                        failed.retain(|node| !again.contains(node));
                        late.extend(again.iter().cloned());
                        waves.push(again);
                        forward = true;
                    }
                    _ => {}
                }
            }
            Fact::Ask {
                node,
                phase: Phase::Upgrade,
                ..
            } => {
                // What is in flight already comes to its end, with another attempt when its controller had died.
                if !flying.insert(node.clone()) {
                    continue;
                }
                let allowed = if sampled { most } else { 0 };
                if failed.len() > allowed {
                    broken.push(format!("event {seq} starts {node} after {} of {finished} failed, and {allowed} may", failed.len()));
                }
                if !batches.is_empty() {
                    continue;
                }
                let may_fly = policy.concurrency.min(sample.max(2 * healthy.len() as u32)) as usize;
                if flying.len() > may_fly {
                    broken.push(format!(
                        "event {seq} starts {node}: {} are in flight, and {may_fly} may be",
                        flying.len()
                    ));
                }
            }
            Fact::Ask {
                node,
                phase: Phase::Rollback,
                ..
            } => {
                flying.remove(node);
                back.insert(node.clone());
            }
            Fact::Batch {
                wave,
                batch,
                barrier,
                ..
            } => {
                let (sizes, batch) = (&batches[*wave as usize - 1], *batch as usize - 1);
                let before = sizes[..batch].iter().sum::<u32>() as usize;
                let nodes = waves[*wave as usize - 1].iter().skip(before);
                let nodes: Vec<&String> = nodes.take(sizes[batch] as usize).collect();
                match barrier {
                    Barrier::Prepare => {
                        let allowed = if sampled { most } else { 0 };
                        if failed.len() > allowed {
                            broken.push(format!("event {seq} starts a batch after {} of {finished} failed, and {allowed} may", failed.len()));
                        }
                        flying.extend(nodes.into_iter().cloned());
                    }
                    Barrier::Aborted => {
                        let changed = nodes.into_iter().filter(|node| healthy.contains(*node));
                        back.extend(changed.cloned());
                    }
                    _ => {}
                }
            }
            Fact::Node {
                node,
                outcome,
                cause,
                ..
            } => {
                outcomes.insert(node.clone(), *outcome);
                if back.remove(node) {
                    continue;
                }
                let first = flying.remove(node);
                let cancelled = cause.as_ref().is_some_and(|cause| cause.code == "MF0527");
                match outcome {
                    Outcome::AlreadyCurrent | Outcome::Confirmed if first => {
                        finished += 1;
                        healthy.insert(node.clone());
                    }
                    Outcome::InProbation if cause.is_none() => {
                        finished += u32::from(first);
                        healthy.insert(node.clone());
                    }
                    Outcome::Untouched
                    | Outcome::Refused
                    | Outcome::Unknown
                    | Outcome::RolledBack
                    | Outcome::RollbackFailed
                        if forward && !cancelled && (first || healthy.contains(node)) =>
                    {
                        finished += u32::from(first);
                        healthy.remove(node);
                        if !late.contains(node) {
                            failed.insert(node.clone());
                        }
                    }
                    Outcome::InProbation if forward => {
                        finished += u32::from(first);
                        if !late.contains(node) {
                            failed.insert(node.clone());
                        }
                    }
                    _ => {}
                }
                sampled |= finished >= sample;
            }
            _ => {}
        }
    }
}

/// After a gate tripped, nobody of its wave confirms unless the gate passed later.
fn gates(events: &[Event], broken: &mut Vec<String>) {
    let mut tripped = None;
    for Event { seq, fact, .. } in events {
        match fact {
            Fact::Gate { wave, verdict, .. } => {
                tripped = matches!(verdict, Verdict::Trip(_)).then_some(*wave);
            }
            Fact::Wave {
                wave,
                stage: WaveStage::Confirming,
                ..
            } if tripped == Some(*wave) => {
                broken.push(format!(
                    "event {seq} confirms wave {wave}, whose gate tripped"
                ));
            }
            _ => {}
        }
    }
}

/// Of code that is worse than the old on every node: nobody confirms it, but at the word of a person.
pub fn bad_code(events: &[Event]) -> Vec<String> {
    let mut broken = Vec::new();
    for Event { seq, fact, .. } in events {
        match fact {
            Fact::Control {
                request,
                refused: None,
            } if matches!(
                request.verb,
                Verb::Abort { keep: true }
                    | Verb::Promote {
                        accept_inconclusive: Some(_)
                    }
            ) =>
            {
                return broken;
            }
            Fact::Node {
                node,
                outcome: Outcome::Confirmed,
                ..
            } => broken.push(format!("event {seq} confirms {node}, whose new code fails")),
            _ => {}
        }
    }
    broken
}

/// What a node's journal must be like, whatever happened.
pub fn journal(node: &str, bytes: &[u8]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut once: BTreeSet<(String, String)> = BTreeSet::new();
    let mut epochs: BTreeMap<String, u64> = BTreeMap::new();
    let mut opened: BTreeMap<String, u64> = BTreeMap::new();
    let mut expired: BTreeSet<String> = BTreeSet::new();
    let mut taken_over: BTreeSet<String> = BTreeSet::new();
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        let entry = &line["entry"];
        let (kind, key) = (
            entry["kind"].as_str().unwrap_or_default(),
            key_of(&entry["key"]),
        );
        if kind == "superseding" {
            taken_over.insert(key.clone());
        }
        let rollout = match kind {
            // By an order of the rollout that takes over, whose number is in the entry before.
            "superseding" => entry["to"].as_str(),
            "rolling_back" | "rolled_back" if taken_over.contains(&key) => None,
            _ => entry["key"]["rollout"].as_str(),
        };
        let rollout = rollout.or(entry["rollout"].as_str());
        if matches!(
            kind,
            "opened" | "suspending" | "resumed" | "confirming" | "confirmed" | "finished"
        ) && !once.insert((key.clone(), kind.to_owned()))
        {
            broken.push(format!("{node}: {kind} of {key} twice"));
        }
        if let (Some(rollout), Some(epoch)) = (rollout, entry["order"]["epoch"].as_u64()) {
            let highest = epochs.entry(rollout.to_owned()).or_default();
            if epoch < *highest {
                broken.push(format!(
                    "{node}: {kind} of {key} by epoch {epoch}, after epoch {highest}"
                ));
            }
            *highest = epoch.max(*highest);
            if kind == "opened" {
                opened.insert(key.clone(), epoch);
            }
        }
        match kind {
            "resumed" => {
                let by = opened.get(&key).copied().unwrap_or_default();
                let owner = rollout
                    .and_then(|rollout| epochs.get(rollout))
                    .copied()
                    .unwrap_or_default();
                if by < owner {
                    broken.push(format!(
                        "{node}: {key} of epoch {by} resumed after epoch {owner} had the claim"
                    ));
                }
            }
            "lease_expired" if entry["terms"]["on_lost_contact"] == "rollback" => {
                if once.contains(&(key.clone(), "confirming".to_owned())) {
                    broken.push(format!(
                        "{node}: the lease of {key} ran out after its confirm"
                    ));
                }
                expired.insert(key);
            }
            "confirming" if expired.contains(&key) => {
                broken.push(format!(
                    "{node}: {key} was confirmed after its lease had run out"
                ));
            }
            _ => {}
        }
    }
    broken
}
