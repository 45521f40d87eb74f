//! A `known_hosts` file in memory: which of its lines are about a name.
//!
//! Plain names are found in a table. Lists with wildcards and hashed names must be tried one by one, since each hash has a
//! salt of its own; what was found for a name is remembered until the file changes. A file that changed is read again.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line::{self, Entry, Hosts};
use crate::error::{Error, Place};
use crate::limits;

/// What tells whether a file is still the one that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// The lines of a file; none when there is no such file.
#[derive(Debug)]
pub(crate) struct Lines {
    path: Arc<Path>,
    pub(crate) stamp: Option<Stamp>,
    entries: Vec<Entry>,
    /// The entries with plain names, by name.
    names: HashMap<String, Vec<u32>>,
    patterns: Vec<u32>,
    /// The entries with hashed names, and whether the name was found.
    hashed: Vec<(u32, AtomicBool)>,
    /// How many lines the file has, the last one perhaps without an end.
    pub(crate) count: u32,
    /// The first line that cannot be understood, and why.
    pub(crate) broken: Option<(u32, &'static str)>,
    learned: Mutex<Learned>,
}

/// What looking names up has shown.
#[derive(Debug, Default)]
struct Learned {
    /// The entries whose hashed name is this one.
    names: HashMap<String, Vec<u32>>,
    /// All entries about a name.
    found: HashMap<String, Arc<[u32]>>,
}

/// So many names are remembered.
const REMEMBERED: usize = 100_000;

impl Lines {
    /// Reads a file. One that does not exist has no lines; one that cannot be read is an error, since it may say that a
    /// host's key is another or revoked.
    pub(crate) fn read(path: &Arc<Path>) -> Result<Self, Error> {
        let unreadable = |source| Error::Read {
            path: path.to_path_buf(),
            source,
        };
        let mut lines = Lines {
            path: Arc::clone(path),
            stamp: None,
            entries: Vec::new(),
            names: HashMap::new(),
            patterns: Vec::new(),
            hashed: Vec::new(),
            count: 0,
            broken: None,
            learned: Mutex::default(),
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(lines),
            Err(e) => return Err(unreadable(e)),
        };
        let metadata = file.metadata().map_err(unreadable)?;
        // Devices such as /dev/null have nothing to read, or no end.
        if !metadata.is_file() {
            return Ok(lines);
        }
        let mut text = Vec::new();
        file.by_ref()
            .take(limits::KNOWN_HOSTS_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > limits::KNOWN_HOSTS_BYTES {
            let what = format!("it has more than {} bytes", limits::KNOWN_HOSTS_BYTES);
            return Err(Error::TooLarge {
                path: path.to_path_buf(),
                what,
            });
        }
        lines.stamp = Some(Stamp::of(&metadata));
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        for (number, bytes) in (1..).zip(text.split(|&b| b == b'\n')) {
            lines.count = number;
            match line::parse(bytes, number) {
                Ok(Some(entry)) => lines.add(entry),
                Ok(None) => {}
                Err(why) => {
                    let at = lines.place(number);
                    tracing::warn!("{at}: this line of known hosts counts for nothing: {why}");
                    lines.broken.get_or_insert((number, why));
                }
            }
        }
        Ok(lines)
    }

    fn add(&mut self, entry: Entry) {
        // A file of the greatest size has fewer lines than that.
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        match &entry.hosts {
            Hosts::Names(names) => {
                for name in names {
                    self.names.entry(name.clone()).or_default().push(index);
                }
            }
            Hosts::Patterns(_) => self.patterns.push(index),
            Hosts::Hashed(_) => self.hashed.push((index, AtomicBool::new(false))),
        }
        self.entries.push(entry);
    }

    /// The place of a line.
    pub(crate) fn place(&self, line: u32) -> Place {
        Place {
            file: Arc::clone(&self.path),
            line,
        }
    }

    /// The entries about a name, in the order of the lines.
    ///
    /// Plain names and patterns are compared whatever their case. A hashed name has its case hashed: `ssh` looks it up as
    /// written and adds it in lower case, so both are tried.
    pub(crate) fn about(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let remembered = self.learned().found.get(name).map(Arc::clone);
        let indices = remembered.unwrap_or_else(|| {
            let lower = name.to_ascii_lowercase();
            let mut indices: Vec<u32> = self.search(name, &lower, |_| true).collect();
            // After the search: another thread may have found some of them meanwhile.
            indices.extend(self.at_once(name, &lower));
            indices.sort_unstable();
            // A name may stand twice in one line.
            indices.dedup();
            let indices: Arc<[u32]> = indices.into();
            let mut learned = self.learned();
            if learned.found.len() >= REMEMBERED {
                learned.found.clear();
            }
            learned.found.insert(name.to_owned(), Arc::clone(&indices));
            indices
        });
        (0..indices.len()).map(move |i| &self.entries[indices[i] as usize])
    }

    /// An entry about a name that is wanted: the first one of those with plain names, patterns, or a hashed name that was
    /// found before; else one with a hashed name. Of these only wanted ones are tried, and none after the one that is
    /// right, so this is far cheaper than [`Lines::about`] for a host that is known.
    pub(crate) fn first(&self, name: &str, wanted: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let lower = name.to_ascii_lowercase();
        let entry = |index: u32| &self.entries[index as usize];
        let known = || {
            let entries = self.at_once(name, &lower).into_iter().map(entry);
            entries
                .filter(|entry| wanted(entry))
                .min_by_key(|entry| entry.line)
        };
        // Once more at the end: another thread may have found it meanwhile.
        known()
            .or_else(|| self.search(name, &lower, &wanted).next().map(entry))
            .or_else(known)
    }

    /// The entries about a name that are found without hashing.
    fn at_once(&self, name: &str, lower: &str) -> Vec<u32> {
        let mut indices = self.names.get(lower).cloned().unwrap_or_default();
        indices.extend(self.patterns.iter().filter(|&&index| {
            match &self.entries[index as usize].hosts {
                Hosts::Patterns(patterns) => line::matches(patterns, lower),
                _ => false,
            }
        }));
        let learned = self.learned();
        indices.extend(learned.names.get(lower).into_iter().flatten());
        if lower != name {
            indices.extend(learned.names.get(name).into_iter().flatten());
        }
        indices
    }

    /// The entries about a name that hashing finds, of those that are wanted and were not found before.
    fn search<'a>(
        &'a self,
        name: &'a str,
        lower: &'a str,
        wanted: impl Fn(&Entry) -> bool + 'a,
    ) -> impl Iterator<Item = u32> + 'a {
        let as_written = (lower != name).then_some(name);
        self.hashed.iter().filter_map(move |(index, found)| {
            let entry = &self.entries[*index as usize];
            let Hosts::Hashed(hashed) = &entry.hosts else {
                return None;
            };
            if found.load(Ordering::Acquire) || !wanted(entry) {
                return None;
            }
            let mut names = [Some(lower), as_written].into_iter().flatten();
            let name = names.find(|name| hashed.is(name))?;
            let mut learned = self.learned();
            // It is learned before it is marked, so that whoever passes over it finds it there.
            if !found.load(Ordering::Relaxed) {
                learned
                    .names
                    .entry(name.to_owned())
                    .or_default()
                    .push(*index);
                found.store(true, Ordering::Release);
            }
            Some(*index)
        })
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up lines about `names` that were appended by this process, so that the file need not be read again.
    pub(crate) fn appended(&mut self, text: &str, names: &[&str], stamp: Stamp) {
        for line in text.lines() {
            self.count += 1;
            // What is written here is understood here.
            if let Ok(Some(entry)) = line::parse(line.as_bytes(), self.count) {
                self.add(entry);
            }
        }
        let learned = self
            .learned
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        names
            .iter()
            .for_each(|name| drop(learned.found.remove(*name)));
        self.stamp = Some(stamp);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const KEYS: [&str; 2] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGhgQJ0l9Jq9yP0G0l6kI2jPp0a1Xr2o3nR4t5u6v7wx",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGhgQJ0l9Jq9yP0G0l6kI2jPp0a1Xr2o3nR4t5u6v7wz",
    ];

    fn line() -> impl Strategy<Value = String> {
        let names = [
            "a",
            "B",
            "a.x",
            "[a]:22",
            "*.x",
            "!a.x",
            "?",
            "[*]:2*",
            "|1|bad|bad",
            "",
        ];
        let hosts = prop::collection::vec(prop::sample::select(names.to_vec()), 1..4)
            .prop_map(|names| names.join(","));
        let hashed = (
            prop::sample::select(vec!["a", "b", "a.x"]),
            any::<[u8; 20]>(),
        )
            .prop_map(|(name, salt)| line::Hashed::text(name, salt));
        let marker = prop::sample::select(vec![
            "",
            "",
            "",
            "@revoked ",
            "@cert-authority ",
            "@x ",
            "#",
            "  \t",
        ]);
        let rest = prop::sample::select(vec![KEYS[0], KEYS[1], "ssh-ed25519", "", "# x"]);
        (marker, prop_oneof![hosts, hashed], rest)
            .prop_map(|(marker, hosts, rest)| format!("{marker}{hosts} {rest}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_lines_about_a_name_are_those_that_ssh_keygen_finds(
            lines in prop::collection::vec(line(), 0..8),
            name in prop::sample::select(vec!["a", "b", "a.x", "[a]:22"]),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("known_hosts");
            std::fs::write(&path, lines.join("\n")).expect("a file");
            let found = Command::new("ssh-keygen").arg("-F").arg(name).arg("-f").arg(&path).output().expect("it is installed");
            let found = String::from_utf8(found.stdout).expect("text");
            let theirs: Vec<u32> = { found.lines() }
                .filter_map(|line| line.split_once(" found: line ")?.1.split(' ').next()?.parse().ok())
                .collect();
            let read = Lines::read(&Arc::from(path)).expect("a file");
            let ours: Vec<u32> = read.about(name).map(|entry| entry.line).collect();
            prop_assert_eq!(&ours, &theirs, "{} in\n{}", name, lines.join("\n"));
            let again: Vec<u32> = read.about(name).map(|entry| entry.line).collect();
            prop_assert_eq!(ours, again);
        }

        #[test]
        fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), line in line(), at in 0usize..80) {
            let mut text = bytes;
            text.extend(line.bytes().take(at));
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("known_hosts");
            std::fs::write(&path, text).expect("a file");
            let read = Lines::read(&Arc::from(path)).expect("a file");
            prop_assert!(read.about("a").count() <= read.entries.len());
        }
    }
}
