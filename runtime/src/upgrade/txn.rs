//! What an upgrade is while it lasts: the record that all workers and the upgrading thread share, and each actor's part
//! in it. A phase is one number: bumping it switches every actor at once, and each installs its own part of the
//! upgrade when it is next looked at.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    time::Instant,
};

use midflight_patch::{ModuleName, Update};
use parking_lot::Mutex;

use crate::{
    actor::{Extras, State},
    bindings::{Direction, Event},
    table::Pid,
    upgrade::RolledBack,
};

/// Where an upgrade stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Prepare to migrate: old code runs, or waits.
    Open,
    /// Given up before resume: old code, old states.
    Aborted,
    /// Resumed: new code. A failing handler parks its actor.
    Probation,
    /// New code for good; old code and pinned states are kept for a rollback.
    Confirmed,
    /// New code for good; the old is gone.
    Finished,
    /// Rolled back after resume.
    Undone,
}

impl Phase {
    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Aborted => "aborted",
            Phase::Probation => "in probation",
            Phase::Confirmed => "confirmed and not finished",
            Phase::Finished => "finished",
            Phase::Undone => "rolled back",
        }
    }
}

/// One module of an upgrade.
pub(crate) struct Change {
    pub(crate) name: ModuleName,
    pub(crate) module: u32,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) update: Update,
    pub(crate) extra: Vec<u8>,
}

/// One upgrade.
pub(crate) struct Txn {
    /// `Up`: `to` is the newer code. The newer code migrates, in both directions.
    pub(crate) direction: Direction,
    pub(crate) changes: Vec<Change>,
    phase: AtomicU8,
    /// Actors to look at again. Open: their state changed since it was copied. Later: they did something since resume.
    pub(crate) list: Mutex<Vec<Pid>>,
    /// Actors to run once the phase has changed, because their migration redelivers events.
    pub(crate) wake: Mutex<Vec<Pid>>,
    /// Actors that failed in probation; each knows why.
    pub(crate) parked: Mutex<Vec<Pid>>,
    /// A mailbox of a suspended actor passed 80 % of its bound.
    pub(crate) pressure: AtomicBool,
    pub(crate) resumed: Mutex<Option<Instant>>,
    /// What a rollback did, actor by actor.
    pub(crate) undone: Mutex<RolledBack>,
}

impl Txn {
    pub(crate) fn new(direction: Direction, changes: Vec<Change>) -> Self {
        Self {
            direction,
            changes,
            phase: AtomicU8::new(Phase::Open as u8),
            list: Mutex::default(),
            wake: Mutex::default(),
            parked: Mutex::default(),
            pressure: AtomicBool::new(false),
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

    /// The version whose code knows both sides.
    pub(crate) fn newer(&self, change: &Change) -> u32 {
        if self.direction == Direction::Up {
            change.to
        } else {
            change.from
        }
    }

    pub(crate) fn older(&self, change: &Change) -> u32 {
        if self.direction == Direction::Up {
            change.from
        } else {
            change.to
        }
    }
}

/// A migrated copy of a state, not in use yet.
pub(crate) struct Staged {
    pub(crate) state: State,
    pub(crate) redeliver: Vec<Event>,
}

/// The state from before the switch, kept for a rollback.
pub(crate) struct Pinned {
    pub(crate) state: State,
    pub(crate) version: u32,
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
        match self.txn.phase() {
            Phase::Open => self.staged = None,
            Phase::Probation | Phase::Confirmed => {
                self.touched = true;
                self.way_back = None;
            }
            _ => return,
        }
        if !self.listed {
            self.listed = true;
            self.txn.list.lock().push(pid);
        }
    }
}
