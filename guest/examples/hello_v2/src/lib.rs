//! The first actor's second version: it says who is greeted, which its state now holds. The count goes on, and so does
//! the timer that the first version started.

use midflight_guest::{
    Body, Change, Cx, Downgraded, GenServer, Id, Level, NoArgs, OldState, state,
};
use std::time::Duration;

#[state]
struct State {
    said: u64,
    name: String,
}

struct Hello;

impl GenServer for Hello {
    type State = State;
    type Args = NoArgs;
    type Call = ();
    type Reply = ();
    type Cast = ();

    fn init(cx: &mut Cx, _: NoArgs) -> Result<State, String> {
        cx.start_timer(Duration::from_secs(1), &())?;
        Ok(State {
            said: 0,
            name: "world".to_owned(),
        })
    }

    fn handle_timer(cx: &mut Cx, state: &mut State, _: Id, _: Body<'_>) -> Result<(), String> {
        state.said += 1;
        cx.log(
            Level::Info,
            &format!("hello {} number {}", state.name, state.said),
        );
        cx.start_timer(Duration::from_secs(1), &())?;
        Ok(())
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<State, String> {
        match change.vsn() {
            "1.0.0" => Ok(State {
                said: old.decode()?,
                name: "world".to_owned(),
            }),
            _ => old.decode(),
        }
    }

    fn code_change_down(change: &mut Change<'_>, state: State) -> Result<Downgraded, String> {
        match change.vsn() {
            "1.0.0" => Downgraded::to(&state.said),
            _ => Downgraded::to(&state),
        }
    }
}

midflight_guest::export!(Hello);
