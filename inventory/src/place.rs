//! Where something stands: a file, a line and a column, and how an error shows it with a caret.
//!
//! A [`Spot`] is the small copyable position kept while reading; a [`Place`] is what an error carries: the position
//! and the line of text itself. Columns count characters from 1, as editors do. Nothing here reads a file.

use std::fmt;
use std::sync::Arc;

/// How many characters of a source line an error shows.
const SHOWN: usize = 96;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pos {
    pub line: u32,
    pub column: u32,
}

/// A position in one of the sources that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub source: u32,
    pub pos: Pos,
}

/// A position in a file, without the line that stands there: cheap to have for very many.
///
/// `Display` is `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    file: Arc<str>,
    pos: Pos,
}

impl Position {
    /// The file as it was named by the caller.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.pos.line
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.pos.line, self.pos.column)
    }
}

/// A named text: an inventory file, a list file, or a pattern from the command line.
#[derive(Debug)]
pub(crate) struct Source {
    pub name: Arc<str>,
    pub text: String,
}

impl Source {
    pub(crate) fn new(name: &str, text: impl Into<String>) -> Self {
        Source {
            name: name.into(),
            text: text.into(),
        }
    }

    /// The text of a line, without its end.
    fn line(&self, line: u32) -> &str {
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        self.text.lines().nth(index).unwrap_or("")
    }

    pub(crate) fn position_of(&self, pos: Pos) -> Position {
        Position {
            file: Arc::clone(&self.name),
            pos,
        }
    }

    /// The place of `pos`, with its line cropped around the caret.
    pub(crate) fn place(&self, pos: Pos) -> Box<Place> {
        let column = pos.column.max(1) as usize;
        let from = column.saturating_sub(SHOWN / 2 + 1);
        let from = if column <= SHOWN { 0 } else { from };
        let shown = self.line(pos.line).chars().skip(from).take(SHOWN);
        Box::new(Place {
            file: Arc::clone(&self.name),
            line: pos.line.max(1),
            column: pos.column.max(1),
            // A control character would move the cursor, and the caret away from what it points at.
            text: shown
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            caret: column - 1 - from,
        })
    }

    /// The place `offset` characters into the scalar that begins at `pos`. A quoted scalar that holds escapes is pointed
    /// at as a whole, because its characters and those of the file no longer correspond.
    pub(crate) fn place_in(&self, pos: Pos, scalar: &str, offset: usize) -> Box<Place> {
        let written = self
            .line(pos.line)
            .chars()
            .skip(pos.column.max(1) as usize - 1);
        // As much of the line as the scalar can need, with its quote: lines can be as long as files.
        let rest: String = written.take(scalar.chars().count() + 1).collect();
        let quote = u32::from(rest.starts_with(['"', '\'']));
        if !rest[quote as usize..].starts_with(scalar) {
            return self.place(pos);
        }
        let offset = u32::try_from(offset).unwrap_or(0);
        self.place(Pos {
            line: pos.line,
            column: pos.column + quote + offset,
        })
    }

    /// The position of a byte offset, for errors that are found before the text is parsed.
    pub(crate) fn position(text: &str) -> Pos {
        let line = text.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = text.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Pos {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

/// A position in a file (or in a pattern), with the line that stands there.
///
/// `Display` is `file:line:column`, which terminals and editors turn into a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: Arc<str>,
    line: u32,
    column: u32,
    text: String,
    caret: usize,
}

impl Place {
    /// The file as it was named by the caller, or `pattern` or `range` for text that is in no file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The three parts in which an error reaches a person: what failed and where, the line with a caret, what to do next.
pub(crate) struct Report<'a>(pub &'a Place, pub fmt::Arguments<'a>, pub &'a str);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report(place, what, next) = self;
        let margin = place.line.to_string();
        writeln!(f, "{place}: {what}")?;
        writeln!(f, " {margin} | {}", place.text)?;
        writeln!(
            f,
            " {:width$} | {:caret$}^",
            "",
            "",
            width = margin.len(),
            caret = place.caret
        )?;
        write!(f, " {next}")
    }
}

/// A name from outside, quoted, escaped and cropped so that it can stand in a message.
pub(crate) fn quoted(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}
