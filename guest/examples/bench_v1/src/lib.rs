//! The benchmark's actor, version 1.0.0: its state is a number. It does what `gen_server` does in the comparison with
//! Erlang: a cast adds the length of its bytes, a call does too and answers with the sum.

use api::bench::{AGAIN, Reply};
use midflight_guest::{Cx, GenServer, Raw, ReplyTo};

struct Bench;

impl GenServer for Bench {
    type State = u64;
    /// The first sum.
    type Args = Option<u64>;
    type Call = Raw;
    type Reply = Reply;
    type Cast = Raw;

    fn init(_: &mut Cx, first: Option<u64>) -> Result<u64, String> {
        Ok(first.unwrap_or(0))
    }

    fn handle_cast(cx: &mut Cx, sum: &mut u64, cast: Raw) -> Result<(), String> {
        *sum += cast.0.len() as u64;
        match cast.0 == AGAIN {
            true => cx.cast(cx.me(), &cast),
            false => Ok(()),
        }
    }

    fn handle_call(
        _: &mut Cx,
        sum: &mut u64,
        Raw(bytes): Raw,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        *sum += bytes.len() as u64;
        Ok(Some(*sum))
    }
}

midflight_guest::export!(Bench);
