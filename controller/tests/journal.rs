//! The journal against a power cut: a process that writes it is killed, and what the disk had not been told to keep is cut off or
//! turned to rubbish. Whatever was acknowledged is there after that, and nothing is torn.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use midflight_controller::engine::event::{Event, Fact};
use midflight_controller::engine::words::RolloutState;
use midflight_controller::journal::{Journal as _, Sqlite};

const PLACE: &str = "MIDFLIGHT_TEST_JOURNAL";
/// Acknowledgements before the kill; few enough that the write-ahead log only grows.
const ACKNOWLEDGED: usize = 120;

fn batch(first: u64, size: u64) -> Vec<Event> {
    let event = |seq| Event {
        rollout: "r-1".parse().unwrap(),
        seq,
        time_ms: seq,
        fact: Fact::State {
            state: RolloutState::Running,
            reason: format!("number {seq}"),
        },
    };
    (first..first + size).map(event).collect()
}

fn log_of(journal: &Path) -> std::path::PathBuf {
    journal.with_file_name("journal.db-wal")
}

/// Not a test: the process that is killed. Prints the last number and the length of the log after each acknowledgement.
#[tokio::test]
#[ignore = "is run by the test below"]
async fn a_process_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(PLACE) else {
        return;
    };
    let journal = Sqlite::open(Path::new(&path)).unwrap();
    let mut next = 1;
    loop {
        let size = 1 + next % 7;
        journal.append(&batch(next, size)).await.unwrap();
        next += size;
        let length = fs::metadata(log_of(Path::new(&path))).unwrap().len();
        println!("acknowledged {} {length}", next - 1);
    }
}

/// The last number in a copy of the journal whose log was changed like this.
async fn last_after(journal: &Path, log: &[u8]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("journal.db");
    fs::copy(journal, &copy).unwrap();
    fs::write(log_of(&copy), log).unwrap();
    let reopened = Sqlite::open(&copy).unwrap();
    let id = "r-1".parse().unwrap();
    let events = reopened.events(&id, 0, usize::MAX).await.unwrap();
    assert_eq!(
        events,
        batch(1, events.len() as u64),
        "whole batches, in order"
    );
    let head = reopened.head(&id).await.unwrap();
    assert_eq!(head.map_or(0, |head| head.seq), events.len() as u64);
    let next = events.len() as u64 + 1;
    reopened.append(&batch(next, 1)).await.unwrap();
    events.len() as u64
}

#[tokio::test]
async fn after_a_power_cut_everything_that_was_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["a_process_that_writes_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(PLACE, &journal)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged: Vec<(u64, usize)> = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [.., "acknowledged", last, length] = words[..] {
            acknowledged.push((last.parse().unwrap(), length.parse().unwrap()));
        }
        if acknowledged.len() == ACKNOWLEDGED {
            // SIGKILL, in the middle of whatever it is doing now.
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    let log = fs::read(log_of(&journal)).unwrap();
    let all = last_after(&journal, &log).await;
    assert!(all >= acknowledged[ACKNOWLEDGED - 1].0);
    for (n, (last, length)) in acknowledged.iter().enumerate().step_by(17) {
        // What came after it did not reach the disk, or only a part of a page, or something else than was written.
        let beyond = (length + 1 + n * 37).min(log.len());
        let mut rubbish = log.clone();
        for (at, byte) in rubbish[*length..].iter_mut().enumerate() {
            *byte ^= (at % 251) as u8 | 1;
        }
        for (what, log) in [
            ("cut", &log[..*length]),
            ("torn", &log[..beyond]),
            ("rubbish", &rubbish),
        ] {
            let found = last_after(&journal, log).await;
            assert!(found >= *last, "{what} after {last}: {found}");
        }
    }
}
