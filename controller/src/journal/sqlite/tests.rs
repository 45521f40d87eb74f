//! What the file keeps, through reopening, older layouts, other processes and power cuts.

use super::*;
use crate::journal::testing::event;

async fn all(journal: &Sqlite, rollout: &str) -> Vec<Event> {
    let id = rollout.parse().unwrap();
    journal.events(&id, 0, usize::MAX).await.unwrap()
}

#[tokio::test]
async fn events_survive_a_reopening_and_are_read_from_a_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.db");
    let journal = Sqlite::open(&path).unwrap();
    let some: Vec<Event> = (1..=3).map(|seq| event("a", seq)).collect();
    journal.append(&some).await.unwrap();
    journal.append(&[event("a", 4)]).await.unwrap();
    journal.append(&[event("b", 1)]).await.unwrap();
    drop(journal);
    let journal = Sqlite::open(&path).unwrap();
    let id = "a".parse().unwrap();
    let read = journal.events(&id, 1, 2).await.unwrap();
    assert_eq!(read, [event("a", 2), event("a", 3)]);
    let read = journal.events(&id, 1, 9).await.unwrap();
    assert_eq!(read, [event("a", 2), event("a", 3), event("a", 4)]);
    assert_eq!(journal.heads(Which::Newest(10)).await.unwrap().len(), 2);
    assert_eq!(journal.heads(Which::Newest(1)).await.unwrap().len(), 1);
    let head = journal.head(&id).await.unwrap().unwrap();
    assert_eq!((head.seq, head.last_ms, head.started_ms), (4, 4, 1));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_number_that_is_taken_or_leaves_a_gap_is_refused_and_nothing_of_the_batch_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let (journal, other) = (Sqlite::open(&path).unwrap(), Sqlite::open(&path).unwrap());
    journal.append(&[event("a", 1)]).await.unwrap();
    for bad in [1, 3] {
        let refused = other.append(&[event("a", bad)]).await.unwrap_err();
        assert_eq!(refused.code(), "MF0541");
    }
    let mixed = [event("a", 2), event("b", 3)];
    assert_eq!(journal.append(&mixed).await.unwrap_err().code(), "MF0541");
    other.append(&[event("a", 2)]).await.unwrap();
    let refused = journal.append(&[event("a", 2)]).await.unwrap_err();
    assert_eq!(refused.code(), "MF0541", "another process was faster");
    assert_eq!(all(&journal, "a").await.len(), 2);
}

#[tokio::test]
async fn appends_that_wait_together_stand_or_fall_alone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Sqlite::open(&folder.path().join("journal.db")).unwrap();
    let many = (0..64).map(|n| {
        let seq = if n % 2 == 0 { 1 } else { 7 };
        journal.append(&[event(&format!("r-{n}"), seq)])
    });
    let results = futures::future::join_all(many).await;
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), n % 2 == 0, "{n}: {result:?}");
    }
    assert_eq!(journal.heads(Which::Open).await.unwrap().len(), 32);
}

#[tokio::test]
async fn blobs_are_kept_once_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Sqlite::open(&folder.path().join("journal.db")).unwrap();
    let digest = journal.put_blob(b"a patch".to_vec()).await.unwrap();
    assert_eq!(journal.put_blob(b"a patch".to_vec()).await.unwrap(), digest);
    assert_eq!(journal.blob(digest).await.unwrap(), b"a patch");
    let missing = journal.blob(Digest::of(b"another")).await.unwrap_err();
    assert_eq!(missing.code(), "MF0542");
    let connection = Connection::open(journal.path()).unwrap();
    connection
        .execute("UPDATE blob SET bytes = x'00'", ())
        .unwrap();
    assert_eq!(journal.blob(digest).await.unwrap_err().code(), "MF0542");
}

#[tokio::test]
async fn a_file_of_the_first_layout_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE event (rollout TEXT NOT NULL, seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, json TEXT NOT NULL,
         PRIMARY KEY (rollout, seq)) STRICT, WITHOUT ROWID; PRAGMA user_version = 1;",
    )
    .unwrap();
    old.execute_batch("BEGIN").unwrap();
    for rollout in ["a", "b"] {
        for seq in 1..=300_u64 {
            let json = serde_json::to_string(&event(rollout, seq)).unwrap();
            let row = params![rollout, seq as i64, seq as i64, json];
            old.execute("INSERT INTO event VALUES (?1, ?2, ?3, ?4)", row)
                .unwrap();
        }
    }
    old.execute_batch("COMMIT").unwrap();
    drop(old);
    let journal = Sqlite::open(&path).unwrap();
    let want: Vec<Event> = (1..=300).map(|seq| event("b", seq)).collect();
    assert_eq!(all(&journal, "b").await, want);
    journal.append(&[event("b", 301)]).await.unwrap();
    let heads = journal.heads(Which::Open).await.unwrap();
    assert_eq!(
        heads.iter().map(|head| head.seq).collect::<Vec<_>>(),
        [300, 301]
    );
}

#[tokio::test]
async fn a_shell_reads_one_row_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Sqlite::open(&folder.path().join("journal.db")).unwrap();
    let some: Vec<Event> = (1..=3).map(|seq| event("a", seq)).collect();
    journal.append(&some).await.unwrap();
    let shell = Connection::open(journal.path()).unwrap();
    let row = shell.query_row(
        "SELECT count(*), max(seq), json_extract(json, '$.state') FROM event WHERE rollout = 'a'",
        (),
        |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, String>(2)?,
            ))
        },
    );
    assert_eq!(row.unwrap(), (3, 3, "running".to_owned()));
}

#[test]
fn a_new_file_that_another_process_prepares_is_opened_when_that_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; CREATE TABLE t (c)")
        .unwrap();
    let opening = std::thread::spawn(move || Sqlite::open(&path).map(drop));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!opening.is_finished());
    other.execute_batch("COMMIT").unwrap();
    opening.join().unwrap().unwrap();
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert_eq!(Sqlite::open(&path).err().unwrap().code(), "MF0511");
}

/// The file can hold no more pages than it has: what a full disk looks like to SQLite.
#[tokio::test]
async fn a_full_disk_is_an_error_and_what_was_acknowledged_stays() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place(folder.path().join("journal.db").as_path().into());
    let mut writes = connect(&place).unwrap();
    schema::prepare(&mut writes, &place).unwrap();
    let pages: i64 = writes
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    writes
        .pragma_update(None, "max_page_count", pages + 4)
        .unwrap();
    let journal = Sqlite(Arc::new(Inner {
        reader: Mutex::new(connect(&place).unwrap()),
        writer: Writer::start(writes, place.clone()).unwrap(),
        place,
    }));
    let mut kept = 0;
    let error = loop {
        match journal.append(&[event("a", kept + 1)]).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "MF0510");
    assert!(crate::error::chain(&error).contains("full"), "{error:?}");
    assert!(kept > 0);
    assert_eq!(all(&journal, "a").await.len() as u64, kept);
}

/// What the journal costs a rollout of 10,000 nodes with 15 events each, in batches as the engine makes them. Prints it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_rollout_of_ten_thousand_nodes_costs() {
    use crate::engine::event::Fact;
    use crate::engine::words::{Outcome, Phase, Status};

    let folder = tempfile::tempdir().unwrap();
    let journal = Sqlite::open(&folder.path().join("journal.db")).unwrap();
    let fact = |n: u64| {
        let node = format!("web{:05}.eu", n / 15);
        match n % 5 {
            0 => Fact::Ask {
                node,
                phase: Phase::Upgrade,
                attempt: 1,
            },
            1 => Fact::Node {
                node,
                outcome: Outcome::InProbation,
                pause_us: Some(n),
                steps: Vec::new(),
                cause: None,
                rollback: None,
            },
            _ => Fact::Step {
                node,
                phase: Phase::Prepare,
                status: Status::Done,
                elapsed_us: n,
            },
        }
    };
    let rollout: RolloutId = "20261121-abcdefgh".parse().unwrap();
    let cpu = || {
        let usage = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = usage
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        // utime and stime, in hundredths of a second.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    for batch in [64, 256] {
        let events: Vec<Event> = (1..=150_000)
            .map(|seq| Event {
                rollout: format!("{rollout}-{batch}").parse().unwrap(),
                seq,
                time_ms: 1_764_000_000_000 + seq,
                fact: fact(seq),
            })
            .collect();
        let (before, start) = (cpu(), std::time::Instant::now());
        for some in events.chunks(batch) {
            journal.append(some).await.unwrap();
        }
        let micros = (cpu() - before) * 1e6 / 10_000.0;
        println!(
            "batches of {batch}: {micros:.1} us CPU a node, {:?} in all",
            start.elapsed()
        );
    }
    let (before, id) = (cpu(), format!("{rollout}-256").parse().unwrap());
    assert_eq!(
        journal.events(&id, 0, usize::MAX).await.unwrap().len(),
        150_000
    );
    println!(
        "read back: {:.1} us CPU a node",
        (cpu() - before) * 1e6 / 10_000.0
    );
}
