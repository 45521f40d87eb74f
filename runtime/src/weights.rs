//! How many bytes wait in mailboxes, by module, and which applications hold more than `limits.application_mailbox_mb`. A worker
//! counts for itself and tells the others only when it has counted 64 KiB in one direction, so that a message costs no line of
//! memory that is written by all: what is known of an application is right to within 64 KiB for each worker and module.

use std::{
    cell::Cell,
    mem::size_of,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    actor::{Item, body_bytes},
    node::Shared,
};

/// Bytes that a thread counts before it tells the others.
const GRAIN: i64 = 64 << 10;
const CHUNK: usize = 64;
const CHUNKS: usize = 1_024;

/// What waits in the mailboxes of one node.
pub(crate) struct Weights {
    /// What each worker has counted and not told; the first is of all threads that are no workers.
    shards: Box<[Shard]>,
    told: Modules<Told>,
    /// Held while an application is held to its bound: the last who looks sees what all have told.
    judging: Mutex<()>,
}

#[derive(Default)]
#[repr(align(128))]
struct Shard(Modules<AtomicI64>);

/// What the threads have told of one module.
#[derive(Default)]
struct Told {
    bytes: AtomicI64,
    /// Its application holds more than it may.
    over: AtomicBool,
}

/// Something for each module, found by its number without a lock. Modules beyond the last place share that one.
struct Modules<T>(Box<[OnceLock<Box<[T]>>]>);

impl<T: Default> Default for Modules<T> {
    fn default() -> Self {
        Self((0..CHUNKS).map(|_| OnceLock::new()).collect())
    }
}

impl<T: Default> Modules<T> {
    fn of(&self, module: u32) -> &T {
        let at = (module as usize).min(CHUNK * CHUNKS - 1);
        let chunk = self.0[at / CHUNK].get_or_init(|| (0..CHUNK).map(|_| T::default()).collect());
        &chunk[at % CHUNK]
    }
}

thread_local! {
    /// Which shard of which node is this thread's own.
    static OWN: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Bytes that an event takes while it waits.
pub(crate) fn weight(item: &Item) -> i64 {
    (size_of::<Item>() + body_bytes(&item.envelope.body)) as i64
}

fn weight_of<'a>(items: impl IntoIterator<Item = &'a Item>) -> i64 {
    items.into_iter().map(weight).sum()
}

impl Weights {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            shards: (0..=workers).map(|_| Shard::default()).collect(),
            told: Modules::default(),
            judging: Mutex::default(),
        }
    }

    /// From here on this thread is a worker: nobody else counts where it does.
    pub(crate) fn adopt(&self, worker: usize) {
        OWN.set((std::ptr::from_ref(self).addr(), worker + 1));
    }

    fn over(&self, module: u32) -> bool {
        self.told.of(module).over.load(Ordering::Relaxed)
    }

    /// Bytes that wait for the actors of a module, exactly while nobody sends.
    pub(crate) fn of(&self, module: u32) -> u64 {
        let counted = self
            .shards
            .iter()
            .map(|shard| shard.0.of(module).load(Ordering::Relaxed));
        let all = counted.sum::<i64>() + self.told.of(module).bytes.load(Ordering::Relaxed);
        all.max(0).unsigned_abs()
    }

    /// True: what was counted here is told now, and it is to be seen what it means.
    fn add(&self, module: u32, bytes: i64) -> bool {
        let (node, shard) = OWN.get();
        let counted;
        let slot;
        if node == std::ptr::from_ref(self).addr() {
            slot = self.shards[shard].0.of(module);
            counted = slot.load(Ordering::Relaxed) + bytes;
            slot.store(counted, Ordering::Relaxed);
        } else {
            slot = self.shards[0].0.of(module);
            counted = slot.fetch_add(bytes, Ordering::Relaxed) + bytes;
        }
        if counted.abs() < GRAIN {
            return false;
        }
        let told = slot.swap(0, Ordering::Relaxed);
        self.told
            .of(module)
            .bytes
            .fetch_add(told, Ordering::Relaxed);
        true
    }
}

impl Shared {
    /// These wait for an actor of this module from here on.
    pub(crate) fn wait_more<'a>(&self, module: u32, items: impl IntoIterator<Item = &'a Item>) {
        self.weigh(module, weight_of(items));
    }

    /// These wait no more.
    pub(crate) fn wait_less<'a>(&self, module: u32, items: impl IntoIterator<Item = &'a Item>) {
        self.weigh(module, -weight_of(items));
    }

    /// The application of this module holds more than it may.
    pub(crate) fn is_overweight(&self, module: u32) -> bool {
        let weights = &self.weights;
        if weights.over(module)
            && let Some(_judging) = weights.judging.try_lock()
        {
            // What came in small parts is not told yet, and it may be the last.
            self.judge(module);
        }
        weights.over(module)
    }

    fn weigh(&self, module: u32, bytes: i64) {
        if bytes != 0 && self.weights.add(module, bytes) {
            let _judging = self.weights.judging.lock();
            self.judge(module);
        }
    }

    #[cold]
    fn judge(&self, module: u32) {
        let Some(changed) = self.code.module(module) else {
            return;
        };
        let application = changed.application.load(Ordering::Acquire);
        let mut own = self.code.modules();
        own.retain(|m| m.application.load(Ordering::Acquire) == application);
        let bound = self.limits.application_mailbox_mb;
        let most = (bound as u64) << 20;
        let told = |m: &u32| self.weights.told.of(*m).bytes.load(Ordering::Relaxed);
        let roughly: i64 = own.iter().map(|m| told(&m.index)).sum();
        let bytes = if roughly.max(0).unsigned_abs() > most || self.weights.over(module) {
            own.iter().map(|m| self.weights.of(m.index)).sum()
        } else {
            0
        };
        let over = bytes > most;
        let mut before = over;
        for m in &own {
            before = self
                .weights
                .told
                .of(m.index)
                .over
                .swap(over, Ordering::Relaxed);
        }
        if over && !before {
            tracing::warn!(
                module = %changed.name,
                bytes,
                "more than limits.application_mailbox_mb ({bound}) waits for the actors of its application: messages to them are refused"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_threads_counted_adds_up_and_is_told_in_grains() {
        let weights = Weights::new(2);
        assert!(!weights.add(3, GRAIN - 1));
        assert!(weights.add(3, 1));
        let told = || weights.told.of(3).bytes.load(Ordering::Relaxed);
        assert_eq!(told(), GRAIN);
        std::thread::scope(|threads| {
            for worker in 0..2 {
                let weights = &weights;
                threads.spawn(move || {
                    weights.adopt(worker);
                    for _ in 0..1_000 {
                        weights.add(3, 100);
                        weights.add(70, 1);
                        weights.add(3, -50);
                    }
                });
            }
        });
        assert_eq!(
            (weights.of(3), weights.of(70)),
            (GRAIN as u64 + 100_000, 2_000)
        );
        assert!(weights.add(3, -GRAIN));
        assert_eq!(weights.of(u32::MAX), 0);
    }
}
