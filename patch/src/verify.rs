//! Whether signatures count: which principals, of those that an allowed signers file names, signed some bytes. The rules are
//! those of `ssh-keygen -Y verify`, and stricter in three places: a certificate with a critical option that cannot be checked
//! here is refused, a line with `verify-required` asks for a FIDO token that verified its user, and RSA is not supported.

use std::fmt;
use std::time::SystemTime;

use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use ssh_key::{Certificate, HashAlg, SshSig};

use crate::allowed_signers::{AllowedSigners, Line};
use crate::error::{Error, cut};
use crate::pattern::list_matches;
use crate::sshsig::{describe, open};
use crate::validity::{seconds, show};

/// Somebody whose signature counts. Two signatures by one principal, also with different keys, are one principal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    /// The principal: of a certificate, the name in it that the line matches; of a plain key, the first pattern of its line.
    pub name: String,
    /// Algorithm and fingerprint of the key that signed, for a journal.
    pub key: String,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl AllowedSigners {
    /// The distinct principals whose signatures over `message`, for `namespace`, are valid at `now`; at least one. Signatures
    /// that do not count beside one that does are passed over.
    ///
    /// # Errors
    /// [`Error::Unsigned`] without any signature. When none counts, the error of the one that came furthest:
    /// [`Error::OutOfValidity`], [`Error::NamespaceNotAllowed`], [`Error::Certificate`], [`Error::SignerNotAllowed`],
    /// [`Error::SignatureBroken`] or [`Error::Limit`].
    pub fn verify(
        &self,
        namespace: &str,
        message: &[u8],
        armored_sigs: &[impl AsRef<str>],
        now: SystemTime,
    ) -> Result<Vec<Principal>, Error> {
        let now = seconds(now);
        let mut principals: Vec<Principal> = Vec::new();
        let mut best: Option<Error> = None;
        for (index, armored) in armored_sigs.iter().enumerate() {
            let index = index + 1;
            match open(index, namespace, message, armored.as_ref())
                .and_then(|signature| self.principal_of(index, &signature, namespace, now))
            {
                Ok(principal) if principals.iter().any(|known| known.name == principal.name) => {}
                Ok(principal) => principals.push(principal),
                Err(error) => keep_further(&mut best, error),
            }
        }
        match best {
            _ if !principals.is_empty() => Ok(principals),
            Some(error) => Err(error),
            None => Err(Error::Unsigned {
                subject: format!("this {namespace} message"),
            }),
        }
    }

    /// The principal of the first line that allows the signature.
    fn principal_of(
        &self,
        index: usize,
        signature: &SshSig,
        namespace: &str,
        now: u64,
    ) -> Result<Principal, Error> {
        let key = signature.public_key();
        let mut best = None;
        for line in &self.lines {
            let check = Check {
                index,
                file: &self.file,
                line,
                signature,
                namespace,
                now,
            };
            let outcome = match key.certificate() {
                None if !line.options.cert_authority && line.key == *key => check.plain(key),
                Some(certificate)
                    if line.options.cert_authority && line.key == *certificate.signature_key() =>
                {
                    check.certified(certificate)
                }
                _ => continue,
            };
            match outcome {
                Ok(name) => {
                    return Ok(Principal {
                        name,
                        key: describe(key),
                    });
                }
                Err(error) => keep_further(&mut best, error),
            }
        }
        Err(best.unwrap_or_else(|| {
            let by = match key.certificate() {
                None => describe(key),
                Some(certificate) => {
                    format!(
                        "{} (certified by {})",
                        describe(key),
                        describe(certificate.signature_key())
                    )
                }
            };
            Error::SignerNotAllowed {
                index,
                key: by,
                file: self.file.clone(),
            }
        }))
    }
}

/// One signature against one line that names its key.
struct Check<'a> {
    index: usize,
    file: &'a str,
    line: &'a Line,
    signature: &'a SshSig,
    namespace: &'a str,
    now: u64,
}

impl Check<'_> {
    fn plain(&self, key: &KeyData) -> Result<String, Error> {
        let Some(name) = self
            .line
            .principals
            .split(',')
            .find(|pattern| !pattern.starts_with('!'))
        else {
            // A list of nothing but exceptions names nobody.
            return Err(Error::SignerNotAllowed {
                index: self.index,
                key: describe(key),
                file: self.file.to_owned(),
            });
        };
        self.options(name)?;
        Ok(name.to_owned())
    }

    fn certified(&self, certificate: &Certificate) -> Result<String, Error> {
        let signer = format!(
            "{:?} ({})",
            cut(certificate.key_id(), 80),
            describe(certificate.public_key())
        );
        let refuse = |problem: String| Error::Certificate {
            index: self.index,
            signer: signer.clone(),
            problem,
        };

        let (after, before) = (certificate.valid_after(), certificate.valid_before());
        // A certificate ends before its last second, an allowed signer's line after it (PROTOCOL.certkeys, ssh-keygen(1)).
        if self.now >= before || self.now < after {
            let problem = format!(
                "the certificate is valid from {} until {}, and it is {} now",
                show(after),
                show(before),
                show(self.now)
            );
            return Err(Error::OutOfValidity {
                index: self.index,
                signer,
                problem,
            });
        }
        // Within its window, this checks the authority's signature on the certificate.
        let authority = self.line.key.fingerprint(HashAlg::Sha256);
        certificate
            .validate_at(self.now, [&authority])
            .map_err(|_| {
                refuse(
                    "does not bear its authority's signature, or one of an unsupported kind"
                        .to_owned(),
                )
            })?;
        if certificate.cert_type() != CertType::User {
            return Err(refuse("is one for hosts, not for users".to_owned()));
        }
        for option in certificate.critical_options().keys() {
            if option != "verify-required" {
                return Err(refuse(format!(
                    "has the critical option {:?}, which cannot be checked here",
                    cut(option, 60)
                )));
            }
            self.user_verified(&signer)?;
        }
        if certificate.valid_principals().is_empty() {
            return Err(refuse("names no principal".to_owned()));
        }
        let allowed = |name: &&String| list_matches(name, &self.line.principals);
        let Some(name) = certificate.valid_principals().iter().find(allowed) else {
            let line = self.line.number;
            return Err(refuse(format!(
                "names no principal that {}:{line} allows",
                self.file
            )));
        };
        self.options(name)?;
        Ok(name.clone())
    }

    /// What the line's options ask of every signature.
    fn options(&self, signer: &str) -> Result<(), Error> {
        let (index, file, number) = (self.index, self.file, self.line.number);
        let options = &self.line.options;
        if options
            .namespaces
            .as_ref()
            .is_some_and(|allowed| !list_matches(self.namespace, allowed))
        {
            let problem = format!(
                "{file}:{number} does not allow namespace {:?}",
                self.namespace
            );
            return Err(Error::NamespaceNotAllowed {
                index,
                signer: signer.to_owned(),
                problem,
            });
        }
        if let Some(breach) = options.window.breach(self.now) {
            let problem = format!("{file}:{number} {breach}");
            return Err(Error::OutOfValidity {
                index,
                signer: signer.to_owned(),
                problem,
            });
        }
        if options.verify_required {
            self.user_verified(signer)?;
        }
        Ok(())
    }

    /// Whether a FIDO token signed after it had verified its user, by PIN or fingerprint: flag 4 of PROTOCOL.u2f.
    fn user_verified(&self, signer: &str) -> Result<(), Error> {
        let algorithm = self.signature.algorithm();
        let is_token = matches!(
            algorithm,
            ssh_key::Algorithm::SkEd25519 | ssh_key::Algorithm::SkEcdsaSha2NistP256
        );
        // The signature ends with one byte of flags and a counter of four bytes.
        let flags = self
            .signature
            .signature_bytes()
            .iter()
            .nth_back(4)
            .copied()
            .unwrap_or_default();
        if is_token && flags & 0x04 != 0 {
            return Ok(());
        }
        let problem =
            "it must be made by a FIDO token that verified its user (verify-required)".to_owned();
        Err(Error::SignatureBroken {
            index: self.index,
            problem: format!("{signer}: {problem}"),
        })
    }
}

/// Keeps the error of the check that came furthest: it is the one closest to what the person meant to do.
fn keep_further(best: &mut Option<Error>, error: Error) {
    let reach = |error: &Error| match error {
        Error::OutOfValidity { .. } => 5,
        Error::NamespaceNotAllowed { .. } => 4,
        Error::Certificate { .. } => 3,
        Error::SignerNotAllowed { .. } => 2,
        _ => 1,
    };
    if best
        .as_ref()
        .is_none_or(|known| reach(&error) > reach(known))
    {
        *best = Some(error);
    }
}
