//! Calls into a module: an instance of it with its limits and its one door to the host.
//! An instance is scratch: it is used by many actors, thrown away after a trap, and renewed now and then.

use std::sync::Arc;

use wasmtime::{Store, StoreContextMut, Trap};

use crate::{
    actor::Item,
    bindings::{
        self, Apply, Batch, BatchRoom, ConvertEvent, Cx, Describe, Direction, Effect, Event,
        FrameError, Init, Level, Migrated, Next, Started, Terminate, Wire, put_code_change,
        put_handle,
    },
    code::Version,
    door::{Door, TICK_MS, short},
    guest::{Call, Guest},
    node::Shared,
};

/// A store is an arena: one that is used for ever only grows.
const CALLS_PER_INSTANCE: u32 = 20_000;
/// A buffer that grew beyond this for one call is not kept.
const FRAME_BYTES: usize = 1 << 20;
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

/// One instance of one version.
pub(crate) struct Instance {
    store: Store<Door>,
    guest: Guest,
    pub(crate) version: Arc<Version>,
    calls: u32,
    ticks: u64,
    /// What goes in: one buffer for all calls.
    frame: Vec<u8>,
}

impl Instance {
    pub(crate) fn new(shared: &Arc<Shared>, version: &Arc<Version>) -> Result<Self, Fault> {
        let mut store = Store::new(&shared.engine, Door::new(shared));
        store.limiter(|door| door.limits());
        store.epoch_deadline_callback(|mut store: StoreContextMut<'_, Door>| {
            Ok(store.data_mut().deadline())
        });
        // One tick more: the first may come at once.
        let ticks = (shared.limits.handler_ms / 2).div_ceil(TICK_MS) + 1;
        store.set_epoch_deadline(ticks);
        let guest =
            Guest::new(&version.pre, &mut store).map_err(|e| Fault::Trap(trap_text(&e, &[])))?;
        Ok(Self {
            store,
            guest,
            version: version.clone(),
            calls: 0,
            ticks,
            frame: Vec::new(),
        })
    }

    /// Runs a function on the frame at hand, and gives the one that answers.
    fn call(&mut self, call: Call) -> Result<&[u8], Fault> {
        let result = self.guest.call(&mut self.store, call, &self.frame);
        if self.frame.capacity() > FRAME_BYTES {
            self.frame = Vec::new();
        }
        let place = result.map_err(|e| self.fault(&e))?;
        let answer = self.guest.read(&self.store, place);
        answer.ok_or_else(|| Fault::Trap("it gave a frame outside of its memory".into()))
    }

    /// The same for frames of one value.
    fn ask<'i, I: Wire<'i>, O: for<'a> Wire<'a>>(
        &mut self,
        call: Call,
        value: &I,
    ) -> Result<O, Fault> {
        bindings::encode(value, &mut self.frame);
        let bound = self.bound();
        bindings::decode(self.call(call)?, bound).map_err(broken)
    }

    /// Items in one list of a guest's.
    fn bound(&self) -> u32 {
        self.door().shared().limits.effects as u32
    }

    fn ready(&mut self, open: bool, again: bool) {
        self.calls += 1;
        self.store.set_epoch_deadline(self.ticks);
        self.store.data_mut().ready(open, again);
    }

    fn fault(&self, error: &wasmtime::Error) -> Fault {
        Fault::Trap(trap_text(error, self.door().logs()))
    }

    /// What the host said and heard in the last call.
    pub(crate) fn door(&self) -> &Door {
        self.store.data()
    }

    pub(crate) fn door_mut(&mut self) -> &mut Door {
        self.store.data_mut()
    }

    pub(crate) fn init(&mut self, cx: Cx, args: &[u8], again: bool) -> Result<Started, Fault> {
        self.ready(true, again);
        let init = Init { cx, args };
        let started: Result<Started, String> = self.ask(Call::Init, &init)?;
        started.map_err(|reason| Fault::Error(short(reason)))
    }

    /// A batch, its reasons cut to what others are told. `again`: goes on in the answers given to `replay`.
    pub(crate) fn handle(
        &mut self,
        cx: &[Cx],
        state: &[u8],
        items: &[Item],
        again: bool,
        room: &mut BatchRoom,
    ) -> Result<Batch, Fault> {
        self.ready(true, again);
        let events = cx.iter().zip(items.iter().map(|item| &item.envelope));
        put_handle(state, events, &mut self.frame);
        let bound = self.bound();
        let answer = self.call(Call::Handle)?;
        let mut batch = Batch::decode(answer, items.len(), bound, room).map_err(broken)?;
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
        let bound = self.bound().max(items.len() as u32);
        let answer = self.call(Call::CodeChange)?;
        let results: Vec<Result<Migrated, String>> =
            bindings::decode(answer, bound).map_err(broken)?;
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
        let converted: Result<Option<Event>, String> = self.ask(Call::ConvertEvent, &event)?;
        converted.map_err(Fault::Error)
    }

    pub(crate) fn on_load(&mut self, config: &[u8]) -> Result<(), Fault> {
        self.ready(false, false);
        let loaded: Result<(), String> = self.ask(Call::OnLoad, &config)?;
        loaded.map_err(Fault::Error)
    }

    /// A function of the module itself, outside any actor.
    pub(crate) fn apply(&mut self, cx: Cx, name: &str, args: &[u8]) -> Result<Vec<Effect>, Fault> {
        self.ready(true, false);
        let apply = Apply { cx, name, args };
        let effects: Result<Vec<Effect>, String> = self.ask(Call::Apply, &apply)?;
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
        self.ask(Call::Terminate, &end)
    }

    pub(crate) fn describe(&mut self, state: &[u8], max: u32) -> Result<String, Fault> {
        self.ready(false, false);
        let text: Result<String, String> = self.ask(Call::Describe, &Describe { state, max })?;
        match text.map_err(Fault::Error)? {
            text if text.len() <= max as usize => Ok(text),
            text => Err(Fault::Error(format!(
                "it gave {} bytes, {max} were asked for",
                text.len()
            ))),
        }
    }

    pub(crate) fn parse(&mut self, text: &str) -> Result<Vec<u8>, Fault> {
        self.ready(false, false);
        let state: Result<Vec<u8>, String> = self.ask(Call::Parse, &text)?;
        state.map_err(Fault::Error)
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
