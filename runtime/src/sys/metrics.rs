//! The numbers of a node at one moment, for whoever watches a fleet. Counters only grow while the node lives; taking them
//! scans the mailboxes once and waits for nobody.

use std::sync::atomic::Ordering;

use super::{ModuleStatus, status::status_text};
use crate::{Node, actor::Run};

/// A node in numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Every module as it runs.
    pub modules: Vec<ModuleStatus>,
    /// Actors alive, by status: `waiting`, `running`, `suspended`, `parked` and `held`.
    pub actors: [(&'static str, u64); 5],
    /// Events that wait in all mailboxes.
    pub mailbox: u64,
    /// Events that wait in the longest.
    pub mailbox_max: u64,
    /// Bytes that wait, by module; exact while nobody sends.
    pub mailbox_bytes: Vec<(midflight_patch::ModuleName, u64)>,
    /// Events that nobody got since the node started.
    pub dead_letters: u64,
    /// Messages for which there was no room in a mailbox.
    pub overflows: u64,
    /// Events of the other side of a patch that could not be converted.
    pub unconverted: u64,
    /// What actors asked of sockets that were not theirs any more.
    pub not_owned: u64,
    /// Applications that ended by themselves: their top supervisors gave up.
    pub ended: u64,
    /// Traces that are kept.
    pub traces: u64,
    /// Handlers that passed a bound, by the name of the limit.
    pub bounds: Vec<(&'static str, u64)>,
    /// What the handlers of each version that is not purged did, by module and vsn.
    pub versions: Vec<VersionNumbers>,
}

/// What the handlers of one version did since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionNumbers {
    /// The module.
    pub module: midflight_patch::ModuleName,
    /// The version.
    pub vsn: midflight_patch::Vsn,
    /// Events handled well.
    pub events: u64,
    /// Handlers that trapped or broke a bound.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
}

impl Node {
    /// The node in numbers.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics {
            modules: self.modules(),
            actors: ["waiting", "running", "suspended", "parked", "held"].map(|s| (s, 0)),
            mailbox: 0,
            mailbox_max: 0,
            mailbox_bytes: self.mailbox_bytes(),
            dead_letters: self.dead_letters(),
            overflows: self.shared.counters.overflows.load(Ordering::Relaxed),
            unconverted: self.shared.counters.unconverted.load(Ordering::Relaxed),
            not_owned: self.shared.counters.not_owned.load(Ordering::Relaxed),
            ended: self.shared.supervision.gave_up(),
            traces: self.shared.traces.load(Ordering::Relaxed) as u64,
            bounds: self.shared.counters.bounds.read(),
            versions: self.version_numbers(),
        };
        let table = &self.shared.table;
        for (_, slot) in (0..table.extent()).filter_map(|index| table.peek(index)) {
            let mail = slot.mail.lock();
            if mail.run == Run::Free {
                continue;
            }
            let status = status_text(&mail);
            if let Some((_, count)) = metrics.actors.iter_mut().find(|(s, _)| *s == status) {
                *count += 1;
            }
            let waiting = mail.queue.len() as u64;
            metrics.mailbox += waiting;
            metrics.mailbox_max = metrics.mailbox_max.max(waiting);
        }
        metrics
    }

    fn mailbox_bytes(&self) -> Vec<(midflight_patch::ModuleName, u64)> {
        let modules = self.shared.code.modules().into_iter();
        let here = modules.filter(|m| !m.gone.load(Ordering::SeqCst));
        here.map(|m| (m.name.clone(), self.shared.weights.of(m.index)))
            .collect()
    }

    /// The same vsn may be loaded twice, from two blobs: it is one line.
    fn version_numbers(&self) -> Vec<VersionNumbers> {
        let mut all: Vec<VersionNumbers> = Vec::new();
        for version in self.shared.code.versions() {
            let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let counters = &version.counters;
            let (events, traps, errors) = (
                counters.events.sum(),
                of(&counters.traps),
                of(&counters.errors),
            );
            match all
                .iter_mut()
                .find(|v| v.module == version.name && v.vsn == version.vsn)
            {
                Some(known) => {
                    known.events += events;
                    known.traps += traps;
                    known.errors += errors;
                }
                None => all.push(VersionNumbers {
                    module: version.name.clone(),
                    vsn: version.vsn.clone(),
                    events,
                    traps,
                    errors,
                }),
            }
        }
        all.sort_by(|a, b| (&a.module, &a.vsn).cmp(&(&b.module, &b.vsn)));
        all
    }
}
