//! A rollout in short, kept beside its events so that rollouts are listed, and the open ones found, without reading them. It is
//! a fold of the events and nothing else.

use serde::{Deserialize, Serialize};

use crate::engine::event::{Event, Fact, Owner, Summary};
use crate::engine::id::RolloutId;
use crate::engine::words::RolloutState;

/// A rollout in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The rollout.
    pub rollout: RolloutId,
    /// The application.
    pub name: String,
    /// The release that must run.
    pub from: String,
    /// The release that results.
    pub to: String,
    /// Digest of the patch's manifest.
    pub patch: String,
    /// How many nodes were asked for.
    pub nodes: u32,
    /// The process that runs it, or ran it last.
    pub owner: Option<Owner>,
    /// Where it is.
    pub state: RolloutState,
    /// Why.
    pub reason: String,
    /// How it ended, when it did.
    pub summary: Option<Summary>,
    /// When the first event was, in milliseconds since 1970.
    pub started_ms: u64,
    /// When the last event was.
    #[serde(skip)]
    pub last_ms: u64,
    /// The number of the last event.
    #[serde(skip)]
    pub seq: u64,
}

impl Head {
    /// Of a rollout without events.
    pub(crate) fn new(rollout: RolloutId, started_ms: u64) -> Self {
        Self {
            rollout,
            name: String::new(),
            from: String::new(),
            to: String::new(),
            patch: String::new(),
            nodes: 0,
            owner: None,
            state: RolloutState::Planned,
            reason: String::new(),
            summary: None,
            started_ms,
            last_ms: started_ms,
            seq: 0,
        }
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.state.is_final()
    }

    /// Takes in the next event; true when more changed than its number and time.
    pub(super) fn apply(&mut self, event: &Event) -> bool {
        (self.seq, self.last_ms) = (event.seq, event.time_ms);
        match &event.fact {
            Fact::Planned(planned) => {
                self.name.clone_from(&planned.name);
                self.from.clone_from(&planned.from);
                self.to.clone_from(&planned.to);
                self.patch.clone_from(&planned.patch);
                self.nodes = u32::try_from(planned.nodes.len()).unwrap_or(u32::MAX);
                self.owner = Some(planned.owner.clone());
            }
            Fact::Owned { owner, .. } => {
                self.owner = Some(owner.clone());
                self.summary = None;
            }
            Fact::State { state, reason } => {
                (self.state, self.reason) = (*state, reason.clone());
            }
            Fact::Ended(summary) => self.summary = Some((**summary).clone()),
            _ => return false,
        }
        true
    }
}
