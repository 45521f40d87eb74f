//! Where each node of a rollout is, and how many are in each place: what the state machine counts on at every step, kept
//! without a scan. It decides nothing.

use crate::engine::words::Outcome;

/// Where one node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Pending,
    Upgrading,
    Probation,
    Confirming,
    Confirmed,
    Finishing,
    /// `known`: that it was changed is certain.
    RollingBack {
        known: bool,
    },
    Settled(Outcome),
}

impl Node {
    /// Whether a retry is for it.
    pub(super) fn is_retried(self) -> bool {
        matches!(self, Self::Settled(outcome) if outcome.is_retried())
    }

    /// Whether the release is still to be brought to the node, when it answers.
    pub(super) fn is_away(self) -> bool {
        matches!(self, Self::Settled(outcome) if outcome.is_away())
    }
}

/// All nodes of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Nodes {
    states: Vec<Node>,
    attempts: Vec<u32>,
    /// Nodes whose failure the budget counts.
    blamed: Vec<bool>,
    /// Nodes between the start of their upgrade and its end.
    pub(super) upgrading: u32,
    /// Nodes that run the new code and were not asked to confirm.
    pub(super) probation: u32,
    /// Nodes that were asked to confirm or to finish.
    pub(super) waiting: u32,
    /// Nodes that are being put back.
    pub(super) rolling_back: u32,
}

impl Nodes {
    /// All pending, each at its first attempt.
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            states: vec![Node::Pending; nodes],
            attempts: vec![1; nodes],
            blamed: vec![false; nodes],
            ..Self::default()
        }
    }

    pub(super) fn get(&self, node: usize) -> Node {
        self.states[node]
    }

    pub(super) fn attempt(&self, node: usize) -> u32 {
        self.attempts[node]
    }

    pub(super) fn set_attempt(&mut self, node: usize, attempt: u32) {
        self.attempts[node] = attempt;
    }

    /// Whether the failure of a node is counted from now on; gives whether it was.
    pub(super) fn blame(&mut self, node: usize, blamed: bool) -> bool {
        std::mem::replace(&mut self.blamed[node], blamed)
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
            Node::Probation => Some(&mut self.probation),
            Node::Confirming | Node::Finishing => Some(&mut self.waiting),
            Node::RollingBack { .. } => Some(&mut self.rolling_back),
            Node::Pending | Node::Confirmed | Node::Settled(_) => None,
        }
    }

    /// Whether nothing is being asked of any node.
    pub(super) fn idle(&self) -> bool {
        self.upgrading == 0 && self.waiting == 0 && self.rolling_back == 0
    }

    /// All nodes with what they are in, in the order of the plan.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Node)> + '_ {
        self.states.iter().copied().enumerate()
    }

    /// All nodes whose state is wanted, in the order of the plan.
    pub(super) fn all(&self, wanted: impl Fn(Node) -> bool) -> Vec<usize> {
        let wanted = |(node, state)| wanted(state).then_some(node);
        self.iter().filter_map(wanted).collect()
    }

    /// Those of `nodes` that are in `state`.
    pub(super) fn those(&self, nodes: &[usize], state: Node) -> Vec<usize> {
        let is = |node: &usize| self.states[*node] == state;
        nodes.iter().copied().filter(is).collect()
    }

    /// Nodes to be put back when the rollout is, and whether it is certain that they were changed. Those that are upgrading or
    /// confirming say first what they came to.
    pub(super) fn changed(&self) -> Vec<(usize, bool)> {
        let changed = |state: Node| match state {
            Node::Probation | Node::Confirmed | Node::Finishing => Some(true),
            Node::Settled(Outcome::Unknown) if mutant!(rollback_forgets_unknown) => None,
            Node::Settled(Outcome::Unknown | Outcome::Superseded | Outcome::Unrecognised) => {
                Some(false)
            }
            Node::Settled(Outcome::Confirmed | Outcome::RollbackFailed | Outcome::Held) => {
                Some(true)
            }
            _ => None,
        };
        self.iter()
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
}
