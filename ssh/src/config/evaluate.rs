//! Which lines apply to one host: `Host`, `Match`, and the first value of each keyword.
//!
//! The lines are gone through in order, options first, then the user's file, then the system's. When a `Match final` is
//! met they are gone through once more with the name that came out, and only what is still open is set.

use super::expand::{HOSTNAME, STANDARD, Tokens};
use super::keywords::Key;
use super::matching::{Commands, Criterion, Test};
use super::parse::{Line, What};
use super::value::Value;
use crate::account::Account;
use crate::error::{Error, Place};
use crate::pattern::{self, Verdict};

/// A value, and where it was written.
pub(crate) type Given<'a> = (&'a Value, &'a Place);

/// The evaluation of lines for one host.
pub(crate) struct Evaluation<'a> {
    account: &'a Account,
    commands: &'a Commands,
    alias: &'a str,
    first: [Option<Given<'a>>; Key::COUNT],
    lists: Vec<(Key, Given<'a>)>,
    /// The keywords that would be refused, and were set to their defaults.
    defaults: Vec<&'static str>,
    /// The host's name in the second pass.
    finally: Option<String>,
    asks_for_final: bool,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(account: &'a Account, commands: &'a Commands, alias: &'a str) -> Self {
        Evaluation {
            account,
            commands,
            alias,
            first: [None; Key::COUNT],
            lists: Vec::new(),
            defaults: Vec::new(),
            finally: None,
            asks_for_final: false,
        }
    }

    /// Goes through the options, then through the files, twice if a `Match final` asks for it.
    pub(crate) fn run(
        &mut self,
        options: &'a [Line],
        files: impl Iterator<Item = &'a [Line]> + Clone,
    ) -> Result<(), Error> {
        self.lines(options, true)?;
        files
            .clone()
            .try_for_each(|lines| self.lines(lines, true))?;
        if self.asks_for_final {
            self.finally = Some(self.hostname()?);
            { files }.try_for_each(|lines| self.lines(lines, true))?;
        }
        Ok(())
    }

    /// The value of a keyword of which the first one counts.
    pub(crate) fn get(&self, key: Key) -> Option<Given<'a>> {
        self.first[key as usize]
    }

    /// The text of a keyword of which the first one counts.
    pub(crate) fn text(&self, key: Key) -> Option<&'a str> {
        self.get(key).and_then(|(value, _)| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The values of a keyword that collects them.
    pub(crate) fn all(&self, key: Key) -> impl Iterator<Item = Given<'a>> {
        self.lists
            .iter()
            .filter(move |(k, _)| *k == key)
            .map(|(_, given)| *given)
    }

    /// What is dialled: `HostName`, or the name as given; in lower case unless it is an address.
    pub(crate) fn hostname(&self) -> Result<String, Error> {
        if let Some(name) = &self.finally {
            return Ok(name.clone());
        }
        let name = match (self.text(Key::HostName), self.get(Key::HostName)) {
            (Some(written), Some((_, at))) => {
                let tokens = self.tokens(self.alias);
                tokens
                    .expand(written, HOSTNAME, false)
                    .map_err(|why| Error::Expand {
                        at: at.clone(),
                        keyword: "HostName",
                        value: written.to_owned(),
                        why,
                    })?
            }
            _ => self.alias.to_owned(),
        };
        let address = name.split('%').next().unwrap_or(&name);
        match address.parse::<std::net::IpAddr>() {
            Ok(_) => Ok(name),
            Err(_) => Ok(name.to_ascii_lowercase()),
        }
    }

    pub(crate) fn user(&self) -> &'a str {
        self.text(Key::User).unwrap_or(&self.account.user)
    }

    pub(crate) fn port(&self) -> u16 {
        match self.get(Key::Port) {
            Some((Value::Number(port), _)) => u16::try_from(*port).unwrap_or(22),
            _ => 22,
        }
    }

    /// The tokens as the settings are so far.
    pub(crate) fn tokens<'t>(&'t self, hostname: &'t str) -> Tokens<'t> {
        Tokens {
            account: self.account,
            alias: self.alias,
            hostname,
            key_name: self.text(Key::HostKeyAlias).unwrap_or(self.alias),
            port: self.port(),
            user: self.user(),
            jump: match self.get(Key::Proxy) {
                Some((Value::Jump(hops), _)) => hops.last().map_or("", |hop| hop.host.as_str()),
                _ => "",
            },
        }
    }

    /// Lines of one file, which apply only where the line that includes it does.
    fn lines(&mut self, lines: &'a [Line], within: bool) -> Result<(), Error> {
        let mut active = within;
        for line in lines {
            match &line.what {
                What::Host(patterns) => {
                    let name = self.finally.as_deref().unwrap_or(self.alias);
                    active = within
                        && pattern::list(patterns.iter().map(String::as_str), name)
                            == Verdict::Match;
                }
                What::Match(criteria) => active = self.matches(criteria, &line.place, within)?,
                What::Include(files) => {
                    files.iter().try_for_each(|file| self.lines(file, active))?
                }
                What::Set(key, value) if active => self.set(*key, value, &line.place),
                What::Set(..) => {}
                What::Default(name) if active => self.defaults.push(name),
                What::Refused { name, what, why } if active && !self.defaults.contains(name) => {
                    return Err(Error::Unsupported {
                        at: line.place.clone(),
                        what: what.clone(),
                        why,
                    });
                }
                What::Refused { .. } | What::Default(_) => {}
                What::Unknown(keyword) => {
                    let ignored = self
                        .text(Key::IgnoreUnknown)
                        .is_some_and(|list| pattern::hostname(list, keyword));
                    if !ignored {
                        return Err(Error::UnknownKeyword {
                            at: line.place.clone(),
                            keyword: keyword.clone(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: Key, value: &'a Value, place: &'a Place) {
        match key {
            Key::IdentityFile | Key::CertificateFile | Key::SendEnv => {
                if !self.all(key).any(|(earlier, _)| earlier == value) || key == Key::SendEnv {
                    self.lists.push((key, (value, place)));
                }
            }
            // `ProxyJump none` keeps later ProxyJump lines from counting, and lets a ProxyCommand count.
            Key::Proxy if matches!((self.get(key), value), (Some((Value::Jump(hops), _)), Value::Command(_)) if hops.is_empty()) =>
            {
                self.first[key as usize] = Some((value, place));
            }
            _ => {
                self.first[key as usize].get_or_insert((value, place));
            }
        }
    }

    fn matches(&mut self, criteria: &[Criterion], at: &Place, within: bool) -> Result<bool, Error> {
        let mut result = within;
        for criterion in criteria {
            if let Test::Final { asks: true } = criterion.test {
                self.asks_for_final = true;
            }
            // What comes after a criterion that does not hold is not looked at: no command is run for nothing.
            if result {
                result = self.holds(&criterion.test, at)? != criterion.negated;
            }
        }
        Ok(result)
    }

    fn holds(&self, test: &Test, at: &Place) -> Result<bool, Error> {
        Ok(match test {
            Test::All => true,
            Test::Final { .. } => self.finally.is_some(),
            Test::Host(list) => pattern::hostname(list, &self.hostname()?),
            Test::OriginalHost(list) => pattern::hostname(list, self.alias),
            Test::User(list) => pattern::commas(list, self.user()),
            Test::LocalUser(list) => pattern::commas(list, &self.account.user),
            Test::Tagged(list) => pattern::commas(list, self.text(Key::Tag).unwrap_or("")),
            Test::Exec(command) => {
                let hostname = self.hostname()?;
                let tokens = self.tokens(&hostname);
                let command =
                    tokens
                        .expand(command, STANDARD, false)
                        .map_err(|why| Error::Expand {
                            at: at.clone(),
                            keyword: "Match exec",
                            value: command.clone(),
                            why,
                        })?;
                let answer = self.commands.succeeds(&command);
                answer.map_err(|why| Error::MatchExec {
                    at: at.clone(),
                    command,
                    why,
                })?
            }
            Test::Unsupported(name) => {
                return Err(Error::Unsupported {
                    at: at.clone(),
                    what: format!("Match {name}"),
                    why: "use Match exec with a command that tells the same",
                });
            }
        })
    }
}
