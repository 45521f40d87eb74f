//! How actors and modules stand: one actor, the actors of a module counted, a page of the list of all, and the modules
//! themselves. Nothing here runs guest code, except that an actor takes its part in an upgrade before it is looked at.

use std::{
    collections::HashMap,
    sync::atomic::Ordering,
    time::{Duration, Instant, SystemTime},
};

use super::{ActorRef, Visit};
use crate::{
    Error, Node,
    actor::{Body, Mail, Pause, Run},
    instance::Instances,
    node::Shared,
    table::{Pid, Slot},
};

/// Most actors of one page of the list.
pub const MAX_PAGE: usize = 1_000;

/// One actor as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorStatus {
    /// The actor.
    pub pid: u64,
    /// Its registered name, or empty.
    pub name: String,
    /// Its module.
    pub module: String,
    /// The version that its state stands on.
    pub vsn: String,
    /// `waiting`, `running`, `suspended`, `parked` or `held`; the last of these that is true.
    pub status: &'static str,
    /// Suspended by `sys`, whatever else holds it.
    pub suspended: bool,
    /// Events that wait.
    pub mailbox: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Events handled.
    pub events: u64,
}

/// The actors of one module, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleActors {
    /// The module.
    pub module: String,
    /// Of the current version.
    pub vsn: String,
    /// Actors alive.
    pub actors: u64,
    /// Of these, how many are `waiting`, `running`, `suspended`, `parked` and `held`.
    pub waiting: u64,
    /// In a handler, or about to be.
    pub running: u64,
    /// By `sys`, and neither parked nor held.
    pub suspended: u64,
    /// A handler of theirs failed in probation.
    pub parked: u64,
    /// A rollback could not migrate them.
    pub held: u64,
    /// Events that wait in all their mailboxes.
    pub mailbox: u64,
    /// Events that wait in the longest.
    pub mailbox_max: u64,
}

/// Which actors a list is of; what is not set is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this module.
    pub module: Option<String>,
    /// On this version.
    pub vsn: Option<String>,
    /// With this status.
    pub status: Option<String>,
}

/// A part of the list of actors.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// By slot, which is no order that means anything.
    pub actors: Vec<ActorStatus>,
    /// Where the next page begins; none: this was the last.
    pub next: Option<u64>,
}

pub(super) fn status_text(mail: &Mail) -> &'static str {
    let has = |kind| mail.pause.has(kind);
    match mail.run {
        _ if has(Pause::Held) => "held",
        _ if has(Pause::Parked) => "parked",
        _ if has(Pause::Sys) => "suspended",
        Run::Running | Run::Queued => "running",
        _ => "waiting",
    }
}

pub(super) fn status_of(shared: &Shared, pid: Pid, slot: &Slot, body: &Body) -> ActorStatus {
    let mail = slot.mail.lock();
    let code = &shared.code;
    ActorStatus {
        pid,
        name: body.name().map_or_else(String::new, ToString::to_string),
        module: code
            .module(body.module)
            .map_or_else(String::new, |m| m.name.to_string()),
        vsn: code
            .version(body.version)
            .map_or_else(String::new, |v| v.vsn.to_string()),
        status: status_text(&mail),
        suspended: mail.pause.has(Pause::Sys),
        mailbox: mail.queue.len() as u64,
        state_bytes: body.state.len() as u64,
        events: body.events,
    }
}

impl Node {
    /// How the actor stands.
    pub fn status(&self, actor: &ActorRef, timeout: Duration) -> Result<ActorStatus, Error> {
        self.at_boundary(actor, timeout, |pid, slot, body| {
            status_of(&self.shared, pid, slot, body)
        })
    }

    /// How the actors of a module stand. Waits for nobody.
    pub fn module_status(&self, module: &str) -> Result<ModuleActors, Error> {
        let module = self.module_of(module)?;
        let current = module.current.load(Ordering::SeqCst);
        let mut all = ModuleActors {
            module: module.name.to_string(),
            vsn: self
                .shared
                .code
                .version(current)
                .map_or_else(String::new, |v| v.vsn.to_string()),
            ..ModuleActors::default()
        };
        for pid in self.pids_of(&module) {
            let Some(slot) = self.shared.table.get(pid) else {
                continue;
            };
            let mail = slot.mail.lock();
            if mail.run == Run::Free {
                continue;
            }
            all.actors += 1;
            match status_text(&mail) {
                "held" => all.held += 1,
                "parked" => all.parked += 1,
                "suspended" => all.suspended += 1,
                "running" => all.running += 1,
                _ => all.waiting += 1,
            }
            all.mailbox += mail.queue.len() as u64;
            all.mailbox_max = all.mailbox_max.max(mail.queue.len() as u64);
        }
        Ok(all)
    }

    /// The actors that fit the filter, from a cursor on: 0, then what the page before gave. At most `limit` of them, 1 to
    /// 1,000; fewer when the time is over or the table has been walked.
    pub fn list(
        &self,
        filter: &Filter,
        cursor: u64,
        limit: usize,
        timeout: Duration,
    ) -> Result<Page, Error> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::SysArgument(format!(
                "the limit of a list is {limit}; it must be 1 to {MAX_PAGE}"
            )));
        }
        let module = match &filter.module {
            Some(name) => Some(self.module_of(name)?.index),
            None => None,
        };
        let deadline = Instant::now() + timeout;
        let mut instances = Instances::new(&self.shared);
        let table = &self.shared.table;
        let mut page = Page::default();
        // A cursor beyond the table is the end of the list.
        let first = u32::try_from(cursor).unwrap_or(u32::MAX);
        for index in first..table.extent() {
            if page.actors.len() == limit || (index > first && Instant::now() >= deadline) {
                page.next = Some(index.into());
                break;
            }
            let Some((pid, slot)) = table.peek(index) else {
                continue;
            };
            {
                let mail = slot.mail.lock();
                let other = module.is_some_and(|module| mail.module != module);
                let status = filter.status.as_deref();
                if mail.run == Run::Free
                    || other
                    || status.is_some_and(|status| status != status_text(&mail))
                {
                    continue;
                }
            }
            let look = |pid, slot: &Slot, body: &mut Body| status_of(&self.shared, pid, slot, body);
            match self.visit(pid, deadline, &mut instances, look) {
                Visit::Done(status) if filter.vsn.as_ref().is_none_or(|v| *v == status.vsn) => {
                    page.actors.push(status);
                }
                Visit::Done(_) | Visit::Gone => {}
                Visit::Late if index > first => {
                    page.next = Some(index.into());
                    break;
                }
                Visit::Late => {
                    return Err(Error::SysTimeout {
                        actor: crate::pid_text(pid),
                        timeout,
                    });
                }
            }
        }
        Ok(page)
    }

    /// Every module as it runs.
    pub fn modules(&self) -> Vec<ModuleStatus> {
        let code = &self.shared.code;
        let old = self.old_code().into_iter();
        let mut on_old: HashMap<_, _> = old
            .map(|old| (old.module, (old.actors, old.since)))
            .collect();
        let mut all = Vec::new();
        for module in code.modules() {
            if module.gone.load(Ordering::SeqCst) {
                continue;
            }
            let Some(current) = code.version(module.current.load(Ordering::SeqCst)) else {
                continue;
            };
            let old = code.version(module.old.load(Ordering::SeqCst));
            let count = |of: fn(&crate::code::Counters) -> u64| {
                of(&current.counters) + old.as_ref().map_or(0, |o| of(&o.counters))
            };
            let on_old = on_old.remove(&module.name);
            all.push(ModuleStatus {
                name: module.name.clone(),
                vsn: current.vsn.clone(),
                blob: current.blob,
                actors: module.actors.load(Ordering::Relaxed),
                actors_on_old: on_old.map_or(0, |(actors, _)| actors),
                old_since: on_old.map(|(_, since)| since),
                old_vsn: old.as_ref().map(|o| o.vsn.clone()),
                events: count(|c| c.events.sum()),
                traps: count(|c| c.traps.load(Ordering::Relaxed)),
                errors: count(|c| c.errors.load(Ordering::Relaxed)),
                restarts: module.restarts.load(Ordering::Relaxed),
            });
        }
        all
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
    /// Actors that run the old version: those that are drained, and those that a rollback had to hold.
    pub actors_on_old: u64,
    /// Since when that version is old; none: nobody runs it.
    pub old_since: Option<SystemTime>,
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
