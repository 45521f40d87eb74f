//! JSON as Python reads it, with the place of every value.
//!
//! RFC 8259, and with it the numbers `NaN`, `Infinity` and `-Infinity`, which Python's reader and writer have. Depth, nodes
//! and text are bounded as they are for YAML. Nothing here recurses further than that.

use std::borrow::Cow;

use super::{Key, Kind, Node};
use crate::error::Error;
use crate::limits;
use crate::place::{Pos, Source};

/// `limit` is how many nodes there may be.
pub(super) fn parse(source: &Source, limit: usize) -> Result<Node<'_>, Error> {
    let mut parser = Parser {
        source,
        rest: &source.text,
        line: 1,
        line_start: &source.text,
        limit,
        nodes: 0,
        depth: 0,
    };
    parser.blanks();
    let node = parser.value()?;
    parser.blanks();
    match parser.rest {
        "" => Ok(node),
        _ => Err(parser.bad("nothing may follow the value")),
    }
}

struct Parser<'a> {
    source: &'a Source,
    rest: &'a str,
    line: u32,
    /// The text from the beginning of the line on.
    line_start: &'a str,
    limit: usize,
    nodes: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn pos(&self) -> Pos {
        // Lines can be as long as files: the column is counted only up to what an editor would show.
        let bytes = self.line_start.len() - self.rest.len();
        let column = match self.line_start.get(..bytes) {
            Some(before) if bytes < 4096 => before.chars().count(),
            _ => bytes,
        };
        Pos {
            line: self.line,
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        }
    }

    fn bad(&self, message: &str) -> Error {
        Error::Yaml {
            at: self.source.place(self.pos()),
            message: format!("as JSON: {message}"),
        }
    }

    fn blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
            match self.rest.strip_prefix('\n') {
                Some(rest) => {
                    self.rest = rest;
                    self.line_start = rest;
                    self.line = self.line.saturating_add(1);
                }
                None => return,
            }
        }
    }

    fn take(&mut self, token: char) -> bool {
        self.blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn count(&mut self) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes <= self.limit {
            return Ok(());
        }
        Err(Error::TooComplex {
            at: self.source.place(self.pos()),
            message: format!("it has more than {} nodes", self.limit),
        })
    }

    fn value(&mut self) -> Result<Node<'a>, Error> {
        self.blanks();
        self.count()?;
        let pos = self.pos();
        let kind = match self.rest.bytes().next() {
            Some(b'{') => self.nested(Self::map)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { pos, kind })
    }

    fn nested(
        &mut self,
        inside: fn(&mut Self) -> Result<Kind<'a>, Error>,
    ) -> Result<Kind<'a>, Error> {
        self.depth += 1;
        if self.depth > limits::YAML_DEPTH {
            return Err(Error::TooComplex {
                at: self.source.place(self.pos()),
                message: format!("it is nested more than {} deep", limits::YAML_DEPTH),
            });
        }
        self.rest = &self.rest[1..];
        let kind = inside(self)?;
        self.depth -= 1;
        Ok(kind)
    }

    fn map(&mut self) -> Result<Kind<'a>, Error> {
        let mut entries = Vec::new();
        if self.take('}') {
            return Ok(Kind::Map(entries));
        }
        loop {
            self.blanks();
            self.count()?;
            let pos = self.pos();
            if !self.rest.starts_with('"') {
                return Err(self.bad("a key is a text in double quotes"));
            }
            let text = self.string()?;
            if !self.take(':') {
                return Err(self.bad("a ':' follows a key"));
            }
            entries.push((Key { pos, text }, self.value()?));
            if self.take('}') {
                entries.shrink_to_fit();
                return Ok(Kind::Map(entries));
            }
            if !self.take(',') {
                return Err(self.bad("a ',' or a '}' follows an entry"));
            }
        }
    }

    fn list(&mut self) -> Result<Kind<'a>, Error> {
        let mut items = Vec::new();
        if self.take(']') {
            return Ok(Kind::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.take(']') {
                items.shrink_to_fit();
                return Ok(Kind::List(items));
            }
            if !self.take(',') {
                return Err(self.bad("a ',' or a ']' follows an item"));
            }
        }
    }

    fn word(&mut self) -> Result<Kind<'a>, Error> {
        let words = [
            ("true", Kind::Bool(true)),
            ("false", Kind::Bool(false)),
            ("null", Kind::Null),
            ("NaN", Kind::Float(f64::NAN)),
            ("Infinity", Kind::Float(f64::INFINITY)),
        ];
        for (word, kind) in words {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(kind);
            }
        }
        Err(self.bad("this is no value"))
    }

    fn number(&mut self) -> Result<Kind<'a>, Error> {
        if let Some(rest) = self.rest.strip_prefix("-Infinity") {
            self.rest = rest;
            return Ok(Kind::Float(f64::NEG_INFINITY));
        }
        let of_number = |c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
        let end = self.rest.find(of_number).unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        let digits = text.strip_prefix('-').unwrap_or(text);
        let whole = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let well_formed = whole > 0
            && (whole == 1 || !digits.starts_with('0'))
            && !text.ends_with('.')
            && !digits[whole..].starts_with(['+', '-'])
            && !text.contains(".e")
            && !text.contains(".E");
        if !well_formed {
            return Err(self.bad("this is no number"));
        }
        let kind = if whole == digits.len() {
            let number = text
                .parse()
                .map_err(|_| self.bad("a number of more than 38 digits"))?;
            Kind::Int(number)
        } else {
            Kind::Float(text.parse().map_err(|_| self.bad("this is no number"))?)
        };
        self.rest = &self.rest[end..];
        Ok(kind)
    }

    /// A string, which begins here.
    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        let inside = &self.rest[1..];
        let end = inside.find(|c: char| c == '"' || c == '\\' || c < ' ');
        let Some(end) = end else {
            return Err(self.bad("this text is never closed"));
        };
        if inside[end..].starts_with('"') {
            self.rest = &inside[end + 1..];
            return Ok(Cow::Borrowed(&inside[..end]));
        }
        let mut text = inside[..end].to_owned();
        self.rest = &inside[end..];
        loop {
            let end = self.rest.find(|c: char| c == '"' || c == '\\' || c < ' ');
            let Some(end) = end else {
                return Err(self.bad("this text is never closed"));
            };
            text.push_str(&self.rest[..end]);
            self.rest = &self.rest[end..];
            if let Some(rest) = self.rest.strip_prefix('"') {
                self.rest = rest;
                return Ok(Cow::Owned(text));
            }
            if !self.rest.starts_with('\\') {
                return Err(self.bad("a control character within a text"));
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let mut chars = self.rest[1..].chars();
        let plain = match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('u') => return self.unicode(),
            _ => return Err(self.bad("an unknown escape")),
        };
        self.rest = chars.as_str();
        Ok(plain)
    }

    /// `\u` and four digits, twice for a character beyond the first 65,536.
    fn unicode(&mut self) -> Result<char, Error> {
        let unit = |text: &str| -> Option<u32> {
            let digits = text.strip_prefix("\\u")?.get(..4)?;
            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| hex)
        };
        let Some(first) = unit(self.rest) else {
            return Err(self.bad("four hexadecimal digits follow \\u"));
        };
        let second = unit(&self.rest[6..]).filter(|unit| (0xdc00..0xe000).contains(unit));
        let (code, length) = match (first, second) {
            (0xd800..0xdc00, Some(second)) => {
                (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
            }
            _ => (first, 6),
        };
        let Some(c) = char::from_u32(code) else {
            return Err(self.bad("half of a surrogate pair"));
        };
        self.rest = &self.rest[length..];
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match parse(&Source::new("t.json", text), 100) {
            Ok(node) => format!("{:?}", node.kind),
            Err(error) => error.to_string().lines().next().unwrap_or("").to_owned(),
        }
    }

    #[test]
    fn json_is_read_with_places() {
        for (text, expected) in [
            (" 1 ", "Int(1)"),
            ("-0.5e-3", "Float(-0.0005)"),
            ("NaN", "Float(NaN)"),
            (r#""a\u00e9\ud83d\ude00\/\n""#, r#"Text("aé😀/\n")"#),
            ("[]", "List([])"),
            (
                "{\"a\":\n [01]}",
                "t.json:2:3: not valid YAML: as JSON: this is no number",
            ),
            (
                "[1,]",
                "t.json:1:4: not valid YAML: as JSON: this is no value",
            ),
            (
                r#""\ud800""#,
                "t.json:1:2: not valid YAML: as JSON: half of a surrogate pair",
            ),
            (
                "{} x",
                "t.json:1:4: not valid YAML: as JSON: nothing may follow the value",
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
