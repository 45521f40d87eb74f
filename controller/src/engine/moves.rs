//! What the state machine of a rollout is told, and what it says: the words between [`crate::engine::rollout`], which decides,
//! and [`crate::engine::node`], which does. They hold no logic.

use std::time::Duration;

use crate::engine::event::{Cause, Fact, Health, RollbackCounts};
use crate::engine::words::RolloutState;

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
    Record(Box<Fact>),
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wave {
    /// Its nodes, in the order in which they are started; in lockstep, batch by batch.
    pub nodes: Vec<usize>,
    /// How long they run the new code before the gate.
    pub bake: Duration,
    /// In lockstep, how many nodes each batch has; together all. Empty otherwise.
    pub batches: Vec<usize>,
    /// Nodes of the last wave that its gate compares it with. Empty: it is compared with its own nodes before the patch.
    pub control: Vec<usize>,
}
