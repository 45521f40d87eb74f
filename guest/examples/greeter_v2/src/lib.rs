//! The greeter of the book chapter "Changing the Engine Mid-Flight", version 2.0.0: the same, said differently. Its state has no new
//! shape, so it needs no code_change: a soft patch.

use api::greeter::{Call, Cast, Reply};
use midflight_guest::{Cx, GenServer, Level, NoArgs, ReplyTo};

fn greeting(name: &str) -> String {
    format!("Howdy, {name}! Welcome to Erlang!")
}

struct Greeter;

impl GenServer for Greeter {
    type State = ();
    type Args = NoArgs;
    type Call = Call;
    type Reply = Reply;
    type Cast = Cast;

    fn init(_: &mut Cx, _: NoArgs) -> Result<(), String> {
        Ok(())
    }

    fn handle_cast(cx: &mut Cx, _: &mut (), Cast::Greet { name }: Cast) -> Result<(), String> {
        cx.log(Level::Info, &greeting(&name));
        Ok(())
    }

    fn handle_call(
        _: &mut Cx,
        _: &mut (),
        Call::Greet { name }: Call,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        Ok(Some(greeting(&name)))
    }
}

midflight_guest::export!(Greeter);
