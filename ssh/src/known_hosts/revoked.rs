//! `RevokedHostKeys`: a file of keys that must not be accepted from any host, nor as authorities.
//!
//! A list of public keys, one a line, as `ssh` reads it. A binary revocation list (KRL) is refused by name, and so is a
//! file that cannot be read or understood: what it revokes would be accepted otherwise.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64ct::{Base64, Encoding};

use super::file::Stamp;
use super::line;
use crate::error::Error;
use crate::limits;

/// The keys of a file, with their lines.
#[derive(Debug)]
pub(crate) struct Revoked {
    pub(crate) stamp: Stamp,
    keys: HashMap<Box<[u8]>, u32>,
}

impl Revoked {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
        let mut text = Vec::new();
        file.by_ref()
            .take(limits::KNOWN_HOSTS_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        let bad = |why: String| Error::RevokedHostKeys {
            path: path.to_owned(),
            why,
        };
        if text.len() as u64 > limits::KNOWN_HOSTS_BYTES {
            return Err(bad(format!(
                "it has more than {} bytes",
                limits::KNOWN_HOSTS_BYTES
            )));
        }
        if text.starts_with(b"SSHKRL\n\0") {
            return Err(bad(
                "it is a binary KRL, which is not supported: list the public keys, one a line"
                    .to_owned(),
            ));
        }
        let mut keys = HashMap::new();
        for (number, bytes) in (1u32..).zip(text.split(|&b| b == b'\n')) {
            let bytes = bytes.trim_ascii();
            if bytes.is_empty() || bytes[0] == b'#' {
                continue;
            }
            let mut words = bytes
                .split(|b| [b' ', b'\t'].contains(b))
                .filter(|word| !word.is_empty());
            let kind = words.next().and_then(|word| std::str::from_utf8(word).ok());
            let key = words
                .next()
                .and_then(|word| Base64::decode_vec(std::str::from_utf8(word).ok()?).ok());
            match (kind, key) {
                (Some(kind), Some(key)) if line::key_type(&key) == Some(kind) => {
                    keys.insert(key.into_boxed_slice(), number);
                }
                _ => return Err(bad(format!("line {number} is not a public key"))),
            }
        }
        Ok(Revoked { stamp, keys })
    }

    /// The line that has this key.
    pub(crate) fn line(&self, key: &[u8]) -> Option<u32> {
        self.keys.get(key).copied()
    }
}
