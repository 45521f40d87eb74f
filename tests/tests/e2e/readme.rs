//! The README's first own patch, run as written: every block of commands between its heading and the next.

use std::{fs, path::Path, process::Command};

#[test]
fn the_first_own_patch_of_the_readme_works_as_written() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the checkout");
    let readme = fs::read_to_string(checkout.join("README.md")).expect("the README");
    let section = readme
        .split("\n## ")
        .find(|s| s.starts_with("Your first own patch"))
        .expect("the section");
    let blocks: Vec<&str> = section
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 6, "{} blocks", blocks.len());

    let folder = tempfile::tempdir().expect("a folder");
    let exe = std::env::current_exe().expect("a test knows where it is");
    let target = exe
        .ancestors()
        .nth(3)
        .expect("tests lie in target/release/deps");
    // The agent is ended whatever happens.
    let script = format!(
        "set -eu\ntrap 'kill $(cat agent.pid) 2>/dev/null || true' EXIT\n{}",
        blocks.join("\n")
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .current_dir(&checkout)
        .env("TMPDIR", folder.path())
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("bash runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");

    let said: Vec<&str> = out
        .lines()
        .filter(|l| l.contains("hello") && l.contains("number"))
        .collect();
    let count = |line: &str| -> u64 {
        let digits = line.split("number ").nth(1).expect("a number");
        digits
            .chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .expect("a number")
    };
    let counts: Vec<u64> = said.iter().map(|l| count(l)).collect();
    assert!(
        counts.windows(2).all(|w| w[1] == w[0] + 1),
        "the count goes on across both changes: {said:?}"
    );
    let world: Vec<bool> = said.iter().map(|l| l.contains("hello world")).collect();
    assert!(
        !world[0] && world.contains(&true) && !world[world.len() - 1],
        "old, new, old again: {said:?}"
    );
}
