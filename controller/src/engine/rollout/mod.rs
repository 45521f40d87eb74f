//! The rollout as a pure state machine. Its state is the fold of its facts (`state`); a step looks at the state and an input,
//! and says which facts follow and what is to be done; every fact is folded as it is said. No clock, no network, no journal:
//! whoever drives it records the facts first and then does the rest. Read [`Rollout::step`], then `waves`.

mod budget;
mod controls;
mod lockstep;
mod nodes;
mod recover;
mod rollback;
mod state;
mod waves;

use std::time::Duration;

use crate::engine::event::{Cause, Event, Fact};
pub use crate::engine::moves::{Action, Back, Input, Judged, Standing, Timer, Upgraded, Wave};
use crate::engine::rollout::nodes::Node;
use crate::engine::rollout::state::{Names, Stage, State};
use crate::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use crate::policy::Policy;

/// The code of a node that was cancelled because the rollout or its batch stops; it is no failure of that node.
pub const CANCELLED: &str = "MF0527";

/// A rollout; see the module's text.
#[derive(Clone, Debug)]
pub struct Rollout {
    policy: std::sync::Arc<Policy>,
    names: std::sync::Arc<Names>,
    state: State,
    /// Of this step, in milliseconds since 1970.
    now_ms: u64,
    /// Nodes of the batch under way that are through what its barrier opened.
    reached: usize,
    /// When the first node of the batch under way could run the new code.
    mixed_since_ms: u64,
    /// The nodes were read at the beginning of this bake, by this process.
    measured: bool,
    /// The bake ended while the rollout was paused.
    due: bool,
    actions: Vec<Action>,
}

impl Rollout {
    /// Before its first fact, which is the plan.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self {
            policy: std::sync::Arc::new(policy.clone()),
            names: std::sync::Arc::default(),
            state: State::default(),
            now_ms: 0,
            reached: 0,
            mixed_since_ms: 0,
            measured: false,
            due: false,
            actions: Vec::new(),
        }
    }

    /// As these events left it; with [`Input::Recover`] it goes on from there.
    #[must_use]
    pub fn of(policy: &Policy, events: &[Event]) -> Self {
        let mut rollout = Self::new(policy);
        for event in events {
            rollout.fold(event.time_ms, &event.fact);
        }
        rollout
    }

    /// Takes in a fact that is in the journal, or is about to be.
    pub fn fold(&mut self, time_ms: u64, fact: &Fact) {
        if let Fact::Planned(planned) = fact {
            self.names = std::sync::Arc::new(Names::of(planned));
        }
        self.state.fold(time_ms, fact, &self.names, &self.policy);
    }

    /// One step: what follows from `input`, `now_ms` milliseconds after 1970.
    pub fn step(&mut self, now_ms: u64, input: Input) -> Vec<Action> {
        self.now_ms = now_ms;
        match input {
            Input::Start => self.start(),
            Input::Recover(request) => self.recover(request),
            Input::Control(request) => self.control(request),
            Input::Upgraded(node, result) => self.upgraded(node, result),
            Input::Reached(node, barrier) => self.reached(node, barrier),
            Input::Elapsed(timer) => self.elapsed(timer),
            Input::Judged(judged) => self.judged(judged),
            Input::Told(node, standing) => self.told(node, standing),
            Input::Confirmed(node, standing) => self.confirmed(node, standing),
            Input::Finished(node, result) => self.finished(node, result),
            Input::RolledBack(node, result) => self.rolled_back(node, result),
        }
        self.advance();
        std::mem::take(&mut self.actions)
    }

    /// Everything that follows from counts alone, until nothing more does.
    fn advance(&mut self) {
        loop {
            if let Some(reason) = self.failure() {
                self.fail(reason);
            }
            if self.is_blocked() {
                if self.state.leaving && self.state.nodes.idle() {
                    self.state.leaving = false;
                    self.actions.push(Action::Leave);
                }
                return;
            }
            let goes_on = match self.state.stage {
                Stage::Upgrading => self.upgrade_wave(),
                Stage::Baking => self.end_bake(),
                Stage::Gating => self.pass_gate(),
                Stage::Confirming => self.end_wave(),
                Stage::Finishing => self.succeed(),
                Stage::RollingBack => self.end_rollback(),
                Stage::Aborting => self.end_abort(),
                Stage::Planned | Stage::Ended(_) => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Whether nothing new may be started, although the rollout would go on.
    fn is_blocked(&self) -> bool {
        self.is_going_forward() && (self.state.paused || self.state.leaving)
    }

    /// Whether failures are within the budget; only a rehearsal that changes nothing has none.
    fn is_affordable(&self) -> bool {
        self.state.prepare_only || self.state.budget.is_within()
    }

    /// Whether the rollout still brings new code to nodes.
    fn is_going_forward(&self) -> bool {
        self.state.stage.is_forward()
    }

    fn settle(&mut self, node: usize, outcome: Outcome, cause: Option<Cause>) {
        self.outcome(node, outcome, None, cause);
    }

    fn outcome(
        &mut self,
        node: usize,
        outcome: Outcome,
        pause_us: Option<u64>,
        cause: Option<Cause>,
    ) {
        self.say(Fact::Node {
            node: self.names.name(node),
            outcome,
            pause_us,
            steps: Vec::new(),
            cause,
            rollback: None,
        });
    }

    fn ask(&mut self, node: usize, phase: Phase, attempt: u32) {
        self.say(Fact::Ask {
            node: self.names.name(node),
            phase,
            attempt,
        });
    }

    fn say_state(&mut self, state: RolloutState, reason: String) {
        self.say(Fact::State { state, reason });
    }

    fn say_wave(&mut self, stage: WaveStage, nodes: usize, bake: Duration) {
        // Waves and nodes are counted by a policy and an inventory, which fit 32 bits.
        let (wave, nodes) = (self.state.wave as u32 + 1, nodes as u32);
        self.say(Fact::Wave {
            wave,
            stage,
            nodes,
            bake_ms: u64::try_from(bake.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// The only way in which a step changes the state.
    fn say(&mut self, fact: Fact) {
        self.fold(self.now_ms, &fact);
        self.actions.push(Action::Record(Box::new(fact)));
    }

    /// Nodes that run the new code and wait for their gate: those whose lease is to be renewed.
    #[must_use]
    pub fn holds_lease(&self, node: usize) -> bool {
        matches!(
            self.state.nodes.get(node),
            Node::Probation | Node::Confirming
        )
    }

    /// Which attempt at a node is under way, or was the last; counts from 1.
    #[must_use]
    pub fn attempt(&self, node: usize) -> u32 {
        self.state.nodes.attempt(node)
    }

    /// How many processes have owned the rollout.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// The nodes of the wave that is under way.
    #[must_use]
    pub fn wave(&self) -> &Wave {
        static NONE: Wave = Wave {
            nodes: Vec::new(),
            bake: Duration::ZERO,
            batches: Vec::new(),
            control: Vec::new(),
            late: false,
        };
        self.state.waves.get(self.state.wave).unwrap_or(&NONE)
    }

    /// Its number, from 1.
    #[must_use]
    pub fn wave_number(&self) -> u32 {
        // See `say_wave`.
        self.state.wave as u32 + 1
    }

    /// The index of a node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<usize> {
        self.names.index(name)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod model;
