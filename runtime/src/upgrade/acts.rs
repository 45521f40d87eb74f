//! Carrying out what the machine decides: each stage is begun by asking it, and each of its acts is one function here.
//! An act that fails ends the step; what was done of it is taken back by the acts of giving up.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{
    Core, Goal, OnDownFailure, Phase, Purge, Which,
    core::Left,
    machine::{self, Act, Input, Stage},
    migrate,
    txn::Kind,
};
use crate::{Error, code::NONE, table::Pid};

/// Rounds of a rollback over the actors that go on meanwhile, before the pause.
const ROUNDS: usize = 5;

/// What the acts of one upgrade gave so far.
#[derive(Default)]
pub(super) struct Gave {
    /// By the last act that copied what is listed.
    pub(super) left: Left,
    pub(super) migrated_in_pause: u64,
    /// Actors that met a closed gate.
    pub(super) waited: u64,
    pub(super) pause: Duration,
    /// Actors that were parked until the last unpark.
    pub(super) parked: u64,
    /// Whom a rollback looked at.
    touched: Vec<Pid>,
}

/// How a rollback is to run.
#[derive(Clone, Copy, Default)]
pub(super) struct WayDown {
    /// Bounds the rounds before the pause.
    pub(super) budget: Duration,
    pub(super) policy: OnDownFailure,
}

impl Core {
    /// Begins a stage and does all that belongs to it.
    ///
    /// # Errors
    /// When it is not the time for it, and nothing is done; or that of the act that failed.
    pub(super) fn carry_out(&mut self, input: Input) -> Result<(), Error> {
        let Ok((stage, acts)) = machine::next(self.stage, input) else {
            return Err(Error::Order {
                call: input.text(),
                state: self.txn.phase().text(),
            });
        };
        self.stage = stage;
        acts.iter().try_for_each(|act| self.carry(*act))
    }

    fn carry(&mut self, act: Act) -> Result<(), Error> {
        let back = self.stage == Stage::Undone;
        match act {
            Act::Track => self.modules(|module, _| module.track(Some(self.txn.clone()))),
            Act::CopyAll => return self.copy_all(),
            Act::CopyListed if back => self.copy_back_listed(),
            Act::CopyListed => return self.copy_listed(),
            Act::CloseGates => {
                self.txn.pressure.store(0, Ordering::Relaxed);
                self.suspended = Some(Instant::now());
                self.shared.close_gates(&self.txn, back);
            }
            Act::AwaitHandlers => {
                while self.shared.someone_runs(&self.txn, back) {
                    if !back {
                        self.within_suspend_budget()?;
                    }
                    std::thread::yield_now();
                }
            }
            Act::MakeCurrent => return self.make_current(),
            Act::DrainList if back => while self.copy_back() > 0 {},
            Act::DrainList => return self.drain_list(),
            Act::RestoreCurrent if back => {
                self.unload();
                if let Some((ports, targets)) = self.reach.take() {
                    *self.shared.ports.write() = ports;
                    *self.shared.targets.write() = targets;
                }
            }
            Act::RestoreCurrent => self.modules(|module, change| {
                if change.kind == Kind::Update {
                    module.current.store(change.from, Ordering::SeqCst);
                    module.old_is_what_lags();
                }
            }),
            Act::Switch(phase) => self.switch(phase),
            Act::FollowUp => return self.follow_up(),
            Act::UndoFollowUp => self.undo_actions(),
            Act::Enter(phase) => self.txn.enter(phase),
            Act::Unpark => self.gave.parked = self.unpark(),
            Act::Close => {
                self.close();
                // Whoever has events from its migration runs now, also if nobody writes to it.
                let touched = std::mem::take(&mut self.gave.touched);
                touched.iter().for_each(|&pid| self.shared.wake(pid));
            }
            Act::ForgetOld => {
                self.stop_deleted();
                self.modules(|module, change| match change.kind {
                    Kind::Delete { .. } => module.current.store(NONE, Ordering::SeqCst),
                    _ => module.old_is_what_lags(),
                });
            }
            Act::PurgeFrom => {
                self.purge(|c| c.from);
                self.modules(|module, change| {
                    if change.post_purge == Purge::Brutal {
                        // Brutal, nobody refuses.
                        let _ = self.shared.purge_old(module, Purge::Brutal);
                    }
                });
            }
            // Those that are held keep the newer code, as their old version.
            Act::PurgeTo => self.purge(|c| c.to),
            Act::Free => *self.shared.upgrade.lock() = None,
        }
        Ok(())
    }

    fn within_suspend_budget(&self) -> Result<(), Error> {
        self.within_budget("suspend")?;
        let own = self.order.suspend_timeout;
        match own.filter(|budget| self.suspended_for() > *budget) {
            Some(budget) => Err(Error::PauseBudget {
                phase: "suspend",
                budget,
            }),
            None => Ok(()),
        }
    }

    fn copy_all(&mut self) -> Result<(), Error> {
        if self.txn.changes.iter().any(|c| c.kind == Kind::Update) {
            self.actors = self.migrate(Which::All, self.deadline)?.migrated;
        }
        Ok(())
    }

    /// At least one round while nothing presses; right before the pause only what is needed.
    fn copy_listed(&mut self) -> Result<(), Error> {
        let least = u64::from(self.stage == Stage::Prepared);
        self.gave.left = self.converge(least, self.deadline)?;
        Ok(())
    }

    fn copy_back_listed(&mut self) {
        for _ in 0..ROUNDS {
            let start = Instant::now();
            if self.copy_back() == 0 || start.elapsed() < self.way_down.budget / 4 {
                break;
            }
        }
    }

    /// Migrates copies back of what is listed; gives how many actors that were.
    fn copy_back(&mut self) -> usize {
        let for_ever = Instant::now() + Duration::from_secs(3_600);
        let list = std::mem::take(&mut *self.txn.list.lock());
        let count = list.len();
        self.gave.touched.extend_from_slice(&list);
        let (shared, txn) = (self.shared.clone(), self.txn.clone());
        let (which, goal) = (Which::Listed(list), Goal::Back(self.way_down.policy));
        migrate(&shared, &txn, &mut self.instances, which, goal, for_ever);
        count
    }

    /// What the order says is to be done afterwards, while its actions may still find who is about to go.
    fn follow_up(&mut self) -> Result<(), Error> {
        self.act()?;
        self.stop_deleted();
        self.modules(|module, change| {
            // Soft, there was nobody left when the upgrade was opened; brutal, nobody refuses.
            let _ = self.shared.purge_old(module, change.pre_purge);
        });
        Ok(())
    }

    fn make_current(&mut self) -> Result<(), Error> {
        self.within_budget("load")?;
        self.check_deleted()?;
        self.modules(|module, change| {
            if change.kind == Kind::Update {
                let former = module.current.swap(change.to, Ordering::SeqCst);
                module.old.store(former, Ordering::SeqCst);
            }
        });
        Ok(())
    }

    /// All of what changed, or nothing.
    fn drain_list(&mut self) -> Result<(), Error> {
        let deadline = self.budget_end();
        let left = self.left();
        // Known to be too much, it is not begun: those who wait run again at once.
        if Instant::now() + left.estimate / self.shared.limits.worker_count() as u32 > deadline {
            return Err(self.over_budget("migrate"));
        }
        loop {
            let list = std::mem::take(&mut *self.txn.list.lock());
            if list.is_empty() {
                break;
            }
            let outcome = self.try_migrate(Which::Listed(list), deadline);
            if !outcome.failing.is_empty() {
                return Err(Error::CodeChange(outcome.failing));
            }
            if outcome.late {
                return Err(self.over_budget("migrate"));
            }
            self.gave.migrated_in_pause += outcome.migrated;
        }
        self.within_budget("migrate")
    }

    fn switch(&mut self, phase: Phase) {
        if phase == Phase::Probation {
            let ports = self.order.listen.iter().copied().collect();
            let targets = self.order.connect.clone();
            self.reach = Some((
                std::mem::replace(&mut *self.shared.ports.write(), ports),
                std::mem::replace(&mut *self.shared.targets.write(), targets),
            ));
            *self.txn.resumed.lock() = Some(Instant::now());
            for change in &self.txn.changes {
                if let Some(version) = self.shared.code.version(change.to) {
                    version.counters.measured.begin(self.shared.mono());
                }
            }
            self.before = self.counted();
        }
        let waiting = self.shared.switch(&self.txn, phase);
        let pause = self.suspended_for();
        self.gave.pause = pause;
        self.gave.waited = waiting.len() as u64;
        self.shared.run_again(waiting);
        if self.suspended.is_some() {
            self.shared.move_deadlines(pause);
            self.shared.pauses.node.add(pause);
        }
        if phase == Phase::Probation {
            let wake = std::mem::take(&mut *self.txn.wake.lock());
            wake.into_iter().for_each(|pid| self.shared.wake(pid));
        }
    }
}
