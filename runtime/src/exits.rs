//! Links and exit signals, as the Erlang reference manual has them ("Processes": links, `exit/2`, receiving exit
//! signals). A signal waits in the mailbox behind what was sent before it, and is weighed when its turn comes; `kill`
//! alone waits for nothing but the handler that runs. It does not know of supervisors: they send signals like anybody.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use crate::{
    actor::{Extras, HOST, Item, Run},
    bindings::{Envelope, Event, Exit},
    door::short,
    measure::Stamp,
    node::Shared,
    table::Pid,
};

/// Cannot be trapped; what others hear of it is `KILLED`.
const KILL: &str = "kill";
pub(crate) const KILLED: &str = "killed";
const NORMAL: &str = "normal";

/// The sender of a signal that no actor sent: a supervisor, or the program around the node.
pub(crate) const SYSTEM: Pid = 0;

/// Who is linked with whom: each pair from both ends.
#[derive(Default)]
pub(crate) struct Links {
    ends: Mutex<HashMap<Pid, BTreeSet<Pid>>>,
    /// Somebody was linked once: spares a node without links the lock.
    used: AtomicBool,
}

type Ends = HashMap<Pid, BTreeSet<Pid>>;

fn cut(ends: &mut Ends, from: Pid, to: Pid) -> bool {
    let Some(others) = ends.get_mut(&from) else {
        return false;
    };
    let found = others.remove(&to);
    if others.is_empty() {
        ends.remove(&from);
    }
    found
}

impl Links {
    /// With whom an actor is linked.
    pub(crate) fn of(&self, pid: Pid) -> Vec<Pid> {
        if !self.used.load(Ordering::Acquire) {
            return Vec::new();
        }
        let ends = self.ends.lock();
        ends.get(&pid)
            .map_or_else(Vec::new, |others| others.iter().copied().collect())
    }

    pub(crate) fn count(&self, pid: Pid) -> usize {
        self.ends.lock().get(&pid).map_or(0, BTreeSet::len)
    }
}

/// What an exit signal comes to when its turn has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Ignored,
    /// Exits are trapped: it is an event like any other.
    Event,
    /// The actor ends with the signal's reason.
    Ends {
        /// It traps exits and the signal is its parent's: `terminate` runs, as a gen_server's does.
        terminate: bool,
    },
}

/// Weighs a signal that is not a `kill`.
pub(crate) fn weigh(me: Pid, extras: Option<&Extras>, exit: &Exit) -> Signal {
    let traps = extras.is_some_and(|e| e.trap_exit);
    let parent = extras.and_then(|e| e.parent);
    match traps {
        true if exit.pid == SYSTEM || parent == Some(exit.pid) => Signal::Ends { terminate: true },
        true => Signal::Event,
        false if exit.reason == NORMAL && exit.pid != me => Signal::Ignored,
        false => Signal::Ends { terminate: false },
    }
}

/// A signal that a link gives, not `exit/2`: nobody sent it.
fn of_link(envelope: &Envelope, from: Pid) -> bool {
    envelope.sender.is_none() && matches!(&envelope.body, Event::Exit(exit) if exit.pid == from)
}

fn signal(from: Pid, reason: &str, sender: Option<Pid>) -> Item {
    let body = Event::Exit(Exit {
        pid: from,
        reason: reason.to_owned(),
    });
    Item {
        envelope: Envelope { sender, body },
        // Never converted between versions: it is no word of a module's.
        stamp: HOST,
        measured: Stamp::default(),
        window: None,
    }
}

impl Shared {
    /// OTP's `exit/2`. `from` is the actor that asks, or `SYSTEM`, which every actor takes for its parent. `kill` ends
    /// the actor behind the handler that runs, also one that is suspended, parked or held; any other reason waits in the
    /// mailbox, and with it for resume. One that finds a full mailbox in which a signal waits already is lost and counted.
    pub(crate) fn exit(&self, to: Pid, reason: &str, from: Pid) {
        if reason == KILL {
            self.kill(to);
        } else {
            self.send(to, signal(from, &short(reason.to_owned()), Some(from)));
        }
    }

    fn kill(&self, pid: Pid) {
        let Some(slot) = self.table.get(pid) else {
            return;
        };
        let mut mail = slot.mail.lock();
        if mail.run == Run::Free || self.table.get(pid).is_none() {
            return;
        }
        mail.killed = true;
        let queue = match mail.run {
            Run::Idle => true,
            // It may wait at a closed gate. Queued twice it is found gone the second time.
            Run::Queued => self.code.module(mail.module).is_some_and(|m| m.gated()),
            Run::Free | Run::Running => false,
        };
        if queue {
            mail.run = Run::Queued;
            drop(mail);
            self.sched.push(pid);
        }
    }

    /// Links two actors, from now on and once. `other` may be gone: then there is a signal `noproc` and no link.
    /// `reserved`: it is about to be spawned.
    pub(crate) fn link(&self, pid: Pid, other: Pid, reserved: bool) {
        if pid == other {
            return;
        }
        self.links.used.store(true, Ordering::Release);
        // An end in between is told by its burial, which comes for the same lock.
        let mut ends = self.links.ends.lock();
        let lives = |slot: &crate::table::Slot| slot.mail.lock().run != Run::Free;
        if reserved || self.table.get(other).is_some_and(lives) {
            ends.entry(pid).or_default().insert(other);
            ends.entry(other).or_default().insert(pid);
        } else {
            let _ = self.deliver(pid, signal(other, "noproc", None));
        }
    }

    /// Takes a link back. Its signal, if it is on its way already, never arrives.
    pub(crate) fn unlink(&self, pid: Pid, other: Pid) {
        let mut ends = self.links.ends.lock();
        if cut(&mut ends, pid, other) {
            cut(&mut ends, other, pid);
        } else if let Some(slot) = self.table.get(pid) {
            let mut mail = slot.mail.lock();
            if mail.signals {
                let module = mail.module;
                mail.queue.retain(|item| {
                    let gone = of_link(&item.envelope, other);
                    if gone {
                        self.wait_less(module, [item]);
                    }
                    !gone
                });
            }
        }
    }

    /// The signals of an actor that is gone, or was never born.
    pub(crate) fn break_links(&self, pid: Pid, reason: &str) {
        if !self.links.used.load(Ordering::Acquire) {
            return;
        }
        let mut ends = self.links.ends.lock();
        for other in ends.remove(&pid).unwrap_or_default() {
            cut(&mut ends, other, pid);
            // Under the lock, so that an `unlink` finds either the link or the signal.
            if let Err(lost) = self.deliver(other, signal(pid, reason, None)) {
                self.bounce(lost.0, lost.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(pid: Pid, reason: &str) -> Exit {
        Exit {
            pid,
            reason: reason.into(),
        }
    }

    /// Erlang reference manual, "Receiving exit signals".
    #[test]
    fn an_exit_signal_is_weighed_as_the_reference_manual_says() {
        let (me, other, parent) = (1, 2, 3);
        let traps = Extras {
            trap_exit: true,
            parent: Some(parent),
            ..Extras::default()
        };
        let ends = Signal::Ends { terminate: false };
        assert_eq!(weigh(me, None, &exit(other, "normal")), Signal::Ignored);
        assert_eq!(weigh(me, None, &exit(other, "shutdown")), ends);
        assert_eq!(weigh(me, None, &exit(me, "normal")), ends);
        assert_eq!(weigh(me, None, &exit(SYSTEM, "shutdown")), ends);
        // Of a link whose other end gave `kill` as its own reason: an ordinary one.
        assert_eq!(weigh(me, None, &exit(other, "kill")), ends);
        let traps = Some(&traps);
        assert_eq!(weigh(me, traps, &exit(other, "normal")), Signal::Event);
        assert_eq!(weigh(me, traps, &exit(other, "crash")), Signal::Event);
        let ends = Signal::Ends { terminate: true };
        assert_eq!(weigh(me, traps, &exit(parent, "crash")), ends);
        assert_eq!(weigh(me, traps, &exit(SYSTEM, "shutdown")), ends);
    }
}
