//! The rollout engine. Read in this order: [`event`] (what can happen), [`rollout`] with [`moves`] (what follows from it, as a pure
//! state machine), [`node`] (what is done with one node), then [`run`], which ties them together: it records facts in the journal
//! before it acts on them, and is the only writer of a rollout's events. Whoever goes on after a process that died folds what
//! that one recorded, and asks the nodes that were in flight.

pub mod begin;
pub mod control;
pub mod custom;
pub mod event;
pub mod examine;
pub mod gate;
pub mod id;
pub mod link;
pub mod measure;
pub mod moves;
pub mod next;
pub mod node;
pub mod pauses;
pub mod payload;
pub mod rollout;
pub mod survey;
mod told;
pub mod view;
pub mod words;

mod drive;
mod gating;
mod jobs;
mod leases;
mod stats;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::engine::control::Control;
use crate::engine::event::{Event, Fact};
use crate::engine::id::RolloutId;
use crate::engine::link::Link;
use crate::engine::payload::Payload;
use crate::engine::rollout::Input;
use crate::engine::view::View;
use crate::error::Error;
use crate::journal::Journal;
use crate::policy::{OnDownFailure, Policy};

/// Is told every event after it is in the journal, with the view that it led to.
pub trait Reporter: Send {
    /// An event happened.
    fn event(&mut self, event: &Event, view: &View);

    /// No other event is at hand: what was told is to be seen now.
    fn flush(&mut self) {}
}

/// Everything that the engine needs to run one rollout.
pub struct Run<'a> {
    /// The rollout.
    pub id: RolloutId,
    /// Its policy.
    pub policy: Policy,
    /// What is in the journal already; empty for a new rollout.
    pub before: Vec<Event>,
    /// Facts to record first: the plan, see [`begin`]; or the new owner.
    pub preface: Vec<Fact>,
    /// What to do then: begin, or go on after another process.
    pub first: Input,
    /// What a rollback does with an actor that cannot go back, when not what the plan says.
    pub on_down_failure: Option<OnDownFailure>,
    /// The nodes, in the order of the plan.
    pub links: Vec<Arc<Link>>,
    /// The patch; only a rollback needs none.
    pub payload: Option<Arc<Payload>>,
    /// Where events are kept.
    pub journal: Arc<dyn Journal>,
    /// Who is told.
    pub reporter: &'a mut dyn Reporter,
    /// What time it is, in milliseconds since 1970: [`id::now_ms`], but in a simulation.
    pub now_ms: fn() -> u64,
    /// What people ask; see [`control::ask`].
    pub controls: mpsc::Receiver<Control>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The rollout as of the last recorded event.
    pub view: View,
    /// Why the run ended before the rollout did, if it did: the journal failed, or another process has taken the rollout
    /// over. Nothing was done that is not in the journal.
    pub error: Option<Error>,
    /// Whether the rollout itself is over.
    pub over: bool,
}

/// Runs a rollout until it is over or is left to another process. Dropped, it stops where it is, as if the process had died.
pub async fn run(run: Run<'_>) -> Ended {
    drive::drive(run).await
}
