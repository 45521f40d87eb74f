//! The journal in a SQLite file that a person can open with any SQLite shell: one row an event, its JSON as it is streamed.
//! WAL with `synchronous=FULL`: an append that returned was flushed to the disk. Several processes may read and write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::Journal;

/// The layout of the file; in `user_version`.
const LAYOUT: i64 = 1;

/// A journal file.
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
}

impl Sqlite {
    /// Opens the file, and makes it and its folder when they are not there, for this user alone.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Journal`], [`Error::JournalLayout`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |action| {
            move |source| Error::Journal {
                action,
                path: path.to_owned(),
                source,
            }
        };
        make_private(path)?;
        let connection = Connection::open(path).map_err(failed("open"))?;
        connection
            .busy_timeout(Duration::from_secs(10))
            .map_err(failed("open"))?;
        connection
            .pragma_update(None, "journal_mode", "wal")
            .map_err(failed("open"))?;
        connection
            .pragma_update(None, "synchronous", "full")
            .map_err(failed("open"))?;
        let layout: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed("open"))?;
        if layout > LAYOUT {
            return Err(Error::JournalLayout {
                path: path.to_owned(),
                layout,
            });
        }
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS event (
                     rollout TEXT NOT NULL,
                     seq INTEGER NOT NULL,
                     time_ms INTEGER NOT NULL,
                     json TEXT NOT NULL,
                     PRIMARY KEY (rollout, seq)
                 ) STRICT, WITHOUT ROWID;
                 PRAGMA user_version = 1;",
            )
            .map_err(failed("open"))?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Journal {
            action,
            path: path.clone(),
            source,
        }
    }
}

impl Journal for Sqlite {
    fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        let failed = self.failed("write");
        let transaction = self.connection.transaction().map_err(&failed)?;
        {
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO event (rollout, seq, time_ms, json) VALUES (?1, ?2, ?3, ?4)",
                )
                .map_err(&failed)?;
            for event in events {
                let (rollout, seq) = (event.rollout.to_string(), event.seq);
                let json = serde_json::to_string(event).map_err(|source| Error::JournalRecord {
                    rollout: rollout.clone(),
                    seq,
                    source,
                })?;
                // Sequence numbers and milliseconds stay far below 2^63.
                insert
                    .execute(params![rollout, seq as i64, event.time_ms as i64, json])
                    .map_err(&failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    fn read(&self, rollout: &RolloutId, cursor: u64) -> Result<Vec<Event>, Error> {
        let failed = self.failed("read");
        let mut select = self
            .connection
            .prepare_cached(
                "SELECT seq, json FROM event WHERE rollout = ?1 AND seq > ?2 ORDER BY seq",
            )
            .map_err(&failed)?;
        let cursor = i64::try_from(cursor).unwrap_or(i64::MAX);
        let rows = select
            .query_map(params![rollout.as_str(), cursor], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })
            .map_err(&failed)?;
        let mut events = Vec::new();
        for row in rows {
            let (seq, json) = row.map_err(&failed)?;
            let event = serde_json::from_str(&json).map_err(|source| Error::JournalRecord {
                rollout: rollout.to_string(),
                seq: seq.unsigned_abs(),
                source,
            })?;
            events.push(event);
        }
        Ok(events)
    }

    fn rollouts(&self, most: u32) -> Result<Vec<RolloutId>, Error> {
        let failed = self.failed("read");
        let mut select = self
            .connection
            .prepare_cached("SELECT rollout FROM event WHERE seq = 1 ORDER BY time_ms DESC, rollout DESC LIMIT ?1")
            .map_err(&failed)?;
        let rows = select
            .query_map(params![most], |row| row.get::<_, String>(0))
            .map_err(&failed)?;
        let mut ids = Vec::new();
        for row in rows {
            ids.push(row.map_err(&failed)?.parse()?);
        }
        Ok(ids)
    }
}

/// Makes the folder and the file, readable by this user alone: a journal names nodes and addresses.
fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io("create", folder))?;
    }
    let mut options = std::fs::OpenOptions::new();
    options
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(|_| ())
        .map_err(Error::io("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Fact;
    use crate::engine::words::RolloutState;

    fn event(rollout: &str, seq: u64) -> Event {
        let fact = Fact::State {
            state: RolloutState::Running,
            reason: format!("number {seq}"),
        };
        Event {
            rollout: rollout.parse().unwrap(),
            seq,
            time_ms: seq,
            fact,
        }
    }

    #[test]
    fn events_survive_a_reopening_and_are_read_from_a_cursor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/journal.db");
        let mut journal = Sqlite::open(&path).unwrap();
        journal
            .append(&[event("a", 1), event("a", 2), event("a", 3)])
            .unwrap();
        journal.append(&[event("b", 1)]).unwrap();
        drop(journal);
        let journal = Sqlite::open(&path).unwrap();
        let id = "a".parse().unwrap();
        assert_eq!(
            journal.read(&id, 1).unwrap(),
            [event("a", 2), event("a", 3)]
        );
        assert_eq!(journal.rollouts(10).unwrap().len(), 2);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_number_that_is_taken_is_refused_and_nothing_of_the_batch_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Sqlite::open(&folder.path().join("journal.db")).unwrap();
        journal.append(&[event("a", 1)]).unwrap();
        let error = journal.append(&[event("a", 2), event("a", 1)]).unwrap_err();
        assert_eq!(error.code(), "MF0510");
        assert_eq!(journal.read(&"a".parse().unwrap(), 0).unwrap().len(), 1);
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert_eq!(Sqlite::open(&path).err().unwrap().code(), "MF0511");
    }
}
