//! Signatures against the real ssh-keygen, both ways: what we sign it verifies, what it signs we accept; and signers of all
//! kinds, those that are refused among them.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use std::fs;
use std::time::{Duration, SystemTime};

use midflight_patch::ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use midflight_patch::ssh_key::{Algorithm, PrivateKey, PublicKey, Signature};
use midflight_patch::{AllowedSigners, Error, KeyFile, PATCH_NAMESPACE, Signer, sign};
use sha2::{Digest as _, Sha256};
use signature::Signer as _;
use support::ssh::{MESSAGE, key_file, ours, public, sign_theirs, text, theirs};
use support::{new_key, patch, run};

#[test]
fn what_we_sign_ssh_keygen_verifies_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    for (name, kind) in [
        ("ed25519", ["ed25519", "-b", "256"]),
        ("p256", ["ecdsa", "-b", "256"]),
        ("p384", ["ecdsa", "-b", "384"]),
        ("p521", ["ecdsa", "-b", "521"]),
    ] {
        let key = new_key(folder.path(), name, &kind, "");
        let allowed = format!("alice {}", public(&key));
        let armored = sign(&key_file(&key), PATCH_NAMESPACE, MESSAGE).unwrap();
        assert!(
            theirs(folder.path(), &allowed, "alice", armored.as_str()),
            "{name}"
        );
        for armored in [
            armored.to_string(),
            sign_theirs(&key, PATCH_NAMESPACE, "sha512"),
            sign_theirs(&key, PATCH_NAMESPACE, "sha256"),
        ] {
            let principals = ours(&allowed, &armored).unwrap();
            assert_eq!(principals.len(), 1);
            assert_eq!(principals[0].name, "alice");
            assert!(
                principals[0].key.contains(" SHA256:"),
                "{}",
                principals[0].key
            );
        }
    }
}

#[test]
fn altered_and_foreign_signatures_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(folder.path(), "key", &["ed25519"], "");
    let allowed =
        AllowedSigners::parse(&format!("alice {}", public(&key)), "allowed_signers").unwrap();
    let now = SystemTime::now();
    let code = |message: &[u8], armored: &[&str]| {
        allowed
            .verify(PATCH_NAMESPACE, message, armored, now)
            .unwrap_err()
            .code()
    };
    let armored = sign(&key_file(&key), PATCH_NAMESPACE, MESSAGE).unwrap();
    let elsewhere = sign(&key_file(&key), "file", MESSAGE).unwrap();
    assert_eq!(code(MESSAGE, &[]), "MF0213");
    assert_eq!(code(b"another message", &[armored.as_str()]), "MF0214");
    assert_eq!(
        code(
            MESSAGE,
            &["", "no armor", "-----BEGIN SSH SIGNATURE-----\n"]
        ),
        "MF0214"
    );
    assert_eq!(code(MESSAGE, &[elsewhere.as_str()]), "MF0216");
    // One that counts is enough, whatever stands beside it.
    let beside = allowed
        .verify(
            PATCH_NAMESPACE,
            MESSAGE,
            &["", elsewhere.as_str(), armored.as_str()],
            now,
        )
        .unwrap();
    assert_eq!(beside.len(), 1);
    // No flip of any byte of the armor makes a signature that counts for other bytes, or panics.
    let mut bytes = armored.as_str().as_bytes().to_vec();
    for index in 0..bytes.len() {
        bytes[index] ^= 1;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            assert!(
                allowed
                    .verify(PATCH_NAMESPACE, b"another message", &[text], now)
                    .is_err()
            );
        }
        bytes[index] ^= 1;
    }
}

/// A FIDO token in software: signs what a token signs (PROTOCOL.u2f), with the flags that it is given.
struct Token {
    key: PrivateKey,
    public: PublicKey,
    flags: u8,
}

impl Token {
    fn new(key: PrivateKey, flags: u8) -> Self {
        let public = match key.public_key().key_data() {
            KeyData::Ed25519(public) => KeyData::SkEd25519(SkEd25519::new(*public, "ssh:")),
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)) => {
                KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(*point, "ssh:"))
            }
            other => panic!("{other:?}"),
        };
        Self {
            key,
            public: PublicKey::from(public),
            flags,
        }
    }
}

impl Signer for Token {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign_blob(&self, data: &[u8]) -> Result<Signature, Error> {
        let trailer = [self.flags, 0, 0, 0, 9];
        let signed = [
            &Sha256::digest(b"ssh:")[..],
            &trailer,
            &Sha256::digest(data)[..],
        ]
        .concat();
        let signature = self.key.try_sign(&signed).unwrap();
        let bytes = [signature.as_bytes(), &trailer].concat();
        Ok(Signature::new(self.public.algorithm(), bytes).unwrap())
    }
}

#[test]
fn signatures_of_fido_tokens_verify() {
    let folder = tempfile::tempdir().unwrap();
    for (name, kind, algorithm) in [
        ("ed25519", ["ed25519", "-b", "256"], Algorithm::SkEd25519),
        (
            "p256",
            ["ecdsa", "-b", "256"],
            Algorithm::SkEcdsaSha2NistP256,
        ),
    ] {
        let key = PrivateKey::from_openssh(text(&new_key(folder.path(), name, &kind, ""))).unwrap();
        for (flags, verified) in [(0x01, false), (0x05, true)] {
            let token = Token::new(key.clone(), flags);
            assert_eq!(token.public.algorithm(), algorithm);
            let public = token.public.to_openssh().unwrap();
            let armored = sign(&token, PATCH_NAMESPACE, MESSAGE).unwrap();
            let allowed = format!("alice {public}");
            assert_eq!(ours(&allowed, armored.as_str()).unwrap()[0].name, "alice");
            assert!(
                theirs(folder.path(), &allowed, "alice", armored.as_str()),
                "{name}"
            );
            let outcome = ours(&format!("alice verify-required {public}"), armored.as_str());
            assert_eq!(outcome.is_ok(), verified, "{outcome:?}");
        }
    }
    // A key file cannot do what `verify-required` asks for.
    let key = new_key(folder.path(), "plain", &["ed25519"], "");
    let armored = sign(&key_file(&key), PATCH_NAMESPACE, MESSAGE).unwrap();
    let error = ours(
        &format!("alice verify-required {}", public(&key)),
        armored.as_str(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("FIDO"), "{error}");
}

#[test]
fn rsa_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(folder.path(), "rsa", &["rsa", "-b", "2048"], "");
    let error = KeyFile::open(&key, |_| None).err().unwrap();
    assert_eq!(error.code(), "MF0220");
    assert!(
        error.to_string().contains("RSA keys are not supported"),
        "{error}"
    );
    let error = ours(
        &format!("alice {}", public(&key)),
        &sign_theirs(&key, PATCH_NAMESPACE, "sha512"),
    )
    .unwrap_err();
    assert_eq!(error.code(), "MF0214");
    assert!(error.to_string().contains("RSA"), "{error}");
}

#[test]
fn an_encrypted_key_asks_for_its_passphrase_and_an_open_one_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let key = new_key(folder.path(), "key", &["ed25519"], "open sesame");
    let open = |passphrase: Option<&str>| {
        KeyFile::open(&key, |_| passphrase.map(str::to_owned)).map(|_| ())
    };
    open(Some("open sesame")).unwrap();
    assert!(
        open(Some("wrong"))
            .unwrap_err()
            .to_string()
            .contains("does not open it")
    );
    assert!(
        open(None)
            .unwrap_err()
            .to_string()
            .contains("no passphrase")
    );
    let error = KeyFile::open(&key.with_extension("pub"), |_| None)
        .err()
        .unwrap();
    assert!(error.to_string().contains("public key"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(open(None).unwrap_err().to_string().contains("0644"));
}

#[test]
fn a_bundle_takes_only_signatures_that_fit_it() {
    let (folder, mut bundle) = patch();
    let key = new_key(folder.path(), "key", &["ed25519"], "");
    let allowed =
        AllowedSigners::parse(&format!("alice {}", public(&key)), "allowed_signers").unwrap();
    let now = SystemTime::now();
    let unsigned = bundle.verify(&allowed, now).unwrap_err();
    assert_eq!(unsigned.code(), "MF0213");
    assert!(
        unsigned
            .to_string()
            .starts_with("patch demo 2.0.0 (sha256:"),
        "{unsigned}"
    );
    assert_eq!(
        bundle
            .add_signature(sign_theirs(&key, PATCH_NAMESPACE, "sha512"))
            .unwrap_err()
            .code(),
        "MF0214"
    );

    let manifest = folder.path().join("manifest");
    fs::write(&manifest, &bundle.manifest_bytes).unwrap();
    let digest = bundle.digest();
    let args = [
        "-Y",
        "sign",
        "-q",
        "-f",
        key.to_str().unwrap(),
        "-n",
        PATCH_NAMESPACE,
        manifest.to_str().unwrap(),
    ];
    assert!(run("ssh-keygen", &args, b"").status.success());
    bundle
        .add_signature(text(&folder.path().join("manifest.sig")))
        .unwrap();
    // Ed25519 signatures are deterministic: ours is the one that is there.
    bundle.sign(&key_file(&key)).unwrap();
    assert_eq!(bundle.signatures.len(), 1);
    assert_eq!(bundle.digest(), digest);
    assert_eq!(bundle.verify(&allowed, now).unwrap()[0].name, "alice");
    let before = AllowedSigners::parse(
        &format!("alice valid-after=\"20260101Z\" {}", public(&key)),
        "s",
    )
    .unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!(bundle.verify(&before, then).unwrap_err().code(), "MF0217");
}
