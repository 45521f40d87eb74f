//! The last call of an actor: `terminate`, by the code that its state stands on, when it stops, fails or is told to end. It
//! may speak to others and write to its sockets, nothing else; what it asks for beyond that is dropped and logged.

use crate::{
    actor::Body,
    bindings::{Cx, Effect},
    code::Version,
    effects::{self, Release},
    instance::Instances,
    log,
    node::Shared,
};

/// Calls `terminate` and releases what it asks for. The caller buries the actor afterwards, whatever came of this.
pub(crate) fn last_words(
    shared: &Shared,
    instances: &mut Instances,
    cx: Cx,
    body: &mut Body,
    version: &Version,
    reason: &str,
) {
    let pid = cx.me;
    let Ok(instance) = instances.get(body.version) else {
        return;
    };
    let result = instance.terminate(cx, reason, &body.state);
    log::take(shared, instance, pid, body);
    let effects = match result {
        Ok(effects) => effects,
        Err(fault) => {
            instances.discard(body.version);
            tracing::warn!(actor = %body.label(pid), reason = fault.reason(), "terminate failed");
            return;
        }
    };
    let allowed = |e: &Effect| {
        matches!(
            e,
            Effect::Send(_) | Effect::Cast(_) | Effect::Reply(_) | Effect::Write(_)
        )
    };
    let (effects, dropped): (Vec<_>, Vec<_>) = effects.into_iter().partition(allowed);
    if !dropped.is_empty() {
        tracing::warn!(actor = %body.label(pid), dropped = dropped.len(), "terminate asked for what it may not");
    }
    if let Err(reason) = effects::check(shared, pid, None, &effects, &[]) {
        tracing::warn!(actor = %body.label(pid), reason, "terminate asked for too much");
        return;
    }
    // What is allowed reserves nothing and gives birth to nobody.
    let (mut reserved, mut born) = (Vec::new(), Vec::new());
    let mut release = Release {
        shared,
        pid,
        body,
        vsn: &version.vsn_text,
        reserved: &mut reserved,
        born: &mut born,
    };
    release.all(effects);
}
