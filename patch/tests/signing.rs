//! Signatures against the real ssh-keygen, both ways: what we sign it verifies, what it signs we accept, and where an allowed
//! signers file says no, both say no.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use midflight_patch::ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use midflight_patch::ssh_key::{Algorithm, PrivateKey, PublicKey, Signature};
use midflight_patch::{AllowedSigners, Error, KeyFile, PATCH_NAMESPACE, Principal, Signer, sign};
use sha2::{Digest as _, Sha256};
use signature::Signer as _;
use support::{new_key, patch, run};

const MESSAGE: &[u8] = b"{\"some\":\"manifest\"}";

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn public(path: &Path) -> String {
    text(&path.with_extension("pub")).trim().to_owned()
}

fn key_file(path: &Path) -> KeyFile {
    KeyFile::open(path, |_| None).unwrap()
}

fn ours(allowed: &str, armored: &str) -> Result<Vec<Principal>, Error> {
    AllowedSigners::parse(allowed, "allowed_signers")?.verify(
        PATCH_NAMESPACE,
        MESSAGE,
        &[armored],
        SystemTime::now(),
    )
}

/// Whether `ssh-keygen -Y verify` accepts a signature by `identity`.
fn theirs(folder: &Path, allowed: &str, identity: &str, armored: &str) -> bool {
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
fn sign_theirs(key: &Path, namespace: &str, hash: &str) -> String {
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
fn certify(authority: &Path, key: &Path, options: &[&str]) -> PathBuf {
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
fn we_agree_with_ssh_keygen_about_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(folder.path(), "key", &["ed25519"], "");
    let other = new_key(folder.path(), "other", &["ed25519"], "");
    let rsa = new_key(folder.path(), "rsa", &["rsa", "-b", "2048"], "");
    let armored = sign(&key_file(&key), PATCH_NAMESPACE, MESSAGE).unwrap();
    let (key, other, rsa) = (public(&key), public(&other), public(&rsa));
    for (allowed, code) in [
        (format!("alice {key}"), None),
        (format!("\"alice\" {key}"), None),
        (format!("bob,alice {key}"), None),
        (format!("al?ce {key}"), None),
        (format!("*,!bob {key}"), None),
        (format!("# nobody\n\n  \talice\t{key} and a comment"), None),
        (format!("bob {rsa}\nbob {other}\nalice {key}"), None),
        (
            format!("alice namespaces=\"file,patch@midflight\" {key}"),
            None,
        ),
        (format!("alice Namespaces=\"*@midflight\" {key}"), None),
        (format!("alice namespaces=\"a\\\"b,patch@*\" {key}"), None),
        (
            format!("alice valid-after=\"20200101\",valid-before=\"29990101Z\" {key}"),
            None,
        ),
        (
            format!("alice valid-after=\"202001010000\",namespaces=\"*\" {key}"),
            None,
        ),
        (
            format!("alice namespaces=\"file\" {key}\nalice {key}"),
            None,
        ),
        (format!("alice {other}"), Some("MF0215")),
        (String::new(), Some("MF0215")),
        (format!("alice cert-authority {key}"), Some("MF0215")),
        (format!("!alice {key}"), Some("MF0215")),
        (format!("alice namespaces=\"file\" {key}"), Some("MF0216")),
        (
            format!("alice namespaces=\"*,!patch@midflight\" {key}"),
            Some("MF0216"),
        ),
        (
            format!("alice valid-before=\"20200101Z\" {key}"),
            Some("MF0217"),
        ),
        (
            format!("alice valid-before=\"20200101000000\" {key}"),
            Some("MF0217"),
        ),
        (
            format!("alice valid-after=\"29990101Z\" {key}"),
            Some("MF0217"),
        ),
        ("alice".to_owned(), Some("MF0219")),
        ("alice ssh-ed25519".to_owned(), Some("MF0219")),
        ("alice ssh-ed25519 AAAA".to_owned(), Some("MF0219")),
        (format!("alice nonsense {key}"), Some("MF0219")),
        (format!("alice namespaces=file {key}"), Some("MF0219")),
        (
            format!("alice namespaces=\"*\",namespaces=\"*\" {key}"),
            Some("MF0219"),
        ),
        (format!("alice namespaces=\"* {key}"), Some("MF0219")),
        (format!("alice valid-before=\"2020\" {key}"), Some("MF0219")),
        (
            format!("alice valid-after=\"20300101Z\",valid-before=\"20200101Z\" {key}"),
            Some("MF0219"),
        ),
        (format!("alice cert-authority, {key}"), Some("MF0219")),
    ] {
        let verdict = ours(&allowed, armored.as_str());
        assert_eq!(
            verdict.as_ref().err().map(Error::code),
            code,
            "{allowed}: {verdict:?}"
        );
        assert_eq!(
            theirs(folder.path(), &allowed, "alice", armored.as_str()),
            code.is_none(),
            "{allowed}"
        );
    }
}

#[test]
fn errors_name_the_line_the_window_and_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let key = new_key(folder.path(), "key", &["ed25519"], "");
    let armored = sign(&key_file(&key), PATCH_NAMESPACE, MESSAGE).unwrap();
    let key = public(&key);
    let past = ours(
        &format!("# signers\nalice valid-before=\"20200102Z\" {key}"),
        armored.as_str(),
    )
    .unwrap_err();
    let words = "signature 1 by alice: allowed_signers:2 was valid until 2020-01-02T00:00:00Z, and it is 20";
    assert!(past.to_string().starts_with(words), "{past}");
    let bad = ours(
        &format!("alice {key}\nbob {key}\ncarol\n"),
        armored.as_str(),
    )
    .unwrap_err();
    assert!(
        bad.to_string()
            .starts_with("allowed_signers:3: there is no key"),
        "{bad}"
    );
    let nobody = ours("", armored.as_str()).unwrap_err();
    assert!(
        nobody.to_string().contains("ssh-ed25519 SHA256:"),
        "{nobody}"
    );
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

#[test]
fn principals_are_counted_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["one", "two", "three"].map(|name| new_key(folder.path(), name, &["ed25519"], ""));
    let armored = keys
        .clone()
        .map(|key| sign(&key_file(&key), PATCH_NAMESPACE, MESSAGE).unwrap());
    let [one, two, three] = keys.map(|key| public(&key));
    let allowed = AllowedSigners::parse(
        &format!("alice {one}\nalice {two}\nbob,alice {three}"),
        "signers",
    )
    .unwrap();
    let principals = allowed
        .verify(PATCH_NAMESPACE, MESSAGE, &armored, SystemTime::now())
        .unwrap();
    let names: Vec<_> = principals
        .iter()
        .map(|principal| principal.name.as_str())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
}

#[test]
fn a_certificate_is_accepted_where_its_authority_is() {
    let folder = tempfile::tempdir().unwrap();
    let authority = new_key(folder.path(), "authority", &["ecdsa", "-b", "256"], "");
    let stranger = new_key(folder.path(), "stranger", &["ed25519"], "");
    let key = new_key(folder.path(), "key", &["ed25519"], "");
    let plain = sign(&key_file(&key), PATCH_NAMESPACE, MESSAGE).unwrap();
    let (ca, stranger) = (public(&authority), public(&stranger));

    let good: &[&str] = &["-n", "alice,al", "-V", "-1h:+1h"];
    for (options, allowed, code) in [
        (good, format!("alice cert-authority {ca}"), None),
        (
            good,
            format!("*,!al cert-authority,namespaces=\"patch@midflight\" {ca}"),
            None,
        ),
        (good, format!("alice {ca}\nalice cert-authority {ca}"), None),
        (good, format!("bob cert-authority {ca}"), Some("MF0218")),
        (good, format!("alice {ca}"), Some("MF0215")),
        (
            good,
            format!("alice cert-authority {stranger}"),
            Some("MF0215"),
        ),
        (good, format!("alice {}", public(&key)), Some("MF0215")),
        (
            good,
            format!("alice cert-authority,namespaces=\"file\" {ca}"),
            Some("MF0216"),
        ),
        (
            good,
            format!("alice cert-authority,valid-before=\"20200101Z\" {ca}"),
            Some("MF0217"),
        ),
        (
            &["-n", "alice", "-V", "-2h:-1h"],
            format!("alice cert-authority {ca}"),
            Some("MF0217"),
        ),
        (
            &["-n", "alice", "-V", "+1h:+2h"],
            format!("alice cert-authority {ca}"),
            Some("MF0217"),
        ),
        (
            &["-V", "-1h:+1h"],
            format!("alice cert-authority {ca}"),
            Some("MF0218"),
        ),
        (
            &["-h", "-n", "alice"],
            format!("alice cert-authority {ca}"),
            Some("MF0218"),
        ),
    ] {
        let certificate = certify(&authority, &key, options);
        let signer = key_file(&key).with_certificate(&certificate).unwrap();
        let ours_signed = sign(&signer, PATCH_NAMESPACE, MESSAGE).unwrap().to_string();
        for armored in [
            ours_signed,
            sign_theirs(&certificate, PATCH_NAMESPACE, "sha512"),
        ] {
            let verdict = ours(&allowed, &armored);
            assert_eq!(
                verdict.as_ref().err().map(Error::code),
                code,
                "{options:?} {allowed}: {verdict:?}"
            );
            assert_eq!(
                theirs(folder.path(), &allowed, "alice", &armored),
                code.is_none(),
                "{options:?} {allowed}"
            );
            if let Ok(principals) = verdict {
                assert_eq!(principals[0].name, "alice");
            }
        }
    }
    // The bare key is not the certified one.
    assert_eq!(
        ours(&format!("alice cert-authority {ca}"), plain.as_str())
            .unwrap_err()
            .code(),
        "MF0215"
    );
    // Stricter than ssh-keygen: what a certificate limits, and cannot be checked here, is refused.
    let certificate = certify(
        &authority,
        &key,
        &["-n", "alice", "-O", "force-command=/bin/true"],
    );
    let armored = sign_theirs(&certificate, PATCH_NAMESPACE, "sha512");
    let error = ours(&format!("alice cert-authority {ca}"), &armored).unwrap_err();
    assert!(error.to_string().contains("force-command"), "{error}");
}

#[test]
fn a_certificate_that_was_altered_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = new_key(folder.path(), "authority", &["ed25519"], "");
    let key = new_key(folder.path(), "key", &["ed25519"], "");
    let certificate = certify(&authority, &key, &["-n", "mallory"]);
    let signer = key_file(&key).with_certificate(&certificate).unwrap();

    struct Forger(KeyFile, PublicKey);
    impl Signer for Forger {
        fn public_key(&self) -> &PublicKey {
            &self.1
        }
        fn sign_blob(&self, data: &[u8]) -> Result<Signature, Error> {
            self.0.sign_blob(data)
        }
    }
    let mut bytes = signer
        .public_key()
        .key_data()
        .certificate()
        .unwrap()
        .to_bytes()
        .unwrap();
    let at = bytes
        .windows(7)
        .position(|window| window == b"mallory")
        .unwrap();
    bytes[at..at + 7].copy_from_slice(b"alice-1");
    let forged = midflight_patch::ssh_key::Certificate::from_bytes(&bytes).unwrap();
    let forger = Forger(signer, PublicKey::from(KeyData::from(forged)));
    let armored = sign(&forger, PATCH_NAMESPACE, MESSAGE).unwrap();
    let error = ours(
        &format!("* cert-authority {}", public(&authority)),
        armored.as_str(),
    )
    .unwrap_err();
    assert_eq!(error.code(), "MF0218", "{error}");
    assert!(
        error.to_string().contains("authority's signature"),
        "{error}"
    );
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
