//! Private keys of ECDSA P-256 whose number is short. OpenSSH writes numbers without leading zero bytes (mpint, RFC 4251, 5), so that
//! of one key in 256 fewer than 32 bytes stand in the file, and ssh-key reads none of these. Here such a file is read as if
//! the zero bytes stood there (layout: OpenSSH's `PROTOCOL.key`). It does not read what a passphrase protects.

use base64ct::{Base64, Encoding as _};
use ssh_key::PrivateKey;

const MAGIC: &[u8] = b"openssh-key-v1\0";
const KIND: &[u8] = b"ecdsa-sha2-nistp256";
/// Bytes of a number of that curve.
const SIZE: usize = 32;
/// To whose multiples the private part is padded where no cipher has a block of its own.
const BLOCK: usize = 8;

/// A private key in OpenSSH's format.
///
/// # Errors
/// What ssh-key says of it.
pub(crate) fn read(text: &str) -> Result<PrivateKey, ssh_key::Error> {
    PrivateKey::from_openssh(text).or_else(|error| match lengthened(text) {
        Some(bytes) => PrivateKey::from_bytes(&bytes),
        None => Err(error),
    })
}

/// The same file with a number of full length; `None` for every other file.
fn lengthened(text: &str) -> Option<Vec<u8>> {
    let lines = text.lines().map(str::trim);
    let body: String = lines
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    let file = Base64::decode_vec(&body).ok()?;
    let mut rest = file.strip_prefix(MAGIC)?;
    let mut made = MAGIC.to_vec();
    let cipher = string(&mut rest)?;
    put(&mut made, cipher);
    // The key derivation, and its options.
    for _ in 0..2 {
        put(&mut made, string(&mut rest)?);
    }
    let (count, after) = rest.split_at_checked(4)?;
    made.extend(count);
    rest = after;
    put(&mut made, string(&mut rest)?);
    if cipher != b"none" {
        return None;
    }
    let mut secret = string(&mut rest)?;
    let (checks, after) = secret.split_at_checked(8)?;
    secret = after;
    let mut private = checks.to_vec();
    let kind = string(&mut secret)?;
    put(&mut private, kind);
    // The curve and the public point.
    for _ in 0..2 {
        put(&mut private, string(&mut secret)?);
    }
    let number = string(&mut secret)?;
    if kind != KIND || number.len() >= SIZE {
        return None;
    }
    let mut full = [0; SIZE];
    full[SIZE - number.len()..].copy_from_slice(number);
    put(&mut private, &full);
    // The comment.
    put(&mut private, string(&mut secret)?);
    private.extend((1..).take(private.len().next_multiple_of(BLOCK) - private.len()));
    put(&mut made, &private);
    Some(made)
}

fn string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(string)
}

fn put(to: &mut Vec<u8>, string: &[u8]) {
    // A file of keys is shorter than 4 GiB.
    to.extend((string.len() as u32).to_be_bytes());
    to.extend(string);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use signature::{Signer as _, Verifier as _};
    use ssh_key::{PublicKey, Signature};

    use super::*;

    #[test]
    fn a_key_of_p256_whose_number_is_short_is_read_and_signs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        // One of 256 is.
        for _ in 0..10_000 {
            let _ = std::fs::remove_file(&path);
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ecdsa", "-N", "", "-C", "short", "-f"]);
            assert!(keygen.arg(&path).status().unwrap().success());
            let text = std::fs::read_to_string(&path).unwrap();
            if PrivateKey::from_openssh(&text).is_ok() {
                assert!(lengthened(&text).is_none());
                continue;
            }
            let key = read(&text).unwrap();
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            let public = PublicKey::from_openssh(public.trim()).unwrap();
            assert_eq!(*key.public_key(), public);
            let signature: Signature = key.try_sign(b"words").unwrap();
            public.key_data().verify(b"words", &signature).unwrap();
            return;
        }
        panic!("no key of 10,000 had a short number");
    }

    #[test]
    fn what_is_no_such_key_stays_an_error() {
        for text in [
            "",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
