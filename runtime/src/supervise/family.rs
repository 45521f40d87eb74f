//! What a worker needs of a supervisor: a place for an actor that is spawned, and its way out at the end. Actors that are
//! never started again form a list through the slots of the table: twelve bytes each, in and out at once, in the order in
//! which they were born. Nothing here waits.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use midflight_patch::{Child, ModuleName, Restart, Shutdown, Strategy, Supervisor};
use parking_lot::Mutex;

use super::{Key, Seat, SupId};
use crate::{
    bindings::Spawn,
    table::{Pid, Table},
};

/// No slot.
const NONE: u32 = u32::MAX;

/// Of which supervisor an actor is a child. With a seat: which. Without: its neighbours in the family's list, which change
/// under the family's lock only.
#[derive(Default)]
pub(crate) struct Kin {
    /// 0: nobody's. Otherwise twice the supervisor, and one more with a seat.
    owner: AtomicU32,
    /// The key, or the slot before.
    a: AtomicU32,
    /// The index, or the slot behind.
    b: AtomicU32,
}

impl Kin {
    pub(crate) fn supervisor(&self) -> Option<SupId> {
        let owner = self.owner.load(Ordering::Acquire);
        (owner > 1).then_some(owner >> 1)
    }

    pub(crate) fn seat(&self) -> Option<Seat> {
        let owner = self.owner.load(Ordering::Acquire);
        (owner & 1 == 1).then(|| Seat {
            supervisor: owner >> 1,
            key: self.a.load(Ordering::Relaxed),
            index: self.b.load(Ordering::Relaxed),
        })
    }

    pub(crate) fn sit(&self, seat: Seat) {
        self.a.store(seat.key, Ordering::Relaxed);
        self.b.store(seat.index, Ordering::Relaxed);
        self.owner
            .store(seat.supervisor << 1 | 1, Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        self.owner.store(0, Ordering::Release);
    }
}

/// On which terms a supervisor takes a spawned actor.
pub(super) struct Terms {
    pub(super) module: ModuleName,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
}

/// The spawned children of one supervisor.
pub(crate) struct Family {
    pub(super) id: SupId,
    pub(super) application: Arc<str>,
    inner: Mutex<Inner>,
    next_key: AtomicU32,
}

struct Inner {
    name: Arc<str>,
    /// `simple_one_for_one`: the pattern of all children.
    pattern: Option<(ModuleName, Vec<u8>, Restart, Shutdown)>,
    spawned: Restart,
    closed: bool,
    head: u32,
    tail: u32,
    count: u32,
    /// Those for whose end the supervisor waits, and under which token.
    drained: Option<(HashSet<Pid>, u64)>,
    /// Out of the list, and not buried yet.
    leaving: HashSet<Pid>,
}

impl Family {
    pub(super) fn new(id: SupId, application: Arc<str>, spec: &Supervisor, keys: Key) -> Self {
        let family = Self {
            id,
            application,
            inner: Mutex::new(Inner {
                name: spec.name.as_str().into(),
                pattern: None,
                spawned: spec.spawned,
                closed: false,
                head: NONE,
                tail: NONE,
                count: 0,
                leaving: HashSet::new(),
                drained: None,
            }),
            next_key: AtomicU32::new(keys),
        };
        family.follow(spec);
        family
    }

    /// From now on spawned children are taken as this says.
    pub(super) fn follow(&self, spec: &Supervisor) {
        let mut inner = self.inner.lock();
        inner.name = spec.name.as_str().into();
        inner.spawned = spec.spawned;
        inner.pattern = match (&spec.strategy, spec.children.first()) {
            (Strategy::SimpleOneForOne, Some(Child::Worker(w))) => Some((
                w.module.clone(),
                w.args.to_string().into_bytes(),
                w.restart,
                w.shutdown,
            )),
            _ => None,
        };
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.inner.lock().name.clone()
    }

    pub(super) fn next_key(&self) -> Result<Key, String> {
        let next = |key: Key| key.checked_add(1);
        self.next_key
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .map_err(|_| "the supervisor has had as many children as it can count".to_owned())
    }

    /// How the spawned child is taken; the pattern's arguments are filled in where none are given.
    pub(super) fn terms(&self, spawn: &mut Spawn) -> Result<Terms, String> {
        let inner = self.inner.lock();
        if inner.closed {
            return Err(format!("shutdown: supervisor {} is ending", inner.name));
        }
        if let Some((module, args, restart, shutdown)) = &inner.pattern {
            if module.as_str() != spawn.module {
                return Err(format!(
                    "supervisor {} starts actors of module {module} only",
                    inner.name
                ));
            }
            if spawn.args.is_empty() {
                spawn.args.clone_from(args);
            }
            return Ok(Terms {
                module: module.clone(),
                restart: *restart,
                shutdown: *shutdown,
            });
        }
        let module = ModuleName::new(&*spawn.module).map_err(|error| error.to_string())?;
        Ok(Terms {
            module,
            restart: inner.spawned,
            shutdown: Shutdown::default(),
        })
    }

    /// How long the children in the list have to end.
    pub(super) fn shutdown(&self) -> Shutdown {
        let inner = self.inner.lock();
        inner
            .pattern
            .as_ref()
            .map_or_else(Shutdown::default, |p| p.3)
    }

    /// Takes an actor to come as the last of the list.
    pub(super) fn join(&self, table: &Table, pid: Pid) -> Result<(), String> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(format!("shutdown: supervisor {} is ending", inner.name));
        }
        let Some(slot) = table.get(pid) else {
            return Err("noproc".into());
        };
        slot.kin.a.store(inner.tail, Ordering::Relaxed);
        slot.kin.b.store(NONE, Ordering::Relaxed);
        slot.kin.owner.store(self.id << 1, Ordering::Release);
        match table.slot(inner.tail) {
            Some(last) => last.kin.b.store(pid as u32, Ordering::Relaxed),
            None => inner.head = pid as u32,
        }
        inner.tail = pid as u32;
        inner.count += 1;
        Ok(())
    }

    /// Out of the list; `gone` is to follow.
    pub(super) fn leave(&self, table: &Table, pid: Pid, kin: &Kin) {
        let mut inner = self.inner.lock();
        let (before, behind) = (kin.a.load(Ordering::Relaxed), kin.b.load(Ordering::Relaxed));
        match table.slot(before) {
            Some(slot) => slot.kin.b.store(behind, Ordering::Relaxed),
            None => inner.head = behind,
        }
        match table.slot(behind) {
            Some(slot) => slot.kin.a.store(before, Ordering::Relaxed),
            None => inner.tail = before,
        }
        kin.clear();
        inner.count -= 1;
        inner.leaving.insert(pid);
    }

    /// Nothing is left of it. Some: the last one for whom the supervisor waited, and its token.
    pub(super) fn gone(&self, pid: Pid) -> Option<u64> {
        let mut inner = self.inner.lock();
        inner.leaving.remove(&pid);
        let (waited, token) = inner.drained.as_mut()?;
        let (found, token) = (waited.remove(&pid), *token);
        if found && waited.is_empty() {
            inner.drained = None;
            return Some(token);
        }
        None
    }

    /// Takes nobody any more.
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
    }

    /// Those in the list, the youngest first.
    pub(super) fn members(&self, table: &Table) -> Vec<Pid> {
        let inner = self.inner.lock();
        let mut all = Vec::with_capacity(inner.count as usize);
        let mut at = inner.tail;
        while let Some((pid, slot)) = table.pid_at(at) {
            all.push(pid);
            at = slot.kin.a.load(Ordering::Relaxed);
        }
        all
    }

    /// Those who are to be gone before the supervisor is: those in the list, and those who leave it.
    pub(super) fn remaining(&self, table: &Table) -> Vec<Pid> {
        // The list first: who leaves it in between is found among those who left.
        let mut all = self.members(table);
        all.extend(self.inner.lock().leaving.iter());
        all
    }

    pub(super) fn count(&self) -> u32 {
        self.inner.lock().count
    }

    /// From now on the end of the last of these that is not gone yet gives the token. False: all of them are.
    pub(super) fn drain(&self, table: &Table, pids: &[Pid], token: u64) -> bool {
        let mut inner = self.inner.lock();
        let here = |pid: &&Pid| {
            let slot = table.get(**pid);
            inner.leaving.contains(*pid)
                || slot
                    .is_some_and(|s| s.kin.seat().is_none() && s.kin.supervisor() == Some(self.id))
        };
        let waited: HashSet<Pid> = pids.iter().filter(here).copied().collect();
        let any = !waited.is_empty();
        inner.drained = any.then_some((waited, token));
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family() -> Family {
        Family::new(7, "app".into(), &Supervisor::default(), 0)
    }

    fn leave(family: &Family, table: &Table, pid: Pid) -> Option<u64> {
        family.leave(table, pid, &table.get(pid).unwrap().kin);
        table.release(pid);
        family.gone(pid)
    }

    #[test]
    fn the_list_keeps_the_order_of_birth_whoever_leaves_it() {
        let (table, family) = (Table::new(100), family());
        let mut pids: Vec<Pid> = (0..10).map(|_| table.reserve().unwrap()).collect();
        pids.iter()
            .for_each(|&pid| family.join(&table, pid).unwrap());
        for at in [9, 0, 4, 3] {
            assert_eq!(leave(&family, &table, pids.remove(at)), None);
            let youngest_first: Vec<_> = pids.iter().rev().copied().collect();
            assert_eq!(family.members(&table), youngest_first);
        }
        let again = table.reserve().unwrap();
        family.join(&table, again).unwrap();
        pids.push(again);
        assert_eq!(family.members(&table)[0], again);
        while let Some(pid) = pids.pop() {
            leave(&family, &table, pid);
        }
        assert_eq!((family.count(), family.members(&table)), (0, vec![]));
    }

    #[test]
    fn the_end_of_the_last_one_waited_for_is_told_once() {
        let (table, family) = (Table::new(100), family());
        let pids: Vec<Pid> = (0..4).map(|_| table.reserve().unwrap()).collect();
        pids.iter()
            .for_each(|&pid| family.join(&table, pid).unwrap());
        leave(&family, &table, pids[0]);
        assert!(family.drain(&table, &pids[..3], 5), "the first is gone");
        assert_eq!(leave(&family, &table, pids[3]), None, "nobody waits for it");
        assert_eq!(leave(&family, &table, pids[1]), None);
        assert_eq!(leave(&family, &table, pids[2]), Some(5));
        assert!(!family.drain(&table, &pids, 6));
        let last = table.reserve().unwrap();
        family.join(&table, last).unwrap();
        family.leave(&table, last, &table.get(last).unwrap().kin);
        table.release(last);
        assert_eq!((family.count(), family.remaining(&table)), (0, vec![last]));
        assert!(family.drain(&table, &[last], 7), "it is not buried yet");
        assert_eq!(family.gone(last), Some(7));
        family.close();
        assert!(family.join(&table, table.reserve().unwrap()).is_err());
    }
}
