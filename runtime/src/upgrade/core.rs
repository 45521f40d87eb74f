//! What all phases of an upgrade carry on, and the gates: closing them, waiting for those inside, the switch, and the walk
//! at the end that leaves no actor with a part in an upgrade that is over.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use midflight_patch::ConnectTarget;

use super::{
    Goal, Lag, Order, Outcome, Phase, Settled, Txn, Which,
    actions::Done,
    acts::{Gave, WayDown},
    attend,
    machine::{Input, Stage},
    migrate, settle,
    txn::{Change, Kind},
};
use crate::{
    Error,
    actor::Pause,
    code::{Module, NONE},
    effects,
    instance::Instances,
    node::Shared,
    table::Pid,
};

/// Rounds over the states that changed, before they are said to change too fast.
const ROUNDS: u64 = 20;

/// What all phases carry on. Dropped before resume, it gives up.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) txn: Arc<Txn>,
    pub(super) order: Order,
    pub(super) instances: Instances,
    pub(super) suspended: Option<Instant>,
    pub(super) stage: Stage,
    /// For copies before the pause.
    pub(super) deadline: Instant,
    pub(super) gave: Gave,
    pub(super) way_down: WayDown,
    pub(super) actors: u64,
    /// What migrations cost so far, and how many there were.
    pub(super) cost: Duration,
    pub(super) migrated: u64,
    pub(super) before: Before,
    /// Where actors might listen and connect to before resume.
    pub(super) reach: Option<(HashSet<u16>, Vec<ConnectTarget>)>,
    /// Of the order's actions.
    pub(super) done: Vec<Done>,
}

/// What had been counted when the upgrade resumed.
#[derive(Default)]
pub(super) struct Before {
    pub(super) restarts: u64,
    pub(super) ended: u64,
}

/// What is left to migrate.
#[derive(Default)]
pub(super) struct Left {
    pub(super) rounds: u64,
    pub(super) dirty: u64,
    pub(super) estimate: Duration,
}

impl Core {
    pub(super) fn modules(&self, mut act: impl FnMut(&Module, &Change)) {
        for (change, module) in self.shared.changed(&self.txn) {
            act(&module, change);
        }
    }

    /// What was counted up to now, of what only grows.
    pub(super) fn counted(&self) -> Before {
        let modules = self.shared.changed(&self.txn);
        Before {
            restarts: modules
                .map(|(_, module)| module.restarts.load(Ordering::Relaxed))
                .sum(),
            ended: self.shared.supervision.gave_up(),
        }
    }

    pub(super) fn try_migrate(&mut self, which: Which, deadline: Instant) -> Outcome {
        let (shared, txn) = (self.shared.clone(), self.txn.clone());
        let outcome = migrate(
            &shared,
            &txn,
            &mut self.instances,
            which,
            Goal::Forward,
            deadline,
        );
        self.cost += outcome.cost;
        self.migrated += outcome.migrated;
        outcome
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

    /// What the pause would take for what is on the list now.
    pub(super) fn left(&self) -> Left {
        let dirty = self.txn.list.lock().len();
        let count = u32::try_from(self.migrated.max(1)).unwrap_or(u32::MAX);
        Left {
            rounds: 0,
            dirty: dirty as u64,
            estimate: self.cost / count * u32::try_from(dirty).unwrap_or(u32::MAX),
        }
    }

    /// Works through what changed until the rest fits into half the pause budget; at least `rounds` times, if anything did.
    pub(super) fn converge(&mut self, least: u64, deadline: Instant) -> Result<Left, Error> {
        let budget = self.order.pause_budget / 2;
        let mut rounds = 0;
        loop {
            let left = self.left();
            if left.estimate <= budget && (rounds >= least || left.dirty == 0) {
                return Ok(Left { rounds, ..left });
            }
            if rounds >= ROUNDS {
                return Err(Error::NotConverging {
                    dirty: left.dirty as usize,
                    estimate: left.estimate,
                    budget: self.order.pause_budget,
                });
            }
            let list = std::mem::take(&mut *self.txn.list.lock());
            self.migrate(Which::Listed(list), deadline)?;
            rounds += 1;
        }
    }

    pub(super) fn prepare_deadline(&self) -> Instant {
        Instant::now() + self.order.prepare_timeout
    }

    pub(super) fn suspended_for(&self) -> Duration {
        self.suspended.map_or(Duration::ZERO, |at| at.elapsed())
    }

    pub(super) fn budget_end(&self) -> Instant {
        self.suspended.unwrap_or_else(Instant::now) + self.order.pause_budget
    }

    pub(super) fn over_budget(&self, phase: &'static str) -> Error {
        Error::PauseBudget {
            phase,
            budget: self.order.pause_budget,
        }
    }

    pub(super) fn within_budget(&self, phase: &'static str) -> Result<(), Error> {
        if self.suspended_for() > self.order.pause_budget {
            return Err(self.over_budget(phase));
        }
        match self.txn.pressure.load(Ordering::Relaxed) {
            0 => Ok(()),
            pid => Err(Error::MailboxPressure {
                actor: crate::pid_text(pid),
                bound: self.shared.limits.mailbox,
            }),
        }
    }

    /// Nobody may run a module that is to go, unless the order stops them.
    pub(super) fn check_deleted(&self) -> Result<(), Error> {
        let mut used = Ok(());
        self.modules(|module, change| {
            let actors = module.actors.load(Ordering::SeqCst);
            if change.kind == (Kind::Delete { stop: false }) && actors > 0 {
                used = Err(Error::ModuleInUse {
                    module: change.name.clone(),
                    actors,
                });
            }
        });
        used
    }

    /// Whoever runs a module that has gone ends.
    pub(super) fn stop_deleted(&self) {
        for (change, module) in self.shared.changed(&self.txn) {
            if matches!(change.kind, Kind::Delete { .. }) {
                self.shared.stop_all_of(&module, "shutdown");
            }
        }
    }

    /// The former versions are current again, all at once.
    pub(super) fn unload(&self) {
        let code = &self.shared.code;
        self.modules(|module, change| match change.kind {
            Kind::Add => {
                code.hide(module);
                module.current.store(NONE, Ordering::SeqCst);
            }
            Kind::Delete { .. } => code.show(module),
            Kind::Update | Kind::Load | Kind::Drain { .. } => {
                module.current.store(change.from, Ordering::SeqCst);
                module.old.store(NONE, Ordering::SeqCst);
            }
        });
    }

    /// Forgets one side of every module, and the versions in between, unless somebody runs it still.
    pub(super) fn purge(&self, side: impl Fn(&Change) -> u32) {
        self.modules(|module, change| {
            if module
                .lag
                .lock()
                .as_ref()
                .is_some_and(|lag| lag.is_of(&self.txn))
            {
                return;
            }
            change.between().for_each(|v| self.shared.code.purge(v));
            self.shared.code.purge(side(change));
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

    /// The upgrade is over: every actor takes its part in the end of it. Who stays on code that is not current is noted.
    pub(super) fn close(&self) {
        self.modules(|module, _| module.track(None));
        let mut lagging = self.shared.settle_all(&self.txn);
        self.modules(|module, change| {
            let pids = lagging.remove(&module.index).unwrap_or_default();
            if !pids.is_empty() {
                self.shared.lag(module, Lag::new(&self.txn, change, pids));
            }
        });
        self.shared.unmix(&self.txn);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Refused, once it has resumed; else nothing in it can fail.
        let _ = self.carry_out(Input::GiveUp);
    }
}

impl Shared {
    /// The changes of an upgrade and their modules, in the order of the order.
    pub(super) fn changed<'a>(
        &'a self,
        txn: &'a Txn,
    ) -> impl Iterator<Item = (&'a Change, Arc<Module>)> + 'a {
        let module = |c: &'a Change| Some((c, self.code.module(c.module)?));
        txn.changes.iter().filter_map(module)
    }

    /// `back`: for a rollback.
    pub(crate) fn close_gates(&self, txn: &Arc<Txn>, back: bool) {
        self.stop_deadlines(txn, back);
        txn.suspended.store(self.mono().max(1), Ordering::SeqCst);
        for (change, module) in self.changed(txn) {
            if change.gated(back) {
                module.close_gate();
            }
        }
        // Whoever replaces a state now has looked at the gate before: it is done when this is had.
        drop(self.replacing.write());
    }

    /// A worker is still inside a handler of a suspended module. It ends within `limits.handler_ms`.
    pub(super) fn someone_runs(&self, txn: &Txn, back: bool) -> bool {
        self.running.iter().any(|running| {
            let module = running.load(Ordering::SeqCst);
            module > 0 && txn.change(module - 1).is_some_and(|c| c.gated(back))
        })
    }

    /// The switch: behind closed gates the phase changes, then the gates open, in the order's order. Gives who waited.
    pub(crate) fn switch(&self, txn: &Arc<Txn>, phase: Phase) -> Vec<Pid> {
        if phase == Phase::Probation && txn.mixed() {
            for (_, module) in self.changed(txn) {
                module.mix(Some(txn.clone()));
            }
        }
        txn.enter(phase);
        if phase != Phase::Aborted {
            self.era.fetch_add(1, Ordering::AcqRel);
        }
        let mut waiting = Vec::new();
        for change in txn.opening() {
            let Some(module) = self.code.module(change.module) else {
                continue;
            };
            match change.kind {
                _ if phase != Phase::Probation => {}
                Kind::Update => {}
                Kind::Load | Kind::Drain { .. } => {
                    module.old.store(change.from, Ordering::SeqCst);
                    module.current.store(change.to, Ordering::SeqCst);
                }
                Kind::Add => {
                    module.current.store(change.to, Ordering::SeqCst);
                    self.code.show(&module);
                }
                // Who runs it is stopped when the actions of the order are done: they may stop it in an orderly way.
                Kind::Delete { .. } => self.code.hide(&module),
            }
            waiting.extend(module.open_gate());
        }
        waiting
    }

    pub(super) fn run_again(&self, waiting: Vec<Pid>) {
        waiting.into_iter().for_each(|pid| self.sched.push(pid));
        self.net.gates_opened();
    }

    /// Walks over all actors, so that none is left with a part in an upgrade that is over. Gives, by module, those whose
    /// code is not current.
    fn settle_all(self: &Arc<Self>, txn: &Arc<Txn>) -> HashMap<u32, Vec<Pid>> {
        let mut instances = Instances::new(self);
        let mut lagging: HashMap<u32, Vec<Pid>> = HashMap::new();
        let modules: HashMap<u32, Arc<Module>> = self
            .changed(txn)
            .map(|(change, module)| (change.module, module))
            .collect();
        // Given up, it has left everybody where they were, also those that lag behind from before.
        let over = txn.phase() != Phase::Aborted;
        for index in 0..self.table.extent() {
            let Some((pid, slot, mut guard)) = self.table.at(index) else {
                continue;
            };
            let Some(body) = guard.as_mut() else { continue };
            let Some(module) = modules.get(&body.module) else {
                continue;
            };
            let part = body.shadow.as_ref();
            let settled = if part.is_some_and(|s| Arc::ptr_eq(&s.txn, txn)) {
                settle(self, &mut instances, pid, slot, body)
            } else if module.attention.load(Ordering::Acquire) {
                attend(self, &mut instances, module, slot, body);
                Settled::Go
            } else {
                continue;
            };
            match settled {
                Settled::Go => {
                    let current = module.current.load(Ordering::SeqCst);
                    if over && body.version != current && body.birth.is_none() {
                        lagging.entry(body.module).or_default().push(pid);
                    }
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
        lagging
    }
}
