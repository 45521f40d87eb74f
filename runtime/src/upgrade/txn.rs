//! What an upgrade is while it lasts: the record that all workers and the upgrading thread share, and each actor's part
//! in it. A phase is one number: bumping it switches every actor at once, and each installs its own part of the
//! upgrade when it is next looked at.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use midflight_patch::{ModuleName, Update};
use parking_lot::Mutex;

use crate::{
    actor::{Extras, State},
    bindings::{Direction, Event},
    table::Pid,
    upgrade::{
        AfterDraining, Purge, RolledBack,
        machine::{self, Phase},
        pauses::Pauses,
    },
};

/// What an upgrade does with a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its actors are suspended and migrated.
    Update,
    /// Its actors switch at their next event.
    Load,
    /// Its actors stay, new ones start on the new code.
    Drain {
        deadline: Duration,
        then: AfterDraining,
    },
    /// It comes: `from` is none.
    Add,
    /// It goes: `to` is none.
    Delete { stop: bool },
}

/// One `code_change`: all of the way, or a hop of it.
pub(crate) struct Step {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) update: Update,
    pub(crate) extra: Vec<u8>,
}

/// One module of an upgrade.
pub(crate) struct Change {
    pub(crate) name: ModuleName,
    pub(crate) module: u32,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) kind: Kind,
    /// From `from` to `to`; one unless there are hops.
    pub(crate) steps: Vec<Step>,
    pub(crate) pre_purge: Purge,
    pub(crate) post_purge: Purge,
}

impl Change {
    /// Its actors are suspended; `back`: in a rollback, where those that were born on the new code have to go back.
    pub(crate) fn gated(&self, back: bool) -> bool {
        match self.kind {
            Kind::Update | Kind::Delete { .. } => true,
            Kind::Drain { .. } | Kind::Add => back,
            Kind::Load => false,
        }
    }

    /// An actor that was born on this version has a part in the upgrade.
    pub(crate) fn takes(&self, version: u32) -> bool {
        match self.kind {
            Kind::Update => true,
            Kind::Drain { .. } | Kind::Add => version == self.to,
            Kind::Load | Kind::Delete { .. } => false,
        }
    }

    /// Versions that only states pass through.
    pub(crate) fn between(&self) -> impl Iterator<Item = u32> + '_ {
        let hops = self.steps.len().saturating_sub(1);
        self.steps.iter().take(hops).map(|step| step.to)
    }
}

/// One upgrade.
pub(crate) struct Txn {
    /// `Up`: `to` is the newer code. The newer code migrates, in both directions.
    pub(crate) direction: Direction,
    pub(crate) changes: Vec<Change>,
    /// The order in which their gates open.
    opening: Vec<usize>,
    phase: AtomicU8,
    /// Actors to look at again. Open: their state changed since it was copied. Later: they did something since resume.
    pub(crate) list: Mutex<Vec<Pid>>,
    /// Actors to run once the phase has changed, because their migration redelivers events.
    pub(crate) wake: Mutex<Vec<Pid>>,
    /// Actors that failed in probation; each knows why.
    pub(crate) parked: Mutex<Vec<Pid>>,
    /// The suspended actor whose mailbox passed 80 % of its bound, or 0.
    pub(crate) pressure: AtomicU64,
    /// `Shared::mono` at the start of the last suspend, or 0.
    pub(crate) suspended: AtomicU64,
    /// Of actors that had events waiting.
    pub(crate) pauses: Pauses,
    pub(crate) resumed: Mutex<Option<Instant>>,
    /// What a rollback did, actor by actor.
    pub(crate) undone: Mutex<RolledBack>,
}

impl Txn {
    /// `first`: whose gates open before all others, in this order.
    pub(crate) fn new(direction: Direction, changes: Vec<Change>, first: &[ModuleName]) -> Self {
        let place = |at: &usize| {
            let named = first.iter().position(|name| *name == changes[*at].name);
            named.unwrap_or(usize::MAX)
        };
        let mut opening: Vec<usize> = (0..changes.len()).rev().collect();
        opening.sort_by_key(place);
        Self {
            direction,
            changes,
            opening,
            phase: AtomicU8::new(Phase::Open as u8),
            list: Mutex::default(),
            wake: Mutex::default(),
            parked: Mutex::default(),
            pressure: AtomicU64::new(0),
            suspended: AtomicU64::new(0),
            pauses: Pauses::default(),
            resumed: Mutex::default(),
            undone: Mutex::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Open,
            1 => Phase::Aborted,
            2 => Phase::Probation,
            3 => Phase::Confirmed,
            4 => Phase::Finished,
            _ => Phase::Undone,
        }
    }

    /// The one step that switches every actor.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    pub(crate) fn change(&self, module: u32) -> Option<&Change> {
        self.changes.iter().find(|c| c.module == module)
    }

    /// The changes in the order in which their gates open.
    pub(crate) fn opening(&self) -> impl Iterator<Item = &Change> {
        self.opening.iter().map(|&at| &self.changes[at])
    }

    /// Some actors switch at another moment than the others, or not at all.
    pub(crate) fn mixed(&self) -> bool {
        let late = |c: &Change| matches!(c.kind, Kind::Load | Kind::Drain { .. });
        self.changes.iter().any(late)
    }

    /// The version whose code knows both sides of a step.
    pub(crate) fn newer(&self, step: &Step) -> u32 {
        if self.direction == Direction::Up {
            step.to
        } else {
            step.from
        }
    }

    pub(crate) fn older(&self, step: &Step) -> u32 {
        if self.direction == Direction::Up {
            step.from
        } else {
            step.to
        }
    }

    /// The direction of a step: `forward`, as the order says, or back.
    pub(crate) fn heading(&self, forward: bool) -> Direction {
        if forward == (self.direction == Direction::Up) {
            Direction::Up
        } else {
            Direction::Down
        }
    }
}

/// The steps of a change in the order in which a state takes them.
pub(crate) fn way(change: &Change, forward: bool) -> Vec<&Step> {
    let mut steps: Vec<_> = change.steps.iter().collect();
    if !forward {
        steps.reverse();
    }
    steps
}

/// A migrated copy of a state, not in use yet.
pub(crate) struct Staged {
    pub(crate) state: State,
    pub(crate) redeliver: Vec<Event>,
}

/// The state from before the switch, kept for a rollback.
pub(crate) struct Pinned {
    pub(crate) state: State,
    pub(crate) extras: Option<Box<Extras>>,
    /// Timers, requests, sockets and links that the actor had; for a lossy restore.
    pub(crate) holdings: Option<Box<Holdings>>,
    /// `Body::events` at the switch.
    pub(crate) events: u64,
}

/// What an actor holds outside its state.
#[derive(Default)]
pub(crate) struct Holdings {
    pub(crate) timers: Vec<(u64, Instant, Vec<u8>)>,
    pub(crate) requests: Vec<(u64, Vec<u8>)>,
    pub(crate) sockets: Vec<u64>,
    pub(crate) links: Vec<Pid>,
}

/// What a rollback does with an actor that did something on the newer code.
pub(crate) enum Way {
    /// `code_change` back, done on a copy.
    Migrate(Staged),
    /// The pinned state; what came since is lost.
    Restore,
    /// It stays on the newer code.
    Hold(String),
    Stop(String),
}

/// An actor's part in an upgrade.
pub(crate) struct Shadow {
    pub(crate) txn: std::sync::Arc<Txn>,
    pub(crate) staged: Option<Staged>,
    pub(crate) pinned: Option<Pinned>,
    pub(crate) way_back: Option<Way>,
    /// It is on `Txn::list`.
    pub(crate) listed: bool,
    /// It handled an event since resume, or was born since.
    pub(crate) touched: bool,
    /// It was parked, and confirm makes it an ordinary crash.
    pub(crate) failed: Option<String>,
}

impl Shadow {
    pub(crate) fn new(txn: &std::sync::Arc<Txn>) -> Self {
        Self {
            txn: txn.clone(),
            staged: None,
            pinned: None,
            way_back: None,
            listed: false,
            touched: false,
            failed: None,
        }
    }

    /// The actor is about to differ from what was copied: to be called whenever it commits.
    pub(crate) fn mark(&mut self, pid: Pid) {
        let mark = machine::mark(self.txn.phase());
        if mark.drop_staged {
            self.staged = None;
        }
        if mark.touch {
            self.touched = true;
            self.way_back = None;
        }
        if mark.list && !self.listed {
            self.listed = true;
            self.txn.list.lock().push(pid);
        }
    }
}
