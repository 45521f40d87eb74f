//! The pi server of "A Guide to Hot Code Reloading in Elixir", version 1.0.0: its state is the number.

use api::pi::{Call, Reply};
use midflight_guest::{Cx, GenServer, NoArgs, ReplyTo};

struct Pi;

impl GenServer for Pi {
    type State = f64;
    type Args = NoArgs;
    type Call = Call;
    type Reply = Reply;
    type Cast = ();

    // The guide's number, not the constant.
    #[allow(clippy::approx_constant)]
    fn init(_: &mut Cx, _: NoArgs) -> Result<f64, String> {
        Ok(3.14)
    }

    fn handle_call(
        _: &mut Cx,
        value: &mut f64,
        Call::Get: Call,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        Ok(Some(*value))
    }
}

midflight_guest::export!(Pi);
