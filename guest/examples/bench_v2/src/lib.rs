//! The benchmark's actor, version 2.0.0: its state is a record of the sum, the sum at the migration and when that was.

use api::bench::{AGAIN, Reply};
use midflight_guest::{Change, Cx, Downgraded, GenServer, OldState, Raw, ReplyTo, state};

#[state]
#[derive(Default)]
struct Record {
    sum: u64,
    sum_then: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    then: u64,
}

struct Bench;

impl GenServer for Bench {
    type State = Record;
    /// The first sum.
    type Args = Option<u64>;
    type Call = Raw;
    type Reply = Reply;
    type Cast = Raw;

    fn init(_: &mut Cx, first: Option<u64>) -> Result<Record, String> {
        Ok(Record {
            sum: first.unwrap_or(0),
            ..Record::default()
        })
    }

    fn handle_cast(cx: &mut Cx, state: &mut Record, cast: Raw) -> Result<(), String> {
        state.sum += cast.0.len() as u64;
        match cast.0 == AGAIN {
            true => cx.cast(cx.me(), &cast),
            false => Ok(()),
        }
    }

    fn handle_call(
        _: &mut Cx,
        state: &mut Record,
        Raw(bytes): Raw,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        state.sum += bytes.len() as u64;
        Ok(Some(state.sum))
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<Record, String> {
        match change.vsn() {
            "1.0.0" => {
                let sum = old.decode()?;
                Ok(Record {
                    sum,
                    sum_then: sum,
                    then: change.now_wall(),
                })
            }
            _ => old.decode(),
        }
    }

    fn code_change_down(change: &mut Change<'_>, state: Record) -> Result<Downgraded, String> {
        match change.vsn() {
            "1.0.0" => Downgraded::to(&state.sum),
            _ => Downgraded::to(&state),
        }
    }
}

midflight_guest::export!(Bench);
