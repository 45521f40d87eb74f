//! The users of this machine who may use the agent's Unix socket, and the role that each has there: `listen.unix.peers`, and
//! `--peer` of the simulator. A name
//! becomes a user id when the agent starts, by what the machine knows (`id`, so that LDAP and the like count too), and stays it.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    str::FromStr,
};

use midflight_proto::peer::{Locals, Role};
use serde::de::{IntoDeserializer as _, value};
use serde::{Deserialize, Deserializer, de};

use crate::error::Error;

/// Users with their roles, as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Peers(BTreeMap<User, Given>);

/// One of them, as it is written on a command line: `USER`, or `USER:ROLE`.
#[derive(Clone, Debug)]
pub struct Listed(User, Given);

impl FromStr for Listed {
    type Err = value::Error;

    fn from_str(text: &str) -> Result<Self, value::Error> {
        let (user, role) = match text.split_once(':') {
            Some((user, role)) => (user, Word::deserialize(role.into_deserializer())?),
            None => (text, Word::Viewer),
        };
        let user = User::deserialize(user.into_deserializer())?;
        Ok(Self(user, Given(role.into())))
    }
}

impl FromIterator<Listed> for Peers {
    fn from_iter<I: IntoIterator<Item = Listed>>(listed: I) -> Self {
        let each = listed.into_iter();
        Self(each.map(|Listed(user, given)| (user, given)).collect())
    }
}

/// A user's name, or a user id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum User {
    Id(u32),
    Name(String),
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        // What no user is called is no argument of a program.
        let good = |c: char| !c.is_whitespace() && !c.is_control() && !":/".contains(c);
        if text.is_empty() || text.starts_with(['-', '+']) || !text.chars().all(good) {
            return Err(de::Error::custom("a user is a name or a user id"));
        }
        Ok(Self::Name(text))
    }
}

/// A role; viewer where none is written.
#[derive(Clone, Copy, Debug)]
struct Given(Role);

/// A role as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Viewer,
    Operator,
    Debugger,
}

impl From<Word> for Role {
    fn from(word: Word) -> Self {
        match word {
            Word::Viewer => Self::Viewer,
            Word::Operator => Self::Operator,
            Word::Debugger => Self::Debugger,
        }
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Option::<Word>::deserialize(deserializer)?;
        Ok(Self(word.map_or(Role::Viewer, Role::from)))
    }
}

impl Peers {
    /// Who may use the socket. Runs `id -u` for each name that is listed.
    ///
    /// # Errors
    /// [`Error::UnknownUser`].
    pub fn locals(&self) -> Result<Locals, Error> {
        let mut roles = BTreeMap::new();
        for (user, &Given(role)) in &self.0 {
            let uid = match user {
                User::Id(uid) => *uid,
                User::Name(name) => uid_of(name)?,
            };
            roles.insert(uid, role);
        }
        Ok(Locals::new(roles))
    }
}

fn uid_of(name: &str) -> Result<u32, Error> {
    let asked = Command::new("id")
        .args(["-u", "--", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(Error::io("run", "id"))?;
    let said = String::from_utf8_lossy(&asked.stdout);
    said.trim().parse().map_err(|_| Error::UnknownUser {
        user: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_and_an_unknown_one_is_an_error_that_names_it() {
        assert_eq!(uid_of("root").unwrap(), 0);
        let error = uid_of("nobody.of.that.name").unwrap_err();
        assert_eq!(error.code(), "MF0451");
        assert!(error.to_string().contains("nobody.of.that.name"), "{error}");
    }

    #[test]
    fn a_word_of_a_command_line_lists_a_user_as_the_configuration_does() {
        let peers = |words: &[&str]| -> Result<Peers, value::Error> {
            words.iter().map(|word| word.parse::<Listed>()).collect()
        };
        let locals = peers(&["4711:operator", "4712"]).unwrap().locals().unwrap();
        assert_eq!(locals.peer(4711).role, Some(Role::Operator));
        assert_eq!(locals.peer(4712).role, Some(Role::Viewer));
        for bad in ["", ":operator", "4711:", "4711:root", "-u:viewer"] {
            assert!(peers(&[bad]).is_err(), "{bad}");
        }
    }
}
