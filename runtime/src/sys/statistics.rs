//! Statistics of an actor or a module (OTP's `sys:statistics`): off by default, and then nothing is counted. A module's
//! counters since it was loaded are always there. Also the trace, which is turned on and off in the same way.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use super::{ActorRef, ModuleActors, TraceOrder, TraceReport, Watch, trace::Trace, watch::Counts};
use crate::{Error, Node, actor::Body};

/// What to do with statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Counts from 0.
    On,
    /// Forgets what was counted.
    Off,
    /// As they stand.
    Get,
}

/// What was counted since statistics were turned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// When they were turned on.
    pub since: SystemTime,
    /// Events handled well: OTP's reductions, in the unit that this runtime has.
    pub events: u64,
    /// Of these, messages: calls, casts, infos and answers.
    pub messages_in: u64,
    /// Messages sent by handlers: sends, casts, requests and replies.
    pub messages_out: u64,
    /// Handlers that failed.
    pub errors: u64,
    /// Events that wait now; of a module, in all mailboxes.
    pub mailbox: u64,
}

/// Statistics of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleStatistics {
    /// Its actors now.
    pub actors: ModuleActors,
    /// Since it was loaded, by its current and its old version: events handled well.
    pub events: u64,
    /// Handlers that trapped or broke a bound.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Actors started again, since the node started.
    pub restarts: u64,
    /// Of all its actors together, while they are turned on for the module.
    pub counted: Option<Statistics>,
}

impl Counts {
    fn report(&self, mailbox: u64) -> Statistics {
        Statistics {
            since: self.since,
            events: self.events,
            messages_in: self.messages_in,
            messages_out: self.messages_out,
            errors: self.errors,
            mailbox,
        }
    }
}

/// Turns something of a watch on, off, or reads it; a watch that watches nothing is dropped.
fn with_watch<T>(
    place: &mut Option<Arc<Watch>>,
    needed: bool,
    act: impl FnOnce(&Watch) -> T,
) -> Option<T> {
    if needed {
        place.get_or_insert_default();
    }
    let done = place.as_deref().map(act);
    if place.as_deref().is_some_and(Watch::is_idle) {
        *place = None;
    }
    done
}

fn in_body<T>(body: &mut Body, needed: bool, act: impl FnOnce(&Watch) -> T) -> Option<T> {
    if needed {
        with_watch(&mut body.extras().watch, true, act)
    } else {
        with_watch(&mut body.extras.as_mut()?.watch, false, act)
    }
}

fn switch_counts(watch: &Watch, switch: Switch) -> Option<Counts> {
    let mut counts = watch.counts.lock();
    match switch {
        Switch::On => *counts = Some(Counts::new()),
        Switch::Off => return counts.take(),
        Switch::Get => {}
    }
    *counts
}

fn switch_trace(trace: &Mutex<Option<Trace>>, switch: Switch) -> Option<TraceReport> {
    let mut trace = trace.lock();
    let report = trace.as_ref().map(Trace::report);
    if switch == Switch::Off {
        *trace = None;
    }
    report
}

impl Node {
    /// Turns statistics of an actor on or off, or reads them; none: they are off. Off gives what was counted last.
    pub fn statistics(
        &self,
        actor: &ActorRef,
        switch: Switch,
        timeout: Duration,
    ) -> Result<Option<Statistics>, Error> {
        self.at_boundary(actor, timeout, |_, slot, body| {
            let mailbox = slot.mail.lock().queue.len() as u64;
            let counts = in_body(body, switch == Switch::On, |w| switch_counts(w, switch));
            counts.flatten().map(|counts| counts.report(mailbox))
        })
    }

    /// The same of all actors of a module together, those to come included, beside what is always counted.
    pub fn module_statistics(
        &self,
        module: &str,
        switch: Switch,
    ) -> Result<ModuleStatistics, Error> {
        let actors = self.module_status(module)?;
        let module = self.module_of(module)?;
        let counts = module
            .watch
            .with(|watch| with_watch(watch, switch == Switch::On, |w| switch_counts(w, switch)));
        let code = &self.shared.code;
        let versions =
            [&module.current, &module.old].map(|index| code.version(index.load(Ordering::SeqCst)));
        let sum = |of: fn(&crate::code::Counters) -> u64| {
            versions.iter().flatten().map(|v| of(&v.counters)).sum()
        };
        Ok(ModuleStatistics {
            events: sum(|c| c.events.sum()),
            traps: sum(|c| c.traps.load(Ordering::Relaxed)),
            errors: sum(|c| c.errors.load(Ordering::Relaxed)),
            restarts: module.restarts.load(Ordering::Relaxed),
            counted: counts.flatten().map(|c| c.report(actors.mailbox)),
            actors,
        })
    }

    /// Starts a trace of an actor, in place of one that it has (OTP's `sys:trace` and `sys:log`).
    pub fn trace(
        &self,
        actor: &ActorRef,
        order: TraceOrder,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.at_boundary(actor, timeout, |_, _, body| {
            let begun = in_body(body, true, |watch| self.begin_trace(watch, order));
            begun.unwrap_or(Ok(()))
        })?
    }

    /// Reads a trace, and ends it when `off`; none: there is none.
    pub fn trace_report(
        &self,
        actor: &ActorRef,
        off: bool,
        timeout: Duration,
    ) -> Result<Option<TraceReport>, Error> {
        let switch = if off { Switch::Off } else { Switch::Get };
        self.at_boundary(actor, timeout, |_, _, body| {
            in_body(body, false, |watch| switch_trace(&watch.trace, switch)).flatten()
        })
    }

    /// Starts one trace of all actors of a module, those to come included.
    pub fn trace_module(&self, module: &str, order: TraceOrder) -> Result<(), Error> {
        let begun = self
            .module_of(module)?
            .watch
            .with(|watch| with_watch(watch, true, |watch| self.begin_trace(watch, order)));
        begun.unwrap_or(Ok(()))
    }

    /// Reads the trace of a module, and ends it when `off`.
    pub fn module_trace_report(
        &self,
        module: &str,
        off: bool,
    ) -> Result<Option<TraceReport>, Error> {
        let switch = if off { Switch::Off } else { Switch::Get };
        let report = self
            .module_of(module)?
            .watch
            .with(|watch| with_watch(watch, false, |watch| switch_trace(&watch.trace, switch)));
        Ok(report.flatten())
    }

    fn begin_trace(&self, watch: &Watch, order: TraceOrder) -> Result<(), Error> {
        let mut trace = watch.trace.lock();
        // The one that it replaces gives its room back first.
        *trace = None;
        *trace = Some(Trace::new(&self.shared.traces, order)?);
        Ok(())
    }
}
