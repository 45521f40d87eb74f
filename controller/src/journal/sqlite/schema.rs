//! The layout of a journal file and its queries. `user_version` says which layout a file has; an older one is brought up to
//! date, a newer one is left alone.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Place, writer};
use crate::engine::event::Event;
use crate::error::Error;

/// The layout that this version writes. 1 had one row an event and no heads.
const LAYOUT: i64 = 2;

/// Events lie in batches, as they were appended: a row, and the work that it makes, for each event would cost several times
/// what the event itself does.
const TABLES: &str = "
    CREATE TABLE rollout (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        started_ms INTEGER NOT NULL,
        open INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        head TEXT NOT NULL
    ) STRICT;
    CREATE INDEX rollout_open ON rollout (started_ms) WHERE open;
    CREATE INDEX rollout_started ON rollout (started_ms);
    CREATE TABLE batch (
        rollout INTEGER NOT NULL REFERENCES rollout (id),
        last INTEGER NOT NULL,
        first INTEGER NOT NULL,
        events TEXT NOT NULL,
        PRIMARY KEY (rollout, last)
    ) STRICT;
    CREATE TABLE blob (
        digest TEXT PRIMARY KEY,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE VIEW event AS
        SELECT rollout.name AS rollout, json_extract(one.value, '$.seq') AS seq, one.value AS json
        FROM rollout JOIN batch ON batch.rollout = rollout.id, json_each(batch.events) AS one;
    PRAGMA user_version = 2;";

pub(super) const BATCHES: &str = "SELECT first, events FROM batch
    WHERE rollout = (SELECT id FROM rollout WHERE name = ?1) AND last > ?2 ORDER BY last";
pub(super) const HEAD: &str = "SELECT head, seq, last_ms FROM rollout WHERE name = ?1";
pub(super) const NEWEST: &str = "SELECT head, seq, last_ms FROM rollout
    ORDER BY started_ms DESC, id DESC LIMIT ?1";
pub(super) const OPEN: &str = "SELECT head, seq, last_ms FROM rollout
    WHERE open ORDER BY started_ms, id LIMIT ?1";
pub(super) const BLOB: &str = "SELECT bytes FROM blob WHERE digest = ?1";

/// Makes the tables, or brings those of an older layout up to date.
pub(super) fn prepare(connection: &mut Connection, place: &Place) -> Result<(), Error> {
    let failed = place.failed("open");
    if layout(connection).map_err(&failed)? == LAYOUT {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(&failed)?;
    // Looked at again: another process may have been faster.
    match layout(&transaction).map_err(&failed)? {
        0 => transaction.execute_batch(TABLES).map_err(&failed)?,
        1 => {
            transaction
                .execute_batch("ALTER TABLE event RENAME TO event_1;")
                .map_err(&failed)?;
            transaction.execute_batch(TABLES).map_err(&failed)?;
            from_1(&transaction, place)?;
            transaction
                .execute_batch("DROP TABLE event_1;")
                .map_err(&failed)?;
        }
        LAYOUT => {}
        layout => {
            return Err(Error::JournalLayout {
                path: place.0.to_path_buf(),
                layout,
            });
        }
    }
    transaction.commit().map_err(failed)
}

fn layout(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Copies the events of layout 1.
fn from_1(transaction: &Transaction<'_>, place: &Place) -> Result<(), Error> {
    const BATCH: usize = 256;
    let failed = place.failed("open");
    let mut select = transaction
        .prepare("SELECT rollout, seq, json FROM event_1 ORDER BY rollout, seq")
        .map_err(&failed)?;
    let mut rows = select.query(()).map_err(&failed)?;
    let mut batch: Vec<Event> = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let read = || Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?));
        let (rollout, seq, json) = read().map_err(&failed)?;
        let event: Event = serde_json::from_str(&json).map_err(|source| Error::JournalRecord {
            rollout,
            seq: seq.unsigned_abs(),
            source,
        })?;
        let other = batch
            .last()
            .is_some_and(|last| last.rollout != event.rollout);
        if other || batch.len() == BATCH {
            writer::insert_events(transaction, place, &batch)?;
            batch.clear();
        }
        batch.push(event);
    }
    writer::insert_events(transaction, place, &batch)
}
