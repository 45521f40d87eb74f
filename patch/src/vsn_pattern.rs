//! Which vsns a patch starts from (OTP allows a regular expression there). One small language over the characters of a vsn:
//! `*` stands for any of them, none included, and `|` stands between alternatives: `1.0.*`, `1.0.3|1.1.*`. A vsn is an opaque
//! name, so that there is no "greater than".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::names::{MAX_NAME, Vsn};
use crate::pattern;

/// Most bytes of a pattern.
pub const MAX_PATTERN: usize = 256;

/// A vsn, or a pattern of vsns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VsnPattern(String);

impl VsnPattern {
    /// Checks and wraps a pattern.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it or an alternative is empty or too long, or holds a character that no vsn has.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-*".contains(&byte);
        let alternative =
            |text: &str| !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(good);
        if text.len() > MAX_PATTERN || !text.split('|').all(alternative) {
            return Err(Error::invalid(
                "vsn or pattern of vsns",
                &text,
                "alternatives stand between |, each 1 to 64 characters of A-Z a-z 0-9 . _ + - and * for any of these",
            ));
        }
        Ok(Self(text))
    }

    /// Whether it is for this vsn.
    pub fn matches(&self, vsn: &Vsn) -> bool {
        self.0
            .split('|')
            .any(|pattern| pattern::matches(vsn.as_str(), pattern))
    }

    /// The vsn, when it is one and no pattern.
    pub fn exact(&self) -> Option<Vsn> {
        Vsn::new(self.0.as_str()).ok()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Vsn> for VsnPattern {
    fn from(vsn: Vsn) -> Self {
        Self(vsn.into())
    }
}

impl fmt::Display for VsnPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for VsnPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for VsnPattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<VsnPattern> for String {
    fn from(pattern: VsnPattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, vsn: &str) -> bool {
        let vsn = Vsn::new(vsn).unwrap();
        VsnPattern::new(pattern).unwrap().matches(&vsn)
    }

    #[test]
    fn a_pattern_is_a_vsn_with_stars_and_alternatives() {
        for (pattern, vsn) in [
            ("1.0.0", "1.0.0"),
            ("1.0.*", "1.0.7"),
            ("1.0.*", "1.0.7-rc.1"),
            ("1.0.3|1.1.*", "1.1.0"),
            ("*", "anything"),
        ] {
            assert!(matches(pattern, vsn), "{pattern} {vsn}");
        }
        for (pattern, vsn) in [
            ("1.0.0", "1.0.00"),
            ("1.0.*", "1.01.7"),
            ("1.0.3|1.1.*", "1.0.4"),
        ] {
            assert!(!matches(pattern, vsn), "{pattern} {vsn}");
        }
        assert_eq!(
            VsnPattern::new("1.0").unwrap().exact(),
            Vsn::new("1.0").ok()
        );
        assert_eq!(VsnPattern::new("1.*").unwrap().exact(), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "|", "1|", "1, 2", ">=1", "1?", "[12]", &"1".repeat(65)] {
            assert_eq!(
                VsnPattern::new(text).unwrap_err().code(),
                "MF0201",
                "{text:?}"
            );
        }
    }
}
