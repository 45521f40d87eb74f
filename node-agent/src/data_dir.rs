//! The data directory: made with mode 0700, and claimed by one agent at a time for as long as the claim lives.

use std::{
    fs::{self, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::error::Error;

/// Makes a data directory of mode 0700, if there is none.
///
/// # Errors
/// [`Error::Io`].
pub fn make(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(Error::io("create", path))
}

/// A directory that no other agent uses.
pub struct DataDir {
    path: PathBuf,
    /// The lock ends with the file.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, and claims it.
    ///
    /// # Errors
    /// [`Error::DataDirInUse`] and [`Error::Io`].
    pub fn claim(path: &Path) -> Result<Self, Error> {
        make(path)?;
        let lock = path.join("lock");
        let file = File::create(&lock).map_err(Error::io("create", &lock))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: file,
            }),
            Err(Errno::WOULDBLOCK) => Err(Error::DataDirInUse {
                path: path.to_owned(),
            }),
            Err(error) => Err(Error::io("lock", lock)(error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
