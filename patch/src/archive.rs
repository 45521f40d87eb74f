//! The tar file that holds an OCI layout. Writing gives the same bytes for the same content. Reading is for files from
//! anywhere: bounded, regular files of the expected names only, each once, two zero blocks at the end and nothing after.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use tar::{Archive, EntryType, Header};

use crate::digest::Digest;
use crate::error::{Error, cut, printable};
use crate::limits;

/// Where blobs are in a layout.
pub(crate) const BLOBS: &str = "blobs/sha256/";
/// The file that tells the layout's version.
pub(crate) const LAYOUT: &str = "oci-layout";
/// The file that names the image manifest.
pub(crate) const INDEX: &str = "index.json";

const BLOCK: u64 = 512;

/// Most bytes of a file: the blobs, and room for headers, documents and signatures.
const MOST_BYTES: u64 = limits::TOTAL + (8 << 20);

/// Most entries: blobs, the two documents, the image manifest, the manifest, and three folders.
const MOST_ENTRIES: u64 = limits::MODULES + limits::SIGNATURES + 7;

/// An entry of a layout: where its header starts in the file, and its bytes.
pub(crate) struct Entry {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Writes the entries in the order of their names, with everything that differs between machines set to nothing.
pub(crate) fn write<B: AsRef<[u8]>>(
    entries: &BTreeMap<String, B>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    for (path, bytes) in entries {
        let bytes = bytes.as_ref();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path(path)?;
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        builder.append(&header, bytes)?;
    }
    builder.into_inner()?.flush()
}

/// Reads all entries. What the names mean and whether blobs are what they are called is for the caller to check.
pub(crate) fn read(reader: impl Read, file: &str) -> Result<BTreeMap<String, Entry>, Error> {
    let mut input = Bounded {
        inner: reader,
        read: 0,
    };
    let result = read_entries(&mut input, file);
    // A read past the bound surfaces as some error of the archive reader; the bound is what the person needs to hear of.
    limits::check(file, "the file's size in bytes", input.read, MOST_BYTES)?;
    let (entries, end) = result?;
    check_end(&mut input, end, file)?;
    Ok(entries)
}

/// The entries, and where the last one ends.
fn read_entries<R: Read>(
    input: &mut Bounded<R>,
    file: &str,
) -> Result<(BTreeMap<String, Entry>, u64), Error> {
    let mut archive = Archive::new(input);
    let mut end = 0;
    let mut seen = BTreeSet::new();
    let mut found = BTreeMap::new();
    for entry in archive.entries().map_err(|error| broken(file, 0, &error))? {
        let mut entry = entry.map_err(|error| broken(file, end, &error))?;
        let offset = entry.raw_header_position();
        let refuse = |problem: String| Error::Layout {
            file: file.to_owned(),
            offset,
            problem,
        };
        let size = entry.size();
        end = entry
            .raw_file_position()
            .saturating_add(size.next_multiple_of(BLOCK));

        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| refuse("an entry's name is not UTF-8".to_owned()))?;
        let shown = cut(&path, 100);
        if !seen.insert(path.clone()) {
            return Err(refuse(format!("entry {shown:?} comes twice")));
        }
        limits::check(
            file,
            "the number of entries",
            seen.len() as u64,
            MOST_ENTRIES,
        )?;
        match entry.header().entry_type() {
            EntryType::Directory
                if matches!(path.as_str(), "blobs" | "blobs/" | "blobs/sha256" | BLOBS)
                    && size == 0 =>
            {
                continue;
            }
            EntryType::Regular => {}
            other => {
                let problem = format!(
                    "entry {shown:?} is of type {other:?}; a bundle holds regular files only"
                );
                return Err(refuse(problem));
            }
        }
        let most = match path.as_str() {
            LAYOUT | INDEX => limits::MANIFEST,
            _ if path
                .strip_prefix(BLOBS)
                .is_some_and(|hex| Digest::from_hex(hex).is_some()) =>
            {
                limits::BLOB
            }
            _ => {
                return Err(refuse(format!(
                    "entry {shown:?} does not belong in a bundle"
                )));
            }
        };
        limits::check(
            file,
            &format!("the size of entry {shown:?} in bytes"),
            size,
            most,
        )?;

        let mut bytes = Vec::new();
        entry
            .read_to_end(&mut bytes)
            .map_err(|error| broken(file, offset, &error))?;
        if bytes.len() as u64 != size {
            let problem = format!(
                "entry {shown:?} has {size} bytes, but the file ends after {} of them: it is truncated",
                bytes.len()
            );
            return Err(refuse(problem));
        }
        found.insert(path, Entry { offset, bytes });
    }
    Ok((found, end))
}

/// The archive reader stops at the first zero block, or where the file stops. A whole file has two such blocks, and after
/// them nothing but the zeros with which tar fills its last record.
fn check_end<R: Read>(input: &mut Bounded<R>, end: u64, file: &str) -> Result<(), Error> {
    let mut block = [0; BLOCK as usize];
    loop {
        let start = input.read;
        let count = match input.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                limits::check(file, "the file's size in bytes", input.read, MOST_BYTES)?;
                return Err(broken(file, start, &error));
            }
        };
        if let Some(index) = block[..count].iter().position(|byte| *byte != 0) {
            let problem = "there is more after the end of the archive".to_owned();
            return Err(Error::Layout {
                file: file.to_owned(),
                offset: start + index as u64,
                problem,
            });
        }
    }
    if input.read < end.saturating_add(2 * BLOCK) {
        let problem =
            "the file ends before the end of the archive; it is truncated, or not a bundle"
                .to_owned();
        return Err(Error::Layout {
            file: file.to_owned(),
            offset: input.read,
            problem,
        });
    }
    Ok(())
}

fn broken(file: &str, offset: u64, error: &io::Error) -> Error {
    let problem = format!(
        "this is no whole tar archive ({}); it is truncated, altered, or not a bundle",
        printable(&error.to_string())
    );
    Error::Layout {
        file: file.to_owned(),
        offset,
        problem,
    }
}

/// A reader that counts, and fails once it has passed the bound.
struct Bounded<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read > MOST_BYTES {
            return Err(io::Error::other("the file is too long"));
        }
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}
