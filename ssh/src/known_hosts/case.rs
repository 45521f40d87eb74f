//! One host, what it offers, and what the entries about a name say of that.

use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64Unpadded, Encoding};
use ssh_key::public::KeyData;
use ssh_key::{Certificate, HashAlg, PublicKey};

use super::files::{Found, View};
use super::line::{self, Entry, Marker};
use super::{HostKey, Trusted, certificate, name};
use crate::config::Resolved;
use crate::error::{Error, Place};

/// A host, and what it offers.
pub(crate) struct Case<'a> {
    pub to: &'a Resolved,
    /// Its key as it goes over the wire.
    pub key: Vec<u8>,
    /// The key of the authority that signed its certificate.
    pub authority: Option<Vec<u8>>,
    certificate: Option<&'a Certificate>,
}

/// What entries say about a key.
pub(crate) enum Status {
    Ok(Place),
    Changed(Found),
    Revoked(Place),
    New,
}

impl<'a> Case<'a> {
    /// Refuses a key that is too short by itself.
    pub(crate) fn new(to: &'a Resolved, offered: HostKey<'a>) -> Result<Self, Error> {
        let (data, certificate) = match offered {
            HostKey::Key(key) => (key.key_data(), None),
            HostKey::Certificate(certificate) => (certificate.public_key(), Some(certificate)),
        };
        let bytes = |data: &KeyData| {
            PublicKey::from(data.clone())
                .to_bytes()
                .map_err(|error| Error::HostKeyUnknown {
                    host: name(to),
                    offered: "a key that cannot be understood".to_owned(),
                    checking: "yes",
                    notes: format!("; {error}"),
                })
        };
        if let KeyData::Rsa(rsa) = data {
            let bits = rsa.n().as_positive_bytes().map_or(0, |n| {
                let leading = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
                n.len() * 8 - leading
            });
            if u32::try_from(bits).is_ok_and(|bits| bits < to.required_rsa_size) {
                return Err(Error::HostKeyTooSmall {
                    host: name(to),
                    bits,
                    least: to.required_rsa_size,
                });
            }
        }
        let authority = certificate
            .map(|certificate| bytes(certificate.signature_key()))
            .transpose()?;
        Ok(Case {
            to,
            key: bytes(data)?,
            authority,
            certificate,
        })
    }

    /// What the entries about a name say: trusted, or refused, or nothing. A certificate that does not count is a plain
    /// key, as for `ssh`; why it does not is left in `refused`.
    pub(crate) fn judge(
        &self,
        view: &View,
        refused: &mut Option<String>,
    ) -> Result<Option<Trusted>, Error> {
        if let (Some(certificate), Some(authority)) = (self.certificate, &self.authority) {
            match self.status(view, Marker::Authority, authority) {
                Status::Revoked(at) => return Err(self.is_revoked(&view.name, at)),
                Status::Ok(at) => {
                    let host = self
                        .to
                        .host_key_alias
                        .as_deref()
                        .unwrap_or(&self.to.hostname);
                    let now = SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .map_or(0, |d| d.as_secs());
                    match certificate::check(
                        certificate,
                        host,
                        now,
                        &self.to.algorithms.ca_signature,
                    ) {
                        Ok(()) => return Ok(Some(Trusted::Certified(at))),
                        Err(why) => *refused = Some(why),
                    }
                }
                Status::Changed(_) | Status::New => {
                    refused.get_or_insert_with(|| {
                        "no @cert-authority line for this host has its authority".to_owned()
                    });
                }
            }
        }
        match self.status(view, Marker::Key, &self.key) {
            Status::Ok(at) => Ok(Some(Trusted::Known(at))),
            Status::Changed((entry, at)) => Err(self.changed(&view.name, &entry, at)),
            Status::Revoked(at) => Err(self.is_revoked(&view.name, at)),
            Status::New => Ok(None),
        }
    }

    /// Looks for a key among the entries with a marker. A line that revokes the host's key or authority comes first.
    pub(crate) fn status(&self, view: &View, marker: Marker, key: &[u8]) -> Status {
        let is = |entry: &Entry, key: &[u8]| *entry.key == *key;
        let revokes = |entry: &Entry| {
            let authority = || {
                self.authority
                    .as_deref()
                    .is_some_and(|authority| is(entry, authority))
            };
            entry.marker == Marker::Revoked && (is(entry, &self.key) || authority())
        };
        if let Some((_, at)) = view.first(revokes) {
            return Status::Revoked(at);
        }
        if let Some((_, at)) = view.first(|entry| entry.marker == marker && is(entry, key)) {
            return Status::Ok(at);
        }
        let mut others = view.all();
        others.retain(|(entry, _)| entry.marker == marker);
        // The line that a person would look for is the one with a key of the same type.
        let kind = line::key_type(key);
        let offending = others
            .iter()
            .position(|(entry, _)| Some(entry.key_type()) == kind)
            .unwrap_or(0);
        match others.is_empty() {
            true => Status::New,
            false => Status::Changed(others.swap_remove(offending)),
        }
    }

    /// What is wrong when an entry has another key. One of another type need not have changed: `ssh` says that it has, and
    /// refuses it too.
    pub(crate) fn changed(&self, name: &str, entry: &Entry, at: Place) -> Error {
        let (host, offered, expected) =
            (name.to_owned(), describe(&self.key), describe(&entry.key));
        match line::key_type(&self.key) == Some(entry.key_type()) {
            true => Error::HostKeyChanged {
                at,
                host,
                offered,
                expected,
            },
            false => Error::HostKeyOfOtherType {
                at,
                host,
                offered,
                expected,
            },
        }
    }

    pub(crate) fn is_revoked(&self, name: &str, at: Place) -> Error {
        Error::HostKeyRevoked {
            at,
            host: name.to_owned(),
            offered: describe(&self.key),
        }
    }
}

/// A key as people compare it: type and fingerprint.
pub(crate) fn describe(key: &[u8]) -> String {
    let digest = HashAlg::Sha256.digest(key);
    format!(
        "{} SHA256:{}",
        line::key_type(key).unwrap_or("?"),
        Base64Unpadded::encode_string(&digest)
    )
}
