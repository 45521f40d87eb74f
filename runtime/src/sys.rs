//! OTP's `sys` for one actor: status, state, suspend and resume, replace the state. It waits for a message boundary, for
//! a time; `describe` and `parse` run in an instance of their own.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{
    Error, Node,
    actor::{Body, Pause, Run, State},
    effects,
    instance::{Instance, Instances},
    table::{Pid, Slot},
    upgrade::{Settled, settle},
};

/// Bytes of JSON that `describe` may give.
const DESCRIBE_BYTES: u32 = 1 << 20;

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

/// One actor as it stands.
#[derive(Debug, Clone)]
pub struct ActorStatus {
    /// The actor.
    pub pid: u64,
    /// Its registered name, or empty.
    pub name: String,
    /// Its module.
    pub module: String,
    /// The version that its state stands on.
    pub vsn: String,
    /// `waiting`, `running`, `suspended`, `parked` or `held`.
    pub status: &'static str,
    /// Events that wait.
    pub mailbox: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Events handled.
    pub events: u64,
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
    fn at_boundary<T>(
        &self,
        actor: &ActorRef,
        timeout: Duration,
        act: impl FnOnce(Pid, &Slot, &mut Body) -> T,
    ) -> Result<T, Error> {
        let pid = self.find(actor)?;
        let gone = || Error::NoActor(actor.to_string());
        let slot = self.shared.table.get(pid).ok_or_else(gone)?;
        let guard = slot
            .body
            .try_lock_for(timeout)
            .ok_or_else(|| Error::SysTimeout {
                actor: actor.to_string(),
                timeout,
            })?;
        let mut guard = self.shared.table.still(pid, guard).ok_or_else(gone)?;
        let body = guard.as_mut().ok_or_else(gone)?;
        let mut instances = Instances::new(&self.shared);
        match settle(&self.shared, &mut instances, pid, slot, body) {
            Settled::Go => Ok(act(pid, slot, body)),
            Settled::Stop(reason) => {
                let body = guard.take();
                drop(guard);
                if let Some(body) = body {
                    effects::bury(&self.shared, pid, body, &reason);
                }
                Err(gone())
            }
        }
    }

    /// How the actor stands.
    pub fn status(&self, actor: &ActorRef, timeout: Duration) -> Result<ActorStatus, Error> {
        self.at_boundary(actor, timeout, |pid, slot, body| {
            self.status_of(pid, slot, body)
        })
    }

    fn status_of(&self, pid: Pid, slot: &Slot, body: &Body) -> ActorStatus {
        let mail = slot.mail.lock();
        let status = match (mail.pause, mail.run) {
            (Pause::Sys, _) => "suspended",
            (Pause::Parked, _) => "parked",
            (Pause::Held, _) => "held",
            (Pause::No, Run::Running | Run::Queued) => "running",
            (Pause::No, _) => "waiting",
        };
        let code = &self.shared.code;
        ActorStatus {
            pid,
            name: body.name().map_or_else(String::new, ToString::to_string),
            module: code
                .module(body.module)
                .map_or_else(String::new, |m| m.name.to_string()),
            vsn: code
                .version(body.version)
                .map_or_else(String::new, |v| v.vsn.to_string()),
            status,
            mailbox: mail.queue.len() as u64,
            state_bytes: body.state.len() as u64,
            events: body.events,
        }
    }

    fn instance(
        &self,
        call: &'static str,
        actor: &ActorRef,
        version: u32,
    ) -> Result<Instance, Error> {
        let fault = |reason: String| Error::Sys {
            call,
            actor: actor.to_string(),
            reason,
        };
        let version = self
            .shared
            .code
            .version(version)
            .ok_or_else(|| fault("its code was purged".into()))?;
        Instance::new(&self.shared, &version).map_err(|e| fault(e.reason().to_owned()))
    }

    /// The actor's state as JSON.
    pub fn get_state(&self, actor: &ActorRef, timeout: Duration) -> Result<String, Error> {
        let (state, version): (State, u32) = self.at_boundary(actor, timeout, |_, _, body| {
            (body.state.clone(), body.version)
        })?;
        let described = self
            .instance("describe", actor, version)?
            .describe(&state, DESCRIBE_BYTES);
        described.map_err(|e| Error::Sys {
            call: "describe",
            actor: actor.to_string(),
            reason: e.reason().to_owned(),
        })
    }

    /// Replaces the state by this JSON. A replacement that fails keeps it.
    pub fn replace_state(
        &self,
        actor: &ActorRef,
        json: &str,
        timeout: Duration,
    ) -> Result<String, Error> {
        let fault = |reason: String| Error::Sys {
            call: "parse",
            actor: actor.to_string(),
            reason,
        };
        let version = self.at_boundary(actor, timeout, |_, _, body| body.version)?;
        let state = self
            .instance("parse", actor, version)?
            .parse(json)
            .map_err(|e| fault(e.reason().to_owned()))?;
        if state.len() > self.shared.limits.state_bytes {
            return Err(fault(format!(
                "a state of {} bytes; limits.state_bytes is {}",
                state.len(),
                self.shared.limits.state_bytes
            )));
        }
        let refused = self.at_boundary(actor, timeout, |pid, _, body| {
            let _replacing = self.shared.replacing.read();
            let module = self.shared.code.module(body.module);
            if module.is_some_and(|m| m.gated()) {
                return Some("its module is suspended for an upgrade; ask again");
            }
            if body.version != version {
                return Some("its code changed meanwhile; ask again");
            }
            body.state = state.into();
            if let Some(shadow) = &mut body.shadow {
                shadow.mark(pid);
            }
            None
        })?;
        if let Some(reason) = refused {
            return Err(fault(reason.into()));
        }
        self.get_state(actor, timeout)
    }

    /// Stops the actor at a message boundary; its mailbox keeps filling, in order.
    pub fn suspend(&self, actor: &ActorRef, timeout: Duration) -> Result<ActorStatus, Error> {
        self.at_boundary(actor, timeout, |pid, slot, body| {
            {
                let mut mail = slot.mail.lock();
                if mail.pause == Pause::No {
                    mail.pause = Pause::Sys;
                }
            }
            self.status_of(pid, slot, body)
        })
    }

    /// Lets a suspended actor run again.
    pub fn resume(&self, actor: &ActorRef, timeout: Duration) -> Result<ActorStatus, Error> {
        let status = self.at_boundary(actor, timeout, |pid, slot, body| {
            {
                let mut mail = slot.mail.lock();
                if mail.pause == Pause::Sys {
                    mail.pause = Pause::No;
                }
            }
            self.status_of(pid, slot, body)
        })?;
        self.shared.wake(status.pid);
        Ok(status)
    }

    /// Every module as it runs.
    pub fn modules(&self) -> Vec<ModuleStatus> {
        let code = &self.shared.code;
        let mut all = Vec::new();
        for module in code.modules() {
            let Some(current) = code.version(module.current.load(Ordering::SeqCst)) else {
                continue;
            };
            let old = code.version(module.old.load(Ordering::SeqCst));
            let count = |of: fn(&crate::code::Counters) -> u64| {
                of(&current.counters) + old.as_ref().map_or(0, |o| of(&o.counters))
            };
            all.push(ModuleStatus {
                name: module.name.clone(),
                vsn: current.vsn.clone(),
                blob: current.blob,
                actors: module.actors.load(Ordering::Relaxed),
                actors_on_old: match &old {
                    // While an upgrade is not finished the old version is kept for the way back, and nobody runs it.
                    Some(old) if module.upgrade().is_none() => self.actors_on(old.index),
                    _ => 0,
                },
                old_vsn: old.as_ref().map(|o| o.vsn.clone()),
                events: count(|c| c.events.load(Ordering::Relaxed)),
                traps: count(|c| c.traps.load(Ordering::Relaxed)),
                errors: count(|c| c.errors.load(Ordering::Relaxed)),
                restarts: module.restarts.load(Ordering::Relaxed),
            });
        }
        all
    }

    /// Actors whose state stands on this version and that no open upgrade will take from it.
    fn actors_on(&self, version: u32) -> u64 {
        let table = &self.shared.table;
        (0..table.extent())
            .filter_map(|index| table.at(index))
            .filter(|(_, _, body)| {
                body.as_ref()
                    .is_some_and(|b| b.version == version && b.shadow.is_none())
            })
            .count() as u64
    }

    /// Actors alive.
    pub fn actor_count(&self) -> u64 {
        self.shared.table.len().into()
    }

    /// Events that nobody got since the node started.
    pub fn dead_letters(&self) -> u64 {
        self.shared.counters.dead_letters.load(Ordering::Relaxed)
    }

    /// The pid that holds a name.
    pub fn whereis(&self, name: &str) -> Option<u64> {
        self.shared.names.whereis(name)
    }
}

/// One module as it runs; the counts are of its current and old version.
#[derive(Debug, Clone)]
pub struct ModuleStatus {
    /// Its name.
    pub name: midflight_patch::ModuleName,
    /// Of the current version.
    pub vsn: midflight_patch::Vsn,
    /// Of the current version.
    pub blob: midflight_patch::Digest,
    /// Actors alive.
    pub actors: u64,
    /// Actors that run the old version: those that a rollback had to hold on the code it took away.
    pub actors_on_old: u64,
    /// Of the version before, while it is kept.
    pub old_vsn: Option<midflight_patch::Vsn>,
    /// Events handled well.
    pub events: u64,
    /// Handlers that trapped or broke a bound.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Actors of the release that were started again, since the node started.
    pub restarts: u64,
}
