//! Calls into a module: an instance with its limits and its one door to the host, and the answers that came through it.
//! An instance is scratch: it is used by many actors, thrown away after a trap, and renewed now and then.

use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Store, StoreContextMut, StoreLimits, StoreLimitsBuilder, Trap, UpdateDeadline};

use crate::{
    actor::Item,
    bindings::{
        self, Apply, Batch, ConvertEvent, Cx, Direction, Effect, Event, FrameError, GenServer,
        Init, Level, Migrated, Next, Reader, Started, Terminate, Wire, put_code_change, put_handle,
    },
    code::Version,
    node::Shared,
    table::Pid,
};

/// A store is an arena: one that is used for ever only grows.
const CALLS_PER_INSTANCE: u32 = 20_000;
/// A buffer that grew beyond this for one call is not kept.
const FRAME_BYTES: usize = 1 << 20;
/// Milliseconds between two looks at the clock of all running handlers.
pub(crate) const TICK_MS: u64 = 5;

/// A call that the machine does not let run may take so many times its time.
const STARVED: u64 = 20;

/// What the host may have to remember of one call, for running it again.
const ANSWER_BYTES: usize = 8 << 20;

const OTHER: &str = "the handler asked the host for other things when it was run again";

/// How a call failed.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The guest trapped, ran out of its time or memory, or broke the contract.
    Trap(String),
    /// The guest said no.
    Error(String),
}

impl Fault {
    pub(crate) fn reason(&self) -> &str {
        match self {
            Fault::Trap(reason) | Fault::Error(reason) => reason,
        }
    }
}

/// What the host said while a handler ran. Run again, it is told the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Whereis(Option<Pid>),
    Members(Vec<Pid>),
    Reserve(Pid),
}

impl Answer {
    fn bytes(&self) -> usize {
        let pids = match self {
            Answer::Members(pids) => pids.len(),
            Answer::Whereis(_) | Answer::Reserve(_) => 0,
        };
        size_of::<Answer>() + pids * size_of::<Pid>()
    }
}

/// The host as one instance sees it.
pub(crate) struct Door {
    limits: StoreLimits,
    shared: Arc<Shared>,
    /// Closed for calls that must be pure.
    open: bool,
    /// Nobody is behind it: what is not recorded has no answer.
    sealed: bool,
    answers: Vec<Answer>,
    cursor: usize,
    /// Bytes of the answers of this call.
    weight: usize,
    logs: Vec<(Level, String)>,
    log_lines: usize,
    /// Half of the time that a call has, in milliseconds.
    half_ms: u64,
    late: Option<Late>,
}

/// A call that has used up the first half of its time by the wall clock. The second half is counted in the thread's own
/// time: a busy machine must not end a handler that hardly ran, and reading that clock costs a call that is late alone.
#[derive(Clone, Copy)]
struct Late {
    cpu_ms: u64,
    ticks: u64,
}

fn thread_ms() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

impl Door {
    /// Asked at each tick after the first half.
    fn deadline(&mut self) -> UpdateDeadline {
        let now = thread_ms();
        let late = self.late.get_or_insert(Late {
            cpu_ms: now,
            ticks: 0,
        });
        late.ticks += 1;
        let ran = now - late.cpu_ms >= self.half_ms;
        if ran || late.ticks * TICK_MS > 2 * self.half_ms * STARVED {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::Continue(1)
        }
    }

    fn answer(
        &mut self,
        call: &str,
        ask: impl FnOnce(&Shared) -> wasmtime::Result<Answer>,
    ) -> wasmtime::Result<Answer> {
        if !self.open {
            wasmtime::bail!("host.{call} is for init and handlers only");
        }
        if let Some(answer) = self.answers.get(self.cursor) {
            self.cursor += 1;
            return Ok(answer.clone());
        }
        if self.sealed {
            wasmtime::bail!(OTHER);
        }
        let answer = ask(&self.shared)?;
        self.weight += answer.bytes();
        if self.weight > ANSWER_BYTES {
            wasmtime::bail!("its answers from the host pass {ANSWER_BYTES} bytes in one call");
        }
        self.answers.push(answer.clone());
        self.cursor += 1;
        Ok(answer)
    }
}

impl bindings::Host for Door {
    fn log(&mut self, level: Level, text: String) -> wasmtime::Result<()> {
        if self.logs.len() < self.log_lines {
            self.logs.push((level, short(text)));
        } else if self.logs.len() == self.log_lines {
            self.logs.push((
                Level::Warn,
                format!(
                    "more than {} lines for one call; the rest is dropped",
                    self.log_lines
                ),
            ));
        }
        Ok(())
    }

    fn whereis(&mut self, name: String) -> wasmtime::Result<Option<Pid>> {
        match self.answer("whereis", |shared| {
            Ok(Answer::Whereis(shared.names.whereis(&name)))
        })? {
            Answer::Whereis(pid) => Ok(pid),
            _ => wasmtime::bail!(OTHER),
        }
    }

    fn members(&mut self, group: String) -> wasmtime::Result<Vec<Pid>> {
        match self.answer("members", |shared| {
            Ok(Answer::Members(shared.groups.members(&group)))
        })? {
            Answer::Members(pids) => Ok(pids),
            _ => wasmtime::bail!(OTHER),
        }
    }

    fn reserve(&mut self) -> wasmtime::Result<Pid> {
        let reserved = |a: &&Answer| matches!(a, Answer::Reserve(_));
        let full = self.answers.iter().filter(reserved).count() >= self.shared.limits.effects;
        let answer = self.answer("reserve", |shared| match shared.table.reserve() {
            Some(pid) if full => {
                shared.table.release(pid);
                wasmtime::bail!("more pids reserved in one call than limits.effects allows")
            }
            Some(pid) => Ok(Answer::Reserve(pid)),
            None => wasmtime::bail!("the node holds as many actors as limits.actors allows"),
        })?;
        match answer {
            Answer::Reserve(pid) => Ok(pid),
            _ => wasmtime::bail!(OTHER),
        }
    }
}

/// One instance of one version.
pub(crate) struct Instance {
    store: Store<Door>,
    guest: GenServer,
    pub(crate) version: Arc<Version>,
    calls: u32,
    ticks: u64,
    /// What goes in: one buffer for all calls.
    frame: Vec<u8>,
}

/// A function of the contract that takes a frame and gives one.
type Function = fn(&GenServer, &mut Store<Door>, &[u8]) -> wasmtime::Result<Vec<u8>>;

impl Instance {
    pub(crate) fn new(shared: &Arc<Shared>, version: &Arc<Version>) -> Result<Self, Fault> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(shared.limits.instance_memory_mb << 20)
            .table_elements(100_000)
            .instances(16)
            .memories(4)
            .tables(16)
            .build();
        let door = Door {
            limits,
            shared: shared.clone(),
            open: false,
            sealed: false,
            answers: Vec::new(),
            cursor: 0,
            weight: 0,
            logs: Vec::new(),
            log_lines: shared.limits.log_lines,
            half_ms: shared.limits.handler_ms / 2,
            late: None,
        };
        let mut store = Store::new(&shared.engine, door);
        store.limiter(|door| &mut door.limits);
        store.epoch_deadline_callback(|mut store: StoreContextMut<'_, Door>| {
            Ok(store.data_mut().deadline())
        });
        // One tick more: the first may come at once.
        let ticks = (shared.limits.handler_ms / 2).div_ceil(TICK_MS) + 1;
        store.set_epoch_deadline(ticks);
        let guest = version
            .pre
            .instantiate(&mut store)
            .map_err(|e| Fault::Trap(trap_text(&e, &[])))?;
        Ok(Self {
            store,
            guest,
            version: version.clone(),
            calls: 0,
            ticks,
            frame: Vec::new(),
        })
    }

    /// Runs a function on the frame at hand.
    fn call(&mut self, function: Function) -> Result<Vec<u8>, Fault> {
        let result = function(&self.guest, &mut self.store, &self.frame);
        if self.frame.capacity() > FRAME_BYTES {
            self.frame = Vec::new();
        }
        result.map_err(|e| self.fault(&e))
    }

    /// The same for frames of one value.
    fn ask<'i, I: Wire<'i>, O: for<'a> Wire<'a>>(
        &mut self,
        function: Function,
        value: &I,
    ) -> Result<O, Fault> {
        bindings::encode(value, &mut self.frame);
        let answer = self.call(function)?;
        bindings::decode(&answer, self.bound()).map_err(broken)
    }

    /// Items in one list of a guest's.
    fn bound(&self) -> u32 {
        self.store.data().shared.limits.effects as u32
    }

    fn ready(&mut self, open: bool, again: bool) {
        self.calls += 1;
        self.store.set_epoch_deadline(self.ticks);
        let door = self.store.data_mut();
        door.open = open;
        door.late = None;
        if !again {
            door.cursor = 0;
            door.weight = 0;
            door.answers.clear();
        }
        door.logs.clear();
    }

    fn fault(&self, error: &wasmtime::Error) -> Fault {
        Fault::Trap(trap_text(error, &self.store.data().logs))
    }

    /// Lines logged by the last call.
    pub(crate) fn take_logs(&mut self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.store.data_mut().logs)
    }

    /// The last call used up the first half of its time.
    pub(crate) fn was_late(&self) -> bool {
        self.store.data().late.is_some()
    }

    /// How many answers of the host are recorded.
    pub(crate) fn told(&self) -> usize {
        self.store.data().answers.len()
    }

    /// Pids reserved by calls, the first so many answers left out.
    pub(crate) fn reserved(&self, since: usize) -> impl Iterator<Item = Pid> + '_ {
        let new = self.store.data().answers.iter().skip(since);
        new.filter_map(|a| match a {
            Answer::Reserve(pid) => Some(*pid),
            _ => None,
        })
    }

    /// How many of them were given by now.
    pub(crate) fn cursor(&self) -> usize {
        self.store.data().cursor
    }

    /// What was answered since.
    pub(crate) fn answered_since(&self, cursor: usize) -> Answers {
        let door = self.store.data();
        Answers(door.answers[cursor.min(door.cursor)..door.cursor].to_vec())
    }

    /// From now on it is told what is recorded and nothing else.
    pub(crate) fn seal(&mut self) {
        self.store.data_mut().sealed = true;
    }

    /// What the host answered to the last call.
    pub(crate) fn answers(&self) -> Answers {
        Answers(self.store.data().answers.clone())
    }

    /// The calls of `handle` that follow, with `again`, are told the same.
    pub(crate) fn replay(&mut self, answers: &Answers) {
        let door = self.store.data_mut();
        door.answers.clone_from(&answers.0);
        door.cursor = 0;
    }

    pub(crate) fn init(&mut self, cx: Cx, args: &[u8], again: bool) -> Result<Started, Fault> {
        self.ready(true, again);
        let init = Init { cx, args };
        let started: Result<Started, String> =
            self.ask(|g, store, frame| g.call_init(store, frame), &init)?;
        started.map_err(|reason| Fault::Error(short(reason)))
    }

    /// A batch, its reasons cut to what others are told. `again`: goes on in the answers given to `replay`.
    pub(crate) fn handle(
        &mut self,
        cx: &[Cx],
        state: &[u8],
        items: &[Item],
        again: bool,
    ) -> Result<Batch, Fault> {
        self.ready(true, again);
        let events = cx.iter().zip(items.iter().map(|item| &item.envelope));
        put_handle(state, events, &mut self.frame);
        let answer = self.call(|g, store, frame| g.call_handle(store, frame))?;
        let mut batch = Batch::decode(&answer, items.len(), self.bound()).map_err(broken)?;
        batch.error = batch.error.map(short);
        for step in &mut batch.steps {
            if let Next::Stop(reason) = &mut step.next {
                *reason = short(std::mem::take(reason));
            }
        }
        Ok(batch)
    }

    pub(crate) fn code_change(
        &mut self,
        direction: Direction,
        vsn: &str,
        extra: &[u8],
        items: &[(Cx, impl AsRef<[u8]>)],
    ) -> Result<Vec<Result<Migrated, String>>, Fault> {
        self.ready(false, false);
        let states = items.iter().map(|(cx, state)| (cx, state.as_ref()));
        put_code_change(direction, vsn, extra, states, &mut self.frame);
        let answer = self.call(|g, store, frame| g.call_code_change(store, frame))?;
        let bound = self.bound().max(items.len() as u32);
        let results: Vec<Result<Migrated, String>> =
            bindings::decode(&answer, bound).map_err(broken)?;
        if results.len() != items.len() {
            return Err(Fault::Trap(format!(
                "code_change gave {} results for {} states",
                results.len(),
                items.len()
            )));
        }
        Ok(results)
    }

    pub(crate) fn convert_event(
        &mut self,
        direction: Direction,
        vsn: &str,
        event: &Event,
    ) -> Result<Option<Event>, Fault> {
        self.ready(false, false);
        let event = ConvertEvent {
            direction,
            vsn: vsn.to_owned(),
            event: event.clone(),
        };
        let converted: Result<Option<Event>, String> =
            self.ask(|g, store, frame| g.call_convert_event(store, frame), &event)?;
        converted.map_err(Fault::Error)
    }

    pub(crate) fn on_load(&mut self, config: &[u8]) -> Result<(), Fault> {
        self.ready(false, false);
        match self.guest.call_on_load(&mut self.store, config) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(Fault::Error(reason)),
            Err(e) => Err(self.fault(&e)),
        }
    }

    /// A function of the module itself, outside any actor.
    pub(crate) fn apply(&mut self, cx: Cx, name: &str, args: &[u8]) -> Result<Vec<Effect>, Fault> {
        self.ready(true, false);
        let apply = Apply { cx, name, args };
        let effects: Result<Vec<Effect>, String> =
            self.ask(|g, store, frame| g.call_apply(store, frame), &apply)?;
        effects.map_err(|reason| Fault::Error(short(reason)))
    }

    pub(crate) fn terminate(
        &mut self,
        cx: Cx,
        reason: &str,
        state: &[u8],
    ) -> Result<Vec<Effect>, Fault> {
        self.ready(false, false);
        let end = Terminate { cx, reason, state };
        self.ask(|g, store, frame| g.call_terminate(store, frame), &end)
    }

    pub(crate) fn describe(&mut self, state: &[u8], max: u32) -> Result<String, Fault> {
        self.ready(false, false);
        match self.guest.call_describe(&mut self.store, state, max) {
            Ok(Ok(text)) if text.len() <= max as usize => Ok(text),
            Ok(Ok(text)) => Err(Fault::Error(format!(
                "it gave {} bytes, {max} were asked for",
                text.len()
            ))),
            Ok(Err(reason)) => Err(Fault::Error(reason)),
            Err(e) => Err(self.fault(&e)),
        }
    }

    pub(crate) fn parse(&mut self, text: &str) -> Result<Vec<u8>, Fault> {
        self.ready(false, false);
        match self.guest.call_parse(&mut self.store, text) {
            Ok(Ok(state)) => Ok(state),
            Ok(Err(reason)) => Err(Fault::Error(reason)),
            Err(e) => Err(self.fault(&e)),
        }
    }
}

/// A frame that is none is held against the guest.
fn broken(error: FrameError) -> Fault {
    Fault::Trap(match error {
        FrameError::TooMany { count, bound } => {
            format!("it gave a list of {count}; limits.effects allows {bound} for one event")
        }
        error => format!("it gave a frame that cannot be read: {error}"),
    })
}

/// A line or a reason, at most 4,096 bytes of it.
pub(crate) fn short(mut text: String) -> String {
    const BYTES: usize = 4_096;
    if text.len() > BYTES {
        text.truncate(text.floor_char_boundary(BYTES));
        text.push('…');
    }
    text
}

/// The answers of the host to one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers(Vec<Answer>);

impl Answers {
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Answer::bytes).sum()
    }
}

impl<'a> Wire<'a> for Answers {
    fn put(&self, out: &mut Vec<u8>) {
        let pairs = self.0.iter().map(|answer| match answer {
            Answer::Whereis(pid) => (0_u32, pid.iter().copied().collect()),
            Answer::Members(pids) => (1, pids.clone()),
            Answer::Reserve(pid) => (2, vec![*pid]),
        });
        let pairs: Vec<(u32, Vec<Pid>)> = pairs.collect();
        pairs.put(out);
    }

    fn take(frame: &mut Reader<'a>) -> Result<Self, FrameError> {
        let pairs: Vec<(u32, Vec<Pid>)> = Wire::take(frame)?;
        let answer = |(kind, pids): (u32, Vec<Pid>)| match (kind, &pids[..]) {
            (0, []) => Ok(Answer::Whereis(None)),
            (0, [pid]) => Ok(Answer::Whereis(Some(*pid))),
            (1, _) => Ok(Answer::Members(pids)),
            (2, [pid]) => Ok(Answer::Reserve(*pid)),
            _ => Err(FrameError::Tag {
                what: "answer",
                tag: kind as u8,
            }),
        };
        let answers: Result<Vec<Answer>, FrameError> = pairs.into_iter().map(answer).collect();
        answers.map(Answers)
    }
}

fn trap_text(error: &wasmtime::Error, logs: &[(Level, String)]) -> String {
    let what = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => "it ran longer than limits.handler_ms".to_owned(),
        Some(trap) => format!("trap: {trap}"),
        None => format!("trap: {}", error.root_cause()),
    };
    // A panicking guest logs where and why before it traps.
    match logs.iter().rev().find(|(level, _)| *level == Level::Error) {
        Some((_, line)) => format!("{what}: {line}"),
        None => what,
    }
}

/// The instances of one thread, at most one a version.
pub(crate) struct Instances {
    shared: Arc<Shared>,
    /// By the version's index.
    by_version: Vec<Option<Box<Instance>>>,
    purges: u64,
}

impl Instances {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            by_version: Vec::new(),
            purges: 0,
        }
    }

    /// The instance of a version, made when there is none.
    pub(crate) fn get(&mut self, version: u32) -> Result<&mut Instance, Fault> {
        let purges = self.shared.code.purges();
        if purges != self.purges {
            self.purges = purges;
            let code = &self.shared.code;
            for (version, instance) in self.by_version.iter_mut().enumerate() {
                if code.version(version as u32).is_none() {
                    *instance = None;
                }
            }
        }
        let at = version as usize;
        let fresh = |i: &Instance| i.calls < CALLS_PER_INSTANCE;
        if !self
            .by_version
            .get(at)
            .is_some_and(|i| i.as_deref().is_some_and(fresh))
        {
            self.discard(version);
            let code = self.shared.code.version(version);
            let code = code.ok_or_else(|| Fault::Trap("its code was purged".into()))?;
            if self.by_version.len() <= at {
                self.by_version.resize_with(at + 1, || None);
            }
            self.by_version[at] = Some(Box::new(Instance::new(&self.shared, &code)?));
        }
        match &mut self.by_version[at] {
            Some(instance) => Ok(instance),
            None => Err(Fault::Trap("its instance is gone".into())),
        }
    }

    /// After a trap: the next call gets a fresh one.
    pub(crate) fn discard(&mut self, version: u32) {
        if let Some(instance) = self.by_version.get_mut(version as usize) {
            *instance = None;
        }
    }
}
