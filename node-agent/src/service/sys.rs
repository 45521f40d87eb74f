//! One actor, looked at or changed. Everything here is refused unless the configuration turns it on; beyond an actor's
//! status it takes a debugger.

use std::time::Duration;

use midflight_proto::agent::v1::{self as pb, sys_request};

use super::Service;
use crate::{
    error::Error,
    peer::{Peer, Right},
    target::{ActorRef, SysOp},
};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// What a request needs.
pub(super) fn right(request: &pb::SysRequest) -> Right {
    match request.op {
        Some(sys_request::Op::Status(_)) => Right::Read,
        _ => Right::Debug,
    }
}

impl Service {
    pub(super) async fn sys_order(
        &self,
        peer: Peer,
        request: pb::SysRequest,
    ) -> Result<pb::SysResponse, Error> {
        if !self.agent.sys {
            return Err(Error::SysOff {
                node: self.agent.node.clone(),
            });
        }
        let missing = |field| Error::Request {
            field,
            problem: "is missing".to_owned(),
        };
        let actor = match request.actor.ok_or_else(|| missing("actor"))? {
            sys_request::Actor::Pid(pid) => ActorRef::Pid(pid),
            sys_request::Actor::Name(name) => ActorRef::Name(name),
        };
        let (op, change) = match request.op.ok_or_else(|| missing("op"))? {
            sys_request::Op::Status(_) => (SysOp::Status, None),
            sys_request::Op::GetState(_) => (SysOp::GetState, None),
            sys_request::Op::Suspend(_) => (SysOp::Suspend, Some("suspend")),
            sys_request::Op::Resume(_) => (SysOp::Resume, Some("resume")),
            sys_request::Op::ReplaceState(new) => {
                (SysOp::ReplaceState(new.state), Some("replace_state"))
            }
        };
        let timeout = super::orders::millis_or(request.timeout_ms, TIMEOUT).min(MAX_TIMEOUT);
        let work = move |agent: &std::sync::Arc<crate::agent::Agent>| {
            let answer = agent.target.sys(&actor, op, timeout)?;
            if let Some(change) = change {
                agent.events.add(
                    "actor",
                    format!("sys {change} of {actor:?} by {}", peer.name),
                    None,
                    None,
                );
            }
            Ok(answer)
        };
        let (status, state) = self
            .blocking::<Result<_, Error>>("sys request", work)
            .await??;
        Ok(pb::SysResponse {
            status: Some(status),
            state: state.unwrap_or_default(),
        })
    }
}
