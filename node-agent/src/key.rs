//! The key of an order: which attempt of which rollout brings which patch. Two requests with the same key are the same
//! order, asked twice.

use midflight_patch::Digest;
use midflight_proto::agent::v1 as pb;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Rollout, patch and attempt, checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// 1 to 64 bytes of `[a-z0-9-]`.
    pub rollout: String,
    /// The digest of the patch's canonical manifest.
    pub patch: Digest,
    /// From 1.
    pub attempt: u32,
}

impl Key {
    /// The key of a request.
    ///
    /// # Errors
    /// [`Error::Request`] when it is absent or one of its parts is not what it must be.
    pub fn read(key: Option<&pb::Key>) -> Result<Self, Error> {
        let bad = |field, problem: &str| Error::Request {
            field,
            problem: problem.to_owned(),
        };
        let key = key.ok_or_else(|| bad("key", "is missing"))?;
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if key.rollout_id.is_empty()
            || key.rollout_id.len() > 64
            || !key.rollout_id.bytes().all(good)
        {
            return Err(bad(
                "key.rollout_id",
                "must be 1 to 64 characters of a-z 0-9 -",
            ));
        }
        let patch = key
            .patch_digest
            .parse()
            .map_err(|_| bad("key.patch_digest", "must be sha256: and 64 hex digits"))?;
        if key.attempt == 0 {
            return Err(bad("key.attempt", "counts from 1"));
        }
        Ok(Self {
            rollout: key.rollout_id.clone(),
            patch,
            attempt: key.attempt,
        })
    }

    /// As it travels.
    pub fn to_pb(&self) -> pb::Key {
        pb::Key {
            rollout_id: self.rollout.clone(),
            patch_digest: self.patch.to_string(),
            attempt: self.attempt,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "rollout {} (attempt {}, patch {})",
            self.rollout,
            self.attempt,
            self.patch.short()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_what_it_writes_and_refuses_other_spellings() {
        let key = Key {
            rollout: "r-1".into(),
            patch: Digest::of(b"x"),
            attempt: 2,
        };
        assert_eq!(Key::read(Some(&key.to_pb())).unwrap(), key);
        let long = "a".repeat(65);
        for rollout in ["", "R", "a b", "a/..", &long] {
            let bad = pb::Key {
                rollout_id: rollout.to_owned(),
                ..key.to_pb()
            };
            assert_eq!(
                Key::read(Some(&bad)).unwrap_err().code(),
                "MF0415",
                "{rollout}"
            );
        }
        assert!(
            Key::read(Some(&pb::Key {
                attempt: 0,
                ..key.to_pb()
            }))
            .is_err()
        );
        assert!(
            Key::read(Some(&pb::Key {
                patch_digest: "md5:0".into(),
                ..key.to_pb()
            }))
            .is_err()
        );
        assert!(Key::read(None).is_err());
    }
}
