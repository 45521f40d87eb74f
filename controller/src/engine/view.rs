//! What a rollout looks like after some events: the fold that `status`, bars, lines, summaries, exit codes and a later
//! rollback all read. It is built from events alone, so that a journal read back shows what was shown live.

use std::collections::{BTreeMap, HashMap};

use crate::engine::control::Verb;
use crate::engine::event::{
    Cause, Event, Fact, Health, Owner, PauseMs, Planned, RollbackCounts, Summary,
};
use crate::engine::pauses::Pauses;
use crate::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use crate::exit::Exit;

/// A rollout so far.
#[derive(Clone, Debug)]
pub struct View {
    /// The plan, once its event was read.
    pub planned: Option<Planned>,
    /// The process that runs it, or ran it last.
    pub owner: Option<Owner>,
    /// How many processes have owned it.
    pub epoch: u64,
    /// Where it is.
    pub state: RolloutState,
    /// Why.
    pub reason: String,
    /// The waves.
    pub waves: Vec<WaveView>,
    /// The nodes, in the order of the plan.
    pub nodes: Vec<NodeView>,
    /// Confirmed nodes on which something else did not work.
    pub troubles: Vec<(String, Cause)>,
    /// A person asked for the rollback that is under way or done.
    pub requested: bool,
    /// The number of the last event.
    pub seq: u64,
    /// When the first event was, in milliseconds since 1970.
    pub started_ms: u64,
    /// When the last event was.
    pub last_ms: u64,
    /// How it ended, when it did.
    pub summary: Option<Summary>,
    index: HashMap<String, usize>,
}

/// A wave so far.
#[derive(Clone, Debug)]
pub struct WaveView {
    /// How many nodes it has.
    pub nodes: u32,
    /// Where it is; `None` before it begins.
    pub stage: Option<WaveStage>,
    /// How long it bakes, in milliseconds, once it does.
    pub bake_ms: u64,
    /// When it went over to its stage.
    pub since_ms: u64,
    /// The verdict of its gate, when there is one.
    pub gate: Option<(bool, Health)>,
}

/// A node so far.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its wave, from 1; `None` when no wave holds it.
    pub wave: Option<u32>,
    /// How it fares.
    pub outcome: Outcome,
    /// What it was asked and has not answered.
    pub asked: Option<Phase>,
    /// The pause in microseconds, when it reached resume.
    pub pause_us: Option<u64>,
    /// Why, when it is not what was wanted.
    pub cause: Option<Cause>,
    /// What its rollback did.
    pub rollback: Option<RollbackCounts>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            planned: None,
            owner: None,
            epoch: 0,
            state: RolloutState::Planned,
            reason: String::new(),
            waves: Vec::new(),
            nodes: Vec::new(),
            troubles: Vec::new(),
            requested: false,
            seq: 0,
            started_ms: 0,
            last_ms: 0,
            summary: None,
            index: HashMap::new(),
        }
    }
}

impl View {
    /// The view after these events.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let mut view = Self::default();
        events.iter().for_each(|event| view.apply(event));
        view
    }

    /// Takes in the next event.
    pub fn apply(&mut self, event: &Event) {
        if self.seq == 0 {
            self.started_ms = event.time_ms;
        }
        (self.seq, self.last_ms) = (event.seq, event.time_ms);
        match &event.fact {
            Fact::Planned(planned) => self.plan(planned),
            Fact::Owned { owner, .. } => {
                self.owner = Some(owner.clone());
                self.epoch += 1;
                self.summary = None;
            }
            Fact::Control {
                request,
                refused: None,
            } => self.requested |= request.verb == Verb::Rollback,
            Fact::State { state, reason } => (self.state, self.reason) = (*state, reason.clone()),
            Fact::Wave {
                wave,
                stage,
                bake_ms,
                ..
            } => {
                if let Some(wave) = self.wave(*wave) {
                    (wave.stage, wave.since_ms) = (Some(*stage), event.time_ms);
                    wave.bake_ms = wave.bake_ms.max(*bake_ms);
                }
            }
            Fact::Ask { node, phase } => {
                if let Some(node) = self.node_mut(node) {
                    node.asked = Some(*phase);
                }
            }
            Fact::Node {
                node,
                outcome,
                pause_us,
                cause,
                rollback,
            } => {
                if let Some(node) = self.node_mut(node) {
                    node.outcome = *outcome;
                    node.asked = None;
                    node.pause_us = pause_us.or(node.pause_us);
                    // The reason of a rollback stays visible when the rollback itself needs none.
                    node.cause = cause.clone().or(node.cause.take());
                    node.rollback = rollback.or(node.rollback);
                }
            }
            Fact::Trouble { node, cause } => self.troubles.push((node.clone(), cause.clone())),
            Fact::Gate {
                wave,
                passed,
                health,
                ..
            } => {
                if let Some(wave) = self.wave(*wave) {
                    wave.gate = Some((*passed, *health));
                }
            }
            Fact::Ended(summary) => self.summary = Some((**summary).clone()),
            Fact::Step { .. } | Fact::Control { .. } | Fact::Unrecognised => {}
        }
    }

    fn plan(&mut self, planned: &Planned) {
        let node = |place: &crate::engine::event::Place| NodeView {
            name: place.name.clone(),
            wave: None,
            outcome: Outcome::Pending,
            asked: None,
            pause_us: None,
            cause: None,
            rollback: None,
        };
        self.nodes = planned.nodes.iter().map(node).collect();
        self.index = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.name.clone(), index))
            .collect();
        for (number, names) in (1..).zip(&planned.waves) {
            // A plan's nodes fit 32 bits.
            let nodes = names.len() as u32;
            self.waves.push(WaveView {
                nodes,
                stage: None,
                bake_ms: 0,
                since_ms: 0,
                gate: None,
            });
            for name in names {
                if let Some(node) = self.node_mut(name) {
                    node.wave = Some(number);
                }
            }
        }
        self.owner = Some(planned.owner.clone());
        self.epoch = 1;
        self.planned = Some(planned.clone());
    }

    fn wave(&mut self, number: u32) -> Option<&mut WaveView> {
        self.waves.get_mut((number as usize).checked_sub(1)?)
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeView> {
        self.index.get(name).map(|index| &self.nodes[*index])
    }

    fn node_mut(&mut self, name: &str) -> Option<&mut NodeView> {
        self.index.get(name).map(|index| &mut self.nodes[*index])
    }

    /// How many nodes have each outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            *counts.entry(node.outcome).or_insert(0) += 1;
        }
        counts
    }

    /// Nodes that run the new code or may run it, by index, and whether it is certain: what a rollback has to put back.
    #[must_use]
    pub fn changed(&self) -> Vec<(usize, bool)> {
        let changed = |node: &NodeView| match (node.outcome, node.asked) {
            (
                Outcome::InProbation | Outcome::Confirmed | Outcome::Held | Outcome::RollbackFailed,
                _,
            ) => Some(true),
            (Outcome::Unknown | Outcome::Superseded | Outcome::Unrecognised, _)
            | (Outcome::Pending, Some(_)) => Some(false),
            _ => None,
        };
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| Some((index, changed(node)?)))
            .collect()
    }

    /// Nodes that are neither confirmed nor back on the old code, or may not be.
    #[must_use]
    pub fn unresolved(&self) -> Vec<&NodeView> {
        let open = |node: &&NodeView| {
            node.outcome.is_unresolved()
                || (node.outcome == Outcome::Pending && node.asked.is_some())
        };
        self.nodes.iter().filter(open).collect()
    }

    /// The exit code of a process that stops here.
    #[must_use]
    pub fn exit(&self) -> Exit {
        Exit::of(self.state, &self.outcomes(), self.requested)
    }

    /// Percentiles of the pauses.
    #[must_use]
    pub fn pauses(&self) -> Option<PauseMs> {
        let mut pauses: Vec<u64> = self.nodes.iter().filter_map(|node| node.pause_us).collect();
        pauses.sort_unstable();
        let last = pauses.len().checked_sub(1)?;
        let rank = |percent: usize| {
            pauses[(pauses.len() * percent)
                .div_ceil(100)
                .saturating_sub(1)
                .min(last)]
        };
        // Pauses are far below 2^52 microseconds.
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Some(PauseMs {
            p50: ms(rank(50)),
            p99: ms(rank(99)),
            max: ms(pauses[last]),
        })
    }

    /// How long actors with events waiting had to wait, as the gates of the waves found it.
    #[must_use]
    pub fn actor_pauses(&self) -> Pauses {
        let mut all = Pauses::default();
        for (_, health) in self.waves.iter().filter_map(|wave| wave.gate) {
            all += health.pauses;
        }
        all
    }

    /// What it came to, as of the last event.
    #[must_use]
    pub fn summarise(&self) -> Summary {
        Summary {
            state: self.state,
            exit: self.exit(),
            outcomes: self.outcomes(),
            pause_ms: self.pauses(),
            duration_ms: self.last_ms.saturating_sub(self.started_ms),
        }
    }
}
