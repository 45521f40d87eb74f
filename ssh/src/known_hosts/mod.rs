//! `known_hosts`: whether a server is the one that it should be.
//!
//! It promises what `ssh` would decide, on the same files, for keys and for certificates; that nobody is asked: where `ssh`
//! would ask, the answer is no; and that a changed or revoked key is refused whatever `StrictHostKeyChecking` says, with
//! the line and the file to look at. It writes to a file for `accept-new` and `no` only, and adds lines only.
//!
//! Plain names are found at once. A hashed name costs a hash for each line that may be about it, until it is found; a
//! line whose name was found is not tried for others. `docs/ssh.md` has figures.

mod append;
mod case;
mod certificate;
mod file;
mod files;
mod line;
mod revoked;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use base64ct::{Base64, Encoding};
use russh::keys::PublicKeyOrCertificate;
use ssh_key::{Certificate, PublicKey};

use crate::config::{HostKeyChecking, Proxy, Resolved};
use crate::error::{Error, Place};
use case::{Case, Status, describe};
use files::Files;
use line::{Entry, Hashed, Marker};

/// What a server proves to have.
#[derive(Clone, Copy, Debug)]
pub enum HostKey<'a> {
    /// A key.
    Key(&'a PublicKey),
    /// A key with a certificate for it.
    Certificate(&'a Certificate),
}

impl<'a> From<&'a PublicKeyOrCertificate> for HostKey<'a> {
    fn from(offered: &'a PublicKeyOrCertificate) -> Self {
        match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => HostKey::Key(key),
            PublicKeyOrCertificate::Certificate(certificate) => HostKey::Certificate(certificate),
        }
    }
}

/// Why a server is taken for the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// This line has its key.
    Known(Place),
    /// This line has the authority that signed its certificate.
    Certified(Place),
    /// It was in no file, and was added to this one.
    Added(PathBuf),
    /// It was in no file, and could not be added to one, as after `UserKnownHostsFile none`.
    Unrecorded,
    /// It is this machine, and `NoHostAuthenticationForLocalhost` is set.
    Localhost,
}

/// The `known_hosts` files, each read when it is first needed and again when it has changed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts {
    files: Arc<Files>,
}

impl KnownHosts {
    /// `HostKeyAlgorithms` in the order to ask a host for them: first those of which a file has its key, so that a host
    /// that is known by one key is not asked for another. A list that was written out stays as it is.
    ///
    /// # Errors
    ///
    /// When a file exists and cannot be read.
    pub fn algorithms(&self, to: &Resolved) -> Result<Vec<String>, Error> {
        let list = &to.algorithms.host_key;
        if to.algorithms.host_key_order_is_set {
            return Ok(list.clone());
        }
        let view = self.files.view(to, name(to))?;
        let has =
            |entry: &Entry, plain: &str| entry.marker == Marker::Key && entry.key_type() == plain;
        // The best type is known: nothing is better than the list.
        if list
            .first()
            .is_some_and(|best| view.first(|entry| has(entry, plain_type(best))).is_some())
        {
            return Ok(list.clone());
        }
        let found = view.all();
        let certified = found
            .iter()
            .any(|(entry, _)| entry.marker == Marker::Authority);
        let known = |algorithm: &String| {
            found
                .iter()
                .any(|(entry, _)| has(entry, plain_type(algorithm)))
        };
        let is_certificate = |algorithm: &String| algorithm.contains("-cert-v");
        let (first, last): (Vec<_>, Vec<_>) = { list.iter().cloned() }
            .partition(|algorithm| (certified && is_certificate(algorithm)) || known(algorithm));
        Ok([first, last].concat())
    }

    /// Decides whether a server is trusted, and adds it to a file where `StrictHostKeyChecking` says so.
    ///
    /// `peer` is its address when it was dialled straight, for `CheckHostIP` and `NoHostAuthenticationForLocalhost`. It
    /// reads and may write files: call it where waiting for them is allowed.
    ///
    /// # Errors
    ///
    /// When the key has changed, is revoked or not known, or a file exists and cannot be read.
    pub fn verify(
        &self,
        to: &Resolved,
        peer: Option<IpAddr>,
        offered: HostKey<'_>,
    ) -> Result<Trusted, Error> {
        let case = Case::new(to, offered)?;
        if let Some(path) = &to.revoked_host_keys {
            let revoked = self.files.revoked(path)?;
            let line = revoked
                .line(&case.key)
                .or_else(|| revoked.line(case.authority.as_deref()?));
            if let Some(line) = line {
                return Err(case.is_revoked(
                    &name(to),
                    Place {
                        file: Arc::from(path.as_path()),
                        line,
                    },
                ));
            }
        }
        let local = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
        if local && to.no_host_authentication_for_localhost && to.host_key_alias.is_none() {
            return Ok(Trusted::Localhost);
        }
        let view = self.files.view(to, name(to))?;
        let mut refused = None;
        let mut trusted = case.judge(&view, &mut refused)?;
        if trusted.is_none() && view.name != to.hostname && to.host_key_alias.is_none() {
            // A host on another port may be known without it.
            let plain = self.files.view(to, to.hostname.as_str())?;
            trusted = match case.judge(&plain, &mut refused) {
                Err(Error::HostKeyChanged { .. } | Error::HostKeyOfOtherType { .. }) => None,
                other => other?,
            };
        }
        if let Some(certified @ Trusted::Certified(_)) = trusted {
            return Ok(certified);
        }
        let mut names = vec![view.name.clone()];
        let address = peer.map(|ip| ip.to_canonical().to_string());
        let checked = to.check_host_ip && !local && to.proxy == Proxy::None;
        if let Some(ip) = address.filter(|ip| checked && *ip != to.hostname) {
            let there = self.files.view(to, with_port(&ip, to.port))?;
            match case.status(&there, Marker::Key, &case.key) {
                Status::Ok(_) => {}
                Status::New => names.push(there.name),
                Status::Changed((entry, at)) => return Err(case.changed(&there.name, &entry, at)),
                Status::Revoked(at) => return Err(case.is_revoked(&there.name, at)),
            }
        }
        if let Some(trusted) = trusted {
            return Ok(trusted);
        }
        let checking = match to.strict_host_key_checking {
            HostKeyChecking::Yes => "yes",
            HostKeyChecking::Ask => "ask",
            HostKeyChecking::AcceptNew | HostKeyChecking::No => return self.add(&case, &names),
        };
        let certificate = refused.map(|why| format!("; its certificate does not count: {why}"));
        let broken = view
            .broken()
            .map(|(at, why)| format!("; {at} counts for nothing: {why}"));
        Err(Error::HostKeyUnknown {
            host: view.name,
            offered: describe(&case.key),
            checking,
            notes: [certificate, broken].into_iter().flatten().collect(),
        })
    }

    /// Adds a host to the first of the user's files, as `ssh` does: its name and address in one line, or hashed in two.
    fn add(&self, case: &Case<'_>, names: &[String]) -> Result<Trusted, Error> {
        let Some(path) = case.to.user_known_hosts.first() else {
            return Ok(Trusted::Unrecorded);
        };
        let key = format!(
            "{} {}",
            line::key_type(&case.key).unwrap_or_default(),
            Base64::encode_string(&case.key)
        );
        let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let text = match case.to.hash_known_hosts {
            false => format!("{} {key}\n", lower.join(",")),
            true => {
                let mut text = String::new();
                for name in &lower {
                    let mut salt = [0; 20];
                    getrandom::fill(&mut salt).map_err(|source| Error::Read {
                        path: PathBuf::from("the system's source of random numbers"),
                        source: std::io::Error::other(source.to_string()),
                    })?;
                    text.push_str(&format!("{} {key}\n", Hashed::text(name, salt)));
                }
                text
            }
        };
        let lines = self.files.lines(path)?;
        // One writer at a time; who comes second may find that the first has added the same host.
        let mut lines = lines.write().unwrap_or_else(PoisonError::into_inner);
        if lines
            .about(&names[0])
            .any(|entry| entry.marker == Marker::Key && *entry.key == *case.key)
        {
            return Ok(Trusted::Added(path.clone()));
        }
        match append::append(path, &text) {
            Ok((before, after)) => {
                let looked_up: Vec<&str> = names.iter().chain(&lower).map(String::as_str).collect();
                // If somebody else has written to it meanwhile, it is read again at the next look.
                if let Some(after) = after.filter(|_| before == lines.stamp) {
                    lines.appended(&text, &looked_up, after);
                }
                tracing::info!(
                    "added {} ({}) to {}",
                    names.join(", "),
                    describe(&case.key),
                    path.display()
                );
                Ok(Trusted::Added(path.clone()))
            }
            Err(error) => {
                // As for `ssh`, whose users may have a home that cannot be written to.
                tracing::warn!(
                    "{} could not be added to {}: {error}",
                    names.join(", "),
                    path.display()
                );
                Ok(Trusted::Unrecorded)
            }
        }
    }
}

/// The name that a host is looked up by.
fn name(to: &Resolved) -> String {
    match &to.host_key_alias {
        Some(alias) => alias.clone(),
        None => with_port(&to.hostname, to.port),
    }
}

/// A name or address with a port, as files have it.
fn with_port(host: &str, port: u16) -> String {
    match port {
        22 => host.to_owned(),
        port => format!("[{host}]:{port}"),
    }
}

/// The type of the keys that an algorithm is for.
fn plain_type(algorithm: &str) -> &str {
    match algorithm
        .strip_suffix("-cert-v01@openssh.com")
        .unwrap_or(algorithm)
    {
        "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
        "sk-ssh-ed25519" => "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256" => "sk-ecdsa-sha2-nistp256@openssh.com",
        plain => plain,
    }
}
