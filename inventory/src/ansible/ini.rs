//! Ansible's INI: sections of hosts, of children and of variables, one thing a line.
//!
//! A host's line is split into words as a shell would, its values and those of `:vars` sections are Python literals or
//! text. `#` and `;` begin comments on lines of their own, `#` also behind a host's words. Sections may come in any order,
//! and again. A section of variables needs its group somewhere, and so does a child.

use std::collections::HashMap;
use std::sync::Arc;

use super::{address, groups, literal};
use crate::builder::Builder;
use crate::error::Error;
use crate::limits;
use crate::place::{Pos, Source, Spot, quoted};
use crate::vars::{Var, Vars};
use crate::words;

/// Reads one source into the builder.
pub(crate) fn read(builder: &mut Builder, index: u32, source: &Source) -> Result<(), Error> {
    let start = Spot {
        source: index,
        pos: Pos { line: 1, column: 1 },
    };
    let ungrouped = builder.ungrouped(start);
    let mut reader = Reader {
        builder,
        source: index,
        section: Section {
            kind: Kind::Hosts,
            group: Some(ungrouped),
        },
        pending: Vec::new(),
        pending_index: HashMap::new(),
        last: None,
    };
    reader.check(source)?;
    for (number, line) in source.text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let at = Line {
            number: u32::try_from(number + 1).unwrap_or(u32::MAX),
            indent: line[..indent].chars().count(),
            text: trimmed,
        };
        reader.line(&at)?;
    }
    reader.end()
}

/// A line that says something.
struct Line<'a> {
    number: u32,
    /// Characters before the text.
    indent: usize,
    text: &'a str,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Hosts,
    Children,
    Vars,
}

struct Section {
    kind: Kind,
    /// `None` is `all`.
    group: Option<u32>,
}

/// A group that is named before it is defined.
struct Pending {
    name: Arc<str>,
    spot: Spot,
    /// The groups that it is to be a child of, or nothing for a section of variables.
    parents: Vec<(Option<u32>, Spot)>,
}

struct Reader<'b> {
    builder: &'b mut Builder,
    source: u32,
    section: Section,
    /// In the order in which they are named; those that were defined are gone.
    pending: Vec<Option<Pending>>,
    pending_index: HashMap<Arc<str>, usize>,
    /// The variables of the host before, for hosts whose lines end alike.
    last: Option<(String, Arc<Vars>)>,
}

impl Reader<'_> {
    fn spot(&self, line: &Line<'_>, offset: usize) -> Spot {
        let column = u32::try_from(line.indent + offset + 1).unwrap_or(u32::MAX);
        Spot {
            source: self.source,
            pos: Pos {
                line: line.number,
                column,
            },
        }
    }

    fn bad(&self, spot: Spot, reason: impl Into<String>, next: &'static str) -> Error {
        Error::BadLine {
            at: self.builder.place(spot),
            reason: reason.into(),
            next,
        }
    }

    /// Looks at the whole text before anything is kept of it: Python ends lines at characters that no editor shows as the end
    /// of one, and a text can hold more than is meant.
    fn check(&self, source: &Source) -> Result<(), Error> {
        let bytes = source.text.as_bytes();
        let (mut lines, mut values) = (0u64, 0usize);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' => {
                    let next = bytes.get(at + 1);
                    lines += u64::from(!matches!(next, None | Some(b'\n' | b'\r' | b'#' | b';')));
                }
                b'=' | b',' => values += 1,
                b'\t' => {}
                b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
                0..=0x1f => return Err(self.control(source, at)),
                _ => {}
            }
        }
        if let Some(at) = source.text.find(['\u{85}', '\u{2028}', '\u{2029}']) {
            return Err(self.control(source, at));
        }
        let at = self.builder.place(Spot {
            source: self.source,
            pos: Pos { line: 1, column: 1 },
        });
        if lines > limits::LISTED_HOSTS {
            return Err(Error::TooManyHosts {
                at,
                count: lines,
                limit: limits::LISTED_HOSTS,
                within: "an inventory",
            });
        }
        if values > limits::INI_VALUES {
            let message = format!("it has more than {} values", limits::INI_VALUES);
            return Err(Error::TooComplex { at, message });
        }
        Ok(())
    }

    fn control(&self, source: &Source, at: usize) -> Error {
        let spot = Spot {
            source: self.source,
            pos: Source::position(&source.text[..at]),
        };
        self.bad(spot, "a control character", "take it out")
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Error> {
        if line.text.starts_with('[')
            && let Some(header) = self.header(line)?
        {
            return self.begin(line, header);
        }
        match self.section.kind {
            Kind::Hosts => self.host(line),
            Kind::Children => self.child(line),
            Kind::Vars => self.var(line),
        }
    }

    /// The name and kind in `[name:kind]`; `None` for a host whose name begins with a range.
    fn header<'a>(&self, line: &Line<'a>) -> Result<Option<(&'a str, Kind)>, Error> {
        let text = line.text;
        let parsed = text[1..].split_once(']').and_then(|(inside, rest)| {
            let rest = rest.trim_start();
            let (name, kind) = inside.split_once(':').unwrap_or((inside, "hosts"));
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let well_formed = !name.is_empty()
                && !name.contains(char::is_whitespace)
                && !kind.is_empty()
                && kind.chars().all(word)
                && (rest.is_empty() || rest.starts_with('#'));
            well_formed.then_some((name, kind))
        });
        let next = "write [group], [group:children] or [group:vars]";
        match parsed {
            Some((name, "hosts")) => Ok(Some((name, Kind::Hosts))),
            Some((name, "children")) => Ok(Some((name, Kind::Children))),
            Some((name, "vars")) => Ok(Some((name, Kind::Vars))),
            Some((name, kind)) => {
                let spot = self.spot(line, name.chars().count() + 2);
                Err(self.bad(
                    spot,
                    format!("unknown kind of section {}", quoted(kind)),
                    next,
                ))
            }
            None if text.ends_with(']') || !text.contains(']') => {
                Err(self.bad(self.spot(line, 0), "this is no section", next))
            }
            None => Ok(None),
        }
    }

    fn begin(&mut self, line: &Line<'_>, (name, kind): (&str, Kind)) -> Result<(), Error> {
        let spot = self.spot(line, 1);
        let is_new = name != "all" && self.builder.known(name).is_none();
        let group = groups::group(self.builder, name, spot)?;
        let index = self.pending_index.get(name).copied();
        let waiting = index.filter(|index| self.pending[*index].is_some());
        match waiting {
            None if kind == Kind::Vars && is_new => self.wait(name, spot, None)?,
            Some(index) if kind != Kind::Vars => {
                let parents = self.pending[index].take().map(|pending| pending.parents);
                for (parent, spot) in parents.into_iter().flatten() {
                    groups::child(self.builder, parent, (name, group), spot)?;
                }
            }
            _ => {}
        }
        self.section = Section { kind, group };
        Ok(())
    }

    fn child(&mut self, line: &Line<'_>) -> Result<(), Error> {
        let spot = self.spot(line, 0);
        let end = line.text.find([':', ']']).unwrap_or(line.text.len());
        let end = line.text.find(char::is_whitespace).unwrap_or(end).min(end);
        let (name, rest) = line.text.split_at(end);
        let rest = rest.trim_start();
        if name.is_empty() || !(rest.is_empty() || rest.starts_with('#')) {
            let next = "write the name of one group; hosts stand in sections without :children";
            return Err(self.bad(
                spot,
                format!("{} is no name of a group", quoted(line.text)),
                next,
            ));
        }
        let parent = self.section.group;
        let child = match name {
            "all" | "ungrouped" => groups::group(self.builder, name, spot)?,
            name => match self.builder.known(name) {
                Some(child) => Some(child),
                None => {
                    return self.wait(name, spot, Some(parent));
                }
            },
        };
        groups::child(self.builder, parent, (name, child), spot)
    }

    /// The group is not defined yet: where that happens, it becomes a child of the parent given.
    fn wait(&mut self, name: &str, spot: Spot, parent: Option<Option<u32>>) -> Result<(), Error> {
        let parent = parent.map(|parent| (parent, spot));
        if let Some(index) = self.pending_index.get(name)
            && let Some(pending) = &mut self.pending[*index]
        {
            pending.parents.extend(parent);
            return Ok(());
        }
        if self.pending.len() >= limits::GROUPS {
            return Err(groups::too_many(self.builder, spot));
        }
        let name: Arc<str> = name.into();
        self.pending_index
            .insert(Arc::clone(&name), self.pending.len());
        self.pending.push(Some(Pending {
            name,
            spot,
            parents: parent.into_iter().collect(),
        }));
        Ok(())
    }

    fn var(&mut self, line: &Line<'_>) -> Result<(), Error> {
        let spot = self.spot(line, 0);
        let Some((name, value)) = line.text.split_once('=') else {
            let reason = format!("{} is no variable", quoted(line.text));
            return Err(self.bad(spot, reason, "write name=value"));
        };
        let (name, value) = (name.trim_end(), value.trim_start());
        let offset = line.text.chars().count() - value.chars().count();
        let value = self.value(value, self.spot(line, offset))?;
        groups::set(self.builder, self.section.group, name, value, spot)
    }

    fn value(&self, text: &str, spot: Spot) -> Result<crate::value::Value, Error> {
        literal::eval(text).map_err(|reason| {
            let next = "write another value, or quote it twice, as in \"'text'\"";
            self.bad(
                spot,
                format!("the value is {reason}, which JSON does not have"),
                next,
            )
        })
    }

    fn host(&mut self, line: &Line<'_>) -> Result<(), Error> {
        let spot = self.spot(line, 0);
        let text = line.text;
        if !text.contains(['\'', '"', '\\', '#']) {
            let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
            let rest = rest.trim_start();
            let vars = self.plain_vars(line, rest)?;
            return groups::hosts(
                self.builder,
                self.section.group,
                name,
                address::parse(name),
                spot,
                vars,
            );
        }
        let words = words::split(text, true).map_err(|flaw| {
            let next = "close the quote, or put a backslash before it";
            self.bad(self.spot(line, flaw.offset), flaw.reason, next)
        })?;
        let mut words = words.into_iter();
        let name = words.next().map(|word| word.text).unwrap_or_default();
        let mut vars = Vec::with_capacity(words.len());
        for word in words {
            vars.push(self.assignment(line, &word.text, word.offset)?);
        }
        let vars = Vars::new(vars);
        let address = address::parse(&name);
        groups::hosts(self.builder, self.section.group, &name, address, spot, vars)
    }

    /// The variables behind a host's name, where nothing is quoted.
    fn plain_vars(&mut self, line: &Line<'_>, rest: &str) -> Result<Option<Arc<Vars>>, Error> {
        if rest.is_empty() {
            return Ok(None);
        }
        if let Some((text, vars)) = &self.last
            && text == rest
        {
            return Ok(Some(Arc::clone(vars)));
        }
        let mut vars = Vec::new();
        let mut offset = line.text[..line.text.len() - rest.len()].chars().count();
        for word in rest.split([' ', '\t']) {
            if vars.len() >= limits::LINE_WORDS {
                let reason = format!(
                    "there are more than {} words in one line",
                    limits::LINE_WORDS
                );
                return Err(self.bad(self.spot(line, offset), reason, "use a file of variables"));
            }
            if !word.is_empty() {
                vars.push(self.assignment(line, word, offset)?);
            }
            offset += word.chars().count() + 1;
        }
        let vars = Vars::new(vars);
        if let Some(vars) = &vars {
            let (text, kept) = self
                .last
                .get_or_insert_with(|| (String::new(), Arc::clone(vars)));
            text.clear();
            text.push_str(rest);
            *kept = Arc::clone(vars);
        }
        Ok(vars)
    }

    fn assignment(&mut self, line: &Line<'_>, word: &str, offset: usize) -> Result<Var, Error> {
        let spot = self.spot(line, offset);
        let Some((name, value)) = word.split_once('=') else {
            let reason = format!("{} is no variable", quoted(word));
            let next = "write name=value behind the host's name; quote values with blanks";
            return Err(self.bad(spot, reason, next));
        };
        Ok(Var {
            value: self.value(value, spot)?,
            name: self.builder.word(name),
            spot,
        })
    }

    /// What was named has to be defined by now.
    fn end(self) -> Result<(), Error> {
        let Some(pending) = self.pending.into_iter().flatten().next() else {
            return Ok(());
        };
        let close = self.builder.close_groups(&pending.name);
        Err(Error::UnknownGroup {
            at: self.builder.place(pending.spot),
            group: pending.name.to_string(),
            close,
        })
    }
}
