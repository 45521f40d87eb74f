//! The code server (OTP's `code`): modules by name, each with a `current` and perhaps an `old` version, and the gate
//! that an upgrade closes. It compiles components, keeps what was compiled, and drops a version when it is purged.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use midflight_patch::{Application, Digest, ModuleName, Vsn, component};
use parking_lot::{Mutex, RwLock};
use wasmtime::{Engine, InstancePre, Linker};

use crate::{
    Error, cache,
    door::Door,
    guest,
    measure::Measured,
    sys::OfModule,
    table::Pid,
    upgrade::{Lag, Txn},
};

/// No version, as an index.
pub(crate) const NONE: u32 = u32::MAX;

/// A count that all workers add to on every turn, each in a line of memory of its own, and that is seldom read.
#[derive(Debug, Default)]
pub(crate) struct Tally([Line; 8]);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, worker: usize, n: u64) {
        self.0[worker % self.0.len()]
            .0
            .fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0
            .iter()
            .map(|line| line.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// What the handlers of one version did since it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) events: Tally,
    pub(crate) traps: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) measured: Measured,
}

/// One version of a module, ready to run.
pub(crate) struct Version {
    pub(crate) index: u32,
    pub(crate) name: ModuleName,
    pub(crate) vsn: Vsn,
    pub(crate) vsn_text: Arc<str>,
    pub(crate) blob: Digest,
    pub(crate) pre: InstancePre<Door>,
    pub(crate) counters: Counters,
}

/// A module of the running release.
pub(crate) struct Module {
    pub(crate) index: u32,
    pub(crate) name: ModuleName,
    pub(crate) current: AtomicU32,
    pub(crate) old: AtomicU32,
    /// Closed: nobody may start to run a handler of this module.
    pub(crate) gate: AtomicBool,
    /// Actors that were about to run when the gate was closed.
    pub(crate) waiting: Mutex<Vec<Pid>>,
    /// How long the gate was closed since the node started, and since when it is.
    closed: Mutex<Closed>,
    /// Not part of the release: not added yet, or deleted.
    pub(crate) gone: AtomicBool,
    /// Set while `mixed` is: spares the lock.
    pub(crate) attention: AtomicBool,
    /// The upgrade whose two sides run at the same time, by `load_module` or because actors are drained.
    pub(crate) mixed: Mutex<Option<Arc<Txn>>>,
    /// Actors that run `old`.
    pub(crate) lag: Mutex<Option<Lag>>,
    /// Set while `txn` is: spares the lock.
    pub(crate) tracked: AtomicBool,
    /// The upgrade that this module is part of, from prepare until finished or undone.
    pub(crate) txn: Mutex<Option<Arc<Txn>>>,
    pub(crate) actors: AtomicU64,
    pub(crate) restarts: AtomicU64,
    /// Statistics or a trace of all its actors together, while `sys` has turned one on.
    pub(crate) watch: OfModule,
    /// The application that it belongs to; what its actors use is that one's share.
    pub(crate) application: AtomicU32,
    /// Until this tick of the clock its actors run behind all others; 0: never.
    pub(crate) slow_until: AtomicU64,
}

/// The times of a gate.
#[derive(Default)]
struct Closed {
    total: Duration,
    since: Option<Instant>,
}

impl Module {
    fn new(name: &ModuleName, index: u32) -> Self {
        Self {
            index,
            name: name.clone(),
            current: AtomicU32::new(NONE),
            old: AtomicU32::new(NONE),
            gate: AtomicBool::new(false),
            waiting: Mutex::default(),
            closed: Mutex::default(),
            gone: AtomicBool::new(true),
            attention: AtomicBool::new(false),
            mixed: Mutex::default(),
            lag: Mutex::default(),
            tracked: AtomicBool::new(false),
            txn: Mutex::default(),
            actors: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            watch: OfModule::default(),
            application: AtomicU32::new(0),
            slow_until: AtomicU64::new(0),
        }
    }

    pub(crate) fn close_gate(&self) {
        self.closed.lock().since.get_or_insert_with(Instant::now);
        self.gate.store(true, Ordering::SeqCst);
    }

    /// For how long the gate was closed, all in all.
    pub(crate) fn closed_for(&self) -> Duration {
        let closed = self.closed.lock();
        closed.total + closed.since.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Both sides of this upgrade run; none: one alone.
    pub(crate) fn mix(&self, txn: Option<Arc<Txn>>) {
        let mut mixed = self.mixed.lock();
        self.attention.store(txn.is_some(), Ordering::SeqCst);
        *mixed = txn;
    }

    pub(crate) fn gated(&self) -> bool {
        self.gate.load(Ordering::SeqCst)
    }

    /// Puts aside an actor that met the closed gate. False: the gate is open again, run it.
    pub(crate) fn wait_at_gate(&self, pid: Pid) -> bool {
        let mut waiting = self.waiting.lock();
        let gated = self.gated();
        if gated {
            waiting.push(pid);
        }
        gated
    }

    /// Opens the gate; gives those who waited.
    pub(crate) fn open_gate(&self) -> Vec<Pid> {
        self.gate.store(false, Ordering::SeqCst);
        let mut closed = self.closed.lock();
        if let Some(since) = closed.since.take() {
            closed.total += since.elapsed();
        }
        drop(closed);
        std::mem::take(&mut *self.waiting.lock())
    }

    /// The upgrade that the module is part of.
    pub(crate) fn upgrade(&self) -> Option<Arc<Txn>> {
        if !self.tracked.load(Ordering::SeqCst) {
            return None;
        }
        self.txn.lock().clone()
    }

    pub(crate) fn track(&self, txn: Option<Arc<Txn>>) {
        let mut slot = self.txn.lock();
        self.tracked.store(txn.is_some(), Ordering::SeqCst);
        *slot = txn;
    }
}

/// All code of a node.
pub(crate) struct CodeServer {
    engine: Engine,
    linker: Linker<Door>,
    cache: Option<PathBuf>,
    modules: RwLock<Vec<Arc<Module>>>,
    versions: RwLock<Vec<Option<Arc<Version>>>>,
    by_name: RwLock<HashMap<ModuleName, u32>>,
    compiled: Mutex<HashMap<Digest, InstancePre<Door>>>,
    purges: AtomicU64,
    applications: AtomicU32,
    /// Numbers given to applications.
    assigned: AtomicU32,
}

impl CodeServer {
    pub(crate) fn new(engine: &Engine, cache: Option<PathBuf>) -> Result<Self, Error> {
        let linker = guest::linker(engine).map_err(|e| Error::System {
            what: "the host interface",
            reason: e.to_string(),
        })?;
        Ok(Self {
            engine: engine.clone(),
            linker,
            cache,
            modules: RwLock::default(),
            versions: RwLock::default(),
            by_name: RwLock::default(),
            compiled: Mutex::default(),
            purges: AtomicU64::new(0),
            applications: AtomicU32::new(1),
            assigned: AtomicU32::new(0),
        })
    }

    /// Compiles a component and checks it against the contract. The same digest again is free.
    pub(crate) fn stage(
        &self,
        module: &ModuleName,
        blob: &Digest,
        component: &[u8],
    ) -> Result<(), Error> {
        if self.compiled.lock().contains_key(blob) {
            return Ok(());
        }
        let refuse = |reason: String| Error::Component {
            module: module.clone(),
            reason,
        };
        let chain = |e: &wasmtime::Error| {
            e.chain()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": ")
        };
        let core = component::core_module(module, &blob.to_string(), component)
            .map_err(|e| refuse(e.to_string()))?;
        let compiled = cache::load_or_compile(&self.engine, self.cache.as_deref(), blob, core)
            .map_err(|e| refuse(chain(&e)))?;
        let pre = guest::link(&self.linker, &compiled).map_err(|e| refuse(chain(&e)))?;
        self.compiled.lock().insert(*blob, pre);
        Ok(())
    }

    /// Makes a version of a staged component. It runs nowhere until it is `current`.
    pub(crate) fn add_version(
        &self,
        name: &ModuleName,
        vsn: &Vsn,
        blob: &Digest,
    ) -> Result<Arc<Version>, Error> {
        let pre = self
            .compiled
            .lock()
            .get(blob)
            .cloned()
            .ok_or_else(|| Error::Component {
                module: name.clone(),
                reason: format!("blob {blob} was not staged"),
            })?;
        let mut versions = self.versions.write();
        let index = versions.len() as u32;
        let version = Arc::new(Version {
            index,
            name: name.clone(),
            vsn: vsn.clone(),
            vsn_text: vsn.to_string().into(),
            blob: *blob,
            pre,
            counters: Counters::default(),
        });
        versions.push(Some(version.clone()));
        Ok(version)
    }

    /// Adds a module whose current version is this one.
    pub(crate) fn add_module(&self, version: &Version) -> Arc<Module> {
        let module = self.new_module(&version.name);
        module.current.store(version.index, Ordering::SeqCst);
        self.show(&module);
        module
    }

    /// A module that is not part of the release yet. One that was deleted comes to life again.
    pub(crate) fn new_module(&self, name: &ModuleName) -> Arc<Module> {
        let mut modules = self.modules.write();
        let unused = |m: &&Arc<Module>| {
            let current = m.current.load(Ordering::SeqCst);
            m.name == *name && current == NONE && m.actors.load(Ordering::SeqCst) == 0
        };
        if let Some(module) = modules.iter().find(unused) {
            return module.clone();
        }
        let module = Arc::new(Module::new(name, modules.len() as u32));
        modules.push(module.clone());
        module
    }

    /// From now on the name finds this module.
    pub(crate) fn show(&self, module: &Module) {
        let mut by_name = self.by_name.write();
        module.gone.store(false, Ordering::SeqCst);
        by_name.insert(module.name.clone(), module.index);
    }

    /// From now on the name finds nothing.
    pub(crate) fn hide(&self, module: &Module) {
        let mut by_name = self.by_name.write();
        module.gone.store(true, Ordering::SeqCst);
        if by_name.get(&module.name) == Some(&module.index) {
            by_name.remove(&module.name);
        }
    }

    /// Notes which modules belong to this application; one that no application names is the release's own.
    pub(crate) fn assign(&self, application: &Application) {
        let number = self.assigned.fetch_add(1, Ordering::AcqRel) + 1;
        let modules = self.modules();
        for module in &modules {
            if application.modules.contains(&module.name) {
                module.application.store(number, Ordering::Release);
            }
        }
        let number = |m: &Arc<Module>| m.application.load(Ordering::Acquire);
        let numbers: HashSet<u32> = modules.iter().map(number).collect();
        self.applications
            .store(numbers.len().max(1) as u32, Ordering::Release);
    }

    /// One of an application's handlers has kept its worker for long: where there are others, its actors run behind them
    /// until this tick.
    pub(crate) fn slow_down(&self, application: u32, until: u64) {
        if self.applications() == 1 {
            return;
        }
        for module in self.modules.read().iter() {
            if module.application.load(Ordering::Acquire) == application {
                module.slow_until.store(until, Ordering::Relaxed);
            }
        }
    }

    /// How many applications share the node.
    pub(crate) fn applications(&self) -> u32 {
        self.applications.load(Ordering::Acquire)
    }

    /// Actors of one application that are alive.
    pub(crate) fn actors_of(&self, application: u32) -> u64 {
        let modules = self.modules.read();
        let of_it = modules
            .iter()
            .filter(|m| m.application.load(Ordering::Acquire) == application);
        of_it.map(|m| m.actors.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn module(&self, index: u32) -> Option<Arc<Module>> {
        self.modules.read().get(index as usize).cloned()
    }

    pub(crate) fn module_named(&self, name: &str) -> Option<Arc<Module>> {
        let name: ModuleName = name.parse().ok()?;
        let index = *self.by_name.read().get(&name)?;
        self.module(index)
    }

    pub(crate) fn modules(&self) -> Vec<Arc<Module>> {
        self.modules.read().clone()
    }

    pub(crate) fn version(&self, index: u32) -> Option<Arc<Version>> {
        self.versions.read().get(index as usize)?.clone()
    }

    /// Every version that is not purged.
    pub(crate) fn versions(&self) -> Vec<Arc<Version>> {
        self.versions.read().iter().flatten().cloned().collect()
    }

    /// Forgets a version that nobody runs, and its compiled code when no other version shares it.
    pub(crate) fn purge(&self, index: u32) {
        let Some(version) = self
            .versions
            .write()
            .get_mut(index as usize)
            .and_then(Option::take)
        else {
            return;
        };
        let shared = self
            .versions
            .read()
            .iter()
            .flatten()
            .any(|v| v.blob == version.blob);
        if !shared {
            self.compiled.lock().remove(&version.blob);
        }
        self.purges.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever a version is purged.
    pub(crate) fn purges(&self) -> u64 {
        self.purges.load(Ordering::Acquire)
    }
}
