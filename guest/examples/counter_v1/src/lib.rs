//! The counter of the article "Hot Reloading Code in Erlang", version 1.0.0: its state is an integer.

use api::counter::v1::{Call, Cast, Reply};
use midflight_guest::{Cx, GenServer, NoArgs, ReplyTo};

struct Counter;

impl GenServer for Counter {
    type State = u64;
    type Args = NoArgs;
    type Call = Call;
    type Reply = Reply;
    type Cast = Cast;

    fn init(_: &mut Cx, _: NoArgs) -> Result<u64, String> {
        Ok(0)
    }

    fn handle_cast(_: &mut Cx, count: &mut u64, Cast::Increment: Cast) -> Result<(), String> {
        *count += 1;
        Ok(())
    }

    fn handle_call(
        _: &mut Cx,
        count: &mut u64,
        Call::GetCount: Call,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        Ok(Some(Reply::Count(*count)))
    }
}

midflight_guest::export!(Counter);
