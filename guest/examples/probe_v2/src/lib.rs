//! The probe, version 2: its state has another shape, and its migration does what the patch's `extra` says, so that a
//! test can choose how a code_change ends and for whom. The messages are those of version 1 (`probe_v1/src/ops/forms.rs`).
//!
//! ```text
//! extra: {"up":MODE, "down":MODE, "all":B, "spin":N}    a MODE holds for actors whose `flag` is set, or for all
//! MODE:  "ok" | "error" | "trap" | "loop" | "slow" (burns N rounds) | "redeliver" (casts itself {"seq":0} from nobody)
//! ```
//!
//! A vsn that begins with `1` means version 1's shape; any other means this one.
//! `convert_event`: a cast that is an object with `"convert"` becomes: `"none"` nothing, `"error"` an error, anything else
//! itself with `"converted": "up from VSN"` or `"down from VSN"`.

#[path = "../../probe_v1/src/ops/mod.rs"]
mod ops;

use midflight_guest::serde::Deserialize;
use midflight_guest::serde_json::{self, Value, json};
use midflight_guest::{
    Body, Change, Cx, Direction, Downgraded, Event, GenServer, Id, Json, OldState, Pid, Raw,
    ReplyTo, Response, SocketEvent, state,
};
use ops::Core;

#[state]
struct State {
    /// The vsn that the actor was migrated from; empty when it was born on this version.
    origin: String,
    upgrades: u64,
    core: Core,
}

mod v1 {
    use super::ops::Core;
    use midflight_guest::state;

    #[state]
    pub struct State {
        pub core: Core,
    }
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(crate = "midflight_guest::serde", rename_all = "snake_case")]
enum Mode {
    #[default]
    Ok,
    Error,
    Trap,
    Loop,
    Slow,
    Redeliver,
}

#[derive(Deserialize, Default)]
#[serde(crate = "midflight_guest::serde", default)]
struct Extra {
    up: Mode,
    down: Mode,
    all: bool,
    spin: u64,
}

impl Extra {
    fn of(change: &Change<'_>) -> Result<Extra, String> {
        Ok(change
            .extra()
            .decode::<Option<Extra>>()?
            .unwrap_or_default())
    }

    fn steer(&self, change: &mut Change<'_>, mode: Mode, core: &Core) -> Result<(), String> {
        if !(self.all || core.flag) {
            return Ok(());
        }
        match mode {
            Mode::Ok => {}
            Mode::Error => return Err("told to fail".to_owned()),
            Mode::Trap => panic!("told to trap"),
            Mode::Loop => ops::perform::spin(u64::MAX),
            Mode::Slow => ops::perform::spin(self.spin),
            Mode::Redeliver => change.redeliver_cast(&ops::raw(&json!({ "seq": 0 })))?,
        }
        Ok(())
    }
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
            origin: String::new(),
            upgrades: 0,
            core: ops::init(cx, args)?,
        })
    }
    fn handle_call(
        cx: &mut Cx,
        state: &mut State,
        call: Raw,
        from: ReplyTo,
    ) -> Result<Option<Raw>, String> {
        ops::call(cx, &mut state.core, "v2", &call.0, from)
    }
    fn handle_cast(cx: &mut Cx, state: &mut State, cast: Raw) -> Result<(), String> {
        ops::cast(cx, &mut state.core, "v2", &cast.0)
    }
    fn handle_info(cx: &mut Cx, state: &mut State, info: Body<'_>) -> Result<(), String> {
        ops::info(cx, &mut state.core, "v2", info.0)
    }
    fn handle_timer(cx: &mut Cx, state: &mut State, _: Id, body: Body<'_>) -> Result<(), String> {
        ops::timer(cx, &mut state.core, "v2", body.0)
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

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<State, String> {
        let extra = Extra::of(change)?;
        let mut state = if change.vsn().starts_with('1') {
            State {
                origin: String::new(),
                upgrades: 0,
                core: old.decode::<v1::State>()?.core,
            }
        } else {
            old.decode()?
        };
        extra.steer(change, extra.up, &state.core)?;
        state.origin = change.vsn().to_owned();
        state.upgrades += 1;
        Ok(state)
    }

    fn code_change_down(change: &mut Change<'_>, state: State) -> Result<Downgraded, String> {
        let extra = Extra::of(change)?;
        extra.steer(change, extra.down, &state.core)?;
        if change.vsn().starts_with('1') {
            Downgraded::to(&v1::State { core: state.core })
        } else {
            Downgraded::to(&state)
        }
    }

    fn convert_event(
        direction: Direction,
        vsn: &str,
        event: Event,
    ) -> Result<Option<Event>, String> {
        let Event::Cast(body) = &event else {
            return Ok(Some(event));
        };
        let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
            return Ok(Some(event));
        };
        match object["convert"].as_str() {
            None => Ok(Some(event)),
            Some("none") => Ok(None),
            Some("error") => Err("told not to convert".to_owned()),
            Some(_) => {
                let way = if direction == Direction::Up {
                    "up"
                } else {
                    "down"
                };
                object["converted"] = json!(format!("{way} from {vsn}"));
                Ok(Some(Event::Cast(object.to_string().into_bytes())))
            }
        }
    }

    fn on_load(config: Json<'_>) -> Result<(), String> {
        ops::on_load(config)
    }
    fn apply(cx: &mut Cx, name: &str, args: Json<'_>) -> Result<(), String> {
        ops::apply(cx, "v2", name, args)
    }
    fn terminate(cx: &mut Cx, reason: &str, state: &State) {
        ops::terminate(cx, reason, &state.core);
    }
}

midflight_guest::export!(Probe);
