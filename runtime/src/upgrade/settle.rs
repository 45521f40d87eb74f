//! An actor takes its own part in an upgrade: installs the migrated state, drops it, or goes back. Called with the
//! actor's body locked, before anything else is done with it, so that nobody ever sees a state under the wrong code.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{
    actor::{Body, HOST, Item, body_bytes, id_base},
    bindings::{Closed, Cx, Event, Migrated, RequestError, SocketEvent},
    code::Module,
    groups::Membership,
    instance::Instances,
    last_words::last_words,
    node::Shared,
    table::{Pid, Slot},
    upgrade::{
        back::go_back,
        hops, machine,
        txn::{Change, Holdings, Kind, Pinned, Staged, Txn},
    },
};

/// What the actor may do next.
pub(crate) enum Settled {
    Go,
    /// It is to end, and has said its last words.
    Stop(String),
}

/// Brings an actor to where its upgrade stands.
pub(crate) fn settle(
    shared: &Shared,
    instances: &mut Instances,
    pid: Pid,
    slot: &Slot,
    body: &mut Body,
) -> Settled {
    let Some(shadow) = &mut body.shadow else {
        return Settled::Go;
    };
    let txn = shadow.txn.clone();
    let Some(change) = txn.change(body.module) else {
        return Settled::Go;
    };
    let todo = machine::settle(txn.phase(), shadow.part(change, body.version));
    if todo.forget {
        measure(shared, &txn, slot);
    }
    if todo.install {
        install(shared, instances, pid, slot, body, &txn);
    }
    let failed = body
        .shadow
        .as_mut()
        .and_then(|s| s.failed.take_if(|_| todo.crash));
    let mut over = body.shadow.take_if(|_| todo.forget);
    if let (Some(way), Some(shadow)) = (todo.back, &mut over) {
        return go_back(shared, instances, (pid, slot, body), change, shadow, way);
    }
    match failed {
        Some(reason) => end(shared, instances, pid, body, reason, None),
        None => Settled::Go,
    }
}

/// The migrated state takes the place of the one it was made from, which is pinned.
fn install(
    shared: &Shared,
    instances: &mut Instances,
    pid: Pid,
    slot: &Slot,
    body: &mut Body,
    txn: &Txn,
) {
    let Some(change) = txn.change(body.module) else {
        return;
    };
    let Some(shadow) = &mut body.shadow else {
        return;
    };
    let Some(Staged { state, redeliver }) = shadow.staged.take() else {
        return;
    };
    measure(shared, txn, slot);
    let before = std::mem::replace(&mut body.state, state);
    let pinned = Pinned {
        state: before,
        extras: body.extras.clone(),
        holdings: Holdings::of(shared, pid).map(Box::new),
        events: body.events,
    };
    if !mutant!(pinned_not_kept) {
        shadow.pinned = Some(pinned);
    }
    body.version = change.to;
    name_issuers(shared, slot, change.from, change.to);
    convert(shared, instances, slot, txn, change, Side::To);
    redeliver_first(shared, slot, redeliver);
}

/// It has a last word, on the code that it runs; `back`: to actors that run the code before.
pub(super) fn end(
    shared: &Shared,
    instances: &mut Instances,
    pid: Pid,
    body: &mut Body,
    reason: String,
    back: Option<&Txn>,
) -> Settled {
    let mono = shared.mono();
    let cx = Cx {
        me: pid,
        wall: Shared::wall(),
        mono,
        seed: pid ^ mono,
        id_base: id_base(body.events),
    };
    last_words(shared, instances, cx, body, &reason, back);
    Settled::Stop(reason)
}

/// An actor that waited at a closed gate goes on.
fn measure(shared: &Shared, txn: &Txn, slot: &Slot) {
    if !std::mem::take(&mut slot.mail.lock().waited) {
        return;
    }
    let since = txn.suspended.load(Ordering::Relaxed);
    let pause = Duration::from_nanos(shared.mono().saturating_sub(since));
    txn.pauses.add(pause);
    shared.pauses.actors.add(pause);
}

/// While actors of one patch stand on different code, by `load_module` or because some are drained: an actor that is to
/// switch at its next event does so, and what code of the other side sent it is converted.
pub(crate) fn attend(
    shared: &Shared,
    instances: &mut Instances,
    module: &Module,
    slot: &Slot,
    body: &mut Body,
) {
    let Some(txn) = module.mixed.lock().clone() else {
        return;
    };
    let Some(change) = txn.change(module.index) else {
        return;
    };
    if body.birth.is_some() {
        return;
    }
    let current = module.current.load(Ordering::SeqCst);
    if change.kind == Kind::Load && body.version != current {
        switch_version(shared, instances, slot, body, &txn, change);
    } else if body.version == change.to {
        convert(shared, instances, slot, &txn, change, Side::To);
    } else if body.version == change.from {
        convert(shared, instances, slot, &txn, change, Side::From);
    }
}

/// To the other side of a patch, with the state as it is.
pub(super) fn switch_version(
    shared: &Shared,
    instances: &mut Instances,
    slot: &Slot,
    body: &mut Body,
    txn: &Txn,
    change: &Change,
) {
    let before = body.version;
    let (now, side) = if before == change.from {
        (change.to, Side::To)
    } else {
        (change.from, Side::From)
    };
    body.version = now;
    name_issuers(shared, slot, before, now);
    convert(shared, instances, slot, txn, change, side);
}

/// With a migrated state, on its own: it ran old code after its upgrade was over.
pub(super) fn arrive(
    shared: &Shared,
    instances: &mut Instances,
    slot: &Slot,
    body: &mut Body,
    txn: &Txn,
    change: &Change,
    migrated: Migrated,
) {
    body.state = migrated.state;
    switch_version(shared, instances, slot, body, txn, change);
    redeliver_first(shared, slot, migrated.redeliver);
}

/// Answers that wait were asked for by the code that ran until now, unless they name this side's already.
pub(super) fn name_issuers(shared: &Shared, slot: &Slot, before: u32, now: u32) {
    let vsn = |version| shared.code.version(version).map(|v| v.vsn_text.to_string());
    let mut mail = slot.mail.lock();
    for item in &mut mail.queue {
        if let Event::Response(response) = &mut item.envelope.body {
            response.issued_by = match response.issued_by.take() {
                None => vsn(before),
                same if same == vsn(now) => None,
                other => other,
            };
        }
    }
}

pub(super) fn redeliver_first(shared: &Shared, slot: &Slot, events: Vec<Event>) {
    if events.is_empty() || mutant!(redeliver_dropped) {
        return;
    }
    let mut mail = slot.mail.lock();
    for event in events.into_iter().rev() {
        let item = Item::host(event);
        shared.wait_more(mail.module, [&item]);
        mail.queue.push_front(item);
    }
}

/// The side of an upgrade on which an actor now stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    From,
    To,
}

/// What waits in the mailbox and was sent by code of the other side is put into this side's words, by the newer code,
/// which knows both. What has no words here is dead-lettered and counted.
pub(super) fn convert(
    shared: &Shared,
    instances: &mut Instances,
    slot: &Slot,
    txn: &Txn,
    change: &Change,
    side: Side,
) {
    let foreign = |stamp: u32| {
        let version = |c: &Change| if side == Side::To { c.from } else { c.to };
        stamp != HOST && txn.changes.iter().any(|c| version(c) == stamp)
    };
    let waiting = {
        let mut mail = slot.mail.lock();
        if !mail.queue.iter().any(|item| foreign(item.stamp)) {
            return;
        }
        let waiting = std::mem::take(&mut mail.queue);
        shared.wait_less(mail.module, &waiting);
        waiting
    };
    let now = if side == Side::To {
        change.to
    } else {
        change.from
    };
    let mut converted = std::collections::VecDeque::with_capacity(waiting.len());
    for mut item in waiting {
        if !foreign(item.stamp) {
            converted.push_back(item);
            continue;
        }
        let forward = side == Side::To;
        let body = &item.envelope.body;
        let outcome = hops::convert_event(shared, instances, txn, change, forward, body);
        match outcome {
            Ok(Some(event)) if !may_become(shared, &item.envelope.body, &event) => {
                dead_letter(shared, item, "its conversion is too long or answers nobody");
            }
            Ok(Some(event)) => {
                item.envelope.body = event;
                item.stamp = now;
                converted.push_back(item);
            }
            Ok(None) => dead_letter(shared, item, "it has no meaning on this side of the patch"),
            Err(fault) => dead_letter(shared, item, fault.reason()),
        }
    }
    let mut mail = slot.mail.lock();
    shared.wait_more(mail.module, &converted);
    converted.append(&mut mail.queue);
    mail.queue = converted;
}

/// A call stays the same call, so that its caller is answered; nothing grows beyond the bound of a message.
fn may_become(shared: &Shared, before: &Event, after: &Event) -> bool {
    let bound = shared.limits.message_bytes.max(body_bytes(before));
    let same = match (before, after) {
        (Event::Call(a), Event::Call(b)) => (a.caller, a.id) == (b.caller, b.id),
        (Event::Call(_), _) | (_, Event::Call(_)) => false,
        _ => true,
    };
    same && body_bytes(after) <= bound
}

fn dead_letter(shared: &Shared, item: Item, reason: &str) {
    shared.counters.unconverted.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(
        reason,
        "an event of the other side of a patch was dead-lettered"
    );
    match item.envelope.body {
        Event::Call(call) => {
            let error = RequestError::Down(format!("not understood across versions: {reason}"));
            shared.respond(call.caller, call.id, Err(error), HOST);
        }
        _ => {
            shared.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Holdings {
    /// What an actor holds now; none: nothing.
    fn of(shared: &Shared, pid: Pid) -> Option<Holdings> {
        let holdings = Holdings {
            timers: shared.timers.of(pid),
            requests: shared.requests.of(pid),
            sockets: shared.net.sockets_of(pid),
            links: shared.links.of(pid),
        };
        let empty = holdings.timers.is_empty()
            && holdings.requests.is_empty()
            && holdings.sockets.is_empty()
            && holdings.links.is_empty();
        (!empty).then_some(holdings)
    }
}

/// A lossy way back: what the actor began since is undone, what it lost since is told to it.
pub(super) fn restore_holdings(
    shared: &Shared,
    pid: Pid,
    slot: &Slot,
    body: &mut Body,
    pinned: &Pinned,
) {
    let none = Holdings::default();
    let then = pinned.holdings.as_deref().unwrap_or(&none);
    for (id, ..) in shared.timers.of(pid) {
        if !then.timers.iter().any(|t| t.0 == id) {
            shared.timers.cancel(pid, id);
        }
    }
    // What came meanwhile and waits unread is not lost: it must not come a second time.
    let (mut now, mut answers) = (Vec::new(), Vec::new());
    for item in &slot.mail.lock().queue {
        match &item.envelope.body {
            Event::Timer(timer) => now.push(timer.id),
            Event::Response(response) => answers.push(response.id),
            _ => {}
        }
    }
    now.extend(shared.timers.of(pid).iter().map(|t| t.0));
    for (id, at, bytes) in &then.timers {
        if !now.contains(id) {
            shared.timers.start(pid, *id, *at, bytes.clone());
        }
    }
    let waiting = shared.requests.of(pid);
    for &(id, _) in &waiting {
        if !then.requests.iter().any(|r| r.0 == id)
            && let Some(pending) = shared.requests.take(pid, id)
            && pending.timed
        {
            shared.timers.answered(pid, id);
        }
    }
    // The answer to a request of before came, and was lost with what came since.
    let lost = |r: &&(u64, Vec<u8>)| !waiting.iter().any(|w| w.0 == r.0) && !answers.contains(&r.0);
    for (id, cookie) in then.requests.iter().filter(lost) {
        let response = crate::bindings::Response {
            id: *id,
            cookie: cookie.clone(),
            issued_by: None,
            outcome: Err(RequestError::Restored),
        };
        shared.send(pid, Item::host(Event::Response(response)));
    }
    let sockets = shared.net.sockets_of(pid);
    for &socket in sockets.iter().filter(|s| !then.sockets.contains(s)) {
        shared.net.drop_socket(socket);
    }
    for &socket in then.sockets.iter().filter(|s| !sockets.contains(s)) {
        let closed = Closed {
            socket,
            reason: "closed before the restore".into(),
        };
        shared.send(pid, Item::host(Event::Socket(SocketEvent::Closed(closed))));
    }
    let owed = |e: &Option<Box<crate::actor::Extras>>| {
        e.as_ref()
            .map_or_else(Vec::new, |e| e.owed.iter().collect::<Vec<_>>())
    };
    let monitors = |e: &Option<Box<crate::actor::Extras>>| {
        e.as_ref().map_or_else(Vec::new, |e| e.monitors.clone())
    };
    let owed_then = owed(&pinned.extras);
    for (caller, id) in owed(&body.extras) {
        if !owed_then.contains(&(caller, id)) {
            shared.respond(caller, id, Err(RequestError::Restored), HOST);
        }
    }
    let monitors_then = monitors(&pinned.extras);
    for watched in monitors(&body.extras) {
        if !monitors_then.contains(&watched) {
            shared.monitors.remove(watched, pid);
        }
    }
    let links = shared.links.of(pid);
    for &other in links.iter().filter(|l| !then.links.contains(l)) {
        shared.unlink(pid, other);
    }
    // Of those who ended since it hears again; whom it left since is its partner again.
    for &other in then.links.iter().filter(|l| !links.contains(l)) {
        shared.link(pid, other, false);
    }
    if let Some(extras) = &mut body.extras {
        extras.owed.retain(|o| owed_then.contains(o));
        extras.monitors.retain(|m| monitors_then.contains(m));
        let empty = crate::actor::Extras::default();
        let before = pinned.extras.as_deref().unwrap_or(&empty);
        extras.trap_exit = before.trap_exit;
        let joined = |m: &&Membership| !before.groups.contains(m);
        for membership in extras.groups.iter().filter(joined) {
            shared.groups.leave(membership);
        }
        let left = |m: &&Membership| !extras.groups.contains(m);
        let again = before.groups.iter().filter(left);
        let again: Vec<_> = again.map(|m| shared.groups.join(&m.0, pid)).collect();
        extras.groups.retain(|m| before.groups.contains(m));
        extras.groups.extend(again);
    }
}
