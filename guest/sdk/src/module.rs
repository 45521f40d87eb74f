//! An actor type as the contract's functions. A batch decodes its state once, runs its events in order and encodes the
//! state once; it ends at the first stop or error. Nothing outlives a call but the panic hook and buffers.
//!
//! **An error inside a batch.** The state to return is the one before the failed event, which the handler may have
//! changed already. Keeping a copy would cost a clone for every event of every batch, and a state may be 64 KiB.
//! Instead the batch's own state is decoded again and the events before the failed one are run again, with their effects
//! dropped, their lines not logged and the host's answers taken from the record: handlers are functions of exactly that.
//! So the ordinary case pays nothing, and a failure costs one more run of at most a batch. The first event of a batch
//! needs no second run: nothing changed.

use crate::actor::GenServer;
use crate::change::{Change, OldState};
use crate::codec::{Body, Json, Message, decode, encode_into};
use crate::cx::Cx;
use crate::event::{Id, Pid, ReplyTo};
use crate::host;
use crate::wit::{
    self, Apply, Changed, ConvertEvent, Describe, Direction, Event, Init, Next, Reader, Started,
    Steps, Terminate, Wire,
};
use std::marker::PhantomData;

/// The module whose actors are `A`; [`export!`](crate::export) exports it.
pub struct Module<A>(PhantomData<A>);

/// What one call leaves to the next, since an instance's allocator is a good part of what a small handler costs: the buffer of
/// the frame that answers. It holds nothing that anybody reads again.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) out: Vec<u8>,
}

/// The host's frames are trusted to be frames: one that is none is a trap.
const NO_FRAME: &str = "the host sent a frame of another contract";

fn read<'a, T: Wire<'a>>(frame: &'a [u8]) -> T {
    wit::decode(frame, u32::MAX).expect(NO_FRAME)
}

/// The contract's functions, from the frame that came to the one that answers.
impl<A: GenServer> Module<A> {
    pub(crate) fn convert_event_frame(frame: &[u8], room: &mut Room) {
        hook();
        let ConvertEvent::<Vec<u8>> {
            direction,
            vsn,
            event,
        } = read(frame);
        wit::encode(&A::convert_event(direction, &vsn, event), &mut room.out);
    }

    pub(crate) fn init_frame(frame: &[u8], room: &mut Room) {
        let Init { cx, args } = read(frame);
        wit::encode(&init::<A>(cx, args), &mut room.out);
    }

    pub(crate) fn apply_frame(frame: &[u8], room: &mut Room) {
        hook();
        let Apply { cx, name, args } = read(frame);
        let mut cx = Cx::new(cx);
        let result = A::apply(&mut cx, name, Json(args)).map(|()| cx.effects().to_vec());
        wit::encode(&result, &mut room.out);
    }

    pub(crate) fn terminate_frame(frame: &[u8], room: &mut Room) {
        hook();
        let Terminate { cx, reason, state } = read(frame);
        let mut cx = Cx::new(cx);
        match decode_state::<A>(state) {
            Ok(state) => A::terminate(&mut cx, reason, &state),
            Err(error) => cx.log(host::Level::Error, &error),
        }
        wit::encode(&cx.effects().to_vec(), &mut room.out);
    }

    pub(crate) fn on_load_frame(frame: &[u8], room: &mut Room) {
        hook();
        wit::encode(&A::on_load(Json(read(frame))), &mut room.out);
    }

    pub(crate) fn describe_frame(frame: &[u8], room: &mut Room) {
        hook();
        let Describe { state, max } = read(frame);
        wit::encode(&describe::<A>(state, max), &mut room.out);
    }

    pub(crate) fn parse_frame(frame: &[u8], room: &mut Room) {
        hook();
        wit::encode(&parse::<A>(read(frame)), &mut room.out);
    }
}

fn describe<A: GenServer>(state: &[u8], max: u32) -> Result<String, String> {
    let text = serde_json::to_string(&decode_state::<A>(state)?)
        .map_err(|error| format!("no JSON: {error}"))?;
    if text.len() > max as usize {
        return Err(format!(
            "the state is {} bytes of JSON, {max} were asked for at most",
            text.len()
        ));
    }
    Ok(text)
}

fn parse<A: GenServer>(text: &str) -> Result<Vec<u8>, String> {
    let state: A::State = Json(text.as_bytes()).decode()?;
    let mut bytes = Vec::new();
    encode_state(&state, &mut bytes)?;
    Ok(bytes)
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
    let mut out = std::mem::take(&mut room.out);
    let mut events = Reader::new(frame, u32::MAX).expect(NO_FRAME);
    let before = <&[u8]>::take(&mut events).expect(NO_FRAME);
    let count = events.count().expect(NO_FRAME);
    let first = events;
    let mut steps = Steps::begin(&mut out);
    let mut state = match decode_state::<A>(before) {
        Ok(state) => state,
        Err(error) => {
            steps.end_unchanged(Some(&error), &mut out);
            room.out = out;
            return;
        }
    };
    let mut cx = Cx::within(out);
    let mut error = None;
    for _ in 0..count {
        let event = next(&mut cx, &mut events);
        if let Err(reason) = dispatch::<A>(&mut cx, &mut state, event) {
            cx.effects().forget();
            error = Some(reason);
            break;
        }
        let next = cx.take_stop().map_or(Next::Continue, Next::Stop);
        steps.push(&next, cx.effects().end());
        if matches!(next, Next::Stop(_)) {
            break;
        }
    }
    if error.is_some() && !steps.is_empty() {
        cx.lookups.replay();
        state = match run_again::<A>(&mut cx, before, first, steps.len()) {
            Ok(state) => state,
            Err(_) => host::diverged(),
        };
    }
    let mut out = cx.into_frame();
    if steps.is_empty() {
        steps.end_unchanged(error.as_deref(), &mut out);
    } else {
        let state = |out: &mut Vec<u8>| encode_state(&state, out);
        if let Err(error) = steps.end(before, error.as_deref(), &mut out, state) {
            Steps::begin(&mut out).end_unchanged(Some(&error), &mut out);
        }
    }
    room.out = out;
}

/// From the frame of a `CodeChange` to that of its results.
pub(crate) fn code_change<A: GenServer>(frame: &[u8], room: &mut Room) {
    hook();
    let mut items = Reader::new(frame, u32::MAX).expect(NO_FRAME);
    let direction = Direction::take(&mut items).expect(NO_FRAME);
    let vsn = <&str>::take(&mut items).expect(NO_FRAME);
    let extra = <&[u8]>::take(&mut items).expect(NO_FRAME);
    let count = items.count().expect(NO_FRAME);
    let mut results = Changed::new(&mut room.out);
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
        cx.effects().forget();
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

/// What the world exports: frames lie in this module's own memory, where the host writes and reads them.
#[cfg(target_arch = "wasm32")]
mod exported {
    use super::{GenServer, Module, Room, code_change, handle};
    use crate::bindings::Guest;
    use crate::wit::Place;
    use std::cell::RefCell;

    /// Bytes of an answer beyond which its buffer is not kept for the next one.
    const MOST: usize = 1 << 20;

    thread_local! {
        /// Where the host writes frames.
        static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        static ROOM: RefCell<Room> = RefCell::default();
    }

    fn answer(bytes: u32, function: impl FnOnce(&[u8], &mut Room)) -> u64 {
        FRAME.with_borrow(|frame| {
            ROOM.with_borrow_mut(|room| {
                if room.out.capacity() > MOST {
                    room.out = Vec::new();
                }
                function(&frame[..bytes as usize], room);
                let at = room.out.as_ptr().expose_provenance() as u32;
                let bytes = room.out.len() as u32;
                Place { at, bytes }.into()
            })
        })
    }

    impl<A: GenServer> Guest for Module<A> {
        fn room(bytes: u32) -> u32 {
            FRAME.with_borrow_mut(|frame| {
                *frame = Vec::new();
                frame.resize(bytes as usize, 0);
                frame.as_mut_ptr().expose_provenance() as u32
            })
        }
        fn init(frame: u32) -> u64 {
            answer(frame, Self::init_frame)
        }
        fn handle(frame: u32) -> u64 {
            answer(frame, handle::<A>)
        }
        fn code_change(frame: u32) -> u64 {
            answer(frame, code_change::<A>)
        }
        fn convert_event(frame: u32) -> u64 {
            answer(frame, Self::convert_event_frame)
        }
        fn apply(frame: u32) -> u64 {
            answer(frame, Self::apply_frame)
        }
        fn terminate(frame: u32) -> u64 {
            answer(frame, Self::terminate_frame)
        }
        fn on_load(frame: u32) -> u64 {
            answer(frame, Self::on_load_frame)
        }
        fn describe(frame: u32) -> u64 {
            answer(frame, Self::describe_frame)
        }
        fn parse(frame: u32) -> u64 {
            answer(frame, Self::parse_frame)
        }
    }
}
