//! Private keys from files: what `IdentityFile` and `CertificateFile` name.
//!
//! A file is read once and again when it has changed; its public half is known without a passphrase, and the private half
//! is unlocked when a server wants it, once for all connections. Ed25519 and ECDSA keys sign by ssh-key, RSA keys by ring.
//! Keys that live on a token sign in the agent alone.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use russh::keys::ssh_encoding::Encode as _;
use ssh_key::private::KeypairData;
use ssh_key::{Certificate, HashAlg, PrivateKey, PublicKey};

use crate::keys_rsa::RsaKey;
use crate::short;

/// Most bytes of a file that holds a key or a certificate.
const LARGEST: u64 = 1 << 20;
/// How often a passphrase is asked for before a key is given up, as `ssh` does (`NumberOfPasswordPrompts`).
const QUESTIONS: usize = 3;

/// Asks a person for the passphrase of the key in that file; `None` when there is nobody, or nothing was typed. It may
/// block.
pub type AskPassphrase = Arc<dyn Fn(&Path) -> Option<String> + Send + Sync>;

/// A key in a file.
pub(crate) struct KeyFile {
    pub(crate) path: PathBuf,
    pub(crate) public: PublicKey,
    /// Held while a person is asked, so that one asks for all.
    secret: tokio::sync::Mutex<Arc<Secret>>,
}

enum Secret {
    Key(PrivateKey),
    Rsa(RsaKey),
    Locked(PrivateKey),
    /// Why it cannot sign.
    None(String),
}

/// What was found at a path: a key, nothing at all, or something that is no key and why.
pub(crate) type Found = Result<Option<Arc<KeyFile>>, String>;

/// All files that were read.
#[derive(Default)]
pub(crate) struct KeyFiles {
    read: Mutex<HashMap<PathBuf, (Stamp, Found)>>,
}

/// By what a changed file is known: its inode, size and time of change.
type Stamp = Option<(u64, u64, SystemTime)>;

fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.modified().ok()?))
}

impl KeyFiles {
    /// The key in a file; without the private half when there is only `PATH.pub`, or `PATH` is itself a public key.
    pub(crate) fn key(&self, path: &Path) -> Found {
        // Every step with the map leaves it whole.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(path);
        if let Some((then, found)) = read.get(path)
            && *then == now
            && now.is_some()
        {
            return found.clone();
        }
        let found = KeyFile::read(path).map(|key| key.map(Arc::new));
        read.insert(path.to_owned(), (now, found.clone()));
        found
    }
}

/// A certificate in a file: `None` when there is no such file.
pub(crate) fn certificate(path: &Path) -> Result<Option<Certificate>, String> {
    match text(path)? {
        None => Ok(None),
        Some(text) => Certificate::from_openssh(text.trim())
            .map(Some)
            .map_err(|error| format!("{}: no certificate: {error}", path.display())),
    }
}

/// `PATH` with something behind it.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn text(path: &Path) -> Result<Option<String>, String> {
    let problem = |what: String| format!("{}: {what}", path.display());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(error.to_string())),
        Ok(meta) if !meta.is_file() => return Err(problem("not a file".to_owned())),
        Ok(meta) if meta.len() > LARGEST => return Err(problem("too large for a key".to_owned())),
        Ok(_) => {}
    }
    std::fs::read_to_string(path)
        .map(Some)
        .map_err(|error| problem(error.to_string()))
}

impl KeyFile {
    fn read(path: &Path) -> Result<Option<Self>, String> {
        let problem = |what: String| format!("{}: {what}", path.display());
        let public_path = beside(path, ".pub");
        let public = || match text(&public_path)? {
            None => Ok(None),
            Some(text) => PublicKey::from_openssh(text.trim())
                .map(Some)
                .map_err(|error| format!("{}: {error}", public_path.display())),
        };
        let made = |public, secret| {
            Ok(Some(Self {
                path: path.to_owned(),
                public,
                secret: tokio::sync::Mutex::new(Arc::new(secret)),
            }))
        };
        let Some(text) = text(path)? else {
            let none = Secret::None(format!("{} does not exist", path.display()));
            return match public()? {
                None => Ok(None),
                Some(public) => made(public, none),
            };
        };
        if !text.contains("PRIVATE KEY-----") {
            let public = PublicKey::from_openssh(text.trim())
                .map_err(|error| problem(format!("neither a private nor a public key: {error}")))?;
            let none = Secret::None(format!("{} is a public key", path.display()));
            return made(public, none);
        }
        private_enough(path)?;
        if text.contains("BEGIN OPENSSH PRIVATE KEY") {
            let key = short::read(&text).map_err(|error| problem(error.to_string()))?;
            let public = key.public_key().clone();
            return made(public, secret(path, key)?);
        }
        if text.contains("ENCRYPTED") {
            return Err(problem(
                "an encrypted key in PEM; bring it into OpenSSH's format with ssh-keygen -p -f"
                    .to_owned(),
            ));
        }
        if let Some(rsa) = RsaKey::from_pem(&text) {
            let rsa = rsa.map_err(problem)?;
            return made(rsa.public().map_err(problem)?, Secret::Rsa(rsa));
        }
        let key = russh::keys::decode_secret_key(&text, None)
            .map_err(|error| problem(error.to_string()))?;
        made(key.public_key().clone(), secret(path, key)?)
    }

    /// The signature over `data` as it goes over the wire (RFC 4253, 6.6; for RSA RFC 8332), or why there is none.
    pub(crate) async fn sign(
        &self,
        hash: Option<HashAlg>,
        data: &[u8],
        ask: Option<&AskPassphrase>,
        held: impl FnOnce() -> Box<dyn Send + Sync>,
    ) -> Result<Vec<u8>, String> {
        let mut secret = self.secret.lock().await;
        if let Secret::Locked(_) = &**secret {
            let _held = held();
            let unlocked = self.unlock(secret.clone(), ask.cloned()).await;
            *secret = Arc::new(unlocked.unwrap_or_else(Secret::None));
        }
        let secret = secret.clone();
        match &*secret {
            Secret::Key(key) => {
                let signature = signature::Signer::try_sign(key.key_data(), data)
                    .map_err(|error| format!("{}: {error}", self.path.display()))?;
                let mut out = Vec::new();
                signature
                    .encode(&mut out)
                    .map_err(|error| error.to_string())?;
                Ok(out)
            }
            Secret::Rsa(key) => key.sign(hash, data),
            Secret::Locked(_) => Err(format!("{} is locked", self.path.display())),
            Secret::None(why) => Err(why.clone()),
        }
    }

    async fn unlock(
        &self,
        locked: Arc<Secret>,
        ask: Option<AskPassphrase>,
    ) -> Result<Secret, String> {
        let path = self.path.clone();
        let Some(ask) = ask else {
            return Err(format!(
                "{} is protected by a passphrase, and there is nobody to ask: put it into the ssh-agent with ssh-add",
                path.display()
            ));
        };
        // Typing and the key derivation take their time.
        let work = tokio::task::spawn_blocking(move || {
            let Secret::Locked(key) = &*locked else {
                return Err("not locked".to_owned());
            };
            for _ in 0..QUESTIONS {
                let Some(phrase) = ask(&path) else { break };
                match key.decrypt(phrase) {
                    Ok(key) => return secret(&path, key),
                    // The passphrase was right.
                    Err(ssh_key::Error::Encoding(error)) => {
                        return Err(format!(
                            "{} cannot be read: {error}; put it into the ssh-agent with ssh-add",
                            path.display()
                        ));
                    }
                    Err(_) => {}
                }
            }
            Err(format!(
                "the passphrase of {} was not given",
                path.display()
            ))
        });
        work.await.map_err(|error| error.to_string())?
    }
}

fn secret(path: &Path, key: PrivateKey) -> Result<Secret, String> {
    Ok(match key.key_data() {
        KeypairData::Encrypted(_) => Secret::Locked(key),
        KeypairData::Rsa(pair) => Secret::Rsa(
            RsaKey::from_pair(pair).map_err(|why| format!("{}: {why}", path.display()))?,
        ),
        KeypairData::SkEd25519(_) | KeypairData::SkEcdsaSha2NistP256(_) => Secret::None(format!(
            "the key of {} is on a token, which the ssh-agent can ask: ssh-add it",
            path.display()
        )),
        _ => Secret::Key(key),
    })
}

/// As `ssh` does: a private key that others may read is not used.
fn private_enough(path: &Path) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if meta.uid() == rustix::process::getuid().as_raw() && meta.mode() & 0o077 != 0 {
        return Err(format!(
            "{}: others may read it (mode {:04o}): chmod 600",
            path.display(),
            meta.mode() & 0o7777
        ));
    }
    Ok(())
}
