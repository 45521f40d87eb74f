//! Requests on their way: who asked, what comes back with the answer, and who will never answer any more.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc::SyncSender,
};

use parking_lot::Mutex;

use crate::{
    bindings::RequestError,
    table::{Pid, PidMap},
};

const SHARDS: usize = 64;

/// What a request comes to.
pub(crate) type Outcome = Result<Vec<u8>, RequestError>;

/// A request that is not answered yet.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) id: u64,
    pub(crate) cookie: Vec<u8>,
    /// Vsn of the code that asked, and when that was current.
    pub(crate) vsn: Arc<str>,
    pub(crate) era: u64,
    /// It has a deadline among the timers.
    pub(crate) timed: bool,
    /// Asked by the program around the node, which waits here.
    pub(crate) host: Option<SyncSender<Outcome>>,
}

/// All of a node, by caller.
pub(crate) struct Requests(Box<[Shard]>);

#[derive(Default)]
struct Shard {
    by_caller: Mutex<PidMap<Vec<Pending>>>,
    /// Requests of all its callers.
    total: AtomicUsize,
}

impl Shard {
    /// So many more, by whoever holds the lock: nobody else writes.
    fn count(&self, more: isize) {
        let total = self.total.load(Ordering::Relaxed);
        self.total
            .store(total.wrapping_add_signed(more), Ordering::Relaxed);
    }
}

/// Callers whose room is kept while they wait for nothing, in each shard, and the requests that it may be for.
const KEPT: usize = 16;

impl Default for Requests {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }
}

impl Requests {
    fn shard(&self, caller: Pid) -> &Shard {
        &self.0[caller as usize % SHARDS]
    }

    pub(crate) fn add(&self, caller: Pid, pending: Pending) {
        let shard = self.shard(caller);
        let mut by_caller = shard.by_caller.lock();
        by_caller.entry(caller).or_default().push(pending);
        shard.count(1);
    }

    /// The request, if it is still waiting: whoever takes it answers it.
    pub(crate) fn take(&self, caller: Pid, id: u64) -> Option<Pending> {
        let shard = self.shard(caller);
        let mut by_caller = shard.by_caller.lock();
        let waiting = by_caller.get_mut(&caller)?;
        let at = waiting.iter().position(|p| p.id == id)?;
        let pending = waiting.swap_remove(at);
        shard.count(-1);
        // Who asks again and again does so without an allocation.
        if waiting.is_empty() && (waiting.capacity() > KEPT || by_caller.len() > KEPT) {
            by_caller.remove(&caller);
        }
        Some(pending)
    }

    /// The requests that this actor waits for: id and cookie.
    pub(crate) fn of(&self, caller: Pid) -> Vec<(u64, Vec<u8>)> {
        let by_caller = self.shard(caller).by_caller.lock();
        by_caller.get(&caller).map_or_else(Vec::new, |all| {
            all.iter().map(|p| (p.id, p.cookie.clone())).collect()
        })
    }

    /// Somebody waits for this answer.
    pub(crate) fn waits(&self, caller: Pid, id: u64) -> bool {
        let by_caller = self.shard(caller).by_caller.lock();
        let waiting = by_caller.get(&caller);
        waiting.is_some_and(|all| all.iter().any(|p| p.id == id))
    }

    /// Whether so many more would be more than `bound` for this actor. Asked for every request: where all the actors that
    /// share its place have fewer, nothing is locked. What is added meanwhile is added by this actor's own turn.
    pub(crate) fn too_many(&self, caller: Pid, more: usize, bound: usize) -> bool {
        let shard = self.shard(caller);
        shard.total.load(Ordering::Relaxed) + more > bound && {
            let by_caller = shard.by_caller.lock();
            by_caller.get(&caller).map_or(0, Vec::len) + more > bound
        }
    }

    /// Forgets all requests of an actor that is gone; gives those that had a deadline.
    pub(crate) fn forget(&self, caller: Pid) -> Vec<u64> {
        let shard = self.shard(caller);
        let mut by_caller = shard.by_caller.lock();
        let gone = by_caller.remove(&caller).unwrap_or_default();
        shard.count(-(gone.len() as isize));
        gone.iter().filter(|p| p.timed).map(|p| p.id).collect()
    }
}
