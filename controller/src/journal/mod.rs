//! Where events are kept: a narrow trait, SQLite behind it for real, memory over a [`Storage`] for simulations. What an append
//! resolved with is on the disk. A restarted process finds here everything that it needs to go on: events, and bundles and
//! policies as blobs. What events mean is none of its business, but for the [`Head`] by which rollouts are listed.

mod head;
mod lock;
mod memory;
mod sqlite;
mod storage;
#[cfg(test)]
pub(crate) mod testing;

pub use head::Head;
pub use lock::Lock;
pub use memory::Memory;
pub use sqlite::Sqlite;
pub use storage::{Ram, Storage};

use futures::future::BoxFuture;
use midflight_patch::Digest;

use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::Error;

/// Something that the journal is about to do, or is doing.
pub type Pending<T> = BoxFuture<'static, Result<T, Error>>;

/// Which rollouts are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// So many, the newest first.
    Newest(u32),
    /// All that have not ended, the oldest first.
    Open,
}

/// Keeps events, by rollout and sequence number, and blobs, by digest. Shared by all rollouts of a process.
pub trait Journal: Send + Sync {
    /// Adds events of one rollout, all or none; resolved, they survive a crash of the machine. Appends that wait at the same
    /// time share one flush. Events follow the last that is there without a gap: two processes that believe to own a rollout
    /// cannot both write.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::JournalConflict`]. Nothing was added.
    fn append(&self, events: &[Event]) -> Pending<()>;

    /// The events of a rollout after the one numbered `after`, in order, at most `most`; none when there is no such rollout.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::JournalRecord`].
    fn events(&self, rollout: &RolloutId, after: u64, most: usize) -> Pending<Vec<Event>>;

    /// A rollout in short; `None` when there is no such rollout. Reads no events.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::JournalRecord`].
    fn head(&self, rollout: &RolloutId) -> Pending<Option<Head>>;

    /// Rollouts in short. Reads no events.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::JournalRecord`].
    fn heads(&self, which: Which) -> Pending<Vec<Head>>;

    /// Keeps bytes under their digest; resolved, they survive a crash of the machine. Bytes that are there already stay.
    ///
    /// # Errors
    /// [`Error::Journal`].
    fn put_blob(&self, bytes: Vec<u8>) -> Pending<Digest>;

    /// The bytes of a digest, checked against it.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::NoBlob`] when they are not there or are damaged.
    fn blob(&self, digest: Digest) -> Pending<Vec<u8>>;
}

/// Every event of a rollout.
///
/// # Errors
/// What the journal gives, and [`Error::NoSuchRollout`] when there is none.
pub async fn read_all(journal: &dyn Journal, rollout: &RolloutId) -> Result<Vec<Event>, Error> {
    let events = journal.events(rollout, 0, usize::MAX).await?;
    if events.is_empty() {
        return Err(Error::NoSuchRollout {
            rollout: rollout.to_string(),
        });
    }
    Ok(events)
}

/// Bytes that were kept under a digest, or why they cannot be used.
fn checked(digest: Digest, bytes: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let missing = |problem| Error::NoBlob { digest, problem };
    let bytes = bytes.ok_or_else(|| missing("it is not there"))?;
    if Digest::of(&bytes) != digest {
        return Err(missing("it is damaged"));
    }
    Ok(bytes)
}
