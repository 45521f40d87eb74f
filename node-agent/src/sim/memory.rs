//! What a simulated node stores, in memory: a journal's bytes, and blobs, of which all nodes share one copy. Each node still
//! receives every byte, checks it, and knows only the blobs that it was brought.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Weak},
};

use midflight_patch::Digest;
use parking_lot::Mutex;

use crate::{error::Error, journal::Storage, store::Blobs};

/// A journal that lives as long as the process.
#[derive(Default)]
pub struct MemoryStorage(Vec<u8>);

impl Storage for MemoryStorage {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// The blobs of all nodes, each once, for as long as a node has it.
#[derive(Default)]
pub struct Pool(Mutex<HashMap<Digest, Weak<[u8]>>>);

impl Pool {
    /// The one copy of these bytes.
    fn share(&self, digest: Digest, bytes: &[u8]) -> Arc<[u8]> {
        let mut blobs = self.0.lock();
        if let Some(known) = blobs.get(&digest).and_then(Weak::upgrade) {
            return known;
        }
        let bytes: Arc<[u8]> = bytes.into();
        blobs.insert(digest, Arc::downgrade(&bytes));
        bytes
    }
}

/// The blobs of one node.
pub struct MemoryBlobs {
    pool: Arc<Pool>,
    node: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    complete: BTreeMap<Digest, Arc<[u8]>>,
    partial: BTreeMap<Digest, Vec<u8>>,
    holds: BTreeMap<Digest, usize>,
}

impl MemoryBlobs {
    /// None yet.
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            node: Mutex::default(),
        }
    }
}

impl Blobs for MemoryBlobs {
    fn has(&self, digest: &Digest) -> bool {
        self.node.lock().complete.contains_key(digest)
    }

    fn received(&self, digest: &Digest, size: u64) -> u64 {
        let node = self.node.lock();
        if node.complete.contains_key(digest) {
            return size;
        }
        node.partial.get(digest).map_or(0, |part| part.len() as u64)
    }

    fn append(&self, digest: &Digest, size: u64, offset: u64, data: &[u8]) -> Result<(), Error> {
        let have = self.received(digest, size);
        let bad = |problem| Error::Chunk {
            digest: digest.to_string(),
            offset,
            problem,
        };
        if offset != have {
            return Err(bad(format!("{have} bytes are on the node")));
        }
        if data.len() as u64 > size - have {
            let length = data.len();
            return Err(bad(format!(
                "its {length} bytes go beyond the blob's size of {size}"
            )));
        }
        let mut node = self.node.lock();
        let whole = have == 0 && data.len() as u64 == size;
        if !whole {
            let part = node.partial.entry(*digest).or_default();
            part.extend_from_slice(data);
            if (part.len() as u64) < size {
                return Ok(());
            }
        }
        let part = node.partial.remove(digest);
        let bytes = part.as_deref().unwrap_or(data);
        let found = Digest::of(bytes);
        if found != *digest {
            return Err(Error::DigestMismatch {
                digest: *digest,
                have: found,
            });
        }
        let shared = self.pool.share(found, bytes);
        node.complete.insert(found, shared);
        Ok(())
    }

    fn put(&self, data: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(data);
        let shared = self.pool.share(digest, data);
        self.node.lock().complete.insert(digest, shared);
        Ok(digest)
    }

    fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, Error> {
        let found = self.node.lock().complete.get(digest).cloned();
        found.ok_or(Error::BlobMissing { digest: *digest })
    }

    fn collect(&self, needed: &BTreeSet<Digest>) -> Result<usize, Error> {
        let mut node = self.node.lock();
        let before = node.complete.len();
        let Held {
            complete, holds, ..
        } = &mut *node;
        complete.retain(|blob, _| needed.contains(blob) || holds.contains_key(blob));
        Ok(before - complete.len())
    }

    fn hold(&self, blob: &Digest) {
        *self.node.lock().holds.entry(*blob).or_default() += 1;
    }

    fn let_go(&self, blob: &Digest) {
        let mut node = self.node.lock();
        if let Some(count) = node.holds.get_mut(blob) {
            *count -= 1;
            if *count == 0 {
                node.holds.remove(blob);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_one_copy_and_each_knows_only_what_it_was_brought() {
        let pool = Arc::new(Pool::default());
        let [one, two] = [(); 2].map(|()| MemoryBlobs::new(pool.clone()));
        let digest = Digest::of(b"hello world");
        one.append(&digest, 11, 0, b"hello ").unwrap();
        assert_eq!((one.received(&digest, 11), one.has(&digest)), (6, false));
        one.append(&digest, 11, 6, b"world").unwrap();
        assert!(one.has(&digest) && !two.has(&digest));
        two.append(&digest, 11, 0, b"hello world").unwrap();
        let [a, b] = [&one, &two].map(|node| node.read(&digest).unwrap());
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(&*a, b"hello world");
    }

    #[test]
    fn wrong_bytes_and_wrong_places_are_refused_as_on_a_disk() {
        let blobs = MemoryBlobs::new(Arc::default());
        let digest = Digest::of(b"hello");
        let code = |offset, data: &[u8]| {
            let refused = blobs.append(&digest, 5, offset, data).unwrap_err();
            refused.code()
        };
        assert_eq!(code(1, b"ello"), "MF0412");
        assert_eq!(code(0, b"hello!"), "MF0412");
        assert_eq!(code(0, b"hullo"), "MF0413");
        assert_eq!(blobs.received(&digest, 5), 0);
    }

    #[test]
    fn collecting_keeps_what_is_needed_or_held() {
        let blobs: Arc<dyn Blobs> = Arc::new(MemoryBlobs::new(Arc::default()));
        let [needed, held, other] = [b"a", b"b", b"c"].map(|data| blobs.put(data).unwrap());
        let pin = crate::store::pin(&blobs, vec![held]);
        assert_eq!(blobs.collect(&BTreeSet::from([needed])).unwrap(), 1);
        assert!(blobs.has(&needed) && blobs.has(&held) && !blobs.has(&other));
        drop(pin);
        assert_eq!(blobs.collect(&BTreeSet::from([needed])).unwrap(), 1);
    }
}
