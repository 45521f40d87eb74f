//! The upgrade transaction of one node, as types: what cannot be done in a phase cannot be written. Each step consumes
//! the one before; a step that fails before resume, and a step dropped before resume, have aborted: old code, old
//! states, full mailboxes. After `resume` the upgrade is in probation, until it is confirmed and finished or rolled back.
//!
//! Read `order.rs` for what may be asked, `txn.rs` for what is shared with the workers, `settle.rs` for what an actor does
//! with it, `migrate.rs` and `hops.rs` for the copies, `core.rs` for gates and the switch, `rollback.rs` for the way back,
//! and `lag.rs` for those who run old code when all is over.

mod actions;
mod apply;
mod begin;
mod core;
mod hops;
mod lag;
mod migrate;
mod order;
mod pauses;
mod plan;
mod report;
mod rollback;
mod settle;
mod txn;
mod waiting;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

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
pub(crate) use txn::{Phase, Shadow, Txn};
pub(crate) use waiting::Suspending;

pub use crate::bindings::Direction;
use crate::{Error, Node, code::NONE};
use pauses::Pauses;
use txn::Kind;

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
pub struct Migrated(Box<Core>, u64);
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
        let deadline = core.prepare_deadline();
        core.modules(|module, _| module.track(Some(core.txn.clone())));
        if core.txn.changes.iter().any(|c| c.kind == Kind::Update) {
            core.actors = core.migrate(Which::All, deadline)?.migrated;
        }
        let left = core.converge(1, deadline)?;
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
        let deadline = self.0.prepare_deadline();
        self.0.converge(1, deadline).map(drop)
    }

    /// Stops every affected actor at a message boundary. From here on the pause is counted.
    pub fn suspend(self) -> Result<Suspended, Error> {
        let Prepared(mut core) = self;
        let deadline = core.prepare_deadline();
        core.converge(0, deadline)?;
        core.txn.pressure.store(0, Ordering::Relaxed);
        core.suspended = Some(Instant::now());
        core.shared.close_gates(&core.txn, false);
        while core.shared.someone_runs(&core.txn, false) {
            core.within_budget("suspend")?;
            if let Some(budget) = core.order.suspend_timeout
                && core.suspended_for() > budget
            {
                return Err(Error::PauseBudget {
                    phase: "suspend",
                    budget,
                });
            }
            std::thread::yield_now();
        }
        Ok(Suspended(core))
    }
}

impl Suspended {
    /// All modules of the patch become `current` at once, the former ones `old`.
    pub fn load(self) -> Result<Loaded, Error> {
        let Suspended(mut core) = self;
        core.within_budget("load")?;
        core.check_deleted()?;
        core.loaded = true;
        core.modules(|module, change| {
            if change.kind == Kind::Update {
                let former = module.current.swap(change.to, Ordering::SeqCst);
                module.old.store(former, Ordering::SeqCst);
            }
        });
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
        let deadline = core.budget_end();
        let left = core.left();
        // Known to be too much, it is not begun: those who wait run again at once.
        if Instant::now() + left.estimate / core.shared.limits.worker_count() as u32 > deadline {
            return Err(core.over_budget("migrate"));
        }
        let mut migrated = 0;
        loop {
            let list = std::mem::take(&mut *core.txn.list.lock());
            if list.is_empty() {
                break;
            }
            let outcome = core.try_migrate(Which::Listed(list), deadline);
            if !outcome.failing.is_empty() {
                return Err(Error::CodeChange(outcome.failing));
            }
            if outcome.late {
                return Err(core.over_budget("migrate"));
            }
            migrated += outcome.migrated;
        }
        core.within_budget("migrate")?;
        Ok(Migrated(core, migrated))
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
        let Migrated(mut core, migrated_in_pause) = self;
        core.within_budget("resume")?;
        let (ports, targets) = (
            core.order.listen.iter().copied(),
            core.order.connect.clone(),
        );
        core.reach = Some((
            std::mem::replace(&mut *core.shared.ports.write(), ports.collect()),
            std::mem::replace(&mut *core.shared.targets.write(), targets),
        ));
        *core.txn.resumed.lock() = Some(Instant::now());
        let waiting = core.shared.switch(&core.txn, Phase::Probation);
        let pause = core.suspended_for();
        let waited = waiting.len() as u64;
        core.shared.run_again(waiting);
        core.shared.move_deadlines(pause);
        core.shared.pauses.node.add(pause);
        let wake = std::mem::take(&mut *core.txn.wake.lock());
        wake.into_iter().for_each(|pid| core.shared.wake(pid));
        core.act()?;
        core.stop_deleted();
        core.modules(|module, change| {
            // Soft, there was nobody left when the upgrade was opened; brutal, nobody refuses.
            let _ = core.shared.purge_old(module, change.pre_purge);
        });
        let actors = core.actors;
        Ok((
            Probation(core),
            Resumed {
                actors,
                migrated_in_pause,
                waited,
                pause,
            },
        ))
    }

    /// How long the actors have waited.
    pub fn suspended_for(&self) -> Duration {
        self.0.suspended_for()
    }
}

impl Probation {
    /// Ends probation: from here on a failing handler ends its actor, and parked actors end now. Gives their number.
    pub fn confirm(&mut self) -> u64 {
        let core = &self.0;
        if core.txn.phase() != Phase::Probation {
            return 0;
        }
        core.txn.enter(Phase::Confirmed);
        core.unpark()
    }

    /// Drops the pinned states and purges the old code. Refused in probation.
    pub fn finish(self) -> Result<(), (Probation, Error)> {
        let core = &self.0;
        if core.txn.phase() != Phase::Confirmed {
            let state = core.txn.phase().text();
            return Err((
                self,
                Error::Order {
                    call: "finish",
                    state,
                },
            ));
        }
        core.txn.enter(Phase::Finished);
        core.close();
        core.stop_deleted();
        core.modules(|module, change| match change.kind {
            Kind::Delete { .. } => module.current.store(NONE, Ordering::SeqCst),
            _ => module.old_is_what_lags(),
        });
        core.purge(|c| c.from);
        core.modules(|module, change| {
            if change.post_purge == Purge::Brutal {
                // Brutal, nobody refuses.
                let _ = core.shared.purge_old(module, Purge::Brutal);
            }
        });
        *core.shared.upgrade.lock() = None;
        Ok(())
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
        let mut restarts = 0;
        for change in &core.txn.changes {
            if let Some(version) = core.shared.code.version(change.to) {
                health.events += version.counters.events.load(Ordering::Relaxed);
                health.traps += version.counters.traps.load(Ordering::Relaxed);
                health.errors += version.counters.errors.load(Ordering::Relaxed);
            }
            if let Some(module) = core.shared.code.module(change.module) {
                restarts += module.restarts.load(Ordering::Relaxed);
            }
        }
        health.restarts = restarts.saturating_sub(core.restarts_before);
        health
    }
}
