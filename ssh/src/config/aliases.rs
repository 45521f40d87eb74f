//! The hosts that a configuration file names, for use as an inventory.
//!
//! A host is a name of a `Host` line without wildcards and without `!`. Under an `Include` that stands in a `Host` block
//! only names that the block's patterns match are hosts, since for others those lines never apply.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::parse::{Line, Origin, Reader, What};
use crate::account::Account;
use crate::error::Error;
use crate::pattern::{self, Verdict};

/// A host that a file names, and where it does so first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name, as it would be given to `ssh`.
    pub name: String,
    /// The file: the one asked for, or one that it includes.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
}

/// The hosts of a file and of those it includes, in the order of the lines, each once.
///
/// # Errors
///
/// When the file does not exist or cannot be read, or a line is wrong for every host. Keywords that are refused where
/// they apply are no error here.
pub fn aliases(file: &Path) -> Result<Vec<Alias>, Error> {
    let account = Account::current();
    let lines = Reader::new(&account).file(file, Origin::Given)?;
    let missing = || Error::Read {
        path: file.to_owned(),
        source: std::io::ErrorKind::NotFound.into(),
    };
    let lines = lines.ok_or_else(missing)?;
    let mut collector = Collector {
        found: Vec::new(),
        seen: HashSet::new(),
        within: Vec::new(),
    };
    collector.lines(&lines);
    Ok(collector.found)
}

struct Collector<'a> {
    found: Vec<Alias>,
    seen: HashSet<&'a str>,
    /// The `Host` lines that the current file is included under.
    within: Vec<&'a [String]>,
}

impl<'a> Collector<'a> {
    fn lines(&mut self, lines: &'a [Line]) {
        let mut block: Option<&'a [String]> = None;
        for line in lines {
            match &line.what {
                What::Host(patterns) => {
                    block = Some(patterns);
                    for name in patterns
                        .iter()
                        .filter(|name| !name.contains(['*', '?', '!']))
                    {
                        self.host(name, patterns, line);
                    }
                }
                What::Match(_) => block = None,
                What::Include(files) => {
                    self.within.extend(block);
                    files.iter().for_each(|file| self.lines(file));
                    self.within
                        .truncate(self.within.len() - usize::from(block.is_some()));
                }
                _ => {}
            }
        }
    }

    fn host(&mut self, name: &'a str, patterns: &[String], line: &Line) {
        let applies = |patterns: &[String]| {
            pattern::list(patterns.iter().map(String::as_str), name) == Verdict::Match
        };
        if applies(patterns)
            && self.within.iter().all(|outer| applies(outer))
            && self.seen.insert(name)
        {
            let (file, line) = (line.place.file.to_path_buf(), line.place.line);
            self.found.push(Alias {
                name: name.to_owned(),
                file,
                line,
            });
        }
    }
}
