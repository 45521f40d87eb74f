//! What is on a host already, as the probe script says it. A host that says something else is one that cannot be used, not one
//! that is taken for empty.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// What `uname -m` says.
    pub machine: String,
    /// Who logged in.
    pub user: String,
    /// Whether the scripts run as root.
    pub root: bool,
    /// Whether systemd runs there.
    pub systemd: bool,
    /// The files that are there.
    pub files: BTreeMap<String, Found>,
    /// The agent.
    pub agent: Agent,
    /// Whether something keeps an agent running.
    pub kept: bool,
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file with this digest, in hexadecimal, and these permissions, as `ls -l` shows them.
    File(String, String),
    /// Something else.
    Other,
}

/// Whether an agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Agent {
    /// None answers.
    #[default]
    None,
    /// It does not say, because it is an older one, or another user's.
    Unknown,
    /// It answers.
    Runs(Status),
}

/// What `midflight-agent status --json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// Its node.
    pub node: String,
    /// The version of its program.
    pub version: String,
    /// The release that runs.
    pub current: String,
    /// Actors that are alive.
    pub actors: u64,
}

impl Probe {
    /// Reads what the script said.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut probe = Self::default();
        for line in text.lines() {
            let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "machine" => probe.machine = rest.to_owned(),
                "user" => probe.user = rest.to_owned(),
                "uid" => probe.root = rest == "0",
                "systemd" => probe.systemd = rest == "yes",
                "kept" => probe.kept = true,
                "other" => drop(probe.files.insert(rest.to_owned(), Found::Other)),
                "file" => {
                    let words: Vec<&str> = rest.split(' ').collect();
                    let &[path, digest, mode] = &words[..] else {
                        return Err(format!("it said {line:?}"));
                    };
                    let found = Found::File(digest.to_owned(), mode.to_owned());
                    probe.files.insert(path.to_owned(), found);
                }
                "agent" => {
                    probe.agent = match rest {
                        "none" => Agent::None,
                        "unknown" => Agent::Unknown,
                        json => match serde_json::from_str(json) {
                            Ok(status) => Agent::Runs(status),
                            Err(_) => Agent::Unknown,
                        },
                    }
                }
                "end" if !probe.machine.is_empty() && !probe.user.is_empty() => return Ok(probe),
                _ => return Err(format!("it said {line:?}")),
            }
        }
        Err("it did not say all that was asked".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_half_of_one_is_refused() {
        let text = "machine x86_64\nuser ann\nuid 1000\nsystemd no\n\
                    file /a abc -rw-r--r--\nother /b\n\
                    agent {\"node\":\"n\",\"version\":\"1\",\"current\":\"2\",\"actors\":3,\"more\":0}\nkept yes\nend\n";
        let probe = Probe::read(text).unwrap();
        assert_eq!(
            (probe.root, probe.systemd, probe.kept),
            (false, false, true)
        );
        let found = Found::File("abc".into(), "-rw-r--r--".into());
        assert_eq!(probe.files["/a"], found);
        assert_eq!(probe.files["/b"], Found::Other);
        let Agent::Runs(status) = probe.agent else {
            panic!("{:?}", probe.agent);
        };
        assert_eq!((status.node.as_str(), status.actors), ("n", 3));
        assert!(Probe::read(text.strip_suffix("end\n").unwrap()).is_err());
        assert!(Probe::read("Welcome!\n").unwrap_err().contains("Welcome!"));
        assert!(Probe::read("end\n").is_err());
    }
}
