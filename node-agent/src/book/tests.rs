use std::collections::BTreeMap;

use midflight_patch::{Digest, ModuleName, Plan, Release, ReleaseModule, Vsn, plan::Direction};

use super::*;
use crate::{
    clock::Machine,
    journal::{FailureNote, OrderNote, Outcome, ResumeNote, RollbackNote, testing::Volatile},
    key::Key,
    lease::Terms,
};

fn release(vsn: &str) -> Release {
    let module = ReleaseModule {
        vsn: Vsn::new(vsn).unwrap(),
        blob: Digest::of(vsn.as_bytes()),
        size: 1,
        config: serde_json::Value::Null,
    };
    Release {
        name: "app".into(),
        vsn: Vsn::new(vsn).unwrap(),
        modules: BTreeMap::from([(ModuleName::new("counter").unwrap(), module)]),
        start: Vec::new(),
        applications: Vec::new(),
        listen: Vec::new(),
        connect: Vec::new(),
    }
}

fn key(rollout: &str) -> Key {
    Key {
        rollout: rollout.into(),
        patch: Digest::of(rollout.as_bytes()),
        attempt: 1,
    }
}

fn opened(rollout: &str, from: &str, to: &str) -> Entry {
    let back = Plan {
        name: "demo".into(),
        from: Vsn::new(to).unwrap(),
        to: Vsn::new(from).unwrap(),
        direction: Direction::Down,
        modules: Vec::new(),
        steps: Vec::new(),
    };
    let (from, to) = (release(from).digest().unwrap(), release(to));
    Entry::Opened {
        key: key(rollout),
        from,
        to,
        back: Box::new(back),
        signers: vec!["ann".into()],
        order: OrderNote::default(),
        lease: Terms::default(),
    }
}

fn boot(vsn: &str) -> Entry {
    Entry::Boot {
        release: release(vsn).digest().unwrap(),
        vsn: Vsn::new(vsn).unwrap(),
        agent: "0".into(),
    }
}

fn installed(vsn: &str) -> Entry {
    Entry::Installed {
        release: release(vsn),
        manifest: Digest::of(b"m"),
        signers: Vec::new(),
    }
}

fn up(rollout: &str, from: &str, to: &str) -> Vec<Entry> {
    let key = key(rollout);
    vec![
        opened(rollout, from, to),
        Entry::Suspending { key: key.clone() },
        Entry::Resumed {
            key: key.clone(),
            report: ResumeNote::default(),
        },
        Entry::Confirming {
            key: key.clone(),
            order: OrderNote::default(),
            reason: String::new(),
        },
        Entry::Confirmed {
            key: key.clone(),
            crashed: 2,
        },
        Entry::Finished { key },
    ]
}

fn down(rollout: &str) -> Vec<Entry> {
    let key = key(rollout);
    let report = RollbackNote::default();
    vec![
        Entry::RollingBack {
            key: key.clone(),
            reason: String::new(),
            order: OrderNote::default(),
        },
        Entry::RolledBack {
            key,
            outcome: Outcome::RolledBack,
            report,
            order: OrderNote::default(),
        },
    ]
}

fn open(disk: &Volatile) -> Book {
    Book::open(Box::new(disk.clone()), Arc::new(Machine))
        .unwrap()
        .0
}

fn permanent(book: &Book) -> Option<String> {
    book.state()
        .permanent
        .as_ref()
        .map(|release| release.release.vsn.to_string())
}

fn stand(book: &Book, rollout: &str) -> Stand {
    book.state().record(&key(rollout)).unwrap().stand.clone()
}

/// A life of a node: install, two upgrades, a rollback after finish, one in probation, one abort, one failed rollback.
fn life() -> Vec<Entry> {
    let mut life = vec![installed("1"), boot("1")];
    life.extend(up("a", "1", "2"));
    life.extend(up("b", "2", "3"));
    life.extend(down("b"));
    life.extend(up("c", "2", "3").drain(..3));
    life.extend(down("c"));
    life.extend(up("d", "2", "4").drain(..1));
    life.push(Entry::Aborted {
        key: key("d"),
        failure: FailureNote::default(),
    });
    life.extend(up("e", "2", "5"));
    life.extend(down("e").drain(..1));
    life.push(Entry::RollbackFailed {
        key: key("e"),
        failure: FailureNote::default(),
    });
    life
}

/// At every operation of the disk the machine stops, and any part of what was not synced may have reached it: what boots is
/// what the last promise said, or the promise that was being written when a whole line of it got through.
#[test]
fn with_unsynced_writes_dropped_at_every_step_the_permanent_release_is_the_one_promised() {
    let life = life();
    let mut stopped = 0;
    for left in 0.. {
        let disk = Volatile::default();
        disk.0.lock().left = Some(left);
        let book = open(&disk);
        let (mut promised, mut in_writing) = (None, None);
        for entry in &life {
            let mut next = State::clone(&book.state());
            next.apply(entry).unwrap();
            if book.record(entry).is_err() {
                in_writing = Some(
                    next.permanent
                        .as_ref()
                        .map(|release| release.release.vsn.to_string()),
                );
                break;
            }
            promised = permanent(&book);
        }
        let pending = disk.pending();
        for kept in 0..=pending {
            let found = permanent(&open(&disk.crash(kept)));
            if kept == pending && pending > 0 {
                assert!(
                    found == promised || Some(&found) == in_writing.as_ref(),
                    "{left}/{kept}: {found:?}"
                );
            } else {
                assert_eq!(
                    found, promised,
                    "stopped at operation {left}, {kept} of {pending} bytes kept"
                );
            }
        }
        if in_writing.is_none() {
            break;
        }
        stopped += 1;
    }
    assert_eq!(stopped, 2 * life.len());
}

#[test]
fn the_same_journal_gives_the_same_state() {
    let disk = Volatile::default();
    let book = open(&disk);
    for entry in life() {
        book.record(&entry).unwrap();
    }
    assert_eq!(open(&disk).state(), book.state());
    assert_eq!(permanent(&book).as_deref(), Some("5"));
}

#[test]
fn a_crash_in_probation_boots_the_old_release_and_says_that_the_rollout_was_lost() {
    let disk = Volatile::default();
    let book = open(&disk);
    for entry in [installed("1"), boot("1")]
        .iter()
        .chain(&up("a", "1", "2")[..3])
    {
        book.record(entry).unwrap();
    }
    let book = open(&disk.crash(0));
    assert_eq!(permanent(&book).as_deref(), Some("1"));
    book.record(&boot("1")).unwrap();
    assert_eq!(stand(&book, "a"), Stand::Lost);
    assert!(book.state().holder().is_none());
}

#[test]
fn a_crash_after_confirm_boots_the_new_release_and_the_rollout_is_finished() {
    let disk = Volatile::default();
    let book = open(&disk);
    for entry in [installed("1"), boot("1")]
        .iter()
        .chain(&up("a", "1", "2")[..4])
    {
        book.record(entry).unwrap();
    }
    let book = open(&disk.crash(0));
    assert_eq!(permanent(&book).as_deref(), Some("2"));
    book.record(&boot("2")).unwrap();
    assert_eq!(stand(&book, "a"), Stand::Finished);
    assert_eq!(
        book.state()
            .last_finished()
            .map(|record| record.key.clone()),
        Some(key("a"))
    );
}

#[test]
fn an_outcome_that_cannot_be_written_is_remembered_and_closes_the_journal() {
    let disk = Volatile::default();
    let book = open(&disk);
    for entry in [installed("1"), boot("1")]
        .iter()
        .chain(&up("a", "1", "2")[..3])
    {
        book.record(entry).unwrap();
    }
    disk.0.lock().left = Some(0);
    for entry in down("a") {
        book.note(&entry);
    }
    disk.0.lock().left = None;
    assert!(matches!(stand(&book, "a"), Stand::RolledBack(..)));
    assert_eq!(
        book.record(&opened("b", "1", "2")).unwrap_err().code(),
        "MF0408"
    );
    assert_eq!(permanent(&open(&disk.crash(0))).as_deref(), Some("1"));
}

#[test]
fn an_entry_that_cannot_follow_is_refused_with_its_line() {
    let disk = Volatile::default();
    let mut journal = crate::journal::Journal::open(Box::new(disk.clone()))
        .unwrap()
        .journal;
    journal.append(&installed("1"), 0).unwrap();
    journal.append(&opened("a", "2", "3"), 0).unwrap();
    let error = Book::open(Box::new(disk), Arc::new(Machine)).err().unwrap();
    assert!(
        matches!(error, Error::JournalCorrupt { line: 2, .. }),
        "{error}"
    );
}

#[test]
fn what_holds_the_node_is_not_forgotten_for_all_the_orders_of_others() {
    let book = open(&Volatile::default());
    for entry in [installed("1"), boot("1")].iter().chain(&up("a", "1", "2")) {
        book.record(entry).unwrap();
    }
    for number in 0..2 * state::REMEMBERED {
        let outcome = Outcome::Untouched;
        book.record(&Entry::RolledBack {
            key: key(&format!("x{number}")),
            outcome,
            report: RollbackNote::default(),
            order: OrderNote::default(),
        })
        .unwrap();
    }
    assert_eq!(book.state().records.len(), state::REMEMBERED);
    assert_eq!(stand(&book, "a"), Stand::Finished);
}
