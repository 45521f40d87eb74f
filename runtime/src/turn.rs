//! One turn of one actor: take what waits, run it as one call, commit. Handling an event is a transaction: its effects
//! and its state are released together or not at all. When a batch fails nothing of it was released; its events are run
//! again one by one, with the same answers, so that only the one that fails is held against the actor.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use crossbeam_deque::Worker as Queue;

use crate::{
    actor::{self, Birth, Body, Item, Mail, Pause, Run, State, id_base},
    bindings::{Batch, BatchRoom, Cx, Down, Effect, Event, Next, Step},
    code::{Module, Version},
    door::Answers,
    effects::{self, Release},
    exits::{KILLED, Signal, weigh},
    instance::{Fault, Instance, Instances},
    last_words::last_words,
    log,
    node::Shared,
    record::{Crash, Record},
    sched, sys,
    table::{Pid, Slot},
    upgrade::{Phase, Settled, Shadow, attend, machine::parks, settle},
    work::{Work, check_batch, check_state},
};

/// A worker that panics has broken a promise of this crate: what it held can be in any state, and the node ends, as a
/// crash, rather than go on with it.
struct EndWithPanic;

impl Drop for EndWithPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker panicked; the node ends");
            std::process::abort();
        }
    }
}

/// The life of a worker thread.
pub(crate) fn run(shared: &Arc<Shared>, index: usize, queue: Queue<Pid>) {
    let _end = EndWithPanic;
    shared.sched.adopt(queue);
    shared.weights.adopt(index);
    let mut worker = Worker {
        shared,
        index,
        instances: Instances::new(shared),
        modules: Vec::new(),
        versions: Vec::new(),
        purges: 0,
        clock: Clock::default(),
        random: seed(),
        items: VecDeque::new(),
        depth: 0,
        cx: Vec::new(),
        room: BatchRoom::default(),
        reserved: Vec::new(),
        born: Vec::new(),
        failed: None,
    };
    let mut turn = 0_u32;
    while let Some(sched::Next { pid, slow }) = shared.sched.pop(turn) {
        turn = turn.wrapping_add(1);
        worker.turn(pid, slow);
        if slow {
            shared.sched.slow_done();
        }
    }
}

fn seed() -> u64 {
    // Without random numbers from the machine there are still different ones for each worker.
    getrandom::u64().unwrap_or_else(|_| Shared::wall()) | 1
}

/// Code by its index, as this thread has seen it: what all threads share is counted by all, on every turn, and that is
/// dear.
type Seen<T> = Vec<Option<Own<T>>>;

/// Counted by this thread alone; the count inside is touched once.
#[allow(clippy::redundant_allocation)] // the two counts are the point
type Own<T> = Rc<Arc<T>>;

fn seen<T>(
    list: &mut Seen<T>,
    index: u32,
    find: impl FnOnce() -> Option<Arc<T>>,
) -> Option<Own<T>> {
    let at = index as usize;
    if let Some(Some(known)) = list.get(at) {
        return Some(known.clone());
    }
    let found = Rc::new(find()?);
    if list.len() <= at {
        list.resize(at + 1, None);
    }
    list[at] = Some(found.clone());
    Some(found)
}

/// The wall clock, read now and then; between, it goes as the other clock does.
#[derive(Default)]
struct Clock {
    /// Wall time at the start of the node.
    start: u64,
    read: Option<u64>,
}

impl Clock {
    /// Nanoseconds after which the wall clock is read again.
    const FRESH: u64 = 20_000_000;

    /// Wall time and time since the node started.
    fn now(&mut self, shared: &Shared) -> (u64, u64) {
        let mono = shared.mono();
        if self.read.is_none_or(|read| mono - read > Self::FRESH) {
            self.start = Shared::wall().saturating_sub(mono);
            self.read = Some(mono);
        }
        (self.start + mono, mono)
    }
}

struct Worker<'s> {
    shared: &'s Arc<Shared>,
    index: usize,
    instances: Instances,
    modules: Seen<Module>,
    versions: Seen<Version>,
    /// Purges of the code server when `versions` was right.
    purges: u64,
    clock: Clock,
    random: u64,
    /// Room for a turn's work, used again and again.
    items: VecDeque<Item>,
    /// Events that waited when it took these.
    depth: usize,
    cx: Vec<Cx>,
    room: BatchRoom,
    /// Pids reserved in this turn and not spawned yet.
    reserved: Vec<Pid>,
    born: Vec<Pid>,
    /// The run that failed last, for whoever tells of it.
    failed: Option<Record>,
}

/// What an actor has to do.
enum Take {
    Events(VecDeque<Item>),
    /// Nothing waits, or it is paused.
    Nothing,
    Killed,
}

/// How a turn goes on after its events.
enum After {
    Live,
    End(String),
}

impl Worker<'_> {
    fn turn(&mut self, pid: Pid, slow: bool) {
        let shared = self.shared;
        let Some(slot) = shared.table.get(pid) else {
            return;
        };
        let Some(mut guard) = shared.table.still(pid, slot.body.lock()) else {
            return;
        };
        let Some(body) = guard.as_mut() else { return };
        let module = self.module(body.module);
        if !slow && shared.is_slow(&module) {
            shared.sched.push_slow(pid);
            return;
        }
        // Published before the gate is looked at; a suspending thread closes the gate before it looks here.
        let running = &shared.running[self.index];
        running.store(module.index + 1, Ordering::SeqCst);
        if module.gated() {
            running.store(0, Ordering::SeqCst);
            let killed = || slot.mail.lock().killed;
            if killed() {
                if let Some(body) = guard.take() {
                    drop(guard);
                    effects::bury(shared, pid, body, KILLED);
                }
                return;
            }
            slot.mail.lock().waited = true;
            drop(guard);
            // Looked at again: who kills an actor that waits looks at the gate.
            if !module.wait_at_gate(pid) || killed() {
                shared.sched.push(pid);
            }
            return;
        }
        let after = self.take_turn(pid, slot, body, &module);
        match after {
            After::Live => finish_turn(shared, pid, slot),
            After::End(reason) => {
                if let Some(body) = guard.take() {
                    drop(guard);
                    effects::bury(shared, pid, body, &reason);
                }
            }
        }
        running.store(0, Ordering::Release);
        for pid in self.reserved.drain(..) {
            shared.table.release(pid);
            for watcher in shared.monitors.take(pid) {
                let reason = "noproc".into();
                shared.send(watcher, Item::host(Event::Down(Down { pid, reason })));
            }
            shared.break_links(pid, "noproc");
        }
        for born in self.born.drain(..) {
            shared.wake(born);
        }
    }

    fn module(&mut self, index: u32) -> Own<Module> {
        let code = &self.shared.code;
        // Modules are never taken away from the list.
        seen(&mut self.modules, index, || code.module(index)).expect("an actor's module is loaded")
    }

    fn version(&mut self, index: u32) -> Option<Own<Version>> {
        let code = &self.shared.code;
        let purges = code.purges();
        if self.purges != purges {
            self.purges = purges;
            self.versions.clear();
        }
        seen(&mut self.versions, index, || code.version(index))
    }

    fn take_turn(&mut self, pid: Pid, slot: &Slot, body: &mut Body, module: &Arc<Module>) -> After {
        match settle(self.shared, &mut self.instances, pid, slot, body) {
            Settled::Go => {}
            Settled::Stop(reason) => return After::End(reason),
        }
        if module.attention.load(Ordering::Acquire) {
            attend(self.shared, &mut self.instances, module, slot, body);
        }
        if let Some(birth) = body.birth.take() {
            if slot.mail.lock().killed {
                return self.init_failed(pid, body, &birth, None, &Fault::Error(KILLED.into()));
            }
            return self.init(pid, body, module, *birth);
        }
        let items = match self.take(&mut slot.mail.lock()) {
            Take::Events(items) => items,
            Take::Nothing => return After::Live,
            Take::Killed => return After::End(KILLED.into()),
        };
        self.shared.wait_less(body.module, &items);
        if items.len() == 1
            && let Some(item) = items.front()
            && let Event::Exit(exit) = &item.envelope.body
        {
            match weigh(pid, body.extras.as_deref(), exit) {
                Signal::Event => {}
                Signal::Ignored => return After::Live,
                Signal::Ends { terminate } => {
                    if terminate {
                        self.terminate(pid, body, &exit.reason);
                    }
                    return After::End(exit.reason.clone());
                }
            }
        }
        self.handle(pid, slot, body, module, items)
    }

    fn take(&mut self, mail: &mut Mail) -> Take {
        if mail.killed {
            return Take::Killed;
        }
        if mail.pause != Pause::No {
            return Take::Nothing;
        }
        mail.run = Run::Running;
        let mut n = mail.queue.len().min(self.shared.limits.batch);
        if mail.signals {
            // An exit signal comes alone: what was handled before it decides what it means.
            let is_exit = |item: &Item| matches!(item.envelope.body, Event::Exit(_));
            match mail.queue.iter().position(is_exit) {
                Some(at) => n = n.min(at.max(1)),
                None => mail.signals = false,
            }
        }
        if n == 0 {
            return Take::Nothing;
        }
        self.depth = mail.queue.len();
        let mut items = std::mem::take(&mut self.items);
        if n == mail.queue.len() {
            // All of it: nothing is moved, and the mailbox has the other one's room.
            std::mem::swap(&mut items, &mut mail.queue);
        } else {
            items.extend(mail.queue.drain(..n));
        }
        items.make_contiguous();
        Take::Events(items)
    }

    fn cx(&mut self, pid: Pid, events: u64, wall: u64, mono: u64) -> Cx {
        // xorshift64*: the guest wants numbers that differ, not secrets.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let seed = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d);
        Cx {
            me: pid,
            wall,
            mono,
            seed,
            id_base: id_base(events),
        }
    }

    fn init(&mut self, pid: Pid, body: &mut Body, module: &Arc<Module>, birth: Birth) -> After {
        // Chosen now: an actor born while an upgrade went on starts on what is current.
        body.version = module.current.load(Ordering::SeqCst);
        if module.gone.load(Ordering::SeqCst) {
            let fault = Fault::Error("its module was deleted".into());
            return self.init_failed(pid, body, &birth, None, &fault);
        }
        let (wall, mono) = self.clock.now(self.shared);
        let cx = self.cx(pid, 0, wall, mono);
        let (result, version) = match self.instances.get(body.version) {
            Ok(instance) => {
                let result = instance.init(cx, &birth.args, false);
                let answers = instance.door().answers();
                if instance.door().was_late() {
                    self.shared.slow_down(module);
                }
                let wanted = self.shared.recorder.wants(pid);
                self.failed = None;
                if wanted || result.is_err() {
                    let (version, args) = (&instance.version, &birth.args);
                    let record = Record::of_init(version, cx, args, answers.clone(), &result);
                    if wanted {
                        self.shared.recorder.sample(record.clone());
                    }
                    self.failed = result.is_err().then_some(record);
                }
                self.reserved.extend(instance.door().reserved(0));
                log::take(self.shared, instance, pid, body);
                let result = result.and_then(|started| {
                    let state = started.state.len();
                    effects::check(self.shared, pid, None, &started.effects, &self.reserved)
                        .map_err(Fault::Trap)?;
                    check_state(self.shared, state).map_err(Fault::Trap)?;
                    if self.shared.limits.hermetic {
                        let mut fresh = Instance::new(self.shared, &instance.version)?;
                        fresh.door_mut().replay(&answers);
                        let again = fresh.init(cx, &birth.args, true)?;
                        if again != started {
                            return Err(Fault::Trap(
                                "hermetic: init gave something else when it was run again".into(),
                            ));
                        }
                    }
                    Ok(started)
                });
                (result, instance.version.clone())
            }
            Err(fault) => {
                return self.init_failed(pid, body, &birth, None, &fault);
            }
        };
        let started = match result {
            Ok(started) => started,
            Err(fault) => return self.init_failed(pid, body, &birth, Some(&version), &fault),
        };
        body.state = started.state.into();
        body.events = 1;
        if let Some(txn) = module.upgrade()
            && txn
                .change(module.index)
                .is_some_and(|c| c.takes(body.version))
        {
            // Unknown to whoever copied the states: it has to be looked at.
            let mut shadow = Box::new(Shadow::new(&txn));
            shadow.mark(pid);
            body.shadow = Some(shadow);
        }
        let mut effects = started.effects;
        self.release(pid, body, &version, &mut effects);
        if let Some(slot) = self.shared.table.get(pid) {
            self.shared.supervision.born(&slot.kin);
        }
        After::Live
    }

    fn init_failed(
        &mut self,
        pid: Pid,
        body: &mut Body,
        birth: &Birth,
        version: Option<&Version>,
        fault: &Fault,
    ) -> After {
        let reason = fault.reason().to_owned();
        if let Some(version) = version {
            count(self.shared, version, fault);
        }
        self.tell_of_failure(pid, body, fault);
        if matches!(fault, Fault::Trap(_)) {
            self.instances.discard(body.version);
        }
        tracing::warn!(actor = %body.label(pid), reason, "init failed");
        if let Some(parent) = birth.parent {
            // Told once by the burial, whether or not it asked to watch; by then the name is free.
            self.shared.monitors.add(pid, parent);
        }
        After::End(reason)
    }

    fn handle(
        &mut self,
        pid: Pid,
        slot: &Slot,
        body: &mut Body,
        module: &Arc<Module>,
        items: VecDeque<Item>,
    ) -> After {
        let (wall, mono) = self.clock.now(self.shared);
        let mut cx = std::mem::take(&mut self.cx);
        cx.extend((0..items.len() as u64).map(|n| self.cx(pid, body.events + n, wall, mono)));
        let mut work = Work { cx, items, at: 0 };
        let (result, answers) = self.call(pid, body, &work, false);
        match result {
            // What is read of a socket that is given away goes along, also what is in this batch.
            Ok(batch) if work.len() > 1 && gives(&batch) => {
                self.one_by_one(pid, slot, body, module, work, &answers)
            }
            Ok(batch) => {
                let after = self.commit(pid, slot, body, module, &mut work, batch);
                let Work {
                    mut cx, mut items, ..
                } = work;
                cx.clear();
                items.clear();
                (self.cx, self.items) = (cx, items);
                after
            }
            Err(fault) if work.len() == 1 => self.failed(pid, slot, body, module, work, fault),
            Err(_) => self.one_by_one(pid, slot, body, module, work, &answers),
        }
    }

    /// Nothing of the batch was released: the same again, event by event, with the same answers from the host.
    fn one_by_one(
        &mut self,
        pid: Pid,
        slot: &Slot,
        body: &mut Body,
        module: &Arc<Module>,
        mut work: Work,
        answers: &Answers,
    ) -> After {
        match self.instances.get(body.version) {
            Ok(instance) => instance.door_mut().replay(answers),
            Err(fault) => return self.failed(pid, slot, body, module, work, fault),
        }
        while work.len() > 0 {
            if module.gated() {
                // An upgrade waits for this worker; the rest is as it was.
                work.give_back(self.shared, slot);
                return After::Live;
            }
            self.shared.sched.share();
            let mut single = work.single();
            match self.call(pid, body, &single, true).0 {
                Ok(batch) => {
                    let gives = gives(&batch);
                    if gives {
                        work.give_back(self.shared, slot);
                    }
                    let after = self.commit(pid, slot, body, module, &mut single, batch);
                    if gives {
                        return after;
                    }
                    let pause = slot.mail.lock().pause;
                    if pause != Pause::No || matches!(after, After::End(_)) {
                        work.give_back_behind(self.shared, slot, pause.has(Pause::Parked));
                        return after;
                    }
                }
                Err(fault) => {
                    work.give_back(self.shared, slot);
                    return self.failed(pid, slot, body, module, single, fault);
                }
            }
        }
        After::Live
    }

    /// One call of `handle`, checked. `again`: the host goes on in the answers it was told to give.
    fn call(
        &mut self,
        pid: Pid,
        body: &mut Body,
        work: &Work,
        again: bool,
    ) -> (Result<Batch, Fault>, Answers) {
        let instance = match self.instances.get(body.version) {
            Ok(instance) => instance,
            Err(fault) => return (Err(fault), Answers::default()),
        };
        let cx = &work.cx[work.at..];
        let items = work.rest();
        // Run again, it is told of pids that are noted already, and perhaps spawned.
        let since = if again { instance.door().told() } else { 0 };
        let cursor = if again { instance.door().cursor() } else { 0 };
        let result = instance.handle(cx, &body.state, items, again, &mut self.room);
        #[cfg(feature = "mutants")]
        let result = result.map(|batch| crate::mutants::early(self.shared, pid, batch));
        let answers = instance.door().answers();
        if instance.door().was_late()
            && let Some(module) = self.shared.code.module(body.module)
        {
            self.shared.slow_down(&module);
        }
        self.reserved.extend(instance.door().reserved(since));
        log::take(self.shared, instance, pid, body);
        let shared = self.shared;
        let (reserved, extras) = (&self.reserved, body.extras.as_deref());
        let refused = match &result {
            Ok(batch) => check_batch(shared, pid, extras, batch, items.len(), reserved).err(),
            Err(_) => None,
        };
        // A batch that trapped is run again one by one, and written down then.
        let failed = match &result {
            Ok(batch) => batch.error.is_some() || refused.is_some() && items.len() == 1,
            Err(_) => items.len() == 1,
        };
        let wanted = shared.recorder.wants(pid);
        self.failed = None;
        if wanted || failed {
            let told = instance.door().answered_since(cursor);
            let (version, state) = (&instance.version, &body.state);
            let record = Record::of_handle(version, cx, state, items, told, &result);
            if wanted {
                shared.recorder.sample(record.clone());
            }
            self.failed = failed.then_some(record);
        }
        let result = refused.map_or(result, |reason| Err(Fault::Trap(reason)));
        let result = result.and_then(|batch| {
            if shared.limits.hermetic && !again {
                let mut fresh = Instance::new(shared, &instance.version)?;
                fresh.door_mut().replay(&answers);
                if fresh.handle(cx, &body.state, items, true, &mut self.room)? != batch {
                    return Err(Fault::Trap(
                        "hermetic: the handler gave something else when it was run again".into(),
                    ));
                }
            }
            Ok(batch)
        });
        if matches!(result, Err(Fault::Trap(_))) {
            self.instances.discard(body.version);
        }
        (result, answers)
    }

    fn commit(
        &mut self,
        pid: Pid,
        slot: &Slot,
        body: &mut Body,
        module: &Arc<Module>,
        work: &mut Work,
        batch: Batch,
    ) -> After {
        let Some(version) = self.version(body.version) else {
            work.give_back(self.shared, slot);
            return After::End("its code was purged".into());
        };
        let done = batch.steps.len();
        // Without a step that ended well there is no state to keep.
        let state = batch.state.filter(|_| done > 0);
        let changed = state.is_some();
        if let Some(state) = state {
            keep(&mut body.state, &state);
            self.room.give_state(state);
        }
        if done > 0
            && let Some(shadow) = &mut body.shadow
            && (changed || shadow.txn.phase() != Phase::Open)
        {
            shadow.mark(pid);
        }
        version.counters.events.add(self.index, done as u64);
        let mut stop = None;
        let mut steps = batch.steps;
        for Step { mut effects, next } in steps.drain(..) {
            let at = work.at;
            let Item {
                envelope,
                window,
                measured,
                ..
            } = &mut work.items[at];
            *window = None;
            if measured.is_set() {
                let mono = self.shared.mono();
                version.counters.measured.add(*measured, self.depth, mono);
            }
            note(self.shared, body, &envelope.body, &effects);
            sys::handled(module, pid, body, envelope, &effects);
            work.at += 1;
            body.events += 1;
            if mutant!(batch_failure_commits_prefix_twice) && batch.error.is_some() {
                self.release(pid, body, &version, &mut effects.clone());
            }
            self.release(pid, body, &version, &mut effects);
            self.room.give_effects(effects);
            if let Next::Stop(reason) = next {
                stop = Some(reason);
            }
        }
        self.room.give_steps(steps);
        if let Some(reason) = stop {
            work.give_back(self.shared, slot);
            self.terminate(pid, body, &reason);
            return After::End(reason);
        }
        if let Some(reason) = batch.error {
            let single = work.single();
            work.give_back(self.shared, slot);
            return self.failed(pid, slot, body, module, single, Fault::Error(reason));
        }
        After::Live
    }

    /// Does what the handler asked for, and leaves an empty list.
    fn release(&mut self, pid: Pid, body: &mut Body, version: &Version, effects: &mut Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let mut release = Release {
            shared: self.shared,
            pid,
            body,
            vsn: &version.vsn_text,
            reserved: &mut self.reserved,
            born: &mut self.born,
        };
        release.all(effects.drain(..));
    }

    /// Keeps the run that failed, so that it can be replayed.
    fn tell_of_failure(&mut self, pid: Pid, body: &Body, fault: &Fault) {
        if let Some(record) = self.failed.take() {
            self.shared.recorder.keep(Crash {
                pid,
                actor: body.label(pid),
                reason: fault.reason().to_owned(),
                record,
            });
        }
    }

    /// The one event of `work` failed: in probation its actor is parked with it, else it ends.
    fn failed(
        &mut self,
        pid: Pid,
        slot: &Slot,
        body: &mut Body,
        module: &Arc<Module>,
        mut work: Work,
        fault: Fault,
    ) -> After {
        let version = self.version(body.version);
        if let Some(version) = &version {
            count(self.shared, version, &fault);
        }
        if let Some(item) = work.items.get(work.at) {
            sys::failed(module, pid, body, &item.envelope, fault.reason());
        }
        self.tell_of_failure(pid, body, &fault);
        if let Some(txn) = module.upgrade()
            && let Some(change) = txn.change(module.index)
        {
            // Under this lock the phase cannot leave probation unnoticed: who ends it takes the list afterwards.
            let mut parked = txn.parked.lock();
            if parks(txn.phase(), body.version == change.to) {
                tracing::warn!(actor = %body.label(pid), reason = fault.reason(), "parked in probation");
                work.at += usize::from(mutant!(park_loses_the_event));
                work.give_back(self.shared, slot);
                slot.mail.lock().pause.add(Pause::Parked);
                let shadow = body
                    .shadow
                    .get_or_insert_with(|| Box::new(Shadow::new(&txn)));
                shadow.failed = Some(fault.reason().to_owned());
                parked.push(pid);
                return After::Live;
            }
        }
        tracing::warn!(actor = %body.label(pid), reason = fault.reason(), "crashed");
        // The caller of the event that failed is told by the burial, as are those behind it.
        if let Some(Event::Call(call)) = work.items.get(work.at).map(|i| &i.envelope.body) {
            let waits = |caller, id| self.shared.requests.waits(caller, id);
            body.extras().owed.push(call.caller, call.id, waits);
        }
        work.at += 1;
        work.give_back(self.shared, slot);
        self.terminate(pid, body, fault.reason());
        After::End(fault.reason().to_owned())
    }

    fn terminate(&mut self, pid: Pid, body: &mut Body, reason: &str) {
        let (wall, mono) = self.clock.now(self.shared);
        let cx = self.cx(pid, body.events, wall, mono);
        self.shared.sched.share();
        last_words(self.shared, &mut self.instances, cx, body, reason, None);
    }
}

fn finish_turn(shared: &Shared, pid: Pid, slot: &Slot) {
    let mut mail = slot.mail.lock();
    if mail.killed || mail.pause == Pause::No && !mail.queue.is_empty() {
        mail.run = Run::Queued;
        drop(mail);
        shared.sched.push(pid);
        return;
    }
    mail.run = Run::Idle;
    if mail.queue.is_empty() {
        // An idle actor costs no more than its state.
        actor::give_room(std::mem::take(&mut mail.queue));
    }
}

/// The new state, where the old one was if nobody else looks at that.
fn keep(state: &mut State, new: &[u8]) {
    match Arc::get_mut(state) {
        Some(old) if old.len() == new.len() => old.copy_from_slice(new),
        _ => *state = new.into(),
    }
}

/// A call that was taken without an answer is owed one; who is gone is watched no more.
fn note(shared: &Shared, body: &mut Body, event: &Event, effects: &[Effect]) {
    if let (Event::Down(down), Some(extras)) = (event, &mut body.extras) {
        extras.monitors.retain(|&watched| watched != down.pid);
    }
    let Event::Call(call) = event else { return };
    let answered = effects
        .iter()
        .any(|e| matches!(e, Effect::Reply(a) if a.caller == call.caller && a.id == call.id));
    if !answered {
        let waits = |caller, id| shared.requests.waits(caller, id);
        body.extras().owed.push(call.caller, call.id, waits);
    }
}

fn gives(batch: &Batch) -> bool {
    let give = |e: &Effect| matches!(e, Effect::Give(_));
    batch.steps.iter().any(|step| step.effects.iter().any(give))
}

fn count(shared: &Shared, version: &Version, fault: &Fault) {
    let counter = match fault {
        Fault::Trap(reason) => {
            shared.counters.bounds.note(reason);
            &version.counters.traps
        }
        Fault::Error(_) => &version.counters.errors,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}
