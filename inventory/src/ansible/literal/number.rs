//! Python's numbers: integers in four bases, floats, and imaginary numbers, which are refused.
//!
//! Digits may be grouped by single underscores. A decimal integer has no zeros in front, except for zero itself.

use super::{NoLiteral, Refused, continues};
use crate::value::Value;

/// Why an imaginary number is refused.
pub(super) const COMPLEX: Refused = "a complex number";

/// A number, or why it is refused, and what follows it.
type Number<'a> = (Result<Value, Refused>, &'a str);

/// Reads a number at the beginning of a text.
pub(super) fn read(text: &str, negative: bool) -> Result<Number<'_>, NoLiteral> {
    let (mut value, mut rest) = unsigned(text, negative)?;
    if let Some(after) = rest.strip_prefix(['j', 'J']) {
        (value, rest) = (Err(COMPLEX), after);
    }
    if rest.starts_with(continues) {
        return Err(NoLiteral);
    }
    Ok((value, rest))
}

fn unsigned(text: &str, negative: bool) -> Result<Number<'_>, NoLiteral> {
    let prefix = text.get(..2).unwrap_or("").to_ascii_lowercase();
    let radix = match prefix.as_str() {
        "0x" => 16,
        "0o" => 8,
        "0b" => 2,
        _ => return decimal(text, negative),
    };
    // An underscore may follow the prefix.
    let digits = text[2..].strip_prefix('_').unwrap_or(&text[2..]);
    let (digits, rest) = run(digits, radix)?;
    Ok((integer(&digits, radix, negative)?, rest))
}

fn decimal(text: &str, negative: bool) -> Result<Number<'_>, NoLiteral> {
    let (whole, rest) = match text.starts_with('.') {
        true => (String::new(), text),
        false => run(text, 10)?,
    };
    let mut number = whole.clone();
    let mut rest = rest;
    let mut float = false;
    if let Some(after) = rest.strip_prefix('.') {
        float = true;
        number.push('.');
        rest = after;
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            let (fraction, after) = run(rest, 10)?;
            number.push_str(&fraction);
            rest = after;
        } else if whole.is_empty() {
            return Err(NoLiteral);
        }
    }
    if rest.starts_with(['e', 'E']) {
        let exponent = &rest[1..];
        let sign = exponent.starts_with(['+', '-']);
        let digits = &exponent[usize::from(sign)..];
        if digits.starts_with(|c: char| c.is_ascii_digit()) {
            float = true;
            let (digits, after) = run(digits, 10)?;
            number.push('e');
            number.push_str(&exponent[..usize::from(sign)]);
            number.push_str(&digits);
            rest = after;
        }
    }
    if float {
        let value: f64 = number.parse().map_err(|_| NoLiteral)?;
        let value = Value::Float(if negative { -value } else { value });
        return Ok((Ok(value), rest));
    }
    let imaginary = rest.starts_with(['j', 'J']);
    if whole.len() > 1 && whole.starts_with('0') && whole.bytes().any(|b| b != b'0') && !imaginary {
        return Err(NoLiteral);
    }
    Ok((integer(&whole, 10, negative)?, rest))
}

/// A run of digits, without its underscores, and what follows it.
fn run(text: &str, radix: u32) -> Result<(String, &str), NoLiteral> {
    let mut digits = String::new();
    let mut rest = text;
    loop {
        let end = rest
            .find(|c: char| !c.is_digit(radix))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(NoLiteral);
        }
        digits.push_str(&rest[..end]);
        rest = &rest[end..];
        match rest.strip_prefix('_') {
            Some(after) => rest = after,
            None => return Ok((digits, rest)),
        }
    }
}

fn integer(digits: &str, radix: u32, negative: bool) -> Result<Result<Value, Refused>, NoLiteral> {
    match i128::from_str_radix(digits, radix) {
        Ok(value) => Ok(Ok(Value::Int(if negative { -value } else { value }))),
        // Python itself stops reading decimal numbers there.
        Err(_) if radix == 10 && digits.len() > 4300 => Err(NoLiteral),
        Err(_) => Ok(Err("a number of more than 38 digits")),
    }
}
