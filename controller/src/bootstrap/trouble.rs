//! Why a host has no agent after all. Each has a code that `docs/errors/controller.md` lists, and says what to do.

use crate::bootstrap::steps::Refused;
use crate::fanout::answer::Failure;

/// What can be wrong with one host.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No program is for its machine.
    #[error("{0}")]
    NoProgram(String),
    /// Its agent would have to be started again, and holds actors.
    #[error(
        "its agent holds {0}, and what changes needs a restart, which loses their state; nothing was changed"
    )]
    Actors(String),
    /// Something stands in the way, or a script failed.
    #[error("{0}")]
    Host(String),
    /// What arrived is not what was sent.
    #[error(
        "{path} did not arrive as it was sent: its bytes have sha256 {have}; they were removed"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What the host says of it.
        have: String,
    },
    /// The agent was started and does not answer.
    #[error("the agent was started and does not answer{0}")]
    Silent(String),
    /// The template does not fit it.
    #[error("the template of the configuration: {0}")]
    Template(String),
    /// A file of this machine that it is to get does not read.
    #[error("{0}")]
    Here(String),
    /// SSH failed.
    #[error("{}", .0.what)]
    Ssh(Failure),
    /// A person stopped it.
    #[error("interrupted; run it again, and it goes on from what has arrived")]
    Interrupted,
}

impl Trouble {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::NoProgram(_) => "MF0560",
            Self::Actors(_) => "MF0561",
            Self::Host(_) => "MF0562",
            Self::Damaged { .. } => "MF0563",
            Self::Silent(_) => "MF0564",
            Self::Template(_) => "MF0565",
            Self::Here(_) => "MF0509",
            Self::Interrupted => "MF0566",
            Self::Ssh(failure) => &failure.code,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::NoProgram(_) => {
                "build the agent for that architecture, sign it, and put it into the folder of --agents"
            }
            Self::Actors(_) => "add --lose-state if their state may be lost",
            Self::Host(_) => "log in and look; then run it again: what is in place stays",
            Self::Damaged { .. } => {
                "run it again; if it comes again, see what changes bytes on the way, or whether the disk is full"
            }
            Self::Silent(_) => "see its log on the host",
            Self::Template(_) => "correct the template, or set the variable in the inventory",
            Self::Here(_) => {
                "check the path, its permissions, and that the certificate was issued: midflight pki issue"
            }
            Self::Interrupted => "",
            Self::Ssh(failure) => &failure.hint,
        }
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Actors(actors) => Self::Actors(actors),
            Refused::InTheWay(path) => Self::Host(format!("{path} is there and is no file")),
        }
    }
}
