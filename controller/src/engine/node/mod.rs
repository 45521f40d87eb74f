//! What the engine does with one node: stage and upgrade it, ask how it stands, confirm, finish, put it back. Each is one async
//! function that always ends, and says in a word of [`crate::engine::moves`] how. What follows is not decided here.

mod back;
mod probation;
mod stage;
mod stream;
mod upgrade;

use std::time::Duration;

use midflight_proto::agent::v1 as pb;
use tokio::sync::mpsc;

use crate::engine::event::{Cause, Planned};
use crate::engine::id::RolloutId;
use crate::engine::rollout::CANCELLED;
use crate::engine::words::{Barrier, Phase, Status};
use crate::policy::{Mode, OnDownFailure, OnLostContact, Policy, Timeouts};

pub use back::rollback;
pub use probation::{confirm, finish, inquire, standing};
pub use stream::Passage;
pub use upgrade::upgrade;

/// How long a single short question may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a node has to say how an abort ended.
const ABORT: Duration = Duration::from_secs(10);
/// A phase is reported while it lasts once it has lasted so long.
const SLOW: Duration = Duration::from_secs(1);

/// How far an upgrade goes, and who opens its phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each node by itself, one phase after the other, up to resume.
    Free,
    /// The nodes of a batch together, from barrier to barrier.
    Lockstep,
    /// Up to prepare; nothing is suspended.
    PrepareOnly,
}

/// What all nodes of a rollout have in common.
#[derive(Clone, Debug)]
pub struct Order {
    rollout: String,
    patch: String,
    /// Counts the controller processes that owned the rollout, from 1: nodes refuse orders of an earlier one.
    pub epoch: u64,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// How long a node in probation waits for its controller.
    pub lease: Duration,
    /// What it does then.
    pub on_lost_contact: OnLostContact,
    /// What a rollback does with an actor that cannot go back.
    pub on_down_failure: OnDownFailure,
    /// The rollout whose nodes this one may take over; empty: none.
    pub supersedes: String,
    /// How far, and together or not.
    pub way: Way,
}

impl Order {
    /// As a plan and its policy say.
    #[must_use]
    pub fn new(id: &RolloutId, planned: &Planned, policy: &Policy, epoch: u64) -> Self {
        Self {
            rollout: id.to_string(),
            patch: planned.patch.clone(),
            epoch,
            timeouts: policy.timeouts,
            lease: policy.probation.lease.get(),
            on_lost_contact: policy.probation.on_lost_contact,
            on_down_failure: OnDownFailure::from_word(&planned.on_down_failure),
            supersedes: planned.supersedes.clone(),
            way: match policy.mode {
                _ if planned.prepare_only => Way::PrepareOnly,
                Mode::Lockstep => Way::Lockstep,
                Mode::Free => Way::Free,
            },
        }
    }

    /// Names an attempt of this order.
    #[must_use]
    pub fn key(&self, attempt: u32) -> pb::Key {
        pb::Key {
            rollout_id: self.rollout.clone(),
            patch_digest: self.patch.clone(),
            attempt,
        }
    }
}

/// What a node reports on the way.
#[derive(Clone, Debug)]
pub enum Report {
    /// A phase that takes long, or that failed.
    Step {
        /// Index of the node.
        node: usize,
        /// The phase.
        phase: Phase,
        /// How it is getting on.
        status: Status,
        /// Of this phase so far, in microseconds.
        elapsed_us: u64,
    },
    /// It is through what a barrier opened.
    Reached(usize, Barrier),
}

/// Where the reports of one node go.
#[derive(Clone, Debug)]
pub struct Reports {
    /// Index of the node.
    pub node: usize,
    /// Bounded; a full channel slows the reading of steps, never the node.
    pub to: mpsc::Sender<Report>,
}

impl Reports {
    async fn step(&self, phase: Phase, status: Status, elapsed_us: u64) {
        let node = self.node;
        // The engine outlives its nodes' jobs; when it is gone, nobody needs the step.
        let _ = self
            .to
            .send(Report::Step {
                node,
                phase,
                status,
                elapsed_us,
            })
            .await;
    }

    async fn reached(&self, barrier: Barrier) {
        // See `step`.
        let _ = self.to.send(Report::Reached(self.node, barrier)).await;
    }
}

fn cancelled_cause(phase: Phase) -> Cause {
    Cause {
        code: CANCELLED.to_owned(),
        phase,
        what: "cancelled, because the rollout stops".to_owned(),
        subject: String::new(),
        hint: String::new(),
        actors: Vec::new(),
        actor_count: 0,
    }
}

fn on_down_failure(policy: OnDownFailure) -> pb::OnDownFailure {
    match policy {
        OnDownFailure::Hold => pb::OnDownFailure::Hold,
        OnDownFailure::Restore => pb::OnDownFailure::Restore,
        OnDownFailure::Stop => pb::OnDownFailure::Stop,
    }
}

fn on_lost_contact(policy: OnLostContact) -> pb::OnLostContact {
    match policy {
        OnLostContact::Rollback => pb::OnLostContact::Rollback,
        OnLostContact::Hold => pb::OnLostContact::Hold,
    }
}
