//! The host's double outside WebAssembly: handlers can be tested as ordinary functions on the author's machine. It
//! answers what handlers ask and keeps what they log; it delivers nothing and runs no actor but the one under test.

use crate::GenServer;
use crate::codec::{decode, encode};
use crate::host::Level;
use crate::module::{self, Module, Room};
use crate::wit;
use crate::wit::{Batch, Direction, Effect, Event, Migrated, Started, Wire};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What the double knows and what it was told.
#[derive(Debug, Default)]
pub struct Host {
    /// Every line logged.
    pub lines: Vec<(Level, String)>,
    /// Who `whereis` finds.
    pub names: BTreeMap<String, u64>,
    /// Who `members` finds.
    pub groups: BTreeMap<String, Vec<u64>>,
    /// How many pids were reserved; the first is 1,000,001.
    pub reserved: u64,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::default());
}

/// Looks at, or sets up, this thread's host.
pub fn host<R>(f: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(f)
}

pub(crate) fn log(level: Level, text: &str) {
    host(|host| host.lines.push((level, text.to_owned())));
}

pub(crate) fn whereis(name: &str) -> Option<u64> {
    host(|host| host.names.get(name).copied())
}

pub(crate) fn members(group: &str) -> Vec<u64> {
    host(|host| host.groups.get(group).cloned().unwrap_or_default())
}

pub(crate) fn reserve() -> u64 {
    host(|host| {
        host.reserved += 1;
        1_000_000 + host.reserved
    })
}

/// What a function of the contract answers to a value.
fn ask<'a, T: for<'b> Wire<'b>>(function: fn(&[u8], &mut Room), value: &impl Wire<'a>) -> T {
    let (mut frame, mut room) = (Vec::new(), Room::default());
    wit::encode(value, &mut frame);
    function(&frame, &mut room);
    wit::decode(&room.out, u32::MAX).expect("the module gives frames of its contract")
}

/// The contract's functions with values for frames.
impl<A: GenServer> Module<A> {
    /// The first state.
    pub fn init(cx: wit::Cx, args: Vec<u8>) -> Result<Started, String> {
        ask(Self::init_frame, &wit::Init { cx, args })
    }

    /// A batch.
    pub fn handle(state: Vec<u8>, events: Vec<(wit::Cx, wit::Envelope)>) -> Batch {
        ask(module::handle::<A>, &wit::Handle { state, events })
    }

    /// States of another version.
    pub fn code_change(
        direction: Direction,
        vsn: String,
        extra: Vec<u8>,
        items: Vec<(wit::Cx, Vec<u8>)>,
    ) -> Vec<Result<Migrated, String>> {
        let change = wit::CodeChange {
            direction,
            vsn,
            extra,
            items,
        };
        ask(module::code_change::<A>, &change)
    }

    /// An event of the other side of a patch.
    pub fn convert_event(
        direction: Direction,
        vsn: String,
        event: Event,
    ) -> Result<Option<Event>, String> {
        let convert = wit::ConvertEvent {
            direction,
            vsn,
            event,
        };
        ask(Self::convert_event_frame, &convert)
    }

    /// A function of the module, outside any actor: what it asked for.
    pub fn apply(cx: wit::Cx, name: String, args: Vec<u8>) -> Result<Vec<Effect>, String> {
        ask(Self::apply_frame, &wit::Apply { cx, name, args })
    }

    /// The end of an actor: what it asked for last.
    pub fn terminate(cx: wit::Cx, reason: String, state: Vec<u8>) -> Vec<Effect> {
        ask(Self::terminate_frame, &wit::Terminate { cx, reason, state })
    }

    /// The module is loaded with this configuration, JSON.
    pub fn on_load(config: Vec<u8>) -> Result<(), String> {
        ask(Self::on_load_frame, &config)
    }

    /// A state as JSON of at most `max` bytes.
    pub fn describe(state: Vec<u8>, max: u32) -> Result<String, String> {
        ask(Self::describe_frame, &wit::Describe { state, max })
    }

    /// The way back.
    pub fn parse(text: String) -> Result<Vec<u8>, String> {
        ask(Self::parse_frame, &text)
    }
}

/// Actor 7's view of its `n`th event, one second into the node's life, in the year 2000.
pub fn cx(n: u64) -> wit::Cx {
    let wall = 946_684_800_000_000_000;
    wit::Cx {
        me: 7,
        wall,
        mono: 1_000_000_000,
        seed: n,
        id_base: n << 16,
    }
}

/// Runs events as one batch, all sent by actor 8. Returns the state that the runtime would keep, and the batch.
pub fn handle<A: GenServer>(
    state: &A::State,
    events: Vec<wit::Event>,
) -> Result<(A::State, Batch), String> {
    let bytes = encode(state)?;
    let sender = Some(8);
    let events = (1..).map(cx).zip(
        events
            .into_iter()
            .map(|body| wit::Envelope { sender, body }),
    );
    let batch = Module::<A>::handle(bytes.clone(), events.collect());
    let state = decode(batch.state.as_ref().unwrap_or(&bytes))?;
    Ok((state, batch))
}

/// Migrates a state of version `vsn` to `A`'s. Returns the new state and what is redelivered.
pub fn up<A: GenServer>(
    vsn: &str,
    extra: &str,
    old: &impl Serialize,
) -> Result<(A::State, Vec<wit::Event>), String> {
    change::<A, _>(Direction::Up, vsn, extra, encode(old)?)
}

/// Migrates a state of `A` to version `vsn`, whose states are `S`.
pub fn down<A: GenServer, S: DeserializeOwned>(
    vsn: &str,
    extra: &str,
    state: &A::State,
) -> Result<(S, Vec<wit::Event>), String> {
    change::<A, _>(Direction::Down, vsn, extra, encode(state)?)
}

fn change<A: GenServer, S: DeserializeOwned>(
    direction: Direction,
    vsn: &str,
    extra: &str,
    state: Vec<u8>,
) -> Result<(S, Vec<wit::Event>), String> {
    let migrated = Module::<A>::code_change(
        direction,
        vsn.to_owned(),
        extra.into(),
        vec![(cx(0), state)],
    );
    let migrated = migrated
        .into_iter()
        .next()
        .ok_or("one state went in, none came out")??;
    Ok((decode(&migrated.state)?, migrated.redeliver))
}
