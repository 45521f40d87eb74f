//! What each module measured, version by version, for whoever compares nodes: counts since a version was loaded, how long events
//! took, and how many wait now. Taking them walks the mailboxes once and waits for nobody.

use std::{collections::HashMap, sync::atomic::Ordering};

use midflight_patch::{ModuleName, Vsn};

use crate::{Node, actor::Run, code::Version, measure::Distribution};

/// One module, measured.
#[derive(Debug, Clone)]
pub struct ModuleMeasures {
    /// Its name.
    pub module: ModuleName,
    /// Of the current version, then of the old one while it is kept.
    pub versions: Vec<VersionMeasures>,
    /// Actors of the release that were started again, since the node started.
    pub restarts: u64,
    /// Events that wait in the mailboxes of all its actors.
    pub mailbox: u64,
    /// Events that wait in the longest.
    pub mailbox_max: u64,
}

/// What the handlers of one version did since it was loaded.
#[derive(Debug, Clone)]
pub struct VersionMeasures {
    /// The version.
    pub vsn: Vsn,
    /// Events handled well.
    pub events: u64,
    /// Handlers that trapped or broke a bound.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Of one event in [`crate::ONE_IN`], in units of [`crate::UNIT_NS`]: from the mailbox to the release of what it did. Those
    /// that had waited for the version's upgrade are left out.
    pub latency: Distribution,
    /// Of the same events: how many waited when it was the actor's turn.
    pub depth: Distribution,
}

impl Node {
    /// Every module of the release, measured.
    pub fn measures(&self) -> Vec<ModuleMeasures> {
        let code = &self.shared.code;
        let mut waiting = HashMap::<u32, (u64, u64)>::new();
        let table = &self.shared.table;
        for (_, slot) in (0..table.extent()).filter_map(|index| table.peek(index)) {
            let mail = slot.mail.lock();
            if mail.run != Run::Free {
                let events = mail.queue.len() as u64;
                let (sum, max) = waiting.entry(mail.module).or_default();
                (*sum, *max) = (*sum + events, events.max(*max));
            }
        }
        let of = |index: u32| {
            code.version(index)
                .map(|version| version_measures(&version))
        };
        let modules = code.modules().into_iter();
        let modules = modules.filter(|module| !module.gone.load(Ordering::SeqCst));
        let all = modules.map(|module| {
            let (mailbox, mailbox_max) = waiting.get(&module.index).copied().unwrap_or_default();
            let current = of(module.current.load(Ordering::SeqCst));
            let old = of(module.old.load(Ordering::SeqCst));
            ModuleMeasures {
                module: module.name.clone(),
                versions: current.into_iter().chain(old).collect(),
                restarts: module.restarts.load(Ordering::Relaxed),
                mailbox,
                mailbox_max,
            }
        });
        all.collect()
    }
}

fn version_measures(version: &Version) -> VersionMeasures {
    let counters = &version.counters;
    let (latency, depth) = counters.measured.read();
    VersionMeasures {
        vsn: version.vsn.clone(),
        events: counters.events.sum(),
        traps: counters.traps.load(Ordering::Relaxed),
        errors: counters.errors.load(Ordering::Relaxed),
        latency,
        depth,
    }
}
