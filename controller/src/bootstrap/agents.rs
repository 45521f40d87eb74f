//! The agent programs that hosts can be given: one for each architecture in a folder, `midflight-agent-x86_64` and so on, each
//! with a signature beside it (`.sig`) that `ssh-keygen -Y sign -n agent@midflight` makes. A program is read once, and what was
//! verified is what is sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use midflight_patch::{AllowedSigners, Digest};

use crate::error::Error;

/// The namespace of signatures over an agent program.
pub const NAMESPACE: &str = "agent@midflight";
/// What the name of a program begins with; its architecture follows, as `uname -m` says it.
const PREFIX: &str = "midflight-agent-";
/// Most bytes of a program.
const MOST: u64 = 1 << 30;

/// A verified program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Their digest.
    pub digest: Digest,
    /// Who signed it.
    pub signers: String,
}

/// The programs of a folder, by architecture.
#[derive(Clone, Debug)]
pub struct Programs(BTreeMap<String, Program>);

impl Programs {
    /// Reads and verifies all programs of a folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Patch`] for one that nobody signed who may; [`Error::Usage`] for a folder without any.
    pub fn read(folder: &Path, signers: &AllowedSigners) -> Result<Self, Error> {
        let mut programs = BTreeMap::new();
        let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", folder))?;
            let name = entry.file_name();
            let Some(architecture) = name.to_str().and_then(|name| name.strip_prefix(PREFIX))
            else {
                continue;
            };
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if architecture.is_empty() || !architecture.chars().all(word) {
                continue; // a signature, or something else
            }
            programs.insert(architecture.to_owned(), read(&entry.path(), signers)?);
        }
        if programs.is_empty() {
            return Err(Error::Usage {
                problem: format!("{} holds no agent program", folder.display()),
                hint: "put midflight-agent-x86_64 and the like into it, each signed with: ssh-keygen -Y sign -n agent@midflight",
            });
        }
        Ok(Self(programs))
    }

    /// The program for what `uname -m` says; or the name of the file that is missing.
    ///
    /// # Errors
    /// The name of that file, and which there are.
    pub fn matching(&self, machine: &str) -> Result<&Program, String> {
        let architecture = match machine {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        };
        self.0.get(architecture).ok_or_else(|| {
            let have: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!(
                "there is no {PREFIX}{} for this machine; there is one for {}",
                printable(architecture),
                have.join(", ")
            )
        })
    }
}

fn printable(word: &str) -> String {
    crate::output::plain(word)
}

fn read(path: &Path, signers: &AllowedSigners) -> Result<Program, Error> {
    let size = std::fs::metadata(path)
        .map_err(Error::io("read", path))?
        .len();
    if size > MOST {
        return Err(Error::Usage {
            problem: format!(
                "{} has {size} bytes, and {MOST} is the most",
                path.display()
            ),
            hint: "name a folder of agent programs",
        });
    }
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".sig");
    let beside = Path::new(&beside);
    let signatures = match std::fs::read_to_string(beside) {
        Ok(text) => vec![text],
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("read", beside)(error)),
    };
    let verified = signers.verify(NAMESPACE, &bytes, &signatures, SystemTime::now());
    let names = verified.map_err(Error::patch(format!(
        "the agent program {} is refused",
        path.display()
    )))?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Ok(Program {
        digest: Digest::of(&bytes),
        bytes: bytes.into(),
        signers: names.join(", "),
    })
}
