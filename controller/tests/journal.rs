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
    padded(first, size, 0)
}

/// Events that take some room.
fn padded(first: u64, size: u64, room: usize) -> Vec<Event> {
    let event = |seq| Event {
        rollout: "r-1".parse().unwrap(),
        seq,
        time_ms: seq,
        fact: Fact::State {
            state: RolloutState::Running,
            reason: format!("number {seq:0room$}"),
        },
    };
    (first..first + size).map(event).collect()
}

fn is_whole(event: &Event, seq: u64) -> bool {
    let number = match &event.fact {
        Fact::State { reason, .. } => reason.strip_prefix("number "),
        _ => None,
    };
    event.seq == seq && number.and_then(|number| number.parse().ok()) == Some(seq)
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

/// The last number in a journal that consists of these files.
async fn last_after(journal: &[u8], log: &[u8]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("journal.db");
    fs::write(&copy, journal).unwrap();
    fs::write(log_of(&copy), log).unwrap();
    let reopened = Sqlite::open(&copy).unwrap();
    let id = "r-1".parse().unwrap();
    let events = reopened.events(&id, 0, usize::MAX).await.unwrap();
    assert!(
        events
            .iter()
            .zip(1..)
            .all(|(event, seq)| is_whole(event, seq)),
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
    let (journal, log) = (
        fs::read(&journal).unwrap(),
        fs::read(log_of(&journal)).unwrap(),
    );
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

/// How a disk writes: a power cut leaves whole sectors of what was not synced, or none of them.
const SECTOR: usize = 512;

/// What a file is after a power cut between two states of it: the sectors that `is_new` names are written, the others not.
fn between(old: &[u8], new: &[u8], is_new: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut cut = old.to_vec();
    // Beyond its former end a file has holes where nothing was written.
    cut.resize(new.len(), 0);
    for (n, sector) in new.chunks(SECTOR).enumerate().filter(|(n, _)| is_new(*n)) {
        cut[n * SECTOR..][..sector.len()].copy_from_slice(sector);
    }
    cut
}

/// Which of a number of changed sectors reached the disk: none, some at the beginning, some at the end, every third, all.
fn cuts(old: &[u8], new: &[u8], n: usize) -> Vec<Vec<u8>> {
    let sector = |file: &[u8], at: usize| {
        file.iter()
            .skip(at * SECTOR)
            .take(SECTOR)
            .copied()
            .collect::<Vec<_>>()
    };
    let is_changed = |at: &usize| sector(old, *at) != sector(new, *at);
    let changed: Vec<usize> = (0..new.len().div_ceil(SECTOR)).filter(is_changed).collect();
    if changed.is_empty() {
        return vec![new.to_vec()];
    }
    let middle = changed[(n * 37) % changed.len()];
    let some = |sector: usize| (sector * 7 + n).is_multiple_of(3);
    vec![
        old.to_vec(),
        between(old, new, |sector| sector < middle),
        between(old, new, |sector| sector >= middle),
        between(old, new, some),
        new.to_vec(),
    ]
}

/// Between two acknowledgements the log grows, or what is in it is copied to the file and the log begins again. At no write of
/// that does a power cut lose anything: of what was written since the last sync any sectors may be there.
#[tokio::test]
async fn a_power_cut_while_the_log_is_copied_or_begins_again_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Sqlite::open(&path).unwrap();
    let files = || {
        let log = fs::read(log_of(&path)).unwrap();
        (fs::read(&path).unwrap(), log)
    };
    let mut before = files();
    let (mut copied, mut begun_again, mut next) = (0, 0, 1);
    // Twice around, and some appends more.
    for n in 0.. {
        if begun_again >= 2 && copied >= 3 {
            break;
        }
        assert!(n < 1_000, "the log was never copied");
        let (acknowledged, size) = (next - 1, 1 + next % 5);
        journal.append(&padded(next, size, 9_000)).await.unwrap();
        next += size;
        let after = files();
        let (is_copied, again) = (before.0 != after.0, before.1[..32] != after.1[..32]);
        (copied, begun_again) = (
            copied + usize::from(is_copied),
            begun_again + usize::from(again),
        );
        if is_copied || again || n % 40 == 0 {
            // The log is synced before it is copied, and the file before the log begins again.
            for log in cuts(&before.1, &after.1, n) {
                let found = last_after(&before.0, &log).await;
                assert!(
                    found >= acknowledged,
                    "log, append {n}: {found} of {acknowledged}"
                );
            }
            for file in cuts(&before.0, &after.0, n) {
                let found = last_after(&file, &after.1).await;
                assert_eq!(found, next - 1, "file, append {n}");
            }
        }
        before = after;
    }
}
