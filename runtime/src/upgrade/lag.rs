//! Who runs old code after an upgrade is over: actors that are drained, and those that a rollback had to hold. They are
//! counted, protected from a third version, brought to the current code or stopped; when the last has left, the old code
//! is purged in the background (OTP's soft post-purge).

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use midflight_patch::{ModuleName, Vsn};

use super::{
    AfterDraining, Phase, Purge,
    hops::migrate_states,
    settle::arrive,
    txn::{Change, Kind, Txn},
};
use crate::{
    Error, Node,
    actor::{Pause, id_base},
    bindings::Cx,
    code::{Module, NONE},
    effects,
    error::{ActorFailure, MAX_FAILING},
    instance::Instances,
    node::Shared,
    table::Pid,
};

/// Pids that one answer lists.
const LISTED: usize = 100;
/// How often the background looks whether old code can go.
const LOOK: Duration = Duration::from_millis(50);

/// The actors of one module that run old code, and what is to become of them.
pub(crate) struct Lag {
    txn: Arc<Txn>,
    version: u32,
    /// Those that were there when the upgrade ended: nobody joins them.
    pids: Vec<Pid>,
    since: SystemTime,
    end: Option<(Instant, AfterDraining)>,
}

impl Lag {
    pub(super) fn new(txn: &Arc<Txn>, change: &Change, pids: Vec<Pid>) -> Self {
        let undone = txn.phase() == Phase::Undone;
        let resumed = *txn.resumed.lock();
        let now = Instant::now();
        let ago = resumed
            .filter(|_| !undone)
            .map_or(Duration::ZERO, |at| now - at);
        Self {
            txn: txn.clone(),
            version: if undone { change.to } else { change.from },
            pids,
            since: SystemTime::now() - ago,
            end: match change.kind {
                Kind::Drain { deadline, then } if !undone => {
                    Some((resumed.unwrap_or(now) + deadline, then))
                }
                _ => None,
            },
        }
    }

    pub(super) fn is_of(&self, txn: &Arc<Txn>) -> bool {
        Arc::ptr_eq(&self.txn, txn)
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// Who is left. They only end or are brought to the current code, so that a pid that lives is one of them.
    fn left(&mut self, shared: &Shared) -> &[Pid] {
        self.pids.retain(|&pid| shared.table.get(pid).is_some());
        &self.pids
    }
}

/// Old code that somebody runs.
#[derive(Debug, Clone)]
pub struct OldUse {
    /// The module.
    pub module: ModuleName,
    /// The version that is old.
    pub vsn: Vsn,
    /// Actors that run it.
    pub actors: u64,
    /// Some of them, at most 100.
    pub pids: Vec<u64>,
    /// Since when that version is old.
    pub since: SystemTime,
}

/// What became of actors that ran old code.
#[derive(Debug, Clone, Default)]
pub struct CaughtUp {
    /// They run the current code now.
    pub updated: u64,
    /// Actors whose `code_change` failed: held, on the old code. At most 100 are listed.
    pub held: Vec<ActorFailure>,
}

impl Module {
    /// `old` names the version that somebody runs, if anyone does.
    pub(super) fn old_is_what_lags(&self) {
        let lag = self.lag.lock();
        let old = lag.as_ref().map_or(NONE, Lag::version);
        self.old.store(old, Ordering::SeqCst);
    }
}

impl Shared {
    /// Notes who runs what is old now.
    pub(super) fn lag(&self, module: &Module, lag: Lag) {
        module.old.store(lag.version, Ordering::SeqCst);
        *module.lag.lock() = Some(lag);
        self.lagging.fetch_add(1, Ordering::SeqCst);
    }

    /// All of an upgrade's modules that run one side alone from now on, unless some of it is still drained.
    pub(super) fn unmix(&self, txn: &Arc<Txn>) {
        if self.changed(txn).any(|(_, module)| {
            let lag = module.lag.lock();
            lag.as_ref()
                .is_some_and(|lag| lag.is_of(txn) && lag.end.is_some())
        }) {
            return;
        }
        for (_, module) in self.changed(txn) {
            let ours = module
                .mixed
                .lock()
                .as_ref()
                .is_some_and(|t| Arc::ptr_eq(t, txn));
            if ours {
                module.mix(None);
            }
        }
    }

    /// Gets rid of old code; gives how many actors were stopped. Soft: refused while anyone runs it.
    pub(crate) fn purge_old(&self, module: &Module, purge: Purge) -> Result<u64, Error> {
        let pids = {
            let mut lag = module.lag.lock();
            let Some(lag) = lag.as_mut() else {
                return Ok(0);
            };
            lag.left(self).to_vec()
        };
        if purge == Purge::Soft && !pids.is_empty() {
            return Err(self.not_purged(module, pids.len() as u64));
        }
        for &pid in &pids {
            self.stop(pid, "killed");
        }
        self.forget_old(module);
        Ok(pids.len() as u64)
    }

    fn not_purged(&self, module: &Module, actors: u64) -> Error {
        let old = self.code.version(module.old.load(Ordering::SeqCst));
        Error::NotPurged {
            module: module.name.clone(),
            vsn: old.map_or_else(|| "?".to_owned(), |v| v.vsn.to_string()),
            actors,
        }
    }

    /// Nobody runs it any more.
    fn forget_old(&self, module: &Module) {
        let Some(lag) = module.lag.lock().take() else {
            return;
        };
        let _ = module
            .old
            .compare_exchange(lag.version, NONE, Ordering::SeqCst, Ordering::SeqCst);
        self.lagging.fetch_sub(1, Ordering::SeqCst);
        if let Some(change) = lag.txn.change(module.index) {
            change.between().for_each(|v| self.code.purge(v));
        }
        self.code.purge(lag.version);
        self.unmix(&lag.txn);
    }

    /// Ends an actor at a message boundary, without asking its code.
    pub(crate) fn stop(&self, pid: Pid, reason: &str) {
        let Some(slot) = self.table.get(pid) else {
            return;
        };
        let body = self
            .table
            .still(pid, slot.body.lock())
            .and_then(|mut guard| guard.take());
        if let Some(body) = body {
            effects::bury(self, pid, body, reason);
        }
    }

    /// Brings those that run old code to the current, each on its own, at a message boundary. Who fails is held.
    fn catch_up(self: &Arc<Self>, module: &Module) -> CaughtUp {
        let mut caught = CaughtUp::default();
        let Some((txn, version, pids)) = module
            .lag
            .lock()
            .as_mut()
            .map(|lag| (lag.txn.clone(), lag.version, lag.left(self).to_vec()))
        else {
            return caught;
        };
        let Some(change) = txn.change(module.index) else {
            return caught;
        };
        let mut instances = Instances::new(self);
        let mut left = Vec::new();
        for pid in pids {
            match self.catch_up_one(&mut instances, &txn, change, version, pid) {
                None => {}
                Some(Ok(())) => {
                    caught.updated += 1;
                    self.unpause(pid, Pause::Held);
                    self.wake(pid);
                }
                Some(Err(failure)) => {
                    left.push(pid);
                    if caught.held.len() < MAX_FAILING {
                        caught.held.push(failure);
                    }
                }
            }
        }
        let none = left.is_empty();
        if let Some(lag) = module.lag.lock().as_mut() {
            lag.pids = left;
            lag.end = None;
        }
        if none {
            self.forget_old(module);
        } else {
            self.unmix(&txn);
        }
        caught
    }

    /// None: it is gone, or runs the current code already.
    fn catch_up_one(
        self: &Arc<Self>,
        instances: &mut Instances,
        txn: &Txn,
        change: &Change,
        version: u32,
        pid: Pid,
    ) -> Option<Result<(), ActorFailure>> {
        let slot = self.table.get(pid)?;
        let mut guard = self.table.still(pid, slot.body.lock())?;
        let body = guard.as_mut().filter(|body| body.version == version)?;
        let forward = version == change.from;
        let cx = Cx {
            me: pid,
            wall: Shared::wall(),
            mono: self.mono(),
            seed: pid,
            id_base: id_base(body.events),
        };
        let items = [(cx, body.state.clone())];
        let made = migrate_states(self, instances, txn, change, forward, &items)
            .map_err(|fault| fault.reason().to_owned())
            .and_then(|mut results| results.pop().unwrap_or_else(|| Err("no result".into())))
            .and_then(|migrated| super::migrate::check(self, migrated));
        match made {
            Ok(migrated) => {
                arrive(self, instances, slot, body, txn, change, migrated);
                Some(Ok(()))
            }
            Err(reason) => {
                slot.mail.lock().pause.add(Pause::Held);
                tracing::warn!(actor = %body.label(pid), reason, "held on old code");
                Some(Err(ActorFailure {
                    pid,
                    name: body.name().map_or_else(String::new, ToString::to_string),
                    module: change.name.to_string(),
                    reason,
                }))
            }
        }
    }

    /// What time and the ends of actors have brought about.
    fn tend(self: &Arc<Self>) {
        for module in self.code.modules() {
            let upgrade = self.upgrade.lock();
            if upgrade
                .as_ref()
                .is_some_and(|txn| txn.change(module.index).is_some())
            {
                // It is decided there.
                continue;
            }
            let due = {
                let mut lag = module.lag.lock();
                let Some(lag) = lag.as_mut() else { continue };
                if lag.left(self).is_empty() {
                    None
                } else {
                    match lag.end {
                        Some((at, then)) if at <= Instant::now() => Some(then),
                        _ => continue,
                    }
                }
            };
            match due {
                None => self.forget_old(&module),
                Some(AfterDraining::Update) => {
                    let caught = self.catch_up(&module);
                    tracing::info!(module = %module.name, updated = caught.updated, held = caught.held.len(), "drained: the time was up");
                }
                Some(AfterDraining::Stop) => {
                    let pids = module
                        .lag
                        .lock()
                        .as_ref()
                        .map_or_else(Vec::new, |lag| lag.pids.clone());
                    tracing::info!(module = %module.name, stopped = pids.len(), "drained: the time was up");
                    pids.iter().for_each(|&pid| self.stop(pid, "shutdown"));
                    self.forget_old(&module);
                }
            }
        }
    }

    fn module_to_change(&self, module: &ModuleName) -> Result<Arc<Module>, Error> {
        let found = self.code.module_named(module.as_ref());
        found.ok_or_else(|| Error::NoModule(module.clone()))
    }
}

/// The thread that purges old code once nobody runs it, and ends the time of those that are drained.
pub(crate) fn spawn(shared: &Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let node = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("mf-purge".into())
        .spawn(move || {
            loop {
                std::thread::park_timeout(LOOK);
                let Some(shared) = node.upgrade() else { return };
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                if shared.lagging.load(Ordering::SeqCst) > 0 {
                    shared.tend();
                }
            }
        })
}

impl Node {
    /// Who runs old code, by module: actors that are drained, and actors that a rollback had to hold. While an upgrade is
    /// not finished, actors that it has still to take to the new code are not counted: they run nothing before that.
    pub fn old_code(&self) -> Vec<OldUse> {
        let shared = &self.shared;
        let mut uses = Vec::new();
        let open = shared.upgrade.lock().clone();
        for module in shared.code.modules() {
            if let Some(lag) = module.lag.lock().as_mut() {
                let (version, since) = (lag.version, lag.since);
                uses.extend(old_use(shared, &module, version, since, lag.left(shared)));
            }
            let Some(txn) = &open else { continue };
            if !matches!(txn.phase(), Phase::Probation | Phase::Confirmed) {
                continue;
            }
            let Some(change) = txn.change(module.index) else {
                continue;
            };
            if matches!(change.kind, Kind::Drain { .. }) {
                let lag = Lag::new(txn, change, Vec::new());
                let pids = actors_on(shared, module.index, change.from);
                uses.extend(old_use(shared, &module, change.from, lag.since, &pids));
            }
        }
        uses
    }

    /// OTP's `code:soft_purge` and `code:purge`, for one module: gets rid of its old code and gives how many actors were
    /// stopped for it. Soft: refused while anyone runs it. Brutal: they end, with the reason `killed`.
    pub fn purge(&self, module: &ModuleName, purge: Purge) -> Result<u64, Error> {
        let found = self.shared.module_to_change(module)?;
        let _upgrade = self.not_in_upgrade(&found)?;
        self.shared.purge_old(&found, purge)
    }

    /// Tries again to bring actors that run old code to the current: those that a rollback had to hold, and those that are
    /// drained, whose time is thereby up. Who fails is held, on the old code.
    pub fn catch_up(&self, module: &ModuleName) -> Result<CaughtUp, Error> {
        let found = self.shared.module_to_change(module)?;
        let _upgrade = self.not_in_upgrade(&found)?;
        Ok(self.shared.catch_up(&found))
    }

    /// Takes a module out of the release. Soft: refused while anyone runs it. Brutal: they end, with the reason `killed`.
    /// Gives how many did. It cannot be taken back; an `Order` with `delete` can.
    pub fn delete_module(&self, module: &ModuleName, purge: Purge) -> Result<u64, Error> {
        let shared = &self.shared;
        let found = shared.module_to_change(module)?;
        let _upgrade = self.not_in_upgrade(&found)?;
        shared.purge_old(&found, purge)?;
        let actors = found.actors.load(Ordering::SeqCst);
        if purge == Purge::Soft && actors > 0 {
            return Err(Error::ModuleInUse {
                module: module.clone(),
                actors,
            });
        }
        shared.code.hide(&found);
        let stopped = shared.stop_all_of(&found, "killed");
        let current = found.current.swap(NONE, Ordering::SeqCst);
        shared.code.purge(current);
        Ok(stopped)
    }

    /// Held, nobody can open an upgrade.
    fn not_in_upgrade(
        &self,
        module: &Module,
    ) -> Result<parking_lot::MutexGuard<'_, Option<Arc<Txn>>>, Error> {
        let open = self.shared.upgrade.lock();
        match &*open {
            Some(txn) if txn.change(module.index).is_some() => Err(Error::Busy {
                state: txn.phase().text(),
            }),
            _ => Ok(open),
        }
    }
}

impl Shared {
    /// Ends every actor of a module.
    pub(super) fn stop_all_of(&self, module: &Module, reason: &str) -> u64 {
        let mut pids = Vec::new();
        if module.actors.load(Ordering::SeqCst) > 0 {
            for index in 0..self.table.extent() {
                if let Some((pid, _, body)) = self.table.at(index)
                    && body.as_ref().is_some_and(|b| b.module == module.index)
                {
                    pids.push(pid);
                }
            }
        }
        pids.iter().for_each(|&pid| self.stop(pid, reason));
        pids.len() as u64
    }
}

fn actors_on(shared: &Shared, module: u32, version: u32) -> Vec<Pid> {
    let on = |index| {
        let (pid, _, body) = shared.table.at(index)?;
        let body = body.as_ref()?;
        let born = body.birth.is_none();
        (body.module == module && body.version == version && born).then_some(pid)
    };
    (0..shared.table.extent()).filter_map(on).collect()
}

fn old_use(
    shared: &Shared,
    module: &Module,
    version: u32,
    since: SystemTime,
    pids: &[Pid],
) -> Option<OldUse> {
    let version = shared.code.version(version)?;
    (!pids.is_empty()).then(|| OldUse {
        module: module.name.clone(),
        vsn: version.vsn.clone(),
        actors: pids.len() as u64,
        pids: pids.iter().take(LISTED).copied().collect(),
        since,
    })
}
