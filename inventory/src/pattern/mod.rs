//! Patterns: `web:&prod:!canary`, `web*`, `~web\d+`, `web[0:20]`, `db[01:50]`, `node[001-500,600]!node007`, `@file`, `all`.
//!
//! Two languages meet here, Ansible's and ClusterShell's; `docs/inventory.md` says how they are told apart, and whatever
//! could be read in both with different results is refused. A term that matches nothing is an error, so that a misspelling
//! cannot quietly shrink a rollout.
//!
//! `scan` cuts a pattern into terms, `inline` writes lists into one, `term` finds the hosts of one, `brackets` says what a bracket means, `glob` matches names.

mod brackets;
mod glob;
mod inline;
mod members;
mod scan;
mod term;

use std::cell::Cell;

use crate::chosen::{Chosen, Operator};
use crate::error::Error;
use crate::limits;
use crate::model::{Host, Inventory};
use crate::place::{Place, Pos, Source};
pub use inline::with_lists;
use scan::Term;

const FROM_ALL: &str = "a line of a list adds hosts: it cannot begin with all but some";
const LIST_IN_LIST: &str = "a list cannot name another list";

/// Parentheses, and lists, that may stand in each other.
const DEPTH: usize = 16;

impl Inventory {
    /// The same inventory for patterns that others send: an `@file` in one is refused, and no file is looked for.
    #[must_use]
    pub fn without_lists(mut self) -> Inventory {
        self.refuses_lists = true;
        self
    }

    /// The hosts that a pattern names, each once, in the order of the files. The set may be empty when terms exclude
    /// each other, as in `web:!web`.
    ///
    /// An `@file` term reads a file with the rights of this process: see [`without_lists`](Self::without_lists).
    ///
    /// # Errors
    ///
    /// [`Error::BadPattern`], [`Error::Ambiguous`], [`Error::BadRange`], [`Error::BadNodeSet`], [`Error::BadRegex`],
    /// [`Error::TooManyHosts`], [`Error::ReadList`]; and [`Error::NoMatch`] for a term, a name of a range or a line of a list
    /// that is not in the inventory.
    pub fn select(&self, pattern: &str) -> Result<Vec<&Host>, Error> {
        let reading = Reading {
            inventory: self,
            source: &Source::new("pattern", pattern),
            line: 1,
            depth: 0,
            in_list: false,
            reads_lists: !self.refuses_lists,
            work: &Cell::new(0),
        };
        let mut chosen = reading.pattern(0, pattern)?;
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen
            .into_iter()
            .map(|host| &self.hosts[host as usize])
            .collect())
    }
}

/// One pattern that names the hosts of `pattern` that `limit` names too, less those that any of `excluded` names.
///
/// It is a pattern like any other: it can be sent, recorded and pasted.
#[must_use]
pub fn narrow(pattern: &str, limit: Option<&str>, excluded: &[String]) -> String {
    if limit.is_none() && excluded.is_empty() {
        return pattern.to_owned();
    }
    let mut text = in_parentheses(pattern);
    if let Some(limit) = limit {
        text += &format!(":&{}", in_parentheses(limit));
    }
    for excluded in excluded {
        text += &format!(":!{}", in_parentheses(excluded));
    }
    text
}

/// A pattern as one term.
fn in_parentheses(pattern: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '?' | '/' | '@');
    if !pattern.is_empty() && pattern.chars().all(plain) {
        pattern.to_owned()
    } else {
        format!("({pattern})")
    }
}

/// Where terms are read: a pattern from the command line, or a line of a list.
#[derive(Clone, Copy)]
struct Reading<'a> {
    inventory: &'a Inventory,
    source: &'a Source,
    line: u32,
    /// Parentheses around.
    depth: usize,
    in_list: bool,
    /// Whether an `@file` may be read.
    reads_lists: bool,
    /// Hosts that terms have looked at so far, counting one that several look at for each of them.
    work: &'a Cell<u64>,
}

impl Reading<'_> {
    fn place(&self, offset: usize) -> Box<Place> {
        let column = u32::try_from(offset + 1).unwrap_or(u32::MAX);
        self.source.place(Pos {
            line: self.line,
            column,
        })
    }

    fn bad(&self, offset: usize, reason: &'static str) -> Error {
        Error::BadPattern {
            at: self.place(offset),
            reason,
        }
    }

    /// Accounts for hosts that a term looks at.
    fn looks_at(&self, offset: usize, hosts: usize) -> Result<(), Error> {
        let count = self.work.get().saturating_add(hosts as u64);
        self.work.set(count);
        if count <= limits::PATTERN_HOSTS {
            return Ok(());
        }
        Err(Error::TooManyHosts {
            at: self.place(offset),
            count,
            limit: limits::PATTERN_HOSTS,
            within: "the terms of a pattern, all together",
        })
    }

    /// The hosts of a pattern that begins `offset` characters into the line; a host may come more than once.
    fn pattern(&self, offset: usize, pattern: &str) -> Result<Vec<u32>, Error> {
        if self.depth > DEPTH {
            return Err(self.bad(offset, "more than 16 parentheses stand in each other"));
        }
        let is_host = |name: &str| self.inventory.host_index.contains_key(name);
        let (terms, from_all) =
            scan::scan(pattern, is_host).map_err(|(at, reason)| self.bad(offset + at, reason))?;
        if self.in_list && from_all {
            return Err(self.bad(offset, FROM_ALL));
        }
        if terms.iter().all(|term| term.operator == Operator::Join) {
            return self.join(offset, &terms);
        }
        let count = self.inventory.hosts.len();
        let mut chosen = if from_all {
            Chosen::all(count)
        } else {
            Chosen::none(count)
        };
        for term in terms {
            chosen.apply(term.operator, self.operand(offset, &term)?);
        }
        Ok((0..count as u32).filter(|host| chosen.has(*host)).collect())
    }

    /// The hosts of a term of the pattern that begins at `offset`.
    fn operand(&self, offset: usize, term: &Term<'_>) -> Result<Vec<u32>, Error> {
        let hosts = self.term(offset + term.offset, term.text)?;
        self.looks_at(offset + term.offset, hosts.len())?;
        Ok(hosts)
    }

    /// What any of the terms names: nothing here costs more than the terms themselves.
    fn join(&self, offset: usize, terms: &[Term<'_>]) -> Result<Vec<u32>, Error> {
        let mut hosts = Vec::new();
        for term in terms {
            hosts.append(&mut self.operand(offset, term)?);
            self.settle(&mut hosts);
        }
        Ok(hosts)
    }

    /// Takes out what is there twice, when there is far more than the inventory has.
    fn settle(&self, hosts: &mut Vec<u32>) {
        if hosts.len() > 1024 + 2 * self.inventory.hosts.len() {
            hosts.sort_unstable();
            hosts.dedup();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::narrow;

    #[test]
    fn a_limit_and_exclusions_become_one_pattern() {
        assert_eq!(narrow("web,db", None, &[]), "web,db");
        assert_eq!(narrow("web", Some("prod"), &[]), "web:&prod");
        assert_eq!(
            narrow(
                "web:!old",
                Some("@failed"),
                &["n[1-3]".to_owned(), "x".to_owned()]
            ),
            "(web:!old):&@failed:!(n[1-3]):!x"
        );
    }
}
