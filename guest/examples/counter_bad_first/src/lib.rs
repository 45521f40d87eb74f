//! A bad version of the counter: it migrates well, and traps on every message. So its actors park on their first message
//! after the patch, and the rollback has the old code answer it.

// Of the sound version, only what this one spoils is replaced.
#[path = "../../counter_v2/src/counter.rs"]
mod counter;

use api::counter::v2::{Call, Cast, Reply};
use counter::{Counter, Record};
use midflight_guest::{Change, Cx, Downgraded, GenServer, NoArgs, OldState, ReplyTo};

struct BadFirst;

impl GenServer for BadFirst {
    type State = Record;
    type Args = NoArgs;
    type Call = Call;
    type Reply = Reply;
    type Cast = Cast;

    fn init(cx: &mut Cx, args: NoArgs) -> Result<Record, String> {
        Counter::init(cx, args)
    }

    fn handle_cast(_: &mut Cx, _: &mut Record, cast: Cast) -> Result<(), String> {
        panic!("{cast:?} was not thought of")
    }

    fn handle_call(
        _: &mut Cx,
        _: &mut Record,
        call: Call,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        panic!("{call:?} was not thought of")
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<Record, String> {
        Counter::code_change(change, old)
    }

    fn code_change_down(change: &mut Change<'_>, state: Record) -> Result<Downgraded, String> {
        Counter::code_change_down(change, state)
    }
}

midflight_guest::export!(BadFirst);
