//! The name of a host as Ansible's sources write it: with ranges, and with a port.
//!
//! `web[01:50:2]`, `db-[a:f].eu:2222`, `[2001:db8::1]:22`. The rules are those of Ansible's `parse_address` and
//! `expand_hostname_range`, without what can hardly be meant: names that no host can have, and ranges that are empty.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::builder::Names;
use crate::limits;
use crate::range::{Flaw, Part, Template};

/// Names and the port that stands behind them.
#[derive(Debug)]
pub(crate) struct Address {
    pub names: Names,
    pub port: Option<u16>,
}

/// What is wrong with a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Range(Flaw),
    Name(&'static str),
}

const CHARACTERS: &str = "it has a character that no host name has";

/// Reads a host's name, with ranges and a port.
pub(crate) fn parse(text: &str) -> Result<Address, Wrong> {
    if plain(text) {
        return Ok(Address {
            names: Names::One(text.into()),
            port: None,
        });
    }
    let (host, port) = split_port(text)?;
    let names = if host.contains('[') {
        Names::Range(range(host)?)
    } else {
        check(host)?;
        Names::One(host.into())
    };
    Ok(Address { names, port })
}

/// Reads a host's name as programs print it: nothing in it has a meaning of its own.
pub(crate) fn one(text: &str) -> Result<Names, Wrong> {
    if !plain(text) {
        check(text)?;
    }
    Ok(Names::One(text.into()))
}

/// Why a text can be no name of a group.
pub(crate) fn flaw_of_group(text: &str) -> Option<&'static str> {
    match text {
        "" => Some("it is empty"),
        text if text.len() > limits::NAME_LENGTH => Some("it is longer than 253 characters"),
        text if text.starts_with(['.', '-']) => Some("it begins with '.' or '-'"),
        text if text.bytes().all(of_name) => None,
        _ => Some("it has a character that patterns use, or that no group name should have"),
    }
}

fn of_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')
}

fn plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= limits::NAME_LENGTH
        && !text.starts_with(['.', '-'])
        && text.bytes().all(of_name)
}

fn check(name: &str) -> Result<(), Wrong> {
    // An address that ends with a colon looks like a port left out, and Ansible refuses it.
    let is_address = |name: &str| !name.ends_with(':') && name.parse::<Ipv6Addr>().is_ok();
    if plain(name) || (name.contains(':') && is_address(name)) {
        return Ok(());
    }
    Err(Wrong::Name(match name {
        "" => "it is empty",
        name if name.len() > limits::NAME_LENGTH => "it is longer than 253 characters",
        name if name.starts_with(['.', '-']) => "it begins with '.' or '-'",
        name if name.contains(':') => {
            "it has a ':' that separates no port, and is no whole IPv6 address"
        }
        _ => CHARACTERS,
    }))
}

/// Takes off the port: that of `[host]:port`, or behind the only colon outside brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), Wrong> {
    let Some((host, digits)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok((text, None));
    }
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .filter(|inside| inside.parse::<Ipv6Addr>().is_ok() || plain(inside));
    let host = match inside {
        Some(inside) => inside,
        None if outside_brackets(host).any(|c| matches!(c, ':' | '[' | ']')) => {
            return Ok((text, None));
        }
        None => host,
    };
    // Ansible takes the colon for a part of the name where the rest is no name of the Internet.
    let label = |label: &str| label.is_empty() || label.ends_with(['-', '_']);
    if inside.is_none() && host.split('.').any(label) {
        return Err(Wrong::Name(
            "a part of it is empty, or ends with '-' or '_', before a port",
        ));
    }
    if host.contains("[:") {
        return Err(Wrong::Name("a range of it has no beginning, before a port"));
    }
    match digits.parse() {
        Ok(port @ 1..) => Ok((host, Some(port))),
        _ => Err(Wrong::Name("its port is not a number from 1 to 65535")),
    }
}

/// The characters outside complete brackets; a bracket that is not of a pair is outside.
fn outside_brackets(text: &str) -> impl Iterator<Item = char> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.starts_with('[')
            && let Some(close) = rest.find(']')
        {
            rest = &rest[close + 1..];
            return Some('x');
        }
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        Some(c)
    })
}

fn range(host: &str) -> Result<Template, Wrong> {
    let written = filled_in(host);
    let template = Template::parse(&written).map_err(Wrong::Range)?;
    let texts: String = template
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            _ => "0",
        })
        .collect();
    if template.longest() > limits::NAME_LENGTH {
        return Err(Wrong::Name("it is longer than 253 characters"));
    }
    check(&texts)?;
    Ok(template)
}

/// Ansible lets the beginning of a range be left out, and its end be padded on its own.
fn filled_in(host: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = host;
    while let Some(open) = rest.find('[') {
        let (before, bracket) = rest.split_at(open + 1);
        let Some(close) = bracket.find(']') else {
            break;
        };
        let (inside, after) = bracket.split_at(close);
        let mut fields: Vec<&str> = inside.split(':').collect();
        if let [first, last, ..] = fields.as_mut_slice() {
            if first.is_empty() {
                *first = "0";
            }
            let padded = first.len() > 1 && first.starts_with('0');
            if !padded && last.len() > 1 && last.bytes().all(|b| b.is_ascii_digit()) {
                let digits = last.trim_start_matches('0');
                *last = if digits.is_empty() { "0" } else { digits };
            }
        }
        out.push_str(before);
        out.push_str(&fields.join(":"));
        rest = after;
    }
    if out.is_empty() {
        return Cow::Borrowed(host);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(Address { names, port }) => {
                let names: Vec<String> = match names {
                    Names::One(name) => vec![name.to_string()],
                    Names::Range(template) => template.names().collect(),
                };
                let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
                names.join(" ") + &port
            }
            Err(Wrong::Range(flaw)) => format!("{}: {}", flaw.offset, flaw.reason),
            Err(Wrong::Name(reason)) => reason.to_owned(),
        }
    }

    #[test]
    fn names_ranges_and_ports_are_told_apart() {
        for (text, expected) in [
            ("web1", "web1"),
            ("web1:22", "web1 port 22"),
            ("w[01:05:2].eu:22", "w01.eu w03.eu w05.eu port 22"),
            ("w[:2]", "w0 w1 w2"),
            ("w[8:010]", "w8 w9 w10"),
            ("d-[a:c]x[1:2]", "d-ax1 d-ax2 d-bx1 d-bx2 d-cx1 d-cx2"),
            ("::1", "::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:22", "2001:db8::1 port 22"),
            ("2001:db8::[8:9]", "2001:db8::8 2001:db8::9"),
            ("[1:2]", "1 2"),
            (
                "w-:22",
                "a part of it is empty, or ends with '-' or '_', before a port",
            ),
            ("w[:2]:22", "a range of it has no beginning, before a port"),
            (
                "2001:db8::",
                "it has a ':' that separates no port, and is no whole IPv6 address",
            ),
            ("w-", "w-"),
            (
                "w:",
                "it has a ':' that separates no port, and is no whole IPv6 address",
            ),
            ("w:0", "its port is not a number from 1 to 65535"),
            ("w[3]", "1: \"3\" has no ':'"),
            ("a@b", CHARACTERS),
            ("-a", "it begins with '.' or '-'"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
