//! The ways to stop: back, for all nodes at once or for a single one, and abort. Going back takes no waves, no canary and no
//! budget.

use crate::engine::moves::{Action, Back};
use crate::engine::rollout::nodes::Node;
use crate::engine::rollout::state::Stage;
use crate::engine::rollout::{Fact, Rollout};
use crate::engine::words::{Outcome, Phase, RolloutState};

impl Rollout {
    /// Puts every changed node back. Those that are upgrading or confirming follow when they say what they came to.
    pub(super) fn roll_back(&mut self, reason: String) {
        let changed = self.state.nodes.changed();
        if changed.is_empty() && self.state.nodes.idle() {
            return self.end(RolloutState::Failed, reason);
        }
        self.say_state(RolloutState::RollingBack, reason);
        self.actions.push(Action::CancelUpgrades);
        self.actions.push(Action::CancelConfirms);
        let changed = changed.into_iter().map(|(node, _)| Action::Rollback(node));
        self.actions.extend(changed);
    }

    /// Puts one node back.
    pub(super) fn put_back(&mut self, node: usize) {
        self.ask(node, Phase::Rollback, self.attempt(node));
        self.actions.push(Action::Rollback(node));
    }

    pub(super) fn rolled_back(&mut self, node: usize, result: Back) {
        let Node::RollingBack { known } = self.state.nodes.get(node) else {
            return;
        };
        let (outcome, cause, rollback) = match result {
            Back::RolledBack(counts) => (Outcome::RolledBack, None, Some(counts)),
            Back::Untouched => (Outcome::Untouched, None, None),
            Back::Superseded(cause) => (Outcome::Superseded, Some(cause), None),
            Back::Held(cause, counts) => (Outcome::Held, Some(cause), Some(counts)),
            Back::Failed(cause) => (Outcome::RollbackFailed, Some(cause), None),
            Back::Unreached(cause) if known => (Outcome::RollbackFailed, Some(cause), None),
            Back::Unreached(cause) => (Outcome::Unknown, Some(cause), None),
        };
        self.say(Fact::Node {
            node: self.names.name(node),
            outcome,
            pause_us: None,
            steps: Vec::new(),
            cause,
            rollback,
        });
    }

    pub(super) fn end_rollback(&mut self) -> bool {
        if !self.state.nodes.idle() {
            return false;
        }
        let state = match self.state.nodes.all_back() {
            true => RolloutState::RolledBack,
            false => RolloutState::Failed,
        };
        let reason = self.state.reason.clone();
        self.end(state, reason);
        true
    }

    /// What stays is finished before the end: a node that is not cannot take another patch.
    pub(super) fn end_abort(&mut self) -> bool {
        let nodes = &self.state.nodes;
        if !nodes.idle() {
            return false;
        }
        if nodes.iter().any(|(_, node)| node == Node::Confirmed) {
            self.finish_confirmed();
        } else {
            let reason = self.state.reason.clone();
            self.end(RolloutState::Aborted, reason);
        }
        true
    }

    /// Why the rollout stops, while it does; else why a single node is put back.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self.state.stage {
            Stage::RollingBack | Stage::Aborting => &self.state.reason,
            _ => "the node failed in this rollout",
        }
    }
}
