//! The journal in a SQLite file, in WAL mode with `synchronous=FULL`: what resolved was flushed to the disk. One thread writes,
//! and commits all that waits together ([`writer`]); reads go by a connection of their own and wait for no write. Several
//! processes may have the file open. A person reads it with any SQLite shell: the view `event` has one row an event.

mod schema;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use midflight_patch::Digest;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::Error;
use crate::journal::{Head, Journal, Pending, Which, checked};
use writer::{Work, Writer};

/// How long a write waits for another process.
const BUSY: Duration = Duration::from_secs(10);

/// A journal file. A handle is cheap; all handles are the same journal.
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    place: Place,
    reader: Mutex<Connection>,
    writer: Writer,
}

/// The file, for errors.
#[derive(Clone)]
struct Place(Arc<Path>);

impl Place {
    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + use<> {
        let path = self.0.clone();
        move |source| Error::Journal {
            action,
            path: path.to_path_buf(),
            source: Arc::new(source),
        }
    }
}

impl Sqlite {
    /// Opens the file, and makes it and its folder when they are not there, for this user alone. A file of an earlier version
    /// is brought up to date, in one transaction.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Journal`], [`Error::JournalLayout`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let place = Place(path.into());
        make_private(path)?;
        let mut writes = connect(&place)?;
        schema::prepare(&mut writes, &place)?;
        Ok(Self(Arc::new(Inner {
            reader: Mutex::new(connect(&place)?),
            writer: Writer::start(writes, place.clone())?,
            place,
        })))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.place.0
    }

    /// Runs a read on a thread that may wait.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &Place) -> Result<T, Error> + Send + 'static,
    ) -> Pending<T> {
        let inner = self.0.clone();
        let read = move || {
            // A reader that panicked left nothing half done: it only reads.
            let reader = inner.reader.lock().unwrap_or_else(PoisonError::into_inner);
            read(&reader, &inner.place)
        };
        async move {
            tokio::task::spawn_blocking(read)
                .await
                .map_err(|source| Error::Panicked { source })?
        }
        .boxed()
    }
}

fn connect(place: &Place) -> Result<Connection, Error> {
    let open = || {
        let connection = Connection::open(&place.0)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        Ok(connection)
    };
    let end = Instant::now() + BUSY;
    loop {
        match open() {
            // Of two processes that switch a new file to WAL at the same time, SQLite lets none wait: it would be for ever.
            Err(error) if is_busy(&error) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.map_err(place.failed("open")),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

impl Journal for Sqlite {
    fn append(&self, events: &[Event]) -> Pending<()> {
        match Work::events(events) {
            Ok(Some(work)) => self.0.writer.submit(work),
            Ok(None) => futures::future::ready(Ok(())).boxed(),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }

    fn events(&self, rollout: &RolloutId, after: u64, most: usize) -> Pending<Vec<Event>> {
        let rollout = rollout.clone();
        self.read(move |connection, place| {
            let failed = place.failed("read");
            let mut select = connection
                .prepare_cached(schema::BATCHES)
                .map_err(&failed)?;
            let from = i64::try_from(after).unwrap_or(i64::MAX);
            let mut rows = select
                .query(params![rollout.as_str(), from])
                .map_err(&failed)?;
            let mut events = Vec::new();
            while events.len() < most
                && let Some(row) = rows.next().map_err(&failed)?
            {
                let first = row.get::<_, i64>(0).map_err(&failed)?.unsigned_abs();
                let text = row
                    .get_ref(1)
                    .and_then(|text| Ok(text.as_str()?))
                    .map_err(&failed)?;
                let some = writer::decode(&rollout, first, text)?;
                let room = most - events.len();
                events.extend(
                    some.into_iter()
                        .filter(|event| event.seq > after)
                        .take(room),
                );
            }
            Ok(events)
        })
    }

    fn head(&self, rollout: &RolloutId) -> Pending<Option<Head>> {
        let rollout = rollout.clone();
        self.read(move |connection, place| {
            let failed = place.failed("read");
            let mut select = connection.prepare_cached(schema::HEAD).map_err(&failed)?;
            let found = select
                .query_row(params![rollout.as_str()], |row| Ok(head_of(row, place)))
                .optional()
                .map_err(&failed)?;
            found.transpose()
        })
    }

    fn heads(&self, which: Which) -> Pending<Vec<Head>> {
        self.read(move |connection, place| {
            let failed = place.failed("read");
            let (select, most) = match which {
                Which::Newest(most) => (schema::NEWEST, i64::from(most)),
                Which::Open => (schema::OPEN, i64::MAX),
            };
            let mut select = connection.prepare_cached(select).map_err(&failed)?;
            let rows = select
                .query_map(params![most], |row| Ok(head_of(row, place)))
                .map_err(&failed)?;
            rows.map(|row| row.map_err(&failed)?).collect()
        })
    }

    fn put_blob(&self, bytes: Vec<u8>) -> Pending<Digest> {
        let digest = Digest::of(&bytes);
        let put = self.0.writer.submit(Work::Blob { digest, bytes });
        async move { put.await.map(|()| digest) }.boxed()
    }

    fn blob(&self, digest: Digest) -> Pending<Vec<u8>> {
        self.read(move |connection, place| {
            let found = connection
                .query_row(schema::BLOB, params![digest.to_string()], |row| row.get(0))
                .optional()
                .map_err(place.failed("read"))?;
            checked(digest, found)
        })
    }
}

/// Columns: head, seq, last_ms.
fn head_of(row: &Row<'_>, place: &Place) -> Result<Head, Error> {
    let read = || Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
    let (text, seq, last_ms): (_, i64, i64) = read().map_err(place.failed("read"))?;
    let head = serde_json::from_str::<Head>(&text).map_err(|source| Error::JournalRecord {
        rollout: text.chars().take(80).collect(),
        seq: seq.unsigned_abs(),
        source,
    })?;
    Ok(Head {
        seq: seq.unsigned_abs(),
        last_ms: last_ms.unsigned_abs(),
        ..head
    })
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
mod tests;
