//! What all phases of an upgrade carry on, and the gates: closing them, waiting for those inside, the switch, and the walk
//! at the end that leaves no actor with a part in an upgrade that is over.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Goal, Order, Outcome, Phase, Settled, Txn, Which, migrate, settle};
use crate::{
    Error, actor::Pause, code::NONE, effects, instance::Instances, node::Shared, table::Pid,
};

/// What all phases carry on. Dropped while the phase is `Open`, it aborts.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) txn: Arc<Txn>,
    pub(super) order: Order,
    pub(super) instances: Instances,
    pub(super) suspended: Option<Instant>,
    pub(super) loaded: bool,
    pub(super) actors: u64,
    pub(super) restarts_before: u64,
}

impl Core {
    pub(super) fn modules(&self, mut act: impl FnMut(&crate::code::Module, &Arc<Txn>)) {
        for change in &self.txn.changes {
            if let Some(module) = self.shared.code.module(change.module) {
                act(&module, &self.txn);
            }
        }
    }

    pub(super) fn try_migrate(&mut self, which: Which, deadline: Instant) -> Outcome {
        let (shared, txn) = (self.shared.clone(), self.txn.clone());
        migrate(
            &shared,
            &txn,
            &mut self.instances,
            which,
            Goal::Forward,
            deadline,
        )
    }

    /// Before the pause: failures and lateness are errors.
    pub(super) fn migrate(&mut self, which: Which, deadline: Instant) -> Result<Outcome, Error> {
        let outcome = self.try_migrate(which, deadline);
        if !outcome.failing.is_empty() {
            return Err(Error::CodeChange(outcome.failing));
        }
        if outcome.late {
            return Err(Error::PrepareTimeout(self.order.prepare_timeout));
        }
        Ok(outcome)
    }

    pub(super) fn suspended_for(&self) -> Duration {
        self.suspended.map_or(Duration::ZERO, |at| at.elapsed())
    }

    pub(super) fn budget_end(&self) -> Instant {
        self.suspended.unwrap_or_else(Instant::now) + self.order.pause_budget
    }

    pub(super) fn within_budget(&self, phase: &'static str) -> Result<(), Error> {
        if self.suspended_for() > self.order.pause_budget {
            return Err(Error::PauseBudget {
                phase,
                budget: self.order.pause_budget,
            });
        }
        if self.txn.pressure.load(Ordering::Relaxed) {
            return Err(Error::MailboxPressure);
        }
        Ok(())
    }

    fn abort(&self) {
        if self.loaded {
            self.unload();
        }
        let waiting = self.shared.switch(&self.txn, Phase::Aborted);
        self.shared.run_again(waiting);
        self.close();
        self.txn
            .changes
            .iter()
            .for_each(|c| self.shared.code.purge(c.to));
        *self.shared.upgrade.lock() = None;
    }

    /// The former versions are current again, all at once.
    pub(super) fn unload(&self) {
        self.modules(|module, txn| {
            let from = txn.change(module.index).map_or(NONE, |c| c.from);
            module.current.store(from, Ordering::SeqCst);
            module.old.store(NONE, Ordering::SeqCst);
        });
    }

    /// Lets the parked actors go on as the phase says now; gives their number.
    pub(super) fn unpark(&self) -> u64 {
        let parked = std::mem::take(&mut *self.txn.parked.lock());
        for &pid in &parked {
            self.shared.unpause(pid, Pause::Parked);
        }
        parked.len() as u64
    }

    /// The upgrade is over: every actor takes its part in the end of it.
    pub(super) fn close(&self) {
        self.modules(|module, _| module.track(None));
        self.shared.settle_all(&self.txn);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.txn.phase() == Phase::Open {
            self.abort();
        }
    }
}

impl Shared {
    fn gates<'a>(&'a self, txn: &'a Txn) -> impl Iterator<Item = Arc<crate::code::Module>> + 'a {
        txn.changes
            .iter()
            .filter_map(|c| self.code.module(c.module))
    }

    pub(crate) fn close_gates(&self, txn: &Txn) {
        self.gates(txn)
            .for_each(|module| module.gate.store(true, Ordering::SeqCst));
        // Whoever replaces a state now has looked at the gate before: it is done when this is had.
        drop(self.replacing.write());
    }

    /// A worker is still inside a handler of an affected module. It ends within `limits.handler_ms`.
    pub(super) fn someone_runs(&self, txn: &Txn) -> bool {
        self.running.iter().any(|running| {
            let module = running.load(Ordering::SeqCst);
            module > 0 && txn.change(module - 1).is_some()
        })
    }

    /// The switch: behind closed gates the phase changes, then the gates open. Gives who waited.
    pub(crate) fn switch(&self, txn: &Txn, phase: Phase) -> Vec<Pid> {
        txn.enter(phase);
        if phase != Phase::Aborted {
            self.era.fetch_add(1, Ordering::AcqRel);
        }
        self.gates(txn)
            .flat_map(|module| module.open_gate())
            .collect()
    }

    pub(super) fn run_again(&self, waiting: Vec<Pid>) {
        waiting.into_iter().for_each(|pid| self.sched.push(pid));
        self.net.gates_opened();
    }

    /// Walks over all actors, so that none is left with a part in an upgrade that is over.
    fn settle_all(self: &Arc<Self>, txn: &Arc<Txn>) {
        let mut instances = Instances::new(self);
        for index in 0..self.table.extent() {
            let Some((pid, slot, mut guard)) = self.table.at(index) else {
                continue;
            };
            let Some(body) = guard.as_mut() else { continue };
            if !body
                .shadow
                .as_ref()
                .is_some_and(|s| Arc::ptr_eq(&s.txn, txn))
            {
                continue;
            }
            match settle(self, &mut instances, pid, slot, body) {
                Settled::Go => {
                    let waits = !slot.mail.lock().queue.is_empty();
                    drop(guard);
                    if waits {
                        self.wake(pid);
                    }
                }
                Settled::Stop(reason) => {
                    if let Some(body) = guard.take() {
                        drop(guard);
                        effects::bury(self, pid, body, &reason);
                    }
                }
            }
        }
    }
}
