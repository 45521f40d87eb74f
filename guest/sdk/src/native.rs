//! The host's double outside WebAssembly: handlers can be tested as ordinary functions on the author's machine. It
//! answers what handlers ask and keeps what they log; it delivers nothing and runs no actor but the one under test.

use crate::GenServer;
use crate::bindings::Guest;
use crate::codec::{decode, encode};
use crate::host::Level;
use crate::module::{self, Module};
use crate::wit;
use crate::wit::{Batch, Direction, Event, Migrated, Started, Wire};
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

fn frame<'a>(value: &impl Wire<'a>) -> Vec<u8> {
    let mut frame = Vec::new();
    wit::encode(value, &mut frame);
    frame
}

fn read<T: for<'a> Wire<'a>>(frame: &[u8]) -> T {
    wit::decode(frame, u32::MAX).expect("the module gives frames of its contract")
}

/// The contract's functions with values for frames.
impl<A: GenServer> Module<A> {
    /// The first state.
    pub fn init(cx: wit::Cx, args: Vec<u8>) -> Result<Started, String> {
        read(&<Self as Guest>::init(frame(&wit::Init { cx, args })))
    }

    /// A batch.
    pub fn handle(state: Vec<u8>, events: Vec<(wit::Cx, wit::Envelope)>) -> Batch {
        read(&<Self as Guest>::handle(frame(&wit::Handle {
            state,
            events,
        })))
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
        let mut out = Vec::new();
        module::code_change::<A>(&frame(&change), &mut out);
        read(&out)
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
        read(&<Self as Guest>::convert_event(frame(&convert)))
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
