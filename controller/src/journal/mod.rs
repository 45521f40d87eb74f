//! Where events are kept: a narrow trait, SQLite behind it for real, memory for tests. What `append` returned from is on the
//! disk. The journal knows nothing of what events mean.

mod lock;
mod memory;
mod sqlite;

pub use lock::Lock;
pub use memory::Memory;
pub use sqlite::Sqlite;

use crate::engine::event::Event;
use crate::engine::id::RolloutId;
use crate::error::Error;

/// Keeps events, by rollout and sequence number.
pub trait Journal: Send {
    /// Adds events, all or none; when it returns, they survive a crash of the machine.
    ///
    /// # Errors
    /// [`Error::Journal`]; also when an event of that rollout and number is there already.
    fn append(&mut self, events: &[Event]) -> Result<(), Error>;

    /// The events of a rollout after `cursor`, in order; 0 for all. Empty when there is no such rollout.
    ///
    /// # Errors
    /// [`Error::Journal`], [`Error::JournalRecord`].
    fn read(&self, rollout: &RolloutId, cursor: u64) -> Result<Vec<Event>, Error>;

    /// The newest rollouts, newest first, at most `most`.
    ///
    /// # Errors
    /// [`Error::Journal`].
    fn rollouts(&self, most: u32) -> Result<Vec<RolloutId>, Error>;
}
