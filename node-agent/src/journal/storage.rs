//! Where a journal's bytes lie: an append-only file, or what a test puts in its place. A write is a promise only after
//! `sync` returned; before that, a crash may keep all of it, a part, or nothing.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::error::Error;

/// Bytes that only grow, but for the tail that a crash tore.
pub trait Storage: Send {
    /// Its name, for people.
    fn place(&self) -> String;
    /// Everything from the start.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Writes at the end. After an error a part may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything written or cut so far survives a crash.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts everything from `len` on.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// A file of mode 0600.
pub struct FileStorage {
    path: PathBuf,
    file: File,
}

impl FileStorage {
    /// Opens the file, or makes it; its folder is synced, so that it does not vanish with a crash.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io("open", path))?;
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(Error::io("sync", folder))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }
}

impl Storage for FileStorage {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}
