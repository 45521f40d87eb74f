//! What the state machine of a rollout is told, and what it says: the words between [`crate::engine::rollout`], which decides,
//! and the tasks that ask nodes. They hold no logic.

use std::time::Duration;

use crate::engine::control::{Answer, Request};
use crate::engine::event::{Cause, Fact, Health, RollbackCounts};
use crate::engine::gate::Verdict;
use crate::engine::words::{Barrier, RolloutState};

/// What can happen to a rollout. Nodes are indices into the plan.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin with the first wave.
    Start,
    /// Go on after another process, from the facts that it left; with what a person asks for at the same time.
    Recover(Option<Request>),
    /// A person asks for something.
    Control(Request),
    /// The upgrade of a node came to an end.
    Upgraded(usize, Upgraded),
    /// A node of a batch is through what this barrier opened.
    Reached(usize, Barrier),
    /// So much time has passed.
    Elapsed(Timer),
    /// The nodes of the wave were read, and its gates judged.
    Judged(Judged),
    /// What a node in probation says of itself, when it was asked for that or for a renewal of its lease.
    Told(usize, Standing),
    /// A node confirmed, or how it stands instead.
    Confirmed(usize, Standing),
    /// A node finished, or did not.
    Finished(usize, Result<(), Cause>),
    /// A node rolled back, or did not.
    RolledBack(usize, Back),
}

/// How the upgrade of a node ended.
#[derive(Clone, Debug)]
pub enum Upgraded {
    /// The new code runs.
    Probation {
        /// In microseconds, when the node told it.
        pause_us: Option<u64>,
        /// How long each phase took, in microseconds on the node's clock.
        steps: Vec<(crate::engine::words::Phase, u64)>,
    },
    /// Everything up to suspend went well, and no more was wanted. The estimated pause in microseconds.
    Prepared(u64),
    /// The new code ran before.
    AlreadyCurrent,
    /// Nothing changed on the node.
    Untouched(Cause),
    /// Nothing changed on the node: its transaction was cut with the controller that had opened it.
    Interrupted(Cause),
    /// The node said no.
    Refused(Cause),
    /// It failed, and the new code runs, or may run.
    Changed(Cause),
    /// The new code ran, and the old runs again.
    RolledBack(Cause),
    /// The node went over to another rollout.
    Superseded(Cause),
    /// The node was lost, and what it runs is not known.
    Unknown(Cause),
}

/// How a node in probation stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// As it should: in probation.
    Probation,
    /// The release is permanent.
    Confirmed,
    /// It left probation by itself, after a restart or because its lease ran out, and runs the old code again.
    RolledBack(Cause),
    /// It went over to another rollout.
    Superseded(Cause),
    /// It did not answer, or in a way that leaves open what it runs.
    Unknown(Cause),
}

/// What came of reading the nodes of a wave.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What the gates say.
    pub verdict: Verdict,
    /// What all nodes of the wave together counted.
    pub health: Health,
    /// The nodes of the wave that are not in probation any more.
    pub lost: Vec<(usize, Standing)>,
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

/// What is waited for. Set again, it begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The end of a bake.
    Bake,
    /// The next look at a gate that had too little data.
    Recheck,
    /// The end of what a barrier may take.
    Barrier,
}

/// What follows from an input, in order.
#[derive(Clone, Debug)]
pub enum Action {
    /// To be in the journal before any action after it.
    Record(Box<Fact>),
    /// To be told to whoever asked, once it is in the journal.
    Answer(Answer),
    /// Stage and upgrade a node up to resume, or as far as barriers are opened. `again`: another process may have asked for
    /// it, so that the node is asked first what came of that.
    Upgrade {
        /// The node.
        node: usize,
        /// Counts from 1.
        attempt: u32,
        /// See above.
        again: bool,
    },
    /// Let the batch that is under way pass this barrier.
    Open(Barrier),
    /// Let so long pass, then give [`Input::Elapsed`].
    Wait(Timer, Duration),
    /// Read the nodes of the wave and of the control set, as the beginning of the gate's window.
    Measure,
    /// Read them again, and judge.
    Judge,
    /// Ask a node in probation how it stands, and renew its lease.
    Inquire(usize),
    /// Make the new code permanent on a node.
    Confirm(usize),
    /// Drop the old code on a node.
    Finish(usize),
    /// Put a node back.
    Rollback(usize),
    /// Abort what has not reached resume.
    CancelUpgrades,
    /// Abort what has not reached resume of the batch that is under way.
    CancelBatch,
    /// Give up confirms that have not been answered.
    CancelConfirms,
    /// This process is done with the rollout, which goes on in another.
    Leave,
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
    /// Its nodes were away when all others got the release: what becomes of them is no reason to put those back.
    pub late: bool,
}
