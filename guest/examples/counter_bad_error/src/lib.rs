//! A bad version of the counter: its migration returns an error for every count of `fail_at` or more, as the patch's
//! `extra` says (`{"fail_at": 500}`; 0 when it says nothing). So a patch can fail for a few actors of many.

// Of the sound version, only what this one spoils is replaced.
#[path = "../../counter_v2/src/counter.rs"]
mod counter;

use api::counter::v2::{Call, Cast, Reply};
use counter::{Counter, Record};
use midflight_guest::serde::Deserialize;
use midflight_guest::{Change, Cx, Downgraded, GenServer, NoArgs, OldState, ReplyTo};

#[derive(Deserialize, Default)]
#[serde(crate = "midflight_guest::serde", default)]
struct Extra {
    fail_at: u64,
}

struct BadError;

impl GenServer for BadError {
    type State = Record;
    type Args = NoArgs;
    type Call = Call;
    type Reply = Reply;
    type Cast = Cast;

    fn init(cx: &mut Cx, args: NoArgs) -> Result<Record, String> {
        Counter::init(cx, args)
    }

    fn handle_cast(cx: &mut Cx, state: &mut Record, cast: Cast) -> Result<(), String> {
        Counter::handle_cast(cx, state, cast)
    }

    fn handle_call(
        cx: &mut Cx,
        state: &mut Record,
        call: Call,
        from: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        Counter::handle_call(cx, state, call, from)
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<Record, String> {
        let fail_at = change
            .extra()
            .decode::<Option<Extra>>()?
            .unwrap_or_default()
            .fail_at;
        let state = Counter::code_change(change, old)?;
        if state.count >= fail_at {
            return Err(format!("a count of {} cannot be migrated", state.count));
        }
        Ok(state)
    }

    fn code_change_down(change: &mut Change<'_>, state: Record) -> Result<Downgraded, String> {
        Counter::code_change_down(change, state)
    }
}

midflight_guest::export!(BadError);
