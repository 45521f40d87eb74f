//! The one thread that writes. It takes all that waits, whichever rollouts it is of, and commits it together, so that a flush of
//! the disk is shared by everybody who would wait for one. Each append stands or falls alone, by a savepoint; a commit that
//! fails fails all that were in it.

use std::sync::Arc;

use futures::FutureExt as _;
use midflight_patch::Digest;
use rusqlite::{Connection, OptionalExtension as _, Savepoint, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::Place;
use crate::engine::event::{Event, Fact};
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::memory::check_sequence;
use crate::journal::{Head, Pending};

/// Appends that wait for the thread; more wait for room.
const WAITING: usize = 1024;
/// Appends that one commit takes in.
const GROUP: usize = 256;

/// An event as it lies in a batch, which is of one rollout.
#[derive(Serialize, Deserialize)]
struct Line<F> {
    seq: u64,
    time_ms: u64,
    #[serde(flatten)]
    fact: F,
}

/// What is to be written.
pub(super) enum Work {
    Events(Batch),
    Blob { digest: Digest, bytes: Vec<u8> },
}

/// Events of one rollout without a gap, encoded by the thread that appends them.
pub(super) struct Batch {
    rollout: RolloutId,
    first: u64,
    first_ms: u64,
    last: u64,
    last_ms: u64,
    text: String,
    /// The events that change the head.
    telling: Vec<Event>,
}

impl Work {
    pub(super) fn events(events: &[Event]) -> Result<Option<Self>, Error> {
        Batch::of(events).map(|batch| batch.map(Self::Events))
    }
}

impl Batch {
    fn of(events: &[Event]) -> Result<Option<Self>, Error> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(None);
        };
        check_sequence(events, first.seq.saturating_sub(1))?;
        let lines: Vec<Line<&Fact>> = events.iter().map(Line::of).collect();
        let text = serde_json::to_string(&lines).map_err(|source| Error::JournalRecord {
            rollout: first.rollout.to_string(),
            seq: first.seq,
            source,
        })?;
        let mut probe = Head::new(first.rollout.clone(), first.time_ms);
        Ok(Some(Self {
            rollout: first.rollout.clone(),
            first: first.seq,
            first_ms: first.time_ms,
            last: last.seq,
            last_ms: last.time_ms,
            text,
            telling: events
                .iter()
                .filter(|event| probe.apply(event))
                .cloned()
                .collect(),
        }))
    }
}

impl<'a> Line<&'a Fact> {
    fn of(event: &'a Event) -> Self {
        Self {
            seq: event.seq,
            time_ms: event.time_ms,
            fact: &event.fact,
        }
    }
}

/// The events of a batch; `first` is for errors.
pub(super) fn decode(rollout: &RolloutId, first: u64, text: &str) -> Result<Vec<Event>, Error> {
    let lines: Vec<Line<Fact>> =
        serde_json::from_str(text).map_err(|source| Error::JournalRecord {
            rollout: rollout.to_string(),
            seq: first,
            source,
        })?;
    let event = |line: Line<Fact>| Event {
        rollout: rollout.clone(),
        seq: line.seq,
        time_ms: line.time_ms,
        fact: line.fact,
    };
    Ok(lines.into_iter().map(event).collect())
}

struct Request {
    work: Work,
    done: oneshot::Sender<Result<(), Error>>,
}

/// A handle to the thread; dropped, the thread commits what waits and ends.
pub(super) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, place: Place) -> Result<Self, Error> {
        let (requests, waiting) = mpsc::channel(WAITING);
        let path = place.0.clone();
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(connection, &place, waiting))
            .map_err(Error::io("start the thread that writes", &path))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    pub(super) fn submit(&self, work: Work) -> Pending<()> {
        let (done, answer) = oneshot::channel();
        let requests = self.requests.clone();
        async move {
            let gone = || Error::JournalGone;
            requests
                .ok_or_else(gone)?
                .send(Request { work, done })
                .await
                .map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        }
        .boxed()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told to everybody who waited for it.
            let _ = thread.join();
        }
    }
}

fn run(mut connection: Connection, place: &Place, mut waiting: mpsc::Receiver<Request>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        let mut results = Vec::with_capacity(group.len());
        let committed = commit(&mut connection, place, &group, &mut results);
        for (n, request) in group.into_iter().enumerate() {
            let result = match &committed {
                Ok(()) => results
                    .get_mut(n)
                    .map_or(Ok(()), |result| std::mem::replace(result, Ok(()))),
                Err(source) => Err(Error::Journal {
                    action: "write",
                    path: place.0.to_path_buf(),
                    source: source.clone(),
                }),
            };
            // Nobody waits for it any more: that changes nothing about what is on the disk.
            let _ = request.done.send(result);
        }
    }
}

fn commit(
    connection: &mut Connection,
    place: &Place,
    group: &[Request],
    results: &mut Vec<Result<(), Error>>,
) -> Result<(), Arc<rusqlite::Error>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for request in group {
        let point = transaction.savepoint()?;
        match write(&point, place, &request.work) {
            Ok(()) => {
                point.commit()?;
                results.push(Ok(()));
            }
            // SQLite ends the whole transaction by itself when the disk is full or fails.
            Err(Error::Journal { source, .. }) if point.is_autocommit() => return Err(source),
            Err(error) => {
                point.finish()?;
                results.push(Err(error));
            }
        }
    }
    Ok(transaction.commit()?)
}

fn write(point: &Savepoint<'_>, place: &Place, work: &Work) -> Result<(), Error> {
    match work {
        Work::Events(batch) => insert(point, place, batch),
        Work::Blob { digest, bytes } => point
            .execute(
                "INSERT OR IGNORE INTO blob (digest, bytes) VALUES (?1, ?2)",
                params![digest.to_string(), bytes],
            )
            .map(|_| ())
            .map_err(place.failed("write")),
    }
}

/// Events of one rollout, inside a transaction of somebody else.
pub(super) fn insert_events(
    connection: &Connection,
    place: &Place,
    events: &[Event],
) -> Result<(), Error> {
    match Batch::of(events)? {
        Some(batch) => insert(connection, place, &batch),
        None => Ok(()),
    }
}

fn insert(connection: &Connection, place: &Place, batch: &Batch) -> Result<(), Error> {
    let failed = place.failed("write");
    let name = batch.rollout.as_str();
    let found = connection
        .prepare_cached("SELECT id, seq FROM rollout WHERE name = ?1")
        .and_then(|mut select| {
            select
                .query_row(params![name], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                })
                .optional()
        })
        .map_err(&failed)?;
    let last = found.map_or(0, |(_, seq)| seq.unsigned_abs());
    if batch.first != last + 1 {
        return Err(Error::JournalConflict {
            rollout: name.to_owned(),
            seq: batch.first,
            last,
        });
    }
    // Sequence numbers and milliseconds stay far below 2^63.
    let (seq, last_ms) = (batch.last as i64, batch.last_ms as i64);
    let id = match found {
        Some((id, _)) if batch.telling.is_empty() => {
            connection
                .prepare_cached("UPDATE rollout SET seq = ?2, last_ms = ?3 WHERE id = ?1")
                .and_then(|mut update| update.execute(params![id, seq, last_ms]))
                .map_err(&failed)?;
            id
        }
        found => {
            let head = head_after(connection, place, batch)?;
            let text = serde_json::to_string(&head).map_err(|source| Error::JournalRecord {
                rollout: name.to_owned(),
                seq: batch.last,
                source,
            })?;
            connection
                .prepare_cached(
                    "INSERT INTO rollout (id, name, started_ms, open, seq, last_ms, head)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (id) DO UPDATE SET open = ?4, seq = ?5, last_ms = ?6, head = ?7",
                )
                .and_then(|mut put| {
                    let (id, started) = (found.map(|(id, _)| id), head.started_ms as i64);
                    put.execute(params![
                        id,
                        name,
                        started,
                        head.is_open(),
                        seq,
                        last_ms,
                        text
                    ])
                })
                .map_err(&failed)?;
            found.map_or_else(|| connection.last_insert_rowid(), |(id, _)| id)
        }
    };
    connection
        .prepare_cached("INSERT INTO batch (rollout, last, first, events) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut put| put.execute(params![id, seq, batch.first as i64, batch.text]))
        .map(|_| ())
        .map_err(failed)
}

fn head_after(connection: &Connection, place: &Place, batch: &Batch) -> Result<Head, Error> {
    let found = connection
        .prepare_cached(super::schema::HEAD)
        .and_then(|mut select| {
            select
                .query_row(params![batch.rollout.as_str()], |row| {
                    Ok(super::head_of(row, place))
                })
                .optional()
        })
        .map_err(place.failed("read"))?;
    let mut head = found
        .transpose()?
        .unwrap_or_else(|| Head::new(batch.rollout.clone(), batch.first_ms));
    for event in &batch.telling {
        head.apply(event);
    }
    Ok(head)
}
