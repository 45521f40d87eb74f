//! What a batch promises, for an actor that can be told to do anything.

use midflight_guest::native::{self, handle, host};
use midflight_guest::{
    Body, Cx, Event, GenServer, Id, Level, Message, ReplyTo, Spawn, message, state, wit,
};
use std::time::Duration;

#[message]
enum Do {
    Add(u64),
    /// Changes the state, then fails.
    AddThenFail(u64),
    Spawn,
    Log,
    Stop,
    Timer,
    Random,
    Find,
    PutOff,
    Release,
}

#[state]
#[derive(Default, PartialEq)]
struct Sums {
    sum: u64,
    children: Vec<u64>,
    put_off: Option<ReplyTo>,
}

struct Actor;

impl GenServer for Actor {
    type State = Sums;
    type Args = Option<u64>;
    type Call = Do;
    type Reply = u64;
    type Cast = Do;

    fn init(cx: &mut Cx, args: Option<u64>) -> Result<Sums, String> {
        match args {
            Some(0) => Err("not from 0".to_owned()),
            Some(13) => {
                cx.stop("not with 13");
                Ok(Sums::default())
            }
            sum => Ok(Sums {
                sum: sum.unwrap_or(0),
                ..Sums::default()
            }),
        }
    }

    fn handle_cast(cx: &mut Cx, state: &mut Sums, cast: Do) -> Result<(), String> {
        match cast {
            Do::Add(n) => state.sum += n,
            Do::AddThenFail(n) => {
                state.sum += n;
                cx.send("somebody", &n)?;
                return Err(format!("cannot add {n}"));
            }
            Do::Spawn => {
                let child = cx.spawn(Spawn::new("actor", state.sum))?;
                state.children.push(child.0);
            }
            Do::Log => cx.log(Level::Info, "told to log"),
            Do::Stop => cx.stop("normal"),
            Do::Timer => {
                cx.start_timer(Duration::from_micros(1500), &state.sum)?;
                cx.start_timer(Duration::ZERO, &state.sum)?;
            }
            Do::Random => state.sum = cx.random() ^ cx.random(),
            Do::Find => state.sum = cx.whereis("somebody").map_or(0, |pid| pid.0),
            Do::PutOff => {}
            Do::Release => {
                if let Some(to) = state.put_off.take() {
                    cx.reply(to, &state.sum)?;
                }
            }
        }
        Ok(())
    }

    fn handle_call(
        _: &mut Cx,
        state: &mut Sums,
        call: Do,
        from: ReplyTo,
    ) -> Result<Option<u64>, String> {
        match call {
            Do::PutOff => {
                state.put_off = Some(from);
                Ok(None)
            }
            _ => Ok(Some(state.sum)),
        }
    }

    fn handle_timer(_: &mut Cx, state: &mut Sums, id: Id, body: Body<'_>) -> Result<(), String> {
        state.sum = id.0 + body.decode::<u64>()?;
        Ok(())
    }
}

fn cast(message: Do) -> Event {
    Event::Cast(message.encode().expect("encodes"))
}

fn call(message: Do) -> Event {
    Event::Call(wit::Request {
        caller: 8,
        id: 5,
        body: message.encode().expect("encodes"),
    })
}

fn sum(sum: u64) -> Sums {
    Sums {
        sum,
        ..Sums::default()
    }
}

#[test]
fn a_batch_is_one_step_per_event_and_the_state_after_the_last() {
    let (state, batch) =
        handle::<Actor>(&sum(1), vec![cast(Do::Add(2)), cast(Do::Add(3))]).expect("runs");
    assert_eq!((state.sum, batch.steps.len(), batch.error), (6, 2, None));
}

#[test]
fn a_state_that_did_not_change_is_not_returned() {
    let (_, batch) = handle::<Actor>(
        &sum(1),
        vec![cast(Do::Add(2)), cast(Do::Random), call(Do::Log)],
    )
    .expect("runs");
    assert!(batch.state.is_some());
    let (_, batch) = handle::<Actor>(&sum(1), vec![call(Do::Log), cast(Do::Log)]).expect("runs");
    assert_eq!(batch.state, None);
}

#[test]
fn an_error_inside_a_batch_leaves_the_state_as_it_was_before_that_event() {
    let events = vec![
        cast(Do::Add(2)),
        cast(Do::Add(3)),
        cast(Do::AddThenFail(100)),
        cast(Do::Add(1000)),
    ];
    let (state, batch) = handle::<Actor>(&sum(1), events).expect("runs");
    assert_eq!((state.sum, batch.steps.len()), (6, 2));
    assert_eq!(batch.error.as_deref(), Some("cannot add 100"));
    assert!(
        batch.steps.iter().all(|step| step.effects.is_empty()),
        "the failed event's send is not released"
    );
}

#[test]
fn an_error_at_the_first_event_changes_nothing() {
    let (state, batch) =
        handle::<Actor>(&sum(1), vec![cast(Do::AddThenFail(100)), cast(Do::Add(2))]).expect("runs");
    assert_eq!((state.sum, batch.steps.len(), batch.state), (1, 0, None));
    assert_eq!(batch.error.as_deref(), Some("cannot add 100"));
}

#[test]
fn the_second_run_after_an_error_asks_and_tells_the_host_nothing_again() {
    host(|host| host.names.insert("somebody".to_owned(), 40));
    let events = vec![
        cast(Do::Find),
        cast(Do::Spawn),
        cast(Do::Log),
        cast(Do::Add(2)),
        cast(Do::AddThenFail(1)),
    ];
    let (state, batch) = handle::<Actor>(&sum(1), events).expect("runs");
    assert_eq!((state.sum, state.children), (42, vec![1_000_001]));
    assert!(
        matches!(&batch.steps[1].effects[..], [wit::Effect::Spawn(spawn)] if spawn.pid == 1_000_001)
    );
    host(|host| {
        assert_eq!(host.reserved, 1);
        assert_eq!(host.lines, [(Level::Info, "told to log".to_owned())]);
    });
}

#[test]
fn a_stop_ends_the_batch_and_its_own_step_counts() {
    let (state, batch) = handle::<Actor>(
        &sum(1),
        vec![cast(Do::Add(2)), cast(Do::Stop), cast(Do::Add(9))],
    )
    .expect("runs");
    assert_eq!((state.sum, batch.error), (3, None));
    let nexts: Vec<_> = batch.steps.iter().map(|step| &step.next).collect();
    assert!(
        matches!(nexts[..], [wit::Next::Continue, wit::Next::Stop(reason)] if reason == "normal")
    );
}

#[test]
fn a_message_that_is_none_of_the_actors_is_an_error() {
    let (_, batch) = handle::<Actor>(&sum(1), vec![Event::Cast(vec![200])]).expect("runs");
    assert!(
        batch
            .error
            .is_some_and(|error| error.starts_with("a cast that is none here: "))
    );
}

#[test]
fn an_event_that_nobody_handles_is_noted_and_passed_over() {
    let (_, batch) = handle::<Actor>(&sum(1), vec![Event::Info(vec![1])]).expect("runs");
    assert_eq!((batch.steps.len(), batch.error), (1, None));
    host(|host| {
        assert_eq!(
            host.lines,
            [(
                Level::Warn,
                "a message that this actor does not handle".to_owned()
            )]
        )
    });
}

#[test]
fn a_call_is_answered_at_once_or_later() {
    let (state, batch) = handle::<Actor>(
        &sum(4),
        vec![
            call(Do::Log),
            call(Do::PutOff),
            cast(Do::Add(1)),
            cast(Do::Release),
        ],
    )
    .expect("runs");
    let answers = |step: usize| match &batch.steps[step].effects[..] {
        [wit::Effect::Reply(answer)] => Some((answer.caller, answer.id, answer.body.clone())),
        _ => None,
    };
    assert_eq!(answers(0), Some((8, 5, 4_u64.encode().expect("encodes"))));
    assert_eq!(answers(1), None);
    assert_eq!(answers(3), Some((8, 5, 5_u64.encode().expect("encodes"))));
    assert_eq!(state.put_off, None);
}

#[test]
fn ids_are_the_events_own_and_times_are_rounded_up() {
    let (_, batch) =
        handle::<Actor>(&sum(4), vec![cast(Do::Timer), cast(Do::Timer)]).expect("runs");
    let timers: Vec<_> = batch
        .steps
        .iter()
        .flat_map(|step| &step.effects)
        .map(|effect| match effect {
            wit::Effect::StartTimer(timer) => (timer.id, timer.after_ms),
            other => panic!("{other:?} is no timer"),
        })
        .collect();
    assert_eq!(
        timers,
        [
            (1 << 16, 2),
            ((1 << 16) + 1, 0),
            (2 << 16, 2),
            ((2 << 16) + 1, 0)
        ]
    );
}

#[test]
fn random_numbers_follow_from_the_events_seed() {
    let run = || {
        handle::<Actor>(&sum(0), vec![cast(Do::Random)])
            .expect("runs")
            .0
            .sum
    };
    assert_eq!(run(), run());
    assert_ne!(run(), 0);
}

#[test]
fn init_takes_json_and_can_refuse() {
    use midflight_guest::Module;
    let init = |args: &str| Module::<Actor>::init(native::cx(1), args.into());
    assert!(init("").is_ok_and(|started| started.effects.is_empty()));
    assert!(init("3").is_ok());
    assert_eq!(init("0").map(drop), Err("not from 0".to_owned()));
    assert_eq!(init("13").map(drop), Err("not with 13".to_owned()));
    assert!(
        init("{").is_err_and(|error| error.starts_with("arguments of init: not the expected JSON"))
    );
}

#[test]
fn describe_and_parse_are_each_others_way_back_and_describe_is_bounded() {
    use midflight_guest::Module;
    let bytes = Module::<Actor>::parse(r#"{"sum":5,"children":[1,2],"put_off":null}"#.to_owned())
        .expect("parses");
    let text = Module::<Actor>::describe(bytes.clone(), 100).expect("describes");
    assert_eq!(text, r#"{"sum":5,"children":[1,2],"put_off":null}"#);
    assert_eq!(Module::<Actor>::parse(text), Ok(bytes.clone()));
    let refused = Module::<Actor>::describe(bytes, 10);
    assert_eq!(
        refused,
        Err("the state is 41 bytes of JSON, 10 were asked for at most".to_owned())
    );
}
