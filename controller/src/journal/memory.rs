//! A journal that forgets at the end of the process, for tests of the engine. It can be told to fail.

use std::collections::BTreeMap;

use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::Journal;

/// The journal.
#[derive(Debug, Default)]
pub struct Memory {
    events: BTreeMap<(RolloutId, u64), Event>,
    /// After so many events, appending fails as on a full disk.
    pub full_after: Option<usize>,
}

impl Journal for Memory {
    fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        if self
            .full_after
            .is_some_and(|most| self.events.len() + events.len() > most)
        {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Error::Io {
                action: "write",
                path: "memory".into(),
                source,
            });
        }
        for event in events {
            self.events
                .insert((event.rollout.clone(), event.seq), event.clone());
        }
        Ok(())
    }

    fn read(&self, rollout: &RolloutId, cursor: u64) -> Result<Vec<Event>, Error> {
        let range = (rollout.clone(), cursor.saturating_add(1))..=(rollout.clone(), u64::MAX);
        Ok(self
            .events
            .range(range)
            .map(|(_, event)| event.clone())
            .collect())
    }

    fn rollouts(&self, most: u32) -> Result<Vec<RolloutId>, Error> {
        let mut first: Vec<_> = self
            .events
            .values()
            .filter(|event| event.seq == 1)
            .collect();
        first.sort_by_key(|event| std::cmp::Reverse(event.time_ms));
        Ok(first
            .into_iter()
            .take(most as usize)
            .map(|event| event.rollout.clone())
            .collect())
    }
}
