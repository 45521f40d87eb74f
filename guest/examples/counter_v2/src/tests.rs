//! The article's session: an integer becomes a record, and back.

use crate::counter::{Counter, Record};
use api::counter::v2::{Call, Cast, Info, Reply};
use midflight_guest::native::{down, handle, up};
use midflight_guest::{Event, Message, wit};

#[test]
fn the_articles_session_gives_the_articles_record() {
    let (state, _) = up::<Counter>("1.0.0", "", &2_u64).expect("migrates");
    let call = Event::Call(wit::Request {
        caller: 8,
        id: 1,
        body: Call::GetInfo.encode().expect("encodes"),
    });
    let (_, batch) = handle::<Counter>(&state, vec![call]).expect("runs");
    let [wit::Effect::Reply(answer)] = &batch.steps[0].effects[..] else {
        panic!("one answer")
    };
    let info = Info {
        count: 2,
        increment_count: 2,
        last_updated: Some(946_684_800_000_000_000),
    };
    assert_eq!(Reply::decode(&answer.body), Ok(Reply::Info(info)));
}

#[test]
fn an_increment_counts_on_from_the_migrated_count() {
    let (state, _) = up::<Counter>("1.0.0", "", &2_u64).expect("migrates");
    let (state, _) = handle::<Counter>(
        &state,
        vec![Event::Cast(Cast::Increment.encode().expect("encodes"))],
    )
    .expect("runs");
    assert_eq!((state.count, state.increment_count), (3, 1));
    assert_eq!(
        down::<Counter, u64>("1.0.0", "", &state).map(|(count, _)| count),
        Ok(3)
    );
}

#[test]
fn a_second_upgrade_keeps_the_record() {
    let record = Record {
        count: 9,
        increment_count: 1,
        last_updated: None,
    };
    let (same, _) = up::<Counter>("2.0.0", "", &record).expect("migrates");
    assert_eq!(
        (same.count, same.increment_count, same.last_updated),
        (9, 1, None)
    );
}
