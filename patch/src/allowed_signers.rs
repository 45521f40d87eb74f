//! Who may sign: OpenSSH's allowed signers file (ssh-keygen(1), ALLOWED SIGNERS). This file reads it, and refuses a file
//! with one bad line as a whole, so that a typing error never narrows or widens who may sign unseen. What a line means for a
//! signature is decided in [`crate::verify`].

use std::path::Path;

use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use crate::error::{Error, cut};
use crate::files;
use crate::limits;
use crate::validity::{self, Window};

/// The lines of an allowed signers file.
#[derive(Clone, Debug)]
pub struct AllowedSigners {
    pub(crate) file: String,
    pub(crate) lines: Vec<Line>,
}

/// One signer, or one authority.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Where it is in the file, from 1.
    pub(crate) number: usize,
    /// The list of patterns, as it is in the file.
    pub(crate) principals: String,
    pub(crate) key: KeyData,
    pub(crate) options: Options,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) cert_authority: bool,
    /// A list of patterns; none allows every namespace.
    pub(crate) namespaces: Option<String>,
    pub(crate) window: Window,
    /// Only signatures by a FIDO token that has verified its user count.
    pub(crate) verify_required: bool,
}

impl AllowedSigners {
    /// Reads the text of a file; `file_name` is for messages. Times without `Z` are in this machine's time zone.
    ///
    /// # Errors
    /// [`Error::AllowedSigners`] with the first line that does not read, and [`Error::Limit`] over 1 MiB.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Error> {
        limits::check(
            file_name,
            "its size in bytes",
            text.len() as u64,
            limits::TEXT,
        )?;
        let zone = TimeZone::system();
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim_matches([' ', '\t', '\r']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = |problem| Error::AllowedSigners {
                file: file_name.to_owned(),
                line: number,
                problem,
            };
            lines.push(parse_line(number, line, &zone).map_err(refuse)?);
        }
        Ok(Self {
            file: file_name.to_owned(),
            lines,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], and those of [`AllowedSigners::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(&files::read_text(path)?, &path.display().to_string())
    }

    /// How many lines name a signer or an authority.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nobody is allowed to sign.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

fn parse_line(number: usize, line: &str, zone: &TimeZone) -> Result<Line, String> {
    let (principals, rest) = word(line)?;
    if principals.is_empty()
        || principals
            .split(',')
            .any(|pattern| pattern.trim_start_matches('!').is_empty())
    {
        return Err("the list of principals has an empty place".to_owned());
    }
    if rest.is_empty() {
        return Err(
            "there is no key; a line is: principals [options] keytype base64-key [comment]"
                .to_owned(),
        );
    }
    // As ssh-keygen does: a key, or else options and then a key.
    let (options, key) = match parse_key(rest) {
        Ok(key) => (Options::default(), key),
        Err(problem) if is_key_type(rest) => return Err(problem),
        Err(_) => {
            let (options, rest) = split_options(rest)?;
            let options = parse_options(options, zone)?;
            if rest.is_empty() {
                return Err("there is no key after the options".to_owned());
            }
            (options, parse_key(rest)?)
        }
    };
    Ok(Line {
        number,
        principals,
        key,
        options,
    })
}

/// The first word, which may be in double quotes, and what follows the space after it.
fn word(line: &str) -> Result<(String, &str), String> {
    let (word, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("a quote does not end")?,
        None => {
            let end = line.find([' ', '\t']).unwrap_or(line.len());
            line.split_at(end)
        }
    };
    Ok((word.to_owned(), rest.trim_start_matches([' ', '\t'])))
}

fn is_key_type(text: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

fn parse_key(text: &str) -> Result<KeyData, String> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let kind = words.next().unwrap_or_default();
    let Some(base64) = words.next() else {
        return Err(format!(
            "key type {:?} is followed by no key",
            cut(kind, 60)
        ));
    };
    // The comment is left out: it may hold anything.
    let key = PublicKey::from_openssh(&format!("{kind} {base64}"))
        .map_err(|error| format!("the {} key does not read: {error}", cut(kind, 60)))?;
    match key.key_data() {
        KeyData::Other(_) => Err(format!("keys of type {:?} are unknown here", cut(kind, 60))),
        KeyData::Certificate(_) => {
            Err("a certificate stands where a key should; name its authority's key".to_owned())
        }
        data => Ok(data.clone()),
    }
}

/// The options, which end at the first space outside quotes, and what follows.
fn split_options(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            // Only `\"` is an escape.
            '\\' if text[index + 1..].starts_with('"') => escaped = true,
            '"' if escaped => escaped = false,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                return Ok((
                    &text[..index],
                    text[index..].trim_start_matches([' ', '\t']),
                ));
            }
            _ => {}
        }
    }
    if quoted {
        Err("a quote in the options does not end".to_owned())
    } else {
        Ok((text, ""))
    }
}

fn parse_options(mut text: &str, zone: &TimeZone) -> Result<Options, String> {
    let mut options = Options::default();
    loop {
        let end = text.find([',', '=']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name = name.to_ascii_lowercase();
        let (value, rest) = match rest.strip_prefix('=') {
            Some(rest) => {
                let (value, rest) = quoted(rest).ok_or(format!(
                    "the value of option {name} is not in double quotes"
                ))?;
                (Some(value), rest)
            }
            None => (None, rest),
        };
        set_option(&mut options, &name, value, zone)?;
        match rest.strip_prefix(',') {
            Some(more) => text = more,
            None if rest.is_empty() => break,
            None => return Err(format!("something follows option {name} without a comma")),
        }
    }
    match options.window {
        Window {
            after: Some(after),
            before: Some(before),
        } if before <= after => Err("valid-before is not after valid-after".to_owned()),
        _ => Ok(options),
    }
}

fn set_option(
    options: &mut Options,
    name: &str,
    value: Option<String>,
    zone: &TimeZone,
) -> Result<(), String> {
    let time =
        |value: &str| validity::parse(value, zone).map_err(|problem| format!("{name}: {problem}"));
    let twice = match (name, value) {
        ("cert-authority", None) => std::mem::replace(&mut options.cert_authority, true),
        ("verify-required", None) => std::mem::replace(&mut options.verify_required, true),
        ("namespaces", Some(value)) => options.namespaces.replace(value).is_some(),
        ("valid-after", Some(value)) => options.window.after.replace(time(&value)?).is_some(),
        ("valid-before", Some(value)) => options.window.before.replace(time(&value)?).is_some(),
        ("namespaces" | "valid-after" | "valid-before", None) => {
            return Err(format!("option {name} lacks its value"));
        }
        ("cert-authority" | "verify-required", Some(_)) => {
            return Err(format!("option {name} takes no value"));
        }
        _ => {
            return Err(format!(
                "{:?} is neither an option nor a key type",
                cut(name, 60)
            ));
        }
    };
    if twice {
        Err(format!("option {name} comes twice"))
    } else {
        Ok(())
    }
}

/// A value in double quotes, in which `\"` is a quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.strip_prefix('"')?;
    loop {
        if let Some(after) = rest.strip_prefix("\\\"") {
            value.push('"');
            rest = after;
            continue;
        }
        let character = rest.chars().next()?;
        rest = &rest[character.len_utf8()..];
        if character == '"' {
            return Some((value, rest));
        }
        value.push(character);
    }
}
