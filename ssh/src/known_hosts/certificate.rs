//! Certificates of hosts: whether an authority that is trusted says that this is the host that was asked for.
//!
//! As `ssh` checks them (PROTOCOL.certkeys): type, principals, validity, no critical options, and a signature by an
//! algorithm of `CASignatureAlgorithms`. Whether the authority is trusted is for `known_hosts` to say.

use ring::signature::{self, RsaPublicKeyComponents};
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, Certificate, HashAlg};

/// Why a certificate does not count for a host at a time (in seconds since 1970), if it does not.
pub(crate) fn check(
    certificate: &Certificate,
    host: &str,
    now: u64,
    algorithms: &[String],
) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("it is not a certificate of a host".to_owned());
    }
    if now < certificate.valid_after() {
        return Err("it is not valid yet".to_owned());
    }
    if now >= certificate.valid_before() {
        return Err("it has expired".to_owned());
    }
    let principals = certificate.valid_principals();
    if !principals.is_empty() && !principals.iter().any(|principal| principal == host) {
        return Err(format!(
            "it is for {}, not for {host}",
            principals.join(", ")
        ));
    }
    if let Some((name, _)) = certificate.critical_options().iter().next() {
        return Err(format!(
            "it has the critical option {name}, which is not known"
        ));
    }
    let algorithm = certificate.signature().algorithm();
    if !algorithms.iter().any(|name| name == algorithm.as_str()) {
        return Err(format!(
            "it is signed with {}, which CASignatureAlgorithms does not have",
            algorithm.as_str()
        ));
    }
    verify(certificate).ok_or_else(|| "its signature is wrong".to_owned())
}

fn verify(certificate: &Certificate) -> Option<()> {
    let (KeyData::Rsa(key), algorithm) = (
        certificate.signature_key(),
        certificate.signature().algorithm(),
    ) else {
        return certificate.verify_signature().ok();
    };
    let padding = match algorithm {
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        } => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha256),
        } => &signature::RSA_PKCS1_2048_8192_SHA256,
        _ => return None,
    };
    // What is signed is all before the signature, which is a string: a length and as many bytes.
    let bytes = certificate.to_bytes().ok()?;
    let signature_length =
        4 + 4 + algorithm.as_str().len() + 4 + certificate.signature().as_bytes().len();
    let signed = &bytes[..bytes.len().checked_sub(signature_length)?];
    let key = RsaPublicKeyComponents {
        n: key.n().as_positive_bytes()?,
        e: key.e().as_positive_bytes()?,
    };
    key.verify(padding, signed, certificate.signature().as_bytes())
        .ok()
}
