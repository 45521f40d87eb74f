//! The counter of the article, version 2.0.0: its state is a record. As in the article, the migration sets
//! `increment_count` to the old count, and an increment sets it to 1.

use api::counter::v2::{Call, Cast, Info, Reply};
use midflight_guest::{Change, Cx, Downgraded, GenServer, NoArgs, OldState, ReplyTo, state};

#[state]
#[derive(Default)]
pub struct Record {
    pub count: u64,
    pub increment_count: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub last_updated: Option<u64>,
}

pub struct Counter;

impl GenServer for Counter {
    type State = Record;
    type Args = NoArgs;
    type Call = Call;
    type Reply = Reply;
    type Cast = Cast;

    fn init(_: &mut Cx, _: NoArgs) -> Result<Record, String> {
        Ok(Record::default())
    }

    fn handle_cast(cx: &mut Cx, state: &mut Record, Cast::Increment: Cast) -> Result<(), String> {
        *state = Record {
            count: state.count + 1,
            increment_count: 1,
            last_updated: Some(cx.now_wall()),
        };
        Ok(())
    }

    fn handle_call(
        _: &mut Cx,
        state: &mut Record,
        call: Call,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        Ok(Some(match call {
            Call::GetCount => Reply::Count(state.count),
            Call::GetInfo => {
                let Record {
                    count,
                    increment_count,
                    last_updated,
                } = *state;
                Reply::Info(Info {
                    count,
                    increment_count,
                    last_updated,
                })
            }
        }))
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<Record, String> {
        match change.vsn() {
            "1.0.0" => {
                let count = old.decode::<u64>()?;
                Ok(Record {
                    count,
                    increment_count: count,
                    last_updated: Some(change.now_wall()),
                })
            }
            _ => old.decode(),
        }
    }

    fn code_change_down(change: &mut Change<'_>, state: Record) -> Result<Downgraded, String> {
        match change.vsn() {
            "1.0.0" => Downgraded::to(&state.count),
            _ => Downgraded::to(&state),
        }
    }
}
