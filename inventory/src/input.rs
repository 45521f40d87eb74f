//! What an inventory is read from: files, node sets, and names that somebody else has read.
//!
//! This tells what an argument of a command line means. Reading is for `sources`.

use std::path::{Path, PathBuf};

/// One of the things that are read together as an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, a folder or a program; `docs/inventory.md` says how the format of each is told.
    Path(PathBuf),
    /// Names of hosts, joined by `,`, with ranges and operators of node sets.
    Nodes(String),
    /// Names that stand in files of another kind, such as an `ssh_config`.
    Names(Vec<Named>),
}

/// A name, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The host's name.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
    /// Arguments for `ssh`, such as `-F FILE`, as the variable `ansible_ssh_common_args` has them: what has blanks stands in
    /// quotes.
    pub arguments: Option<String>,
}

impl Input {
    /// What an argument means: a path, or, where it has a comma or a bracket and no such file exists, a node set. A comma at the end
    /// makes a node set of a single name, as in `web1,`.
    #[must_use]
    pub fn from_argument(argument: &Path) -> Input {
        match argument.to_str() {
            Some(text) if text.contains([',', '[']) && !argument.exists() => {
                Input::Nodes(text.strip_suffix(',').unwrap_or(text).to_owned())
            }
            _ => Input::Path(argument.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_set_is_told_from_a_path() {
        let of = |text: &str| Input::from_argument(Path::new(text));
        assert_eq!(of("n[1-3]"), Input::Nodes("n[1-3]".to_owned()));
        assert_eq!(of("web1,"), Input::Nodes("web1".to_owned()));
        assert_eq!(of("web1"), Input::Path("web1".into()));
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join("a,b");
        std::fs::write(&odd, "").expect("written");
        assert_eq!(Input::from_argument(&odd), Input::Path(odd.clone()));
    }
}
