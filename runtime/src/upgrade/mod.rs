//! The upgrade transaction of one node, as types: what cannot be done in a phase cannot be written. Each step consumes
//! the one before; a step that fails before resume, and a step dropped before resume, have aborted: old code, old
//! states, full mailboxes. After `resume` the upgrade is in probation, until it is confirmed and finished or rolled back.
//!
//! Read `txn.rs` for what is shared with the workers, `settle.rs` for what an actor does with it, `migrate.rs` for the
//! copies, `core.rs` for gates and the switch, and `rollback.rs` for the way back.

mod core;
mod migrate;
mod rollback;
mod settle;
mod txn;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use self::core::Core;
use midflight_patch::{Digest, ModuleName, Update, Vsn};
use migrate::{Goal, Outcome, Which, migrate};
pub use rollback::{OnDownFailure, RolledBack};
pub(crate) use settle::{Settled, settle};
pub(crate) use txn::{Phase, Shadow, Txn};

pub use crate::bindings::Direction;
use crate::{Error, Node, code::NONE, instance::Instances, node::Shared};
use txn::Change;

/// Rounds over the states that changed, before prepare says that they change too fast.
const ROUNDS: u64 = 20;

/// One module of an order.
#[derive(Debug, Clone)]
pub struct ModuleOrder {
    /// A module that runs.
    pub name: ModuleName,
    /// What must run now.
    pub from: Vsn,
    /// What is to run.
    pub to: Vsn,
    /// A staged component.
    pub blob: Digest,
    /// Whether states go through `code_change`.
    pub update: Update,
    /// For `code_change`, as JSON.
    pub extra: Vec<u8>,
    /// For `on_load`, as JSON.
    pub config: Vec<u8>,
}

/// One upgrade: all of its modules or none.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which of the two codes knows the other.
    pub direction: Direction,
    /// The modules that change, at least one.
    pub modules: Vec<ModuleOrder>,
    /// Ports that actors may listen on from resume on.
    pub listen: Vec<u16>,
    /// Where actors may connect to from resume on.
    pub connect: Vec<midflight_patch::ConnectTarget>,
    /// From the start of suspend until the last affected actor may run.
    pub pause_budget: Duration,
    /// For all of prepare.
    pub prepare_timeout: Duration,
}

/// What `prepare` found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Actors whose states were migrated as copies.
    pub actors: u64,
    /// Walks over the states that had changed meanwhile.
    pub rounds: u64,
    /// States that changed after the last walk: the pause migrates these.
    pub dirty: u64,
    /// What the pause will take for them.
    pub estimated_pause: Duration,
}

/// What `resume` did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resumed {
    /// Actors that run, or will run, the new code.
    pub actors: u64,
    /// Of these, migrated inside the pause.
    pub migrated_in_pause: u64,
    /// From the start of suspend until the last affected actor could run.
    pub pause: Duration,
}

/// How the patched modules fare since resume.
#[derive(Debug, Clone, Copy, Default)]
pub struct Health {
    /// Events handled well.
    pub events: u64,
    /// Handlers that trapped or broke a bound.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Actors of the release that were started again.
    pub restarts: u64,
    /// Actors parked with an event that failed.
    pub parked: u64,
    /// Time since resume.
    pub since_resume: Duration,
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
    /// Opens the one upgrade that may be open. Refused unless every module of the order runs the vsn it names.
    pub fn begin(&self, order: Order) -> Result<Opened, Error> {
        let shared = &self.shared;
        let mut open = shared.upgrade.lock();
        if let Some(other) = &*open {
            return Err(Error::Busy {
                state: other.phase().text(),
            });
        }
        let code = &shared.code;
        let mut changes = Vec::new();
        let mut restarts_before = 0;
        for wanted in &order.modules {
            let module = code
                .module_named(wanted.name.as_ref())
                .ok_or_else(|| Error::NoModule(wanted.name.clone()))?;
            let from = module.current.load(Ordering::SeqCst);
            let running = code
                .version(from)
                .ok_or_else(|| Error::NoModule(wanted.name.clone()))?;
            if running.vsn != wanted.from {
                let (running, wanted_vsn) = (running.vsn.clone(), wanted.from.clone());
                return Err(Error::WrongVsn {
                    module: wanted.name.clone(),
                    running,
                    wanted: wanted_vsn,
                });
            }
            restarts_before += module.restarts.load(Ordering::Relaxed);
            changes.push(Change {
                name: wanted.name.clone(),
                module: module.index,
                from,
                to: NONE,
                update: wanted.update,
                extra: wanted.extra.clone(),
            });
        }
        let added = self.add_versions(&order, &mut changes);
        if let Err(error) = added {
            changes
                .iter()
                .filter(|c| c.to != NONE)
                .for_each(|c| code.purge(c.to));
            return Err(error);
        }
        let txn = Arc::new(Txn::new(order.direction, changes));
        *open = Some(txn.clone());
        let instances = Instances::new(shared);
        let shared = shared.clone();
        Ok(Opened(Box::new(Core {
            shared,
            txn,
            order,
            instances,
            suspended: None,
            loaded: false,
            actors: 0,
            restarts_before,
        })))
    }

    fn add_versions(&self, order: &Order, changes: &mut [Change]) -> Result<(), Error> {
        for (wanted, change) in order.modules.iter().zip(changes) {
            let version = self
                .shared
                .code
                .add_version(&wanted.name, &wanted.to, &wanted.blob)?;
            change.to = version.index;
            on_load(&self.shared, &version, &wanted.config)?;
        }
        Ok(())
    }
}

/// Runs a module's own check. Anything but ok refuses it.
pub(crate) fn on_load(
    shared: &Arc<Shared>,
    version: &Arc<crate::code::Version>,
    config: &[u8],
) -> Result<(), Error> {
    let ran = crate::instance::Instance::new(shared, version)
        .and_then(|mut instance| instance.on_load(config));
    ran.map_err(|fault| Error::OnLoad {
        module: version.name.clone(),
        vsn: version.vsn.clone(),
        reason: fault.reason().to_owned(),
    })
}

impl Opened {
    /// Migrates copies of all affected states while their actors run, and again those that changed meanwhile, until
    /// what is left fits into half the pause budget.
    pub fn prepare(self) -> Result<(Prepared, Report), Error> {
        let Opened(mut core) = self;
        let start = Instant::now();
        let deadline = start + core.order.prepare_timeout;
        core.modules(|module, txn| module.track(Some(txn.clone())));
        let first = core.migrate(Which::All, deadline)?;
        let mut report = Report {
            actors: first.migrated,
            ..Report::default()
        };
        let (mut cost, mut migrated) = (first.cost, first.migrated);
        let budget = core.order.pause_budget / 2;
        loop {
            let dirty = core.txn.list.lock().len();
            let each = cost.checked_div(migrated.max(1) as u32).unwrap_or_default();
            report.dirty = dirty as u64;
            report.estimated_pause = each * dirty as u32;
            if report.estimated_pause <= budget && (report.rounds > 0 || dirty == 0) {
                core.actors = report.actors;
                return Ok((Prepared(core), report));
            }
            if report.rounds >= ROUNDS {
                return Err(Error::NotConverging {
                    dirty,
                    estimate: report.estimated_pause,
                    budget: core.order.pause_budget,
                });
            }
            let list = std::mem::take(&mut *core.txn.list.lock());
            let again = core.migrate(Which::Listed(list), deadline)?;
            report.rounds += 1;
            cost += again.cost;
            migrated += again.migrated;
        }
    }
}

impl Prepared {
    /// Works through what changed since; for those who wait at a barrier.
    pub fn refresh(&mut self) -> Result<(), Error> {
        let list = std::mem::take(&mut *self.0.txn.list.lock());
        let deadline = Instant::now() + self.0.order.prepare_timeout;
        self.0.migrate(Which::Listed(list), deadline).map(drop)
    }

    /// Stops every affected actor at a message boundary. From here on the pause is counted.
    pub fn suspend(self) -> Result<Suspended, Error> {
        let Prepared(mut core) = self;
        core.txn.pressure.store(false, Ordering::Relaxed);
        core.suspended = Some(Instant::now());
        core.shared.close_gates(&core.txn);
        while core.shared.someone_runs(&core.txn) {
            core.within_budget("suspend")?;
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
        core.loaded = true;
        core.modules(|module, txn| {
            let to = txn.change(module.index).map_or(NONE, |c| c.to);
            module
                .old
                .store(module.current.swap(to, Ordering::SeqCst), Ordering::SeqCst);
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
        let mut migrated = 0;
        loop {
            let list = std::mem::take(&mut *core.txn.list.lock());
            if list.is_empty() {
                break;
            }
            let outcome = core.try_migrate(Which::Listed(list), deadline);
            if outcome.late {
                return Err(Error::PauseBudget {
                    phase: "migrate",
                    budget: core.order.pause_budget,
                });
            }
            if !outcome.failing.is_empty() {
                return Err(Error::CodeChange(outcome.failing));
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
    /// Bumps the one number that puts every affected actor on the new code, and lets them run.
    pub fn resume(self) -> Result<(Probation, Resumed), Error> {
        let Migrated(core, migrated_in_pause) = self;
        core.within_budget("resume")?;
        *core.shared.ports.write() = core.order.listen.iter().copied().collect();
        *core.shared.targets.write() = core.order.connect.clone();
        *core.txn.resumed.lock() = Some(Instant::now());
        let waiting = core.shared.switch(&core.txn, Phase::Probation);
        let pause = core.suspended_for();
        core.shared.run_again(waiting);
        let wake = std::mem::take(&mut *core.txn.wake.lock());
        wake.into_iter().for_each(|pid| core.shared.wake(pid));
        let actors = core.actors;
        Ok((
            Probation(core),
            Resumed {
                actors,
                migrated_in_pause,
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
        core.modules(|module, _| module.old.store(NONE, Ordering::SeqCst));
        core.txn
            .changes
            .iter()
            .for_each(|c| core.shared.code.purge(c.from));
        *core.shared.upgrade.lock() = None;
        Ok(())
    }

    /// True until `confirm`.
    pub fn in_probation(&self) -> bool {
        self.0.txn.phase() == Phase::Probation
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
