//! A first actor: every second it says hello in the node's log and counts.

use midflight_guest::{Body, Cx, GenServer, Id, Level, NoArgs};
use std::time::Duration;

struct Hello;

impl GenServer for Hello {
    type State = u64;
    type Args = NoArgs;
    type Call = ();
    type Reply = ();
    type Cast = ();

    fn init(cx: &mut Cx, _: NoArgs) -> Result<u64, String> {
        cx.start_timer(Duration::from_secs(1), &())?;
        Ok(0)
    }

    fn handle_timer(cx: &mut Cx, said: &mut u64, _: Id, _: Body<'_>) -> Result<(), String> {
        *said += 1;
        cx.log(Level::Info, &format!("hello number {said}"));
        cx.start_timer(Duration::from_secs(1), &())?;
        Ok(())
    }
}

midflight_guest::export!(Hello);
