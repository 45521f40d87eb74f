//! Names of rollouts and their clock. A rollout id is what agents, the journal and people call a rollout.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The name of a rollout: 1 to 64 bytes of `[a-z0-9-]`, as agents ask for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RolloutId(String);

impl RolloutId {
    /// A new id: today's date in UTC and 40 random bits, so that ids sort by day and do not meet.
    ///
    /// # Errors
    /// [`Error::Random`] when the system gives no random bytes.
    pub fn generate() -> Result<Self, Error> {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|error| Error::Random {
            problem: error.to_string(),
        })?;
        let date = time::OffsetDateTime::now_utc().date();
        let tail: String = random
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
            .collect();
        Ok(Self(format!(
            "{:04}{:02}{:02}-{tail}",
            date.year(),
            u8::from(date.month()),
            date.day()
        )))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for RolloutId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
            return Err(Error::BadRolloutId {
                text: text.chars().take(80).collect(),
            });
        }
        Ok(Self(text))
    }
}

impl FromStr for RolloutId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::try_from(text.to_owned())
    }
}

impl From<RolloutId> for String {
    fn from(id: RolloutId) -> String {
        id.0
    }
}

/// Milliseconds since 1970-01-01 UTC on this machine's clock; 0 before that.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_agents_accept_and_two_are_not_the_same() {
        let (a, b) = (
            RolloutId::generate().unwrap(),
            RolloutId::generate().unwrap(),
        );
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<RolloutId>().unwrap(), a);
        for bad in ["", "A", "a_b", &"a".repeat(65)] {
            assert_eq!(
                bad.parse::<RolloutId>().unwrap_err().code(),
                "MF0512",
                "{bad}"
            );
        }
    }
}
