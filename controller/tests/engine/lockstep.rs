//! Batches that go from barrier to barrier.

use std::time::Duration;

use midflight_controller::engine::event::Fact;
use midflight_controller::engine::words::{Barrier, Outcome};
use midflight_controller::transport::memory::Script;
use midflight_proto::agent::v1 as pb;

use crate::world::{World, count, good, only};

const LOCKSTEP: &str =
    "mode: lockstep\nwaves: [1, 100%]\nfailure_budget: {max: 4, min_sample: 1}\n";

fn zoned(size: usize, policy: &str, misbehave: impl Fn(usize) -> Script) -> World {
    let mut world = World::new(size, policy, misbehave);
    world.zones = 4;
    world
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_together_and_the_time_in_which_versions_mix_is_told() {
    let slow = |number: usize| Script {
        phase: Duration::from_millis(10 * number as u64),
        ..Script::default()
    };
    let mut world = zoned(8, LOCKSTEP, slow);
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 8));
    let mut open = None;
    let mut mixed = Vec::new();
    for event in world.events() {
        match event.fact {
            Fact::Batch {
                barrier, mixed_ms, ..
            } => {
                open = Some(barrier);
                mixed.extend(mixed_ms);
            }
            // Nobody runs the new code before the last node of its batch is ready for it.
            Fact::Node {
                outcome: Outcome::InProbation,
                ..
            } => assert_eq!(open, Some(Barrier::Resume)),
            _ => {}
        }
    }
    assert!(
        !mixed.is_empty() && mixed.iter().all(|mixed| *mixed <= 80),
        "{mixed:?}"
    );
    assert_eq!(ended.view.summarise().mixed_ms, mixed.into_iter().max());
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_a_node_that_fails_keeps_the_old_code_whole() {
    let fails = Script {
        fails_in: Some(pb::Phase::Migrate),
        ..good(1)
    };
    let mut world = zoned(8, LOCKSTEP, only(6, fails));
    let ended = world.apply().await;
    assert_eq!(ended.view.exit().code(), 7);
    // Two nodes a zone: the one that failed and the one that waited for it.
    assert_eq!((world.on_new(), count(&ended, Outcome::Untouched)), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_lost_at_resume_takes_its_batch_back() {
    let lost = Script {
        breaks_after: Some(pb::Phase::Resume),
        stays_away: true,
        ..good(1)
    };
    let policy = format!("{LOCKSTEP}probation: {{on_lost_contact: hold}}\n");
    let mut world = zoned(8, &policy, only(6, lost));
    let ended = world.apply().await;
    assert_eq!(ended.view.exit().code(), 4);
    // The lost one alone may run the new code of its batch.
    assert_eq!((world.on_new(), count(&ended, Outcome::RolledBack)), (7, 1));
}
