//! Events for the tests of journals.

use crate::engine::event::{Event, Fact};
use crate::engine::words::RolloutState;

pub fn event(rollout: &str, seq: u64) -> Event {
    let fact = Fact::State {
        state: RolloutState::Running,
        reason: format!("number {seq}"),
    };
    Event {
        rollout: rollout.parse().unwrap(),
        seq,
        time_ms: seq,
        fact,
    }
}
