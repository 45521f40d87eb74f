//! The end of an actor by its own code: OTP's `terminate`. It may send, answer and write; what fails is logged, and the actor
//! ends all the same.

use crate::{
    actor::{Body, HOST},
    bindings::{Cx, Dest, Effect, Event, Message},
    effects::{self, Release},
    instance::Instances,
    log,
    node::Shared,
    table::Pid,
    upgrade::{Txn, convert_event},
};

/// Lets an actor say its last words. `back`: a rollback stops it, and what it sends to actors of the patch is put into the
/// words of the code that they run again; what has none is dropped.
pub(crate) fn last_words(
    shared: &Shared,
    instances: &mut Instances,
    cx: Cx,
    body: &mut Body,
    reason: &str,
    back: Option<&Txn>,
) {
    let pid: Pid = cx.me;
    let Some(version) = shared.code.version(body.version) else {
        return;
    };
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
    let (mut effects, dropped): (Vec<_>, Vec<_>) = effects.into_iter().partition(allowed);
    if !dropped.is_empty() {
        tracing::warn!(actor = %body.label(pid), dropped = dropped.len(), "terminate asked for what it may not");
    }
    if let Err(reason) = effects::check(shared, pid, None, &effects, &[]) {
        tracing::warn!(actor = %body.label(pid), reason, "terminate asked for too much");
        return;
    }
    if let Some(txn) = back {
        let convert = |effect| converted(shared, instances, txn, effect);
        effects = effects.into_iter().filter_map(convert).collect();
        // It speaks with the voice of the code before.
        body.version = txn.change(body.module).map_or(HOST, |change| change.from);
    }
    let mut release = Release {
        shared,
        pid,
        body,
        vsn: &version.vsn_text,
        reserved: &mut Vec::new(),
        born: &mut Vec::new(),
    };
    release.all(effects);
}

fn converted(
    shared: &Shared,
    instances: &mut Instances,
    txn: &Txn,
    effect: Effect,
) -> Option<Effect> {
    let (to, event) = match effect {
        Effect::Send(Message { to, body }) => (to, Event::Info(body)),
        Effect::Cast(Message { to, body }) => (to, Event::Cast(body)),
        other => return Some(other),
    };
    let pid = match &to {
        Dest::Pid(pid) => Some(*pid),
        Dest::Name(name) => shared.names.whereis(name),
    };
    let slot = pid.and_then(|pid| shared.table.get(pid));
    let module = slot.map(|slot| slot.mail.lock().module);
    let event = match module.and_then(|module| txn.change(module)) {
        // A failed conversion is a message without a meaning there.
        Some(change) => convert_event(shared, instances, txn, change, false, &event).ok()??,
        None => event,
    };
    match event {
        Event::Info(body) => Some(Effect::Send(Message { to, body })),
        Event::Cast(body) => Some(Effect::Cast(Message { to, body })),
        _ => None,
    }
}
