use super::{testing::Volatile, *};
use crate::key::Key;

fn entry(number: u32) -> Entry {
    Entry::Finished {
        key: Key {
            rollout: "r".into(),
            patch: Digest::of(b"p"),
            attempt: number,
        },
    }
}

fn written(count: u32) -> Volatile {
    let disk = Volatile::default();
    let mut journal = Journal::open(Box::new(disk.clone())).unwrap().journal;
    for number in 1..=count {
        journal.append(&entry(number), 7).unwrap();
    }
    disk
}

fn read(disk: &Volatile) -> Result<Vec<Entry>, Error> {
    Ok(Journal::open(Box::new(disk.clone()))?
        .entries
        .into_iter()
        .map(|(_, entry)| entry)
        .collect())
}

fn corrupt_line(disk: &Volatile) -> u64 {
    match read(disk).unwrap_err() {
        Error::JournalCorrupt { line, .. } => line,
        other => panic!("{other}"),
    }
}

#[test]
fn what_was_appended_reads_back_in_order() {
    assert_eq!(read(&written(3)).unwrap(), [entry(1), entry(2), entry(3)]);
}

#[test]
fn a_torn_tail_of_any_length_is_cut_off_and_writing_goes_on() {
    let disk = written(3);
    let mut bytes = Vec::new();
    disk.alter(|durable| bytes = durable.clone());
    let two = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1)
        .nth(1)
        .unwrap();
    for kept in two + 1..bytes.len() {
        let disk = Volatile::default();
        disk.alter(|durable| *durable = bytes[..kept].to_vec());
        let mut opened = Journal::open(Box::new(disk.clone())).unwrap();
        assert_eq!(
            (opened.entries.len(), opened.torn),
            (2, (kept - two) as u64)
        );
        opened.journal.append(&entry(9), 7).unwrap();
        assert_eq!(read(&disk).unwrap(), [entry(1), entry(2), entry(9)]);
    }
}

#[test]
fn a_last_line_with_holes_is_a_torn_tail() {
    let disk = written(2);
    disk.alter(|durable| {
        let at = durable.len() - 100;
        durable[at..at + 50].fill(0);
    });
    assert_eq!(read(&disk).unwrap(), [entry(1)]);
}

#[test]
fn an_altered_line_is_an_error_that_names_it_also_the_last_one() {
    for line in 1..=3 {
        let disk = written(3);
        disk.alter(|durable| {
            let text = String::from_utf8(durable.clone()).unwrap();
            *durable = text
                .replace(&format!("\"attempt\":{line}"), "\"attempt\":8")
                .into_bytes();
        });
        assert_eq!(corrupt_line(&disk), line);
    }
}

#[test]
fn a_line_that_is_missing_or_moved_is_an_error_that_names_the_place() {
    let lines = |disk: &Volatile, order: &[usize]| {
        disk.alter(|durable| {
            let text = String::from_utf8(durable.clone()).unwrap();
            let lines: Vec<_> = text.lines().collect();
            *durable = order
                .iter()
                .map(|at| format!("{}\n", lines[*at]))
                .collect::<String>()
                .into_bytes();
        });
    };
    let disk = written(3);
    lines(&disk, &[0, 2]);
    assert_eq!(corrupt_line(&disk), 2);
    let disk = written(3);
    lines(&disk, &[1, 0, 2]);
    assert_eq!(corrupt_line(&disk), 1);
}

#[test]
fn rubbish_before_the_tail_is_an_error_that_names_the_line() {
    let disk = written(3);
    disk.alter(|durable| durable[10] = 0);
    assert_eq!(corrupt_line(&disk), 1);
}

#[test]
fn an_entry_whose_write_failed_is_not_in_the_journal_and_the_next_one_is() {
    let disk = written(1);
    let mut journal = Journal::open(Box::new(disk.clone())).unwrap().journal;
    // The append goes through, its fsync fails, the cut after it works: as if one write had met a full disk.
    struct FailOnce(Volatile, bool);
    impl Storage for FailOnce {
        fn place(&self) -> String {
            self.0.place()
        }
        fn read(&mut self) -> std::io::Result<Vec<u8>> {
            self.0.read()
        }
        fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            self.0.append(bytes)
        }
        fn sync(&mut self) -> std::io::Result<()> {
            if std::mem::take(&mut self.1) {
                Err(std::io::Error::other("no space"))
            } else {
                self.0.sync()
            }
        }
        fn truncate(&mut self, len: u64) -> std::io::Result<()> {
            self.0.truncate(len)
        }
    }
    journal.storage = Box::new(FailOnce(disk.clone(), true));
    assert_eq!(journal.append(&entry(2), 7).unwrap_err().code(), "MF0407");
    journal.append(&entry(3), 7).unwrap();
    assert_eq!(read(&disk).unwrap(), [entry(1), entry(3)]);
}

#[test]
fn a_journal_that_cannot_even_be_cut_takes_no_more() {
    let disk = written(1);
    let mut journal = Journal::open(Box::new(disk.clone())).unwrap().journal;
    disk.0.lock().left = Some(1);
    assert_eq!(journal.append(&entry(2), 7).unwrap_err().code(), "MF0407");
    disk.0.lock().left = None;
    assert_eq!(journal.append(&entry(3), 7).unwrap_err().code(), "MF0408");
    assert_eq!(read(&disk.crash(0)).unwrap(), [entry(1)]);
}
