//! The files that are in use, each read when it is first needed and again when it has changed, and what they say
//! together about one name: the user's files first, then the machine's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::file::{Lines, Stamp};
use super::line::Entry;
use super::revoked::Revoked;
use crate::config::Resolved;
use crate::error::{Error, Place};

/// The files that were read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    lines: Mutex<HashMap<PathBuf, Arc<RwLock<Lines>>>>,
    revoked: Mutex<HashMap<PathBuf, Arc<Revoked>>>,
}

/// An entry about a name, and where it stands.
pub(crate) type Found = (Entry, Place);

impl Files {
    /// A `known_hosts` file as it is now.
    pub(crate) fn lines(&self, path: &Path) -> Result<Arc<RwLock<Lines>>, Error> {
        // Whoever comes while a file is read waits for the one reading.
        let mut files = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let metadata = std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file);
        let now = metadata.map(|m| Stamp::of(&m));
        if let Some(lines) = files.get(path) {
            let stamp = lines.read().unwrap_or_else(PoisonError::into_inner).stamp;
            if stamp == now {
                return Ok(Arc::clone(lines));
            }
        }
        let lines = Arc::new(RwLock::new(Lines::read(&Arc::from(path))?));
        files.insert(path.to_owned(), Arc::clone(&lines));
        Ok(lines)
    }

    /// A `RevokedHostKeys` file as it is now.
    pub(crate) fn revoked(&self, path: &Path) -> Result<Arc<Revoked>, Error> {
        let unreadable = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut files = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::of(&std::fs::metadata(path).map_err(unreadable)?);
        if let Some(revoked) = files.get(path).filter(|revoked| revoked.stamp == now) {
            return Ok(Arc::clone(revoked));
        }
        let revoked = Arc::new(Revoked::read(path)?);
        files.insert(path.to_owned(), Arc::clone(&revoked));
        Ok(revoked)
    }

    /// What the files of a host say about a name.
    pub(crate) fn view(&self, to: &Resolved, name: impl Into<String>) -> Result<View, Error> {
        let paths = to.user_known_hosts.iter().chain(&to.global_known_hosts);
        let files = paths
            .map(|path| self.lines(path))
            .collect::<Result<_, _>>()?;
        Ok(View {
            files,
            name: name.into(),
        })
    }
}

/// The entries about a name.
pub(crate) struct View {
    files: Vec<Arc<RwLock<Lines>>>,
    /// The name.
    pub(crate) name: String,
}

impl View {
    /// The first entry that is wanted.
    pub(crate) fn first(&self, wanted: impl Fn(&Entry) -> bool) -> Option<Found> {
        self.files.iter().find_map(|lines| {
            let lines = lines.read().unwrap_or_else(PoisonError::into_inner);
            let entry = lines.first(&self.name, &wanted)?;
            Some((entry.clone(), lines.place(entry.line)))
        })
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for lines in &self.files {
            let lines = lines.read().unwrap_or_else(PoisonError::into_inner);
            found.extend(
                lines
                    .about(&self.name)
                    .map(|entry| (entry.clone(), lines.place(entry.line))),
            );
        }
        found
    }

    /// The first line of the files, about whichever name, that cannot be understood, and why.
    pub(crate) fn broken(&self) -> Option<(Place, &'static str)> {
        self.files.iter().find_map(|lines| {
            let lines = lines.read().unwrap_or_else(PoisonError::into_inner);
            lines.broken.map(|(line, why)| (lines.place(line), why))
        })
    }
}
