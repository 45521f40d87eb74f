//! What a patch may expect of an actor's migration.

use midflight_guest::native::{self, down, up};
use midflight_guest::serde::Deserialize;
use midflight_guest::{
    Change, Cx, Direction, Downgraded, Event, GenServer, Message, Module, NoArgs, OldState, state,
    wit,
};

/// Version 2 of an actor whose version 1 held a number.
#[state]
#[derive(PartialEq)]
struct State {
    count: u64,
    note: String,
}

#[derive(Deserialize)]
#[serde(crate = "midflight_guest::serde")]
struct Extra {
    fail_at: u64,
}

struct Actor;

impl GenServer for Actor {
    type State = State;
    type Args = NoArgs;
    type Call = ();
    type Reply = ();
    type Cast = u64;

    fn init(_: &mut Cx, _: NoArgs) -> Result<State, String> {
        Ok(State {
            count: 0,
            note: String::new(),
        })
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<State, String> {
        let extra: Option<Extra> = change.extra().decode()?;
        match change.vsn() {
            "1.0.0" => {
                let count = old.decode::<u64>()?;
                if extra.is_some_and(|extra| count >= extra.fail_at) {
                    return Err(format!("cannot migrate {count}"));
                }
                change.redeliver_cast(&count)?;
                Ok(State {
                    count,
                    note: format!("at {}", change.now_wall()),
                })
            }
            _ => old.decode(),
        }
    }

    fn code_change_down(change: &mut Change<'_>, state: State) -> Result<Downgraded, String> {
        match change.vsn() {
            "1.0.0" => Downgraded::to(&state.count),
            _ => Downgraded::to(&state),
        }
    }
}

#[test]
fn an_old_state_is_decoded_as_any_type_and_events_can_be_redelivered() {
    let (state, redelivered) = up::<Actor>("1.0.0", "", &3_u64).expect("migrates");
    assert_eq!(
        state,
        State {
            count: 3,
            note: "at 946684800000000000".to_owned()
        }
    );
    assert!(matches!(&redelivered[..], [Event::Cast(body)] if u64::decode(body) == Ok(3)));
}

#[test]
fn a_second_upgrade_between_equal_shapes_keeps_the_state() {
    let state = State {
        count: 3,
        note: "kept".to_owned(),
    };
    let (same, redelivered) = up::<Actor>("2.0.0", "", &state).expect("migrates");
    assert_eq!((same, redelivered.len()), (state, 0));
}

#[test]
fn a_state_of_another_shape_is_an_error() {
    let error = up::<Actor>("1.0.0", "", &(3_u64, 4_u64)).map(drop);
    assert_eq!(
        error,
        Err("the old state has another shape: 1 of 2 bytes are left over".to_owned())
    );
}

#[test]
fn the_way_down_returns_the_older_shape() {
    let state = State {
        count: 3,
        note: "dropped".to_owned(),
    };
    assert_eq!(
        down::<Actor, u64>("1.0.0", "", &state).map(|(count, _)| count),
        Ok(3)
    );
    assert_eq!(
        down::<Actor, State>("2.0.0", "", &state).map(|(same, _)| same),
        Ok(state)
    );
}

#[test]
fn a_state_that_cannot_be_migrated_fails_alone() {
    let items = [1_u64, 500, 2]
        .map(|count| (native::cx(count), count.encode().expect("encodes")))
        .into();
    let extra = br#"{"fail_at": 500}"#.to_vec();
    let migrated = Module::<Actor>::code_change(Direction::Up, "1.0.0".to_owned(), extra, items);
    let outcomes: Vec<_> = migrated
        .into_iter()
        .map(|outcome| outcome.map(drop))
        .collect();
    assert_eq!(
        outcomes,
        [Ok(()), Err("cannot migrate 500".to_owned()), Ok(())]
    );
}

#[test]
fn an_extra_of_another_shape_is_an_error() {
    let error = up::<Actor>("1.0.0", r#"{"fail_at": "x"}"#, &3_u64).map(drop);
    assert!(error.is_err_and(|error| error.starts_with("not the expected JSON")));
}

#[test]
fn an_event_from_the_other_side_of_a_patch_is_passed_on() {
    let event = Event::Down(wit::Down {
        pid: 3,
        reason: "normal".to_owned(),
    });
    let converted = Module::<Actor>::convert_event(Direction::Up, "1.0.0".to_owned(), event);
    assert!(matches!(converted, Ok(Some(Event::Down(down))) if down.pid == 3));
}
