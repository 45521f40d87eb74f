//! Adding a host to a `known_hosts` file.
//!
//! The lines are written in one piece at the end of the file, under a lock that other Midflight processes take too, and
//! never into the middle of a line that somebody else left unfinished. `ssh` takes no lock, and appends in one piece as
//! well.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::file::Stamp;

/// Appends lines that end with a line feed. Returns what the file was before and is now; `None` for the first when there
/// was none, and for the second when it is no regular file.
pub(crate) fn append(path: &Path, lines: &str) -> io::Result<(Option<Stamp>, Option<Stamp>)> {
    // As `ssh` does for ~/.ssh: a folder for its user alone.
    if let Some(folder) = path
        .parent()
        .filter(|folder| folder.ends_with(".ssh") && !folder.exists())
    {
        std::fs::DirBuilder::new().mode(0o700).create(folder)?;
    }
    let existed = path.exists();
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if !file.metadata()?.is_file() {
        file.write_all(lines.as_bytes())?;
        return Ok((None, None));
    }
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    let metadata = file.metadata()?;
    let before = existed.then(|| Stamp::of(&metadata));
    let text = match metadata.len() > 0 && !ends_with_line_feed(&mut file)? {
        true => format!("\n{lines}"),
        false => lines.to_owned(),
    };
    file.write_all(text.as_bytes())?;
    let after = Stamp::of(&file.metadata()?);
    Ok((before, Some(after)))
}

fn ends_with_line_feed(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
