//! SSHSIG, OpenSSH's format for signatures over files (PROTOCOL.sshsig): what `ssh-keygen -Y sign` writes and
//! `ssh-keygen -Y verify` reads. Here signatures are made, and checked against the key that they carry. Whether that key may
//! sign is a question for [`crate::AllowedSigners`].

use std::fmt;

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, LineEnding, PublicKey, Signature, SshSig};

use crate::error::{Error, cut};
use crate::limits;

/// The namespace of signatures over a bundle's manifest.
pub const PATCH_NAMESPACE: &str = "patch@midflight";

/// Something that signs with one key: a key file, an ssh-agent, a FIDO token behind it.
pub trait Signer {
    /// The public key, or the certificate of it that the signature should carry.
    fn public_key(&self) -> &PublicKey;

    /// A signature over `data` as it is, in the way of the key's algorithm.
    ///
    /// # Errors
    /// [`Error::Sign`] or [`Error::Key`] when the key cannot be used.
    fn sign_blob(&self, data: &[u8]) -> Result<Signature, Error>;
}

/// A signature in OpenSSH's armor: `-----BEGIN SSH SIGNATURE-----` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armored(String);

impl Armored {
    /// The text, with a line break at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Armored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Armored {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Armored> for String {
    fn from(armored: Armored) -> Self {
        armored.0
    }
}

/// Signs `message` for `namespace`, with SHA-512 as the hash of the message, as `ssh-keygen -Y sign` does. What the signer
/// returns is verified before it is handed on.
///
/// # Errors
/// [`Error::Sign`], and what the signer returns.
pub fn sign(signer: &dyn Signer, namespace: &str, message: &[u8]) -> Result<Armored, Error> {
    let key = signer.public_key().key_data();
    let failed = |problem: String| Error::Sign {
        signer: describe(key),
        problem,
    };
    let data = SshSig::signed_data(namespace, HashAlg::Sha512, message)
        .map_err(|error| failed(error.to_string()))?;
    let signature = signer.sign_blob(&data)?;
    let signature = SshSig::new(key.clone(), namespace, HashAlg::Sha512, signature)
        .map_err(|error| failed(error.to_string()))?;
    fits(&signature, message)
        .map_err(|problem| failed(format!("it returned a signature that {problem}")))?;
    let mut armored = signature
        .to_pem(LineEnding::LF)
        .map_err(|error| failed(error.to_string()))?;
    if !armored.ends_with('\n') {
        armored.push('\n');
    }
    Ok(Armored(armored))
}

/// Reads a signature and checks that its key made it over `message` for `namespace`. `index` counts from 1, for messages.
pub(crate) fn open(
    index: usize,
    namespace: &str,
    message: &[u8],
    armored: &str,
) -> Result<SshSig, Error> {
    let broken = |problem: String| Error::SignatureBroken { index, problem };
    limits::check(
        &format!("signature {index}"),
        "its size in bytes",
        armored.len() as u64,
        limits::SIGNATURE,
    )?;
    let signature = SshSig::from_pem(armored.trim())
        .map_err(|error| broken(format!("it does not read as an SSH signature: {error}")))?;
    if signature.namespace() != namespace {
        let problem = format!(
            "it is for namespace {:?}, not {namespace:?}",
            cut(signature.namespace(), 80)
        );
        return Err(Error::NamespaceNotAllowed {
            index,
            signer: describe(signature.public_key()),
            problem,
        });
    }
    fits(&signature, message).map_err(|problem| broken(format!("it {problem}")))?;
    Ok(signature)
}

/// Whether the key in the signature, or in the certificate in it, made it over `message`.
fn fits(signature: &SshSig, message: &[u8]) -> Result<(), String> {
    use signature::Verifier as _;

    let key = plain_key(signature.public_key());
    let key_algorithm = key.algorithm();
    if key.is_rsa() || signature.algorithm().is_rsa() {
        return Err(
            "is by an RSA key, which is not supported; sign with an Ed25519 or ECDSA key"
                .to_owned(),
        );
    }
    if signature.algorithm() != key_algorithm {
        let (have, want) = (signature.algorithm(), key_algorithm);
        return Err(format!(
            "is of algorithm {have}, but its key is {want}",
            have = have.as_str(),
            want = want.as_str()
        ));
    }
    let data = SshSig::signed_data(signature.namespace(), signature.hash_alg(), message)
        .map_err(|error| format!("cannot be checked: {error}"))?;
    key.verify(&data, signature.signature()).map_err(|error| {
        // The cause names an algorithm that is not supported; a plain mismatch has none.
        let unsupported = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<ssh_key::Error>())
            .is_some_and(|source| matches!(source, ssh_key::Error::AlgorithmUnsupported { .. }));
        if unsupported {
            format!(
                "is of algorithm {}, which is not supported",
                key_algorithm.as_str()
            )
        } else {
            "does not fit these bytes: they were altered after signing, or another file was signed"
                .to_owned()
        }
    })
}

/// The key that signs: of a certificate, the one that it certifies.
pub(crate) fn plain_key(key: &KeyData) -> &KeyData {
    key.certificate()
        .map_or(key, |certificate| certificate.public_key())
}

/// A key for people: algorithm and fingerprint, as `ssh-keygen -l` shows them.
pub(crate) fn describe(key: &KeyData) -> String {
    let key = plain_key(key);
    format!(
        "{} {}",
        key.algorithm().as_str(),
        key.fingerprint(HashAlg::Sha256)
    )
}
