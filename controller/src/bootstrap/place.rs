//! Where things go on a host: in the system's folders, or all below one folder of a user who has no more.

use std::fmt;
use std::str::FromStr;

/// An absolute path of letters, digits and `/ . _ - + @`, so that no shell reads anything into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainPath(String);

impl PlainPath {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlainPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        let path = text.trim_end_matches('/');
        let up = path.split('/').any(|part| part == "..");
        if !path.starts_with('/') || !path.chars().all(good) || up || path.len() > 60 {
            return Err(
                "a folder of the hosts is an absolute path of at most 60 letters, digits and / . _ - + @"
                    .to_owned(),
            );
        }
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for PlainPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folders of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether it is the system's, with a user and a service of its own.
    pub system: bool,
    /// The program's folder.
    pub bin: String,
    /// The configuration's.
    pub etc: String,
    /// The agent's data.
    pub data: String,
    /// The socket's.
    pub run: String,
    /// The log of what keeps the agent running without systemd, and the file with its process number. Of the system's they are
    /// where only root writes: root runs it, and follows no link that the agent's user could put there.
    pub log: String,
    /// See `log`.
    pub pid: String,
}

impl Place {
    /// The system's folders.
    #[must_use]
    pub fn system() -> Self {
        Self {
            system: true,
            bin: "/usr/local/bin".to_owned(),
            etc: "/etc/midflight".to_owned(),
            data: "/var/lib/midflight".to_owned(),
            run: "/run/midflight".to_owned(),
            log: "/var/log/midflight-agent.log".to_owned(),
            pid: "/run/midflight-agent.pid".to_owned(),
        }
    }

    /// All below one folder.
    #[must_use]
    pub fn below(prefix: &PlainPath) -> Self {
        Self {
            system: false,
            bin: format!("{prefix}/bin"),
            etc: format!("{prefix}/etc"),
            data: format!("{prefix}/data"),
            run: format!("{prefix}/run"),
            log: format!("{prefix}/run/midflight-agent.log"),
            pid: format!("{prefix}/run/midflight-agent.pid"),
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> String {
        format!("{}/midflight-agent", self.bin)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> String {
        format!("{}/agent.yaml", self.etc)
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> String {
        format!("{}/agent.sock", self.run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_a_shell_would_read_something_into_is_refused() {
        for bad in ["opt", "/a b", "/a;b", "/$HOME", "/a/../b", "/a'b", "/ä", ""] {
            assert!(bad.parse::<PlainPath>().is_err(), "{bad}");
        }
        let place = Place::below(&"/opt/midflight/".parse().unwrap());
        assert_eq!(place.config(), "/opt/midflight/etc/agent.yaml");
    }
}
