//! The values of keywords: what each kind takes, checked when a file is read, whether or not the line applies.

use std::time::Duration;

use super::algorithms::Family;
use super::lexer;
use super::resolved::Hop;

/// What a keyword takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// One of these words, whatever their case; the second of each pair is what it means.
    Choice(&'static [(&'static str, &'static str)]),
    /// A whole number of at least this.
    Number { least: u64 },
    /// 1 to 65535.
    Port,
    /// `none`, or a time as `sshd_config(5)` (TIME FORMATS) writes it.
    Time,
    /// One word.
    Text,
    /// One word or more.
    Words,
    /// `NAME=VALUE`, one or more.
    Assignments,
    /// All that is left of the line.
    Command,
    /// Hosts separated by commas, or `none`.
    Jump,
    /// A size, and perhaps a time.
    Rekey,
    /// Names of algorithms, perhaps with `+`, `-` or `^` before them.
    Names(Family),
}

/// A value that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Time(Option<Duration>),
    Words(Vec<String>),
    /// A command; `None` after `none`.
    Command(Option<String>),
    /// Hops; none of them after `none`.
    Jump(Vec<Hop>),
    Rekey(Option<u64>, Option<Duration>),
}

/// Why a value was refused.
pub(crate) enum Bad {
    /// The line is not of the right form.
    Form(String),
    /// This argument is not what the keyword takes.
    Value(String, String),
}

impl Kind {
    /// Checks what stands after the keyword.
    pub(crate) fn read(self, rest: &str) -> Result<Value, Bad> {
        let words = lexer::arguments(rest).map_err(Bad::Form)?;
        let Some(first) = words.first() else {
            return Err(Bad::Form("an argument is missing".to_owned()));
        };
        if words.iter().any(String::is_empty) {
            return Err(Bad::Form("an argument is empty".to_owned()));
        }
        let at_most = match self {
            Kind::Words | Kind::Assignments | Kind::Command => usize::MAX,
            Kind::Rekey => 2,
            _ => 1,
        };
        if words.len() > at_most {
            return Err(Bad::Form(format!(
                "{:?} is more than the keyword takes",
                words[at_most]
            )));
        }
        let bad = |expected: &str| Bad::Value(first.clone(), expected.to_owned());
        match self {
            Kind::Choice(choices) => {
                let found = choices
                    .iter()
                    .find(|(word, _)| word.eq_ignore_ascii_case(first));
                let names = || {
                    choices
                        .iter()
                        .map(|(word, _)| *word)
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                found
                    .map(|(_, means)| Value::Text((*means).to_owned()))
                    .ok_or_else(|| bad(&names()))
            }
            Kind::Number { least } => match number(first) {
                Some(n) if n >= least && n <= MOST => Ok(Value::Number(n)),
                _ => Err(bad(&format!("a whole number from {least} to {MOST}"))),
            },
            Kind::Port => port(first)
                .map(|p| Value::Number(p.into()))
                .ok_or_else(|| bad("a port from 1 to 65535")),
            Kind::Time => match first.as_str() {
                "none" => Ok(Value::Time(None)),
                text => time(text)
                    .map(|t| Value::Time(Some(t)))
                    .ok_or_else(|| bad(TIME)),
            },
            Kind::Text => Ok(Value::Text(first.clone())),
            Kind::Words => match words.iter().any(|word| word.eq_ignore_ascii_case("none"))
                && words.len() > 1
            {
                true => Err(Bad::Form("\"none\" must stand alone".to_owned())),
                false => Ok(Value::Words(words)),
            },
            Kind::Assignments => match words.iter().find(|word| !word.contains('=')) {
                Some(word) => Err(Bad::Value(word.clone(), "NAME=VALUE".to_owned())),
                None => Ok(Value::Words(words)),
            },
            Kind::Command => {
                let command = rest.trim_start_matches([' ', '\t', '=']);
                let none = command.eq_ignore_ascii_case("none");
                Ok(Value::Command((!none).then(|| command.to_owned())))
            }
            Kind::Jump => jump(first)
                .map(Value::Jump)
                .ok_or_else(|| bad("hosts as [user@]host[:port], separated by commas")),
            Kind::Rekey => {
                let size = match first.as_str() {
                    "default" => None,
                    text => Some(size(text).ok_or_else(|| {
                        bad("default, or a size of at least 16 bytes such as 1G")
                    })?),
                };
                let time = match words.get(1).map(String::as_str) {
                    None | Some("none") => None,
                    Some(text) => Some(
                        time(text).ok_or_else(|| Bad::Value(text.to_owned(), TIME.to_owned()))?,
                    ),
                };
                Ok(Value::Rekey(size, time.filter(|t| !t.is_zero())))
            }
            Kind::Names(family) => match family.bad_name(first) {
                Some(name) => Err(Bad::Value(
                    name.to_owned(),
                    format!("names that ssh -Q {} lists", family.query()),
                )),
                None => Ok(Value::Text(first.clone())),
            },
        }
    }
}

const MOST: u64 = i32::MAX as u64;
const TIME: &str = "none, or a time such as 30 or 1h30m";

/// A whole number without a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A port from 1 to 65535, in decimal digits.
pub(crate) fn port(text: &str) -> Option<u16> {
    number(text)
        .and_then(|n| u16::try_from(n).ok())
        .filter(|&p| p > 0)
}

/// Seconds, or numbers each with s, m, h, d or w behind it.
fn time(text: &str) -> Option<Duration> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let value = rest[..digits].parse::<u64>().ok()?;
        rest = &rest[digits..];
        let unit = match rest.chars().next().map(|c| c.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        rest = rest.get(1..).unwrap_or("");
        total = total.checked_add(value.checked_mul(unit)?)?;
    }
    (!text.is_empty() && total <= MOST).then(|| Duration::from_secs(total))
}

/// Bytes, perhaps with K, M or G behind them; 0 stands for the default.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().last()? {
        (at, c) if c.is_ascii_alphabetic() => (&text[..at], c.to_ascii_uppercase()),
        _ => (text, 'B'),
    };
    let shift = match unit {
        'B' => 0,
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return None,
    };
    let bytes = number(digits)?.checked_mul(1 << shift)?;
    (bytes == 0 || bytes >= 16).then_some(bytes)
}

/// The hosts of `ProxyJump`; none of them for `none`.
pub(crate) fn jump(text: &str) -> Option<Vec<Hop>> {
    if text.eq_ignore_ascii_case("none") {
        return Some(Vec::new());
    }
    text.split(',').map(hop).collect()
}

/// One `[user@]host[:port]` or `ssh://[user@]host[:port]`; an IPv6 address with a port stands in brackets.
pub(crate) fn hop(text: &str) -> Option<Hop> {
    let text = text
        .strip_prefix("ssh://")
        .map_or(text, |uri| uri.trim_end_matches('/'));
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    let (host, port_text) = match place
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, after)) => (host, Some(after.strip_prefix(':')?)),
        None => match place.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (place, None),
        },
    };
    let port = match port_text {
        Some(text) => Some(port(text)?),
        None => None,
    };
    let empty = host.is_empty() || user.is_some_and(str::is_empty);
    (!empty).then(|| Hop {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
    })
}
