//! One actor, a module or the node, looked at or changed. What may be asked follows from two things: the configuration,
//! which turns `sys` off, on for looking, or on in full; and the peer's role. What changes an actor is in the journal
//! before it is done.

use std::{sync::Arc, time::Duration};

use midflight_proto::agent::v1::{
    self as pb,
    sys_request::{Actor, Op},
};
use midflight_proto::peer::{Peer, Right};

use super::Service;
use crate::{agent::Agent, config::Sys, error::Error, target::Who};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// What an operation does: nothing that lasts, or the verb that the journal has.
enum Effect {
    /// Shows how things stand, and no state, no message.
    Look,
    /// Shows what actors hold or say.
    Read,
    Change(&'static str),
}

fn effect(op: &Op) -> Effect {
    let switched = |switch, verb| match switch {
        pb::SysSwitch::On | pb::SysSwitch::Off => Effect::Change(verb),
        pb::SysSwitch::Unspecified | pb::SysSwitch::Get => Effect::Read,
    };
    match op {
        Op::Status(_) | Op::List(_) | Op::Top(_) | Op::OldCode(_) => Effect::Look,
        Op::Statistics(order) => match switched(order.switch(), "statistics") {
            Effect::Read => Effect::Look,
            change => change,
        },
        Op::Trace(order) => switched(order.switch(), "trace"),
        Op::GetState(_) | Op::Log(_) => Effect::Read,
        Op::Suspend(_) => Effect::Change("suspend"),
        Op::Resume(_) => Effect::Change("resume"),
        Op::ReplaceState(_) => Effect::Change("replace_state"),
        Op::Terminate(_) => Effect::Change("terminate"),
        Op::CatchUp(_) => Effect::Change("catch_up"),
    }
}

/// What a request needs.
pub(super) fn right(request: &pb::SysRequest) -> Right {
    match request.op.as_ref().map(effect) {
        Some(Effect::Look) => Right::Read,
        _ => Right::Debug,
    }
}

impl Service {
    pub(super) async fn sys_order(
        &self,
        peer: Peer,
        request: pb::SysRequest,
    ) -> Result<pb::SysResponse, Error> {
        let node = || self.agent.node.clone();
        if self.agent.sys == Sys::Off {
            return Err(Error::SysOff { node: node() });
        }
        let wrong = |field, problem: &str| Error::Request {
            field,
            problem: problem.to_owned(),
        };
        let op = request.op.ok_or_else(|| wrong("op", "is missing"))?;
        let effect = effect(&op);
        if self.agent.sys == Sys::Read && !matches!(effect, Effect::Look) {
            return Err(Error::SysReadOnly { node: node() });
        }
        let of_node = matches!(op, Op::List(_) | Op::Top(_) | Op::OldCode(_));
        let who = match request.actor {
            None if of_node => Who::Node,
            Some(_) if of_node => {
                return Err(wrong("actor", "is set, and this is about the whole node"));
            }
            None => return Err(wrong("actor", "is missing")),
            Some(Actor::Pid(_) | Actor::Name(_)) if matches!(op, Op::CatchUp(_)) => {
                return Err(wrong("actor", "is one actor, and this is of a module"));
            }
            Some(Actor::Pid(pid)) => Who::Pid(pid),
            Some(Actor::Name(name)) => Who::Name(name),
            Some(Actor::Module(_))
                if matches!(op, Op::GetState(_) | Op::ReplaceState(_) | Op::Log(_)) =>
            {
                return Err(wrong("actor", "is a module, and this is of one actor"));
            }
            Some(Actor::Module(module)) => Who::Module(module),
        };
        let timeout = super::orders::millis_or(request.timeout_ms, TIMEOUT).min(MAX_TIMEOUT);
        let work = move |agent: &Arc<Agent>| match effect {
            Effect::Change(verb) => agent.change(verb, &who, &peer, || {
                agent.target.sys(&who, &op, timeout).map_err(Error::from)
            }),
            Effect::Look | Effect::Read => {
                agent.target.sys(&who, &op, timeout).map_err(Error::from)
            }
        };
        self.blocking("sys request", work).await?
    }

    pub(super) async fn numbers(&self) -> Result<pb::MetricsResponse, Error> {
        self.blocking("metrics", |agent| {
            let state = agent.book.state();
            let release = state
                .current
                .as_ref()
                .map(|named| (named.release.name.clone(), named.release.vsn.to_string()));
            let numbers = crate::openmetrics::Numbers {
                node: &agent.node,
                version: crate::agent::VERSION,
                release: release
                    .as_ref()
                    .map(|(name, vsn)| (name.as_str(), vsn.as_str())),
                uptime: agent.clock.now().saturating_sub(agent.started),
                target: &agent.target.metrics(),
            };
            pb::MetricsResponse {
                text: crate::openmetrics::render(&numbers),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_looking_is_for_every_role() {
        let request = |op| pb::SysRequest {
            op: Some(op),
            ..pb::SysRequest::default()
        };
        let statistics = |switch: pb::SysSwitch| {
            Op::Statistics(pb::SysStatistics {
                switch: switch.into(),
            })
        };
        let trace = |switch: pb::SysSwitch| {
            Op::Trace(pb::SysTrace {
                switch: switch.into(),
                ..pb::SysTrace::default()
            })
        };
        let look = [
            Op::Status(pb::SysStatus {}),
            Op::List(pb::SysList::default()),
            Op::Top(pb::SysTop::default()),
            Op::OldCode(pb::SysOldCode {}),
            statistics(pb::SysSwitch::Get),
            statistics(pb::SysSwitch::Unspecified),
        ];
        for op in look {
            assert_eq!(right(&request(op)), Right::Read);
        }
        let debug = [
            Op::GetState(pb::SysGetState {}),
            Op::Suspend(pb::SysSuspend {}),
            Op::Terminate(pb::SysTerminate::default()),
            Op::CatchUp(pb::SysCatchUp {}),
            statistics(pb::SysSwitch::On),
            trace(pb::SysSwitch::Get),
            trace(pb::SysSwitch::On),
        ];
        for op in debug {
            assert_eq!(right(&request(op)), Right::Debug);
        }
        // A switch of a newer version reads as GET.
        let newer = Op::Statistics(pb::SysStatistics { switch: 99 });
        assert_eq!(right(&request(newer)), Right::Read);
        assert_eq!(right(&pb::SysRequest::default()), Right::Debug);
    }
}
