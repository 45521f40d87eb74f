//! The node's memory: the journal and the state that it adds up to. `record` writes an entry, and returns the new state
//! once the entry survives a crash; readers get snapshots and never wait for a disk.

mod check;
mod state;

use std::sync::Arc;

pub use check::check_journal;
use parking_lot::{Mutex, RwLock};
pub use state::{NamedRelease, Record, Span, Stand, State};

use crate::{
    clock::{Clock, wall_ns},
    error::Error,
    journal::{Entry, Journal, Storage},
};

/// Journal and state, shared by everything in the agent.
pub struct Book {
    journal: Mutex<Journal>,
    state: RwLock<Arc<State>>,
    /// For the lines' timestamps.
    clock: Arc<dyn Clock>,
}

impl Book {
    /// Reads the journal. The second value is how many bytes of a torn tail were cut off.
    ///
    /// # Errors
    /// Those of [`Journal::open`], and [`Error::JournalCorrupt`] for an entry that cannot follow those before it.
    pub fn open(storage: Box<dyn Storage>, clock: Arc<dyn Clock>) -> Result<(Self, u64), Error> {
        let opened = Journal::open(storage)?;
        let mut state = State::default();
        for (line, entry) in &opened.entries {
            state
                .apply(entry)
                .map_err(|problem| Error::JournalCorrupt {
                    place: opened.journal.place(),
                    line: *line,
                    problem,
                })?;
        }
        Ok((
            Self {
                journal: Mutex::new(opened.journal),
                state: RwLock::new(Arc::new(state)),
                clock,
            },
            opened.torn,
        ))
    }

    /// The state as of the last entry.
    pub fn state(&self) -> Arc<State> {
        self.state.read().clone()
    }

    /// Writes an entry, and returns when it survives a crash. Blocks for the disk.
    ///
    /// # Errors
    /// Those of [`Journal::append`], and [`Error::JournalCorrupt`] for an entry that cannot follow (a defect); then nothing
    /// was written.
    pub fn record(&self, entry: &Entry) -> Result<Arc<State>, Error> {
        self.decide(|_| Ok(Some(entry.clone())))
    }

    /// Writes the entry that `decide` finds right, in one step: nothing else is written between the look and the entry. Of
    /// two decisions that exclude each other, the second one sees the first.
    ///
    /// # Errors
    /// What `decide` says, and those of [`Book::record`]; then nothing was written.
    pub fn decide(
        &self,
        decide: impl FnOnce(&State) -> Result<Option<Entry>, Error>,
    ) -> Result<Arc<State>, Error> {
        let mut journal = self.journal.lock();
        let state = self.state();
        let Some(entry) = &decide(&state)? else {
            return Ok(state);
        };
        let mut next = State::clone(&state);
        next.apply(entry).map_err(|problem| Error::JournalCorrupt {
            place: journal.place(),
            line: journal.entries() + 1,
            problem,
        })?;
        journal.append(entry, wall_ns(&*self.clock))?;
        let next = Arc::new(next);
        *self.state.write() = next.clone();
        Ok(next)
    }

    /// Writes how something ended that has already happened. When the journal cannot take it, the state holds it all the
    /// same, and the journal is closed: a restart then boots what was promised last.
    pub fn note(&self, entry: &Entry) {
        let Err(error) = self.record(entry) else {
            return;
        };
        tracing::error!(
            error = error.chain(),
            ?entry,
            "an outcome is not in the journal, which takes no more entries"
        );
        let mut journal = self.journal.lock();
        journal.close();
        let mut next = State::clone(&self.state.read());
        if let Err(problem) = next.apply(entry) {
            tracing::error!(problem, "the outcome does not follow from what was before");
        }
        *self.state.write() = Arc::new(next);
    }

    /// Drops staged patches from memory whose blobs were collected.
    pub fn forget_staged(&self, keep: impl Fn(&midflight_patch::Digest) -> bool) {
        let _journal = self.journal.lock();
        let mut next = State::clone(&self.state.read());
        next.staged.retain(|patch, _| keep(patch));
        *self.state.write() = Arc::new(next);
    }
}

#[cfg(test)]
mod tests;
