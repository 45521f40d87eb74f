//! Files: bounded reads, and writes that leave either the old file or the whole new one, also after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::Error;
use crate::limits;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64, what: &str) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file at the limit from one beyond it, also when its length cannot be asked.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io("read", path, error))?;
    limits::check(&path.display().to_string(), what, bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// Reads a text of at most [`limits::TEXT`] bytes.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = read(path, limits::TEXT, "its size in bytes")?;
    String::from_utf8(bytes).map_err(|error| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error());
        Error::io("read as UTF-8", path, error)
    })
}

/// Writes `path` by way of a new file beside it: written, synced, renamed, and the folder synced.
pub(crate) fn write_atomic(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Error> {
    let failed = |error| Error::io("write", path, error);
    let name = path
        .file_name()
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let temporary = folder.join(format!(
        ".{}.{}.tmp",
        name.to_string_lossy(),
        hex::encode(random)
    ));

    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        fill(&mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // The first error is the one to report; that nothing could be removed is often its consequence.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}
