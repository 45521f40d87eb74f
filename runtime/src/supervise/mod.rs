//! Supervisors and applications, with the meaning that OTP's `supervisor` and `application` give them. They are the
//! runtime's own, no guests: one thread owns all trees and acts on what it hears, so that no worker ever waits for a
//! start or a stop, and a storm of restarts costs the workers a queue entry each.
//!
//! Read `family.rs` for what a worker touches when an actor is born or ends, `forest.rs` for what a tree is while it runs,
//! `machine.rs` for what a supervisor does one thing after the other, `restart.rs` for when it starts a child again,
//! `orders.rs` and `update.rs` for what it is told from outside, and `applications.rs` for whole trees.

mod applications;
mod family;
mod forest;
mod jobs;
mod machine;
mod orders;
mod restart;
mod update;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    time::{Duration, Instant},
};

use midflight_patch::{ModuleName, Restart, Shutdown};
use parking_lot::{Condvar, Mutex, RwLock};

pub use self::{
    applications::{ApplicationState, ApplicationStatus},
    orders::{ChildCounts, ChildKind, ChildRef, ChildStatus},
};
pub(crate) use family::{Family, Kin};
pub(crate) use orders::Order;
pub(crate) use update::TreeBefore;

use self::{forest::Forest, machine::Machine};
use crate::{Error, bindings::Spawn, node::Shared, table::Pid};

/// A supervisor of this node. Never used again: one that is started again is another.
pub(crate) type SupId = u32;
/// A child of one supervisor.
pub(crate) type Key = u32;
/// Where an answer is waited for, by one who has room for it.
type Reply = SyncSender<Result<(), Error>>;

/// Orders of guests that may wait at once; more are dropped and counted as dead letters.
const GUEST_ORDERS: usize = 10_000;
/// Messages between supervisors that are dealt with before others may look at the trees.
const STRETCH: usize = 1_000;
/// The thread looks that often whether the node has ended.
const IDLE: Duration = Duration::from_millis(200);

/// The place of an actor that its supervisor knows by itself, and not as one of many that were spawned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) supervisor: SupId,
    pub(crate) key: Key,
    pub(crate) index: u32,
}

/// What is to be told when an actor has ended.
pub(crate) enum Notice {
    Seat(Seat),
    /// It was in this supervisor's list.
    Family(Arc<Family>),
}

/// An actor that was spawned under a supervisor which will start it again.
struct Adopted {
    name: Option<Arc<str>>,
    module: ModuleName,
    args: Arc<[u8]>,
    restart: Restart,
    shutdown: Shutdown,
}

/// What the thread hears. At most two for every actor that has a seat, and `GUEST_ORDERS`: bounded by `limits.actors`.
enum Event {
    Born(Seat),
    Ended {
        seat: Seat,
        pid: Pid,
        reason: Box<str>,
        born: bool,
    },
    Adopt {
        seat: Seat,
        pid: Pid,
        child: Box<Adopted>,
    },
    /// What was adopted was not born after all.
    Disown(Seat),
    Drained {
        supervisor: SupId,
        token: u64,
    },
    Guest {
        from: SupId,
        supervisor: String,
        order: Order,
    },
    Host(SupId, Order),
    Start(Arc<str>, Reply),
    Stop(Arc<str>, Reply),
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Of these: orders of guests.
    guests: usize,
    stopped: bool,
}

#[derive(Default)]
struct Families {
    by_id: HashMap<SupId, Arc<Family>>,
    by_name: HashMap<Arc<str>, SupId>,
}

/// All supervisors of a node.
#[derive(Default)]
pub(crate) struct Supervision {
    queue: Mutex<Queue>,
    wake: Condvar,
    families: RwLock<Families>,
    forest: Mutex<Forest>,
    /// Applications that ended by themselves since the node started.
    gave_up: AtomicU64,
}

impl Supervision {
    fn push(&self, event: Event) {
        let mut queue = self.queue.lock();
        queue.events.push_back(event);
        let first = queue.events.len() == 1;
        drop(queue);
        if first {
            self.wake.notify_one();
        }
    }

    /// Applications whose top supervisors gave up since the node started.
    pub(crate) fn gave_up(&self) -> u64 {
        self.gave_up.load(Ordering::Relaxed)
    }

    fn family(&self, id: SupId) -> Option<Arc<Family>> {
        self.families.read().by_id.get(&id).cloned()
    }

    fn named(&self, name: &str) -> Option<Arc<Family>> {
        let families = self.families.read();
        families.by_id.get(families.by_name.get(name)?).cloned()
    }

    fn add_family(&self, family: &Arc<Family>) {
        let mut families = self.families.write();
        families.by_name.insert(family.name(), family.id);
        families.by_id.insert(family.id, family.clone());
    }

    /// A family follows its supervisor's changed specification, under its new name if it has one.
    fn follow(&self, family: &Family, spec: &midflight_patch::Supervisor) {
        let mut families = self.families.write();
        let before = family.name();
        if families.by_name.get(&before) == Some(&family.id) {
            families.by_name.remove(&before);
        }
        family.follow(spec);
        families.by_name.insert(family.name(), family.id);
    }

    fn remove_family(&self, family: &Family) {
        let mut families = self.families.write();
        families.by_id.remove(&family.id);
        let name = family.name();
        if families.by_name.get(&name) == Some(&family.id) {
            families.by_name.remove(&name);
        }
    }

    /// An actor with a seat was initialised.
    pub(crate) fn born(&self, kin: &Kin) {
        if let Some(seat) = kin.seat() {
            self.push(Event::Born(seat));
        }
    }

    /// All that an actor's end has to do before its slot is free. What it gives is told when everything else is done.
    pub(crate) fn leave(&self, shared: &Shared, pid: Pid, kin: &Kin) -> Option<Notice> {
        if let Some(seat) = kin.seat() {
            kin.clear();
            return Some(Notice::Seat(seat));
        }
        let family = self.family(kin.supervisor()?)?;
        family.leave(&shared.table, pid, kin);
        Some(Notice::Family(family))
    }

    /// The supervisor hears of an actor's end. `born`: its `init` had ended well.
    pub(crate) fn ended(&self, notice: Notice, pid: Pid, reason: &str, born: bool) {
        match notice {
            Notice::Family(family) => {
                if let Some(token) = family.gone(pid) {
                    let supervisor = family.id;
                    self.push(Event::Drained { supervisor, token });
                }
            }
            Notice::Seat(seat) => self.push(Event::Ended {
                seat,
                pid,
                reason: reason.into(),
                born,
            }),
        }
    }

    /// Finds the place of an actor that another one spawns, and takes it. A seat is to be given up by `disown` when the
    /// birth fails; a place in a family is left by the burial or by `leave`.
    pub(crate) fn place(
        &self,
        shared: &Shared,
        parent: Pid,
        spawn: &mut Spawn,
    ) -> Result<Option<Seat>, String> {
        let own = shared.table.get(parent).and_then(|s| s.kin.supervisor());
        let own = own.and_then(|id| self.family(id));
        let Some(name) = &spawn.under else {
            let Some(family) = own else { return Ok(None) };
            family.join(&shared.table, spawn.pid)?;
            return Ok(None);
        };
        let family = self.named(name);
        let same = |f: &Arc<Family>| own.is_none_or(|own| own.application == f.application);
        let Some(family) = family.filter(same) else {
            return Err(format!("noproc: no supervisor {name} in this application"));
        };
        let terms = family.terms(spawn)?;
        if terms.restart == Restart::Temporary {
            family.join(&shared.table, spawn.pid)?;
            return Ok(None);
        }
        let seat = Seat {
            supervisor: family.id,
            key: family.next_key()?,
            index: 0,
        };
        let child = Adopted {
            name: spawn.name.as_deref().map(Into::into),
            module: terms.module,
            args: spawn.args.clone().into(),
            restart: terms.restart,
            shutdown: terms.shutdown,
        };
        // Heard before anything that becomes of the actor.
        self.push(Event::Adopt {
            seat,
            pid: spawn.pid,
            child: Box::new(child),
        });
        Ok(Some(seat))
    }

    /// An actor with a seat was born while its supervisor ended: it ends too.
    pub(crate) fn seated(&self, shared: &Shared, pid: Pid, seat: Option<Seat>) {
        if seat.is_some_and(|seat| self.family(seat.supervisor).is_none()) {
            shared.exit(pid, "kill", crate::exits::SYSTEM);
        }
    }

    /// What `place` gave is not needed: the actor was not born.
    pub(crate) fn disown(&self, shared: &Shared, pid: Pid, seat: Option<Seat>) {
        if let Some(seat) = seat {
            self.push(Event::Disown(seat));
        } else if let Some(slot) = shared.table.get(pid)
            && let Some(notice) = self.leave(shared, pid, &slot.kin)
        {
            self.ended(notice, pid, "noproc", false);
        }
    }

    /// An order from a handler: nobody waits for an answer, what goes wrong is logged.
    pub(crate) fn guest(&self, shared: &Shared, from: Pid, supervisor: String, order: Order) {
        let Some(own) = shared.table.get(from).and_then(|s| s.kin.supervisor()) else {
            return;
        };
        let mut queue = self.queue.lock();
        if queue.guests >= GUEST_ORDERS {
            let counter = &shared.counters.dead_letters;
            counter.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.guests += 1;
        drop(queue);
        self.push(Event::Guest {
            from: own,
            supervisor,
            order,
        });
    }

    pub(crate) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.wake.notify_all();
    }

    /// Waits for something to do, until the deadline at the latest. None: the node stops.
    fn wait(&self, until: Instant) -> Option<VecDeque<Event>> {
        let mut queue = self.queue.lock();
        if queue.events.is_empty() && !queue.stopped {
            self.wake.wait_until(&mut queue, until);
        }
        queue.guests = 0;
        (!queue.stopped).then(|| std::mem::take(&mut queue.events))
    }

    /// The thread that owns the trees; ends with `stop` or with the node.
    fn run(node: &Weak<Shared>) {
        let mut more = false;
        loop {
            let Some(shared) = node.upgrade() else { return };
            let supervision = &shared.supervision;
            let now = Instant::now();
            let until = match supervision.forest.lock().next_deadline() {
                _ if more => now,
                Some(at) => at.min(now + IDLE),
                None => now + IDLE,
            };
            let Some(events) = supervision.wait(until) else {
                return;
            };
            let mut forest = supervision.forest.lock();
            let mut machine = Machine::new(&shared, &mut forest);
            machine.hear(events);
            more = machine.work(STRETCH);
        }
    }
}

pub(crate) fn spawn(shared: &Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let node = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("mf-supervisors".into())
        .spawn(move || Supervision::run(&node))
}
