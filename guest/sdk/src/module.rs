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
use crate::bindings::midflight::actor::types as wit;
use crate::bindings::{Batch, Direction, Effect, Envelope, Event, Guest, Migrated, Started};
use crate::change::{Change, OldState};
use crate::codec::{Body, Json, Message, decode, encode_into};
use crate::cx::Cx;
use crate::event::{Id, Pid, ReplyTo};
use crate::host;
use std::marker::PhantomData;

/// The module whose actors are `A`; [`export!`](crate::export) exports it.
pub struct Module<A>(PhantomData<A>);

impl<A: GenServer> Guest for Module<A> {
    fn init(c: wit::Cx, args: Vec<u8>) -> Result<Started, String> {
        hook();
        let args = Json(&args)
            .decode()
            .map_err(|error| format!("arguments of init: {error}"))?;
        let mut cx = Cx::new(c);
        let state = A::init(&mut cx, args)?;
        if let Some(reason) = cx.take_stop() {
            return Err(reason);
        }
        Ok(Started {
            state: encode_state(&state, 0)?,
            effects: cx.take_effects(),
        })
    }

    fn handle(c: Vec<wit::Cx>, bytes: Vec<u8>, events: Vec<Envelope>) -> Batch {
        hook();
        let failed = |error| Batch {
            steps: Vec::new(),
            state: None,
            error: Some(error),
        };
        let (Some(first), Ok(mut state)) = (c.first(), decode_state::<A>(&bytes)) else {
            return failed(match decode_state::<A>(&bytes) {
                Err(error) => error,
                Ok(_) => "a batch without events".to_owned(),
            });
        };
        let mut cx = Cx::new(*first);
        let mut steps = Vec::with_capacity(events.len());
        let mut error = None;
        for (c, envelope) in c.iter().zip(&events) {
            cx.begin(*c, envelope.sender);
            if let Err(reason) = dispatch::<A>(&mut cx, &mut state, &envelope.body) {
                error = Some(reason);
                break;
            }
            let next = cx.take_stop().map_or(wit::Next::Continue, wit::Next::Stop);
            let stops = matches!(next, wit::Next::Stop(_));
            steps.push(wit::Step {
                effects: cx.take_effects(),
                next,
            });
            if stops {
                break;
            }
        }
        if steps.is_empty() {
            return Batch {
                steps,
                state: None,
                error,
            };
        }
        if error.is_some() {
            cx.lookups.replay();
            state = match run_again::<A>(&mut cx, &bytes, &c, &events[..steps.len()]) {
                Ok(state) => state,
                Err(_) => host::diverged(),
            };
        }
        match encode_state(&state, bytes.len() + 16) {
            Ok(state) if state == bytes => Batch {
                steps,
                state: None,
                error,
            },
            Ok(state) => Batch {
                steps,
                state: Some(state),
                error,
            },
            Err(error) => failed(error),
        }
    }

    fn code_change(
        d: Direction,
        vsn: String,
        extra: Vec<u8>,
        items: Vec<(wit::Cx, Vec<u8>)>,
    ) -> Vec<Result<Migrated, String>> {
        hook();
        let migrate = |(c, bytes): (wit::Cx, Vec<u8>)| {
            let mut change = Change::new(c, &vsn, &extra);
            let state = match d {
                Direction::Up => encode_state(
                    &A::code_change(&mut change, OldState(&bytes))?,
                    bytes.len() + 16,
                )?,
                Direction::Down => A::code_change_down(&mut change, decode_state::<A>(&bytes)?)?.0,
            };
            Ok(Migrated {
                state,
                redeliver: change.into_redeliver(),
            })
        };
        items.into_iter().map(migrate).collect()
    }

    fn convert_event(d: Direction, vsn: String, e: Event) -> Result<Option<Event>, String> {
        hook();
        A::convert_event(d, &vsn, e)
    }

    fn on_load(config: Vec<u8>) -> Result<(), String> {
        hook();
        A::on_load(Json(&config))
    }

    fn apply(c: wit::Cx, name: String, args: Vec<u8>) -> Result<Vec<Effect>, String> {
        hook();
        let mut cx = Cx::new(c);
        A::apply(&mut cx, &name, Json(&args))?;
        Ok(cx.take_effects())
    }

    fn terminate(c: wit::Cx, reason: String, state: Vec<u8>) -> Vec<Effect> {
        hook();
        let mut cx = Cx::new(c);
        match decode_state::<A>(&state) {
            Ok(state) => A::terminate(&mut cx, &reason, &state),
            Err(error) => cx.log(host::Level::Error, &error),
        }
        cx.take_effects()
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
        encode_state(&state, 0)
    }
}

fn decode_state<A: GenServer>(bytes: &[u8]) -> Result<A::State, String> {
    decode(bytes).map_err(|error| format!("the state has another shape than this code's: {error}"))
}

fn encode_state<S: serde::Serialize>(state: &S, capacity: usize) -> Result<Vec<u8>, String> {
    encode_into(state, Vec::with_capacity(capacity)).map_err(|error| format!("the state {error}"))
}

fn run_again<A: GenServer>(
    cx: &mut Cx,
    state: &[u8],
    c: &[wit::Cx],
    events: &[Envelope],
) -> Result<A::State, String> {
    let mut state = decode_state::<A>(state)?;
    for (c, envelope) in c.iter().zip(events) {
        cx.begin(*c, envelope.sender);
        dispatch::<A>(cx, &mut state, &envelope.body)?;
    }
    Ok(state)
}

fn dispatch<A: GenServer>(cx: &mut Cx, state: &mut A::State, event: &Event) -> Result<(), String> {
    match event {
        Event::Call(request) => {
            let from = ReplyTo {
                caller: Pid(request.caller),
                id: Id(request.id),
            };
            let call = A::Call::decode(&request.body)
                .map_err(|error| format!("a call that is none here: {error}"))?;
            if let Some(reply) = A::handle_call(cx, state, call, from)? {
                let body = reply.encode()?;
                cx.answer(from, body);
            }
            Ok(())
        }
        Event::Cast(body) => {
            let cast = A::Cast::decode(body)
                .map_err(|error| format!("a cast that is none here: {error}"))?;
            A::handle_cast(cx, state, cast)
        }
        Event::Info(body) => A::handle_info(cx, state, Body(body)),
        Event::Timer(timer) => A::handle_timer(cx, state, Id(timer.id), Body(&timer.body)),
        Event::Response(response) => A::handle_response(cx, state, response.into()),
        Event::Down(down) => A::handle_down(cx, state, Pid(down.pid), &down.reason),
        Event::Exit(exit) => A::handle_exit(cx, state, Pid(exit.pid), &exit.reason),
        Event::Socket(event) => A::handle_socket(cx, state, event.into()),
        Event::Registered(registered) => {
            A::handle_registered(cx, state, &registered.name, Pid(registered.holder))
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
