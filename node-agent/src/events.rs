//! What happened on the node, for those who watch: a ring of the last 4,096 events, numbered from 1 at each start. A reader
//! who asks for what has left the ring, or reads too slowly, is told how much it lost; nobody is ever waited for.

use std::{collections::VecDeque, sync::Arc};

use midflight_proto::agent::v1 as pb;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    clock::{Clock, wall_ns},
    key::Key,
};

/// How many events are kept.
pub const RING: usize = 4_096;
/// How many events a reader is given at a time.
const BATCH: usize = 64;

/// The ring.
pub struct Events {
    ring: Mutex<VecDeque<pb::NodeEvent>>,
    /// The number of the last event; none: the node stops, and there will be no more.
    last: watch::Sender<Option<u64>>,
    /// For timestamps.
    clock: Arc<dyn Clock>,
}

impl Events {
    /// Nothing has happened yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            ring: Mutex::default(),
            last: watch::Sender::new(Some(0)),
            clock,
        }
    }

    /// Adds an event of a kind that the protocol names.
    pub fn add(&self, kind: &str, text: String, key: Option<&Key>, step: Option<pb::StepEvent>) {
        let mut ring = self.ring.lock();
        let Some(last) = *self.last.borrow() else {
            return;
        };
        let seq = last + 1;
        let key = key.map(Key::to_pb);
        ring.push_back(pb::NodeEvent {
            seq,
            clock_ns: wall_ns(&*self.clock),
            kind: kind.to_owned(),
            text,
            key,
            step,
        });
        if ring.len() > RING {
            ring.pop_front();
        }
        self.last.send_replace(Some(seq));
    }

    /// Ends all readers.
    pub fn close(&self) {
        let _ring = self.ring.lock();
        self.last.send_replace(None);
    }

    /// What is kept, oldest first.
    pub fn all(&self) -> Vec<pb::NodeEvent> {
        self.ring.lock().iter().cloned().collect()
    }

    /// A reader from `from_seq` on; 0: from the next event on.
    pub fn reader(&self, from_seq: u64) -> Reader {
        let last = self.last.subscribe();
        let next = if from_seq == 0 {
            last.borrow().unwrap_or(0) + 1
        } else {
            from_seq
        };
        Reader { next, last }
    }

    /// What `reader` has not seen, at most 64 events.
    fn read(&self, reader: &mut Reader) -> Vec<pb::NodeEvent> {
        let ring = self.ring.lock();
        let Some(last) = *reader.last.borrow() else {
            return Vec::new();
        };
        let first = ring.front().map_or(last + 1, |event| event.seq);
        let mut events = Vec::new();
        if reader.next > last + 1 {
            events.push(self.lost(
                first - 1,
                "the cursor is from before the node's last start".to_owned(),
            ));
            reader.next = first;
        } else if reader.next < first {
            events.push(self.lost(
                first - 1,
                format!("{} events are no longer kept", first - reader.next),
            ));
            reader.next = first;
        }
        let skip = usize::try_from(reader.next - first).unwrap_or(usize::MAX);
        events.extend(ring.iter().skip(skip).take(BATCH).cloned());
        reader.next = events.last().map_or(reader.next, |event| event.seq + 1);
        events
    }

    fn lost(&self, seq: u64, text: String) -> pb::NodeEvent {
        pb::NodeEvent {
            seq,
            clock_ns: wall_ns(&*self.clock),
            kind: "lost".to_owned(),
            text,
            key: None,
            step: None,
        }
    }

    /// The next events, at least one; none once the node stops.
    pub async fn next(&self, reader: &mut Reader) -> Option<Vec<pb::NodeEvent>> {
        loop {
            let last = *reader.last.borrow_and_update();
            last?;
            let events = self.read(reader);
            if !events.is_empty() {
                return Some(events);
            }
            reader.last.changed().await.ok()?;
        }
    }
}

/// Where one reader is.
pub struct Reader {
    next: u64,
    last: watch::Receiver<Option<u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> Events {
        let events = Events::new(Arc::new(crate::clock::Machine));
        for number in 1..=count {
            events.add("boot", format!("event {number}"), None, None);
        }
        events
    }

    #[tokio::test]
    async fn a_reader_gets_every_event_from_its_cursor_on() {
        let events = filled(100);
        let mut reader = events.reader(98);
        let seqs: Vec<_> = events
            .next(&mut reader)
            .await
            .unwrap()
            .iter()
            .map(|event| event.seq)
            .collect();
        assert_eq!(seqs, [98, 99, 100]);
        events.add("boot", "next".into(), None, None);
        assert_eq!(events.next(&mut reader).await.unwrap()[0].seq, 101);
        events.close();
        assert!(events.next(&mut reader).await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_was_too_slow_is_told_how_many_events_it_lost() {
        let events = filled(10);
        let mut reader = events.reader(1);
        for _ in 0..RING {
            events.add("boot", String::new(), None, None);
        }
        let got = events.next(&mut reader).await.unwrap();
        assert_eq!(
            (got[0].kind.as_str(), got[0].text.as_str()),
            ("lost", "10 events are no longer kept")
        );
        assert_eq!((got[0].seq, got[1].seq), (10, 11));
        assert_eq!(
            events.next(&mut reader).await.unwrap()[0].seq,
            got.last().unwrap().seq + 1
        );
    }

    #[tokio::test]
    async fn a_cursor_from_before_a_restart_is_told_so_and_starts_over() {
        let events = filled(3);
        let mut reader = events.reader(500);
        let got = events.next(&mut reader).await.unwrap();
        assert_eq!(got[0].kind, "lost");
        assert_eq!(got[1].seq, 1);
    }

    #[tokio::test]
    async fn a_reader_from_now_on_gets_nothing_of_what_was() {
        let events = filled(3);
        let mut reader = events.reader(0);
        events.add("boot", String::new(), None, None);
        assert_eq!(events.next(&mut reader).await.unwrap()[0].seq, 4);
    }
}
