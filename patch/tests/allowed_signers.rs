//! Whose signature counts: where the real ssh-keygen says yes or no to a line, a window, a namespace or a certificate, so do we.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use std::time::SystemTime;

use midflight_patch::ssh_key::public::KeyData;
use midflight_patch::ssh_key::{PublicKey, Signature};
use midflight_patch::{AllowedSigners, Error, KeyFile, PATCH_NAMESPACE, Signer, sign};
use support::new_key;
use support::ssh::{MESSAGE, certify, key_file, ours, public, sign_theirs, theirs};

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
