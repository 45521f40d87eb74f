//! Opening an upgrade: everything that can be refused without looking at a single state is refused here, the new code is
//! loaded beside the running one, and each module's own check of it, `on_load`, is run.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    AddModule, DeleteModule, ModuleOrder, Opened, Order, Policy, Purge,
    acts::{Gave, WayDown},
    core::{Before, Core},
    machine::Stage,
    txn::{Change, Kind, Step, Txn},
};
use crate::{
    Error, Node,
    code::{Module, NONE, Version},
    instance::{Instance, Instances},
    node::Shared,
};

impl Node {
    /// Opens the one upgrade that may be open. Refused unless every module of the order runs the vsn it names, and while
    /// anyone runs code that is old from before, unless the order says brutal for that module.
    pub fn begin(&self, order: Order) -> Result<Opened, Error> {
        let shared = &self.shared;
        let mut open = shared.upgrade.lock();
        if let Some(other) = &*open {
            return Err(Error::Busy {
                state: other.phase().text(),
            });
        }
        let mut opening = Opening {
            shared,
            changes: Vec::new(),
            added: Vec::new(),
        };
        if let Err(error) = opening.all(&order) {
            opening.added.iter().for_each(|&v| shared.code.purge(v));
            return Err(error);
        }
        let txn = Arc::new(Txn::new(order.direction, opening.changes, &order.resume));
        *open = Some(txn.clone());
        Ok(Opened(Box::new(Core::new(shared, txn, order))))
    }
}

/// What was found and made so far.
struct Opening<'a> {
    shared: &'a Arc<Shared>,
    changes: Vec<Change>,
    /// Versions, to be purged when it comes to nothing.
    added: Vec<u32>,
}

impl Opening<'_> {
    fn all(&mut self, order: &Order) -> Result<(), Error> {
        // First what costs nothing.
        let mut running = Vec::new();
        for module in &order.modules {
            running.push(self.running(&module.name, &module.from, module.pre_purge)?);
        }
        let mut deleted = Vec::new();
        for module in &order.delete {
            deleted.push(self.running(&module.name, &module.from, module.purge)?);
        }
        for module in &order.add {
            if self
                .shared
                .code
                .module_named(module.name.as_ref())
                .is_some()
            {
                return Err(Error::ModuleExists(module.name.clone()));
            }
        }
        for (wanted, (module, from)) in order.modules.iter().zip(running) {
            self.changed(wanted, &module, from)?;
        }
        order.add.iter().try_for_each(|m| self.new_module(m))?;
        for (wanted, (module, from)) in order.delete.iter().zip(deleted) {
            self.deleted(wanted, &module, from);
        }
        Ok(())
    }

    /// The module and what it runs, if it may be changed.
    fn running(
        &mut self,
        name: &midflight_patch::ModuleName,
        from: &midflight_patch::Vsn,
        purge: Purge,
    ) -> Result<(Arc<Module>, u32), Error> {
        let code = &self.shared.code;
        let unknown = || Error::NoModule(name.clone());
        let module = code.module_named(name.as_ref()).ok_or_else(unknown)?;
        let current = module.current.load(Ordering::SeqCst);
        let running = code.version(current).ok_or_else(unknown)?;
        if running.vsn != *from {
            return Err(Error::WrongVsn {
                module: name.clone(),
                running: running.vsn.clone(),
                wanted: from.clone(),
            });
        }
        if purge == Purge::Soft {
            self.shared.purge_old(&module, Purge::Soft)?;
        }
        Ok((module, current))
    }

    fn add(
        &mut self,
        name: &midflight_patch::ModuleName,
        vsn: &midflight_patch::Vsn,
        blob: &midflight_patch::Digest,
    ) -> Result<Arc<Version>, Error> {
        let version = self.shared.code.add_version(name, vsn, blob)?;
        self.added.push(version.index);
        Ok(version)
    }

    fn changed(
        &mut self,
        wanted: &ModuleOrder,
        module: &Arc<Module>,
        from: u32,
    ) -> Result<(), Error> {
        let mut steps: Vec<Step> = Vec::with_capacity(wanted.hops.len() + 1);
        let mut at = from;
        for hop in &wanted.hops {
            // For states only: it never runs, so that its `on_load` has nothing to say.
            let to = self.add(&wanted.name, &hop.vsn, &hop.blob)?.index;
            steps.push(Step {
                from: at,
                to,
                update: hop.update,
                extra: hop.extra.clone(),
            });
            at = to;
        }
        let version = self.add(&wanted.name, &wanted.to, &wanted.blob)?;
        on_load(self.shared, &version, &wanted.config)?;
        steps.push(Step {
            from: at,
            to: version.index,
            update: wanted.update,
            extra: wanted.extra.clone(),
        });
        self.changes.push(Change {
            name: wanted.name.clone(),
            module: module.index,
            from,
            to: version.index,
            kind: match wanted.policy {
                Policy::Update => Kind::Update,
                Policy::LoadModule => Kind::Load,
                Policy::Draining { deadline_ms, then } => Kind::Drain {
                    deadline: Duration::from_millis(deadline_ms),
                    then,
                },
            },
            steps,
            pre_purge: wanted.pre_purge,
            post_purge: wanted.post_purge,
        });
        Ok(())
    }

    fn new_module(&mut self, wanted: &AddModule) -> Result<(), Error> {
        let version = self.add(&wanted.name, &wanted.vsn, &wanted.blob)?;
        on_load(self.shared, &version, &wanted.config)?;
        let module = self.shared.code.new_module(&wanted.name);
        self.changes.push(Change {
            name: wanted.name.clone(),
            module: module.index,
            from: NONE,
            to: version.index,
            kind: Kind::Add,
            steps: Vec::new(),
            pre_purge: Purge::Soft,
            post_purge: Purge::Soft,
        });
        Ok(())
    }

    fn deleted(&mut self, wanted: &DeleteModule, module: &Arc<Module>, from: u32) {
        self.changes.push(Change {
            name: wanted.name.clone(),
            module: module.index,
            from,
            to: NONE,
            kind: Kind::Delete {
                stop: wanted.purge == Purge::Brutal,
            },
            steps: Vec::new(),
            pre_purge: wanted.purge,
            post_purge: Purge::Soft,
        });
    }
}

/// Runs a module's own check. Anything but ok refuses it.
pub(crate) fn on_load(
    shared: &Arc<Shared>,
    version: &Arc<Version>,
    config: &[u8],
) -> Result<(), Error> {
    let ran = Instance::new(shared, version).and_then(|mut instance| instance.on_load(config));
    ran.map_err(|fault| Error::OnLoad {
        module: version.name.clone(),
        vsn: version.vsn.clone(),
        reason: fault.reason().to_owned(),
    })
}

impl Core {
    fn new(shared: &Arc<Shared>, txn: Arc<Txn>, order: Order) -> Self {
        Self {
            shared: shared.clone(),
            txn,
            order,
            instances: Instances::new(shared),
            suspended: None,
            stage: Stage::Opened,
            deadline: Instant::now(),
            gave: Gave::default(),
            way_down: WayDown::default(),
            actors: 0,
            cost: Duration::ZERO,
            migrated: 0,
            before: Before::default(),
            reach: None,
            done: Vec::new(),
        }
    }
}
