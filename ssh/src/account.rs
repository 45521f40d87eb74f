//! Who runs this process and where: the local user, the home folder and the host name, as `ssh` determines them.
//!
//! `ssh` takes name and home from the user database and not from `$USER` and `$HOME`; so does this. `/etc/passwd` is read
//! first, then `getent` is asked, so that users of a directory service are found; `$HOME` is the last resort.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The local user and machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name, token `%u`.
    pub user: String,
    /// The user's number, token `%i`.
    pub uid: u32,
    /// The home folder, `~` and token `%d`.
    pub home: PathBuf,
    /// The machine's name, token `%l`; `%L` is its part before the first dot.
    pub hostname: String,
}

impl Account {
    /// The account that runs this process.
    #[must_use]
    pub fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let entry = entry(|fields| fields[2].parse() == Ok(uid), &uid.to_string());
        let (user, home) = entry.unwrap_or_else(|| {
            let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/"));
            (uid.to_string(), home)
        });
        let hostname = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Account {
            user,
            uid,
            home,
            hostname,
        }
    }

    /// The home folder of a user by name, as `~name` stands for it.
    pub(crate) fn home_of(&self, name: &str) -> Option<PathBuf> {
        if name.is_empty() || name == self.user {
            return Some(self.home.clone());
        }
        let safe = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !safe || name.starts_with('-') {
            return None;
        }
        entry(|fields| fields[0] == name, name).map(|(_, home)| home)
    }

    /// The host name before its first dot, token `%L`.
    pub(crate) fn short_hostname(&self) -> &str {
        self.hostname.split('.').next().unwrap_or(&self.hostname)
    }
}

/// Name and home of the first entry of the user database that `wanted` picks; `key` is what `getent` is asked for.
fn entry(wanted: impl Fn(&[&str]) -> bool, key: &str) -> Option<(String, PathBuf)> {
    let find = |text: &str| {
        text.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.len() >= 6 && wanted(&fields))
                .then(|| (fields[0].to_owned(), PathBuf::from(fields[5])))
        })
    };
    let local = std::fs::read(PASSWD)
        .ok()
        .map(|text| String::from_utf8_lossy(&text).into_owned());
    local.as_deref().and_then(find).or_else(|| {
        let mut getent = Command::new("getent");
        let getent = getent
            .args(["passwd", key])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let answer = getent.output().ok()?;
        find(&String::from_utf8_lossy(&answer.stdout))
    })
}

const PASSWD: &str = "/etc/passwd";

/// Whether the group `gid` has no member but `user`, so that a file it may write to is still that user's alone (Debian's
/// OpenSSH accepts such configuration files).
pub(crate) fn is_private_group(gid: u32, user: &str) -> bool {
    let read = |path| std::fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned());
    let (Ok(groups), Ok(users)) = (read("/etc/group"), read(PASSWD)) else {
        return false;
    };
    let group = groups
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let Some(group) = { group }.find(|fields| fields.len() >= 4 && fields[2].parse() == Ok(gid))
    else {
        return false;
    };
    let others = group[3]
        .split(',')
        .any(|member| !member.is_empty() && member != user);
    let primary = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    !others && { primary }
        .filter(|fields| fields.len() >= 4 && fields[3].parse() == Ok(gid))
        .all(|fields| fields[0] == user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_the_one_that_the_user_database_names() {
        let account = Account::current();
        let id = |flag| {
            let out = Command::new("id")
                .arg(flag)
                .output()
                .expect("id runs")
                .stdout;
            String::from_utf8(out).expect("text").trim().to_owned()
        };
        assert_eq!(account.uid.to_string(), id("-u"));
        assert_eq!(account.user, id("-un"));
        assert_eq!(account.home_of(""), Some(account.home.clone()));
        assert_eq!(account.home_of("no such user"), None);
        assert!(account.home.is_absolute());
    }
}
