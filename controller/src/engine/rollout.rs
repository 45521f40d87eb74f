//! The rollout as a pure state machine: an input goes in, the actions that follow come out, and nothing else happens. No
//! clock, no network, no journal: whoever drives it records the facts among the actions first and then does the rest. Read
//! [`Rollout::step`], then `advance`.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::budget::Budget;
use crate::engine::event::{Cause, Fact, Health};
use crate::engine::gate::{self, Verdict};
use crate::engine::measure::Window;
pub use crate::engine::moves::{Action, Back, Checked, Input, Upgraded, Wave};
use crate::engine::nodes::{Node, Nodes};
use crate::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use crate::output::count;
use crate::policy::{Gate, Policy};

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
    nodes: Nodes,
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
    actions: Vec<Action>,
}

impl Rollout {
    /// A rollout that has not begun. `outcomes` are those of nodes that no wave holds: already current, unreachable.
    #[must_use]
    pub fn new(
        names: Arc<[String]>,
        waves: Vec<Wave>,
        outcomes: &[(usize, Outcome)],
        policy: &Policy,
    ) -> Self {
        let mut nodes = Nodes::new(names);
        for (node, outcome) in outcomes {
            nodes.set(*node, Node::Settled(*outcome));
        }
        // A plan holds at most as many nodes as an inventory may list, which fits 32 bits.
        let planned = waves.iter().map(|wave| wave.nodes.len()).sum::<usize>() as u32;
        Self {
            nodes,
            waves,
            gates: policy.gates.clone(),
            budget: Budget::new(policy, planned),
            stage: Stage::Planned,
            wave: 0,
            started: 0,
            health: Health::default(),
            reason: String::new(),
            actions: Vec::new(),
        }
    }

    /// A rollout that is to be rolled back and nothing else. `changed` are the nodes that it changed or may have changed;
    /// `known` says of which this is certain.
    #[must_use]
    pub fn resumed(
        names: Arc<[String]>,
        changed: &[(usize, bool)],
        others: &[(usize, Outcome)],
        policy: &Policy,
    ) -> Self {
        let mut rollout = Self::new(names, Vec::new(), others, policy);
        for (node, known) in changed {
            let unknown = Node::Settled(Outcome::Unknown);
            rollout
                .nodes
                .set(*node, if *known { Node::Probation } else { unknown });
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
            let (waves, nodes) = (
                self.waves.len(),
                self.waves
                    .iter()
                    .map(|wave| wave.nodes.len())
                    .sum::<usize>(),
            );
            self.record_state(
                RolloutState::Running,
                format!(
                    "{} in {}",
                    count(nodes as u64, "node"),
                    count(waves as u64, "wave")
                ),
            );
            self.enter_wave(0);
        }
    }

    fn enter_wave(&mut self, wave: usize) {
        (self.wave, self.started, self.health) = (wave, 0, Health::default());
        if wave < self.waves.len() {
            self.stage = Stage::Upgrading;
            self.record_wave(
                WaveStage::Upgrading,
                self.waves[wave].nodes.len(),
                Duration::ZERO,
            );
            return;
        }
        self.stage = Stage::Finishing;
        self.finish_confirmed();
    }

    /// Asks all confirmed nodes to finish; false when there are none.
    fn finish_confirmed(&mut self) -> bool {
        let confirmed = self.nodes.all(|node| node == Node::Confirmed);
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
                    if self.nodes.upgrading > 0 || self.started < self.waves[self.wave].nodes.len()
                    {
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
                Stage::Gating if self.nodes.waiting == 0 => self.judge(),
                Stage::Confirming if self.nodes.waiting == 0 => self.leave_wave(),
                Stage::Finishing if self.nodes.waiting == 0 && self.nodes.rolling_back == 0 => {
                    let reason = "every wave passed its gate and is confirmed".to_owned();
                    self.end(RolloutState::Succeeded, reason);
                }
                Stage::RollingBack if self.nodes.idle() => {
                    let state = if self.nodes.all_back() {
                        RolloutState::RolledBack
                    } else {
                        RolloutState::Failed
                    };
                    let reason = std::mem::take(&mut self.reason);
                    self.end(state, reason);
                }
                Stage::Aborting if self.nodes.idle() => {
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
        while self.nodes.upgrading < self.budget.in_flight()
            && let Some(node) = self.waves[self.wave].nodes.get(self.started).copied()
        {
            self.started += 1;
            self.ask(node, Node::Upgrading, Phase::Upgrade, Action::Upgrade(node));
        }
    }

    fn leave_wave(&mut self) {
        self.record_wave(
            WaveStage::Done,
            self.of_wave(Node::Confirmed).len(),
            Duration::ZERO,
        );
        self.enter_wave(self.wave + 1);
    }

    fn upgraded(&mut self, node: usize, result: Upgraded) {
        if self.nodes.get(node) != Node::Upgrading {
            return;
        }
        match result {
            Upgraded::Probation(pause_us) => {
                self.nodes.set(node, Node::Probation);
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
        if self.nodes.get(node) != Node::Checking {
            return;
        }
        match result {
            Checked::Health(health) => {
                self.health += health;
                self.nodes.set(node, Node::Probation);
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
        let window = Window {
            counts: self.health.into(),
            ..Window::default()
        };
        let (passed, reasons) = match gate::judge(&self.gates, &window, None) {
            Verdict::Pass => (true, Vec::new()),
            Verdict::Trip(reasons) | Verdict::Inconclusive(reasons) => (false, reasons),
        };
        // Waves are counted by a policy's list, which fits 32 bits.
        let wave = self.wave as u32 + 1;
        self.record(Fact::Gate {
            wave,
            passed,
            health: self.health,
            reasons: reasons.clone(),
        });
        if !passed {
            return self.roll_back(format!(
                "the gate of wave {wave} tripped: {}",
                reasons.join("; ")
            ));
        }
        self.stage = Stage::Confirming;
        let nodes = self.of_wave(Node::Probation);
        self.record_wave(WaveStage::Confirming, nodes.len(), Duration::ZERO);
        for node in nodes {
            self.ask(
                node,
                Node::Confirming,
                Phase::Confirm,
                Action::Confirm(node),
            );
        }
    }

    fn confirmed(&mut self, node: usize, result: Result<(), Cause>) {
        if self.nodes.get(node) != Node::Confirming {
            return;
        }
        match result {
            Ok(()) => {
                self.nodes.set(node, Node::Confirmed);
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
        if self.nodes.get(node) != Node::Finishing {
            return;
        }
        self.nodes.set(node, Node::Settled(Outcome::Confirmed));
        if let Err(cause) = result {
            let node = self.nodes.name(node);
            self.record(Fact::Trouble { node, cause });
        }
    }

    fn rolled_back(&mut self, node: usize, result: Back) {
        let Node::RollingBack { known } = self.nodes.get(node) else {
            return;
        };
        let (outcome, cause, counts) = match result {
            Back::RolledBack(counts) => (Outcome::RolledBack, None, Some(counts)),
            Back::Untouched => (Outcome::Untouched, None, None),
            Back::Superseded(cause) => (Outcome::Superseded, Some(cause), None),
            Back::Held(cause, counts) => (Outcome::Held, Some(cause), Some(counts)),
            Back::Failed(cause) => (Outcome::RollbackFailed, Some(cause), None),
            Back::Unreached(cause) if known => (Outcome::RollbackFailed, Some(cause), None),
            Back::Unreached(cause) => (Outcome::Unknown, Some(cause), None),
        };
        self.nodes.set(node, Node::Settled(outcome));
        let node = self.nodes.name(node);
        self.record(Fact::Node {
            node,
            outcome,
            pause_us: None,
            cause,
            rollback: counts,
        });
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
        let changed = self.nodes.changed();
        if !changed.is_empty() || !self.nodes.idle() {
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
        if !matches!(
            self.stage,
            Stage::Upgrading | Stage::Baking | Stage::Gating | Stage::Confirming
        ) {
            return;
        }
        self.stage = Stage::Aborting;
        self.reason = reason;
        self.actions.push(Action::CancelUpgrades);
        for node in self
            .nodes
            .all(|node| matches!(node, Node::Probation | Node::Checking))
        {
            self.put_back(node, true);
        }
    }

    /// Why the rollout stops, while it does; else why a single node is put back.
    #[must_use]
    pub fn reason(&self) -> &str {
        if self.reason.is_empty() {
            "the node failed in this rollout"
        } else {
            &self.reason
        }
    }

    fn is_going_forward(&self) -> bool {
        !matches!(
            self.stage,
            Stage::RollingBack | Stage::Aborting | Stage::Ended
        )
    }

    fn end(&mut self, state: RolloutState, reason: String) {
        self.stage = Stage::Ended;
        self.record_state(state, reason);
        self.actions.push(Action::End(state));
    }

    fn of_wave(&self, state: Node) -> Vec<usize> {
        self.nodes.those(&self.waves[self.wave].nodes, state)
    }

    fn put_back(&mut self, node: usize, known: bool) {
        self.ask(
            node,
            Node::RollingBack { known },
            Phase::Rollback,
            Action::Rollback(node),
        );
    }

    fn ask(&mut self, node: usize, state: Node, phase: Phase, action: Action) {
        self.nodes.set(node, state);
        self.record(Fact::Ask {
            node: self.nodes.name(node),
            phase,
        });
        self.actions.push(action);
    }

    fn settle(&mut self, node: usize, outcome: Outcome, cause: Option<Cause>) {
        self.nodes.set(node, Node::Settled(outcome));
        self.record_outcome(node, outcome, None, cause);
    }

    fn record(&mut self, fact: Fact) {
        self.actions.push(Action::Record(Box::new(fact)));
    }

    fn record_state(&mut self, state: RolloutState, reason: String) {
        self.record(Fact::State { state, reason });
    }

    fn record_wave(&mut self, stage: WaveStage, nodes: usize, bake: Duration) {
        let bake_ms = u64::try_from(bake.as_millis()).unwrap_or(u64::MAX);
        // See `new` and `judge` for why these fit 32 bits.
        let (wave, nodes) = (self.wave as u32 + 1, nodes as u32);
        self.record(Fact::Wave {
            wave,
            stage,
            nodes,
            bake_ms,
        });
    }

    fn record_outcome(
        &mut self,
        node: usize,
        outcome: Outcome,
        pause_us: Option<u64>,
        cause: Option<Cause>,
    ) {
        let node = self.nodes.name(node);
        self.record(Fact::Node {
            node,
            outcome,
            pause_us,
            cause,
            rollback: None,
        });
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
