//! Reading the files of an inventory, bounded together, each kept so that errors can show its lines.
//!
//! It reads bytes and checks that they are text; what they mean is for the readers of formats. Nothing is read twice, and
//! no more than [`limits::FILE_BYTES`] in all.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::limits;
use crate::place::{Place, Position, Source, Spot};

/// The texts that make up one inventory.
#[derive(Debug)]
pub(crate) struct Files {
    /// Each with the file that it is, or that has printed it.
    sources: Vec<(Arc<Source>, Option<PathBuf>)>,
    left: u64,
    folders: usize,
}

impl Default for Files {
    fn default() -> Self {
        Files {
            sources: Vec::new(),
            left: limits::FILE_BYTES,
            folders: 0,
        }
    }
}

impl Files {
    /// Reads a file as UTF-8; the number is that of its spots.
    pub(crate) fn read(&mut self, path: &Path) -> Result<(u32, Arc<Source>), Error> {
        let source = source(path, self.left)?;
        Ok(self.take(source, path))
    }

    /// Takes in a text that is in no file.
    pub(crate) fn add(&mut self, source: Source) -> (u32, Arc<Source>) {
        self.keep(source, None)
    }

    /// Takes in a text that a file has in it or has printed, and counts it.
    pub(crate) fn take(&mut self, source: Source, path: &Path) -> (u32, Arc<Source>) {
        self.left = self.left.saturating_sub(source.text.len() as u64);
        self.keep(source, Some(path.to_owned()))
    }

    fn keep(&mut self, source: Source, path: Option<PathBuf>) -> (u32, Arc<Source>) {
        let source = Arc::new(source);
        self.sources.push((Arc::clone(&source), path));
        ((self.sources.len() - 1) as u32, source)
    }

    /// The folder of the file that a source is, from the root of the file system on.
    pub(crate) fn folder(&self, source: u32) -> Option<String> {
        let (_, path) = self.sources.get(source as usize)?;
        let path = std::path::absolute(path.as_ref()?).ok()?;
        Some(path.parent()?.to_string_lossy().into_owned())
    }

    /// Bytes that may still be read.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// What is in a folder, in the order of the names' bytes. Links can make folders contain each other without end, so
    /// that there may be [`limits::FOLDERS`] in all.
    pub(crate) fn list(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let unreadable = |source| Error::Read {
            path: folder.to_owned(),
            source,
        };
        self.folders += 1;
        if self.folders > limits::FOLDERS {
            let reason = format!("more than {} folders; do links lead back?", limits::FOLDERS);
            return Err(unreadable(std::io::Error::other(reason)));
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.sort();
        Ok(paths)
    }

    /// What an error shows of a spot.
    pub(crate) fn place(&self, spot: Spot) -> Box<Place> {
        self.sources[spot.source as usize].0.place(spot.pos)
    }

    /// Where a spot is, and no more.
    pub(crate) fn position(&self, spot: Spot) -> Position {
        self.sources[spot.source as usize].0.position_of(spot.pos)
    }

    /// What an error shows of a place so many characters into a scalar.
    pub(crate) fn place_in(&self, spot: Spot, scalar: &str, offset: usize) -> Box<Place> {
        self.sources[spot.source as usize]
            .0
            .place_in(spot.pos, scalar, offset)
    }
}

/// Reads a file of at most `limit` bytes as UTF-8.
pub(crate) fn source(path: &Path, limit: u64) -> Result<Source, Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let too_large = || Error::FileTooLarge {
        path: path.to_owned(),
        limit: limits::FILE_BYTES,
    };
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // The size of a pipe or a device is not known before: one byte more than allowed tells.
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    let name = path.to_string_lossy();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(&name, text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let mut bytes = error.into_bytes();
            // What follows the first bad byte is shown, and only as much as an error shows.
            let shown = bytes.len().min(valid + 200);
            let rest = String::from_utf8_lossy(&bytes[valid..shown]).into_owned();
            bytes.truncate(valid);
            // Valid up to here by `valid_up_to`, so nothing is lost.
            let mut text = String::from_utf8(bytes).unwrap_or_default();
            let pos = Source::position(&text);
            text.push_str(&rest);
            Err(Error::NotUtf8 {
                at: Source::new(&name, text).place(pos),
            })
        }
    }
}
