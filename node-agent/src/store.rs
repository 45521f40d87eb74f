//! Blobs by digest: `blobs/<hex>` are complete and checked, `partial/<hex>` are on their way. A blob appears under its name
//! only after its bytes are on disk and their digest is right, and its digest is checked again whenever it is read. It
//! knows nothing of patches; what may be collected, its caller says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use midflight_patch::Digest;
use parking_lot::Mutex;

use crate::error::Error;

/// How long an unfinished blob is kept for its sender to go on.
const PARTIAL_AGE: Duration = Duration::from_secs(24 * 3600);

/// The blobs of one node, wherever they lie. Errors are those of `Store`.
pub trait Blobs: Send + Sync + 'static {
    /// Whether the complete blob is here.
    fn has(&self, digest: &Digest) -> bool;
    /// How many bytes of a blob of `size` bytes are here.
    fn received(&self, digest: &Digest, size: u64) -> u64;
    /// Adds bytes at `offset` of a blob that will have `size` bytes; with the last of them it is checked and complete.
    fn append(&self, digest: &Digest, size: u64, offset: u64, data: &[u8]) -> Result<(), Error>;
    /// Stores a whole blob at once.
    fn put(&self, data: &[u8]) -> Result<Digest, Error>;
    /// A blob's bytes, checked.
    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, Error>;
    /// Removes the complete blobs that are neither in `needed` nor held. Gives their number.
    fn collect(&self, needed: &BTreeSet<Digest>) -> Result<usize, Error>;
    /// Keeps a blob from being collected, once for each call.
    fn hold(&self, blob: &Digest);
    /// Ends one hold.
    fn let_go(&self, blob: &Digest);
}

/// The blobs of one node, as files.
pub struct Store {
    blobs: PathBuf,
    partial: PathBuf,
    /// Blobs that are being staged, with how many stages hold each. Also serialises writes.
    pins: Mutex<BTreeMap<Digest, usize>>,
}

/// Keeps blobs from being collected while it lives.
pub struct Pin {
    store: Arc<dyn Blobs>,
    blobs: Vec<Digest>,
}

/// Keeps these blobs from being collected.
pub fn pin(store: &Arc<dyn Blobs>, blobs: Vec<Digest>) -> Pin {
    blobs.iter().for_each(|blob| store.hold(blob));
    Pin {
        store: store.clone(),
        blobs,
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.blobs.iter().for_each(|blob| self.store.let_go(blob));
    }
}

impl Store {
    /// Opens the store under a data directory, and makes its folders (mode 0700).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let (blobs, partial) = (data_dir.join("blobs"), data_dir.join("partial"));
        for folder in [&blobs, &partial] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(Error::io("create", folder))?;
        }
        sync_folder(data_dir)?;
        Ok(Self {
            blobs,
            partial,
            pins: Mutex::new(BTreeMap::new()),
        })
    }
}

impl Blobs for Store {
    /// Whether the complete blob is here.
    fn has(&self, digest: &Digest) -> bool {
        self.blobs.join(digest.hex()).is_file()
    }

    /// How many bytes of a blob of `size` bytes are here.
    fn received(&self, digest: &Digest, size: u64) -> u64 {
        if self.has(digest) {
            return size;
        }
        fs::metadata(self.partial.join(digest.hex())).map_or(0, |found| found.len())
    }

    /// Adds bytes at `offset` of a blob that will have `size` bytes; with the last of them it is checked and complete.
    ///
    /// # Errors
    /// [`Error::Chunk`] for an offset that is not what is here or bytes beyond `size`, [`Error::DigestMismatch`] when it is
    /// complete and other bytes (they are dropped), [`Error::DiskFull`] and [`Error::Io`]; then the chunk is not here.
    fn append(&self, digest: &Digest, size: u64, offset: u64, data: &[u8]) -> Result<(), Error> {
        let pins = self.pins.lock();
        let bad = |problem| Error::Chunk {
            digest: digest.to_string(),
            offset,
            problem,
        };
        let have = self.received(digest, size);
        if offset != have {
            return Err(bad(format!("{have} bytes are on the node")));
        }
        if data.is_empty() && self.has(digest) {
            return Ok(());
        }
        if data.len() as u64 > size - have {
            return Err(bad(format!(
                "its {} bytes go beyond the blob's size of {size}",
                data.len()
            )));
        }
        let path = self.partial.join(digest.hex());
        let mut file = self.create(&path)?;
        if let Err(source) = file.write_all(data) {
            // The next chunk goes on at the last good byte; should even this fail, its offset check notices.
            let _ = file.set_len(have);
            return Err(self.write_error(digest, &path, source));
        }
        if have + data.len() as u64 == size {
            self.complete(digest, &path, &file)?;
        }
        drop(pins);
        Ok(())
    }

    /// Stores a whole blob at once.
    ///
    /// # Errors
    /// [`Error::DiskFull`] and [`Error::Io`]; then nothing of it is here.
    fn put(&self, data: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(data);
        let _pins = self.pins.lock();
        if self.has(&digest) {
            return Ok(digest);
        }
        let path = self.partial.join(digest.hex());
        let mut file = self.create(&path)?;
        let written = file.set_len(0).and_then(|()| file.write_all(data));
        if let Err(source) = written {
            let _ = fs::remove_file(&path); // only to save space: what is there has no digest and is never read
            return Err(self.write_error(&digest, &path, source));
        }
        self.complete(&digest, &path, &file)?;
        Ok(digest)
    }

    /// A blob's bytes, checked.
    ///
    /// # Errors
    /// [`Error::BlobMissing`], [`Error::Io`], and [`Error::BlobDamaged`]: then the blob is gone, so that it can come again.
    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, Error> {
        let path = self.blobs.join(digest.hex());
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::BlobMissing { digest: *digest });
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let have = Digest::of(&bytes);
        if have != *digest {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            return Err(Error::BlobDamaged {
                digest: *digest,
                have,
                path: self.blobs.clone(),
            });
        }
        Ok(bytes.into())
    }

    /// Removes the complete blobs that are neither in `needed` nor pinned, and unfinished ones older than a day. Gives the
    /// number of blobs removed.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn collect(&self, needed: &BTreeSet<Digest>) -> Result<usize, Error> {
        let pins = self.pins.lock();
        let keep = |name: &str| {
            let digest = format!("sha256:{name}").parse::<Digest>().ok();
            digest.is_some_and(|digest| needed.contains(&digest) || pins.contains_key(&digest))
        };
        let mut removed = 0;
        for (folder, age) in [(&self.blobs, Duration::ZERO), (&self.partial, PARTIAL_AGE)] {
            for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
                let entry = entry.map_err(Error::io("read", folder))?;
                let modified = entry
                    .metadata()
                    .and_then(|data| data.modified())
                    .map_err(Error::io("read", entry.path()))?;
                // A clock that went back makes a file look new: it stays until the clock has caught up.
                let old = modified.elapsed().unwrap_or_default() >= age;
                if old && !entry.file_name().to_str().is_some_and(keep) {
                    fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn hold(&self, blob: &Digest) {
        *self.pins.lock().entry(*blob).or_default() += 1;
    }

    fn let_go(&self, blob: &Digest) {
        let mut pins = self.pins.lock();
        if let Some(count) = pins.get_mut(blob) {
            *count -= 1;
            if *count == 0 {
                pins.remove(blob);
            }
        }
    }
}

impl Store {
    fn create(&self, path: &Path) -> Result<File, Error> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io("write", path))
    }

    /// The bytes are all here: on disk, then checked, then under their name.
    fn complete(&self, digest: &Digest, path: &Path, file: &File) -> Result<(), Error> {
        file.sync_all()
            .map_err(|source| self.write_error(digest, path, source))?;
        let have = Digest::of(&fs::read(path).map_err(Error::io("read", path))?);
        if have != *digest {
            fs::remove_file(path).map_err(Error::io("remove", path))?;
            return Err(Error::DigestMismatch {
                digest: *digest,
                have,
            });
        }
        fs::rename(path, self.blobs.join(digest.hex())).map_err(Error::io("rename", path))?;
        sync_folder(&self.blobs)
    }

    fn write_error(&self, digest: &Digest, path: &Path, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull {
                digest: *digest,
                path: self.partial.clone(),
                source,
            },
            _ => Error::io("write", path)(source),
        }
    }
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Arc<dyn Blobs>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        (folder, store)
    }

    #[test]
    fn a_blob_that_came_in_chunks_reads_back() {
        let (_folder, store) = store();
        let digest = Digest::of(b"hello world");
        store.append(&digest, 11, 0, b"hello ").unwrap();
        assert_eq!(
            (store.received(&digest, 11), store.has(&digest)),
            (6, false)
        );
        store.append(&digest, 11, 6, b"world").unwrap();
        assert_eq!(
            (store.received(&digest, 11), store.has(&digest)),
            (11, true)
        );
        assert_eq!(&*store.read(&digest).unwrap(), b"hello world");
    }

    #[test]
    fn a_chunk_at_another_offset_or_beyond_the_size_names_digest_and_offset() {
        let (_folder, store) = store();
        let digest = Digest::of(b"hello world");
        store.append(&digest, 11, 0, b"hello ").unwrap();
        for (offset, data) in [
            (0, b"hello ".as_slice()),
            (7, b"orld"),
            (6, b"world!"),
            (u64::MAX, b"x"),
        ] {
            let error = store.append(&digest, 11, offset, data).unwrap_err();
            assert_eq!(error.code(), "MF0412");
            assert!(error.to_string().contains(&digest.to_string()), "{error}");
            assert!(error.to_string().contains(&offset.to_string()), "{error}");
        }
        assert_eq!(store.received(&digest, 11), 6);
    }

    #[test]
    fn other_bytes_under_a_digest_are_dropped() {
        let (_folder, store) = store();
        let digest = Digest::of(b"hello");
        let error = store.append(&digest, 5, 0, b"hullo").unwrap_err();
        assert_eq!(error.code(), "MF0413");
        assert_eq!((store.received(&digest, 5), store.has(&digest)), (0, false));
        store.append(&digest, 5, 0, b"hello").unwrap();
    }

    #[test]
    fn a_damaged_blob_is_found_when_it_is_read_and_can_come_again() {
        let (folder, store) = store();
        let digest = store.put(b"hello").unwrap();
        fs::write(folder.path().join("blobs").join(digest.hex()), b"hullo").unwrap();
        assert_eq!(store.read(&digest).unwrap_err().code(), "MF0410");
        assert_eq!(store.read(&digest).unwrap_err().code(), "MF0411");
        store.put(b"hello").unwrap();
        assert_eq!(&*store.read(&digest).unwrap(), b"hello");
    }

    #[test]
    fn collecting_keeps_what_is_needed_or_being_staged() {
        let (_folder, store) = store();
        let [needed, pinned, other] = [b"a", b"b", b"c"].map(|data| store.put(data).unwrap());
        let partial = Digest::of(b"later");
        store.append(&partial, 5, 0, b"la").unwrap();
        let pin = pin(&store, vec![pinned]);
        assert_eq!(store.collect(&BTreeSet::from([needed])).unwrap(), 1);
        assert!(store.has(&needed) && store.has(&pinned) && !store.has(&other));
        drop(pin);
        assert_eq!(store.collect(&BTreeSet::from([needed])).unwrap(), 1);
        assert_eq!(store.received(&partial, 5), 2);
    }

    #[test]
    fn an_empty_blob_needs_one_empty_chunk() {
        let (_folder, store) = store();
        let digest = Digest::of(b"");
        store.append(&digest, 0, 0, b"").unwrap();
        assert!(store.has(&digest));
    }
}
