//! Where each node of a rollout is, and how many are in flight, waited for or rolling back: what the state machine counts on
//! at every step, kept without a scan. It decides nothing.

use std::sync::Arc;

use crate::engine::words::Outcome;

/// Where one node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
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

/// All nodes of a rollout.
#[derive(Debug)]
pub(super) struct Nodes {
    names: Arc<[String]>,
    states: Vec<Node>,
    /// Nodes between the start of their upgrade and its end.
    pub(super) upgrading: u32,
    /// Nodes that were asked for their health, to confirm or to finish.
    pub(super) waiting: u32,
    /// Nodes that are being put back.
    pub(super) rolling_back: u32,
}

impl Nodes {
    /// All pending.
    pub(super) fn new(names: Arc<[String]>) -> Self {
        let states = vec![Node::Pending; names.len()];
        Self {
            names,
            states,
            upgrading: 0,
            waiting: 0,
            rolling_back: 0,
        }
    }

    pub(super) fn name(&self, node: usize) -> String {
        self.names[node].clone()
    }

    pub(super) fn get(&self, node: usize) -> Node {
        self.states[node]
    }

    pub(super) fn set(&mut self, node: usize, state: Node) {
        let former = std::mem::replace(&mut self.states[node], state);
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

    /// Whether nothing is being asked of any node.
    pub(super) fn idle(&self) -> bool {
        self.upgrading == 0 && self.waiting == 0 && self.rolling_back == 0
    }

    /// All nodes whose state is wanted, in the order of the plan.
    pub(super) fn all(&self, wanted: impl Fn(Node) -> bool) -> Vec<usize> {
        (0..self.states.len())
            .filter(|node| wanted(self.states[*node]))
            .collect()
    }

    /// Those of `nodes` that are in `state`.
    pub(super) fn those(&self, nodes: &[usize], state: Node) -> Vec<usize> {
        nodes
            .iter()
            .copied()
            .filter(|node| self.states[*node] == state)
            .collect()
    }

    /// Nodes to be put back when the rollout is, and whether it is certain that they were changed. Those that are upgrading or
    /// confirming say first what they came to.
    pub(super) fn changed(&self) -> Vec<(usize, bool)> {
        let changed = |state: Node| match state {
            Node::Probation | Node::Checking | Node::Confirmed | Node::Finishing => Some(true),
            Node::Settled(Outcome::Unknown) => Some(false),
            Node::Settled(Outcome::Confirmed | Outcome::RollbackFailed | Outcome::Held) => {
                Some(true)
            }
            _ => None,
        };
        let states = self.states.iter().copied().enumerate();
        states
            .filter_map(|(node, state)| Some((node, changed(state)?)))
            .collect()
    }

    /// Whether the rollout changed nodes and none of them is left on the new code.
    pub(super) fn all_back(&self) -> bool {
        let unresolved =
            |node: &Node| matches!(node, Node::Settled(outcome) if outcome.is_unresolved());
        self.states.contains(&Node::Settled(Outcome::RolledBack))
            && !self.states.iter().any(unresolved)
    }

    /// The states, for tests.
    #[cfg(test)]
    pub(super) fn into_states(self) -> Vec<Node> {
        self.states
    }
}
