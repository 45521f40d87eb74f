//! A value of an INI inventory, read as Ansible reads it: as a Python literal if it is one, else as text.
//!
//! The rules are those of `ast.literal_eval` (Python library reference, "ast"): numbers, quoted strings, lists, tuples,
//! dictionaries, `True`, `False` and `None`, with Python's syntax for each. Literals that have no counterpart in JSON are
//! refused. Nothing is evaluated beyond that.

mod number;
mod string;

use std::collections::BTreeMap;

use crate::value::Value;
use string::Quoted;

/// Why a literal is refused: Ansible would read it, and could not list it.
pub(crate) type Refused = &'static str;

/// Brackets that may be open at a time; Python allows 200.
const NESTING: usize = 100;

/// Reads a value. What is no literal is text, unchanged.
pub(crate) fn eval(text: &str) -> Result<Value, Refused> {
    let begin = text.trim_start_matches([' ', '\t']);
    if !can_begin(begin) {
        return Ok(Value::Text(text.to_owned()));
    }
    let mut parser = Parser {
        rest: begin,
        nesting: 0,
        refused: None,
    };
    let whole = parser.whole();
    match (whole, parser.refused) {
        (Err(NoLiteral), _) => Ok(Value::Text(text.to_owned())),
        (Ok(_), Some(reason)) => Err(reason),
        (Ok(Literal::Value(value)), None) => Ok(value),
        // The plugin turns bytes into text, where they are the whole value.
        (Ok(Literal::Bytes(bytes)), None) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text)),
            Err(_) => Err("bytes that are not UTF-8"),
        },
    }
}

/// Most values are plain words, and end here.
fn can_begin(text: &str) -> bool {
    // So do addresses and versions: no number has two points.
    let of_address = |b: u8| b.is_ascii_digit() || b == b'.';
    if text.bytes().all(of_address) && text.bytes().filter(|b| *b == b'.').count() > 1 {
        return text == "...";
    }
    let mut bytes = text.bytes();
    match bytes.next() {
        Some(b'0'..=b'9' | b'\'' | b'"' | b'[' | b'{' | b'(' | b'+' | b'-' | b'.') => true,
        Some(b'T') => text.starts_with("True"),
        Some(b'F') => text.starts_with("False"),
        Some(b'N') => text.starts_with("None"),
        Some(b's') => text.starts_with("set"),
        Some(b'r' | b'R' | b'b' | b'B' | b'u' | b'U') => text.contains(['\'', '"']),
        _ => false,
    }
}

/// Python would not take it for a literal.
struct NoLiteral;

/// Bytes are told from text, because what they become depends on where they stand.
enum Literal {
    Value(Value),
    Bytes(Vec<u8>),
}

struct Parser<'a> {
    rest: &'a str,
    nesting: usize,
    /// Why the value has no counterpart in JSON, if it is a literal to its end.
    refused: Option<Refused>,
}

impl Parser<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\u{c}']);
        // A comment reaches to the end of the line, which is the end of the value.
        if self.rest.starts_with('#') {
            self.rest = "";
        }
    }

    /// Goes on in the place of something that JSON does not have.
    fn refuse(&mut self, reason: Refused) -> Value {
        self.refused.get_or_insert(reason);
        Value::Null
    }

    /// An item of a collection, where bytes have nothing to become.
    fn nested(&mut self) -> Result<Value, NoLiteral> {
        match self.item()? {
            Literal::Value(value) => Ok(value),
            Literal::Bytes(_) => Ok(self.refuse("bytes within a list or dictionary")),
        }
    }

    /// Takes a token of punctuation.
    fn take(&mut self, token: &str) -> bool {
        self.blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn whole(&mut self) -> Result<Literal, NoLiteral> {
        let first = self.item()?;
        if !self.take(",") {
            return self.end(first);
        }
        let mut items = vec![match first {
            Literal::Value(value) => value,
            Literal::Bytes(_) => self.refuse("bytes within a list or dictionary"),
        }];
        while !self.at_end() {
            items.push(self.nested()?);
            if !self.take(",") {
                break;
            }
        }
        self.end(Literal::Value(Value::List(items)))
    }

    fn at_end(&mut self) -> bool {
        self.blanks();
        self.rest.is_empty()
    }

    fn end(&mut self, literal: Literal) -> Result<Literal, NoLiteral> {
        if self.at_end() {
            Ok(literal)
        } else {
            Err(NoLiteral)
        }
    }

    fn item(&mut self) -> Result<Literal, NoLiteral> {
        self.blanks();
        let rest = self.rest;
        match rest.bytes().next() {
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => self.number().map(Literal::Value),
            Some(b'(') => self.brackets(Self::tuple),
            Some(b'[') => self.brackets(Self::list),
            Some(b'{') => self.brackets(Self::braces),
            Some(_) => self.word(),
            None => Err(NoLiteral),
        }
    }

    fn word(&mut self) -> Result<Literal, NoLiteral> {
        let constants = [
            ("True", Value::Bool(true)),
            ("False", Value::Bool(false)),
            ("None", Value::Null),
        ];
        for (word, value) in constants {
            if let Some(rest) = self.rest.strip_prefix(word) {
                if rest.starts_with(continues) {
                    return Err(NoLiteral);
                }
                self.rest = rest;
                return Ok(Literal::Value(value));
            }
        }
        if let Some(rest) = self.rest.strip_prefix("set") {
            self.rest = rest;
            if self.take("(") && self.take(")") {
                return Ok(Literal::Value(self.refuse("a set")));
            }
            return Err(NoLiteral);
        }
        self.strings()
    }

    /// One or several strings, which Python joins.
    fn strings(&mut self) -> Result<Literal, NoLiteral> {
        let mut all = match self.string()? {
            Some(first) => first,
            None => return Err(NoLiteral),
        };
        loop {
            self.blanks();
            match (self.string()?, &mut all) {
                (None, _) => break,
                (Some(Quoted::Text(more)), Quoted::Text(all)) => all.push_str(&more),
                (Some(Quoted::Bytes(more)), Quoted::Bytes(all)) => all.extend(more),
                _ => return Err(NoLiteral),
            }
        }
        Ok(match all {
            Quoted::Text(text) => Literal::Value(Value::Text(text)),
            Quoted::Bytes(bytes) => Literal::Bytes(bytes),
        })
    }

    fn string(&mut self) -> Result<Option<Quoted>, NoLiteral> {
        let Some((string, rest)) = string::read(self.rest)? else {
            return Ok(None);
        };
        self.rest = rest;
        let string = string.unwrap_or_else(|reason| {
            self.refuse(reason);
            Quoted::Text(String::new())
        });
        Ok(Some(string))
    }

    /// A number with at most one sign.
    fn number(&mut self) -> Result<Value, NoLiteral> {
        if let Some(rest) = self.rest.strip_prefix("...") {
            self.rest = rest;
            return Ok(self.refuse("an ellipsis"));
        }
        let negative = self.rest.starts_with('-');
        if negative || self.rest.starts_with('+') {
            self.rest = &self.rest[1..];
            self.blanks();
        }
        let first = self.unsigned(negative)?;
        self.blanks();
        if !self.rest.starts_with(['+', '-']) {
            return Ok(first.unwrap_or_else(|reason| self.refuse(reason)));
        }
        // Only a complex number continues here: a real part, and an imaginary one.
        self.rest = &self.rest[1..];
        self.blanks();
        match (first, self.unsigned(false)?) {
            (Ok(_), Err(number::COMPLEX)) => Ok(self.refuse(number::COMPLEX)),
            _ => Err(NoLiteral),
        }
    }

    fn unsigned(&mut self, negative: bool) -> Result<Result<Value, Refused>, NoLiteral> {
        let (value, rest) = number::read(self.rest, negative)?;
        self.rest = rest;
        Ok(value)
    }

    fn brackets(
        &mut self,
        inside: fn(&mut Self) -> Result<Value, NoLiteral>,
    ) -> Result<Literal, NoLiteral> {
        self.nesting += 1;
        if self.nesting > NESTING {
            return Err(NoLiteral);
        }
        self.rest = &self.rest[1..];
        let value = inside(self)?;
        self.nesting -= 1;
        Ok(Literal::Value(value))
    }

    fn list(&mut self) -> Result<Value, NoLiteral> {
        let mut items = Vec::new();
        while !self.take("]") {
            items.push(self.nested()?);
            if !self.take(",") {
                if self.take("]") {
                    break;
                }
                return Err(NoLiteral);
            }
        }
        Ok(Value::List(items))
    }

    /// A tuple, or one value in parentheses.
    fn tuple(&mut self) -> Result<Value, NoLiteral> {
        let mut items = Vec::new();
        let mut comma = false;
        while !self.take(")") {
            items.push(self.nested()?);
            if self.take(",") {
                comma = true;
            } else if self.take(")") {
                break;
            } else {
                return Err(NoLiteral);
            }
        }
        match items.pop() {
            Some(only) if items.is_empty() && !comma => Ok(only),
            last => {
                items.extend(last);
                Ok(Value::List(items))
            }
        }
    }

    /// A dictionary. Its keys become text, as JSON has them.
    fn braces(&mut self) -> Result<Value, NoLiteral> {
        let mut map = BTreeMap::new();
        while !self.take("}") {
            let key = self.nested()?;
            if !self.take(":") {
                if !map.is_empty() {
                    return Err(NoLiteral);
                }
                return self.set();
            }
            let value = self.nested()?;
            let reason = "a dictionary with a key that is no text";
            let key = super::key_text(&key).unwrap_or_else(|| {
                self.refuse(reason);
                String::new()
            });
            map.insert(key, value);
            if !self.take(",") {
                if self.take("}") {
                    break;
                }
                return Err(NoLiteral);
            }
        }
        Ok(Value::Map(map))
    }

    /// A set, behind its first item.
    fn set(&mut self) -> Result<Value, NoLiteral> {
        while self.take(",") {
            if self.take("}") {
                return Ok(self.refuse("a set"));
            }
            self.nested()?;
        }
        match self.take("}") {
            true => Ok(self.refuse("a set")),
            false => Err(NoLiteral),
        }
    }
}

/// Whether a character continues a name.
fn continues(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        match eval(text) {
            Ok(value) => serde_json::to_string(&value).expect("plain data"),
            Err(reason) => format!("refused: {reason}"),
        }
    }

    #[test]
    fn literals_are_pythons_and_all_else_is_text() {
        for (text, expected) in [
            ("1", "1"),
            ("-5", "-5"),
            ("+ 7", "7"),
            ("--1", r#""--1""#),
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("0b11", "3"),
            ("0755", r#""0755""#),
            ("00", "0"),
            ("1.", "1.0"),
            (".5", "0.5"),
            ("010.5", "10.5"),
            ("1e3", "1000.0"),
            ("1e", r#""1e""#),
            ("10.0.0.1", r#""10.0.0.1""#),
            ("1,2", "[1,2]"),
            ("1,", "[1]"),
            ("(1)", "1"),
            ("()", "[]"),
            ("(1,)", "[1]"),
            ("[1, 'a', None, True]", r#"[1,"a",null,true]"#),
            ("[1,,2]", r#""[1,,2]""#),
            ("{'b': 1, 2: [ ], }", r#"{"2":[],"b":1}"#),
            ("'a' \"b\"", r#""ab""#),
            (r"'\x41\u00e9\n\d'", r#""Aé\n\\d""#),
            (r"r'\n'", r#""\\n""#),
            ("b'abc'", r#""abc""#),
            ("f'abc'", r#""f'abc'""#),
            ("'''it's'''", r#""it's""#),
            ("'open", r#""'open""#),
            ("5 # five", "5"),
            ("foo # c", r#""foo # c""#),
            ("true", r#""true""#),
            ("Truely", r#""Truely""#),
            ("", r#""""#),
            ("{1, 2}", "refused: a set"),
            ("set()", "refused: a set"),
            ("3j", "refused: a complex number"),
            ("1+2j", "refused: a complex number"),
            ("...", "refused: an ellipsis"),
            ("1+2", r#""1+2""#),
            ("9j/m", r#""9j/m""#),
            ("{1, 2", r#""{1, 2""#),
            ("[b'a']", "refused: bytes within a list or dictionary"),
            ("1 2", r#""1 2""#),
            ("1abc", r#""1abc""#),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    #[test]
    fn deep_brackets_are_text() {
        let deep = "[".repeat(10_000);
        assert_eq!(eval(&deep), Ok(Value::Text(deep.clone())));
    }
}
