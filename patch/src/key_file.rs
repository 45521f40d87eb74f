//! A signer that holds a private key in OpenSSH's own file format. It refuses a file that others can read, as `ssh` does,
//! and asks for a passphrase only when the key needs one. RSA keys are not supported.

use std::path::{Path, PathBuf};

use signature::Signer as _;
use ssh_key::{Certificate, PrivateKey, PublicKey, Signature};

use crate::error::Error;
use crate::files;
use crate::sshsig::{Signer, describe};

/// A private key from a file, decrypted, in memory until dropped.
pub struct KeyFile {
    path: PathBuf,
    key: PrivateKey,
    public: PublicKey,
}

impl KeyFile {
    /// Reads a private key. `passphrase` is asked once, with the key's path, when the key is encrypted; `None` from it means
    /// that none can be had.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Key`] for a file that is open to others, is no private key, is of an unsupported kind, or
    /// does not open with the passphrase.
    pub fn open(
        path: &Path,
        passphrase: impl FnOnce(&Path) -> Option<String>,
    ) -> Result<Self, Error> {
        let failed = |problem: &str, source| {
            let (path, problem) = (path.to_owned(), problem.to_owned());
            Error::Key {
                path,
                problem,
                source,
            }
        };
        let text = files::read_text(path)?;
        if PublicKey::from_openssh(&text).is_ok() || Certificate::from_openssh(&text).is_ok() {
            let problem =
                "this is a public key; name the private key file, or sign by way of an ssh-agent";
            return Err(failed(problem, None));
        }
        check_mode(path)?;
        let mut key = PrivateKey::from_openssh(&text).map_err(|error| {
            failed(
                "it does not read as an OpenSSH private key",
                Some(Box::new(error)),
            )
        })?;
        if key.is_encrypted() {
            let passphrase = passphrase(path)
                .ok_or_else(|| failed("it is encrypted, and there is no passphrase", None))?;
            key = key.decrypt(passphrase).map_err(|error| {
                failed("the passphrase does not open it", Some(Box::new(error)))
            })?;
        }
        let algorithm = key.algorithm();
        if algorithm.is_rsa() {
            let problem =
                "RSA keys are not supported; use an Ed25519 or ECDSA key (`ssh-keygen -t ed25519`)";
            return Err(failed(problem, None));
        }
        let public = key.public_key().clone();
        Ok(Self {
            path: path.to_owned(),
            key,
            public,
        })
    }

    /// Signs in the name of the certificate at `path` from now on: signatures carry it, so that nodes which trust its
    /// authority accept them.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Key`] when it is no certificate, or not one of this key.
    pub fn with_certificate(mut self, path: &Path) -> Result<Self, Error> {
        let failed = |problem: &str, source| {
            let (path, problem) = (path.to_owned(), problem.to_owned());
            Error::Key {
                path,
                problem,
                source,
            }
        };
        let certificate = Certificate::from_openssh(&files::read_text(path)?).map_err(|error| {
            failed(
                "it does not read as an OpenSSH certificate",
                Some(Box::new(error)),
            )
        })?;
        if certificate.public_key() != self.key.public_key().key_data() {
            return Err(failed(
                &format!("it certifies another key than {}", self.path.display()),
                None,
            ));
        }
        self.public = PublicKey::from(ssh_key::public::KeyData::from(certificate));
        Ok(self)
    }
}

impl Signer for KeyFile {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign_blob(&self, data: &[u8]) -> Result<Signature, Error> {
        self.key.try_sign(data).map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            Error::Sign {
                signer: describe(self.public.key_data()),
                problem: cause,
            }
        })
    }
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(path)
        .map_err(|error| Error::io("read", path, error))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        let problem = format!("its mode is {mode:04o}, so that others can read it; `chmod 600` it");
        return Err(Error::Key {
            path: path.to_owned(),
            problem,
            source: None,
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), Error> {
    Ok(())
}
