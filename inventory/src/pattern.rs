//! Patterns: `web:&prod:!canary`, `web*`, `~web\d+`, `db[01:50]`, `@file`, `all`.
//!
//! Plain terms are joined first, then every `&` term intersects, then every `!` term excludes, whatever their order: as
//! Ansible reads the same text. A pattern without a plain term begins with all hosts. Globs and regular expressions match
//! host names, never groups. A term that matches nothing is an error, so that a misspelling cannot quietly shrink a rollout.

use std::path::Path;

use crate::error::Error;
use crate::limits;
use crate::model::{Host, Inventory};
use crate::native;
use crate::place::{Place, Pos, Source};
use crate::range::Template;
use crate::suggest;

/// Bytes that a compiled `~regex` may take.
const REGEX_BYTES: usize = 1 << 20;

impl Inventory {
    /// The hosts that a pattern names, each once, in the order of the files. The set may be empty when terms exclude
    /// each other, as in `web:!web`.
    ///
    /// An `@file` term reads a file with the rights of this process: do not pass patterns from the network.
    ///
    /// # Errors
    ///
    /// [`Error::BadPattern`], [`Error::BadRange`], [`Error::BadRegex`], [`Error::ReadList`]; and [`Error::NoMatch`] for a
    /// term, a name of a range or a line of a list that is not in the inventory.
    pub fn select(&self, pattern: &str) -> Result<Vec<&Host>, Error> {
        let mut selection = Selection {
            inventory: self,
            source: &Source::new("pattern", pattern),
        };
        let mut plain: Option<Vec<bool>> = None;
        let mut narrow = Vec::new();
        for (offset, term) in split(pattern) {
            match term.as_bytes() {
                [sign @ (b'&' | b'!'), ..] => narrow.push((*sign, offset + 1, &term[1..])),
                _ => selection.term(offset, term, plain.get_or_insert_with(|| self.none()))?,
            }
        }
        let mut hosts = plain.unwrap_or_else(|| vec![true; self.hosts.len()]);
        for (sign, offset, term) in narrow {
            let mut found = self.none();
            selection.term(offset, term, &mut found)?;
            let keep = sign == b'&';
            hosts
                .iter_mut()
                .zip(found)
                .for_each(|(host, found)| *host &= found == keep);
        }
        Ok(self
            .hosts
            .iter()
            .zip(hosts)
            .filter_map(|(host, chosen)| chosen.then_some(host))
            .collect())
    }

    fn none(&self) -> Vec<bool> {
        vec![false; self.hosts.len()]
    }
}

/// Splits at `:` and `,` outside brackets, braces and parentheses, so that `~web\d{1,3}` and `[1:3]` stay whole; a
/// backslash protects the character after it.
fn split(pattern: &str) -> Vec<(usize, &str)> {
    let mut terms = Vec::new();
    let (mut start, mut start_chars, mut depth, mut escaped) = (0, 0, 0usize, false);
    for (chars, (at, c)) in pattern.char_indices().enumerate() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth = depth.saturating_sub(1),
            ':' | ',' if depth == 0 => {
                terms.push((start_chars, &pattern[start..at]));
                (start, start_chars) = (at + 1, chars + 1);
            }
            _ => {}
        }
    }
    terms.push((start_chars, &pattern[start..]));
    terms
}

/// Finds the hosts of one term after another, in a pattern or in a list file.
struct Selection<'a> {
    inventory: &'a Inventory,
    source: &'a Source,
}

impl Selection<'_> {
    fn place(&self, line: u32, offset: usize) -> Box<Place> {
        let column = u32::try_from(offset + 1).unwrap_or(u32::MAX);
        self.source.place(Pos { line, column })
    }

    fn bad(&self, offset: usize, reason: &'static str) -> Error {
        Error::BadPattern {
            at: self.place(1, offset),
            reason,
        }
    }

    /// Marks the hosts of a term that has no sign before it.
    fn term(&mut self, offset: usize, term: &str, found: &mut [bool]) -> Result<(), Error> {
        match term.chars().next() {
            None => Err(self.bad(offset, "this term is empty")),
            Some('~') => self.regex(offset, &term[1..], found),
            Some('@') => self.list(offset, &term[1..], found),
            Some('&' | '!') => Err(self.bad(offset, "a term has one sign")),
            Some(_) if term == "all" || term == "*" => {
                found.fill(true);
                Ok(())
            }
            Some(_) if term.contains(['*', '?']) => self.glob(offset, term, found),
            Some(_) => self.named(1, offset, term, found),
        }
    }

    /// A host, a group, or a range of hosts.
    fn named(&self, line: u32, offset: usize, term: &str, found: &mut [bool]) -> Result<(), Error> {
        if let Some(group) = self.inventory.group(term) {
            self.inventory
                .visit_members(group, |host| found[host as usize] = true);
            return Ok(());
        }
        if let Some(host) = self.inventory.host_index.get(term) {
            found[*host as usize] = true;
            return Ok(());
        }
        let template = Template::parse(term).map_err(|flaw| Error::BadRange {
            at: self.place(line, offset + flaw.offset),
            reason: flaw.reason,
        })?;
        let at = || self.place(line, offset);
        if let Some(reason) = native::flaw_of_name(&template) {
            return Err(Error::BadPattern { at: at(), reason });
        }
        let count = template.count();
        if count > limits::RANGE_HOSTS {
            return Err(Error::TooManyHosts {
                at: at(),
                count,
                limit: limits::RANGE_HOSTS,
                within: "a range",
            });
        }
        for name in template.names() {
            match self.inventory.host_index.get(name.as_str()) {
                Some(host) => found[*host as usize] = true,
                None => return Err(self.no_match(at(), &name)),
            }
        }
        Ok(())
    }

    fn no_match(&self, at: Box<Place>, term: &str) -> Error {
        let groups = self.inventory.groups.iter().map(|group| &*group.name);
        let hosts = self.inventory.hosts.iter().map(|host| &*host.name);
        Error::NoMatch {
            at,
            term: term.to_owned(),
            close: suggest::close(term, groups.chain(hosts)),
        }
    }

    fn matching(
        &self,
        offset: usize,
        term: &str,
        found: &mut [bool],
        matches: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let mut any = false;
        for (host, found) in self.inventory.hosts.iter().zip(found) {
            if matches(&host.name) {
                (*found, any) = (true, true);
            }
        }
        if any {
            Ok(())
        } else {
            Err(self.no_match(self.place(1, offset), term))
        }
    }

    fn glob(&self, offset: usize, term: &str, found: &mut [bool]) -> Result<(), Error> {
        if term.contains(['[', ']']) {
            return Err(self.bad(offset, "a range and a wildcard cannot stand in one term"));
        }
        let glob = term.as_bytes();
        self.matching(offset, term, found, |name| {
            glob_matches(glob, name.as_bytes())
        })
    }

    fn regex(&self, offset: usize, regex: &str, found: &mut [bool]) -> Result<(), Error> {
        let compiled = regex::RegexBuilder::new(&format!("^(?:{regex})"))
            .size_limit(REGEX_BYTES)
            .build();
        let compiled = compiled.map_err(|error| Error::BadRegex {
            at: self.place(1, offset),
            regex: regex.to_owned(),
            source: Box::new(error),
        })?;
        self.matching(offset, &format!("~{regex}"), found, |name| {
            compiled.is_match(name)
        })
    }

    fn list(&self, offset: usize, path: &str, found: &mut [bool]) -> Result<(), Error> {
        if path.is_empty() {
            return Err(self.bad(offset, "no file name follows the '@'"));
        }
        let source = native::source(Path::new(path), limits::FILE_BYTES).map_err(|source| {
            Error::ReadList {
                at: self.place(1, offset),
                path: path.into(),
                source: Box::new(source),
            }
        })?;
        let list = Selection {
            inventory: self.inventory,
            source: &source,
        };
        for (line, text) in (1u32..).zip(source.text.lines()) {
            let text = text.split('#').next().unwrap_or("");
            let name = text.trim();
            if !name.is_empty() {
                let indent = text.chars().take_while(|c| c.is_whitespace()).count();
                list.named(line, indent, name, found)?;
            }
        }
        Ok(())
    }
}

/// Matches `*` (any run of characters) and `?` (one character) against a whole name. Linear but for backtracking to the
/// last `*`, which is bounded by the length of a name.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (g, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let matches = |glob: &str, name: &str| glob_matches(glob.as_bytes(), name.as_bytes());
        assert!(
            matches("web*", "web01.eu")
                && matches("*eu", "web01.eu")
                && matches("w*0?.*", "web01.eu")
        );
        assert!(matches("*a*a*", "banana") && matches("web**", "web"));
        assert!(!matches("web", "web01") && !matches("?", "") && !matches("*b", "ba"));
    }

    #[test]
    fn separators_inside_brackets_do_not_split() {
        let terms = |pattern| {
            split(pattern)
                .into_iter()
                .map(|(_, term)| term)
                .collect::<Vec<_>>()
        };
        assert_eq!(terms("a:&b,!c"), ["a", "&b", "!c"]);
        assert_eq!(terms("db[01:50]:x"), ["db[01:50]", "x"]);
        assert_eq!(terms(r"~w\d{1,3}(?:a|b):y"), [r"~w\d{1,3}(?:a|b)", "y"]);
        assert_eq!(terms(r"~a\:b:c"), [r"~a\:b", "c"]);
        assert_eq!(split("ä:b")[1], (2, "b"));
    }
}
