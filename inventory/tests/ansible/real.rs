//! The real `ansible-inventory`, many times in one process: Python and Ansible are loaded once, and each listing runs in a
//! fork, with nothing shared but what was loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Held while a program is written or started: a file that a fork still has open for writing cannot be executed.
pub static STARTING: Mutex<()> = Mutex::new(());

const DRIVER: &str = r#"
import os, sys
from ansible.cli.inventory import InventoryCLI
for case in open(sys.argv[1]).read().splitlines():
    out, *sources = case.split("\t")
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(out, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
        os.dup2(os.open(out + ".err", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
        code = 1
        try:
            args = ["ansible-inventory", "--list"]
            for source in sources:
                args += ["-i", source]
            InventoryCLI(args).run()
        except SystemExit as end:
            code = end.code or 0
        except BaseException as error:
            print("ERROR", repr(error), file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        os.unlink(out)
"#;

/// What `ansible-inventory --list` prints for each list of sources, and what it complains about; `None` where it fails.
pub fn listings(cases: &[Vec<PathBuf>]) -> Vec<(Option<String>, String)> {
    let program = "/usr/bin/ansible-inventory";
    let text = fs::read_to_string(program).expect("ansible-core is installed: see needs.sh");
    let interpreter = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("#!"))
        .expect("a script of Python's");
    let dir = tempfile::tempdir().expect("a folder");
    let out = |number: usize| dir.path().join(number.to_string());
    let lines: String = cases
        .iter()
        .enumerate()
        .map(|(number, sources)| {
            let sources = sources
                .iter()
                .map(|source| format!("\t{}", source.display()));
            format!("{}{}\n", out(number).display(), sources.collect::<String>())
        })
        .collect();
    let list = dir.path().join("cases");
    fs::write(&list, lines).expect("written");
    let config = dir.path().join("ansible.cfg");
    fs::write(&config, "").expect("written");
    let mut python = Command::new(interpreter.trim());
    python
        .args(["-c", DRIVER])
        .arg(&list)
        .env("ANSIBLE_CONFIG", &config)
        .env("ANSIBLE_LOCAL_TEMP", dir.path().join("tmp"))
        .env("LC_ALL", "C.UTF-8")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        python.spawn().expect("Python starts")
    };
    let ran = started.wait_with_output().expect("Python runs");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    (0..cases.len())
        .map(|number| {
            let complaints = fs::read_to_string(out(number).with_extension("err"));
            let listing = fs::read_to_string(out(number)).ok();
            (listing, complaints.unwrap_or_default())
        })
        .collect()
}

/// Compares a listing with the real one, as JSON first, because that says more.
pub fn compare(what: &str, ours: &str, real: &str) {
    if ours == real {
        return;
    }
    let parse = |text: &str| -> Option<serde_json::Value> { serde_json::from_str(text).ok() };
    let parsed = |same: bool| {
        if same {
            "the same as JSON"
        } else {
            "another JSON"
        }
    };
    let same = parse(ours).is_some() && parse(ours) == parse(real);
    let differing = ours.lines().zip(real.lines()).position(|(a, b)| a != b);
    let from = differing.unwrap_or(0).saturating_sub(4);
    let excerpt = |text: &str| -> String {
        let lines = text.lines().skip(from).take(12);
        lines.collect::<Vec<_>>().join("\n")
    };
    panic!(
        "{what}: {} from line {}\n--- ours\n{}\n--- ansible-inventory\n{}",
        parsed(same),
        from + 1,
        excerpt(ours),
        excerpt(real)
    );
}

/// The folder of a case of the corpus.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ansible/corpus")
}
