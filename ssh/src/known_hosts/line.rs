//! One line of a `known_hosts` file, as `sshd(8)` (SSH_KNOWN_HOSTS FILE FORMAT) has it.
//!
//! Keys are kept as the bytes that go over the wire and compared as such: two keys are the same if and only if these
//! are. Of a key no more is checked here than that it is of the type that its line says.

use base64ct::{Base64, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::pattern::{self, Verdict};

/// What a line says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// It is the key of the hosts.
    Key,
    /// `@cert-authority`: it signs certificates of the hosts.
    Authority,
    /// `@revoked`: it must not be used by the hosts, as a key or for certificates.
    Revoked,
}

/// Which hosts a line is about.
#[derive(Clone, Debug)]
pub(crate) enum Hosts {
    /// These names, in lower case.
    Names(Vec<String>),
    /// A list with wildcards or negations, in lower case.
    Patterns(String),
    /// One name, hashed.
    Hashed(Box<Hashed>),
}

/// A line that can be understood.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its number, from 1.
    pub line: u32,
    pub marker: Marker,
    pub hosts: Hosts,
    /// The key as it goes over the wire.
    pub key: Box<[u8]>,
}

impl Entry {
    /// The key's type, such as `ssh-ed25519`.
    pub(crate) fn key_type(&self) -> &str {
        key_type(&self.key).unwrap_or("")
    }
}

/// The type that begins a key on the wire (RFC 4253, 6.6).
pub(crate) fn key_type(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    std::str::from_utf8(rest.get(..length)?)
        .ok()
        .filter(|name| !name.is_empty())
}

/// A line's entry; `None` for an empty line or a comment.
pub(crate) fn parse(bytes: &[u8], line: u32) -> Result<Option<Entry>, &'static str> {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() || bytes[0] == b'#' {
        return Ok(None);
    }
    // A comment at the end may be in any encoding.
    let mut words = bytes
        .split(|b| [b' ', b'\t'].contains(b))
        .filter(|word| !word.is_empty())
        .map(std::str::from_utf8);
    let mut word = || match words.next() {
        Some(Ok(word)) => Ok(Some(word)),
        Some(Err(_)) => Err("it is not UTF-8"),
        None => Ok(None),
    };
    let mut hosts = word()?.unwrap_or_default();
    let marker = match hosts {
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        _ if hosts.starts_with('@') => return Err("there is no such marker"),
        _ => Marker::Key,
    };
    if marker != Marker::Key {
        hosts = word()?.ok_or("it ends after its marker")?;
        if hosts.starts_with('@') {
            return Err("it has two markers");
        }
    }
    let kind = word()?
        .filter(|kind| !kind.starts_with('#'))
        .ok_or("it ends before its key")?;
    if kind.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it is a key of protocol version 1");
    }
    let key = Base64::decode_vec(word()?.ok_or("it ends before its key")?)
        .map_err(|_| "its key is not base64")?;
    if key_type(&key) != Some(kind) {
        return Err("its key is not of the type that it says");
    }
    if kind.contains("-cert-v") {
        return Err(
            "a certificate stands where a key must: use @cert-authority with the authority's key",
        );
    }
    let hosts = match hosts.strip_prefix('|') {
        Some(hashed) => Hosts::Hashed(Box::new(
            Hashed::parse(hashed).ok_or("its hashed name is malformed")?,
        )),
        None => {
            let hosts = hosts.to_ascii_lowercase();
            match hosts.contains(['*', '?', '!']) {
                true => Hosts::Patterns(hosts),
                false => Hosts::Names(
                    hosts
                        .split(',')
                        .filter(|name| !name.is_empty())
                        .map(str::to_owned)
                        .collect(),
                ),
            }
        }
    };
    Ok(Some(Entry {
        line,
        marker,
        hosts,
        key: key.into(),
    }))
}

/// Whether a list of patterns in lower case matches a name.
pub(crate) fn matches(patterns: &str, name: &str) -> bool {
    pattern::list(patterns.split(','), name) == Verdict::Match
}

/// A name as HMAC-SHA1 with a salt of its own: `|1|salt|hash`.
#[derive(Clone)]
pub(crate) struct Hashed {
    /// The function with the salt already in it: half of the work for each name.
    salted: Hmac<Sha1>,
    hash: [u8; 20],
}

impl std::fmt::Debug for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashed").finish_non_exhaustive()
    }
}

impl Hashed {
    fn parse(text: &str) -> Option<Self> {
        let (salt, hash) = text.strip_prefix("1|")?.split_once('|')?;
        let mut bytes = [[0; 20]; 2];
        for (text, into) in [salt, hash].into_iter().zip(&mut bytes) {
            // A longer text is an error of the decoder, a shorter one leaves a shorter slice.
            let decoded = Base64::decode(text, into).ok()?;
            if decoded.len() != 20 {
                return None;
            }
        }
        let [salt, hash] = bytes;
        Some(Hashed {
            salted: salted(&salt),
            hash,
        })
    }

    /// Whether it is the hash of this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        let mut function = self.salted.clone();
        function.update(name.as_bytes());
        function.finalize().into_bytes()[..] == self.hash
    }

    /// A name hashed with a salt, as it stands in a file.
    pub(crate) fn text(name: &str, salt: [u8; 20]) -> String {
        let mut function = salted(&salt);
        function.update(name.as_bytes());
        let hash = function.finalize().into_bytes();
        format!(
            "|1|{}|{}",
            Base64::encode_string(&salt),
            Base64::encode_string(&hash)
        )
    }
}

fn salted(salt: &[u8; 20]) -> Hmac<Sha1> {
    // HMAC takes keys of any length (RFC 2104), so this cannot fail.
    #[expect(clippy::unwrap_used)]
    Hmac::new_from_slice(salt).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGhgQJ0l9Jq9yP0G0l6kI2jPp0a1Xr2o3nR4t5u6v7wx";

    #[test]
    fn lines_are_understood_or_say_why_not() {
        let kind = |text: &str| {
            parse(text.as_bytes(), 1)
                .map(|entry| entry.map(|e| (e.marker, format!("{:?}", e.hosts))))
        };
        assert_eq!(kind(""), Ok(None));
        assert_eq!(kind("  # x"), Ok(None));
        let names = Ok(Some((Marker::Key, "Names([\"a\", \"[b]:22\"])".to_owned())));
        assert_eq!(kind(&format!("A,[b]:22 {KEY} \u{e9}")), names);
        assert_eq!(
            parse(
                &[format!("A,[b]:22\t{KEY} ").as_bytes(), b"\xe9"].concat(),
                1
            )
            .map(|e| e.is_some()),
            Ok(true)
        );
        let authority = Ok(Some((
            Marker::Authority,
            "Patterns(\"*.a,!b.a\")".to_owned(),
        )));
        assert_eq!(kind(&format!("@cert-authority  *.a,!B.a {KEY}")), authority);
        for (text, why) in [
            ("@other a".to_owned(), "there is no such marker"),
            ("@revoked".to_owned(), "it ends after its marker"),
            (format!("@revoked @revoked a {KEY}"), "it has two markers"),
            ("a".to_owned(), "it ends before its key"),
            ("a ssh-ed25519".to_owned(), "it ends before its key"),
            (
                "a 1024 35 1234".to_owned(),
                "it is a key of protocol version 1",
            ),
            ("a ssh-ed25519 ???".to_owned(), "its key is not base64"),
            (
                format!("a {}", KEY.replace("ssh-ed25519", "ssh-rsa")),
                "its key is not of the type that it says",
            ),
            (format!("|1|x|y {KEY}"), "its hashed name is malformed"),
        ] {
            assert_eq!(kind(&text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_hashed_name_is_found_by_that_name_only() {
        let text = Hashed::text("host.example", [7; 20]);
        let hashed = Hashed::parse(text.strip_prefix('|').expect("a mark")).expect("well formed");
        assert!(hashed.is("host.example"));
        assert!(!hashed.is("host.exampl"));
    }
}
