//! The bundle as a file: round trips, also by way of skopeo, and every way in which a file can be damaged.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use midflight_patch::{Bundle, Digest, Error};
use support::{new_key, patch, release, run};

fn signed() -> (tempfile::TempDir, Bundle) {
    let (folder, mut bundle) = release();
    let key = new_key(folder.path(), "key", &["ed25519"], "");
    bundle
        .sign(&midflight_patch::KeyFile::open(&key, |_| None).unwrap())
        .unwrap();
    (folder, bundle)
}

fn read(bytes: &[u8]) -> Result<Bundle, Error> {
    Bundle::read_from(bytes, "demo.bundle")
}

/// What a bundle is for those who run it; signatures are judged on their own.
fn same(a: &Bundle, b: &Bundle) -> bool {
    a.manifest == b.manifest && a.manifest_bytes == b.manifest_bytes && a.blobs == b.blobs
}

#[test]
fn a_bundle_reads_back_as_it_was_written() {
    let (folder, bundle) = signed();
    let path = folder.path().join("demo.bundle");
    bundle.write(&path).unwrap();
    assert_eq!(Bundle::read(&path).unwrap(), bundle);
    assert_eq!(std::fs::read(&path).unwrap(), bundle.to_bytes().unwrap());
    // A second write replaces the first, and leaves nothing beside it.
    bundle.write(&path).unwrap();
    let left = std::fs::read_dir(folder.path()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".tmp")
    });
    assert_eq!(left.count(), 0);
    let again = Bundle::assemble(
        bundle.manifest_bytes.clone(),
        bundle.blobs.clone(),
        bundle.signatures.clone(),
    );
    assert_eq!(again.unwrap(), bundle);
}

#[test]
fn every_truncation_of_a_bundle_is_refused() {
    let (_folder, bundle) = signed();
    let bytes = bundle.to_bytes().unwrap();
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).unwrap_err();
        assert_eq!(error.code(), "MF0211", "{length}: {error}");
        assert!(
            error.to_string().starts_with("demo.bundle: at byte "),
            "{error}"
        );
    }
}

#[test]
fn every_altered_byte_is_refused_or_changes_nothing() {
    let (_folder, bundle) = signed();
    let mut bytes = bundle.to_bytes().unwrap();
    let mut refused = 0;
    for index in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[index] ^= flip;
            match read(&bytes) {
                Ok(read) => assert!(same(&read, &bundle), "byte {index}"),
                Err(error) => {
                    assert!(
                        matches!(
                            error.code(),
                            "MF0205" | "MF0204" | "MF0210" | "MF0211" | "MF0212"
                        ),
                        "{error}"
                    );
                    refused += 1;
                }
            }
            bytes[index] ^= flip;
        }
    }
    assert!(refused > bytes.len());
}

#[test]
fn what_follows_the_end_is_refused() {
    let (_folder, bundle) = patch();
    let mut bytes = bundle.to_bytes().unwrap();
    let end = bytes.len();
    // The zeros with which tar fills its last record are no garbage.
    bytes.extend([0; 9000]);
    assert_eq!(read(&bytes).unwrap(), bundle);
    bytes.push(1);
    let Error::Layout {
        offset, problem, ..
    } = read(&bytes).unwrap_err()
    else {
        panic!()
    };
    assert_eq!(offset, end as u64 + 9000);
    assert!(problem.contains("after the end"), "{problem}");
    // A second archive behind the first is no exception.
    let twice = [bundle.to_bytes().unwrap(), bundle.to_bytes().unwrap()].concat();
    assert_eq!(read(&twice).unwrap_err().code(), "MF0211");
}

/// A tar with the entries of `bundle` and one more.
fn with_entry(bundle: &Bundle, add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let bytes = bundle.to_bytes().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        builder.append(&entry.header().clone(), entry).unwrap();
    }
    add(&mut builder);
    builder.into_inner().unwrap()
}

fn entry(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    if kind != tar::EntryType::Regular {
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
    }
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

#[test]
fn entries_that_do_not_belong_are_refused() {
    use tar::EntryType::{Block, Fifo, GNUSparse, Link, Regular, Symlink, XGlobalHeader};

    let (_folder, bundle) = patch();
    let blob = format!("blobs/sha256/{}", Digest::of(b"stray").hex());
    let missing = format!("blobs/sha256/{}", Digest::of(b"other").hex());
    for (path, kind, bytes) in [
        ("../evil", Regular, b"x".as_slice()),
        ("/oci-layout", Regular, b"{}"),
        ("./index.json", Regular, b"{}"),
        ("blobs/sha256/short", Regular, b"x"),
        ("index.json", Regular, b"{}"),
        ("link", Symlink, b""),
        (&blob, Symlink, b""),
        (&blob, Link, b""),
        (&blob, Fifo, b""),
        (&blob, Block, b""),
        (&blob, GNUSparse, b""),
        ("global", XGlobalHeader, b""),
        (&blob, Regular, b"stray"),
    ] {
        let error = read(&with_entry(&bundle, |tar| entry(tar, path, kind, bytes))).unwrap_err();
        assert_eq!(error.code(), "MF0211", "{path} {kind:?}: {error}");
    }
    let error = read(&with_entry(&bundle, |tar| {
        entry(tar, &missing, Regular, b"stray")
    }))
    .unwrap_err();
    assert_eq!(error.code(), "MF0212", "{error}");
}

#[test]
fn bounds_are_kept_without_reading_what_passes_them() {
    let (_folder, bundle) = patch();
    // A header that announces a blob of more than 64 MiB; its bytes are not even there.
    let mut header = tar::Header::new_ustar();
    header
        .set_path(format!("blobs/sha256/{}", Digest::of(b"").hex()))
        .unwrap();
    header.set_size((64 << 20) + 1);
    header.set_cksum();
    let error = read(header.as_bytes()).unwrap_err();
    assert_eq!(error.code(), "MF0210", "{error}");
    assert!(error.to_string().contains("67108865"), "{error}");

    let mut header = tar::Header::new_ustar();
    header.set_path("index.json").unwrap();
    header.set_size((1 << 20) + 1);
    header.set_cksum();
    assert_eq!(read(header.as_bytes()).unwrap_err().code(), "MF0210");

    // A file without end: a long name of half a gigabyte, and zeros for ever.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(512 << 20);
    header.set_cksum();
    let endless = std::io::Read::chain(header.as_bytes().as_slice(), std::io::repeat(0));
    assert_eq!(
        Bundle::read_from(endless, "endless").unwrap_err().code(),
        "MF0210"
    );
    assert_eq!(
        Bundle::read_from(std::io::repeat(0), "endless")
            .unwrap_err()
            .code(),
        "MF0210"
    );
    assert_eq!(read(&bundle.to_bytes().unwrap()).unwrap(), bundle);
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (_folder, bundle) = patch();
    let none =
        Bundle::assemble(bundle.manifest_bytes.clone(), BTreeMap::new(), Vec::new()).unwrap_err();
    assert_eq!(none.code(), "MF0211");
    let mut blobs = bundle.blobs.clone();
    blobs.insert(Digest::of(b"x"), b"x".to_vec());
    assert_eq!(
        Bundle::assemble(bundle.manifest_bytes.clone(), blobs, Vec::new())
            .unwrap_err()
            .code(),
        "MF0211"
    );
    let mut blobs = bundle.blobs.clone();
    blobs.values_mut().for_each(|bytes| bytes[20] ^= 1);
    assert_eq!(
        Bundle::assemble(bundle.manifest_bytes.clone(), blobs, Vec::new())
            .unwrap_err()
            .code(),
        "MF0212"
    );
}

#[test]
fn a_manifest_that_is_spelled_otherwise_is_refused() {
    let (_folder, bundle) = patch();
    let text = String::from_utf8(bundle.manifest_bytes.clone()).unwrap();
    for other in [
        text.replacen(':', ": ", 1),
        text.replace("\"listen\":null,", ""),
        format!("{text}\n"),
    ] {
        let error = midflight_patch::Manifest::parse(other.as_bytes()).unwrap_err();
        assert_eq!(error.code(), "MF0205", "{error}");
    }
    let unknown = text.replacen('{', "{\"a\":1,", 1);
    assert_eq!(
        midflight_patch::Manifest::parse(unknown.as_bytes())
            .unwrap_err()
            .code(),
        "MF0204"
    );
}

#[test]
fn skopeo_carries_a_bundle_without_changing_its_digest() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("skipped: skopeo is not installed");
        return;
    }
    let (folder, bundle) = signed();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    bundle.write(at("demo.bundle").as_ref()).unwrap();
    for (from, to) in [
        (
            format!("oci-archive:{}", at("demo.bundle")),
            format!("oci:{}:demo", at("layout")),
        ),
        (
            format!("oci:{}:demo", at("layout")),
            format!("oci-archive:{}:demo", at("again.bundle")),
        ),
    ] {
        let output = run(
            "skopeo",
            &["--insecure-policy", "copy", "--quiet", &from, &to],
            b"",
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let again = Bundle::read(at("again.bundle").as_ref()).unwrap();
    assert_eq!(again, bundle);
    assert_eq!(again.digest(), bundle.digest());
}

#[test]
fn a_bundle_reads_as_text() {
    let (_folder, bundle) = signed();
    let text = bundle.inspect();
    for words in [
        "release demo 1.0.0",
        "listen  7001",
        "counter: 1.0.0",
        "counter.1 to counter.3",
        "ssh-ed25519 SHA256:",
    ] {
        assert!(text.contains(words), "{words} in:\n{text}");
    }
    let (_folder, bundle) = patch();
    let text = bundle.inspect();
    for words in [
        "patch demo 1.0.0 -> 2.0.0",
        "counter: 1.0.0 -> 2.0.0, advanced",
        "extra: {\"step\":2}",
        "signatures: none",
    ] {
        assert!(text.contains(words), "{words} in:\n{text}");
    }
}
