//! The documents that name tests, held against the tree: a row whose test is gone, or has another name, proves nothing. What the
//! tests show is not looked at here.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Tables whose last column says what would fail.
const TABLES: [&str; 2] = ["docs/otp-parity.md", "docs/verification.md"];
/// Words in a test's name, at least: names are sentences, and other names are shorter.
const WORDS: usize = 4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust of the workspace.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, text);
        } else if name.ends_with(".rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The tests that the last column of a document's tables names.
fn named(document: &str) -> Vec<String> {
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let quoted = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let is_test = |word: &&str| {
        let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
        word.split('_').count() >= WORDS && word.split('_').all(part)
    };
    quoted.filter(is_test).map(str::to_owned).collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut text = String::new();
    sources(&root(), &mut text);
    for document in TABLES {
        let tests = named(&fs::read_to_string(root().join(document)).unwrap());
        assert!(tests.len() > 9, "{document} names its tests: {tests:?}");
        let gone: Vec<_> = tests
            .iter()
            .filter(|test| !text.contains(&format!("fn {test}(")))
            .collect();
        assert!(
            gone.is_empty(),
            "{document} names what is no test: {gone:#?}"
        );
    }
}
