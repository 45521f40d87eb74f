//! What a rollout looks like after some events: the fold that `status`, bars, lines, summaries, exit codes and a later
//! rollback all read. It is built from events alone, so that a journal read back shows what was shown live.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::engine::control::Verb;
use crate::engine::event::{
    Cause, Event, Fact, Health, Owner, PauseMs, Planned, RollbackCounts, Summary,
};
use crate::engine::gate::Verdict;
use crate::engine::pauses::Pauses;
use crate::engine::words::{Barrier, Outcome, Phase, RolloutState, WaveStage};
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
    /// The longest time in which a batch in lockstep ran both versions, in milliseconds.
    pub mixed_ms: Option<u64>,
    /// The number of the last event.
    pub seq: u64,
    /// When the first event was, in milliseconds since 1970.
    pub started_ms: u64,
    /// When the last event was.
    pub last_ms: u64,
    /// How it ended, when it did.
    pub summary: Option<Summary>,
    index: HashMap<String, usize>,
    counts: BTreeMap<Outcome, u64>,
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
    /// The last verdict of its gate, when there is one.
    pub gate: Option<(Verdict, Health)>,
    /// Its nodes, by index, in the order in which they are started.
    pub members: Vec<usize>,
    /// In lockstep, how many nodes each batch has.
    pub batches: Vec<u32>,
    /// In lockstep, what was opened last, and for which batch, from 1.
    pub batch: Option<(u32, Barrier)>,
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
            mixed_ms: None,
            summary: None,
            index: HashMap::new(),
            counts: BTreeMap::new(),
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
            } => self.control(&request.verb),
            Fact::State { state, reason } => self.state(*state, reason),
            Fact::Wave {
                wave,
                stage,
                bake_ms,
                ..
            } => self.stage(*wave, *stage, *bake_ms, event.time_ms),
            Fact::Batch {
                wave,
                batch,
                barrier,
                mixed_ms,
                ..
            } => {
                self.mixed_ms = self.mixed_ms.max(*mixed_ms);
                self.batch(*wave, *batch, *barrier);
            }
            Fact::Ask { node, phase, .. } => {
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
                ..
            } => {
                if let Some(index) = self.index.get(node).copied() {
                    self.set(index, *outcome);
                    let node = &mut self.nodes[index];
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
                verdict,
                health,
            } => {
                if let Some(wave) = self.wave(*wave) {
                    wave.gate = Some((verdict.clone(), *health));
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
        let mut batches = planned.batches.iter().cloned();
        for names in &planned.waves {
            let members = names
                .iter()
                .filter_map(|name| self.index.get(name).copied());
            let members = members.collect();
            self.add_wave(members, batches.next().unwrap_or_default());
        }
        self.counts = BTreeMap::from([(Outcome::Pending, self.nodes.len() as u64)]);
        self.owner = Some(planned.owner.clone());
        self.epoch = 1;
        self.planned = Some(planned.clone());
    }

    fn add_wave(&mut self, members: Vec<usize>, batches: Vec<u32>) {
        // A plan's waves and nodes fit 32 bits.
        let number = self.waves.len() as u32 + 1;
        for node in &members {
            self.nodes[*node].wave = Some(number);
        }
        self.waves.push(WaveView {
            nodes: members.len() as u32,
            stage: None,
            bake_ms: 0,
            since_ms: 0,
            gate: None,
            members,
            batches,
            batch: None,
        });
    }

    fn control(&mut self, verb: &Verb) {
        match verb {
            Verb::Rollback => self.requested = true,
            Verb::Abort { keep } => {
                let phase = if *keep {
                    Phase::Confirm
                } else {
                    Phase::Rollback
                };
                self.ask_all(Outcome::InProbation, phase);
            }
            Verb::RetryFailed => {
                let failed = |node: &usize| {
                    let node = &self.nodes[*node];
                    node.asked.is_none() && node.outcome.is_retried()
                };
                let nodes: Vec<usize> = (0..self.nodes.len()).filter(failed).collect();
                let batches = vec![nodes.len() as u32];
                self.try_again(nodes, batches);
            }
            Verb::Converge { nodes } => {
                let away = |node: &usize| self.nodes[*node].outcome.is_away();
                let nodes = nodes.iter().filter_map(|name| self.index.get(name));
                let nodes: BTreeSet<usize> = nodes.copied().filter(away).collect();
                let batches = vec![1; nodes.len()];
                self.try_again(nodes.into_iter().collect(), batches);
            }
            _ => {}
        }
    }

    /// Makes a wave of nodes; `batches` when the others went in batches.
    fn try_again(&mut self, nodes: Vec<usize>, batches: Vec<u32>) {
        for node in &nodes {
            self.set(*node, Outcome::Pending);
            (self.nodes[*node].cause, self.nodes[*node].rollback) = (None, None);
        }
        let batched = self.waves.iter().any(|wave| !wave.batches.is_empty());
        self.add_wave(nodes, if batched { batches } else { Vec::new() });
        self.summary = None;
    }

    fn state(&mut self, state: RolloutState, reason: &str) {
        (self.state, self.reason) = (state, reason.to_owned());
        if state == RolloutState::RollingBack {
            self.summary = None;
            for (node, _) in self.changed() {
                let node = &mut self.nodes[node];
                // Those that were asked something else answer that first.
                if !matches!(node.asked, Some(Phase::Upgrade | Phase::Confirm)) {
                    node.asked = Some(Phase::Rollback);
                }
            }
        } else if state.is_final() {
            for node in &mut self.nodes {
                node.asked = None;
            }
        }
    }

    fn stage(&mut self, wave: u32, stage: WaveStage, bake_ms: u64, time_ms: u64) {
        match stage {
            WaveStage::Confirming => self.ask_all(Outcome::InProbation, Phase::Confirm),
            WaveStage::Finishing => self.ask_all(Outcome::Confirmed, Phase::Finish),
            _ => {}
        }
        if let Some(wave) = self.wave(wave) {
            (wave.stage, wave.since_ms) = (Some(stage), time_ms);
            wave.bake_ms = wave.bake_ms.max(bake_ms);
        }
    }

    fn batch(&mut self, wave: u32, batch: u32, barrier: Barrier) {
        let Some(wave) = self.wave(wave) else {
            return;
        };
        wave.batch = Some((batch, barrier));
        let index = (batch as usize).saturating_sub(1);
        let before: u32 = wave.batches.iter().take(index).sum();
        let size = wave.batches.get(index).copied().unwrap_or(0);
        let members = wave.members.iter().skip(before as usize);
        let members: Vec<usize> = members.take(size as usize).copied().collect();
        for node in members {
            let node = &mut self.nodes[node];
            match barrier {
                Barrier::Prepare => node.asked = Some(Phase::Upgrade),
                Barrier::Aborted if node.outcome == Outcome::InProbation => {
                    node.asked = Some(Phase::Rollback);
                }
                _ => {}
            }
        }
    }

    /// Asks every node of an outcome that is not being put back.
    fn ask_all(&mut self, outcome: Outcome, phase: Phase) {
        for node in &mut self.nodes {
            if node.outcome == outcome && node.asked != Some(Phase::Rollback) {
                node.asked = Some(phase);
            }
        }
    }

    fn set(&mut self, node: usize, outcome: Outcome) {
        let former = std::mem::replace(&mut self.nodes[node].outcome, outcome);
        if let Some(count) = self.counts.get_mut(&former) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&former);
            }
        }
        *self.counts.entry(outcome).or_insert(0) += 1;
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

    /// How many nodes have each outcome; those that no node has are absent.
    #[must_use]
    pub fn outcomes(&self) -> &BTreeMap<Outcome, u64> {
        &self.counts
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
        Exit::of(self.state, &self.counts, self.requested)
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
        for (_, health) in self.waves.iter().filter_map(|wave| wave.gate.as_ref()) {
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
            outcomes: self.counts.clone(),
            mixed_ms: self.mixed_ms,
            pause_ms: self.pauses(),
            duration_ms: self.last_ms.saturating_sub(self.started_ms),
        }
    }
}
