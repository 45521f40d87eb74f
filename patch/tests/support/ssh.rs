//! The real ssh-keygen beside ours: keys, certificates, signatures and verdicts of both over one message.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use midflight_patch::{AllowedSigners, Error, KeyFile, PATCH_NAMESPACE, Principal};

use super::run;

/// What is signed.
pub const MESSAGE: &[u8] = b"{\"some\":\"manifest\"}";

/// A file as text.
pub fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The public half of a private key file, as one line.
pub fn public(path: &Path) -> String {
    text(&path.with_extension("pub")).trim().to_owned()
}

/// A key file as a signer.
pub fn key_file(path: &Path) -> KeyFile {
    KeyFile::open(path, |_| None).unwrap()
}

/// Our verdict on one signature.
pub fn ours(allowed: &str, armored: &str) -> Result<Vec<Principal>, Error> {
    AllowedSigners::parse(allowed, "allowed_signers")?.verify(
        PATCH_NAMESPACE,
        MESSAGE,
        &[armored],
        SystemTime::now(),
    )
}

/// Whether `ssh-keygen -Y verify` accepts a signature by `identity`.
pub fn theirs(folder: &Path, allowed: &str, identity: &str, armored: &str) -> bool {
    let (signers, signature) = (folder.join("allowed"), folder.join("signature"));
    fs::write(&signers, format!("{allowed}\n")).unwrap();
    fs::write(&signature, armored).unwrap();
    let (signers, signature) = (signers.to_str().unwrap(), signature.to_str().unwrap());
    let args = [
        "-Y",
        "verify",
        "-f",
        signers,
        "-I",
        identity,
        "-n",
        PATCH_NAMESPACE,
        "-s",
        signature,
    ];
    run("ssh-keygen", &args, MESSAGE).status.success()
}

/// What `ssh-keygen -Y sign` makes of the message.
pub fn sign_theirs(key: &Path, namespace: &str, hash: &str) -> String {
    let hash = format!("hashalg={hash}");
    let output = run(
        "ssh-keygen",
        &[
            "-Y",
            "sign",
            "-f",
            key.to_str().unwrap(),
            "-n",
            namespace,
            "-O",
            &hash,
        ],
        MESSAGE,
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A certificate by `authority` for the key at `key`; the certificate's path.
pub fn certify(authority: &Path, key: &Path, options: &[&str]) -> PathBuf {
    let mut args = vec![
        "-q",
        "-s",
        authority.to_str().unwrap(),
        "-I",
        "alice's certificate",
    ];
    args.extend(options);
    let public = key.with_extension("pub");
    args.push(public.to_str().unwrap());
    let output = run("ssh-keygen", &args, b"");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    key.with_file_name(format!(
        "{}-cert.pub",
        key.file_name().unwrap().to_str().unwrap()
    ))
}
