//! One actor: its mailbox, its state, and what it owes and is owed. Code never lives here: a version index says which
//! code understands the state.

use std::{cell::RefCell, collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::{
    bindings::{Envelope, Event, SocketEvent},
    groups::Membership,
    log::Lines,
    measure::Stamp,
    net::Window,
    sys::Watch,
    table::Pid,
    upgrade::Shadow,
};

/// A state is shared, never changed: copies for a migration cost a count.
pub(crate) type State = Arc<[u8]>;

/// No version: the event was made by the host.
pub(crate) const HOST: u32 = u32::MAX;

/// An event on its way, and what the host must remember of it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) envelope: Envelope,
    /// Version of the module that sent it, or `HOST`.
    pub(crate) stamp: u32,
    /// Set by the mailbox that it is put into, when it is measured.
    pub(crate) measured: Stamp,
    /// Room in a connection's window, given back when the event is handled.
    pub(crate) window: Option<Window>,
}

impl Item {
    /// An event of the host's own.
    pub(crate) fn host(body: Event) -> Self {
        Self::of(Envelope { sender: None, body })
    }

    /// An event that no version sent.
    pub(crate) fn of(envelope: Envelope) -> Self {
        Self {
            envelope,
            stamp: HOST,
            measured: Stamp::default(),
            window: None,
        }
    }
}

/// Bytes that an event carries.
pub(crate) fn body_bytes(event: &Event) -> usize {
    match event {
        Event::Call(call) => call.body.len(),
        Event::Cast(body) | Event::Info(body) => body.len(),
        Event::Timer(timer) => timer.body.len(),
        Event::Response(r) => r.cookie.len() + r.outcome.as_ref().map_or(0, Vec::len),
        Event::Down(down) => down.reason.len(),
        Event::Exit(exit) => exit.reason.len(),
        Event::Socket(SocketEvent::Data(data)) => data.bytes.len(),
        Event::Socket(_) => 0,
        Event::Registered(registered) => registered.name.len(),
    }
}

/// Where an actor is between two turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Run {
    /// Nobody lives here.
    #[default]
    Free,
    Idle,
    /// In a run queue, or held at a closed gate.
    Queued,
    Running,
}

/// Why an actor is not run although events wait: none of these, or any of them at once. Each is lifted by whoever set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pause(u8);

#[allow(non_upper_case_globals)] // they read like the variants of an enum
impl Pause {
    pub(crate) const No: Pause = Pause(0);
    /// `sys` suspend.
    pub(crate) const Sys: Pause = Pause(1);
    /// A handler failed in probation; the event is at the head of the mailbox.
    pub(crate) const Parked: Pause = Pause(2);
    /// A rollback could not migrate it down; it stays on the newer code.
    pub(crate) const Held: Pause = Pause(4);

    pub(crate) fn has(self, kind: Pause) -> bool {
        self.0 & kind.0 != 0
    }

    pub(crate) fn add(&mut self, kind: Pause) {
        self.0 |= kind.0;
    }

    /// False: it was not there.
    pub(crate) fn lift(&mut self, kind: Pause) -> bool {
        let had = self.has(kind);
        self.0 &= !kind.0;
        had
    }
}

/// The mailbox. In order, bounded.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) queue: VecDeque<Item>,
    pub(crate) run: Run,
    pub(crate) pause: Pause,
    /// An exit signal may wait in the queue.
    pub(crate) signals: bool,
    /// `kill` came: it ends behind the handler that runs, whatever waits.
    pub(crate) killed: bool,
    /// It was about to run and met a closed gate: how long that took is measured.
    pub(crate) waited: bool,
    pub(crate) module: u32,
}

thread_local! {
    static ROOM: RefCell<Vec<VecDeque<Item>>> = const { RefCell::new(Vec::new()) };
}

/// Mailboxes without mail that a thread keeps, and the most items that one of them has room for.
const KEPT: usize = 16;

/// Room for a mailbox: what another one does not need any more, when there is some.
pub(crate) fn room() -> VecDeque<Item> {
    ROOM.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// An empty mailbox's room, for the next one.
pub(crate) fn give_room(queue: VecDeque<Item>) {
    if (1..=KEPT).contains(&queue.capacity()) {
        ROOM.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(queue);
            }
        });
    }
}

/// What an actor is.
pub(crate) struct Body {
    pub(crate) module: u32,
    /// The code that understands `state`.
    pub(crate) version: u32,
    pub(crate) state: State,
    /// Events handled, and the source of ids: never goes back.
    pub(crate) events: u64,
    /// Not started yet: `init` is the first thing to run.
    pub(crate) birth: Option<Box<Birth>>,
    /// Its part in an upgrade that is open or not finished.
    pub(crate) shadow: Option<Box<Shadow>>,
    pub(crate) extras: Option<Box<Extras>>,
}

/// How to start it.
pub(crate) struct Birth {
    pub(crate) args: Vec<u8>,
    pub(crate) parent: Option<Pid>,
    /// The parent is linked with it.
    pub(crate) linked: bool,
}

/// What most actors do not have.
#[derive(Default, Clone)]
pub(crate) struct Extras {
    pub(crate) name: Option<Arc<str>>,
    /// Calls taken and not answered: caller and id.
    pub(crate) owed: Owed,
    /// Whom it watches.
    pub(crate) monitors: Vec<Pid>,
    /// Process groups that it is in, as often as it joined.
    pub(crate) groups: Vec<Membership>,
    /// What it logged last. Shared, so that a pin costs a count.
    pub(crate) log: Option<Arc<Mutex<Lines>>>,
    /// Exit signals are events of its own.
    pub(crate) trap_exit: bool,
    /// Who spawned it, linked: an exit signal from there ends it also when it traps exits.
    pub(crate) parent: Option<Pid>,
    /// Statistics or a trace of it, while `sys` has turned one on.
    pub(crate) watch: Option<Arc<Watch>>,
}

/// Calls that an actor took and did not answer. Those whose callers wait no more are forgotten whenever their number has
/// doubled.
#[derive(Default, Clone)]
pub(crate) struct Owed {
    calls: Vec<(Pid, u64)>,
    look_at: usize,
}

impl Owed {
    const FIRST_LOOK: usize = 64;

    pub(crate) fn push(&mut self, caller: Pid, id: u64, waits: impl Fn(Pid, u64) -> bool) {
        self.calls.push((caller, id));
        if self.calls.len() >= self.look_at.max(Self::FIRST_LOOK) {
            self.calls.retain(|&(caller, id)| waits(caller, id));
            self.look_at = 2 * self.calls.len();
        }
    }

    pub(crate) fn answered(&mut self, caller: Pid, id: u64) {
        self.calls.retain(|&owed| owed != (caller, id));
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&(Pid, u64)) -> bool) {
        self.calls.retain(keep);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Pid, u64)> + '_ {
        self.calls.iter().copied()
    }
}

/// The first id of the event that follows so many: 65,536 are its own, and none of them comes again.
pub(crate) fn id_base(events: u64) -> u64 {
    (events + 1) << 16
}

impl Body {
    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.extras.as_ref()?.name.as_ref()
    }

    /// Name, or pid, for people.
    pub(crate) fn label(&self, pid: Pid) -> String {
        self.name()
            .map_or_else(|| crate::pid_text(pid), |name| name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_whose_callers_wait_no_more_are_not_owed_for_ever() {
        let mut owed = Owed::default();
        for id in 0..10_000 {
            owed.push(1, id, |_, id| id % 1_000 == 0);
        }
        assert!(owed.calls.len() < 2 * Owed::FIRST_LOOK);
        let waits = |&(_, id): &(Pid, u64)| id % 1_000 == 0;
        assert_eq!(owed.calls.iter().filter(|c| waits(c)).count(), 10);
    }
}
