//! Requests on their way: who asked, what comes back with the answer, and who will never answer any more.

use std::sync::{Arc, mpsc::SyncSender};

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

type Shard = Mutex<PidMap<Vec<Pending>>>;

/// Callers whose room is kept while they wait for nothing, in each shard, and the requests that it may be for.
const KEPT: usize = 16;

impl Default for Requests {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Requests {
    fn shard(&self, caller: Pid) -> &Shard {
        &self.0[caller as usize % SHARDS]
    }

    pub(crate) fn add(&self, caller: Pid, pending: Pending) {
        self.shard(caller)
            .lock()
            .entry(caller)
            .or_default()
            .push(pending);
    }

    /// The request, if it is still waiting: whoever takes it answers it.
    pub(crate) fn take(&self, caller: Pid, id: u64) -> Option<Pending> {
        let mut shard = self.shard(caller).lock();
        let waiting = shard.get_mut(&caller)?;
        let at = waiting.iter().position(|p| p.id == id)?;
        let pending = waiting.swap_remove(at);
        // Who asks again and again does so without an allocation.
        if waiting.is_empty() && (waiting.capacity() > KEPT || shard.len() > KEPT) {
            shard.remove(&caller);
        }
        Some(pending)
    }

    /// The requests that this actor waits for: id and cookie.
    pub(crate) fn of(&self, caller: Pid) -> Vec<(u64, Vec<u8>)> {
        self.shard(caller)
            .lock()
            .get(&caller)
            .map_or_else(Vec::new, |all| {
                all.iter().map(|p| (p.id, p.cookie.clone())).collect()
            })
    }

    /// Somebody waits for this answer.
    pub(crate) fn waits(&self, caller: Pid, id: u64) -> bool {
        let shard = self.shard(caller).lock();
        let waiting = shard.get(&caller);
        waiting.is_some_and(|all| all.iter().any(|p| p.id == id))
    }

    /// How many requests this actor waits for.
    pub(crate) fn count(&self, caller: Pid) -> usize {
        self.shard(caller).lock().get(&caller).map_or(0, Vec::len)
    }

    /// Forgets all requests of an actor that is gone; gives those that had a deadline.
    pub(crate) fn forget(&self, caller: Pid) -> Vec<u64> {
        let gone = self
            .shard(caller)
            .lock()
            .remove(&caller)
            .unwrap_or_default();
        gone.iter().filter(|p| p.timed).map(|p| p.id).collect()
    }
}
