//! The table of all actors: slots in chunks that are never moved, found by pid without a lock. A pid is the slot's index
//! and its generation; a pid of the past finds nobody.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    actor::{Body, Mail},
    supervise::Kin,
};

/// An actor of this node. Never zero, never reused while the node lives.
pub(crate) type Pid = u64;

/// What is kept by pid. Pids are the node's own, so nobody can choose them to collide.
pub(crate) type PidMap<T> = HashMap<Pid, T, BuildHasherDefault<PidHasher>>;

/// Mixes the bits of one number.
#[derive(Default)]
pub(crate) struct PidHasher(u64);

impl Hasher for PidHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }
    fn write_u64(&mut self, n: u64) {
        let mixed = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

const CHUNK: u32 = 1 << 10;
const CHUNKS: u32 = 1 << 12;
/// Slots that a table can hold.
pub(crate) const CAPACITY: u32 = CHUNK * CHUNKS;

/// One actor, or room for one.
#[derive(Default)]
pub(crate) struct Slot {
    /// Odd while an actor lives here or is about to; even while the slot is free.
    generation: AtomicU32,
    /// Whose child it is.
    pub(crate) kin: Kin,
    /// What waits for it. Locked for moments, by everybody.
    pub(crate) mail: Mutex<Mail>,
    /// What it is. Locked by the worker that runs it for the whole turn.
    pub(crate) body: Mutex<Option<Body>>,
}

/// All actors of a node.
pub(crate) struct Table {
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    free: Mutex<Free>,
    limit: u32,
}

#[derive(Default)]
struct Free {
    slots: Vec<u32>,
    /// Slots from here on were never used.
    fresh: u32,
    used: u32,
}

fn pid_of(index: u32, generation: u32) -> Pid {
    u64::from(generation) << 32 | u64::from(index)
}

impl Table {
    pub(crate) fn new(limit: u32) -> Self {
        let chunks = (0..CHUNKS).map(|_| OnceLock::new()).collect();
        Self {
            chunks,
            free: Mutex::default(),
            limit: limit.min(CAPACITY),
        }
    }

    /// A slot that was ever used, whoever lives there.
    pub(crate) fn slot(&self, index: u32) -> Option<&Slot> {
        let chunk = self.chunks.get((index / CHUNK) as usize)?.get()?;
        chunk.get((index % CHUNK) as usize)
    }

    /// The slot of an actor that is alive or reserved.
    pub(crate) fn get(&self, pid: Pid) -> Option<&Slot> {
        let slot = self.slot(pid as u32)?;
        (slot.generation.load(Ordering::Acquire) == (pid >> 32) as u32).then_some(slot)
    }

    /// A slot, and who lives there now.
    pub(crate) fn pid_at(&self, index: u32) -> Option<(Pid, &Slot)> {
        let slot = self.slot(index)?;
        Some((pid_of(index, slot.generation.load(Ordering::Acquire)), slot))
    }

    /// A body whose lock was waited for, if it is still this actor's: the slot may have a new owner by then.
    pub(crate) fn still<'a>(
        &self,
        pid: Pid,
        body: MutexGuard<'a, Option<Body>>,
    ) -> Option<MutexGuard<'a, Option<Body>>> {
        self.get(pid).map(|_| body)
    }

    /// A pid for an actor to come. None: the node is full.
    pub(crate) fn reserve(&self) -> Option<Pid> {
        let index = {
            let mut free = self.free.lock();
            if free.used >= self.limit {
                return None;
            }
            let index = match free.slots.pop() {
                Some(index) => index,
                None => {
                    let index = free.fresh;
                    if index >= CAPACITY {
                        return None;
                    }
                    free.fresh += 1;
                    index
                }
            };
            free.used += 1;
            index
        };
        let chunk = self.chunks[(index / CHUNK) as usize]
            .get_or_init(|| (0..CHUNK).map(|_| Slot::default()).collect());
        let generation = chunk[(index % CHUNK) as usize]
            .generation
            .fetch_add(1, Ordering::AcqRel)
            + 1;
        Some(pid_of(index, generation))
    }

    /// Takes back a pid whose slot holds nobody any more.
    pub(crate) fn release(&self, pid: Pid) {
        let Some(slot) = self.get(pid) else { return };
        slot.generation.fetch_add(1, Ordering::AcqRel);
        let mut free = self.free.lock();
        free.slots.push(pid as u32);
        free.used -= 1;
    }

    /// Actors alive or about to be.
    pub(crate) fn len(&self) -> u32 {
        self.free.lock().used
    }

    /// Slots that were ever used: the range that a walk over all actors covers.
    pub(crate) fn extent(&self) -> u32 {
        self.free.lock().fresh
    }

    /// Whoever lives in a slot, or is about to, without a lock.
    pub(crate) fn peek(&self, index: u32) -> Option<(Pid, &Slot)> {
        let slot = self.slot(index)?;
        let generation = slot.generation.load(Ordering::Acquire);
        (generation % 2 == 1).then_some((pid_of(index, generation), slot))
    }

    /// The actor in a slot, locked; none: nobody lives there.
    pub(crate) fn at(&self, index: u32) -> Option<(Pid, &Slot, MutexGuard<'_, Option<Body>>)> {
        let slot = self.slot(index)?;
        let body = slot.body.lock();
        body.as_ref()?;
        let pid = pid_of(index, slot.generation.load(Ordering::Acquire));
        Some((pid, slot, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_of_the_past_finds_nobody() {
        let table = Table::new(10);
        let first = table.reserve().unwrap();
        assert!(table.get(first).is_some());
        table.release(first);
        assert!(table.get(first).is_none());
        let second = table.reserve().unwrap();
        assert_eq!(first as u32, second as u32, "the slot is used again");
        assert_ne!(first, second);
        assert!(table.get(first).is_none());
    }

    #[test]
    fn the_limit_holds_and_counts_back() {
        let table = Table::new(2);
        let a = table.reserve().unwrap();
        let _b = table.reserve().unwrap();
        assert_eq!(table.reserve(), None);
        table.release(a);
        assert!(table.reserve().is_some());
    }
}
