//! The state of one actor, shown and replaced (OTP's `sys:get_state` and `sys:replace_state`). `describe` and `parse` run in
//! an instance of their own, bounded in time; a replacement that fails keeps the state.

use std::time::Duration;

use super::ActorRef;
use crate::{Error, Node, actor::State, instance::Instance};

/// Bytes of JSON that `describe` may give.
const DESCRIBE_BYTES: u32 = 1 << 20;

impl Node {
    fn instance(
        &self,
        call: &'static str,
        actor: &ActorRef,
        version: u32,
    ) -> Result<Instance, Error> {
        let fault = |reason: String| Error::Sys {
            call,
            actor: actor.to_string(),
            reason,
        };
        let version = self
            .shared
            .code
            .version(version)
            .ok_or_else(|| fault("its code was purged".into()))?;
        Instance::new(&self.shared, &version).map_err(|e| fault(e.reason().to_owned()))
    }

    /// The actor's state as JSON.
    pub fn get_state(&self, actor: &ActorRef, timeout: Duration) -> Result<String, Error> {
        let (state, version): (State, u32) = self.at_boundary(actor, timeout, |_, _, body| {
            (body.state.clone(), body.version)
        })?;
        let described = self
            .instance("describe", actor, version)?
            .describe(&state, DESCRIBE_BYTES);
        described.map_err(|e| Error::Sys {
            call: "describe",
            actor: actor.to_string(),
            reason: e.reason().to_owned(),
        })
    }

    /// Replaces the state by this JSON. A replacement that fails keeps it.
    pub fn replace_state(
        &self,
        actor: &ActorRef,
        json: &str,
        timeout: Duration,
    ) -> Result<String, Error> {
        let fault = |reason: String| Error::Sys {
            call: "parse",
            actor: actor.to_string(),
            reason,
        };
        let version = self.at_boundary(actor, timeout, |_, _, body| body.version)?;
        let state = self
            .instance("parse", actor, version)?
            .parse(json)
            .map_err(|e| fault(e.reason().to_owned()))?;
        if state.len() > self.shared.limits.state_bytes {
            return Err(fault(format!(
                "a state of {} bytes; limits.state_bytes is {}",
                state.len(),
                self.shared.limits.state_bytes
            )));
        }
        let refused = self.at_boundary(actor, timeout, |pid, _, body| {
            let _replacing = self.shared.replacing.read();
            let module = self.shared.code.module(body.module);
            if module.is_some_and(|m| m.gated()) {
                return Some("its module is suspended for an upgrade; ask again");
            }
            if body.version != version {
                return Some("its code changed meanwhile; ask again");
            }
            body.state = state.into();
            if let Some(shadow) = &mut body.shadow {
                shadow.mark(pid);
            }
            None
        })?;
        if let Some(reason) = refused {
            return Err(fault(reason.into()));
        }
        self.get_state(actor, timeout)
    }
}
