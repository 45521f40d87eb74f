//! A journal for simulations and tests: one line a batch over a [`Storage`], and all of it in memory too. It keeps the same
//! promises as the one on disk, as far as its storage keeps them, and runs no thread: an append is done when it was called.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::ready;
use midflight_patch::Digest;
use serde::{Deserialize, Serialize};

use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::{Head, Journal, Pending, Ram, Storage, Which, checked};

/// The journal. A handle is cheap; all handles are the same journal.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<Inner>>);

struct Inner {
    storage: Box<dyn Storage>,
    /// Bytes that were written whole.
    len: u64,
    rollouts: BTreeMap<RolloutId, (Head, Vec<Event>)>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

/// A line of the storage.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Events(Vec<Event>),
    Blob(Vec<u8>),
}

impl Default for Memory {
    fn default() -> Self {
        let inner = Inner {
            storage: Box::new(Ram::default()),
            len: 0,
            rollouts: BTreeMap::new(),
            blobs: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl Memory {
    /// Reads what is there; a last line that was torn is cut off.
    ///
    /// # Errors
    /// [`Error::Io`], also for a whole line that does not read.
    pub fn open(mut storage: Box<dyn Storage>) -> Result<Self, Error> {
        let bytes = storage.read().map_err(failed("read"))?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        // Positions in memory fit 64 bits.
        let len = whole as u64;
        storage
            .truncate(len)
            .and_then(|()| storage.sync())
            .map_err(failed("cut"))?;
        let mut inner = Inner {
            storage,
            len,
            rollouts: BTreeMap::new(),
            blobs: BTreeMap::new(),
        };
        for line in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
            let line =
                serde_json::from_slice(line).map_err(|error| failed("read")(error.into()))?;
            inner.keep(line);
        }
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // `keep` is the last step of every change, and does not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, line: Line) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(&line).map_err(|error| failed("write")(error.into()))?;
        bytes.push(b'\n');
        let written =
            self.storage
                .append(&bytes)
                .and_then(|()| match mutant!(controller_no_fsync) {
                    true => Ok(()),
                    false => self.storage.sync(),
                });
        if let Err(error) = written {
            // What stays of it is a torn line, which the next opening cuts off as well.
            let _ = self.storage.truncate(self.len);
            return Err(failed("write")(error));
        }
        self.len += bytes.len() as u64;
        self.keep(line);
        Ok(())
    }

    fn append(&mut self, events: Vec<Event>) -> Result<(), Error> {
        let Some(first) = events.first() else {
            return Ok(());
        };
        let last = self
            .rollouts
            .get(&first.rollout)
            .map_or(0, |(head, _)| head.seq);
        check_sequence(&events, last)?;
        self.write(Line::Events(events))
    }

    fn keep(&mut self, line: Line) {
        match line {
            Line::Blob(bytes) => drop(self.blobs.insert(Digest::of(&bytes), bytes)),
            Line::Events(events) => {
                for event in events {
                    let (head, all) =
                        self.rollouts
                            .entry(event.rollout.clone())
                            .or_insert_with(|| {
                                (Head::new(event.rollout.clone(), event.time_ms), Vec::new())
                            });
                    head.apply(&event);
                    all.push(event);
                }
            }
        }
    }
}

/// Refuses events that are not of one rollout, or do not follow the last one without a gap.
pub(super) fn check_sequence(events: &[Event], last: u64) -> Result<(), Error> {
    let mut rollout = None;
    for (event, want) in events.iter().zip(last + 1..) {
        if event.seq != want || *rollout.get_or_insert(&event.rollout) != &event.rollout {
            return Err(Error::JournalConflict {
                rollout: event.rollout.to_string(),
                seq: event.seq,
                last: want - 1,
            });
        }
    }
    Ok(())
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: "memory".into(),
        source,
    }
}

impl Journal for Memory {
    fn append(&self, events: &[Event]) -> Pending<()> {
        ready(self.inner().append(events.to_vec())).boxed()
    }

    fn events(&self, rollout: &RolloutId, after: u64, most: usize) -> Pending<Vec<Event>> {
        let inner = self.inner();
        let events = inner
            .rollouts
            .get(rollout)
            .map_or(&[][..], |(_, events)| events);
        // Numbers count from 1 without gaps.
        let from = usize::try_from(after)
            .unwrap_or(usize::MAX)
            .min(events.len());
        let some = events[from..].iter().take(most).cloned().collect();
        ready(Ok(some)).boxed()
    }

    fn head(&self, rollout: &RolloutId) -> Pending<Option<Head>> {
        let head = self
            .inner()
            .rollouts
            .get(rollout)
            .map(|(head, _)| head.clone());
        ready(Ok(head)).boxed()
    }

    fn heads(&self, which: Which) -> Pending<Vec<Head>> {
        let mut heads: Vec<Head> = {
            let inner = self.inner();
            inner
                .rollouts
                .values()
                .map(|(head, _)| head.clone())
                .collect()
        };
        heads.sort_by_key(|head| head.started_ms);
        match which {
            Which::Open => heads.retain(Head::is_open),
            Which::Newest(most) => {
                heads.reverse();
                heads.truncate(most as usize);
            }
        }
        ready(Ok(heads)).boxed()
    }

    fn put_blob(&self, bytes: Vec<u8>) -> Pending<Digest> {
        let digest = Digest::of(&bytes);
        let mut inner = self.inner();
        let kept = if inner.blobs.contains_key(&digest) {
            Ok(())
        } else {
            inner.write(Line::Blob(bytes))
        };
        ready(kept.map(|()| digest)).boxed()
    }

    fn blob(&self, digest: Digest) -> Pending<Vec<u8>> {
        ready(checked(digest, self.inner().blobs.get(&digest).cloned())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::event;

    #[tokio::test]
    async fn what_was_not_synced_may_be_lost_and_what_resolved_is_not() {
        let disk = Ram::default();
        let journal = Memory::open(Box::new(disk.clone())).unwrap();
        journal.append(&[event("a", 1)]).await.unwrap();
        let blob = journal.put_blob(b"patch".to_vec()).await.unwrap();
        assert_eq!(disk.pending(), 0);
        let mut torn = disk.crash(0);
        torn.append(b"{\"events\":[{\"roll").unwrap();
        for kept in [0, 5, 100] {
            let journal = Memory::open(Box::new(torn.crash(kept))).unwrap();
            let id = "a".parse().unwrap();
            assert_eq!(journal.events(&id, 0, 9).await.unwrap(), [event("a", 1)]);
            assert_eq!(journal.blob(blob).await.unwrap(), b"patch");
            journal.append(&[event("a", 2)]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_and_nothing_of_the_batch_is_kept() {
        let disk = Ram::default();
        let journal = Memory::open(Box::new(disk.clone())).unwrap();
        journal.append(&[event("a", 1)]).await.unwrap();
        disk.leave_room(Some(20));
        assert!(journal.append(&[event("a", 2)]).await.is_err());
        disk.leave_room(None);
        journal.append(&[event("a", 2)]).await.unwrap();
        let again = Memory::open(Box::new(disk)).unwrap();
        let id = "a".parse().unwrap();
        assert_eq!(again.events(&id, 0, 9).await.unwrap().len(), 2);
    }
}
