//! `known_hosts`: whether a server is the one that it should be.
//!
//! It promises what `ssh` would decide, on the same files, for keys and for certificates; that nobody is asked: where `ssh`
//! would ask, the answer is no; and that a changed or revoked key is refused whatever `StrictHostKeyChecking` says, with
//! the line and the file to look at. It writes to a file for `accept-new` and `no` only, and adds lines only.
//!
//! Looking a host up among n hashed names costs n hashes, about 0.3 µs each, once per name as long as the file does not
//! change. Plain names are found at once.

mod append;
mod certificate;
mod file;
mod line;
mod revoked;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Base64Unpadded, Encoding};
use russh::keys::PublicKeyOrCertificate;
use ssh_key::public::KeyData;
use ssh_key::{Certificate, HashAlg, PublicKey};

use crate::config::{HostKeyChecking, Proxy, Resolved};
use crate::error::{Error, Place};
use file::{Lines, Stamp};
use line::{Entry, Hashed, Marker};
use revoked::Revoked;

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

#[derive(Debug, Default)]
struct Files {
    lines: Mutex<HashMap<PathBuf, Arc<RwLock<Lines>>>>,
    revoked: Mutex<HashMap<PathBuf, Arc<Revoked>>>,
}

/// An entry about a name, and where it stands.
type Found = (Entry, Place);

/// What entries say about a key.
enum Status {
    Ok(Place),
    Changed(Found),
    Revoked(Place),
    New,
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
        let found = self.about(to, &name(to))?;
        let certified = found
            .iter()
            .any(|(entry, _)| entry.marker == Marker::Authority);
        let known = |algorithm: &String| {
            let plain = plain_type(algorithm);
            found
                .iter()
                .any(|(entry, _)| entry.marker == Marker::Key && entry.key_type() == plain)
        };
        // The best type is known: nothing is better than the list.
        if list.first().is_some_and(known) {
            return Ok(list.clone());
        }
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
        let (data, certificate) = match offered {
            HostKey::Key(key) => (key.key_data(), None),
            HostKey::Certificate(certificate) => (certificate.public_key(), Some(certificate)),
        };
        let key = PublicKey::from(data.clone())
            .to_bytes()
            .map_err(|e| unusable(to, &e))?;
        let authority = match certificate {
            Some(certificate) => {
                let authority = PublicKey::from(certificate.signature_key().clone());
                Some(authority.to_bytes().map_err(|e| unusable(to, &e))?)
            }
            None => None,
        };
        let case = Case {
            to,
            key,
            authority,
            certificate,
        };
        case.size(data)?;
        self.revoked(&case)?;

        let local = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
        if local && to.no_host_authentication_for_localhost && to.host_key_alias.is_none() {
            return Ok(Trusted::Localhost);
        }
        let name = name(to);
        let mut refused = None;
        let mut trusted = case.judge(&name, &self.about(to, &name)?, &mut refused)?;
        if trusted.is_none() && name != to.hostname && to.host_key_alias.is_none() {
            // A host on another port may be known without it.
            trusted = match case.judge(&to.hostname, &self.about(to, &to.hostname)?, &mut refused) {
                Err(Error::HostKeyChanged { .. }) => None,
                other => other?,
            };
        }
        if let Some(certified @ Trusted::Certified(_)) = trusted {
            return Ok(certified);
        }
        let address = peer.filter(|ip| {
            to.check_host_ip && !local && to.proxy == Proxy::None && ip.to_string() != to.hostname
        });
        let mut names = vec![name];
        if let Some(ip) = address {
            let ip = with_port(&ip.to_canonical().to_string(), to.port);
            match case.status(&self.about(to, &ip)?, Marker::Key, &case.key) {
                Status::Ok(_) => {}
                Status::New => names.push(ip),
                Status::Changed((entry, at)) => return Err(case.changed(&ip, &entry, at)),
                Status::Revoked(at) => return Err(case.is_revoked(&ip, at)),
            }
        }
        match trusted {
            Some(trusted) => Ok(trusted),
            None => self.unknown(&case, &names, refused),
        }
    }

    /// The entries about a name in the user's files, then in the machine's.
    fn about(&self, to: &Resolved, name: &str) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for path in to.user_known_hosts.iter().chain(&to.global_known_hosts) {
            let lines = self.lines(path)?;
            let lines = lines.read().unwrap_or_else(PoisonError::into_inner);
            found.extend(
                lines
                    .about(name)
                    .map(|entry| (entry.clone(), lines.place(entry.line))),
            );
        }
        Ok(found)
    }

    /// A file as it is now.
    fn lines(&self, path: &Path) -> Result<Arc<RwLock<Lines>>, Error> {
        let now = std::fs::metadata(path)
            .ok()
            .filter(|m| m.is_file())
            .map(|m| Stamp::of(&m));
        let known = {
            let files = self
                .files
                .lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            files.get(path).map(Arc::clone)
        };
        if let Some(lines) = &known {
            let current = lines.read().unwrap_or_else(PoisonError::into_inner).stamp;
            if current == now {
                return Ok(Arc::clone(lines));
            }
        }
        // Whoever else comes meanwhile waits for the one reading.
        let mut files = self
            .files
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let (Some(lines), Some(before)) = (files.get(path), &known)
            && !Arc::ptr_eq(lines, before)
        {
            return Ok(Arc::clone(lines));
        }
        let lines = Arc::new(RwLock::new(Lines::read(&Arc::from(path))?));
        files.insert(path.to_owned(), Arc::clone(&lines));
        Ok(lines)
    }

    /// `RevokedHostKeys`.
    fn revoked(&self, case: &Case<'_>) -> Result<(), Error> {
        let Some(path) = &case.to.revoked_host_keys else {
            return Ok(());
        };
        let now = std::fs::metadata(path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let mut files = self
            .files
            .revoked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let revoked = match files
            .get(path)
            .filter(|revoked| revoked.stamp == Stamp::of(&now))
        {
            Some(revoked) => Arc::clone(revoked),
            None => {
                let revoked = Arc::new(Revoked::read(path)?);
                files.insert(path.clone(), Arc::clone(&revoked));
                revoked
            }
        };
        let line = revoked
            .line(&case.key)
            .or_else(|| revoked.line(case.authority.as_deref()?));
        match line {
            Some(line) => Err(case.is_revoked(
                &name(case.to),
                Place {
                    file: Arc::from(path.as_path()),
                    line,
                },
            )),
            None => Ok(()),
        }
    }

    /// What `StrictHostKeyChecking` says about a host that no file has.
    fn unknown(
        &self,
        case: &Case<'_>,
        names: &[String],
        refused: Option<String>,
    ) -> Result<Trusted, Error> {
        let to = case.to;
        let checking = match to.strict_host_key_checking {
            HostKeyChecking::Yes => "yes",
            HostKeyChecking::Ask => "ask",
            HostKeyChecking::AcceptNew | HostKeyChecking::No => return self.add(case, names),
        };
        let certificate = refused.map(|why| format!("; its certificate does not count: {why}"));
        let broken =
            { to.user_known_hosts.iter().chain(&to.global_known_hosts) }.find_map(|path| {
                let lines = self.lines(path).ok()?;
                let lines = lines.read().unwrap_or_else(PoisonError::into_inner);
                let (line, why) = lines.broken?;
                Some(format!("; {} counts for nothing: {why}", lines.place(line)))
            });
        Err(Error::HostKeyUnknown {
            host: names[0].clone(),
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
        let lines = self.lines(path)?;
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

/// A host, and what it offers.
struct Case<'a> {
    to: &'a Resolved,
    key: Vec<u8>,
    authority: Option<Vec<u8>>,
    certificate: Option<&'a Certificate>,
}

impl Case<'_> {
    /// `RequiredRSASize`.
    fn size(&self, data: &KeyData) -> Result<(), Error> {
        let KeyData::Rsa(rsa) = data else {
            return Ok(());
        };
        let bits = rsa.n().as_positive_bytes().map_or(0, |n| {
            let leading = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
            n.len() * 8 - leading
        });
        match u32::try_from(bits).is_ok_and(|bits| bits < self.to.required_rsa_size) {
            true => Err(Error::HostKeyTooSmall {
                host: name(self.to),
                bits,
                least: self.to.required_rsa_size,
            }),
            false => Ok(()),
        }
    }

    /// What the entries about a name say: trusted, or refused, or nothing. A certificate that does not count is a plain
    /// key, as for `ssh`; why it does not is left in `refused`.
    fn judge(
        &self,
        name: &str,
        found: &[Found],
        refused: &mut Option<String>,
    ) -> Result<Option<Trusted>, Error> {
        if let (Some(certificate), Some(authority)) = (self.certificate, &self.authority) {
            match self.status(found, Marker::Authority, authority) {
                Status::Revoked(at) => return Err(self.is_revoked(name, at)),
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
        match self.status(found, Marker::Key, &self.key) {
            Status::Ok(at) => Ok(Some(Trusted::Known(at))),
            Status::Changed((entry, at)) => Err(self.changed(name, &entry, at)),
            Status::Revoked(at) => Err(self.is_revoked(name, at)),
            Status::New => Ok(None),
        }
    }

    /// Looks for a key among the entries with a marker. A line that revokes the host's key or authority comes first.
    fn status(&self, found: &[Found], marker: Marker, key: &[u8]) -> Status {
        let revokes = |entry: &Entry| {
            entry.marker == Marker::Revoked
                && (*entry.key == *self.key
                    || self.authority.as_deref().is_some_and(|a| a == &*entry.key))
        };
        if let Some((_, at)) = found.iter().find(|(entry, _)| revokes(entry)) {
            return Status::Revoked(at.clone());
        }
        let same = || found.iter().filter(|(entry, _)| entry.marker == marker);
        if let Some((_, at)) = same().find(|(entry, _)| *entry.key == *key) {
            return Status::Ok(at.clone());
        }
        // The line that a person would look for is the one with a key of the same type.
        let kind = line::key_type(key);
        let offending = same()
            .find(|(entry, _)| Some(entry.key_type()) == kind)
            .or_else(|| same().next());
        offending.cloned().map_or(Status::New, Status::Changed)
    }

    fn changed(&self, name: &str, entry: &Entry, at: Place) -> Error {
        Error::HostKeyChanged {
            at,
            host: name.to_owned(),
            offered: describe(&self.key),
            expected: describe(&entry.key),
        }
    }

    fn is_revoked(&self, name: &str, at: Place) -> Error {
        Error::HostKeyRevoked {
            at,
            host: name.to_owned(),
            offered: describe(&self.key),
        }
    }
}

fn unusable(to: &Resolved, error: &ssh_key::Error) -> Error {
    Error::HostKeyUnknown {
        host: name(to),
        offered: "a key that cannot be understood".to_owned(),
        checking: "yes",
        notes: format!("; {error}"),
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

/// A key as people compare it: type and fingerprint.
fn describe(key: &[u8]) -> String {
    let digest = HashAlg::Sha256.digest(key);
    format!(
        "{} SHA256:{}",
        line::key_type(key).unwrap_or("?"),
        Base64Unpadded::encode_string(&digest)
    )
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
