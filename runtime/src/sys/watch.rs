//! What `sys` counts and traces of an actor, or of all actors of a module, while it is told to. An actor that nobody
//! watches pays one look at its extras and one at its module; whoever is watched pays a lock that only readers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;

use super::trace::Trace;
use crate::{
    actor::Body,
    bindings::{Effect, Envelope, Event},
    code::Module,
    table::Pid,
};

/// What is noted of one actor, or of one module.
#[derive(Default)]
pub(crate) struct Watch {
    pub(super) counts: Mutex<Option<Counts>>,
    pub(super) trace: Mutex<Option<Trace>>,
}

/// Counted since statistics were turned on.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) since: SystemTime,
    pub(super) events: u64,
    pub(super) messages_in: u64,
    pub(super) messages_out: u64,
    pub(super) errors: u64,
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            since: SystemTime::now(),
            events: 0,
            messages_in: 0,
            messages_out: 0,
            errors: 0,
        }
    }
}

impl Watch {
    /// Nothing is noted any more: the watch can go.
    pub(super) fn is_idle(&self) -> bool {
        self.counts.lock().is_none() && self.trace.lock().is_none()
    }

    fn handled(&self, pid: Pid, envelope: &Envelope, effects: &[Effect]) {
        if let Some(counts) = &mut *self.counts.lock() {
            counts.events += 1;
            counts.messages_in += u64::from(is_message(&envelope.body));
            counts.messages_out += effects.iter().filter(|e| is_sent(e)).count() as u64;
        }
        if let Some(trace) = &mut *self.trace.lock() {
            trace.handled(pid, envelope, effects);
        }
    }

    fn failed(&self, pid: Pid, envelope: &Envelope, reason: &str) {
        if let Some(counts) = &mut *self.counts.lock() {
            counts.errors += 1;
        }
        if let Some(trace) = &mut *self.trace.lock() {
            trace.failed(pid, envelope, reason);
        }
    }
}

/// What another actor, or the program around the node, sent.
fn is_message(event: &Event) -> bool {
    matches!(
        event,
        Event::Call(_) | Event::Cast(_) | Event::Info(_) | Event::Response(_)
    )
}

fn is_sent(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Send(_) | Effect::Cast(_) | Effect::Request(_) | Effect::Reply(_)
    )
}

/// The watch of a module. The flag lies beside what a turn reads anyway.
#[derive(Default)]
pub(crate) struct OfModule {
    on: AtomicBool,
    watch: Mutex<Option<Arc<Watch>>>,
}

impl OfModule {
    fn get(&self) -> Option<Arc<Watch>> {
        if self.on.load(Ordering::Relaxed) {
            self.watch.lock().clone()
        } else {
            None
        }
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Option<Arc<Watch>>) -> T) -> T {
        let mut watch = self.watch.lock();
        let done = act(&mut watch);
        self.on.store(watch.is_some(), Ordering::Relaxed);
        done
    }
}

fn is_watched(module: &Module, body: &Body) -> bool {
    body.extras.as_ref().is_some_and(|e| e.watch.is_some())
        || module.watch.on.load(Ordering::Relaxed)
}

fn each(module: &Module, body: &Body, note: impl Fn(&Watch)) {
    if let Some(watch) = body.extras.as_ref().and_then(|e| e.watch.as_ref()) {
        note(watch);
    }
    if let Some(watch) = module.watch.get() {
        note(&watch);
    }
}

/// An event was handled well; its effects are about to be released.
#[inline]
pub(crate) fn handled(
    module: &Module,
    pid: Pid,
    body: &Body,
    envelope: &Envelope,
    effects: &[Effect],
) {
    if is_watched(module, body) {
        each(module, body, |watch| watch.handled(pid, envelope, effects));
    }
}

/// A handler failed at this event.
pub(crate) fn failed(module: &Module, pid: Pid, body: &Body, envelope: &Envelope, reason: &str) {
    if is_watched(module, body) {
        each(module, body, |watch| watch.failed(pid, envelope, reason));
    }
}
