//! The files that a host is to have, and what each means to what is there already.

use std::sync::Arc;

use midflight_patch::Digest;

/// What becomes of a file that is there and is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced; a running agent notices when it is started again.
    Replace,
    /// It is replaced, and the agent that runs is none the wiser until it is started again, which is therefore done.
    ReplaceAndRestart,
    /// It stays: whoever may change it, this is not the way.
    Keep,
}

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Where, on the host.
    pub path: String,
    /// Its permissions, as chmod takes them.
    pub mode: &'static str,
    /// Whether the agent's group may read it although others may not.
    pub for_agent: bool,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Their digest.
    pub digest: Digest,
    /// What becomes of another one that is there.
    pub existing: Existing,
}

impl File {
    /// A file that everybody may read.
    #[must_use]
    pub fn new(path: String, bytes: Arc<[u8]>, existing: Existing) -> Self {
        Self {
            path,
            mode: "0644",
            for_agent: false,
            digest: Digest::of(&bytes),
            bytes,
            existing,
        }
    }

    /// With a program's permissions.
    #[must_use]
    pub fn executable(self) -> Self {
        let mode = "0755";
        Self { mode, ..self }
    }

    /// For its owner and the agent alone.
    #[must_use]
    pub fn secret(self) -> Self {
        let (mode, for_agent) = ("0640", true);
        Self {
            mode,
            for_agent,
            ..self
        }
    }

    /// Where it stands until it has arrived: beside its place, so that it gets there at once, under a name of its own bytes.
    #[must_use]
    pub fn partial(&self) -> String {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        format!("{folder}/.{name}.{}.part", self.digest.hex())
    }
}
