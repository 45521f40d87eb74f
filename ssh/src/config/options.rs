//! The options of a [`Destination`]: what would stand on the command line of `ssh` becomes lines like those of a file.
//!
//! The first value of a keyword counts, here as there. Options that change what `ssh` does rather than how it connects
//! (`-L`, `-N`, `-t`, ...) are refused by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::expand;
use super::keywords::Key;
use super::parse::{Line, Reader, What};
use super::value::{self, Value};
use crate::account::Account;
use crate::destination::Destination;
use crate::error::{Error, Place};

/// What a destination says by itself.
#[derive(Debug)]
pub(crate) struct Options {
    /// The name without a user before it.
    pub alias: String,
    /// Its settings, in the order in which they count.
    pub lines: Vec<Line>,
    /// The file after `-F`.
    pub file: Option<PathBuf>,
}

/// Options without an argument that have no meaning here: verbosity, terminals, forwarding of agent and X11, GSSAPI.
const SILENT: &str = "aAkKnqTvxXy";
/// Options with an argument.
const WITH_ARGUMENT: &str = "bceEFiJlmopPS";

impl Options {
    pub(crate) fn of(destination: &Destination, account: &Account) -> Result<Self, Error> {
        let bad = |option: &str, why: String| Error::BadOption {
            host: destination.host.clone(),
            option: option.to_owned(),
            why,
        };
        let place = Place {
            file: Arc::from(Path::new("command line")),
            line: 0,
        };
        let mut options = Options {
            alias: destination.host.clone(),
            lines: Vec::new(),
            file: None,
        };
        let own = [
            destination
                .user
                .clone()
                .map(|user| (Key::User, Value::Text(user))),
            destination
                .port
                .map(|port| (Key::Port, Value::Number(port.into()))),
        ];
        let files = destination.identity_files.iter().map(|path| {
            // No tokens are to be expanded in it.
            let path = path.to_string_lossy().replace('%', "%%");
            (Key::IdentityFile, Value::Text(path))
        });
        options.lines.extend(
            own.into_iter()
                .flatten()
                .chain(files)
                .map(|(key, value)| Line {
                    place: place.clone(),
                    what: What::Set(key, value),
                }),
        );

        let mut reader = Reader::new(account);
        for (letter, argument) in
            split(&destination.options).map_err(|(option, why)| bad(&option, why))?
        {
            let option = format!("-{letter}");
            let line = match letter {
                'F' => {
                    options.file = Some(PathBuf::from(argument));
                    continue;
                }
                'i' => {
                    // `ssh` warns about a file that is not there, and goes on as if -i were not.
                    let path = expand::tilde(argument, account).map_err(|why| bad(&option, why))?;
                    if !Path::new(&path).exists() {
                        tracing::warn!(
                            "{}: the key after -i, {path}, is not there",
                            destination.host
                        );
                        continue;
                    }
                    quoted("IdentityFile", argument)
                }
                'o' => argument.to_owned(),
                '4' => "AddressFamily inet".to_owned(),
                '6' => "AddressFamily inet6".to_owned(),
                'C' => "Compression yes".to_owned(),
                'b' => quoted("BindAddress", argument),
                'c' => quoted("Ciphers", argument),
                'J' => quoted("ProxyJump", argument),
                'l' => quoted("User", argument),
                'm' => quoted("MACs", argument),
                'p' => quoted("Port", argument),
                'P' => quoted("Tag", argument),
                // Escape characters, logs and control sockets have no meaning here.
                _ => continue,
            };
            match reader.option(&line, &place) {
                Ok(Some((what, _))) => options.lines.push(Line {
                    place: place.clone(),
                    what,
                }),
                Ok(None) => {}
                Err(error) => return Err(bad(&option, error.to_string())),
            }
        }
        options
            .name(&destination.host, &place)
            .map_err(|why| bad("name", why))?;
        Ok(options)
    }

    /// `user@host` and `ssh://user@host:port`, as `ssh` takes them. What an option says comes before it.
    fn name(&mut self, host: &str, place: &Place) -> Result<(), String> {
        let (user, name, port) = match host.starts_with("ssh://") {
            true => {
                let hop =
                    value::hop(host).ok_or("it is not of the form ssh://[user@]host[:port]")?;
                (hop.user, hop.host, hop.port)
            }
            false => match host.rsplit_once('@') {
                Some((user, name)) => (Some(user.to_owned()), name.to_owned(), None),
                None => (None, host.to_owned(), None),
            },
        };
        // A name goes into commands through %h, so it must not be able to say more than a name. ssh(1) refuses the same
        // characters since 9.6.
        let unsafe_in = |text: &str, characters: &str| {
            text.starts_with('-') || text.contains(|c| characters.contains(c))
        };
        let blank = |text: &str| text.contains(|c: char| c.is_whitespace() || c.is_control());
        if name.is_empty() || blank(&name) || unsafe_in(&name, "'`\"$\\;&<>|(){}") {
            return Err("it has characters that no host name has".to_owned());
        }
        if let Some(user) = user {
            let trailing = user.ends_with('\\') || user.contains(" -");
            if user.is_empty()
                || trailing
                || user.contains(char::is_control)
                || unsafe_in(&user, "'`\";&<>|(){}")
            {
                return Err("it has characters that no user name has".to_owned());
            }
            let what = What::Set(Key::User, Value::Text(user));
            self.lines.push(Line {
                place: place.clone(),
                what,
            });
        }
        if let Some(port) = port {
            let what = What::Set(Key::Port, Value::Number(port.into()));
            self.lines.push(Line {
                place: place.clone(),
                what,
            });
        }
        self.alias = name;
        Ok(())
    }
}

/// The options and their arguments, by the rules of `getopt(3)`: letters may stand together, and an argument may stand
/// right behind its letter. Those without a meaning are left out. The error is an option and what is wrong with it.
fn split(words: &[String]) -> Result<Vec<(char, &str)>, (String, String)> {
    let mut options = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut letters = match word.strip_prefix('-') {
            Some(letters) if !letters.is_empty() => letters,
            _ => {
                return Err((
                    word.clone(),
                    "it is not an option; the host is named apart".to_owned(),
                ));
            }
        };
        while let Some(letter) = letters.chars().next() {
            letters = &letters[letter.len_utf8()..];
            if WITH_ARGUMENT.contains(letter) {
                let argument = match std::mem::take(&mut letters) {
                    "" => words.next().map_or("", String::as_str),
                    attached => attached,
                };
                if argument.is_empty() {
                    return Err((format!("-{letter}"), "its argument is missing".to_owned()));
                }
                options.push((letter, argument));
            } else if "46C".contains(letter) {
                options.push((letter, ""));
            } else if !SILENT.contains(letter) {
                let why = "only options that say how to connect are taken".to_owned();
                return Err((format!("-{letter}"), why));
            }
        }
    }
    Ok(options)
}

/// A line as a file would have it, its argument in quotes.
fn quoted(keyword: &str, argument: &str) -> String {
    format!(
        "{keyword} \"{}\"",
        argument.replace('\\', "\\\\").replace('"', "\\\"")
    )
}
