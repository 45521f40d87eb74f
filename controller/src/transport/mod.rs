//! How nodes are talked to, whatever lies between: a trait for reaching a node, one for what can be asked of it, and the one
//! error that both give. Three implementations: gRPC over mutual TLS, the same inside SSH, and one in memory for tests of the
//! engine.

pub mod by_host;
pub mod grpc;
mod http2;
pub mod memory;
pub mod ssh;
mod tickets;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use midflight_proto::agent::v1 as pb;

use crate::engine::event::{Cause, Place, Ssh};
use crate::engine::words::Phase;
use crate::error::Error;

pub use tls::Credentials;

/// A node to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name: what its certificate must carry.
    pub name: String,
    /// DNS name or IP address; with `ssh` what `ssh` would be given as the host.
    pub address: String,
    /// TCP port of the agent; with `ssh` the one on the node itself.
    pub port: u16,
    /// How the SSH connection there is made; none: TLS over TCP.
    pub ssh: Option<Box<Ssh>>,
}

/// The variable of an inventory that says where on the node the agent's Unix socket is, where it is not the usual one.
const SOCKET_VARIABLE: &str = "midflight_socket";

impl From<&midflight_inventory::Host> for Target {
    fn from(host: &midflight_inventory::Host) -> Self {
        Self {
            name: host.name().to_owned(),
            address: host.address().to_owned(),
            port: host.port(),
            ssh: host.ssh().map(|ssh| {
                Box::new(Ssh {
                    user: ssh.user.clone(),
                    port: ssh.port,
                    identity_file: ssh.identity_file.clone(),
                    args: ssh.common_args.clone(),
                    socket: host
                        .var(SOCKET_VARIABLE)
                        .and_then(|path| path.as_str().map(str::to_owned)),
                })
            }),
        }
    }
}

impl From<&Place> for Target {
    fn from(place: &Place) -> Self {
        Self {
            name: place.name.clone(),
            address: place.address.clone(),
            port: place.port,
            ssh: place.ssh.clone(),
        }
    }
}

impl From<&Target> for Place {
    fn from(target: &Target) -> Self {
        Self {
            name: target.name.clone(),
            address: target.address.clone(),
            port: target.port,
            ssh: target.ssh.clone(),
        }
    }
}

/// Reaches nodes.
pub trait Transport: Send + Sync + 'static {
    /// Whether there is all that is needed to reach nodes of this kind; nothing is dialled.
    ///
    /// # Errors
    /// [`Error::NoCredentials`].
    fn check(&self, _: &Target) -> Result<(), Error> {
        Ok(())
    }

    /// Connects to the agent of a node, and is sure that it is that node.
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Arc<dyn Agent>, CallError>>;
}

/// A connection to the agent of one node: the calls of `midflight.agent.v1.NodeAgent`. May be used by several at a time. A
/// call whose future is dropped is cancelled.
pub trait Agent: Send + Sync + 'static {
    /// What runs on the node.
    fn describe(&self) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>>;
    /// Brings a patch.
    fn stage(
        &self,
        parts: BoxStream<'static, pb::StageRequest>,
    ) -> BoxFuture<'_, Result<pb::StageResponse, CallError>>;
    /// One upgrade transaction.
    fn upgrade(
        &self,
        orders: BoxStream<'static, pb::UpgradeRequest>,
    ) -> BoxFuture<'_, Result<Steps, CallError>>;
    /// Makes the release permanent, or finishes.
    fn confirm(
        &self,
        request: pb::ConfirmRequest,
    ) -> BoxFuture<'_, Result<pb::ConfirmResponse, CallError>>;
    /// What runs on the node, and what became of one order there.
    fn describe_order(
        &self,
        key: pb::Key,
    ) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>>;
    /// The same, and what the modules measured, where nodes measure something.
    fn measure(&self, key: pb::Key) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        self.describe_order(key)
    }
    /// Extends the lease of a node in probation.
    fn renew(
        &self,
        request: pb::RenewRequest,
    ) -> BoxFuture<'_, Result<pb::RenewResponse, CallError>>;
    /// The releases on the node.
    fn releases(&self) -> BoxFuture<'_, Result<pb::ReleasesResponse, CallError>>;
    /// Removes a release that is old or unpacked.
    fn remove_release(
        &self,
        request: pb::RemoveReleaseRequest,
    ) -> BoxFuture<'_, Result<pb::RemoveReleaseResponse, CallError>>;
    /// Puts the node back.
    fn rollback(
        &self,
        request: pb::RollbackRequest,
    ) -> BoxFuture<'_, Result<pb::RollbackResponse, CallError>>;
    /// Looks at or changes one actor, or the actors of a module.
    fn sys(&self, request: pb::SysRequest) -> BoxFuture<'_, Result<pb::SysResponse, CallError>>;
    /// The node in numbers.
    fn metrics(&self) -> BoxFuture<'_, Result<pb::MetricsResponse, CallError>>;
}

/// What an upgrade reports, until its end.
pub type Steps = BoxStream<'static, Result<pb::StepEvent, CallError>>;

/// Why a call has no good answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection was made: nothing was asked of the node.
    #[error("the agent at {address} cannot be reached")]
    Unreachable {
        /// Address and port.
        address: String,
        /// What the network or TLS said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no SSH connection to the node: nothing was asked of it.
    #[error("no SSH connection to {address}")]
    Ssh {
        /// What `ssh` would be given as the host.
        address: String,
        /// Why, with a code of its own.
        source: Box<midflight_ssh::Error>,
    },
    /// The connection broke before the answer came: the node may have done it or not.
    #[error("the connection broke before the answer came")]
    Lost {
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time: the node may have done it or not.
    #[error("no answer within {} ms", after.as_millis())]
    Timeout {
        /// How long it was waited.
        after: Duration,
    },
    /// The agent answered that it failed, or that it refuses.
    #[error("{}", .0.what)]
    Failed(Box<pb::Failure>),
}

impl CallError {
    /// The stable code; the agent's own where the agent answered.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable { .. } => "MF0520",
            Self::Ssh { source, .. } => source.code(),
            Self::Lost { .. } => "MF0521",
            Self::Timeout { .. } => "MF0522",
            Self::Failed(failure) => &failure.code,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Unreachable { .. } => {
                "see that the agent runs and listens there, and that both certificates are of one CA and in date"
            }
            Self::Ssh { .. } => "try ssh -v to the same host; docs/errors/ssh.md has each code",
            Self::Lost { .. } | Self::Timeout { .. } => {
                "see the agent's log, and `midflight nodes` for what it runs"
            }
            Self::Failed(failure) => &failure.hint,
        }
    }

    /// Whether it is worth asking again: the node did not answer at all.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    /// As it stands in events.
    #[must_use]
    pub fn cause(&self, phase: Phase) -> Cause {
        if let Self::Failed(failure) = self {
            return failure_cause(failure, phase);
        }
        Cause {
            code: self.code().to_owned(),
            phase,
            what: crate::error::chain(self),
            subject: String::new(),
            hint: self.hint().to_owned(),
            actors: Vec::new(),
            actor_count: 0,
        }
    }
}

/// An agent's failure as it stands in events; `phase` is used when the agent names none.
#[must_use]
pub fn failure_cause(failure: &pb::Failure, phase: Phase) -> Cause {
    const SHOWN: usize = 3;
    let actor = |actor: &pb::ActorFailure| {
        let who = if actor.name.is_empty() {
            format!("pid {}", actor.pid)
        } else {
            actor.name.clone()
        };
        one_line(&format!("{who} ({}): {}", actor.module, actor.reason))
    };
    Cause {
        code: failure.code.clone(),
        phase: phase_of(failure.phase()).unwrap_or(phase),
        what: one_line(&failure.what),
        subject: one_line(&failure.subject),
        hint: one_line(&failure.hint),
        actors: failure.actors.iter().take(SHOWN).map(actor).collect(),
        actor_count: failure.actors.len() as u64,
    }
}

/// Text of a node, which may hold what a guest wrote, for a terminal: one line, no control characters, at most 600 characters.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    if let Some((end, _)) = line.char_indices().nth(600) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// A phase of the protocol as it stands in events; `None` when it is unspecified.
#[must_use]
pub fn phase_of(phase: pb::Phase) -> Option<Phase> {
    Some(match phase {
        pb::Phase::Unspecified | pb::Phase::Probation => return None,
        pb::Phase::Stage => Phase::Stage,
        pb::Phase::Prepare => Phase::Prepare,
        pb::Phase::Suspend => Phase::Suspend,
        pb::Phase::Load => Phase::Load,
        pb::Phase::Migrate => Phase::Migrate,
        pb::Phase::Resume => Phase::Resume,
        pb::Phase::Confirm => Phase::Confirm,
        pb::Phase::Finish => Phase::Finish,
        pb::Phase::Rollback => Phase::Rollback,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_wrote_cannot_drive_the_terminal() {
        assert_eq!(
            one_line("panicked at:\n  \u{1b}[2Jgone\r\n"),
            "panicked at: [2Jgone"
        );
        assert_eq!(one_line(&"é".repeat(700)).chars().count(), 601);
    }
}
