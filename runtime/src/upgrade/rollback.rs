//! The way back after resume: the same transaction, per actor. Who did nothing since gets its pinned state, exact and
//! without a call; who did something is migrated back by the newer code, on a copy; where that fails, the order says
//! what to do, and nobody else waits for it. Events that failed in probation are given to the older code.

use std::time::Duration;

use super::{Core, Probation, acts::WayDown, machine::Input};
use crate::{
    Error,
    error::{ActorFailure, MAX_FAILING},
};

/// What to do with an actor whose `code_change(down)` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnDownFailure {
    /// It stays on the newer code and waits, its mailbox kept.
    #[default]
    Hold,
    /// It goes back to its pinned state and loses what came since; one without a pinned state is held.
    Restore,
    /// It ends.
    Stop,
}

/// What a rollback did.
#[derive(Debug, Clone, Default)]
pub struct RolledBack {
    /// Put back exactly, without a call.
    pub pinned: u64,
    /// Through `code_change` of the newer code.
    pub migrated: u64,
    /// Put back to the pinned state although they had gone on.
    pub restored: u64,
    /// Events that those had handled since.
    pub events_discarded: u64,
    /// Actors that ended.
    pub stopped: u64,
    /// Actors that stay on the newer code; at most 100 are listed.
    pub held: Vec<ActorFailure>,
    /// Events that had failed and are handled by the older code.
    pub redelivered: u64,
    /// From the start of suspend until the last affected actor could run.
    pub pause: Duration,
}

impl Probation {
    /// Goes back. The pause budget bounds how many rounds are tried before the pause, never the rollback itself.
    pub fn rollback(
        mut self,
        pause_budget: Duration,
        policy: OnDownFailure,
    ) -> Result<RolledBack, (Probation, Error)> {
        match self.0.rollback(pause_budget, policy) {
            Ok(report) => Ok(report),
            Err(error) => Err((self, error)),
        }
    }
}

impl Core {
    pub(super) fn rollback(
        &mut self,
        budget: Duration,
        policy: OnDownFailure,
    ) -> Result<RolledBack, Error> {
        self.way_down = WayDown { budget, policy };
        self.carry_out(Input::Rollback)?;
        let mut report = std::mem::take(&mut *self.txn.undone.lock());
        report.redelivered = self.gave.parked;
        report.pause = self.gave.pause;
        Ok(report)
    }
}

impl RolledBack {
    pub(crate) fn hold(&mut self, failure: ActorFailure) {
        if self.held.len() < MAX_FAILING {
            self.held.push(failure);
        }
    }
}
