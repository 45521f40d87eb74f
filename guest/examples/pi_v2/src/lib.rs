//! The pi server of the guide, version 2.0.0: its state is a list that holds the number, and its answers are the same.

use api::pi::{Call, Reply};
use midflight_guest::{Change, Cx, Downgraded, GenServer, NoArgs, OldState, ReplyTo};

struct Pi;

impl GenServer for Pi {
    type State = Vec<f64>;
    type Args = NoArgs;
    type Call = Call;
    type Reply = Reply;
    type Cast = ();

    // The guide's number, not the constant.
    #[allow(clippy::approx_constant)]
    fn init(_: &mut Cx, _: NoArgs) -> Result<Vec<f64>, String> {
        Ok(vec![3.14])
    }

    fn handle_call(
        _: &mut Cx,
        values: &mut Vec<f64>,
        Call::Get: Call,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        only(values).map(Some)
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<Vec<f64>, String> {
        match change.vsn() {
            "1.0.0" => Ok(vec![old.decode()?]),
            _ => old.decode(),
        }
    }

    fn code_change_down(change: &mut Change<'_>, values: Vec<f64>) -> Result<Downgraded, String> {
        match change.vsn() {
            "1.0.0" => Downgraded::to(&only(&values)?),
            _ => Downgraded::to(&values),
        }
    }
}

fn only(values: &[f64]) -> Result<f64, String> {
    match values {
        [value] => Ok(*value),
        _ => Err(format!(
            "a list of {} numbers where one was expected",
            values.len()
        )),
    }
}

midflight_guest::export!(Pi);
