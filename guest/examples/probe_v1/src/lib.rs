//! The probe, version 1: an actor whose every move is told it by JSON (`ops/forms.rs` lists the forms). For tests of a runtime;
//! it shows no good style for an actor.

mod ops;

use midflight_guest::serde_json::Value;
use midflight_guest::{
    Body, Cx, GenServer, Id, Json, Pid, Raw, ReplyTo, Response, SocketEvent, state,
};
use ops::Core;

#[state]
struct State {
    core: Core,
}

struct Probe;

impl GenServer for Probe {
    type State = State;
    type Args = Value;
    type Call = Raw;
    type Reply = Raw;
    type Cast = Raw;

    fn init(cx: &mut Cx, args: Value) -> Result<State, String> {
        Ok(State {
            core: ops::init(cx, args)?,
        })
    }
    fn handle_call(
        cx: &mut Cx,
        state: &mut State,
        call: Raw,
        from: ReplyTo,
    ) -> Result<Option<Raw>, String> {
        ops::call(cx, &mut state.core, "v1", &call.0, from)
    }
    fn handle_cast(cx: &mut Cx, state: &mut State, cast: Raw) -> Result<(), String> {
        ops::cast(cx, &mut state.core, "v1", &cast.0)
    }
    fn handle_info(cx: &mut Cx, state: &mut State, info: Body<'_>) -> Result<(), String> {
        ops::info(cx, &mut state.core, "v1", info.0)
    }
    fn handle_timer(cx: &mut Cx, state: &mut State, _: Id, body: Body<'_>) -> Result<(), String> {
        ops::timer(cx, &mut state.core, "v1", body.0)
    }
    fn handle_response(
        cx: &mut Cx,
        state: &mut State,
        response: Response<'_>,
    ) -> Result<(), String> {
        ops::response(cx, &mut state.core, response)
    }
    fn handle_down(_: &mut Cx, state: &mut State, pid: Pid, reason: &str) -> Result<(), String> {
        ops::down(&mut state.core, pid, reason)
    }
    fn handle_exit(_: &mut Cx, state: &mut State, pid: Pid, reason: &str) -> Result<(), String> {
        ops::exit(&mut state.core, pid, reason)
    }
    fn handle_socket(cx: &mut Cx, state: &mut State, event: SocketEvent<'_>) -> Result<(), String> {
        ops::socket(cx, &mut state.core, event)
    }
    fn handle_registered(
        _: &mut Cx,
        state: &mut State,
        name: &str,
        holder: Pid,
    ) -> Result<(), String> {
        ops::registered(&mut state.core, name, holder)
    }
    fn on_load(config: Json<'_>) -> Result<(), String> {
        ops::on_load(config)
    }
    fn apply(cx: &mut Cx, name: &str, args: Json<'_>) -> Result<(), String> {
        ops::apply(cx, "v1", name, args)
    }
    fn terminate(cx: &mut Cx, reason: &str, state: &State) {
        ops::terminate(cx, reason, &state.core);
    }
}

midflight_guest::export!(Probe);
