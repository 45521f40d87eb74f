//! The rollout as a pure state machine: an input goes in, the actions that follow come out, and nothing else happens. No
//! clock, no network, no journal: whoever drives it records the facts among the actions first and then does the rest. Read
//! [`Rollout::step`], then `advance`.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::budget::Budget;
use crate::engine::event::{Cause, Fact, Health, RollbackCounts};
use crate::engine::gate;
use crate::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use crate::output::count;
use crate::policy::{Gate, Policy};

/// What can happen to a rollout. Nodes are indices into the plan.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin with the first wave.
    Start,
    /// Put every changed node back, because a person asks for it.
    RollBack(String),
    /// Stop, because a person asks for it.
    Abort(String),
    /// The upgrade of a node came to an end.
    Upgraded(usize, Upgraded),
    /// The bake is over.
    Baked,
    /// A node answered for its gate, or did not.
    Checked(usize, Checked),
    /// A node confirmed, or did not.
    Confirmed(usize, Result<(), Cause>),
    /// A node finished, or did not.
    Finished(usize, Result<(), Cause>),
    /// A node rolled back, or did not.
    RolledBack(usize, Back),
}

/// How the upgrade of a node ended.
#[derive(Clone, Debug)]
pub enum Upgraded {
    /// The new code runs. The pause in microseconds, when the node told it.
    Probation(Option<u64>),
    /// The new code ran before.
    AlreadyCurrent,
    /// Nothing changed on the node.
    Untouched(Cause),
    /// The node said no.
    Refused(Cause),
    /// It failed, and the new code runs, or may run.
    Changed(Cause),
    /// The node was lost, and what it runs is not known.
    Unknown(Cause),
}

/// How a node answered for its gate.
#[derive(Clone, Debug)]
pub enum Checked {
    /// Its counts since resume.
    Health(Health),
    /// It restarted before confirm, and runs the old code again.
    Restarted(Cause),
    /// It did not answer.
    Unknown(Cause),
}

/// How the rollback of a node ended.
#[derive(Clone, Debug)]
pub enum Back {
    /// The old code runs.
    RolledBack(RollbackCounts),
    /// The rollout had changed nothing there.
    Untouched,
    /// What runs came after this rollout.
    Superseded(Cause),
    /// The old code runs, and some actors are held on the newer.
    Held(Cause, RollbackCounts),
    /// The node refused.
    Failed(Cause),
    /// The node could not be reached.
    Unreached(Cause),
}

/// What follows from an input, in order.
#[derive(Clone, Debug)]
pub enum Action {
    /// To be in the journal before any action after it.
    Record(Fact),
    /// Stage and upgrade a node, up to resume.
    Upgrade(usize),
    /// Let so long pass, then give [`Input::Baked`].
    Bake(Duration),
    /// Ask a node for its health.
    Check(usize),
    /// Make the new code permanent on a node.
    Confirm(usize),
    /// Drop the old code on a node.
    Finish(usize),
    /// Put a node back.
    Rollback(usize),
    /// Abort what has not reached resume.
    CancelUpgrades,
    /// Give up confirms that have not been answered.
    CancelConfirms,
    /// The rollout is over.
    End(RolloutState),
}

/// A wave of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wave {
    /// Its nodes, in the order in which they are started.
    pub nodes: Vec<usize>,
    /// How long they run the new code before the gate.
    pub bake: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Pending,
    Upgrading,
    Probation,
    Checking,
    Confirming,
    Confirmed,
    Finishing,
    /// `known`: that it was changed is certain.
    RollingBack {
        known: bool,
    },
    Settled(Outcome),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Planned,
    Upgrading,
    Baking,
    Gating,
    Confirming,
    Finishing,
    RollingBack,
    Aborting,
    Ended,
}

/// A rollout; see the module's text.
#[derive(Debug)]
pub struct Rollout {
    names: Arc<[String]>,
    nodes: Vec<Node>,
    waves: Vec<Wave>,
    gates: Vec<Gate>,
    budget: Budget,
    stage: Stage,
    /// Index of the wave that is under way.
    wave: usize,
    /// How many of its nodes were started.
    started: usize,
    health: Health,
    reason: String,
    upgrading: u32,
    waiting: u32,
    rolling_back: u32,
    actions: Vec<Action>,
}

impl Rollout {
    /// A rollout that has not begun. `outcomes` are those of nodes that no wave holds: already current, unreachable.
    #[must_use]
    pub fn new(names: Arc<[String]>, waves: Vec<Wave>, outcomes: &[(usize, Outcome)], policy: &Policy) -> Self {
        let mut nodes = vec![Node::Pending; names.len()];
        for (node, outcome) in outcomes {
            nodes[*node] = Node::Settled(*outcome);
        }
        // A plan holds at most as many nodes as an inventory may list, which fits 32 bits.
        let planned = waves.iter().map(|wave| wave.nodes.len()).sum::<usize>() as u32;
        Self {
            names,
            nodes,
            waves,
            gates: policy.gates.clone(),
            budget: Budget::new(policy, planned),
            stage: Stage::Planned,
            wave: 0,
            started: 0,
            health: Health::default(),
            reason: String::new(),
            upgrading: 0,
            waiting: 0,
            rolling_back: 0,
            actions: Vec::new(),
        }
    }

    /// A rollout that is to be rolled back and nothing else. `changed` are the nodes that it changed or may have changed;
    /// `known` says of which this is certain.
    #[must_use]
    pub fn resumed(names: Arc<[String]>, changed: &[(usize, bool)], others: &[(usize, Outcome)], policy: &Policy) -> Self {
        let mut rollout = Self::new(names, Vec::new(), others, policy);
        for (node, known) in changed {
            rollout.nodes[*node] = if *known { Node::Probation } else { Node::Settled(Outcome::Unknown) };
        }
        rollout
    }

    /// One step: what follows from `input`.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Start => self.start(),
            Input::RollBack(reason) => self.roll_back(reason),
            Input::Abort(reason) => self.abort(reason),
            Input::Upgraded(node, result) => self.upgraded(node, result),
            Input::Baked => self.baked(),
            Input::Checked(node, result) => self.checked(node, result),
            Input::Confirmed(node, result) => self.confirmed(node, result),
            Input::Finished(node, result) => self.finished(node, result),
            Input::RolledBack(node, result) => self.rolled_back(node, result),
        }
        self.advance();
        std::mem::take(&mut self.actions)
    }

    fn start(&mut self) {
        if self.stage == Stage::Planned {
            let (waves, nodes) = (self.waves.len(), self.waves.iter().map(|wave| wave.nodes.len()).sum::<usize>());
            self.record_state(RolloutState::Running, format!("{} in {}", count(nodes as u64, "node"), count(waves as u64, "wave")));
            self.enter_wave(0);
        }
    }

    fn enter_wave(&mut self, wave: usize) {
        (self.wave, self.started, self.health) = (wave, 0, Health::default());
        if wave < self.waves.len() {
            self.stage = Stage::Upgrading;
            self.record_wave(WaveStage::Upgrading, self.waves[wave].nodes.len(), Duration::ZERO);
            return;
        }
        self.stage = Stage::Finishing;
        self.finish_confirmed();
    }

    /// Asks all confirmed nodes to finish; false when there are none.
    fn finish_confirmed(&mut self) -> bool {
        let confirmed: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node] == Node::Confirmed).collect();
        for node in &confirmed {
            self.ask(*node, Node::Finishing, Phase::Finish, Action::Finish(*node));
        }
        !confirmed.is_empty()
    }

    /// Everything that follows from counts alone, until nothing more does.
    fn advance(&mut self) {
        loop {
            match self.stage {
                Stage::Upgrading => {
                    self.start_nodes();
                    if self.upgrading > 0 || self.started < self.waves[self.wave].nodes.len() {
                        return;
                    }
                    let bake = self.waves[self.wave].bake;
                    match self.of_wave(Node::Probation).len() {
                        0 => self.leave_wave(),
                        nodes => {
                            self.stage = Stage::Baking;
                            self.record_wave(WaveStage::Baking, nodes, bake);
                            self.actions.push(Action::Bake(bake));
                            return;
                        }
                    }
                }
                Stage::Gating if self.waiting == 0 => self.judge(),
                Stage::Confirming if self.waiting == 0 => self.leave_wave(),
                Stage::Finishing if self.waiting == 0 && self.rolling_back == 0 => {
                    let reason = "every wave passed its gate and is confirmed".to_owned();
                    self.end(RolloutState::Succeeded, reason);
                }
                Stage::RollingBack if self.idle() => {
                    let state = if self.all_back() { RolloutState::RolledBack } else { RolloutState::Failed };
                    let reason = std::mem::take(&mut self.reason);
                    self.end(state, reason);
                }
                Stage::Aborting if self.idle() => {
                    // What stays is finished: a node that is not cannot take another patch.
                    if self.finish_confirmed() {
                        return;
                    }
                    let reason = std::mem::take(&mut self.reason);
                    self.end(RolloutState::Aborted, reason);
                }
                _ => return,
            }
        }
    }

    fn start_nodes(&mut self) {
        while self.upgrading < self.budget.in_flight()
            && let Some(node) = self.waves[self.wave].nodes.get(self.started).copied()
        {
            self.started += 1;
            self.ask(node, Node::Upgrading, Phase::Upgrade, Action::Upgrade(node));
        }
    }

    fn leave_wave(&mut self) {
        self.record_wave(WaveStage::Done, self.of_wave(Node::Confirmed).len(), Duration::ZERO);
        self.enter_wave(self.wave + 1);
    }

    fn upgraded(&mut self, node: usize, result: Upgraded) {
        if self.nodes[node] != Node::Upgrading {
            return;
        }
        match result {
            Upgraded::Probation(pause_us) => {
                self.set(node, Node::Probation);
                self.record_outcome(node, Outcome::InProbation, pause_us, None);
                self.budget.healthy();
                if !self.is_going_forward() {
                    self.put_back(node, true);
                }
            }
            Upgraded::AlreadyCurrent => {
                self.settle(node, Outcome::AlreadyCurrent, None);
                self.budget.healthy();
            }
            Upgraded::Untouched(cause) => self.failed_unchanged(node, Outcome::Untouched, cause),
            Upgraded::Refused(cause) => self.failed_unchanged(node, Outcome::Refused, cause),
            Upgraded::Changed(cause) => {
                self.record_outcome(node, Outcome::InProbation, None, Some(cause));
                self.put_back(node, true);
                let within = self.budget.failed();
                self.spend(within);
            }
            Upgraded::Unknown(cause) => {
                self.record_outcome(node, Outcome::Unknown, None, Some(cause));
                self.put_back(node, false);
                let within = self.budget.failed();
                self.spend(within);
            }
        }
    }

    /// A node that was cancelled on purpose is not a failure.
    fn failed_unchanged(&mut self, node: usize, outcome: Outcome, cause: Cause) {
        self.settle(node, outcome, Some(cause));
        if self.is_going_forward() {
            let within = self.budget.failed();
            self.spend(within);
        }
    }

    fn baked(&mut self) {
        if self.stage != Stage::Baking {
            return;
        }
        self.stage = Stage::Gating;
        let nodes = self.of_wave(Node::Probation);
        self.record_wave(WaveStage::Gate, nodes.len(), Duration::ZERO);
        for node in nodes {
            self.ask(node, Node::Checking, Phase::Gate, Action::Check(node));
        }
    }

    fn checked(&mut self, node: usize, result: Checked) {
        if self.nodes[node] != Node::Checking {
            return;
        }
        match result {
            Checked::Health(health) => {
                self.health += health;
                self.set(node, Node::Probation);
            }
            Checked::Restarted(cause) => {
                self.settle(node, Outcome::RolledBack, Some(cause));
                let within = self.budget.failed_later();
                self.spend(within);
            }
            Checked::Unknown(cause) => self.lost_later(node, cause),
        }
    }

    fn judge(&mut self) {
        let reasons = gate::judge(&self.gates, &self.health);
        let passed = reasons.is_empty();
        // Waves are counted by a policy's list, which fits 32 bits.
        let wave = self.wave as u32 + 1;
        self.actions.push(Action::Record(Fact::Gate { wave, passed, health: self.health, reasons: reasons.clone() }));
        if !passed {
            return self.roll_back(format!("the gate of wave {wave} tripped: {}", reasons.join("; ")));
        }
        self.stage = Stage::Confirming;
        let nodes = self.of_wave(Node::Probation);
        self.record_wave(WaveStage::Confirming, nodes.len(), Duration::ZERO);
        for node in nodes {
            self.ask(node, Node::Confirming, Phase::Confirm, Action::Confirm(node));
        }
    }

    fn confirmed(&mut self, node: usize, result: Result<(), Cause>) {
        if self.nodes[node] != Node::Confirming {
            return;
        }
        match result {
            Ok(()) => {
                self.set(node, Node::Confirmed);
                self.record_outcome(node, Outcome::Confirmed, None, None);
                if self.stage == Stage::RollingBack {
                    self.put_back(node, true);
                }
            }
            Err(cause) => self.lost_later(node, cause),
        }
    }

    /// A node that ran the new code is lost, or does not do what it should: it is put back by itself, and counts.
    fn lost_later(&mut self, node: usize, cause: Cause) {
        self.record_outcome(node, Outcome::Unknown, None, Some(cause));
        self.put_back(node, false);
        let within = self.budget.failed_later();
        self.spend(within);
    }

    fn finished(&mut self, node: usize, result: Result<(), Cause>) {
        if self.nodes[node] != Node::Finishing {
            return;
        }
        self.set(node, Node::Settled(Outcome::Confirmed));
        if let Err(cause) = result {
            let node = self.names[node].clone();
            self.actions.push(Action::Record(Fact::Trouble { node, cause }));
        }
    }

    fn rolled_back(&mut self, node: usize, result: Back) {
        let Node::RollingBack { known } = self.nodes[node] else { return };
        let (outcome, cause, counts) = match result {
            Back::RolledBack(counts) => (Outcome::RolledBack, None, Some(counts)),
            Back::Untouched => (Outcome::Untouched, None, None),
            Back::Superseded(cause) => (Outcome::Superseded, Some(cause), None),
            Back::Held(cause, counts) => (Outcome::Held, Some(cause), Some(counts)),
            Back::Failed(cause) => (Outcome::RollbackFailed, Some(cause), None),
            Back::Unreached(cause) if known => (Outcome::RollbackFailed, Some(cause), None),
            Back::Unreached(cause) => (Outcome::Unknown, Some(cause), None),
        };
        self.set(node, Node::Settled(outcome));
        let node = self.names[node].clone();
        self.actions.push(Action::Record(Fact::Node { node, outcome, pause_us: None, cause, rollback: counts }));
    }

    fn spend(&mut self, within: bool) {
        if !within && self.is_going_forward() {
            self.roll_back(self.budget.explain());
        }
    }

    fn roll_back(&mut self, reason: String) {
        if matches!(self.stage, Stage::RollingBack | Stage::Ended) {
            return;
        }
        self.stage = Stage::RollingBack;
        let changed: Vec<(usize, bool)> = self.nodes.iter().enumerate().filter_map(|(node, state)| match state {
            Node::Probation | Node::Checking | Node::Confirmed | Node::Finishing => Some((node, true)),
            Node::Settled(Outcome::Unknown) => Some((node, false)),
            Node::Settled(Outcome::Confirmed | Outcome::RollbackFailed | Outcome::Held) => Some((node, true)),
            _ => None,
        }).collect();
        if !changed.is_empty() || !self.idle() {
            self.record_state(RolloutState::RollingBack, reason.clone());
        }
        self.reason = reason;
        self.actions.push(Action::CancelUpgrades);
        self.actions.push(Action::CancelConfirms);
        for (node, known) in changed {
            self.put_back(node, known);
        }
    }

    fn abort(&mut self, reason: String) {
        if !matches!(self.stage, Stage::Upgrading | Stage::Baking | Stage::Gating | Stage::Confirming) {
            return;
        }
        self.stage = Stage::Aborting;
        self.reason = reason;
        self.actions.push(Action::CancelUpgrades);
        for node in 0..self.nodes.len() {
            if matches!(self.nodes[node], Node::Probation | Node::Checking) {
                self.put_back(node, true);
            }
        }
    }

    /// Why the rollout stops, while it does; else why a single node is put back.
    #[must_use]
    pub fn reason(&self) -> &str {
        if self.reason.is_empty() { "the node failed in this rollout" } else { &self.reason }
    }

    fn is_going_forward(&self) -> bool {
        !matches!(self.stage, Stage::RollingBack | Stage::Aborting | Stage::Ended)
    }

    fn end(&mut self, state: RolloutState, reason: String) {
        self.stage = Stage::Ended;
        self.record_state(state, reason);
        self.actions.push(Action::End(state));
    }

    fn idle(&self) -> bool {
        self.upgrading == 0 && self.waiting == 0 && self.rolling_back == 0
    }

    /// Whether the rollout changed nodes and none of them is left on the new code.
    fn all_back(&self) -> bool {
        let is = |wanted: Outcome| self.nodes.contains(&Node::Settled(wanted));
        let unresolved = |node: &Node| matches!(node, Node::Settled(outcome) if outcome.is_unresolved());
        is(Outcome::RolledBack) && !self.nodes.iter().any(unresolved)
    }

    fn of_wave(&self, state: Node) -> Vec<usize> {
        let nodes = &self.waves[self.wave].nodes;
        nodes.iter().copied().filter(|node| self.nodes[*node] == state).collect()
    }

    fn put_back(&mut self, node: usize, known: bool) {
        self.ask(node, Node::RollingBack { known }, Phase::Rollback, Action::Rollback(node));
    }

    fn ask(&mut self, node: usize, state: Node, phase: Phase, action: Action) {
        self.set(node, state);
        self.actions.push(Action::Record(Fact::Ask { node: self.names[node].clone(), phase }));
        self.actions.push(action);
    }

    fn settle(&mut self, node: usize, outcome: Outcome, cause: Option<Cause>) {
        self.set(node, Node::Settled(outcome));
        self.record_outcome(node, outcome, None, cause);
    }

    fn set(&mut self, node: usize, state: Node) {
        let former = std::mem::replace(&mut self.nodes[node], state);
        if let Some(count) = self.counter(former) {
            *count -= 1;
        }
        if let Some(count) = self.counter(state) {
            *count += 1;
        }
    }

    fn counter(&mut self, state: Node) -> Option<&mut u32> {
        match state {
            Node::Upgrading => Some(&mut self.upgrading),
            Node::Checking | Node::Confirming | Node::Finishing => Some(&mut self.waiting),
            Node::RollingBack { .. } => Some(&mut self.rolling_back),
            Node::Pending | Node::Probation | Node::Confirmed | Node::Settled(_) => None,
        }
    }

    fn record_state(&mut self, state: RolloutState, reason: String) {
        self.actions.push(Action::Record(Fact::State { state, reason }));
    }

    fn record_wave(&mut self, stage: WaveStage, nodes: usize, bake: Duration) {
        let bake_ms = u64::try_from(bake.as_millis()).unwrap_or(u64::MAX);
        // See `new` and `judge` for why these fit 32 bits.
        let (wave, nodes) = (self.wave as u32 + 1, nodes as u32);
        self.actions.push(Action::Record(Fact::Wave { wave, stage, nodes, bake_ms }));
    }

    fn record_outcome(&mut self, node: usize, outcome: Outcome, pause_us: Option<u64>, cause: Option<Cause>) {
        let node = self.names[node].clone();
        self.actions.push(Action::Record(Fact::Node { node, outcome, pause_us, cause, rollback: None }));
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
