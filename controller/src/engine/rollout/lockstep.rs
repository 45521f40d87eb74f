//! Lockstep: the nodes of a batch wait for one another at barriers, so that versions mix for as short a time as they can. One
//! batch is under way at a time. A node that fails or is late before resume ends the batch for all its nodes; after that, those
//! that have resumed go back.

use crate::engine::moves::{Action, Timer};
use crate::engine::rollout::nodes::Node;
use crate::engine::rollout::state::{Batch, Stage};
use crate::engine::rollout::{Fact, Rollout};
use crate::engine::words::Barrier;

impl Rollout {
    /// Begins the next batch when the last is over; true when no batch is left and none is under way.
    pub(super) fn go_in_lockstep(&mut self) -> bool {
        let next = match self.state.batch {
            Some(Batch { .. }) if !self.batch_is_over() => return false,
            Some(Batch { index, .. }) => index + 1,
            None => 0,
        };
        if self.state.nodes.upgrading > 0 {
            return false;
        }
        if next >= self.wave().batches.len() {
            return true;
        }
        self.reached = 0;
        self.pass(next, Barrier::Prepare, None, String::new());
        self.open(Barrier::Prepare);
        for node in self.state.batch_nodes(next) {
            let attempt = self.attempt(node);
            self.actions.push(Action::Upgrade {
                node,
                attempt,
                again: false,
            });
        }
        false
    }

    /// A node is through what a barrier opened; the last one opens the next.
    pub(super) fn reached(&mut self, node: usize, barrier: Barrier) {
        let Some(batch) = self.state.batch else {
            return;
        };
        if batch.barrier != barrier || self.state.nodes.get(node) != Node::Upgrading {
            return;
        }
        self.reached += 1;
        let nodes = self.state.batch_nodes(batch.index).len();
        if self.reached == nodes && self.is_going_forward() {
            self.reached = 0;
            let next = barrier.next();
            self.pass(batch.index, next, None, String::new());
            self.open(next);
            if next == Barrier::Resume {
                self.mixed_since_ms = self.now_ms;
            }
        }
    }

    fn open(&mut self, barrier: Barrier) {
        let timeouts = &self.policy.timeouts;
        let mut limit = timeouts.barrier.get();
        if barrier == Barrier::Prepare {
            limit += timeouts.stage.get() + timeouts.prepare.get();
        }
        self.actions.push(Action::Open(barrier));
        self.actions.push(Action::Wait(Timer::Barrier, limit));
    }

    /// Whether the batch under way takes nobody further: it is through, or it was aborted.
    pub(super) fn batch_is_over(&self) -> bool {
        self.state
            .batch
            .is_some_and(|batch| matches!(batch.barrier, Barrier::Done | Barrier::Aborted))
    }

    /// A node of a batch came to an end, well or not.
    pub(super) fn left_the_batch(&mut self, node: usize) {
        let Some(batch) = self.state.batch.filter(|_| !self.batch_is_over()) else {
            return;
        };
        match self.state.nodes.get(node) {
            Node::Probation if batch.barrier == Barrier::Resume => {
                // Nobody else is in flight in lockstep.
                if self.state.nodes.upgrading == 0 {
                    let mixed = self.now_ms.saturating_sub(self.mixed_since_ms);
                    self.pass(batch.index, Barrier::Done, Some(mixed), String::new());
                }
            }
            Node::Probation => {}
            _ => {
                let name = self.names.name(node);
                self.abort_batch(
                    batch,
                    format!("{name} did not come through {}", batch.barrier),
                );
            }
        }
    }

    /// The barrier's time is over, and a node has not come.
    pub(super) fn barrier_is_late(&mut self) {
        let Some(batch) = self.state.batch.filter(|_| !self.batch_is_over()) else {
            return;
        };
        let nodes = self.state.batch_nodes(batch.index);
        let late = self.state.nodes.those(&nodes, Node::Upgrading).len();
        let (late, barrier) = (crate::output::count(late as u64, "node"), batch.barrier);
        self.abort_batch(batch, format!("{late} too late for {barrier}"));
    }

    fn abort_batch(&mut self, batch: Batch, reason: String) {
        let nodes = self.state.batch_nodes(batch.index);
        let back = self.state.nodes.those(&nodes, Node::Probation);
        self.pass(batch.index, Barrier::Aborted, None, reason);
        self.actions.push(Action::CancelBatch);
        self.actions.extend(back.into_iter().map(Action::Rollback));
    }

    fn pass(&mut self, index: usize, barrier: Barrier, mixed_ms: Option<u64>, reason: String) {
        let nodes = self.state.batch_nodes(index).len();
        // Waves, batches and nodes are counted by a policy and an inventory, which fit 32 bits.
        self.say(Fact::Batch {
            wave: self.state.wave as u32 + 1,
            batch: index as u32 + 1,
            barrier,
            nodes: nodes as u32,
            mixed_ms,
            reason,
        });
    }

    /// The transactions of a batch that was under way ended with the process that held it together.
    pub(super) fn recover_batch(&mut self) {
        if let Some(batch) = self.state.batch.filter(|_| !self.batch_is_over())
            && self.state.stage == Stage::Upgrading
        {
            let reason = "the controller that held it together ended".to_owned();
            self.pass(batch.index, Barrier::Aborted, None, reason);
        }
    }
}
