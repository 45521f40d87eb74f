//! Who runs a rollout: a lock on a file beside the journal, held for as long as the process lives. The operating system frees
//! it when the process dies, however it dies, so that a lock that can be had means a rollout that nobody runs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::engine::id::RolloutId;
use crate::error::Error;

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of a rollout; `None` when a process holds it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn take(journal: &Path, rollout: &RolloutId) -> Result<Option<Self>, Error> {
        use std::os::unix::fs::OpenOptionsExt as _;

        let folder = Self::folder(journal);
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let path = folder.join(rollout.as_str());
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file, path })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(Error::io("lock", &path)(errno.into())),
        }
    }

    /// The folder beside a journal that holds locks, and the sockets of those who hold them.
    #[must_use]
    pub fn folder(journal: &Path) -> PathBuf {
        let mut name = journal.file_name().unwrap_or_default().to_owned();
        name.push(".locks");
        journal.with_file_name(name)
    }

    /// Whether a process holds the lock of a rollout.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_held(journal: &Path, rollout: &RolloutId) -> Result<bool, Error> {
        let path = Self::folder(journal).join(rollout.as_str());
        match File::open(&path) {
            // Shared, so that two that look at the same time do not take each other for the owner.
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => Ok(false),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
                Err(errno) => Err(Error::io("lock", &path)(errno.into())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("open", &path)(error)),
        }
    }

    /// Frees the lock and removes its file: for a rollout that is over.
    pub fn finish(self) {
        // A file that stays is empty and does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_had_once_and_is_free_after_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, id) = (folder.path().join("journal.db"), "r-1".parse().unwrap());
        assert!(!Lock::is_held(&journal, &id).unwrap());
        let lock = Lock::take(&journal, &id).unwrap().unwrap();
        assert!(Lock::is_held(&journal, &id).unwrap());
        assert!(Lock::take(&journal, &id).unwrap().is_none());
        drop(lock);
        assert!(!Lock::is_held(&journal, &id).unwrap());
        Lock::take(&journal, &id).unwrap().unwrap().finish();
    }
}
