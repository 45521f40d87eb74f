//! Configuration files as a tree of lines: read once, evaluated for every host.
//!
//! What can be wrong about a line whatever the host is found here, with its place: quoting, values, files that `Include`
//! names. Sizes, the number of files and the depth of `Include` are bounded by [`limits`](crate::limits).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keywords::{self, Class, Key};
use super::matching::Criterion;
use super::value::{Bad, Value};
use super::{glob, lexer, matching};
use crate::account::{self, Account};
use crate::error::{Error, Place};
use crate::limits;

/// One line that means something.
#[derive(Debug)]
pub(crate) struct Line {
    pub place: Place,
    pub what: What,
}

/// What a line says.
#[derive(Debug)]
pub(crate) enum What {
    /// The patterns of a `Host` line.
    Host(Vec<String>),
    /// The criteria of a `Match` line.
    Match(Vec<Criterion>),
    /// The files that an `Include` line names, in the order to read them.
    Include(Vec<Vec<Line>>),
    /// A keyword that is used.
    Set(Key, Value),
    /// A keyword that is refused where it applies, unless a line before it set it to what OpenSSH has by default.
    Refused {
        name: &'static str,
        what: String,
        why: &'static str,
    },
    /// A keyword that would be refused, with OpenSSH's default for its value.
    Default(&'static str),
    /// A keyword that is not known: an error unless `IgnoreUnknown` names it.
    Unknown(String),
}

/// How the first file is read; the files it includes are read as the user's or the system's like itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `~/.ssh/config`: `Include` is relative to `~/.ssh`, and nobody else may be able to write to the file.
    User,
    /// The file after `-F`: as the user's, but its permissions are not looked at.
    Given,
    /// `/etc/ssh/ssh_config`: `Include` is relative to `/etc/ssh`.
    System,
}

/// Reads files and the files that they include.
pub(crate) struct Reader<'a> {
    account: &'a Account,
    files: usize,
    bytes: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(account: &'a Account) -> Self {
        Reader {
            account,
            files: 0,
            bytes: 0,
        }
    }

    /// The lines of a file; `None` when there is no such file.
    pub(crate) fn file(&mut self, path: &Path, origin: Origin) -> Result<Option<Vec<Line>>, Error> {
        self.read(path, origin, origin == Origin::User, 0)
    }

    fn read(
        &mut self,
        path: &Path,
        origin: Origin,
        check: bool,
        depth: usize,
    ) -> Result<Option<Vec<Line>>, Error> {
        let unreadable = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(e)),
        };
        let metadata = file.metadata().map_err(unreadable)?;
        if check {
            permissions(path, &metadata, self.account)?;
        }
        self.files += 1;
        let too_large = |what| {
            Err(Error::TooLarge {
                path: path.to_owned(),
                what,
            })
        };
        if self.files > limits::CONFIG_FILES {
            return too_large(format!(
                "more than {} files are included",
                limits::CONFIG_FILES
            ));
        }
        let left = limits::CONFIG_BYTES - self.bytes;
        let mut text = Vec::new();
        file.by_ref()
            .take(left + 1)
            .read_to_end(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > left {
            return too_large(format!(
                "the files have more than {} bytes together",
                limits::CONFIG_BYTES
            ));
        }
        self.bytes += text.len() as u64;

        let file: Arc<Path> = path.into();
        let mut lines = Vec::new();
        for (number, bytes) in (1..).zip(text.split(|&b| b == b'\n')) {
            let place = Place {
                file: Arc::clone(&file),
                line: number,
            };
            let Some(text) = readable(bytes, &place)? else {
                continue;
            };
            if let Some((what, _)) = self.line(text, &place, Some((origin, depth)))? {
                lines.push(Line { place, what });
            }
        }
        Ok(Some(lines))
    }

    /// A line that an option `-o` gives. `Host`, `Match` and `Include` cannot stand there.
    pub(crate) fn option(
        &mut self,
        text: &str,
        place: &Place,
    ) -> Result<Option<(What, &'static str)>, Error> {
        self.line(text, place, None)
    }

    /// One line; with the name of its keyword as OpenSSH spells it.
    fn line(
        &mut self,
        text: &str,
        place: &Place,
        within: Option<(Origin, usize)>,
    ) -> Result<Option<(What, &'static str)>, Error> {
        let syntax = |why: String| Error::Syntax {
            at: place.clone(),
            why,
        };
        let Some(lexed) = lexer::line(text).map_err(syntax)? else {
            return Ok(None);
        };
        let Some((name, class)) = keywords::find(lexed.keyword) else {
            return Ok(Some((What::Unknown(lexed.keyword.to_owned()), "")));
        };
        let what = match (class, within) {
            (Class::Used(key, kind), _) => match kind.read(lexed.rest) {
                Ok(value) => What::Set(*key, value),
                Err(Bad::Form(why)) => return Err(syntax(format!("{name}: {why}"))),
                Err(Bad::Value(value, expected)) => {
                    return Err(Error::BadValue {
                        at: place.clone(),
                        keyword: name,
                        value,
                        expected,
                    });
                }
            },
            (Class::NoMeaning, _) => {
                lexer::arguments(lexed.rest).map_err(|why| syntax(format!("{name}: {why}")))?;
                return Ok(None);
            }
            (Class::Refused(unless, why), _) => {
                let words =
                    lexer::arguments(lexed.rest).map_err(|why| syntax(format!("{name}: {why}")))?;
                let first = words.first().map_or("", String::as_str);
                if unless.iter().any(|word| word.eq_ignore_ascii_case(first)) {
                    return Ok(Some((What::Default(name), name)));
                }
                What::Refused {
                    name,
                    what: format!("{name} {first}").trim_end().to_owned(),
                    why,
                }
            }
            (Class::Structure, None) => {
                return Err(syntax(format!("{name} cannot be given as an option")));
            }
            (Class::Structure, Some((origin, depth))) => {
                let words =
                    lexer::arguments(lexed.rest).map_err(|why| syntax(format!("{name}: {why}")))?;
                if words.is_empty() || words.iter().any(String::is_empty) {
                    return Err(syntax(format!("{name}: an argument is missing or empty")));
                }
                match *name {
                    "Host" => What::Host(words),
                    "Match" => What::Match(matching::criteria(words).map_err(syntax)?),
                    _ => What::Include(self.include(&words, place, origin, depth)?),
                }
            }
        };
        Ok(Some((what, name)))
    }

    fn include(
        &mut self,
        words: &[String],
        place: &Place,
        origin: Origin,
        depth: usize,
    ) -> Result<Vec<Vec<Line>>, Error> {
        if depth >= limits::CONFIG_DEPTH {
            let what = format!(
                "Include is nested more than {} deep at {place}",
                limits::CONFIG_DEPTH
            );
            return Err(Error::TooLarge {
                path: place.file.to_path_buf(),
                what,
            });
        }
        let mut included = Vec::new();
        for word in words {
            if word.contains('%') {
                let what = format!("Include {word}");
                let why = "files are read once for all hosts: put the line under a Host or Match instead of using tokens";
                return Err(Error::Unsupported {
                    at: place.clone(),
                    what,
                    why,
                });
            }
            let word = super::expand::environment(word).map_err(|why| Error::Expand {
                at: place.clone(),
                keyword: "Include",
                value: word.clone(),
                why,
            })?;
            let pattern = self
                .include_path(&word, origin)
                .ok_or_else(|| Error::Syntax {
                    at: place.clone(),
                    why: format!("Include: {word} names no folder that is known"),
                })?;
            for path in glob::paths(&pattern) {
                included.extend(self.read(&path, origin, true, depth + 1)?);
            }
        }
        Ok(included)
    }

    fn include_path(&self, word: &str, origin: Origin) -> Option<PathBuf> {
        if let Some(rest) = word.strip_prefix('~') {
            if origin == Origin::System {
                return None;
            }
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            return Some(self.account.home_of(name)?.join(rest));
        }
        Some(match origin {
            Origin::System => Path::new(super::SYSTEM_FOLDER).join(word),
            Origin::User | Origin::Given => self.account.home.join(".ssh").join(word),
        })
    }
}

/// A line as text. Comments may be in any encoding.
fn readable<'a>(bytes: &'a [u8], place: &Place) -> Result<Option<&'a str>, Error> {
    let why = match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => return Ok(Some(text)),
        _ if bytes.trim_ascii_start().starts_with(b"#") => return Ok(None),
        Ok(_) => "there is a NUL byte in it",
        Err(_) => "it is not UTF-8",
    };
    Err(Error::Syntax {
        at: place.clone(),
        why: why.to_owned(),
    })
}

/// `ssh_config(5)`, FILES: not writable by others, for "the potential for abuse"; by the group when it has no other member.
fn permissions(path: &Path, metadata: &std::fs::Metadata, account: &Account) -> Result<(), Error> {
    let (owner, mode) = (metadata.uid(), metadata.mode());
    let why = if owner != 0 && owner != account.uid {
        format!("it belongs to user {owner}")
    } else if mode & 0o002 != 0
        || (mode & 0o020 != 0 && !account::is_private_group(metadata.gid(), &account.user))
    {
        format!("others may write to it (mode {:04o})", mode & 0o7777)
    } else {
        return Ok(());
    };
    Err(Error::Permissions {
        path: path.to_owned(),
        why,
    })
}
