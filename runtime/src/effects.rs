//! What a handler asked for, done: after its event ended well, in the order in which it asked. Everything that could be
//! refused is refused in `check`, before anything is done; what is left cannot fail, or answers later by an event.

use std::{sync::Arc, time::Duration, time::Instant};

use crate::{
    Limits,
    actor::{Birth, Body, Extras, HOST, Item, Run},
    bindings::{
        Child, ChildOrder, Dest, Down, Effect, Envelope, Event, Registered, RequestError, Response,
        Spawn,
    },
    groups::MEMBERSHIPS,
    measure::Stamp,
    node::{Shared, Undelivered},
    requests::Pending,
    supervise::{ChildRef, Order, Seat},
    table::Pid,
};

/// Bytes of a registered name.
const NAME_BYTES: usize = 255;

/// Says why these effects cannot be taken from a guest.
pub(crate) fn check(
    shared: &Shared,
    pid: Pid,
    extras: Option<&Extras>,
    effects: &[Effect],
    reserved: &[Pid],
) -> Result<(), String> {
    let limits: &Limits = &shared.limits;
    let (mut timers, mut requests, mut links, mut joins, mut spawns) = (0, 0, 0, 0, 0);
    if effects.len() > limits.effects {
        return Err(format!(
            "{} effects for one event; limits.effects is {}",
            effects.len(),
            limits.effects
        ));
    }
    for effect in effects {
        let bytes = match effect {
            Effect::Send(m) | Effect::Cast(m) => m.body.len(),
            Effect::Request(ask) => {
                requests += 1;
                ask.body.len().max(ask.cookie.len())
            }
            Effect::Reply(answer) => answer.body.len(),
            Effect::StartTimer(timer) => {
                timers += 1;
                timer.body.len()
            }
            Effect::Register(name) => {
                check_name(name)?;
                0
            }
            Effect::SetActive(set) => {
                check_socket(shared, pid, set.socket)?;
                0
            }
            Effect::Give(give) => {
                check_socket(shared, pid, give.socket)?;
                0
            }
            Effect::Close(socket) => {
                check_socket(shared, pid, *socket)?;
                0
            }
            Effect::Connect(ask) => {
                check_name(&ask.host)?;
                0
            }
            Effect::Write(write) => {
                check_socket(shared, pid, write.socket)?;
                if write.bytes.len() > limits.socket_buffer_bytes {
                    return Err(format!(
                        "a write of {} bytes; limits.socket_buffer_bytes is {}",
                        write.bytes.len(),
                        limits.socket_buffer_bytes
                    ));
                }
                0
            }
            Effect::Join(group) => {
                joins += 1;
                check_name(group)?;
                0
            }
            Effect::Link(_) => {
                links += 1;
                0
            }
            Effect::Spawn(spawn) => {
                links += usize::from(spawn.link);
                if !reserved.contains(&spawn.pid) {
                    return Err(format!(
                        "spawn into {}, which this event did not reserve",
                        crate::pid_text(spawn.pid)
                    ));
                }
                if shared.code.module_named(&spawn.module).is_none() {
                    return Err(format!(
                        "spawn of module {:?}, which is not loaded",
                        spawn.module
                    ));
                }
                spawn.name.as_deref().map_or(Ok(()), check_name)?;
                spawns += 1;
                shared.room_for(&spawn.module, spawns)?;
                spawn.args.len()
            }
            _ => 0,
        };
        if bytes > limits.message_bytes {
            return Err(format!(
                "a message of {bytes} bytes; limits.message_bytes is {}",
                limits.message_bytes
            ));
        }
    }
    // What comes of these is exempt from the bound of the mailbox, so they have the same one.
    let bound = limits.mailbox;
    if timers > 0 && shared.timers.count(pid) + timers > bound {
        return Err(format!(
            "more than {bound} timers set at once; limits.mailbox is {bound}"
        ));
    }
    if requests > 0 && shared.requests.too_many(pid, requests, bound) {
        return Err(format!(
            "more than {bound} requests without an answer; limits.mailbox is {bound}"
        ));
    }
    if joins > 0 && extras.map_or(0, |e| e.groups.len()) + joins > MEMBERSHIPS {
        return Err(format!(
            "more than {MEMBERSHIPS} memberships in process groups at once"
        ));
    }
    if links > 0 && shared.links.count(pid) + links > bound {
        return Err(format!(
            "more than {bound} links at once; limits.mailbox is {bound}"
        ));
    }
    Ok(())
}

/// A socket of another is out of reach. One that is closed is not: its owner need not have heard of it yet.
fn check_socket(shared: &Shared, pid: Pid, socket: u64) -> Result<(), String> {
    match shared.net.owner_of(socket) {
        Some(owner) if owner != pid => Err(format!(
            "socket {socket} is another actor's; its owner can give it"
        )),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    match name.len() {
        0..=NAME_BYTES => Ok(()),
        bytes => Err(format!(
            "a name of {bytes} bytes; at most {NAME_BYTES} are taken"
        )),
    }
}

/// The actor that effects are released for.
pub(crate) struct Release<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) pid: Pid,
    pub(crate) body: &'a mut Body,
    pub(crate) vsn: &'a Arc<str>,
    /// Pids that the handler reserved; those it spawned are taken out.
    pub(crate) reserved: &'a mut Vec<Pid>,
    /// Actors born, to run once all effects are done.
    pub(crate) born: &'a mut Vec<Pid>,
}

impl Release<'_> {
    fn item(&self, body: Event) -> Item {
        Item {
            envelope: Envelope {
                sender: Some(self.pid),
                body,
            },
            stamp: self.body.version,
            measured: Stamp::default(),
            window: None,
        }
    }

    fn resolve(&self, to: &Dest) -> Option<Pid> {
        match to {
            Dest::Pid(pid) => Some(*pid),
            Dest::Name(name) => self.shared.names.whereis(name),
        }
    }

    fn message(&self, to: &Dest, body: Event) {
        self.message_to(self.resolve(to), body);
    }

    fn message_to(&self, to: Option<Pid>, body: Event) {
        let item = self.item(body);
        match to {
            Some(pid) => self.shared.send(pid, item),
            None => self.shared.bounce(item, Undelivered::Nobody),
        }
    }

    pub(crate) fn all(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            self.one(effect);
        }
    }

    fn one(&mut self, effect: Effect) {
        let (shared, pid) = (self.shared, self.pid);
        match effect {
            Effect::Send(m) => self.message(&m.to, Event::Info(m.body)),
            Effect::Cast(m) => self.message(&m.to, Event::Cast(m.body)),
            Effect::Request(ask) => {
                let timed = ask.timeout > 0;
                let to = self.resolve(&ask.to);
                let era = shared.era.load(std::sync::atomic::Ordering::Acquire);
                let pending = Pending {
                    id: ask.id,
                    cookie: ask.cookie,
                    vsn: self.vsn.clone(),
                    era,
                    timed,
                    host: None,
                };
                shared.requests.add(pid, pending);
                if timed {
                    shared.timers.expect_answer(
                        pid,
                        ask.id,
                        Instant::now() + Duration::from_millis(ask.timeout.into()),
                        to.unwrap_or(0),
                    );
                }
                let request = crate::bindings::Request {
                    caller: pid,
                    id: ask.id,
                    body: ask.body,
                };
                self.message_to(to, Event::Call(request));
            }
            Effect::Reply(answer) => {
                if let Some(extras) = &mut self.body.extras {
                    extras.owed.answered(answer.caller, answer.id);
                }
                shared.respond(answer.caller, answer.id, Ok(answer.body), self.body.version);
            }
            Effect::Spawn(spawn) => self.spawn(spawn),
            Effect::Register(name) => {
                let name: Arc<str> = name.into();
                let holder = shared.names.register(&name, pid);
                if holder == pid {
                    let extras = self.body.extras();
                    if let Some(before) = extras.name.replace(name.clone())
                        && before != name
                    {
                        shared.names.unregister(&before, pid);
                    }
                }
                shared.send(
                    pid,
                    Item::host(Event::Registered(Registered {
                        name: name.to_string(),
                        holder,
                    })),
                );
            }
            Effect::Unregister(name) => {
                shared.names.unregister(&name, pid);
                if let Some(extras) = &mut self.body.extras
                    && extras.name.as_deref() == Some(&*name)
                {
                    extras.name = None;
                }
            }
            Effect::StartTimer(timer) => {
                let at = Instant::now() + Duration::from_millis(timer.after_ms.into());
                shared.timers.start(pid, timer.id, at, timer.body);
            }
            Effect::CancelTimer(id) => shared.timers.cancel(pid, id),
            Effect::Monitor(watched) => self.monitor(watched),
            Effect::Demonitor(watched) => {
                shared.monitors.remove(watched, pid);
                if let Some(extras) = &mut self.body.extras {
                    extras.monitors.retain(|&m| m != watched);
                }
            }
            Effect::Listen(listen) => shared.net.listen(pid, listen.id, listen.port),
            Effect::Write(write) => shared.net.write(pid, write.socket, write.bytes),
            Effect::Join(group) => {
                let membership = shared.groups.join(&group, pid);
                self.body.extras().groups.push(membership);
            }
            Effect::Leave(group) => {
                if let Some(extras) = &mut self.body.extras
                    && let Some(at) = extras.groups.iter().rposition(|m| *m.0 == *group)
                {
                    shared.groups.leave(&extras.groups.remove(at));
                }
            }
            Effect::Link(other) => shared.link(pid, other, self.reserved.contains(&other)),
            Effect::Unlink(other) => shared.unlink(pid, other),
            Effect::TrapExit(on) => {
                if on || self.body.extras.is_some() {
                    self.body.extras().trap_exit = on;
                }
            }
            Effect::Exit(signal) => shared.exit(signal.to, &signal.reason, pid),
            Effect::StopChild(order) => self.child_order(order, Order::terminate),
            Effect::RestartChild(order) => self.child_order(order, Order::restart),
            Effect::Connect(ask) => shared.net.connect(pid, ask),
            Effect::SetActive(set) => shared.net.set_active(pid, set.socket, set.mode),
            Effect::Give(give) => shared.net.give(give.socket, pid, give.to),
            Effect::Close(socket) => shared.net.close(pid, socket),
        }
    }

    fn monitor(&mut self, watched: Pid) {
        self.shared.monitors.add(watched, self.pid);
        let extras = self.body.extras();
        if !extras.monitors.contains(&watched) {
            extras.monitors.push(watched);
        }
        // Looked at after it was noted: an end in between is told by one of the two, and the watcher forgets the other.
        let gone = self
            .shared
            .table
            .get(watched)
            .is_none_or(|slot| slot.mail.lock().run == Run::Free);
        let reserved = self.reserved.contains(&watched);
        if gone && !reserved && self.shared.monitors.remove(watched, self.pid) {
            let down = Event::Down(Down {
                pid: watched,
                reason: "noproc".into(),
            });
            self.shared.send(self.pid, Item::host(down));
        }
    }

    fn spawn(&mut self, mut spawn: Spawn) {
        let (shared, pid) = (self.shared, self.pid);
        if spawn.monitor {
            self.monitor(spawn.pid);
        }
        if spawn.link {
            shared.link(pid, spawn.pid, true);
        }
        self.reserved.retain(|&r| r != spawn.pid);
        let Some(module) = shared.code.module_named(&spawn.module) else {
            // Deleted since the handler was checked.
            return self.not_born(spawn.pid, "its module was deleted".into());
        };
        let placed = shared.supervision.place(shared, pid, &mut spawn);
        let born = placed.and_then(|seat| {
            let name: Option<Arc<str>> = spawn.name.map(Into::into);
            let birth = Birth {
                args: spawn.args,
                parent: Some(pid),
                linked: spawn.link,
            };
            give_birth(shared, spawn.pid, &module, name, birth, seat)
                .inspect(|()| shared.supervision.seated(shared, spawn.pid, seat))
                .inspect_err(|_| shared.supervision.disown(shared, spawn.pid, seat))
        });
        match born {
            Ok(()) => self.born.push(spawn.pid),
            Err(reason) => self.not_born(spawn.pid, reason),
        }
    }

    fn child_order(&self, order: ChildOrder, what: fn(ChildRef) -> Order) {
        let child = match order.child {
            Child::Pid(pid) => ChildRef::Pid(pid),
            Child::Name(name) => ChildRef::Name(name),
        };
        let (shared, supervisor) = (self.shared, order.supervisor);
        shared
            .supervision
            .guest(shared, self.pid, supervisor, what(child));
    }

    /// The parent is told, whether or not it asked to watch.
    fn not_born(&self, child: Pid, reason: String) {
        let (shared, pid) = (self.shared, self.pid);
        shared.monitors.remove(child, pid);
        shared.table.release(child);
        shared.break_links(child, &reason);
        let down = Event::Down(Down { pid: child, reason });
        shared.send(pid, Item::host(down));
    }
}

/// Puts an actor that is to be initialised into its reserved slot. It is not queued yet.
pub(crate) fn give_birth(
    shared: &Shared,
    pid: Pid,
    module: &crate::code::Module,
    name: Option<Arc<str>>,
    birth: Birth,
    seat: Option<Seat>,
) -> Result<(), String> {
    let Some(slot) = shared.table.get(pid) else {
        return Err("noproc".into());
    };
    let mut body = slot.body.lock();
    let mut mail = slot.mail.lock();
    // Whoever finds the name from here on waits for the mailbox, and finds somebody to write to.
    if let Some(name) = &name
        && shared.names.register(name, pid) != pid
    {
        return Err(format!("already_started: the name {name} is taken"));
    }
    let parent = birth.parent.filter(|_| birth.linked);
    let extras = (name.is_some() || parent.is_some()).then(|| {
        let mut extras = Box::<crate::actor::Extras>::default();
        extras.name = name;
        extras.parent = parent;
        extras
    });
    if let Some(seat) = seat {
        slot.kin.sit(seat);
    }
    let version = module.current.load(std::sync::atomic::Ordering::SeqCst);
    *body = Some(Body {
        module: module.index,
        version,
        state: Arc::from([].as_slice()),
        events: 0,
        birth: Some(Box::new(birth)),
        shadow: None,
        extras,
    });
    module
        .actors
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    mail.module = module.index;
    mail.pause = crate::actor::Pause::No;
    (mail.signals, mail.killed) = (false, false);
    mail.run = Run::Idle;
    Ok(())
}

/// Takes an actor out of the world, and tells all whom it concerns. The caller has taken its body out of the slot.
pub(crate) fn bury(shared: &Shared, pid: Pid, mut body: Body, reason: &str) {
    let Some(slot) = shared.table.get(pid) else {
        return;
    };
    let queue = {
        let mut mail = slot.mail.lock();
        mail.run = Run::Free;
        mail.pause = crate::actor::Pause::No;
        let queue = std::mem::take(&mut mail.queue);
        shared.wait_less(mail.module, &queue);
        queue
    };
    // Once the slot is free it may be another actor's.
    let notice = shared.supervision.leave(shared, pid, &slot.kin);
    shared.table.release(pid);
    if let Some(module) = shared.code.module(body.module) {
        module
            .actors
            .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
    let extras = body.extras.take().map(|e| *e).unwrap_or_default();
    if let Some(name) = &extras.name {
        shared.names.unregister(name, pid);
    }
    for (caller, id) in extras.owed.iter() {
        shared.respond(caller, id, Err(RequestError::Down(reason.to_owned())), HOST);
    }
    for item in queue {
        match item.envelope.body {
            Event::Call(call) => shared.respond(
                call.caller,
                call.id,
                Err(RequestError::Down(reason.to_owned())),
                HOST,
            ),
            Event::Response(Response { .. }) => {}
            _ => shared.bounce(item, Undelivered::Nobody),
        }
    }
    for membership in &extras.groups {
        shared.groups.leave(membership);
    }
    for watched in extras.monitors {
        shared.monitors.remove(watched, pid);
    }
    for watcher in shared.monitors.take(pid) {
        shared.send(
            watcher,
            Item::host(Event::Down(Down {
                pid,
                reason: reason.to_owned(),
            })),
        );
    }
    shared.break_links(pid, reason);
    for id in shared.requests.forget(pid) {
        shared.timers.answered(pid, id);
    }
    shared.timers.forget(pid);
    shared.net.close_all_of(pid);
    if let Some(notice) = notice {
        shared
            .supervision
            .ended(notice, pid, reason, body.events > 0);
    }
}
