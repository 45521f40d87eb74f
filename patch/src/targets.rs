//! Where actors may connect to: the entries of a release's `connect`. What an actor writes is held against what the
//! release says, a name as a name and an address as an address; what a name resolves to is the resolver's word and is not
//! looked at. So a listed name is trusted with its resolver, and an address behind a name has to be listed only for
//! actors that write the address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Longest name of a host, in bytes.
const MAX_HOST: usize = 253;

/// A host and a port that actors may connect to: `10.0.0.5:5432`, `[::1]:80`, `db.internal:5432`, `*.internal:443` (one
/// label or more before it), `db.internal:*` (any port).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectTarget {
    host: Host,
    /// None: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
    /// Everything below this name.
    Below(String),
}

impl ConnectTarget {
    /// May an actor that writes this host and port connect? Letters are alike in both cases, and an IPv4 address is the
    /// same address when it is written as IPv6.
    #[must_use]
    pub fn allows(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|p| p != port) {
            return false;
        }
        let written = Host::written(host);
        match (&self.host, &written) {
            (Host::Below(suffix), Some(Host::Name(name))) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            (listed, Some(written)) => listed == written,
            (_, None) => false,
        }
    }
}

impl Host {
    /// A host as an actor writes it; none: it can be no host.
    fn written(text: &str) -> Option<Host> {
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Host::Address(address.to_canonical()));
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        // `127.1` and `0x7f.1` are addresses to some resolvers: a last label of digits is no name.
        let numeric =
            |label: &str| label.bytes().all(|b| b.is_ascii_digit()) || label.starts_with("0x");
        let good = name.len() <= MAX_HOST
            && name.split('.').all(label)
            && !name.rsplit('.').next().is_some_and(numeric);
        good.then_some(Host::Name(name))
    }
}

impl FromStr for ConnectTarget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            let rule = "a target is <address or name>:<port>, such as 10.0.0.5:5432, [::1]:80, *.internal:443 or db.internal:*";
            Error::invalid("connect target", text, rule)
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = match port {
            "*" => None,
            port => match port.parse::<u16>() {
                Ok(number) if number > 0 && number.to_string() == port => Some(number),
                _ => return Err(refuse()),
            },
        };
        // An address with colons needs its brackets, or its last group would be a port.
        if host.contains(':') != host.starts_with('[') {
            return Err(refuse());
        }
        let host = match host.strip_prefix("*.") {
            None => Host::written(host).ok_or_else(refuse)?,
            Some(suffix) => match Host::written(suffix) {
                Some(Host::Name(name)) => Host::Below(name),
                _ => return Err(refuse()),
            },
        };
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for ConnectTarget {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ConnectTarget> for String {
    fn from(target: ConnectTarget) -> String {
        target.to_string()
    }
}

impl fmt::Display for ConnectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Host::Address(address) => write!(f, "{address}")?,
            Host::Name(name) => f.write_str(name)?,
            Host::Below(suffix) => write!(f, "*.{suffix}")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> ConnectTarget {
        text.parse().unwrap()
    }

    #[test]
    fn a_target_allows_what_it_says_and_nothing_else() {
        for (entry, host, port) in [
            ("10.0.0.5:5432", "10.0.0.5", 5432),
            ("10.0.0.5:5432", "::ffff:10.0.0.5", 5432),
            ("[::1]:80", "[::1]", 80),
            ("db.internal:*", "DB.Internal.", 9),
            ("*.internal:443", "a.b.internal", 443),
        ] {
            assert!(target(entry).allows(host, port), "{entry} {host}:{port}");
        }
        for (entry, host, port) in [
            ("10.0.0.5:5432", "10.0.0.5", 5433),
            ("10.0.0.5:5432", "10.0.0.50", 5432),
            ("*.internal:443", "internal", 443),
            ("*.internal:443", ".internal", 443),
            ("*.internal:443", "evilinternal", 443),
            ("*.internal:443", "a.internal.example", 443),
            ("*.internal:443", "10.0.0.5", 443),
            ("127.0.0.1:80", "127.1", 80),
            ("127.0.0.1:80", "localhost", 80),
        ] {
            assert!(!target(entry).allows(host, port), "{entry} {host}:{port}");
        }
    }

    #[test]
    fn a_target_reads_back_as_it_is_written_and_nonsense_is_refused() {
        for text in [
            "10.0.0.5:5432",
            "[::1]:80",
            "*.internal:443",
            "db.internal:*",
        ] {
            assert_eq!(target(text).to_string(), text);
        }
        for text in [
            "",
            ":80",
            "a",
            "a:0",
            "a:070",
            "a:65536",
            "*:80",
            "*.:80",
            "a..b:80",
            "::1:80",
            "a b:80",
            "*.10.0.0.5:80",
            "127.1:80",
            "[a:80",
        ] {
            assert!(text.parse::<ConnectTarget>().is_err(), "{text}");
        }
    }
}
