//! Where the bytes of the journal in memory lie. A write is a promise only after `sync` returned; before that a crash may keep
//! all of it, a part, or nothing: a simulation loses exactly that.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that only grow, but for the tail that a crash tore.
pub trait Storage: Send {
    /// Everything from the start.
    ///
    /// # Errors
    /// Of the medium.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Writes at the end. After an error a part may be there.
    ///
    /// # Errors
    /// Of the medium.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything written or cut so far survives a crash.
    ///
    /// # Errors
    /// Of the medium.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts everything from `len` on.
    ///
    /// # Errors
    /// Of the medium.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// A disk in memory. A handle is cheap; the disk outlives the journal, as a disk outlives a process.
#[derive(Clone, Debug, Default)]
pub struct Ram(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    durable: Vec<u8>,
    pending: Vec<u8>,
    room: Option<usize>,
}

impl Ram {
    /// What a machine finds after a crash, when `kept` bytes of what was not synced had reached the disk.
    #[must_use]
    pub fn crash(&self, kept: usize) -> Self {
        let disk = self.disk();
        let mut durable = disk.durable.clone();
        durable.extend_from_slice(&disk.pending[..kept.min(disk.pending.len())]);
        Self(Arc::new(Mutex::new(Disk {
            durable,
            ..Disk::default()
        })))
    }

    /// How many bytes a crash may lose.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.disk().pending.len()
    }

    /// Leaves room for so many more bytes; `None` for as many as there may be.
    pub fn leave_room(&self, bytes: Option<usize>) {
        self.disk().room = bytes;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Each change is one step, so that a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Ram {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let disk = self.disk();
        Ok([disk.durable.as_slice(), &disk.pending].concat())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let fits = disk.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        disk.pending.extend_from_slice(&bytes[..fits]);
        disk.room = disk.room.map(|room| room - fits);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk();
        let pending = std::mem::take(&mut disk.pending);
        disk.durable.extend(pending);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let durable = disk.durable.len();
        disk.pending.truncate(len.saturating_sub(durable));
        disk.durable.truncate(len);
        Ok(())
    }
}
