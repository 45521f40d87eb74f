//! The benchmark's actor, version 1.0.0: its state is a number. It does what `gen_server` does in the comparison with
//! Erlang: a cast adds the length of its bytes, a call does too and answers with the sum.

use api::bench::Reply;
use midflight_guest::{Cx, GenServer, NoArgs, Raw, ReplyTo};

struct Bench;

impl GenServer for Bench {
    type State = u64;
    type Args = NoArgs;
    type Call = Raw;
    type Reply = Reply;
    type Cast = Raw;

    fn init(_: &mut Cx, _: NoArgs) -> Result<u64, String> {
        Ok(0)
    }

    fn handle_cast(_: &mut Cx, sum: &mut u64, Raw(bytes): Raw) -> Result<(), String> {
        *sum += bytes.len() as u64;
        Ok(())
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
