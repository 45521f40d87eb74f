//! A storage for tests that loses what was not synced when it "crashes", and fails at a step of one's choice.

use std::{io, sync::Arc};

use parking_lot::Mutex;

use super::Storage;

/// The disk: what survives, what may not, and how many operations are left before the machine stops.
#[derive(Default)]
pub struct Disk {
    durable: Vec<u8>,
    pending: Vec<u8>,
    /// None: no end.
    pub left: Option<usize>,
}

/// A handle to a disk; the disk outlives it, as a disk outlives a process.
#[derive(Clone, Default)]
pub struct Volatile(pub Arc<Mutex<Disk>>);

impl Volatile {
    /// What a machine finds after a crash, when `kept` bytes of what was not synced had reached the disk.
    pub fn crash(&self, kept: usize) -> Self {
        let disk = self.0.lock();
        let mut durable = disk.durable.clone();
        durable.extend_from_slice(&disk.pending[..kept.min(disk.pending.len())]);
        Self(Arc::new(Mutex::new(Disk {
            durable,
            pending: Vec::new(),
            left: None,
        })))
    }

    /// How many bytes are not synced.
    pub fn pending(&self) -> usize {
        self.0.lock().pending.len()
    }

    /// Changes what survives.
    pub fn alter(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.0.lock().durable);
    }
}

impl Disk {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the machine stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Storage for Volatile {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let disk = self.0.lock();
        Ok([disk.durable.as_slice(), &disk.pending].concat())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        disk.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        let pending = std::mem::take(&mut disk.pending);
        disk.durable.extend(pending);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.step()?;
        let len = usize::try_from(len).unwrap();
        let durable = disk.durable.len();
        disk.pending.truncate(len.saturating_sub(durable));
        disk.durable.truncate(len);
        Ok(())
    }
}
