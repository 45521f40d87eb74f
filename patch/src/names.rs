//! The names that a manifest uses: vsns and module names. A value of these types has passed its check, so that no later
//! reader needs to wonder what is in it; neither may hold a path separator, white space or a control character.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Longest vsn, module name and application name, in bytes.
pub const MAX_NAME: usize = 64;

/// Longest name of a started actor, in bytes, before the `.<number>` that a `count` above one appends.
pub const MAX_ACTOR_NAME: usize = 128;

/// The version of a module or of a release, as in OTP an opaque name: 1 to 64 bytes of `[A-Za-z0-9._+-]`. Compared for
/// equality only; its order is the order of its bytes, and means nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Vsn(String);

/// The name of a module: `[a-z][a-z0-9_]*`, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModuleName(String);

impl Vsn {
    /// Checks and wraps a vsn.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is empty, longer than [`MAX_NAME`], or holds another character.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(good) {
            return Err(Error::invalid(
                "vsn",
                &text,
                "a vsn is 1 to 64 characters of A-Z a-z 0-9 . _ + -",
            ));
        }
        Ok(Self(text))
    }
}

impl ModuleName {
    /// Checks and wraps a module name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is empty, longer than [`MAX_NAME`], or does not match `[a-z][a-z0-9_]*`.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let starts = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        if !starts || text.len() > MAX_NAME || !text.bytes().all(good) {
            let rule = "a module name is a lower-case letter, then at most 63 of a-z 0-9 _";
            return Err(Error::invalid("module name", &text, rule));
        }
        Ok(Self(text))
    }
}

/// Checks the name of an application: `[a-z][a-z0-9_-]*`, at most [`MAX_NAME`] bytes.
pub(crate) fn check_application(text: &str) -> Result<(), Error> {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let starts = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if !starts || text.len() > MAX_NAME || !text.bytes().all(good) {
        let rule = "an application's name is a lower-case letter, then at most 63 of a-z 0-9 _ -";
        return Err(Error::invalid("application name", text, rule));
    }
    Ok(())
}

/// Checks the name of an actor that a release starts: `[A-Za-z0-9._-]+`, at most [`MAX_ACTOR_NAME`] bytes.
pub(crate) fn check_actor(text: &str) -> Result<(), Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.is_empty() || text.len() > MAX_ACTOR_NAME || !text.bytes().all(good) {
        return Err(Error::invalid(
            "actor name",
            text,
            "an actor's name is 1 to 128 characters of A-Z a-z 0-9 . _ -",
        ));
    }
    Ok(())
}

macro_rules! newtype {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

newtype!(Vsn);
newtype!(ModuleName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vsn_holds_what_versions_hold() {
        for text in ["1", "1.0.0", "2.0.0-rc.1+build_7", &"9".repeat(64)] {
            assert_eq!(Vsn::new(text).unwrap().as_str(), text);
        }
        for text in ["", "1 0", "1/0", "é", "1\n", &"9".repeat(65)] {
            assert_eq!(Vsn::new(text).unwrap_err().code(), "MF0201", "{text:?}");
        }
    }

    #[test]
    fn a_module_name_starts_with_a_lower_case_letter() {
        for text in ["a", "tcp_demo2", &"a".repeat(64)] {
            assert_eq!(ModuleName::new(text).unwrap().as_str(), text);
        }
        for text in ["", "Counter", "2a", "_a", "a-b", "a.b", &"a".repeat(65)] {
            assert_eq!(
                ModuleName::new(text).unwrap_err().code(),
                "MF0201",
                "{text:?}"
            );
        }
    }
}
