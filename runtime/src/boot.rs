//! Starting a release: its modules become current, its actors are started and, when they end, started again as the
//! release says. An actor that ends too often is left ended, and said so.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use midflight_patch::{Digest, ModuleName, Release, Restart};
use parking_lot::{Condvar, Mutex};

use crate::{
    Error, Node, actor::Birth, effects::give_birth, node::Shared, table::Pid, upgrade::on_load,
};

/// How many restarts of one actor, in how long, are too many.
const INTENSITY: usize = 3;
const PERIOD: Duration = Duration::from_secs(5);
/// For all actors of a release to be initialised.
const BOOT_TIME: Duration = Duration::from_secs(120);

/// One entry of the release's start list.
pub(crate) struct Root {
    name: String,
    module: ModuleName,
    args: Vec<u8>,
    count: u32,
    restart: Restart,
    boot: Mutex<Boot>,
    changed: Condvar,
    restarts: Mutex<HashMap<u32, VecDeque<Instant>>>,
}

/// While the release boots: how many are to come, and the first that failed.
struct Boot {
    waiting: u32,
    failed: Option<(u32, String)>,
}

impl Root {
    fn actor_name(&self, index: u32) -> Arc<str> {
        if self.count > 1 {
            format!("{}.{}", self.name, index + 1).into()
        } else {
            self.name.as_str().into()
        }
    }

    /// An actor of this entry was initialised, or not.
    pub(crate) fn started(&self, index: u32, outcome: Result<(), String>) {
        let mut boot = self.boot.lock();
        if boot.waiting == 0 {
            return;
        }
        boot.waiting -= 1;
        if let Err(reason) = outcome {
            boot.failed.get_or_insert((index, reason));
        }
        if boot.waiting == 0 || boot.failed.is_some() {
            self.changed.notify_all();
        }
    }

    fn wait(&self, until: Instant) -> Result<(), Error> {
        let error = |index, reason| Error::Start {
            name: self.actor_name(index).to_string(),
            module: self.module.clone(),
            reason,
        };
        let mut boot = self.boot.lock();
        while boot.waiting > 0 && boot.failed.is_none() {
            if self.changed.wait_until(&mut boot, until).timed_out() {
                return Err(error(
                    0,
                    format!(
                        "{} actors were not initialised within {BOOT_TIME:?}",
                        boot.waiting
                    ),
                ));
            }
        }
        match boot.failed.take() {
            Some((index, reason)) => Err(error(index, reason)),
            None => Ok(()),
        }
    }
}

impl Node {
    /// Compiles a component and checks it against the contract. The same digest again is free.
    pub fn stage(&self, module: &ModuleName, blob: &Digest, component: &[u8]) -> Result<(), Error> {
        self.shared.code.stage(module, blob, component)
    }

    /// Starts a release on a node that runs nothing, and waits until its actors are initialised.
    pub fn boot(
        &self,
        release: &Release,
        blobs: &BTreeMap<Digest, Arc<[u8]>>,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        for (name, module) in &release.modules {
            let component = blobs.get(&module.blob).ok_or_else(|| Error::Component {
                module: name.clone(),
                reason: format!("blob {} is not on the node", module.blob),
            })?;
            shared.code.stage(name, &module.blob, component)?;
            let version = shared.code.add_version(name, &module.vsn, &module.blob)?;
            on_load(shared, &version, module.config.to_string().as_bytes())?;
            shared.code.add_module(&version);
        }
        *shared.ports.write() = release.listen.iter().copied().collect();
        *shared.targets.write() = release.connect.clone();
        let until = Instant::now() + BOOT_TIME;
        for start in &release.start {
            let root = Arc::new(Root {
                name: start.name.clone(),
                module: start.module.clone(),
                args: start.args.to_string().into_bytes(),
                count: start.count,
                restart: start.restart,
                boot: Mutex::new(Boot {
                    waiting: start.count,
                    failed: None,
                }),
                changed: Condvar::new(),
                restarts: Mutex::default(),
            });
            for index in 0..start.count {
                start_root(shared, &root, index).map_err(|reason| Error::Start {
                    name: root.actor_name(index).to_string(),
                    module: root.module.clone(),
                    reason,
                })?;
            }
            // One entry after the other: a later one may look for an earlier one by name.
            root.wait(until)?;
        }
        Ok(())
    }
}

fn start_root(shared: &Shared, root: &Arc<Root>, index: u32) -> Result<Pid, String> {
    let module = shared
        .code
        .module_named(root.module.as_ref())
        .ok_or_else(|| format!("module {} is not loaded", root.module))?;
    let pid = shared
        .table
        .reserve()
        .ok_or("the node holds as many actors as limits.actors allows")?;
    let birth = Birth {
        args: root.args.clone(),
        parent: None,
        linked: false,
    };
    match give_birth(
        shared,
        pid,
        &module,
        Some(root.actor_name(index)),
        birth,
        Some((root.clone(), index)),
    ) {
        Ok(()) => {
            shared.wake(pid);
            Ok(pid)
        }
        Err(reason) => {
            shared.table.release(pid);
            Err(reason)
        }
    }
}

/// An actor that the release started has ended: it is started again if the release says so.
pub(crate) fn ended(shared: &Shared, root: &Arc<Root>, index: u32, reason: &str) {
    let normal = matches!(reason, "normal" | "shutdown");
    let again = match root.restart {
        Restart::Permanent => true,
        Restart::Transient => !normal,
        Restart::Temporary => false,
    };
    let booting = root.boot.lock().waiting > 0;
    if !again || booting || shared.stopping.load(Ordering::SeqCst) {
        return;
    }
    let name = root.actor_name(index);
    {
        let mut restarts = root.restarts.lock();
        let recent = restarts.entry(index).or_default();
        let now = Instant::now();
        recent.retain(|&at| now.duration_since(at) < PERIOD);
        if recent.len() >= INTENSITY {
            tracing::error!(actor = %name, "ended {INTENSITY} times within {PERIOD:?}; it is not started again");
            return;
        }
        recent.push_back(now);
    }
    if let Some(module) = shared.code.module_named(root.module.as_ref()) {
        module.restarts.fetch_add(1, Ordering::Relaxed);
    }
    match start_root(shared, root, index) {
        Ok(_) => tracing::warn!(actor = %name, reason, "started again"),
        Err(error) => tracing::error!(actor = %name, error, "could not be started again"),
    }
}
