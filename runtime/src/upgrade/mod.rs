//! The upgrade transaction of one node, as types: what cannot be done in a phase cannot be written. Each step consumes
//! the one before; a step that fails before resume, and a step dropped before resume, have aborted: old code, old
//! states, full mailboxes. After `resume` the upgrade is in probation, until it is confirmed and finished or rolled back.
//!
//! Read `order.rs` for what may be asked, `txn.rs` for what is shared with the workers, `settle.rs` for what an actor does
//! with it, `machine.rs` for every decision and `acts.rs` for what carries the node's out, `migrate.rs` and `hops.rs` for the
//! copies, `core.rs` for gates and the switch, `rollback.rs` for the way back, and `lag.rs` for those who run old code when
//! all is over.

mod actions;
mod acts;
mod apply;
mod back;
mod begin;
mod core;
mod hops;
mod lag;
pub mod machine;
mod migrate;
mod order;
mod pauses;
mod plan;
mod report;
mod rollback;
mod settle;
mod txn;
mod waiting;

use std::{sync::atomic::Ordering, time::Duration};

use self::core::Core;
pub use apply::Apply;
pub(crate) use begin::on_load;
pub(crate) use hops::convert_event;
pub use lag::{CaughtUp, OldUse};
pub(crate) use lag::{Lag, spawn as spawn_purger};
use migrate::{Goal, Outcome, Which, migrate};
pub use order::{
    Action, AddModule, AfterDraining, DeleteModule, Hop, ModuleOrder, Order, Policy, Purge,
};
pub use pauses::{NodePauses, PAUSE_BUCKETS, PauseHistogram};
pub use report::{Health, Report, Resumed};
pub use rollback::{OnDownFailure, RolledBack};
pub(crate) use settle::{Settled, attend, settle};
pub(crate) use txn::{Shadow, Txn};
pub(crate) use waiting::Suspending;

pub use crate::bindings::Direction;
use crate::{Error, Node};
use machine::Input;
pub(crate) use machine::Phase;
use pauses::Pauses;

/// All pauses of a node.
#[derive(Debug, Default)]
pub(crate) struct AllPauses {
    pub(crate) actors: Pauses,
    pub(crate) node: Pauses,
}

/// Checked, nothing copied yet.
pub struct Opened(Box<Core>);
/// Every affected state has a migrated copy.
pub struct Prepared(Box<Core>);
/// No affected actor runs.
pub struct Suspended(Box<Core>);
/// The new code is current.
pub struct Loaded(Box<Core>);
/// Every copy is of the state that will be resumed.
pub struct Migrated(Box<Core>);
/// New code runs; the way back is open.
pub struct Probation(Box<Core>);

impl Node {
    /// Prepares this order and gives it up again: says what an upgrade would find, and changes nothing (OTP's
    /// `check_install_release`).
    pub fn check(&self, order: Order) -> Result<Report, Error> {
        self.begin(order)?.prepare().map(|(_, report)| report)
    }

    /// All pauses since the node started.
    pub fn pauses(&self) -> NodePauses {
        let pauses = &self.shared.pauses;
        NodePauses {
            actors: pauses.actors.read(),
            node: pauses.node.read(),
        }
    }
}

impl Opened {
    /// Migrates copies of all affected states while their actors run, and again those that changed meanwhile, until
    /// what is left fits into half the pause budget.
    pub fn prepare(self) -> Result<(Prepared, Report), Error> {
        let Opened(mut core) = self;
        core.check_deleted()?;
        core.check_applies()?;
        core.check_actions()?;
        core.deadline = core.prepare_deadline();
        core.carry_out(Input::Prepare)?;
        let left = &core.gave.left;
        let report = Report {
            actors: core.actors,
            rounds: left.rounds,
            dirty: left.dirty,
            estimated_pause: left.estimate,
        };
        Ok((Prepared(core), report))
    }
}

impl Prepared {
    /// Works through what changed since, until the rest fits into half the pause budget; for those who wait at a barrier.
    /// What does not converge is refused, before anybody waits.
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.0.deadline = self.0.prepare_deadline();
        self.0.carry_out(Input::Refresh)
    }

    /// Stops every affected actor at a message boundary. From here on the pause is counted.
    pub fn suspend(self) -> Result<Suspended, Error> {
        let Prepared(mut core) = self;
        core.deadline = core.prepare_deadline();
        core.carry_out(Input::Suspend)?;
        Ok(Suspended(core))
    }
}

impl Suspended {
    /// All modules of the patch become `current` at once, the former ones `old`.
    pub fn load(self) -> Result<Loaded, Error> {
        let Suspended(mut core) = self;
        core.carry_out(Input::Load)?;
        Ok(Loaded(core))
    }

    /// How long the actors have waited.
    pub fn suspended_for(&self) -> Duration {
        self.0.suspended_for()
    }
}

impl Loaded {
    /// Migrates what changed since prepare. All of it or nothing.
    pub fn migrate(self) -> Result<Migrated, Error> {
        let Loaded(mut core) = self;
        core.carry_out(Input::Migrate)?;
        Ok(Migrated(core))
    }

    /// How long the actors have waited.
    pub fn suspended_for(&self) -> Duration {
        self.0.suspended_for()
    }
}

impl Migrated {
    /// Bumps the one number that puts every affected actor on the new code, and lets them run. Then it does what the order
    /// says is to be done after it; when that fails, the node has gone back to the old code, as by a rollback.
    pub fn resume(self) -> Result<(Probation, Resumed), Error> {
        let Migrated(mut core) = self;
        core.within_budget("resume")?;
        core.carry_out(Input::Resume)?;
        let resumed = Resumed {
            actors: core.actors,
            migrated_in_pause: core.gave.migrated_in_pause,
            waited: core.gave.waited,
            pause: core.gave.pause,
        };
        Ok((Probation(core), resumed))
    }

    /// How long the actors have waited.
    pub fn suspended_for(&self) -> Duration {
        self.0.suspended_for()
    }
}

impl Probation {
    /// Ends probation: from here on a failing handler ends its actor, and parked actors end now. Gives their number.
    pub fn confirm(&mut self) -> u64 {
        match self.0.carry_out(Input::Confirm) {
            Ok(()) => self.0.gave.parked,
            // It is confirmed already.
            Err(_) => 0,
        }
    }

    /// Drops the pinned states and purges the old code. Refused in probation.
    pub fn finish(mut self) -> Result<(), (Probation, Error)> {
        self.0
            .carry_out(Input::Finish)
            .map_err(|error| (self, error))
    }

    /// True until `confirm`.
    pub fn in_probation(&self) -> bool {
        self.0.txn.phase() == Phase::Probation
    }

    /// Of actors that had events waiting: from the start of suspend until each ran again.
    pub fn pauses(&self) -> PauseHistogram {
        self.0.txn.pauses.read()
    }

    /// How the patched modules fare.
    pub fn health(&self) -> Health {
        let core = &self.0;
        let mut health = Health {
            parked: core.txn.parked.lock().len() as u64,
            since_resume: core
                .txn
                .resumed
                .lock()
                .map_or(Duration::ZERO, |at| at.elapsed()),
            pauses: self.pauses(),
            ..Health::default()
        };
        for change in &core.txn.changes {
            if let Some(version) = core.shared.code.version(change.to) {
                health.events += version.counters.events.sum();
                health.traps += version.counters.traps.load(Ordering::Relaxed);
                health.errors += version.counters.errors.load(Ordering::Relaxed);
            }
        }
        let counted = core.counted();
        health.restarts = counted.restarts.saturating_sub(core.before.restarts);
        health.ended = counted.ended.saturating_sub(core.before.ended);
        health
    }
}
