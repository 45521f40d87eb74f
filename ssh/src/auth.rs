//! Who we are, to a server: public keys and certificates, from files and from the agent, in the order in which `ssh`
//! offers them (sshconnect2.c, `pubkey_prepare`).
//!
//! It promises that an error names what was offered and what the server would have taken, and that keys of which the
//! server wants no signature sign nothing. Passwords and keyboard-interactive are not done: there is nobody to ask.

use std::path::Path;
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::{MethodKind, MethodSet};
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, Certificate, HashAlg, PublicKey};

use crate::agent::Agent;
use crate::client_handler::{Ending, Handler, Seen};
use crate::config::Resolved;
use crate::dial::Patience;
use crate::error::Error;
use crate::keys::{AskPassphrase, KeyFile, KeyFiles, beside, certificate};

/// What signs, for all connections of a client.
pub(crate) struct Means<'a> {
    pub(crate) files: &'a KeyFiles,
    pub(crate) agent: Option<Arc<Agent>>,
    pub(crate) ask: Option<&'a AskPassphrase>,
    pub(crate) patience: &'a Patience,
}

/// One thing to offer.
struct Offer {
    what: Shown,
    by: By,
    /// As errors name it.
    label: String,
}

enum Shown {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

impl Shown {
    fn key(&self) -> &KeyData {
        match self {
            Self::Key(key) => key.key_data(),
            Self::Certificate(certificate) => certificate.public_key(),
        }
    }

    /// The name under which it is offered (RFC 8332, PROTOCOL.certkeys), with `hash` for RSA.
    fn algorithm(&self, hash: Option<HashAlg>) -> String {
        let plain = match (self.key().algorithm(), hash) {
            (Algorithm::Rsa { .. }, hash) => Algorithm::Rsa { hash },
            (other, _) => other,
        };
        match self {
            Self::Key(_) => plain.to_string(),
            Self::Certificate(_) => plain.to_certificate_type(),
        }
    }
}

#[derive(Clone)]
enum By {
    Agent(Arc<Agent>, Box<AgentIdentity>),
    File(Arc<KeyFile>),
}

/// Authenticates, or says what was tried.
pub(crate) async fn authenticate(
    handle: &mut Handle<Handler>,
    to: &Resolved,
    means: &Means<'_>,
    seen: &Seen,
) -> Result<(), Error> {
    let (offers, mut notes) = offers(to, means).await;
    let mut tried: Vec<String> = Vec::new();
    let mut offered: Option<MethodSet> = None;
    let lost = |error: &dyn std::fmt::Display| Error::Lost {
        host: to.alias.clone(),
        why: seen
            .ending()
            .map_or_else(|| error.to_string(), |end| end.to_string()),
    };
    let failed = |tried: Vec<String>, offered: Option<&MethodSet>, notes: Vec<String>| {
        let banner = seen.banner();
        Error::Authentication {
            host: to.alias.clone(),
            user: to.user.clone(),
            tried: match tried.is_empty() {
                true => "nothing was tried".to_owned(),
                false => format!("tried {}", tried.join(", ")),
            },
            offered: offered.map_or_else(String::new, |methods| {
                format!("; the server takes {}", names(methods))
            }),
            notes: notes
                .into_iter()
                .chain(banner.map(|banner| format!("the server says: {banner}")))
                .map(|note| format!("; {note}"))
                .collect(),
        }
    };
    if offers.is_empty() {
        // There is a server that wants nothing; another says what it wants.
        match handle.authenticate_none(&to.user).await {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure {
                remaining_methods, ..
            }) => offered = Some(remaining_methods),
            Err(error) => return Err(lost(&error)),
        }
        return Err(failed(tried, offered.as_ref(), notes));
    }
    let list = &to.algorithms.pubkey_accepted;
    let mut rsa: Option<Option<HashAlg>> = None;
    for offer in offers {
        if offered
            .as_ref()
            .is_some_and(|methods| !methods.contains(&MethodKind::PublicKey))
        {
            break;
        }
        let hash = match offer.what.key() {
            KeyData::Rsa(_) => {
                let best = match rsa {
                    Some(best) => best,
                    None => *rsa.insert(rsa_hash(handle).await.map_err(|error| lost(&error))?),
                };
                let Some(best) = best else {
                    let label = offer.label;
                    notes.push(format!("{label}: the server takes RSA with SHA-1 only"));
                    continue;
                };
                // A server that takes the better one takes the other too; our list may leave either out.
                match accepted(&offer.what.algorithm(Some(best)), list) {
                    true => Some(best),
                    false => Some(HashAlg::Sha256),
                }
            }
            _ => None,
        };
        if !accepted(&offer.what.algorithm(hash), list) {
            notes.push(format!(
                "{}: PubkeyAcceptedAlgorithms leaves it out",
                offer.label
            ));
            continue;
        }
        let mut signer = Signer {
            by: &offer.by,
            means,
            problem: None,
        };
        tried.push(offer.label.clone());
        let result = match offer.what {
            Shown::Key(key) => {
                handle
                    .authenticate_publickey_with(&to.user, key, hash, &mut signer)
                    .await
            }
            Shown::Certificate(certificate) => {
                handle
                    .authenticate_certificate_with(&to.user, *certificate, hash, &mut signer)
                    .await
            }
        };
        let problem = signer.problem.take();
        match result {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => {
                if let Some(Ending::Disconnected(what)) = seen.ending()
                    && remaining_methods.is_empty()
                {
                    // OpenSSH ends the connection when MaxAuthTries is reached.
                    if what.contains("Too many authentication failures") {
                        return Err(Error::TooManyKeys {
                            host: to.alias.clone(),
                            user: to.user.clone(),
                            tried: tried.join(", "),
                        });
                    }
                    return Err(lost(&what));
                }
                if handle.is_closed() {
                    return Err(lost(&"it ended during authentication"));
                }
                if partial_success && let Some(last) = tried.last_mut() {
                    last.push_str(" (taken, and more is wanted)");
                }
                offered = Some(remaining_methods);
            }
            Err(NotSigned) => match problem {
                Some(problem) => notes.push(problem),
                None => return Err(lost(&"it ended during authentication")),
            },
        }
    }
    Err(failed(tried, offered.as_ref(), notes))
}

/// The better of the two hashes that the server takes; `None` when it takes neither. A server that does not say
/// (RFC 8308) is offered the better one.
async fn rsa_hash(handle: &Handle<Handler>) -> Result<Option<HashAlg>, russh::Error> {
    Ok(match handle.best_supported_rsa_hash().await? {
        None => Some(HashAlg::Sha512),
        Some(hash) => hash,
    })
}

fn names(methods: &MethodSet) -> String {
    match methods.is_empty() {
        true => "none of the methods known here".to_owned(),
        false => methods
            .iter()
            .map(<&'static str>::from)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn accepted(algorithm: &str, list: &[String]) -> bool {
    list.iter().any(|name| name == algorithm)
}

/// Everything to offer, in order, and what could not be.
async fn offers(to: &Resolved, means: &Means<'_>) -> (Vec<Offer>, Vec<String>) {
    let mut notes = Vec::new();
    if !to.pubkey_authentication {
        notes.push("PubkeyAuthentication is off".to_owned());
        return (Vec::new(), notes);
    }
    if !accepted("publickey", &to.preferred_authentications) {
        notes.push("PreferredAuthentications leaves publickey out".to_owned());
        return (Vec::new(), notes);
    }
    let mut files: Vec<Offer> = Vec::new();
    let mut named: Vec<Offer> = Vec::new();
    let mut keys: Vec<Arc<KeyFile>> = Vec::new();
    for path in &to.identity_files {
        match means.files.key(path) {
            Ok(Some(key)) => {
                files.push(Offer {
                    what: Shown::Key(key.public.clone()),
                    by: By::File(key.clone()),
                    label: label(&key.public, Some(path)),
                });
                // A certificate beside the key counts only where none is named.
                if to.certificate_files.is_empty() {
                    match own(certificate(&beside(path, "-cert.pub"))) {
                        Ok(Some(found)) => {
                            files.push(certified(found, By::File(key.clone()), path))
                        }
                        Ok(None) => {}
                        Err(problem) => notes.push(problem),
                    }
                }
                keys.push(key);
            }
            Ok(None) if to.identity_files_are_defaults => {}
            Ok(None) => notes.push(format!("{} does not exist", path.display())),
            Err(problem) => notes.push(problem),
        }
    }
    let held = match &means.agent {
        None => Arc::default(),
        Some(agent) => agent.identities().await.unwrap_or_else(|problem| {
            notes.push(problem);
            Arc::default()
        }),
    };
    let of_agent = |identity: &AgentIdentity| {
        let agent = means.agent.clone()?;
        Some(By::Agent(agent, Box::new(identity.clone())))
    };
    for path in &to.certificate_files {
        match own(certificate(path)) {
            Ok(None) => notes.push(format!("{} does not exist", path.display())),
            Ok(Some(found)) => {
                let in_agent = held.iter().find(|identity| {
                    matches!(identity, AgentIdentity::PublicKey { key, .. } if key.key_data() == found.public_key())
                });
                let in_file = keys
                    .iter()
                    .find(|key| key.public.key_data() == found.public_key());
                match in_agent
                    .and_then(of_agent)
                    .or_else(|| in_file.cloned().map(By::File))
                {
                    Some(by) => named.push(certified(found, by, path)),
                    None => notes.push(format!("{}: its private key is nowhere", path.display())),
                }
            }
            Err(problem) => notes.push(problem),
        }
    }
    let mut others = Vec::new();
    for identity in held.iter() {
        let Some(by) = of_agent(identity) else {
            continue;
        };
        let what = shown(identity);
        let same = files.iter().position(|file| equal(&file.what, &what));
        if let Some(at) = same {
            // The agent signs for a key of the configuration that it holds.
            let mut offer = files.remove(at);
            offer.by = by;
            named.push(offer);
        } else if !to.identities_only && user_certificate(&what) {
            let label = match &what {
                Shown::Key(key) => label(key, None),
                Shown::Certificate(found) => {
                    format!("certificate {:?} of the agent", found.key_id())
                }
            };
            others.push(Offer { what, by, label });
        }
    }
    // The certificate beside a key of which the agent has the key alone.
    for file in &mut files {
        if let Shown::Certificate(found) = &file.what
            && let Some(by) = held
                .iter()
                .find(|identity| matches!(identity, AgentIdentity::PublicKey { key, .. } if key.key_data() == found.public_key()))
                .and_then(of_agent)
        {
            file.by = by;
        }
    }
    named.extend(others);
    named.extend(files);
    (named, notes)
}

fn shown(identity: &AgentIdentity) -> Shown {
    match identity {
        AgentIdentity::PublicKey { key, .. } => Shown::Key(key.clone()),
        AgentIdentity::Certificate { certificate, .. } => {
            Shown::Certificate(Box::new(certificate.clone()))
        }
    }
}

fn user_certificate(what: &Shown) -> bool {
    !matches!(what, Shown::Certificate(found) if found.cert_type() != CertType::User)
}

/// Whether both are the same key or the same certificate.
fn equal(one: &Shown, other: &Shown) -> bool {
    match (one, other) {
        (Shown::Key(one), Shown::Key(other)) => one.key_data() == other.key_data(),
        // Not their comments, which an agent and a file may have otherwise.
        (Shown::Certificate(one), Shown::Certificate(other)) => {
            one.public_key() == other.public_key() && one.signature() == other.signature()
        }
        _ => false,
    }
}

/// A certificate that is a user's.
fn own(found: Result<Option<Certificate>, String>) -> Result<Option<Certificate>, String> {
    match found? {
        Some(found) if found.cert_type() != CertType::User => {
            Err(format!("certificate {:?} is a host's", found.key_id()))
        }
        found => Ok(found),
    }
}

fn certified(found: Certificate, by: By, path: &Path) -> Offer {
    Offer {
        label: format!("certificate {:?} ({})", found.key_id(), path.display()),
        what: Shown::Certificate(Box::new(found)),
        by,
    }
}

fn label(key: &PublicKey, path: Option<&Path>) -> String {
    let fingerprint = key.fingerprint(HashAlg::Sha256);
    match path {
        Some(path) => format!("{} ({fingerprint})", path.display()),
        None => match key.comment().as_str_lossy() {
            "" => format!("{fingerprint} of the agent"),
            comment => format!("{fingerprint} of the agent ({comment})"),
        },
    }
}

/// Signs when the server has said that it would take the key.
struct Signer<'a> {
    by: &'a By,
    means: &'a Means<'a>,
    problem: Option<String>,
}

/// There is no signature; why, the signer keeps.
struct NotSigned;

impl From<russh::SendError> for NotSigned {
    fn from(_: russh::SendError) -> Self {
        Self
    }
}

impl russh::Signer for Signer<'_> {
    type Error = NotSigned;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, NotSigned> {
        let signed = match self.by {
            By::Agent(agent, identity) => {
                // A person may have to confirm, or to find the token.
                let _held = self.means.patience.hold();
                agent.sign(identity, hash, data).await
            }
            By::File(key) => key
                .sign(hash, &data, self.means.ask, || {
                    Box::new(self.means.patience.hold())
                })
                .await
                .map(|signature| {
                    // A signature is far shorter than 4 GB.
                    data.extend_from_slice(&(signature.len() as u32).to_be_bytes());
                    data.extend_from_slice(&signature);
                    data
                }),
        };
        signed.map_err(|problem| {
            self.problem = Some(problem);
            NotSigned
        })
    }
}
