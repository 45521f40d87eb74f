//! The state of a rollout, and the fold that makes it from facts. What is in here survives the process that runs the rollout;
//! what a process knows beside it (who was reached at a barrier, what was read for a gate) is asked for again by the next.

use std::collections::HashMap;
use std::time::Duration;

use crate::engine::control::{Request, Verb};
use crate::engine::event::{Cause, Fact, Planned};
use crate::engine::gate::Verdict;
use crate::engine::moves::Wave;
use crate::engine::rollout::CANCELLED;
use crate::engine::rollout::budget::Budget;
use crate::engine::rollout::nodes::{Node, Nodes};
use crate::engine::words::{Barrier, Outcome, Phase, RolloutState, WaveStage};
use crate::policy::Policy;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    #[default]
    Planned,
    Upgrading,
    Baking,
    Gating,
    Confirming,
    Finishing,
    RollingBack,
    Aborting,
    Ended(RolloutState),
}

impl Stage {
    pub(super) fn is_forward(self) -> bool {
        !matches!(self, Self::RollingBack | Self::Aborting | Self::Ended(_))
    }
}

/// A batch that goes in lockstep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Batch {
    /// Index in its wave.
    pub(super) index: usize,
    /// Opened last.
    pub(super) barrier: Barrier,
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) nodes: Nodes,
    pub(super) waves: Vec<Wave>,
    pub(super) budget: Budget,
    pub(super) stage: Stage,
    /// When the stage of the wave began.
    pub(super) since_ms: u64,
    /// Index of the wave that is under way.
    pub(super) wave: usize,
    /// How many of its nodes were started.
    pub(super) started: usize,
    /// In lockstep, the batch under way, or the last one.
    pub(super) batch: Option<Batch>,
    /// What the gate of the wave said last.
    pub(super) verdict: Option<Verdict>,
    /// Why too little data is taken for a pass, when a person said so.
    pub(super) accepted: Option<String>,
    pub(super) paused: bool,
    /// Abort confirms what is in probation.
    pub(super) keep: bool,
    /// The process is to leave the rollout to another.
    pub(super) leaving: bool,
    pub(super) prepare_only: bool,
    pub(super) lockstep: bool,
    /// How many processes have owned the rollout.
    pub(super) epoch: u64,
    /// Why it is where it is.
    pub(super) reason: String,
    /// When it ended.
    pub(super) ended_ms: u64,
}

impl State {
    pub(super) fn fold(&mut self, time_ms: u64, fact: &Fact, names: &Names, policy: &Policy) {
        match fact {
            Fact::Planned(planned) => self.plan(planned, names, policy),
            Fact::Owned { .. } => {
                self.epoch += 1;
                self.leaving = false;
            }
            Fact::Control {
                request,
                refused: None,
            } => self.control(request, names),
            Fact::State { state, reason } => self.state(*state, reason, time_ms),
            Fact::Wave { wave, stage, .. } => self.wave(*wave, *stage, time_ms),
            Fact::Batch { batch, barrier, .. } => self.batch(*batch, *barrier),
            Fact::Gate { verdict, .. } => self.verdict = Some(verdict.clone()),
            Fact::Ask {
                node,
                phase,
                attempt,
            } => {
                if let Some(node) = names.index(node) {
                    self.ask(node, *phase, *attempt);
                }
            }
            Fact::Node {
                node,
                outcome,
                cause,
                ..
            } => {
                if let Some(node) = names.index(node) {
                    self.outcome(node, *outcome, cause.as_ref());
                }
            }
            Fact::Trouble { node, .. } => {
                if let Some(node) = names.index(node)
                    && self.nodes.get(node) == Node::Finishing
                {
                    self.nodes.set(node, Node::Settled(Outcome::Confirmed));
                }
            }
            Fact::Control { .. } | Fact::Step { .. } | Fact::Ended(_) | Fact::Unrecognised => {}
        }
    }

    fn plan(&mut self, planned: &Planned, names: &Names, policy: &Policy) {
        let index =
            |nodes: &Vec<String>| nodes.iter().filter_map(|node| names.index(node)).collect();
        let bakes = planned.bakes_ms.iter().copied().map(Duration::from_millis);
        let mut bakes = bakes.chain(std::iter::repeat(policy.bake.get()));
        let mut batches = planned.batches.iter();
        let mut controls = planned.controls.iter();
        let wave = |nodes| Wave {
            nodes: index(nodes),
            control: controls.next().map(&index).unwrap_or_default(),
            late: false,
            bake: bakes.next().unwrap_or_default(),
            batches: batches
                .next()
                .into_iter()
                .flatten()
                .map(|nodes| *nodes as usize)
                .collect(),
        };
        self.waves = planned.waves.iter().map(wave).collect();
        self.nodes = Nodes::new(names.len());
        // A plan holds at most as many nodes as an inventory may list, which fits 32 bits.
        let nodes = self
            .waves
            .iter()
            .map(|wave| wave.nodes.len())
            .sum::<usize>() as u32;
        self.budget = Budget::new(policy, nodes);
        self.prepare_only = planned.prepare_only;
        self.lockstep = !planned.batches.is_empty() && !planned.prepare_only;
        self.epoch = 1;
    }

    fn state(&mut self, state: RolloutState, reason: &str, time_ms: u64) {
        reason.clone_into(&mut self.reason);
        self.paused = state == RolloutState::Paused;
        match state {
            RolloutState::RollingBack => {
                self.stage = Stage::RollingBack;
                for (node, known) in self.nodes.changed() {
                    self.nodes.set(node, Node::RollingBack { known });
                }
            }
            state if state.is_final() => {
                (self.stage, self.ended_ms) = (Stage::Ended(state), time_ms);
                self.move_all(Node::Finishing, Node::Settled(Outcome::Confirmed));
            }
            _ => {}
        }
    }

    fn wave(&mut self, wave: u32, stage: WaveStage, time_ms: u64) {
        self.since_ms = time_ms;
        match stage {
            WaveStage::Upgrading => {
                self.wave = (wave as usize).saturating_sub(1);
                (self.started, self.batch) = (0, None);
                (self.verdict, self.accepted) = (None, None);
                self.stage = Stage::Upgrading;
            }
            WaveStage::Baking => (self.stage, self.verdict) = (Stage::Baking, None),
            WaveStage::Gate => (self.stage, self.verdict) = (Stage::Gating, None),
            WaveStage::Confirming => {
                self.stage = Stage::Confirming;
                self.move_all(Node::Probation, Node::Confirming);
            }
            WaveStage::Finishing => {
                if self.stage != Stage::Aborting {
                    self.stage = Stage::Finishing;
                }
                self.move_all(Node::Confirmed, Node::Finishing);
            }
            WaveStage::Done | WaveStage::Unrecognised => {}
        }
    }

    /// Whether the gate of the wave needs no other look.
    pub(super) fn is_decided(&self) -> bool {
        match self.verdict {
            Some(Verdict::Pass | Verdict::Trip(_)) => true,
            Some(Verdict::Inconclusive(_)) => self.accepted.is_some(),
            None => false,
        }
    }

    fn move_all(&mut self, from: Node, to: Node) {
        for node in self.nodes.all(|node| node == from) {
            self.nodes.set(node, to);
        }
    }

    fn batch(&mut self, batch: u32, barrier: Barrier) {
        let index = (batch as usize).saturating_sub(1);
        self.batch = Some(Batch { index, barrier });
        let nodes = self.batch_nodes(index);
        match barrier {
            Barrier::Prepare => {
                for node in &nodes {
                    self.nodes.set(*node, Node::Upgrading);
                }
                self.started += nodes.len();
            }
            Barrier::Aborted => {
                for node in self.nodes.those(&nodes, Node::Probation) {
                    self.nodes.set(node, Node::RollingBack { known: true });
                }
            }
            _ => {}
        }
    }

    /// The nodes of a batch of the wave that is under way.
    pub(super) fn batch_nodes(&self, index: usize) -> Vec<usize> {
        let Some(wave) = self.waves.get(self.wave) else {
            return Vec::new();
        };
        let Some(size) = wave.batches.get(index) else {
            return Vec::new();
        };
        let before = wave.batches.iter().take(index).sum();
        wave.nodes
            .iter()
            .skip(before)
            .take(*size)
            .copied()
            .collect()
    }

    fn ask(&mut self, node: usize, phase: Phase, attempt: u32) {
        match phase {
            Phase::Upgrade => {
                self.nodes.set(node, Node::Upgrading);
                self.nodes.set_attempt(node, attempt);
                self.pass_started();
            }
            Phase::Confirm => self.nodes.set(node, Node::Confirming),
            Phase::Rollback => {
                let known = !matches!(
                    self.nodes.get(node),
                    Node::Upgrading | Node::Pending | Node::Settled(Outcome::Unknown)
                );
                self.nodes.set(node, Node::RollingBack { known });
            }
            _ => {}
        }
    }

    /// Nodes are started in the order of their wave; those that were tried before are passed over.
    fn pass_started(&mut self) {
        let Some(wave) = self.waves.get(self.wave) else {
            return;
        };
        while let Some(node) = wave.nodes.get(self.started)
            && self.nodes.get(*node) != Node::Pending
        {
            self.started += 1;
        }
    }

    fn outcome(&mut self, node: usize, outcome: Outcome, cause: Option<&Cause>) {
        let was = self.nodes.get(node);
        let is_late = self.waves.get(self.wave).is_some_and(|wave| wave.late);
        let counts = self.stage.is_forward()
            && !is_late
            && cause.is_none_or(|cause| cause.code != CANCELLED);
        let is_good = match outcome {
            Outcome::InProbation => cause.is_none(),
            Outcome::AlreadyCurrent | Outcome::Prepared | Outcome::Confirmed => true,
            _ => false,
        };
        let is_good = is_good || mutant!(unreachable_counts_as_ok) && outcome == Outcome::Unknown;
        match was {
            Node::Upgrading if is_good => self.budget.healthy(),
            Node::Upgrading if counts && outcome != Outcome::Superseded => {
                self.budget.failed();
                self.nodes.blame(node, true);
            }
            Node::Probation | Node::Confirming
                if counts && matches!(outcome, Outcome::RolledBack | Outcome::Unknown) =>
            {
                self.budget.failed_later();
                self.nodes.blame(node, true);
            }
            _ => {}
        }
        self.nodes.set(
            node,
            match outcome {
                Outcome::InProbation => Node::Probation,
                Outcome::Confirmed => Node::Confirmed,
                outcome => Node::Settled(outcome),
            },
        );
    }

    fn control(&mut self, request: &Request, names: &Names) {
        match &request.verb {
            Verb::Promote {
                accept_inconclusive: Some(reason),
            } => self.accepted = Some(reason.clone()),
            Verb::Abort { keep } => {
                (self.stage, self.paused, self.keep) = (Stage::Aborting, false, *keep);
                self.reason = request.because("aborted");
                let to = match keep {
                    true => Node::Confirming,
                    false => Node::RollingBack { known: true },
                };
                self.move_all(Node::Probation, to);
            }
            Verb::RetryFailed => {
                let nodes = self.nodes.all(Node::is_retried);
                let batch = vec![nodes.len()];
                self.add_wave(nodes, batch, false);
            }
            Verb::Converge { nodes } => {
                let away = self.away(nodes, names);
                // Nobody's failure is to put others back.
                let batches = vec![1; away.len()];
                self.add_wave(away, batches, true);
            }
            Verb::Detach => self.leaving = true,
            Verb::Pause
            | Verb::Resume
            | Verb::Promote { .. }
            | Verb::Rollback
            | Verb::Unrecognised => {}
        }
    }

    /// A wave after those of the plan, of nodes that get another attempt.
    fn add_wave(&mut self, nodes: Vec<usize>, batches: Vec<usize>, late: bool) {
        for node in &nodes {
            self.nodes.set(*node, Node::Pending);
            self.nodes.set_attempt(*node, self.nodes.attempt(*node) + 1);
            if self.nodes.blame(*node, false) {
                self.budget.retried();
            }
        }
        self.waves.push(Wave {
            nodes,
            bake: self.waves.last().map(|wave| wave.bake).unwrap_or_default(),
            batches: if self.lockstep { batches } else { Vec::new() },
            control: Vec::new(),
            late,
        });
    }

    /// Those of these nodes that were away, in the order of the plan.
    pub(super) fn away(&self, wanted: &[String], names: &Names) -> Vec<usize> {
        let mut nodes: Vec<usize> = wanted
            .iter()
            .filter_map(|name| names.index(name))
            .filter(|node| self.nodes.get(*node).is_away())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// The names of the nodes of a plan, both ways.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<String>,
    index: HashMap<String, usize>,
}

impl Names {
    pub(super) fn of(planned: &Planned) -> Self {
        let names: Vec<String> = planned.nodes.iter().map(|node| node.name.clone()).collect();
        let index = names.iter().cloned().zip(0..).collect();
        Self { names, index }
    }

    pub(super) fn name(&self, node: usize) -> String {
        self.names[node].clone()
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
