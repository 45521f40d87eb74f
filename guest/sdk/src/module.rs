//! An actor type as the contract's functions. A batch decodes its state once, runs its events in order and encodes the
//! state once; it ends at the first stop or error. Nothing outlives a call but the panic hook.
//!
//! **An error inside a batch.** The state to return is the one before the failed event, which the handler may have
//! changed already. Keeping a copy would cost a clone for every event of every batch, and a state may be 64 KiB.
//! Instead the batch's own state is decoded again and the events before the failed one are run again, with their effects
//! dropped, their lines not logged and the host's answers taken from the record: handlers are functions of exactly that.
//! So the ordinary case pays nothing, and a failure costs one more run of at most a batch. The first event of a batch
//! needs no second run: nothing changed.

use crate::actor::GenServer;
use crate::bindings::Guest;
use crate::change::{Change, OldState};
use crate::codec::{Body, Json, Message, decode, encode_into};
use crate::cx::{Cx, CxRoom};
use crate::event::{Id, Pid, ReplyTo};
use crate::host;
use crate::wit::{
    self, Apply, Changed, ConvertEvent, Direction, Event, Init, Next, Reader, Started, Steps,
    Terminate, Wire,
};
use std::cell::RefCell;
use std::marker::PhantomData;

/// The module whose actors are `A`; [`export!`](crate::export) exports it.
pub struct Module<A>(PhantomData<A>);

/// Buffers that one call leaves to the next: an instance's allocator is a good part of what a small handler costs. They
/// hold nothing that anybody reads again.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) out: Vec<u8>,
    pub(crate) cx: CxRoom,
}

/// Bytes of an answer beyond which its buffer is not kept.
const MOST: usize = 1 << 20;

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// The host's frames are trusted to be frames: one that is none is a trap.
const NO_FRAME: &str = "the host sent a frame of another contract";

fn read<'a, T: Wire<'a>>(frame: &'a [u8]) -> T {
    wit::decode(frame, u32::MAX).expect(NO_FRAME)
}

fn frame<'a>(value: &impl Wire<'a>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    wit::encode(value, &mut out);
    out
}

impl<A: GenServer> Guest for Module<A> {
    fn init(frame_in: Vec<u8>) -> Vec<u8> {
        let Init { cx, args } = read(&frame_in);
        frame(&init::<A>(cx, args))
    }

    fn handle(frame_in: Vec<u8>) -> Vec<u8> {
        let mut room = ROOM.take();
        handle::<A>(&frame_in, &mut room);
        // Exactly as long as it is: it is handed over, and what is handed over has no room to spare.
        let out = room.out.to_vec();
        if room.out.capacity() <= MOST {
            ROOM.set(room);
        }
        out
    }

    fn code_change(frame_in: Vec<u8>) -> Vec<u8> {
        let mut out = Vec::with_capacity(frame_in.len());
        code_change::<A>(&frame_in, &mut out);
        out
    }

    fn convert_event(frame_in: Vec<u8>) -> Vec<u8> {
        hook();
        let ConvertEvent::<Vec<u8>> {
            direction,
            vsn,
            event,
        } = read(&frame_in);
        frame(&A::convert_event(direction, &vsn, event))
    }

    fn apply(frame_in: Vec<u8>) -> Vec<u8> {
        hook();
        let Apply { cx, name, args } = read(&frame_in);
        let mut cx = Cx::new(cx);
        frame(&A::apply(&mut cx, name, Json(args)).map(|()| cx.effects().to_vec()))
    }

    fn terminate(frame_in: Vec<u8>) -> Vec<u8> {
        hook();
        let Terminate { cx, reason, state } = read(&frame_in);
        let mut cx = Cx::new(cx);
        match decode_state::<A>(state) {
            Ok(state) => A::terminate(&mut cx, reason, &state),
            Err(error) => cx.log(host::Level::Error, &error),
        }
        frame(&cx.effects().to_vec())
    }

    fn on_load(config: Vec<u8>) -> Result<(), String> {
        hook();
        A::on_load(Json(&config))
    }

    fn describe(state: Vec<u8>, max: u32) -> Result<String, String> {
        hook();
        let text = serde_json::to_string(&decode_state::<A>(&state)?)
            .map_err(|error| format!("no JSON: {error}"))?;
        if text.len() > max as usize {
            return Err(format!(
                "the state is {} bytes of JSON, {max} were asked for at most",
                text.len()
            ));
        }
        Ok(text)
    }

    fn parse(text: String) -> Result<Vec<u8>, String> {
        hook();
        let state: A::State = Json(text.as_bytes()).decode()?;
        let mut bytes = Vec::new();
        encode_state(&state, &mut bytes)?;
        Ok(bytes)
    }
}

fn init<A: GenServer>(cx: wit::Cx, args: &[u8]) -> Result<Started, String> {
    hook();
    let args = Json(args)
        .decode()
        .map_err(|error| format!("arguments of init: {error}"))?;
    let mut cx = Cx::new(cx);
    let state = A::init(&mut cx, args)?;
    if let Some(reason) = cx.take_stop() {
        return Err(reason);
    }
    let mut bytes = Vec::new();
    encode_state(&state, &mut bytes)?;
    Ok(Started {
        state: bytes,
        effects: cx.effects().to_vec(),
    })
}

/// From the frame of a `Handle` to that of a `Batch`.
pub(crate) fn handle<A: GenServer>(frame: &[u8], room: &mut Room) {
    hook();
    let out = &mut room.out;
    let mut events = Reader::new(frame, u32::MAX).expect(NO_FRAME);
    let before = <&[u8]>::take(&mut events).expect(NO_FRAME);
    let count = events.count().expect(NO_FRAME);
    let first = events;
    let mut steps = Steps::new(out);
    let mut state = match decode_state::<A>(before) {
        Ok(state) => state,
        Err(error) => return steps.end_unchanged(Some(&error)),
    };
    let mut cx = Cx::idle(std::mem::take(&mut room.cx));
    let mut error = None;
    for _ in 0..count {
        let event = next(&mut cx, &mut events);
        if let Err(reason) = dispatch::<A>(&mut cx, &mut state, event) {
            error = Some(reason);
            break;
        }
        let next = cx.take_stop().map_or(Next::Continue, Next::Stop);
        steps.push(cx.effects(), &next);
        if matches!(next, Next::Stop(_)) {
            break;
        }
    }
    if steps.is_empty() {
        return steps.end_unchanged(error.as_deref());
    }
    if error.is_some() {
        cx.lookups.replay();
        state = match run_again::<A>(&mut cx, before, first, steps.len()) {
            Ok(state) => state,
            Err(_) => host::diverged(),
        };
    }
    let written = steps.end(before, error.as_deref(), |out| encode_state(&state, out));
    if let Err(error) = written {
        Steps::new(out).end_unchanged(Some(&error));
    }
    room.cx = cx.into_room();
}

/// From the frame of a `CodeChange` to that of its results.
pub(crate) fn code_change<A: GenServer>(frame: &[u8], out: &mut Vec<u8>) {
    hook();
    let mut items = Reader::new(frame, u32::MAX).expect(NO_FRAME);
    let direction = Direction::take(&mut items).expect(NO_FRAME);
    let vsn = <&str>::take(&mut items).expect(NO_FRAME);
    let extra = <&[u8]>::take(&mut items).expect(NO_FRAME);
    let count = items.count().expect(NO_FRAME);
    let mut results = Changed::new(out);
    for _ in 0..count {
        let (cx, bytes) = <(wit::Cx, &[u8])>::take(&mut items).expect(NO_FRAME);
        let mut change = Change::new(cx, vsn, extra);
        results.push(|out| {
            match direction {
                Direction::Up => {
                    encode_state(&A::code_change(&mut change, OldState(bytes))?, out)?;
                }
                Direction::Down => {
                    let state = decode_state::<A>(bytes)?;
                    out.extend_from_slice(&A::code_change_down(&mut change, state)?.0);
                }
            }
            Ok(change.into_redeliver())
        });
    }
}

/// Turns to the next event of a batch.
fn next<'a>(cx: &mut Cx, events: &mut Reader<'a>) -> Event<&'a [u8], &'a str> {
    let (view, envelope) = <(wit::Cx, wit::Envelope<&[u8], &str>)>::take(events).expect(NO_FRAME);
    cx.begin(view, envelope.sender);
    envelope.body
}

fn decode_state<A: GenServer>(bytes: &[u8]) -> Result<A::State, String> {
    decode(bytes).map_err(|error| format!("the state has another shape than this code's: {error}"))
}

fn encode_state<S: serde::Serialize>(state: &S, out: &mut Vec<u8>) -> Result<(), String> {
    encode_into(state, out).map_err(|error| format!("the state {error}"))
}

fn run_again<A: GenServer>(
    cx: &mut Cx,
    state: &[u8],
    mut events: Reader<'_>,
    count: usize,
) -> Result<A::State, String> {
    let mut state = decode_state::<A>(state)?;
    for _ in 0..count {
        let event = next(cx, &mut events);
        dispatch::<A>(cx, &mut state, event)?;
    }
    Ok(state)
}

fn dispatch<A: GenServer>(
    cx: &mut Cx,
    state: &mut A::State,
    event: Event<&[u8], &str>,
) -> Result<(), String> {
    match event {
        Event::Call(request) => {
            let from = ReplyTo {
                caller: Pid(request.caller),
                id: Id(request.id),
            };
            let call = A::Call::decode(request.body)
                .map_err(|error| format!("a call that is none here: {error}"))?;
            if let Some(reply) = A::handle_call(cx, state, call, from)? {
                cx.reply(from, &reply)?;
            }
            Ok(())
        }
        Event::Cast(body) => {
            let cast = A::Cast::decode(body)
                .map_err(|error| format!("a cast that is none here: {error}"))?;
            A::handle_cast(cx, state, cast)
        }
        Event::Info(body) => A::handle_info(cx, state, Body(body)),
        Event::Timer(timer) => A::handle_timer(cx, state, Id(timer.id), Body(timer.body)),
        Event::Response(response) => A::handle_response(cx, state, response.into()),
        Event::Down(down) => A::handle_down(cx, state, Pid(down.pid), down.reason),
        Event::Exit(exit) => A::handle_exit(cx, state, Pid(exit.pid), exit.reason),
        Event::Socket(event) => A::handle_socket(cx, state, event.into()),
        Event::Registered(registered) => {
            A::handle_registered(cx, state, registered.name, Pid(registered.holder))
        }
    }
}

/// A panic is a trap; its words reach the node's log first.
#[cfg(target_arch = "wasm32")]
fn hook() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static SET: AtomicBool = AtomicBool::new(false);
    if !SET.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(|panic| {
            host::log(host::Level::Error, &panic.to_string())
        }));
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn hook() {}
