//! Writing keys and certificates: whole or not at all, private ones for their owner alone from the first byte on.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::Error;

/// Refuses when one of the files is there, so that nothing is half written.
pub(super) fn check_absent(paths: &[&Path], force: bool) -> Result<(), Error> {
    match paths.iter().find(|path| path.exists()) {
        Some(path) if !force => Err(Error::Exists {
            path: path.to_path_buf(),
        }),
        _ => Ok(()),
    }
}

/// Writes a file by way of a temporary one beside it.
pub(super) fn write(path: &Path, bytes: &[u8], private: bool) -> Result<(), Error> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(Error::io("create", folder))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mode = if private { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .map_err(Error::io("create", &temporary))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| {
            // What is left of it holds no secret that its owner does not have.
            let _ = fs::remove_file(&temporary);
            Error::io("write", path)(error)
        })
}
