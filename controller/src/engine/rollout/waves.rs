//! The way forward: waves that are upgraded, bake, pass their gate and are confirmed, one after the other, until all confirmed
//! nodes finish. What stops a rollout is elsewhere.

use std::time::Duration;

use crate::engine::event::Cause;
use crate::engine::gate::Verdict;
use crate::engine::moves::{Action, Judged, Standing, Timer, Upgraded};
use crate::engine::rollout::nodes::Node;
use crate::engine::rollout::state::Stage;
use crate::engine::rollout::{Fact, Rollout};
use crate::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use crate::output::count;
use crate::policy::OnFailure;

impl Rollout {
    pub(super) fn start(&mut self) {
        if self.state.stage != Stage::Planned {
            return;
        }
        let waves = self.state.waves.len();
        let nodes: usize = self.state.waves.iter().map(|wave| wave.nodes.len()).sum();
        let how = if self.state.prepare_only {
            " are prepared and no more"
        } else {
            ""
        };
        let (nodes, waves) = (count(nodes as u64, "node"), count(waves as u64, "wave"));
        self.say_state(RolloutState::Running, format!("{nodes} in {waves}{how}"));
        self.enter_wave(0);
    }

    /// Begins a wave, or what comes after the last.
    pub(super) fn enter_wave(&mut self, wave: usize) {
        if wave < self.state.waves.len() {
            let nodes = self.state.waves[wave].nodes.len();
            // See `say_wave`.
            self.say(Fact::Wave {
                wave: wave as u32 + 1,
                stage: WaveStage::Upgrading,
                nodes: nodes as u32,
                bake_ms: 0,
            });
        } else if self.state.prepare_only {
            self.end_rehearsal();
        } else {
            self.finish_confirmed();
        }
    }

    /// Asks all confirmed nodes to finish.
    pub(super) fn finish_confirmed(&mut self) {
        let confirmed = self.state.nodes.all(|node| node == Node::Confirmed);
        self.say_wave(WaveStage::Finishing, confirmed.len(), Duration::ZERO);
        self.actions
            .extend(confirmed.into_iter().map(Action::Finish));
    }

    /// Starts nodes, and bakes when all have resumed or failed.
    pub(super) fn upgrade_wave(&mut self) -> bool {
        if self.state.lockstep {
            if !self.go_in_lockstep() {
                return false;
            }
        } else {
            self.start_nodes();
        }
        let nodes = &self.state.nodes;
        if nodes.upgrading > 0 || self.state.started < self.wave().nodes.len() {
            return false;
        }
        match nodes.probation as usize {
            0 => self.leave_wave(),
            probation => self.bake(probation),
        }
        true
    }

    fn start_nodes(&mut self) {
        let most = match self.state.prepare_only {
            true => self.policy.concurrency,
            false => self.state.budget.in_flight(),
        };
        while self.state.nodes.upgrading < most
            && let Some(node) = self.wave().nodes.get(self.state.started).copied()
        {
            self.upgrade(node, self.attempt(node), false);
        }
    }

    pub(super) fn upgrade(&mut self, node: usize, attempt: u32, again: bool) {
        self.ask(node, Phase::Upgrade, attempt);
        self.actions.push(Action::Upgrade {
            node,
            attempt,
            again,
        });
    }

    pub(super) fn bake(&mut self, nodes: usize) {
        let bake = self.wave().bake;
        self.say_wave(WaveStage::Baking, nodes, bake);
        (self.measured, self.due) = (true, false);
        self.actions.push(Action::Measure);
        self.actions.push(Action::Wait(Timer::Bake, bake));
    }

    fn leave_wave(&mut self) {
        let wave = self.state.wave;
        let confirmed = self.state.nodes.those(&self.wave().nodes, Node::Confirmed);
        self.say_wave(WaveStage::Done, confirmed.len(), Duration::ZERO);
        self.enter_wave(wave + 1);
    }

    pub(super) fn upgraded(&mut self, node: usize, result: Upgraded) {
        if self.state.nodes.get(node) != Node::Upgrading {
            return;
        }
        match result {
            Upgraded::Probation { pause_us, steps } => {
                self.say(Fact::Node {
                    node: self.names.name(node),
                    outcome: Outcome::InProbation,
                    pause_us,
                    steps,
                    cause: None,
                    rollback: None,
                });
                match self.state.stage {
                    Stage::Aborting if self.state.keep => {
                        self.ask(node, Phase::Confirm, self.attempt(node));
                        self.actions.push(Action::Confirm(node));
                    }
                    stage if !stage.is_forward() || self.batch_is_over() => self.put_back(node),
                    _ => {}
                }
            }
            Upgraded::Prepared(pause_us) => {
                self.outcome(node, Outcome::Prepared, Some(pause_us), None);
            }
            Upgraded::AlreadyCurrent => self.settle(node, Outcome::AlreadyCurrent, None),
            Upgraded::Untouched(cause) => self.settle(node, Outcome::Untouched, Some(cause)),
            Upgraded::Interrupted(cause) => match self.is_going_forward() && !self.state.lockstep {
                true => self.upgrade(node, self.attempt(node) + 1, false),
                false => self.settle(node, Outcome::Untouched, Some(cause)),
            },
            Upgraded::Refused(cause) => self.settle(node, Outcome::Refused, Some(cause)),
            Upgraded::RolledBack(cause) => self.settle(node, Outcome::RolledBack, Some(cause)),
            Upgraded::Superseded(cause) => self.settle(node, Outcome::Superseded, Some(cause)),
            Upgraded::Changed(cause) => {
                self.settle(node, Outcome::InProbation, Some(cause));
                self.put_back(node);
            }
            Upgraded::Unknown(cause) => {
                self.settle(node, Outcome::Unknown, Some(cause));
                self.put_back(node);
            }
        }
        self.left_the_batch(node);
    }

    pub(super) fn elapsed(&mut self, timer: Timer) {
        match (timer, self.state.stage) {
            (Timer::Bake, Stage::Baking) => self.due = true,
            (Timer::Recheck, Stage::Gating) if !self.is_blocked() => {
                self.actions.push(Action::Judge);
            }
            (Timer::Barrier, Stage::Upgrading | Stage::Aborting | Stage::RollingBack) => {
                self.barrier_is_late();
            }
            _ => {}
        }
    }

    pub(super) fn end_bake(&mut self) -> bool {
        if self.state.nodes.probation == 0 {
            self.leave_wave();
            return true;
        }
        if std::mem::take(&mut self.due) {
            self.open_gate();
            return true;
        }
        false
    }

    pub(super) fn open_gate(&mut self) {
        let nodes = self.state.nodes.probation as usize;
        self.say_wave(WaveStage::Gate, nodes, Duration::ZERO);
        self.actions.push(Action::Judge);
    }

    pub(super) fn judged(&mut self, judged: Judged) {
        if self.state.stage != Stage::Gating {
            return;
        }
        let Judged {
            verdict,
            health,
            lost,
        } = judged;
        for (node, standing) in lost {
            self.told(node, standing);
        }
        if self.state.verdict.as_ref() != Some(&verdict) {
            // See `say_wave`.
            let wave = self.state.wave as u32 + 1;
            self.say(Fact::Gate {
                wave,
                verdict: verdict.clone(),
                health,
            });
        }
        if let Verdict::Inconclusive(reasons) = verdict
            && self.state.accepted.is_none()
            && !self.is_blocked()
        {
            self.hold(&reasons);
        }
    }

    /// Nodes that were away go back by themselves when their gate is not passed: all others have passed theirs.
    fn give_up_late(&mut self) {
        for node in self.state.nodes.all(|node| node == Node::Probation) {
            self.put_back(node);
        }
    }

    /// A gate with too little data is looked at again for a while; then a person decides.
    fn hold(&mut self, reasons: &[String]) {
        let patience = self.policy.timeouts.gate.get();
        let waited = Duration::from_millis(self.now_ms.saturating_sub(self.state.since_ms));
        if waited >= patience && self.wave().late {
            return self.give_up_late();
        }
        if waited >= patience {
            let wave = self.state.wave + 1;
            let reasons = reasons.join("; ");
            let reason = format!("the gate of wave {wave} has too little data: {reasons}");
            return self.say_state(RolloutState::Paused, reason);
        }
        let next = self.wave().bake.clamp(
            Duration::from_secs(1),
            patience / 4 + Duration::from_secs(1),
        );
        let next = next.min(patience - waited);
        self.actions.push(Action::Wait(Timer::Recheck, next));
    }

    pub(super) fn pass_gate(&mut self) -> bool {
        if self.state.nodes.probation == 0 {
            self.leave_wave();
            return true;
        }
        let passed = match &self.state.verdict {
            Some(Verdict::Trip(_)) if self.wave().late => {
                self.give_up_late();
                return true;
            }
            Some(Verdict::Pass) => true,
            Some(Verdict::Inconclusive(_)) => self.state.accepted.is_some(),
            Some(Verdict::Trip(_)) => mutant!(gate_verdict_ignored),
            None => false,
        };
        if passed {
            self.confirm_wave();
        }
        passed
    }

    fn confirm_wave(&mut self) {
        let nodes = self.state.nodes.all(|node| node == Node::Probation);
        self.say_wave(WaveStage::Confirming, nodes.len(), Duration::ZERO);
        self.actions.extend(nodes.into_iter().map(Action::Confirm));
    }

    pub(super) fn confirmed(&mut self, node: usize, standing: Standing) {
        if self.state.nodes.get(node) != Node::Confirming {
            return;
        }
        match standing {
            // It has not: it is asked again.
            Standing::Probation => self.actions.push(Action::Confirm(node)),
            Standing::Confirmed => {
                self.outcome(node, Outcome::Confirmed, None, None);
                if self.state.stage == Stage::RollingBack {
                    self.put_back(node);
                }
            }
            standing => self.left_probation(node, standing),
        }
    }

    /// Of a node that was asked how it stands. Those that are asked to confirm at the same time answer that.
    pub(super) fn told(&mut self, node: usize, standing: Standing) {
        if self.state.nodes.get(node) == Node::Probation {
            match standing {
                Standing::Probation => {}
                Standing::Confirmed => self.outcome(node, Outcome::Confirmed, None, None),
                standing => self.left_probation(node, standing),
            }
        }
    }

    /// A node that ran the new code does not do so any more, or nobody knows: it counts, and who is lost is put back by itself.
    fn left_probation(&mut self, node: usize, standing: Standing) {
        match standing {
            Standing::RolledBack(cause) => self.settle(node, Outcome::RolledBack, Some(cause)),
            Standing::Superseded(cause) => self.settle(node, Outcome::Superseded, Some(cause)),
            Standing::Unknown(cause) => {
                self.settle(node, Outcome::Unknown, Some(cause));
                self.put_back(node);
            }
            Standing::Probation | Standing::Confirmed => {}
        }
    }

    pub(super) fn end_wave(&mut self) -> bool {
        let over = self.state.nodes.waiting == 0;
        if over {
            self.leave_wave();
        }
        over
    }

    /// The answer leaves no fact unless it is bad: whoever goes on later asks again, and is answered the same.
    pub(super) fn finished(&mut self, node: usize, result: Result<(), Cause>) {
        if self.state.nodes.get(node) != Node::Finishing {
            return;
        }
        match result {
            Ok(()) => self
                .state
                .nodes
                .set(node, Node::Settled(Outcome::Confirmed)),
            Err(cause) => {
                let node = self.names.name(node);
                self.say(Fact::Trouble { node, cause });
            }
        }
    }

    pub(super) fn succeed(&mut self) -> bool {
        let over = self.state.nodes.idle();
        if over {
            let wave = self.wave();
            let reason = if wave.late {
                let confirmed = Node::Settled(Outcome::Confirmed);
                let those = self.state.nodes.those(&wave.nodes, confirmed).len();
                let nodes = count(wave.nodes.len() as u64, "node");
                format!("{those} of {nodes} that were away have followed")
            } else {
                "every wave passed its gate and is confirmed".to_owned()
            };
            self.end(RolloutState::Succeeded, reason);
        }
        over
    }

    /// After a prepare that was all that was wanted.
    fn end_rehearsal(&mut self) {
        match self.state.budget.failures() {
            0 => self.end(
                RolloutState::Succeeded,
                "every node would take the patch; nothing was changed".to_owned(),
            ),
            nodes => {
                let nodes = count(nodes, "node");
                let reason = format!("{nodes} would not take the patch; nothing was changed");
                self.end(RolloutState::Failed, reason);
            }
        }
    }

    /// Why the rollout may not go forward, if it may not: more failed than may, or a gate tripped.
    pub(super) fn failure(&self) -> Option<String> {
        if !self.is_going_forward() {
            return None;
        }
        if !self.is_affordable() {
            return Some(self.state.budget.explain());
        }
        match (&self.state.verdict, self.state.stage) {
            (Some(Verdict::Trip(_)), _) if mutant!(gate_verdict_ignored) => None,
            (Some(Verdict::Trip(reasons)), Stage::Gating) if !self.wave().late => {
                let (wave, reasons) = (self.state.wave + 1, reasons.join("; "));
                Some(format!("the gate of wave {wave} tripped: {reasons}"))
            }
            _ => None,
        }
    }

    /// The policy says what follows from a failure.
    pub(super) fn fail(&mut self, reason: String) {
        match self.policy.on_failure {
            OnFailure::Rollback => self.roll_back(reason),
            OnFailure::Pause if self.state.paused => {}
            OnFailure::Pause => self.say_state(RolloutState::Paused, reason),
        }
    }

    pub(super) fn end(&mut self, state: RolloutState, reason: String) {
        self.say_state(state, reason);
        self.actions.push(Action::End(state));
    }
}
