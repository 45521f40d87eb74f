//! The busiest actors of a node, by one measure: two scans over the table with a time between them, and only the rows
//! asked for are made. The table is scanned actor by actor, never copied, and no guest code is run for the actors that
//! are not shown.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::{ActorStatus, Visit, status::status_of};
use crate::{Error, Node, actor::Run, instance::Instances, table::Pid};

/// Most rows of one top.
pub const MAX_TOP: usize = 200;

/// Instead of a count: its handler ran all the time of the scan, and what it did since is not known.
const BUSY: u64 = u64::MAX;

/// What actors are compared by, greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopBy {
    /// Events that wait.
    #[default]
    Mailbox,
    /// Events handled between the two scans.
    Messages,
    /// Traps of the version that the actor runs: an actor that traps outside probation ends.
    Traps,
    /// Bytes of state.
    State,
    /// Events handled since it was born.
    Events,
}

/// One actor of a top.
#[derive(Debug, Clone, PartialEq)]
pub struct TopRow {
    /// How it stands.
    pub status: ActorStatus,
    /// Events that it handled a second, between the two scans.
    pub per_second: f64,
    /// Handlers that trapped since its version was loaded, of all actors of that version.
    pub traps: u64,
}

/// The busiest actors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Top {
    /// Greatest first.
    pub rows: Vec<TopRow>,
    /// Actors looked at.
    pub actors: u64,
    /// Events that all of them handled a second.
    pub per_second: f64,
    /// Events that wait in all mailboxes.
    pub mailbox: u64,
    /// Actors whose handler ran all the time that they were looked for; they are in no sum.
    pub busy: u64,
}

/// How far every actor was at a first scan: 16 bytes an actor.
pub struct EventCounts {
    at: Instant,
    /// By slot; a pid of 0: nobody lived there.
    counts: Vec<(Pid, u64)>,
}

impl Node {
    /// The first scan. Waits at most `timeout` for running handlers, all of them together.
    pub fn event_counts(&self, timeout: Duration) -> EventCounts {
        let (at, table) = (Instant::now(), &self.shared.table);
        let deadline = at + timeout;
        let counts = (0..table.extent())
            .map(|index| {
                let Some((pid, slot)) = table.peek(index) else {
                    return (0, 0);
                };
                let body = slot.body.try_lock_until(deadline);
                match body.map(|body| table.still(pid, body)?.as_ref().map(|b| b.events)) {
                    Some(Some(events)) => (pid, events),
                    Some(None) => (0, 0),
                    None => (pid, BUSY),
                }
            })
            .collect();
        EventCounts { at, counts }
    }

    /// The second scan: at most `limit` actors, 1 to 200, of this module or of all.
    pub fn top(
        &self,
        before: &EventCounts,
        by: TopBy,
        module: Option<&str>,
        limit: usize,
        timeout: Duration,
    ) -> Result<Top, Error> {
        if !(1..=MAX_TOP).contains(&limit) {
            return Err(Error::SysArgument(format!(
                "the limit of a top is {limit}; it must be 1 to {MAX_TOP}"
            )));
        }
        let module = match module {
            Some(name) => Some(self.module_of(name)?.index),
            None => None,
        };
        let (now, table) = (Instant::now(), &self.shared.table);
        let deadline = now + timeout;
        let seconds = now.duration_since(before.at).as_secs_f64().max(1e-3);
        let mut top = Top::default();
        let mut since = 0;
        let mut best = BinaryHeap::with_capacity(limit + 1);
        let mut traps = Traps::default();
        for index in 0..table.extent() {
            let Some((pid, slot)) = table.peek(index) else {
                continue;
            };
            let waiting = {
                let mail = slot.mail.lock();
                if mail.run == Run::Free || module.is_some_and(|m| m != mail.module) {
                    continue;
                }
                mail.queue.len() as u64
            };
            let Some(body) = slot.body.try_lock_until(deadline) else {
                top.busy += 1;
                continue;
            };
            let Some(guard) = table.still(pid, body) else {
                continue;
            };
            let Some(body) = guard.as_ref() else { continue };
            let handled = match before.counts.get(index as usize) {
                Some(&(then, BUSY)) if then == pid => 0,
                Some(&(then, events)) if then == pid => body.events.saturating_sub(events),
                _ => body.events,
            };
            top.actors += 1;
            top.mailbox += waiting;
            since += handled;
            let key = match by {
                TopBy::Mailbox => waiting,
                TopBy::Messages => handled,
                TopBy::Traps => traps.of(self, body.version),
                TopBy::State => body.state.len() as u64,
                TopBy::Events => body.events,
            };
            best.push(Reverse((key, handled, Reverse(pid))));
            if best.len() > limit {
                best.pop();
            }
        }
        top.per_second = since as f64 / seconds;
        let mut instances = Instances::new(&self.shared);
        for Reverse((_, handled, Reverse(pid))) in best.into_sorted_vec() {
            let look = self.visit(pid, deadline, &mut instances, |pid, slot, body| {
                let status = status_of(&self.shared, pid, slot, body);
                (status, traps.of(self, body.version))
            });
            if let Visit::Done((status, traps)) = look {
                top.rows.push(TopRow {
                    status,
                    per_second: handled as f64 / seconds,
                    traps,
                });
            }
        }
        Ok(top)
    }
}

/// The traps of versions, looked up once each.
#[derive(Default)]
struct Traps(std::collections::HashMap<u32, u64>);

impl Traps {
    fn of(&mut self, node: &Node, version: u32) -> u64 {
        *self.0.entry(version).or_insert_with(|| {
            node.shared.code.version(version).map_or(0, |v| {
                v.counters.traps.load(std::sync::atomic::Ordering::Relaxed)
            })
        })
    }
}
