//! The one error of this crate. Every variant says what failed and where, keeps a lower-level cause as its source and never
//! repeats it, and has a stable code, a hint and a gRPC code. `docs/errors/agent.md` explains each.

use std::{error::Error as _, io, path::PathBuf};

use midflight_patch::{Digest, Vsn};
use midflight_proto::agent::v1 as pb;
use tonic::{Code, Status};

use crate::target::TargetError;

/// What can go wrong in the agent. Print the chain of sources to see all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration file is not what it must be.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// In characters, from 1.
        column: u64,
        /// What is wrong there.
        problem: String,
    },

    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb: "read", "create", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A certificate or key cannot be used.
    #[error("{}: {problem}", path.display())]
    Tls {
        /// The PEM file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// An address or socket cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// TCP address or socket path.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// Another agent holds the data directory.
    #[error("another agent uses the data directory {}", path.display())]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },

    /// The journal was altered or damaged before its last line.
    #[error("journal {place}, line {line}: {problem}")]
    JournalCorrupt {
        /// The journal file.
        place: String,
        /// From 1.
        line: u64,
        /// What is wrong with that line.
        problem: String,
    },

    /// The journal could not be written, so that no promise can be given.
    #[error("cannot write the journal {place}")]
    JournalWrite {
        /// The journal file.
        place: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// An earlier write of the journal failed in a way that leaves unknown what is on disk.
    #[error("the journal {place} takes no more entries after a failed write")]
    JournalClosed {
        /// The journal file.
        place: String,
    },

    /// There is no space left for a blob; what was written of the chunk has been removed.
    #[error("no space left for blob {digest} in {}", path.display())]
    DiskFull {
        /// The blob.
        digest: Digest,
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A stored blob does not have the digest that it is named by.
    #[error("blob {digest} in {} is damaged: its bytes have digest {have}", path.display())]
    BlobDamaged {
        /// The name.
        digest: Digest,
        /// The digest of what is there.
        have: Digest,
        /// The folder.
        path: PathBuf,
    },

    /// A blob is not on the node.
    #[error("blob {digest} is not on this node")]
    BlobMissing {
        /// The blob.
        digest: Digest,
    },

    /// A chunk does not continue what is on the node.
    #[error("chunk at offset {offset} of blob {digest}: {problem}")]
    Chunk {
        /// As the request spells it.
        digest: String,
        /// In bytes from 0.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },

    /// All bytes of a blob arrived, and they are other bytes.
    #[error("the bytes received as blob {digest} have digest {have}, and were dropped")]
    DigestMismatch {
        /// What the signed manifest names.
        digest: Digest,
        /// What came.
        have: Digest,
    },

    /// A bundle, manifest or signature is refused; the code is the patch crate's.
    #[error("{what} is refused")]
    Patch {
        /// Which patch or file.
        what: String,
        /// Why.
        source: midflight_patch::Error,
    },

    /// Too few different people signed.
    #[error("{what} is signed by {} only, which is not enough on this node", signers.join(", "))]
    TooFewSigners {
        /// Which patch or file.
        what: String,
        /// Who signed.
        signers: Vec<String>,
    },

    /// A field of a request cannot be understood.
    #[error("the request's {field} {problem}")]
    Request {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// The peer's certificate gives it no right to ask this.
    #[error("{peer} may not ask this of node {node}")]
    Forbidden {
        /// Who asks.
        peer: String,
        /// This node.
        node: String,
    },

    /// `sys` is off in the configuration.
    #[error("sys is off on node {node}")]
    SysOff {
        /// This node.
        node: String,
    },

    /// A patch was opened that is not completely staged.
    #[error("patch {patch} is not completely staged on this node")]
    NotStaged {
        /// The patch.
        patch: String,
    },

    /// Another rollout holds the node.
    #[error("rollout {rollout} (attempt {attempt}) holds this node: {state}")]
    Held {
        /// The rollout that holds it.
        rollout: String,
        /// Its attempt.
        attempt: u32,
        /// What it is doing.
        state: &'static str,
    },

    /// A phase was asked for out of order.
    #[error("phase {asked} cannot come here; {expected}")]
    PhaseOrder {
        /// The phase asked for.
        asked: String,
        /// What would come next.
        expected: String,
    },

    /// The actors were suspended longer than the order allows.
    #[error(
        "the actors were suspended for {suspended_ms} ms, and the pause budget is {budget_ms} ms"
    )]
    PauseExceeded {
        /// So far.
        suspended_ms: u64,
        /// What the order allows.
        budget_ms: u64,
    },

    /// The transaction was aborted by its controller, by a broken stream, by another order, or because the agent stops.
    #[error("the transaction was aborted before resume: {reason}")]
    Aborted {
        /// Why.
        reason: String,
    },

    /// No upgrade of this key ever reached the node.
    #[error("rollout {rollout} (attempt {attempt}) is unknown on this node")]
    UnknownRollout {
        /// The rollout.
        rollout: String,
        /// The attempt.
        attempt: u32,
    },

    /// The node restarted before confirm.
    #[error("the node restarted before confirm, and runs its permanent release {release}")]
    LostInRestart {
        /// What runs.
        release: Vsn,
    },

    /// An order does not fit what the rollout is in on this node.
    #[error("rollout {rollout} cannot {order} here: it {state}")]
    WrongState {
        /// The rollout.
        rollout: String,
        /// A verb.
        order: &'static str,
        /// What it is in.
        state: &'static str,
    },

    /// As many patches as may be staged at a time are being staged.
    #[error("{most} patches are being staged at this moment")]
    TooManyStages {
        /// The bound.
        most: usize,
    },

    /// The target did not do it; the code is the target's.
    #[error("{}", .0.what)]
    Target(TargetError),

    /// Work of the target ended in a panic.
    #[error("the {what} ended in a panic: {message}")]
    Panicked {
        /// Which work.
        what: &'static str,
        /// What the panic said.
        message: String,
    },

    /// The agent is shutting down.
    #[error("node {node} is shutting down")]
    Stopping {
        /// This node.
        node: String,
    },

    /// The new code runs, and that could not be recorded.
    #[error("the new code runs, but the journal does not say so")]
    ResumedUnrecorded {
        /// What the journal said.
        source: Box<Error>,
    },

    /// The server ended by itself.
    #[error("the gRPC server ended")]
    Server {
        /// Why.
        source: tonic::transport::Error,
    },
}

impl Error {
    /// The stable code: `MF04xx`, or the code of the patch crate or the target where the failure is theirs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "MF0401",
            Self::Io { .. } => "MF0402",
            Self::Tls { .. } => "MF0403",
            Self::Listen { .. } => "MF0404",
            Self::DataDirInUse { .. } => "MF0405",
            Self::JournalCorrupt { .. } => "MF0406",
            Self::JournalWrite { .. } => "MF0407",
            Self::JournalClosed { .. } => "MF0408",
            Self::DiskFull { .. } => "MF0409",
            Self::BlobDamaged { .. } => "MF0410",
            Self::BlobMissing { .. } => "MF0411",
            Self::Chunk { .. } => "MF0412",
            Self::DigestMismatch { .. } => "MF0413",
            Self::Patch { source, .. } => source.code(),
            Self::TooFewSigners { .. } => "MF0414",
            Self::Request { .. } => "MF0415",
            Self::Forbidden { .. } => "MF0416",
            Self::SysOff { .. } => "MF0417",
            Self::NotStaged { .. } => "MF0418",
            Self::Held { .. } => "MF0419",
            Self::PhaseOrder { .. } => "MF0420",
            Self::PauseExceeded { .. } => "MF0421",
            Self::Aborted { .. } => "MF0422",
            Self::UnknownRollout { .. } => "MF0423",
            Self::LostInRestart { .. } => "MF0424",
            Self::WrongState { .. } => "MF0425",
            Self::TooManyStages { .. } => "MF0426",
            Self::Target(error) => error.code,
            Self::Panicked { .. } => "MF0427",
            Self::Stopping { .. } => "MF0428",
            Self::ResumedUnrecorded { .. } => "MF0429",
            Self::Server { .. } => "MF0430",
        }
    }

    /// What to do next, for a person. It never says what would have been accepted.
    pub fn hint(&self) -> String {
        match self {
            Self::Config { .. } => "correct the configuration; docs/agent.md lists every key",
            Self::Io { .. } => "see that the file exists and that the agent's user may use it",
            Self::Tls { .. } => "issue the certificate and its key again, as PEM files",
            Self::Listen { .. } => "see that the address is this machine's and that nothing else listens there",
            Self::DataDirInUse { .. } => "stop the other agent, or give this one a data_dir of its own",
            Self::JournalCorrupt { .. } => "keep the file for an audit; then restore it, or start with an empty data_dir",
            Self::JournalWrite { .. } => "make space or repair the disk, then ask again",
            Self::JournalClosed { .. } => "repair the disk, then restart the agent: it boots the permanent release",
            Self::DiskFull { .. } => "make space on the node, then stage again: it goes on from what is there",
            Self::BlobDamaged { .. } | Self::BlobMissing { .. } => {
                "stage the patch again; if the agent does not start, put the blob back from a copy of data_dir/blobs"
            }
            Self::Chunk { .. } => "ask for the status of the blobs with a header alone, and go on from there",
            Self::DigestMismatch { .. } => "stage the patch again from a bundle that verifies",
            Self::Patch { .. } => "run `midflight patch verify` on the bundle, and compare it with what runs on the node",
            Self::TooFewSigners { .. } => "have the patch signed by more people",
            Self::Request { .. } => "correct the request",
            Self::Forbidden { .. } => "ask whoever issues certificates",
            Self::SysOff { .. } => "it is turned on in the node's configuration",
            Self::NotStaged { .. } => "stage it first",
            Self::Held { .. } => "wait until that rollout has finished or was rolled back on this node",
            Self::PhaseOrder { .. } => "open the phases in order: prepare, suspend, load, migrate, resume",
            Self::PauseExceeded { .. } => "retry with a longer pause budget or at a quieter time",
            Self::Aborted { .. } => "retry: a new attempt starts from the old code",
            Self::UnknownRollout { .. } => "see `midflight nodes` for what runs on the node",
            Self::LostInRestart { .. } => "retry the rollout on this node",
            Self::WrongState { .. } => "see `midflight nodes` for what the node is in",
            Self::TooManyStages { .. } => "try again in a moment",
            Self::Target(error) => return error.hint.clone(),
            Self::Panicked { .. } => "this is a defect: report it with the agent's log",
            Self::Stopping { .. } => "try again once it has started",
            Self::ResumedUnrecorded { .. } => "roll back: a restart would boot the permanent release",
            Self::Server { .. } => "see the agent's log",
        }
        .to_owned()
    }

    /// Module, blob, file or rollout that it is about; may be empty.
    pub fn subject(&self) -> String {
        match self {
            Self::DiskFull { digest, .. }
            | Self::BlobDamaged { digest, .. }
            | Self::BlobMissing { digest }
            | Self::DigestMismatch { digest, .. } => digest.to_string(),
            Self::Chunk { digest, .. } => digest.clone(),
            Self::NotStaged { patch } => patch.clone(),
            Self::Held { rollout, .. }
            | Self::UnknownRollout { rollout, .. }
            | Self::WrongState { rollout, .. } => rollout.clone(),
            Self::Target(error) => error.subject.clone(),
            _ => String::new(),
        }
    }

    /// The gRPC code that it travels under.
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Chunk { .. } | Self::Request { .. } | Self::DigestMismatch { .. } => {
                Code::InvalidArgument
            }
            Self::Patch { source, .. } if is_about_signatures(source) => Code::PermissionDenied,
            Self::TooFewSigners { .. } | Self::Forbidden { .. } | Self::SysOff { .. } => {
                Code::PermissionDenied
            }
            Self::Patch { .. }
            | Self::NotStaged { .. }
            | Self::Held { .. }
            | Self::PhaseOrder { .. }
            | Self::PauseExceeded { .. }
            | Self::LostInRestart { .. }
            | Self::WrongState { .. }
            | Self::BlobMissing { .. }
            | Self::Target(_) => Code::FailedPrecondition,
            Self::Aborted { .. } => Code::Aborted,
            Self::UnknownRollout { .. } => Code::NotFound,
            Self::TooManyStages { .. } | Self::DiskFull { .. } => Code::ResourceExhausted,
            Self::Stopping { .. } => Code::Unavailable,
            Self::BlobDamaged { .. } | Self::JournalCorrupt { .. } => Code::DataLoss,
            _ => Code::Internal,
        }
    }

    /// Whether the node said no before it did anything.
    fn refused(&self) -> bool {
        match self {
            Self::Target(error) => error.refused,
            Self::Patch { .. }
            | Self::TooFewSigners { .. }
            | Self::Request { .. }
            | Self::Forbidden { .. }
            | Self::SysOff { .. }
            | Self::NotStaged { .. }
            | Self::Held { .. }
            | Self::PhaseOrder { .. }
            | Self::UnknownRollout { .. }
            | Self::LostInRestart { .. }
            | Self::WrongState { .. }
            | Self::TooManyStages { .. }
            | Self::Stopping { .. }
            | Self::Chunk { .. } => true,
            _ => false,
        }
    }

    /// The whole chain in one line, for a person.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }

    /// As it travels. `changed` is false while nothing on the node is different from before the order.
    pub fn failure(&self, phase: pb::Phase, changed: bool) -> pb::Failure {
        pb::Failure {
            code: self.code().to_owned(),
            phase: phase.into(),
            what: self.chain(),
            subject: self.subject(),
            hint: self.hint(),
            changed,
            actors: match self {
                Self::Target(error) => error.actors.iter().take(100).cloned().collect(),
                _ => Vec::new(),
            },
            refused: self.refused() && !changed,
        }
    }

    /// As a gRPC status.
    pub fn status(&self, phase: pb::Phase, changed: bool) -> Status {
        self.failure(phase, changed).into_status(self.grpc_code())
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn patch(what: impl Into<String>) -> impl FnOnce(midflight_patch::Error) -> Self {
        let what = what.into();
        move |source| Self::Patch { what, source }
    }

    /// Of work that was given to a thread.
    pub(crate) fn panicked(what: &'static str) -> impl FnOnce(tokio::task::JoinError) -> Self {
        move |error| Self::Panicked {
            what,
            message: error.to_string(),
        }
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

fn is_about_signatures(error: &midflight_patch::Error) -> bool {
    use midflight_patch::Error as E;
    matches!(
        error,
        E::Unsigned { .. }
            | E::SignatureBroken { .. }
            | E::SignerNotAllowed { .. }
            | E::NamespaceNotAllowed { .. }
            | E::OutOfValidity { .. }
            | E::Certificate { .. }
    )
}
