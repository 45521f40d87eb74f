//! The engine against a fleet in memory, on paused time: what happens to nodes, what is in the journal, and the exit code.
#![allow(clippy::unwrap_used)]

mod controls;
mod gates;
mod lockstep;
mod recovery;
mod world;

use std::time::Duration;

use midflight_controller::engine::event::Fact;
use midflight_controller::engine::view::View;
use midflight_controller::engine::words::{Outcome, Phase, RolloutState};
use midflight_controller::journal::{Memory, Ram};
use midflight_controller::output::Silent;
use midflight_controller::transport::memory::Script;
use midflight_proto::agent::v1 as pb;
use tokio::sync::mpsc;

use crate::world::{FAST, World, count, good, only, shown};

#[tokio::test(start_paused = true)]
async fn a_healthy_fleet_is_patched_wave_by_wave() {
    let mut world = World::new(20, FAST, good);
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), ended.over), (0, true));
    assert_eq!(
        (world.on_new(), count(&ended, Outcome::Confirmed)),
        (20, 20)
    );
    assert_eq!(
        world.fleet.calls("n7"),
        [
            "describe", "stage", "stage", "upgrade", "describe", "confirm", "finish"
        ]
    );
    // The canary is confirmed before any other node is asked to upgrade.
    let events = world.events();
    let at = |wanted: &dyn Fn(&Fact) -> bool| {
        events.iter().position(|event| wanted(&event.fact)).unwrap()
    };
    let canary = at(
        &|fact| matches!(fact, Fact::Node { node, outcome: Outcome::Confirmed, .. } if node == "n1"),
    );
    let second =
        at(&|fact| matches!(fact, Fact::Ask { node, phase: Phase::Upgrade, .. } if node == "n2"));
    assert!(canary < second);
    // Without gaps, and the fold of the journal is what was seen live.
    assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    assert_eq!(View::of(&events).summarise(), ended.view.summarise());
}

#[tokio::test(start_paused = true)]
async fn a_canary_whose_prepare_fails_ends_the_rollout_with_no_node_changed() {
    let script = Script {
        fails_in: Some(pb::Phase::Prepare),
        ..good(1)
    };
    let mut world = World::new(20, FAST, only(1, script));
    let ended = world.apply().await;
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (2, RolloutState::Failed)
    );
    assert_eq!((world.on_new(), count(&ended, Outcome::Pending)), (0, 19));
    assert_eq!(world.fleet.calls("n2"), ["describe"]);
    insta::assert_snapshot!(shown(&ended));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_parks_actors_is_rolled_back() {
    let health = pb::Health {
        parked: 3,
        traps: 3,
        events: 40,
        ..Default::default()
    };
    let mut world = World::new(20, FAST, only(1, Script { health, ..good(1) }));
    let ended = world.apply().await;
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (3, RolloutState::RolledBack)
    );
    assert_eq!(world.on_new(), 0);
    insta::assert_snapshot!(shown(&ended));
}

#[tokio::test(start_paused = true)]
async fn a_bad_node_in_a_later_wave_rolls_back_the_confirmed_ones_too() {
    let health = pb::Health {
        traps: 1,
        ..Default::default()
    };
    let mut world = World::new(20, FAST, only(13, Script { health, ..good(1) }));
    let ended = world.apply().await;
    assert_eq!(ended.view.exit().code(), 3);
    assert_eq!(
        (world.on_new(), count(&ended, Outcome::RolledBack)),
        (0, 20)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_fails_somewhere_says_where() {
    let health = pb::Health {
        traps: 1,
        ..Default::default()
    };
    let mut world = World::new(4, FAST, |number| match number {
        2 => Script {
            rollback_fails: true,
            ..good(2)
        },
        4 => Script {
            health: health.clone(),
            ..good(4)
        },
        number => good(number),
    });
    let ended = world.apply().await;
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (4, RolloutState::Failed)
    );
    assert_eq!(count(&ended, Outcome::RollbackFailed), 1);
    insta::assert_snapshot!(shown(&ended));
}

#[tokio::test(start_paused = true)]
async fn dead_nodes_within_the_budget_are_left_out_and_listed() {
    let dead = Script {
        dead: true,
        ..Script::default()
    };
    let mut world = World::new(20, FAST, only(1, dead));
    let ended = world.apply().await;
    assert_eq!(ended.view.exit().code(), 7);
    assert_eq!(
        (
            count(&ended, Outcome::Confirmed),
            count(&ended, Outcome::Unreachable)
        ),
        (19, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn too_many_dead_nodes_are_a_refusal() {
    let mut world = World::new(20, FAST, |number| Script {
        dead: number <= 2,
        ..good(number)
    });
    let (_keep, controls) = mpsc::channel(1);
    let error = world.apply_until(controls, &mut Silent).await.unwrap_err();
    assert_eq!((error.code(), error.exit().code()), ("MF0508", 2));
    assert_eq!(world.fleet.calls("n3"), ["describe"]);
}

#[tokio::test(start_paused = true)]
async fn failures_within_the_budget_leave_the_rest_confirmed() {
    let policy = "waves: [1, 50%, 100%]\nfailure_budget: {max: 2, min_sample: 5}\n";
    let mut world = World::new(40, policy, |number| match number {
        30 => Script {
            fails_in: Some(pb::Phase::Migrate),
            ..good(30)
        },
        31 => Script {
            restarts: true,
            ..good(31)
        },
        number => good(number),
    });
    let ended = world.apply().await;
    assert_eq!(ended.view.exit().code(), 7);
    assert_eq!(
        (
            count(&ended, Outcome::Confirmed),
            count(&ended, Outcome::Untouched)
        ),
        (38, 1)
    );
    assert_eq!(count(&ended, Outcome::RolledBack), 1);
    insta::assert_snapshot!(shown(&ended));
}

#[tokio::test(start_paused = true)]
async fn one_failure_too_many_rolls_everything_back() {
    let policy = "waves: [1, 50%, 100%]\nfailure_budget: {max: 1, min_sample: 5}\n";
    let mut world = World::new(40, policy, |number| Script {
        fails_in: (number > 37).then_some(pb::Phase::Migrate),
        ..good(number)
    });
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (3, 0));
    assert!(
        ended.view.reason.contains("the budget is 1"),
        "{}",
        ended.view.reason
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_after_resume_is_found_out_and_costs_nothing() {
    let script = Script {
        breaks_after: Some(pb::Phase::Resume),
        silent_for: 3,
        ..good(1)
    };
    let mut world = World::new(4, FAST, only(2, script));
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_before_resume_leaves_the_node_untouched() {
    let script = Script {
        breaks_after: Some(pb::Phase::Load),
        ..good(1)
    };
    let mut world = World::new(4, FAST, only(1, script));
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (2, 0));
    assert_eq!(count(&ended, Outcome::Untouched), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_lost_for_good_is_unknown_and_the_rest_is_rolled_back() {
    let script = Script {
        breaks_after: Some(pb::Phase::Resume),
        stays_away: true,
        ..good(1)
    };
    // It waits for an order when its lease has run out.
    let policy = format!("{FAST}probation: {{on_lost_contact: hold}}\n");
    let mut world = World::new(4, &policy, only(3, script));
    let ended = world.apply().await;
    assert_eq!(
        (ended.view.exit().code(), count(&ended, Outcome::Unknown)),
        (4, 1)
    );
    // Only the lost node may still run the new code.
    assert_eq!(world.on_new(), 1);
    insta::assert_snapshot!(shown(&ended));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_run_the_patch_already_are_counted_and_not_touched() {
    let mut world = World::new(4, FAST, good);
    world.fleet.bring_to_new("n1");
    world.fleet.bring_to_new("n2");
    let ended = world.apply().await;
    assert_eq!(
        (
            ended.view.exit().code(),
            count(&ended, Outcome::AlreadyCurrent)
        ),
        (0, 2)
    );
    assert_eq!(world.fleet.calls("n1"), ["describe"]);
    // Nothing is left to do the second time.
    world.journal = Memory::default();
    let again = world.apply().await;
    assert_eq!(
        (
            again.view.exit().code(),
            count(&again, Outcome::AlreadyCurrent)
        ),
        (0, 4)
    );
}

#[tokio::test(start_paused = true)]
async fn another_rollout_on_a_node_is_a_refusal_that_names_it() {
    let mut world = World::new(4, FAST, good);
    world
        .fleet
        .hold("n3", "r-other", pb::UpgradeState::Probation);
    let (_keep, controls) = mpsc::channel(1);
    let error = world.apply_until(controls, &mut Silent).await.unwrap_err();
    assert_eq!((error.code(), error.exit().code()), ("MF0506", 2));
    assert!(error.to_string().contains("r-other"));
}

#[tokio::test(start_paused = true)]
async fn no_more_nodes_are_in_flight_than_the_rule_allows() {
    let policy = "waves: [1, 100%]\nconcurrency: 30\nfailure_budget: {min_sample: 8}\n";
    let mut world = World::new(200, policy, good);
    let ended = world.apply().await;
    assert_eq!(ended.view.exit().code(), 0);
    assert_eq!(world.fleet.most_in_flight(), 30);
    let mut world = World::new(6, "waves: [100%]\nfailure_budget: {min_sample: 2}\n", good);
    world.apply().await;
    assert!(
        world.fleet.most_in_flight() <= 4,
        "{}",
        world.fleet.most_in_flight()
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_succeeded_can_be_rolled_back_later() {
    let mut world = World::new(6, FAST, good);
    assert_eq!(world.apply().await.view.exit().code(), 0);
    let ended = world.roll_back().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 0));
    assert_eq!(count(&ended, Outcome::RolledBack), 6);
    let events = world.events();
    assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    assert_eq!(View::of(&events).owner.unwrap().user, "bob");
    assert!(View::of(&events).changed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_a_node_that_the_journal_could_not_take() {
    let mut world = World::new(6, FAST, good);
    let disk = Ram::default();
    disk.leave_room(Some(1));
    world.journal = Memory::open(Box::new(disk)).unwrap();
    let ended = world.apply().await;
    assert!(!ended.over && ended.error.is_some());
    assert_eq!(world.fleet.calls("n1"), ["describe"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_nodes_take_hardly_longer_than_twenty() {
    let mut world = World::new(1_000, "waves: [1, 1%, 10%, 100%]\n", good);
    let started = tokio::time::Instant::now();
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 1_000));
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

/// What a node costs the engine, simulated agents and a journal in memory included; printed, because machines differ.
#[tokio::test(start_paused = true)]
async fn ten_thousand_nodes_are_patched_and_put_back() {
    const NODES: u32 = 10_000;
    let policy =
        "waves: [1, 1%, 10%, 100%]\nconcurrency: 10000\nfailure_budget: {min_sample: 1000}\n";
    let mut world = World::new(NODES as usize, policy, good);
    let began = std::time::Instant::now();
    let ended = world.apply().await;
    let each = began.elapsed() / NODES;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 10_000));
    let events = world.events().len();
    println!("{each:?} a node, {events} events");
    assert!(events < 4 * 10_000, "{events} events");
    let began = std::time::Instant::now();
    let ended = world.roll_back().await;
    println!("{:?} a node, back", began.elapsed() / NODES);
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 0));
}
