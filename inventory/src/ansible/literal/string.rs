//! Python's quoted strings: prefixes, triple quotes and escapes.
//!
//! Raw strings and bytes are read; formatted strings are no literals. An escape that Python does not know stays as it is
//! written.

use super::{NoLiteral, Refused};

/// What a quoted string holds.
pub(super) enum Quoted {
    Text(String),
    Bytes(Vec<u8>),
}

/// A string, or why it is refused, and what follows it.
type Found<'a> = (Result<Quoted, Refused>, &'a str);

/// Reads a string at the beginning of a text, and what follows it; `None` if there is none.
pub(super) fn read(text: &str) -> Result<Option<Found<'_>>, NoLiteral> {
    let Some(at) = text.find(['\'', '"']).filter(|at| *at <= 2) else {
        return Ok(None);
    };
    let prefix = text[..at].to_ascii_lowercase();
    if !prefix.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Ok(None);
    }
    let (raw, bytes) = match prefix.as_str() {
        "" | "u" => (false, false),
        "r" => (true, false),
        "b" => (false, true),
        "br" | "rb" => (true, true),
        _ => return Err(NoLiteral),
    };
    let quoted = &text[at..];
    let quote = &quoted[..1];
    let triple = quote.repeat(3);
    let quote = if quoted.starts_with(&triple) {
        &triple
    } else {
        quote
    };
    let (inside, rest) = inside(&quoted[quote.len()..], quote)?;
    if bytes && !inside.is_ascii() {
        return Err(NoLiteral);
    }
    let unescaped = match raw {
        true => Ok(inside.to_owned()),
        false => unescape(inside, !bytes)?,
    };
    let quoted = unescaped.map(|text| match bytes {
        false => Quoted::Text(text),
        // Each escape in bytes is one byte, and each other character is ASCII.
        true => Quoted::Bytes(
            text.chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
                .collect(),
        ),
    });
    Ok(Some((quoted, rest)))
}

/// What stands before the closing quote, and what follows it. A backslash keeps a quote from closing, even in raw strings.
fn inside<'a>(text: &'a str, quote: &str) -> Result<(&'a str, &'a str), NoLiteral> {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if let Some(after) = rest.strip_prefix(quote) {
            return Ok((&text[..at], after));
        }
        let mut chars = rest.chars();
        at += match (chars.next(), chars.next()) {
            (Some('\\'), Some(escaped)) => 1 + escaped.len_utf8(),
            (Some(c), _) => c.len_utf8(),
            (None, _) => break,
        };
    }
    Err(NoLiteral)
}

fn unescape(text: &str, unicode: bool) -> Result<Result<String, Refused>, NoLiteral> {
    let mut refused = None;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            return Err(NoLiteral);
        };
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            '0'..='7' => {
                let more = rest
                    .bytes()
                    .take(2)
                    .take_while(|b| (b'0'..=b'7').contains(b));
                let more = more.count();
                let digits = format!("{c}{}", &rest[..more]);
                rest = &rest[more..];
                let code = u32::from_str_radix(&digits, 8).map_err(|_| NoLiteral)?;
                let code = if unicode { code } else { code & 0xff };
                out.extend(char::from_u32(code));
            }
            'x' => rest = hex(rest, 2, &mut out, &mut refused)?,
            'u' if unicode => rest = hex(rest, 4, &mut out, &mut refused)?,
            'U' if unicode => rest = hex(rest, 8, &mut out, &mut refused)?,
            'N' if unicode => {
                refused = Some("text with a character that is given by its Unicode name");
            }
            other => out.extend(['\\', other]),
        }
    }
    out.push_str(rest);
    Ok(refused.map_or(Ok(out), Err))
}

/// A character by its number in so many hexadecimal digits; the rest of the text.
fn hex<'a>(
    text: &'a str,
    digits: usize,
    out: &mut String,
    refused: &mut Option<Refused>,
) -> Result<&'a str, NoLiteral> {
    let number = text
        .get(..digits)
        .filter(|number| number.bytes().all(|b| b.is_ascii_hexdigit()))
        .ok_or(NoLiteral)?;
    let code = u32::from_str_radix(number, 16).map_err(|_| NoLiteral)?;
    match char::from_u32(code) {
        Some(c) => out.push(c),
        None if code > 0x10_ffff => return Err(NoLiteral),
        None => *refused = Some("text with half of a surrogate pair"),
    }
    Ok(&text[digits..])
}
