//! What a scalar is: null, a boolean, a number, or text, by the rules of YAML 1.2 or of PyYAML.
//!
//! PyYAML follows YAML 1.1: `yes` and `off` are booleans, `0755` is octal, `1:30` counts sixties, and a date is a date,
//! which ends as text in Ansible's JSON. Tags of the core schema are honoured, and Ansible's own in its dialect.

use std::borrow::Cow;
use std::sync::LazyLock;

use granit_parser::Tag;
use regex::Regex;

use super::{Dialect, Kind};

/// Whether a tag is the lone `!`, which makes any scalar text.
pub(super) fn is_non_specific(tag: &Tag) -> bool {
    tag.original() == "!"
}

pub(super) fn unsupported(tag: &Tag) -> String {
    let shown: String = tag.original().chars().take(80).collect();
    format!("unsupported tag `{shown}`")
}

/// Resolves a scalar; the error is what is wrong with it.
pub(super) fn resolve<'a>(
    text: Cow<'a, str>,
    plain: bool,
    tag: Option<&Tag>,
    dialect: Dialect,
) -> Result<Kind<'a>, String> {
    // PyYAML takes a lone `!` for no tag at all, and takes quotes for none either; where nothing follows it is text.
    let lone = dialect == Dialect::Ansible && tag.is_some_and(is_non_specific);
    let lone = lone && !(plain && text.is_empty());
    let (tag, plain) = if lone { (None, true) } else { (tag, plain) };
    let Some(tag) = tag else {
        return if plain {
            implicit(text, dialect)
        } else {
            Ok(Kind::Text(text))
        };
    };
    let name = tag.original();
    match (name.as_str(), dialect) {
        ("!vault" | "!vault-encrypted", Dialect::Ansible) => return Ok(Kind::Vault(text)),
        ("!unsafe", Dialect::Ansible) => return Ok(Kind::Unsafe(text)),
        _ => {}
    }
    if is_non_specific(tag) {
        return Ok(Kind::Text(text));
    }
    let wanted = tag.core_suffix();
    if wanted == Some("str") {
        return Ok(Kind::Text(text));
    }
    let resolved = implicit(text, dialect)?;
    let fits = match resolved {
        Kind::Null => wanted == Some("null"),
        Kind::Bool(_) => wanted == Some("bool"),
        Kind::Int(_) => matches!(wanted, Some("int" | "float")),
        Kind::Float(_) => wanted == Some("float"),
        _ => false,
    };
    match (resolved, wanted) {
        (Kind::Int(number), Some("float")) => Ok(Kind::Float(number as f64)),
        (resolved, _) if fits => Ok(resolved),
        _ => Err(unsupported(tag)),
    }
}

/// The text of a mapping's key. Numbers become what JSON makes of them. A boolean is the native format's `true`; in YAML 1.1
/// it is most likely a word that was not meant as one, and Ansible can hardly use it.
pub(super) fn key(kind: Kind<'_>, dialect: Dialect) -> Result<Cow<'_, str>, &'static str> {
    match kind {
        Kind::Text(text) => Ok(text),
        Kind::Int(number) => Ok(Cow::Owned(number.to_string())),
        Kind::Bool(_) if dialect == Dialect::Ansible => {
            Err("this key is a boolean to YAML 1.1; quote it")
        }
        Kind::Bool(value) => Ok(Cow::Borrowed(if value { "true" } else { "false" })),
        Kind::Float(number) => Ok(Cow::Owned(crate::ansible::float(number))),
        Kind::Null => Err("null is not allowed here"),
        _ => Err("expected string scalar"),
    }
}

fn implicit(text: Cow<'_, str>, dialect: Dialect) -> Result<Kind<'_>, String> {
    let found = match dialect {
        Dialect::Native => core(&text)?,
        Dialect::Ansible => legacy(&text)?,
    };
    Ok(found.unwrap_or(Kind::Text(text)))
}

fn null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether a number, or a date, may begin like this.
fn numeric(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
}

/// YAML 1.2. Zeros in front and underscores make text, and a number has to be finite.
fn core(text: &str) -> Result<Option<Kind<'static>>, String> {
    match text {
        "true" | "True" | "TRUE" => return Ok(Some(Kind::Bool(true))),
        "false" | "False" | "FALSE" => return Ok(Some(Kind::Bool(false))),
        text if null(text) => return Ok(Some(Kind::Null)),
        text if !numeric(text) => return Ok(None),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!("value `{text}` is not a finite number"));
    }
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)];
    for (prefix, radix) in radix {
        if let Some(digits) = unsigned.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            let number = i128::from_str_radix(digits, radix)
                .map_err(|_| "a number that is too large".to_owned())?;
            let number = if text.starts_with('-') {
                -number
            } else {
                number
            };
            return Ok(Some(Kind::Int(number)));
        }
    }
    let leading_zero = unsigned.len() > 1 && unsigned.starts_with('0');
    if unsigned.bytes().all(|b| b.is_ascii_digit()) && !unsigned.is_empty() {
        if leading_zero {
            return Ok(None);
        }
        // Beyond 64 bits a number is a float, as JSON readers have it.
        let number = text.trim_start_matches('+').parse::<i128>().ok();
        let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Ok(Some(Kind::Int(number)));
        }
    }
    if !FLOAT.is_match(text) {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(Kind::Float(number))),
        Ok(_) => Err(format!(
            "value `{}` is not a finite number",
            text.chars().take(80).collect::<String>()
        )),
        Err(_) => Ok(None),
    }
}

/// YAML 1.1 as PyYAML resolves it; the first rule that fits counts.
fn legacy(text: &str) -> Result<Option<Kind<'static>>, String> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Some(Kind::Bool(true)));
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Some(Kind::Bool(false)));
        }
        text if null(text) => return Ok(Some(Kind::Null)),
        text if !numeric(text) => return Ok(None),
        _ => {}
    }
    if LEGACY_FLOAT.is_match(text) {
        return Ok(legacy_float(text).map(Kind::Float));
    }
    if LEGACY_INT.is_match(text) {
        let number = legacy_int(text).ok_or("a number of more than 38 digits")?;
        return Ok(Some(Kind::Int(number)));
    }
    if text.starts_with(|c: char| c.is_ascii_digit())
        && let Some(parts) = TIMESTAMP.captures(text)
    {
        // A date without a time has two digits each.
        if parts.name("hour").is_none() && text.len() != "2001-02-03".len() {
            return Ok(None);
        }
        return timestamp(&parts).map(|text| Some(Kind::Text(Cow::Owned(text))));
    }
    Ok(None)
}

fn legacy_float(text: &str) -> Option<f64> {
    let text = text.replace('_', "").to_lowercase();
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let unsigned = text.trim_start_matches(['+', '-']);
    match unsigned {
        ".inf" => Some(sign * f64::INFINITY),
        ".nan" => Some(f64::NAN),
        sixties if sixties.contains(':') => {
            let mut value = 0.0;
            for part in sixties.split(':') {
                value = value * 60.0 + part.parse::<f64>().ok()?;
            }
            Some(sign * value)
        }
        number => Some(sign * number.parse::<f64>().ok()?),
    }
}

fn legacy_int(text: &str) -> Option<i128> {
    let text = text.replace('_', "");
    let negative = text.starts_with('-');
    let digits = text.trim_start_matches(['+', '-']);
    let number = if digits == "0" {
        0
    } else if let Some(digits) = digits.strip_prefix("0b") {
        i128::from_str_radix(digits, 2).ok()?
    } else if let Some(digits) = digits.strip_prefix("0x") {
        i128::from_str_radix(digits, 16).ok()?
    } else if digits.starts_with('0') {
        i128::from_str_radix(digits, 8).ok()?
    } else {
        let mut number: i128 = 0;
        for part in digits.split(':') {
            number = number.checked_mul(if digits.contains(':') { 60 } else { 1 })?;
            number = number.checked_add(part.parse().ok()?)?;
        }
        number
    };
    Some(if negative { -number } else { number })
}

/// A date, or a date and a time, as `isoformat()` writes it.
fn timestamp(parts: &regex::Captures<'_>) -> Result<String, String> {
    let number = |name: &str| {
        let text = parts.name(name).map_or("", |part| part.as_str());
        text.parse::<u32>().unwrap_or(0)
    };
    let (year, month, day) = (number("year"), number("month"), number("day"));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 31,
    };
    let exists = year > 0 && (1..=12).contains(&month) && (1..=days).contains(&day);
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if parts.name("hour").is_none() {
        return if exists {
            Ok(text)
        } else {
            Err(format!("there is no date {text}"))
        };
    }
    let (hour, minute, second) = (number("hour"), number("minute"), number("second"));
    text.push_str(&format!("T{hour:02}:{minute:02}:{second:02}"));
    if !exists || hour > 23 || minute > 59 || second > 59 {
        return Err(format!("there is no time {text}"));
    }
    let fraction = parts.name("fraction").map_or("", |part| part.as_str());
    let micros = format!("{:0<6}", fraction.chars().take(6).collect::<String>());
    if micros != "000000" {
        text.push_str(&format!(".{micros}"));
    }
    if let Some(sign) = parts.name("sign") {
        let (hours, minutes) = (number("tz_hour"), number("tz_minute"));
        let sign = if hours + minutes == 0 {
            "+"
        } else {
            sign.as_str()
        };
        if hours > 23 || minutes > 59 {
            return Err("there is no such time zone".to_owned());
        }
        text.push_str(&format!("{sign}{hours:02}:{minutes:02}"));
    } else if parts.name("tz").is_some() {
        text.push_str("+00:00");
    }
    Ok(text)
}

fn compiled(pattern: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "the patterns are constants, which a test compiles"
    )]
    Regex::new(pattern).expect("a constant pattern")
}

static FLOAT: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"));

static LEGACY_FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?x)^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?
        |\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?
        |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$",
    )
});

static LEGACY_INT: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?x)^(?:[-+]?0b[0-1_]+
        |[-+]?0[0-7_]+
        |[-+]?(?:0|[1-9][0-9_]*)
        |[-+]?0x[0-9a-fA-F_]+
        |[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$",
    )
});

static TIMESTAMP: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        r"(?x)^(?<year>[0-9]{4})-(?:(?<month>[0-9][0-9]?)-(?<day>[0-9][0-9]?)
        (?:(?:[Tt]|[\ \t]+)(?<hour>[0-9][0-9]?):(?<minute>[0-9]{2}):(?<second>[0-9]{2})
        (?:\.(?<fraction>[0-9]*))?
        (?:[\ \t]*(?<tz>Z|(?<sign>[-+])(?<tz_hour>[0-9][0-9]?)(?::(?<tz_minute>[0-9]{2}))?))?)?)$",
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy_shown(text: &str) -> String {
        match implicit(Cow::Borrowed(text), Dialect::Ansible) {
            Ok(kind) => format!("{kind:?}"),
            Err(reason) => reason,
        }
    }

    #[test]
    fn plain_scalars_of_ansible_are_those_of_yaml_1_1() {
        for (text, expected) in [
            ("yes", "Bool(true)"),
            ("Off", "Bool(false)"),
            ("y", "Text(\"y\")"),
            ("0755", "Int(493)"),
            ("0o17", "Text(\"0o17\")"),
            ("08", "Text(\"08\")"),
            ("1_000", "Int(1000)"),
            ("0x1F", "Int(31)"),
            ("-0b11", "Int(-3)"),
            ("1:30", "Int(90)"),
            ("-1:30:15", "Int(-5415)"),
            ("1:30.5", "Float(90.5)"),
            ("1e3", "Text(\"1e3\")"),
            ("1.0e3", "Text(\"1.0e3\")"),
            ("1.0e+3", "Float(1000.0)"),
            ("1.", "Float(1.0)"),
            ("-.inf", "Float(-inf)"),
            ("~", "Null"),
            ("2001-12-14", "Text(\"2001-12-14\")"),
            ("2001-1-2", "Text(\"2001-1-2\")"),
            (
                "2001-12-14t21:59:43.10-05:00",
                "Text(\"2001-12-14T21:59:43.100000-05:00\")",
            ),
            (
                "2001-12-14 1:59:43 Z",
                "Text(\"2001-12-14T01:59:43+00:00\")",
            ),
            ("2001-13-14", "there is no date 2001-13-14"),
            ("10.0.0.1", "Text(\"10.0.0.1\")"),
            ("-", "Text(\"-\")"),
        ] {
            assert_eq!(legacy_shown(text), expected, "{text}");
        }
    }

    #[test]
    fn native_scalars_are_those_of_yaml_1_2() {
        for (text, expected) in [
            ("yes", "Text(\"yes\")"),
            ("True", "Bool(true)"),
            ("+7", "Int(7)"),
            ("0x1F", "Int(31)"),
            ("1e3", "Float(1000.0)"),
            ("2001-12-14", "Text(\"2001-12-14\")"),
        ] {
            let kind = implicit(Cow::Borrowed(text), Dialect::Native).expect("fine");
            assert_eq!(format!("{kind:?}"), expected, "{text}");
        }
    }
}
