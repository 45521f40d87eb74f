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

/// Options that have no meaning here: verbosity, terminals, forwarding of agent and X11, shared connections.
const IGNORED: &str = "aAkKnqTvxXy";
const IGNORED_WITH_ARGUMENT: &str = "eES";

impl Options {
    pub(crate) fn of(destination: &Destination, account: &Account) -> Result<Self, Error> {
        let mut reader = Reader::new(account);
        let bad = |option: &str, why: String| Error::BadOption {
            host: destination.host.clone(),
            option: option.to_owned(),
            why,
        };
        let place = Place {
            file: Arc::from(PathBuf::from("command line")),
            line: 0,
        };
        let mut options = Options {
            alias: destination.host.clone(),
            lines: Vec::new(),
            file: None,
        };
        let mut set = |key, value| {
            options.lines.push(Line {
                place: place.clone(),
                what: What::Set(key, value),
            });
        };
        if let Some(user) = &destination.user {
            set(Key::User, Value::Text(user.clone()));
        }
        if let Some(port) = destination.port {
            set(Key::Port, Value::Number(port.into()));
        }
        for path in &destination.identity_files {
            set(
                Key::IdentityFile,
                Value::Text(literal(&path.to_string_lossy())),
            );
        }

        let mut words = destination.options.iter();
        while let Some(word) = words.next() {
            let Some(mut letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty())
            else {
                return Err(bad(
                    word,
                    "it is not an option; the host is named apart".to_owned(),
                ));
            };
            while let Some(letter) = letters.chars().next() {
                letters = &letters[letter.len_utf8()..];
                let option = format!("-{letter}");
                if IGNORED.contains(letter) {
                    continue;
                }
                let line = match letter {
                    '4' => "AddressFamily inet".to_owned(),
                    '6' => "AddressFamily inet6".to_owned(),
                    'C' => "Compression yes".to_owned(),
                    _ if "bcFiJlmopP".contains(letter)
                        || IGNORED_WITH_ARGUMENT.contains(letter) =>
                    {
                        let argument = match std::mem::take(&mut letters) {
                            "" => words.next().map(String::as_str),
                            attached => Some(attached),
                        };
                        let argument = argument.filter(|text| !text.is_empty());
                        let argument = argument
                            .ok_or_else(|| bad(&option, "its argument is missing".to_owned()))?;
                        match letter {
                            'F' => {
                                options.file = Some(PathBuf::from(argument));
                                continue;
                            }
                            'o' => argument.to_owned(),
                            'i' => {
                                // `ssh` warns about a file that is not there, and goes on as if -i were not.
                                let path = expand::tilde(argument, account)
                                    .map_err(|why| bad("-i", why))?;
                                if !Path::new(&path).exists() {
                                    tracing::warn!(
                                        host = destination.host,
                                        file = path,
                                        "the key after -i is not there"
                                    );
                                    continue;
                                }
                                let place = place.clone();
                                let what =
                                    What::Set(Key::IdentityFile, Value::Text(argument.to_owned()));
                                options.lines.push(Line { place, what });
                                continue;
                            }
                            'b' => quoted("BindAddress", argument),
                            'c' => quoted("Ciphers", argument),
                            'm' => quoted("MACs", argument),
                            'l' => quoted("User", argument),
                            'p' => quoted("Port", argument),
                            'P' => quoted("Tag", argument),
                            'J' => quoted("ProxyJump", argument),
                            _ => continue,
                        }
                    }
                    _ => {
                        return Err(bad(
                            &option,
                            "only options that say how to connect are taken".to_owned(),
                        ));
                    }
                };
                match reader.option(&line, &place) {
                    Ok(Some((what, _))) => options.lines.push(Line {
                        place: place.clone(),
                        what,
                    }),
                    Ok(None) => {}
                    Err(error) => return Err(bad(&format!("-{letter}"), error.to_string())),
                }
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

/// A line as a file would have it, its argument in quotes.
fn quoted(keyword: &str, argument: &str) -> String {
    format!(
        "{keyword} \"{}\"",
        argument.replace('\\', "\\\\").replace('"', "\\\"")
    )
}

/// A path in which nothing is to be expanded.
fn literal(path: &str) -> String {
    path.replace('%', "%%")
}
