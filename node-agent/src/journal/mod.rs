//! The node's journal: one JSON object a line, only ever appended, each carrying the digest of the line before and of
//! itself. `append` returns after fsync, so what it returned for survives a crash; the tail that a crash tore is cut off.
//! It keeps lines in order and whole; what they mean is [`crate::book`]'s.

mod entry;
mod storage;

pub(crate) use entry::micros;
pub use entry::{Entry, FailureNote, OrderNote, Outcome, ResumeNote, RollbackNote, StagedPatch};
use midflight_patch::Digest;
use serde::{Deserialize, Serialize};
pub use storage::{FileStorage, Storage};

use crate::error::Error;

/// One line without its own digest.
#[derive(Serialize)]
struct LineOut<'a> {
    seq: u64,
    time_ns: u64,
    prev: Digest,
    entry: &'a Entry,
}

/// One line as read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineIn {
    seq: u64,
    #[serde(rename = "time_ns")]
    _time_ns: u64,
    prev: Digest,
    entry: Entry,
    sum: Digest,
}

/// The length of `,"sum":"sha256:<64 hex digits>"}`.
const SUM_LEN: usize = 8 + 71 + 2;

/// An open journal.
pub struct Journal {
    storage: Box<dyn Storage>,
    len: u64,
    seq: u64,
    head: Digest,
    closed: bool,
}

/// What was found when a journal was opened.
pub struct Opened {
    /// The journal, ready for more.
    pub journal: Journal,
    /// Its entries with the numbers of their lines.
    pub entries: Vec<(u64, Entry)>,
    /// How many bytes of a torn tail were cut off; 0: none.
    pub torn: u64,
}

impl Journal {
    /// Reads and checks everything, and cuts off a torn tail: a last line that does not end, or is not JSON.
    ///
    /// # Errors
    /// [`Error::JournalCorrupt`] with the first line that is not as it was written, [`Error::JournalWrite`] when it cannot
    /// be read or cut.
    pub fn open(mut storage: Box<dyn Storage>) -> Result<Opened, Error> {
        let place = storage.place();
        let io = |source| Error::JournalWrite {
            place: place.clone(),
            source,
        };
        let bytes = storage.read().map_err(io)?;
        let mut journal = Self {
            storage,
            len: 0,
            seq: 0,
            head: Digest::of(b""),
            closed: false,
        };
        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            let last = end.is_none_or(|end| end + 1 == rest.len());
            // A crash leaves a prefix, or holes of NUL bytes: neither is JSON. A line that is JSON was written whole, and
            // if its digest is wrong somebody altered it.
            if last
                && (end.is_none() || serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err())
            {
                break;
            }
            let entry = journal
                .check(line)
                .map_err(|problem| Error::JournalCorrupt {
                    place: place.clone(),
                    line: number,
                    problem,
                })?;
            entries.push((number, entry));
            journal.len += line.len() as u64 + 1;
            rest = &rest[line.len() + 1..];
        }
        let torn = rest.len() as u64;
        if torn > 0 {
            journal
                .storage
                .truncate(journal.len)
                .and_then(|()| journal.storage.sync())
                .map_err(io)?;
        }
        Ok(Opened {
            journal,
            entries,
            torn,
        })
    }

    /// Checks one line against the chain so far, and moves the chain on.
    fn check(&mut self, line: &[u8]) -> Result<Entry, String> {
        let body = line
            .len()
            .checked_sub(SUM_LEN)
            .map(|at| &line[..at])
            .ok_or("the line is too short")?;
        let read: LineIn = serde_json::from_slice(line)
            .map_err(|error| format!("the line cannot be read: {error}"))?;
        if Digest::of(body) != read.sum || !line.ends_with(sum_of(&read.sum).as_bytes()) {
            return Err("the line was altered: its digest does not fit".to_owned());
        }
        if read.prev != self.head {
            return Err(
                "the line does not follow the one before: a line was removed, added or moved"
                    .to_owned(),
            );
        }
        if read.seq != self.seq + 1 {
            return Err(format!(
                "the line is number {}, and {} was due",
                read.seq,
                self.seq + 1
            ));
        }
        self.seq = read.seq;
        self.head = read.sum;
        Ok(read.entry)
    }

    /// Writes one entry, and returns when it survives a crash.
    ///
    /// # Errors
    /// [`Error::JournalWrite`]: the entry is not in the journal. If even that is not certain, the journal takes no more:
    /// [`Error::JournalClosed`] from then on.
    pub fn append(&mut self, entry: &Entry, time_ns: u64) -> Result<(), Error> {
        let place = self.storage.place();
        if self.closed {
            return Err(Error::JournalClosed { place });
        }
        let line = LineOut {
            seq: self.seq + 1,
            time_ns,
            prev: self.head,
            entry,
        };
        let (bytes, sum) = encode(&line).map_err(|source| Error::JournalWrite {
            place: place.clone(),
            source,
        })?;
        let written = self
            .storage
            .append(&bytes)
            .and_then(|()| match mutant!(agent_no_fsync) {
                true => Ok(()),
                false => self.storage.sync(),
            });
        if let Err(source) = written {
            // After a failed fsync the kernel may have dropped the pages: only a cut that is itself synced makes sure.
            let cut = self
                .storage
                .truncate(self.len)
                .and_then(|()| self.storage.sync());
            self.closed = cut.is_err();
            return Err(Error::JournalWrite { place, source });
        }
        self.len += bytes.len() as u64;
        self.seq += 1;
        self.head = sum;
        Ok(())
    }

    /// Takes no more entries.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// How many entries it holds.
    pub fn entries(&self) -> u64 {
        self.seq
    }

    /// The storage's name, for people.
    pub fn place(&self) -> String {
        self.storage.place()
    }
}

fn encode(line: &LineOut<'_>) -> std::io::Result<(Vec<u8>, Digest)> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.pop();
    let sum = Digest::of(&bytes);
    bytes.extend_from_slice(sum_of(&sum).as_bytes());
    bytes.push(b'\n');
    Ok((bytes, sum))
}

fn sum_of(sum: &Digest) -> String {
    format!(",\"sum\":\"{sum}\"}}")
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
