//! Disks in memory below both journals. What was written and not synced is lost in a crash, all of it or a part; a crash may
//! also come in the middle of a write, before or after its sync. A disk outlives the processes that write to it, and what a
//! dead process still writes goes nowhere.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::chance::Chance;

/// One disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Inner>>);

struct Inner {
    durable: Vec<u8>,
    pending: Vec<u8>,
    /// Counts the processes that had it; only the last may write.
    process: u64,
    chance: Chance,
    /// Of a thousand syncs, so many end in a crash.
    per_mille: u64,
    /// What is to be told when a write ends in a crash.
    crashed: Arc<tokio::sync::Notify>,
}

/// Is shown every line as it is written.
type Watch = Box<dyn Fn(&[u8]) + Send>;

/// The disk as one process has it.
pub struct Handle {
    disk: Disk,
    process: u64,
    watch: Watch,
    /// Ends the process when a write ends in a crash.
    kill: Box<dyn Fn() + Send>,
}

impl Disk {
    /// An empty one, whose writes end in a crash by chance.
    pub fn new(chance: Chance, per_mille: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            durable: Vec::new(),
            pending: Vec::new(),
            process: 0,
            chance,
            per_mille,
            crashed: Arc::default(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// For a new process; the one before writes no more.
    pub fn open(
        &self,
        watch: impl Fn(&[u8]) + Send + 'static,
        kill: impl Fn() + Send + 'static,
    ) -> Handle {
        let mut inner = self.inner();
        inner.process += 1;
        Handle {
            disk: self.clone(),
            process: inner.process,
            watch: Box::new(watch),
            kill: Box::new(kill),
        }
    }

    /// The process that had it is gone. Of what was not synced a part may have reached the disk.
    pub fn crash(&self) {
        let mut inner = self.inner();
        inner.process += 1;
        let pending = std::mem::take(&mut inner.pending);
        if !pending.is_empty() {
            let kept = inner.chance.index(pending.len() + 1);
            inner.durable.extend_from_slice(&pending[..kept]);
        }
    }

    /// Is told when a write ended in a crash.
    pub fn crashed(&self) -> Arc<tokio::sync::Notify> {
        self.inner().crashed.clone()
    }

    /// What survives a crash.
    pub fn durable(&self) -> Vec<u8> {
        self.inner().durable.clone()
    }

    /// No write ends in a crash any more.
    pub fn calm(&self) {
        self.inner().per_mille = 0;
    }
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.inner();
        if inner.process != self.process {
            return Err(io::Error::other("the process is dead"));
        }
        work(&mut inner)
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.with(|inner| Ok([inner.durable.as_slice(), &inner.pending].concat()))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|inner| {
            inner.pending.extend_from_slice(bytes);
            Ok(())
        })?;
        // Shown with the write and not with the sync: what a process does after a write that is not durable is looked at too.
        (self.watch)(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let crashed = self.with(|inner| {
            let crashes = inner.chance.below(1000) < inner.per_mille;
            if crashes && inner.chance.percent(50) {
                inner.process += 1;
            }
            let before = inner.process != self.process;
            if !before {
                let pending = std::mem::take(&mut inner.pending);
                inner.durable.extend(pending);
            }
            if crashes {
                inner.process = self.process + 1;
                inner.crashed.notify_one();
            }
            Ok(crashes)
        });
        if crashed? {
            (self.kill)();
            return Err(io::Error::other("power failed"));
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.with(|inner| {
            let len = len as usize;
            let durable = inner.durable.len();
            inner.pending.truncate(len.saturating_sub(durable));
            inner.durable.truncate(len);
            Ok(())
        })
    }
}

impl midflight_controller::journal::Storage for Handle {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.read()
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync()
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.truncate(len)
    }
}

impl midflight_agent::embed::Storage for Handle {
    fn place(&self) -> String {
        "a disk in memory".to_owned()
    }
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.read()
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync()
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.truncate(len)
    }
}
