//! Timers of actors and deadlines of requests: one thread, one heap. A cancelled entry stays in the heap until it is
//! due or until the heap is mostly such entries, and does nothing.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{node::Shared, table::Pid};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Timer,
    Request,
}

/// Whose it is, which, what it carries, and who was asked.
type Due = (Kind, Pid, u64, Vec<u8>, Pid);

#[derive(Default)]
struct Inner {
    heap: BinaryHeap<Reverse<(Instant, Kind, Pid, u64)>>,
    /// Timers that are set: deadline and what they carry.
    set: BTreeMap<(Pid, u64), (Instant, Vec<u8>)>,
    /// Requests with a deadline that are not answered yet: when that is, and who was asked.
    asked: HashMap<(Pid, u64), (Instant, Pid)>,
    /// Of these, what came due while one of the two was suspended by an upgrade.
    held: Vec<(Pid, u64)>,
    stopped: bool,
}

/// All timers of a node.
#[derive(Default)]
pub(crate) struct Timers {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Timers {
    fn push(&self, inner: &mut Inner, at: Instant, kind: Kind, pid: Pid, id: u64) {
        let first = inner.heap.peek().is_none_or(|Reverse(next)| at < next.0);
        inner.heap.push(Reverse((at, kind, pid, id)));
        if first {
            self.changed.notify_one();
        }
    }

    pub(crate) fn start(&self, pid: Pid, id: u64, at: Instant, body: Vec<u8>) {
        let mut inner = self.inner.lock();
        inner.set.insert((pid, id), (at, body));
        self.push(&mut inner, at, Kind::Timer, pid, id);
        // Set again, a timer leaves its former entry behind.
        inner.compact();
    }

    /// How many timers an actor has set.
    pub(crate) fn count(&self, pid: Pid) -> usize {
        let inner = self.inner.lock();
        inner.set.range((pid, 0)..=(pid, u64::MAX)).count()
    }

    pub(crate) fn cancel(&self, pid: Pid, id: u64) {
        let mut inner = self.inner.lock();
        inner.set.remove(&(pid, id));
        inner.compact();
    }

    /// `to` is who was asked; 0: nobody.
    pub(crate) fn expect_answer(&self, caller: Pid, id: u64, at: Instant, to: Pid) {
        let mut inner = self.inner.lock();
        inner.asked.insert((caller, id), (at, to));
        self.push(&mut inner, at, Kind::Request, caller, id);
    }

    /// Moves the deadlines of requests whose caller, or the one that was asked, is one of these: they waited for an upgrade.
    pub(crate) fn extend(&self, pause: Duration, waited: impl Fn(Pid) -> bool) {
        let asked: Vec<_> = {
            let inner = self.inner.lock();
            inner.asked.iter().map(|(&k, &v)| (k, v)).collect()
        };
        // Looked at without the lock: it takes others.
        let moved = asked
            .into_iter()
            .filter(|&((caller, _), (_, to))| waited(caller) || waited(to));
        let moved: Vec<_> = moved.collect();
        let mut inner = self.inner.lock();
        for (key, before) in moved {
            if let Some(deadline) = inner.asked.get_mut(&key)
                && *deadline == before
            {
                deadline.0 += pause;
            }
            inner.held.push(key);
        }
        for key in std::mem::take(&mut inner.held) {
            if let Some(&(at, _)) = inner.asked.get(&key) {
                self.push(&mut inner, at, Kind::Request, key.0, key.1);
            }
        }
        inner.compact();
    }

    /// It is due, but one of the two is suspended: `extend` will say until when.
    fn hold(&self, caller: Pid, id: u64) {
        self.inner.lock().held.push((caller, id));
    }

    /// False: it was answered, or its deadline was moved.
    fn take_due(&self, caller: Pid, id: u64) -> bool {
        let mut inner = self.inner.lock();
        let due = inner
            .asked
            .get(&(caller, id))
            .is_some_and(|asked| asked.0 <= Instant::now());
        if due {
            inner.asked.remove(&(caller, id));
        }
        due
    }

    /// A request with a deadline was answered or forgotten.
    pub(crate) fn answered(&self, caller: Pid, id: u64) {
        let mut inner = self.inner.lock();
        inner.asked.remove(&(caller, id));
        inner.compact();
    }

    /// The timers that an actor has set: id, deadline and body.
    pub(crate) fn of(&self, pid: Pid) -> Vec<(u64, Instant, Vec<u8>)> {
        let inner = self.inner.lock();
        inner
            .set
            .range((pid, 0)..=(pid, u64::MAX))
            .map(|(&(_, id), (at, body))| (id, *at, body.clone()))
            .collect()
    }

    pub(crate) fn forget(&self, pid: Pid) {
        let mut inner = self.inner.lock();
        let ids: Vec<_> = inner
            .set
            .range((pid, 0)..=(pid, u64::MAX))
            .map(|(key, _)| *key)
            .collect();
        for key in ids {
            inner.set.remove(&key);
        }
        inner.compact();
    }

    pub(crate) fn stop(&self) {
        self.inner.lock().stopped = true;
        self.changed.notify_all();
    }

    /// The thread that fires them; ends with `stop` or with the node.
    pub(crate) fn run(node: Weak<Shared>) {
        loop {
            let Some(shared) = node.upgrade() else { return };
            let Some(due) = shared.timers.wait() else {
                return;
            };
            for (kind, pid, id, body, to) in due {
                match kind {
                    Kind::Timer => shared.timer_fired(pid, id, body),
                    Kind::Request if shared.waits_for_upgrade(pid, to) => {
                        shared.timers.hold(pid, id);
                    }
                    Kind::Request if shared.timers.take_due(pid, id) => {
                        shared.request_timed_out(pid, id);
                    }
                    Kind::Request => {}
                }
            }
        }
    }

    /// Waits until something is due, but never so long that the end of the node goes unnoticed.
    fn wait(&self) -> Option<Vec<Due>> {
        let mut inner = self.inner.lock();
        if inner.stopped {
            return None;
        }
        let now = Instant::now();
        let next = inner.heap.peek().map(|Reverse(next)| next.0);
        let until = next.map_or(now + Duration::from_millis(200), |at| {
            at.min(now + Duration::from_millis(200))
        });
        if until > now {
            self.changed.wait_until(&mut inner, until);
        }
        let now = Instant::now();
        let mut due = Vec::new();
        while inner.heap.peek().is_some_and(|Reverse(next)| next.0 <= now) {
            let Some(Reverse((at, kind, pid, id))) = inner.heap.pop() else {
                break;
            };
            match kind {
                // Set again with a later deadline, or cancelled: not this entry's.
                Kind::Timer if inner.set.get(&(pid, id)).is_none_or(|set| set.0 != at) => {}
                Kind::Timer => {
                    let body = inner
                        .set
                        .remove(&(pid, id))
                        .map_or_else(Vec::new, |(_, body)| body);
                    due.push((kind, pid, id, body, 0));
                }
                Kind::Request => {
                    // Answered, or moved by an upgrade: not this entry's.
                    if let Some(&(_, to)) = inner.asked.get(&(pid, id)).filter(|a| a.0 == at) {
                        due.push((kind, pid, id, Vec::new(), to));
                    }
                }
            }
        }
        if inner.stopped { None } else { Some(due) }
    }
}

impl Inner {
    fn compact(&mut self) {
        let live = self.set.len() + self.asked.len();
        if self.heap.len() < 1_024 || self.heap.len() < 4 * live {
            return;
        }
        let (set, asked) = (&self.set, &self.asked);
        self.heap.retain(|Reverse((at, kind, pid, id))| match kind {
            Kind::Timer => set.get(&(*pid, *id)).is_some_and(|s| s.0 == *at),
            Kind::Request => asked.get(&(*pid, *id)).is_some_and(|a| a.0 == *at),
        });
    }
}

pub(crate) fn spawn(shared: &Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let node = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name("mf-timers".into())
        .spawn(move || Timers::run(node))
}
