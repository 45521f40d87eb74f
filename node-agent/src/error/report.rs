//! How an error reaches a person or a program: its code, its hint, its gRPC code, and the failure that travels.

use std::{error::Error as _, io, path::PathBuf};

use midflight_proto::agent::v1 as pb;
use prost::Message;
use tonic::{Code, Status};

use super::Error;
use crate::target::TargetError;

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
            Self::SysReadOnly { .. } => "MF0440",
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
            Self::Fenced { .. } => "MF0441",
            Self::Superseded { .. } => "MF0442",
            Self::NoSuchRelease { .. } => "MF0443",
            Self::ReleaseNeeded { .. } => "MF0444",
            Self::LeaseExpired { .. } => "MF0445",
            Self::NoAgent { .. } => "MF0446",
            Self::NothingOpen { .. } => "MF0447",
            Self::LocalOrder { .. } => "MF0448",
            Self::Simulation { .. } => "MF0450",
            Self::UnknownUser { .. } => "MF0451",
            Self::Dropped { .. } => "MF0452",
            Self::NoSocket { .. } => "MF0453",
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
            Self::SysReadOnly { .. } => "the node's configuration has sys: read; full allows it",
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
            Self::Fenced { .. } => "stop this controller: `midflight status` names the process that drives the rollout",
            Self::Superseded { .. } => "leave the node to that rollout",
            Self::NoAgent { .. } => "see that the agent runs, and be its user or root; an agent that starts boots the permanent release",
            Self::NothingOpen { .. } => "there is nothing to do; see what runs with `midflight nodes` from a machine that has a controller's certificate",
            Self::LocalOrder { failure, .. } => return failure.hint.clone(),
            Self::LeaseExpired { .. } => "see why the controller was silent, then retry the rollout on this node",
            Self::NoSuchRelease { .. } => "ask for the releases of the node again",
            Self::ReleaseNeeded { .. } => "wait until nothing needs it, or roll the node to another release first",
            Self::Simulation { .. } => "see `midflight-agent sim --help`",
            Self::UnknownUser { .. } => "make that user, or name a user id",
            Self::Dropped { .. } => "the agent's log says why; listen.unix.peers in its configuration lists the users who may connect",
            Self::NoSocket { .. } => "add listen.unix to it, or name the socket with --socket PATH",
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
            | Self::WrongState { rollout, .. }
            | Self::Fenced { rollout, .. }
            | Self::LeaseExpired { rollout, .. }
            | Self::Superseded { rollout, .. } => rollout.clone(),
            Self::NoSuchRelease { release } => release.clone(),
            Self::ReleaseNeeded { release, .. } => release.to_string(),
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
            Self::TooFewSigners { .. }
            | Self::Forbidden { .. }
            | Self::SysOff { .. }
            | Self::SysReadOnly { .. } => Code::PermissionDenied,
            Self::Patch { .. }
            | Self::NotStaged { .. }
            | Self::Held { .. }
            | Self::PhaseOrder { .. }
            | Self::PauseExceeded { .. }
            | Self::LostInRestart { .. }
            | Self::WrongState { .. }
            | Self::BlobMissing { .. }
            | Self::Fenced { .. }
            | Self::Superseded { .. }
            | Self::ReleaseNeeded { .. }
            | Self::LeaseExpired { .. }
            | Self::Target(_) => Code::FailedPrecondition,
            Self::Aborted { .. } => Code::Aborted,
            Self::UnknownRollout { .. } | Self::NoSuchRelease { .. } => Code::NotFound,
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
            | Self::SysReadOnly { .. }
            | Self::NotStaged { .. }
            | Self::Held { .. }
            | Self::PhaseOrder { .. }
            | Self::UnknownRollout { .. }
            | Self::LostInRestart { .. }
            | Self::WrongState { .. }
            | Self::TooManyStages { .. }
            | Self::Stopping { .. }
            | Self::Fenced { .. }
            | Self::Superseded { .. }
            | Self::NoSuchRelease { .. }
            | Self::ReleaseNeeded { .. }
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
        bounded(self.failure(phase, changed)).into_status(self.grpc_code())
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
        move |source| Self::Patch {
            what,
            source: Box::new(source),
        }
    }

    /// Of work that was given to a thread.
    pub(crate) fn panicked(what: &'static str) -> impl FnOnce(tokio::task::JoinError) -> Self {
        move |error| Self::Panicked {
            what,
            message: error.to_string(),
        }
    }

    /// Of work that panicked with this.
    pub(crate) fn panic(what: &'static str, panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked {
            what,
            message: text.unwrap_or_else(|| "it said nothing".to_owned()),
        }
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        Self::Target(Box::new(error))
    }
}

/// Cuts a failure to what fits into the headers of an answer; HTTP/2 peers refuse more than 16 KiB of them.
fn bounded(mut failure: pb::Failure) -> pb::Failure {
    let cut = |text: &mut String, most: usize| {
        if let Some((at, _)) = text.char_indices().nth(most) {
            text.truncate(at);
            text.push('…');
        }
    };
    cut(&mut failure.what, 1_000);
    cut(&mut failure.hint, 500);
    for actor in &mut failure.actors {
        cut(&mut actor.reason, 200);
    }
    while failure.encoded_len() > 6_000 && failure.actors.pop().is_some() {}
    failure
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_with_many_actors_fits_into_the_headers_of_an_answer() {
        let actor = pb::ActorFailure {
            reason: "é".repeat(5_000),
            ..Default::default()
        };
        let error = Error::from(TargetError {
            code: "MF0304",
            what: "x".repeat(100_000),
            subject: String::new(),
            hint: String::new(),
            refused: true,
            actors: vec![actor; 100],
        });
        let status = error.status(pb::Phase::Prepare, false);
        assert!(status.details().len() < 7_000 && status.message().len() < 3_000);
        let failure = pb::Failure::from_status(&status).unwrap();
        assert!(failure.actors.len() > 5, "{}", failure.actors.len());
    }

    #[test]
    fn display_does_not_repeat_the_source_and_the_chain_tells_it_once() {
        let source = io::Error::other("disk on fire");
        let error = Error::Io {
            action: "read",
            path: "x".into(),
            source,
        };
        assert_eq!(error.to_string(), "cannot read x");
        assert_eq!(error.chain(), "cannot read x: disk on fire");
    }
}
