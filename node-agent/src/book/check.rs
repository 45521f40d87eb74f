//! Whether bytes are a journal that an agent would start from: nothing is written, and no agent is needed. What it finds is what
//! an agent that opens the same bytes finds.

use std::{io, sync::Arc};

use super::Book;
use crate::{clock::Machine, error::Error, journal::Storage};

/// How many entries these bytes hold, a torn tail left out.
///
/// # Errors
/// [`Error::JournalCorrupt`] with the first line that is not as it was written, or cannot follow those before it.
pub fn check_journal(bytes: &[u8]) -> Result<u64, Error> {
    let (book, _) = Book::open(Box::new(Copy(bytes.to_vec())), Arc::new(Machine))?;
    let entries = book.journal.lock().entries();
    Ok(entries)
}

/// Bytes to be read: a tail can be cut off, nothing can be written.
struct Copy(Vec<u8>);

impl Storage for Copy {
    fn place(&self) -> String {
        "these bytes".to_owned()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn append(&mut self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }
}
