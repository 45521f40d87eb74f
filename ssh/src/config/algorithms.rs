//! Names of algorithms as OpenSSH has them, its defaults, and the `+`, `-` and `^` forms of lists.
//!
//! The names are those of OpenSSH 9 and 10, the defaults those of 10.0, whether or not this build can do them: a file that
//! names one that only `ssh` can do is a good file. The connection picks from the list what it can do.

use crate::pattern::{self, Verdict};

/// Which list a keyword changes.
#[derive(Debug)]
pub(crate) struct List {
    /// After `ssh -Q`.
    query: &'static str,
    /// What is in it when no keyword says otherwise, the preferred one first.
    default: &'static [&'static str],
    /// What else there is; for lists whose names may be patterns all there is, in the order in which OpenSSH matches them.
    others: &'static [&'static str],
    /// Whether names may be patterns without a `-` before them too.
    patterns: bool,
}

/// A reference that can stand in a constant table.
pub(crate) type Family = &'static List;

/// `KexAlgorithms`.
pub(crate) const KEX: Family = &List {
    query: "kex",
    default: &[
        "mlkem768x25519-sha256",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group14-sha256",
    ],
    others: &[
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ],
    patterns: false,
};

/// `Ciphers`.
pub(crate) const CIPHERS: Family = &List {
    query: "cipher",
    default: &[
        "chacha20-poly1305@openssh.com",
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-ctr",
        "aes192-ctr",
        "aes256-ctr",
    ],
    others: &["3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc"],
    patterns: false,
};

/// `MACs`.
pub(crate) const MACS: Family = &List {
    query: "mac",
    default: &[
        "umac-64-etm@openssh.com",
        "umac-128-etm@openssh.com",
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha1-etm@openssh.com",
        "umac-64@openssh.com",
        "umac-128@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha1",
    ],
    others: &[
        "hmac-sha1-96",
        "hmac-md5",
        "hmac-md5-96",
        "hmac-sha1-96-etm@openssh.com",
        "hmac-md5-etm@openssh.com",
        "hmac-md5-96-etm@openssh.com",
    ],
    patterns: false,
};

/// `HostKeyAlgorithms` and `PubkeyAcceptedAlgorithms`, which have the same names and defaults.
pub(crate) const HOST_KEYS: Family = &List {
    query: "HostKeyAlgorithms",
    default: &[
        "ssh-ed25519-cert-v01@openssh.com",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        "sk-ssh-ed25519-cert-v01@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "rsa-sha2-512-cert-v01@openssh.com",
        "rsa-sha2-256-cert-v01@openssh.com",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ],
    others: &[
        "ssh-ed25519",
        "ssh-ed25519-cert-v01@openssh.com",
        "sk-ssh-ed25519@openssh.com",
        "sk-ssh-ed25519-cert-v01@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        "ecdsa-sha2-nistp521",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-dss",
        "ssh-dss-cert-v01@openssh.com",
        "ssh-rsa",
        "ssh-rsa-cert-v01@openssh.com",
        "rsa-sha2-256",
        "rsa-sha2-256-cert-v01@openssh.com",
        "rsa-sha2-512",
        "rsa-sha2-512-cert-v01@openssh.com",
    ],
    patterns: true,
};

/// `CASignatureAlgorithms`.
pub(crate) const CA: Family = &List {
    query: "key-sig",
    default: &[
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ],
    others: HOST_KEYS.others,
    patterns: true,
};

impl List {
    /// What `ssh -Q` is asked for to list the names.
    pub(crate) fn query(&self) -> &'static str {
        self.query
    }

    fn all(&self) -> impl Iterator<Item = &'static str> {
        let default = if self.patterns { &[] } else { self.default };
        default.iter().chain(self.others).copied()
    }

    /// The first name of a written list that no OpenSSH has. After `-` anything may stand.
    pub(crate) fn bad_name<'a>(&self, written: &'a str) -> Option<&'a str> {
        if written.starts_with('-') {
            return None;
        }
        let names = written.strip_prefix(['+', '^']).unwrap_or(written);
        let known = |name: &str| match self.patterns {
            true => self.all().any(|a| pattern::matches(name, a)),
            false => self.all().any(|a| a == name),
        };
        { names.split(',') }.find(|name| name.starts_with('!') || !known(name))
    }

    /// The list that a value (checked by [`List::bad_name`]) makes, or the default.
    pub(crate) fn assemble(&self, written: Option<&str>) -> Vec<String> {
        let defaults = || self.default.iter().copied();
        let matching = |names: &str| -> Vec<&'static str> {
            let one = |name| self.all().filter(move |a| pattern::matches(name, a));
            names.split(',').flat_map(one).collect()
        };
        let (form, names) = written.map_or(("", ""), |text| text.split_at(text.len().min(1)));
        let wanted: Vec<&'static str> = match form {
            "" => defaults().collect(),
            "-" => defaults()
                .filter(|a| pattern::list(names.split(','), a) != Verdict::Match)
                .collect(),
            "+" => defaults().chain(matching(names)).collect(),
            "^" => matching(names).into_iter().chain(defaults()).collect(),
            _ => matching(written.unwrap_or_default()),
        };
        let mut list: Vec<String> = Vec::with_capacity(wanted.len());
        for name in wanted {
            if !list.iter().any(|listed| listed == name) {
                list.push(name.to_owned());
            }
        }
        list
    }
}
