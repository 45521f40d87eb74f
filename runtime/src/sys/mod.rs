//! OTP's `sys` for one actor, named by pid or name, or for all actors of a module: status, state, suspend and resume,
//! statistics, trace, terminate, list. What touches an actor waits for a message boundary, for a time, at most as long as
//! a handler may run; nothing here is on the way of a message unless it is turned on.
//!
//! `status` looks, `control` stops and ends, `state` shows and replaces, `statistics` and `trace` watch (`watch` is what
//! a turn calls), `top` and `metrics` sum up, `measures` tells versions
//! from each other.

mod control;
mod measures;
mod metrics;
mod state;
mod statistics;
mod status;
mod top;
mod trace;
mod watch;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

pub use control::Affected;
pub use measures::{ModuleMeasures, VersionMeasures};
pub use metrics::{Metrics, VersionNumbers};
pub use statistics::{ModuleStatistics, Statistics, Switch};
pub use status::{ActorStatus, Filter, MAX_PAGE, ModuleActors, ModuleStatus, Page};
pub use top::{EventCounts, MAX_TOP, Top, TopBy, TopRow};
pub use trace::{MAX_TRACES, TraceEntry, TraceOrder, TraceReport, Traced};
pub(crate) use watch::{OfModule, Watch, failed, handled};

use std::sync::Arc;

use crate::{
    Error, Node,
    actor::{Body, Run},
    code::Module,
    effects,
    instance::Instances,
    table::{Pid, Slot},
    upgrade::{Settled, attend, settle},
};

/// Names an actor.
#[derive(Debug, Clone)]
pub enum ActorRef {
    /// By pid.
    Pid(u64),
    /// By registered name.
    Name(String),
}

impl std::fmt::Display for ActorRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ActorRef::Pid(pid) => f.write_str(&crate::pid_text(*pid)),
            ActorRef::Name(name) => f.write_str(name),
        }
    }
}

impl Node {
    pub(crate) fn find(&self, actor: &ActorRef) -> Result<Pid, Error> {
        let pid = match actor {
            ActorRef::Pid(pid) => self.shared.table.get(*pid).map(|_| *pid),
            ActorRef::Name(name) => self.shared.names.whereis(name),
        };
        pid.ok_or_else(|| Error::NoActor(actor.to_string()))
    }

    /// Runs `act` at a message boundary of the actor, its part in an upgrade taken.
    pub(crate) fn at_boundary<T>(
        &self,
        actor: &ActorRef,
        timeout: Duration,
        act: impl FnOnce(Pid, &Slot, &mut Body) -> T,
    ) -> Result<T, Error> {
        let pid = self.find(actor)?;
        let mut instances = Instances::new(&self.shared);
        match self.visit(pid, Instant::now() + timeout, &mut instances, act) {
            Visit::Done(done) => Ok(done),
            Visit::Gone => Err(Error::NoActor(actor.to_string())),
            Visit::Late => Err(Error::SysTimeout {
                actor: actor.to_string(),
                timeout,
            }),
        }
    }

    fn visit<T>(
        &self,
        pid: Pid,
        deadline: Instant,
        instances: &mut Instances,
        act: impl FnOnce(Pid, &Slot, &mut Body) -> T,
    ) -> Visit<T> {
        let Some(slot) = self.shared.table.get(pid) else {
            return Visit::Gone;
        };
        let Some(guard) = slot.body.try_lock_until(deadline) else {
            return Visit::Late;
        };
        let Some(mut guard) = self.shared.table.still(pid, guard) else {
            return Visit::Gone;
        };
        let Some(body) = guard.as_mut() else {
            return Visit::Gone;
        };
        match settle(&self.shared, instances, pid, slot, body) {
            Settled::Go => {
                let module = self.shared.code.module(body.module);
                if let Some(module) = module.filter(|m| m.attention.load(Ordering::Acquire)) {
                    attend(&self.shared, instances, &module, slot, body);
                }
                Visit::Done(act(pid, slot, body))
            }
            Settled::Stop(reason) => {
                let body = guard.take();
                drop(guard);
                if let Some(body) = body {
                    effects::bury(&self.shared, pid, body, &reason);
                }
                Visit::Gone
            }
        }
    }

    fn module_of(&self, name: &str) -> Result<Arc<Module>, Error> {
        let parsed = name
            .parse()
            .map_err(|_| Error::SysArgument(format!("{name:?} is no name of a module")))?;
        self.shared
            .code
            .module_named(name)
            .ok_or(Error::NoModule(parsed))
    }

    /// The pids of a module's actors that are alive now.
    fn pids_of(&self, module: &Module) -> Vec<Pid> {
        let table = &self.shared.table;
        (0..table.extent())
            .filter_map(|index| table.peek(index))
            .filter(|(_, slot)| {
                let mail = slot.mail.lock();
                mail.run != Run::Free && mail.module == module.index
            })
            .map(|(pid, _)| pid)
            .collect()
    }
}

/// How a visit to one actor ended.
enum Visit<T> {
    Done(T),
    Gone,
    /// Its handler still ran at the deadline.
    Late,
}
