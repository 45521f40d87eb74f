//! Gates that compare, from what nodes measure to what becomes of the rollout; and a gate that is a program.

use std::time::Duration;

use midflight_controller::engine::event::Fact;
use midflight_controller::engine::gate::Verdict;
use midflight_controller::engine::measure::Histogram;
use midflight_controller::engine::words::{Outcome, RolloutState};
use midflight_controller::transport::memory::Script;
use midflight_proto::agent::v1 as pb;

use crate::world::{World, count, good};

const P99: &str = "waves: [1, 50%, 100%]\nbake: 30s\ngates: [{p99: 1.2x, against: control}]\n";

/// So many measured events a second, which take so many microseconds.
fn each_second(events: u64, micros: u64) -> pb::VersionMeasures {
    pb::VersionMeasures {
        events: events * 32,
        latency: Some(pb::Distribution {
            buckets: vec![u32::from(Histogram::bucket(micros * 1_000 / 64))],
            counts: vec![events],
        }),
        ..pb::VersionMeasures::default()
    }
}

fn takes(old: u64, new: u64, events: u64) -> impl Fn(usize) -> Script {
    move |number| Script {
        measures: [each_second(events, old), each_second(events, new)],
        ..good(number)
    }
}

fn verdicts(world: &World) -> Vec<Verdict> {
    let events = world.events().into_iter();
    let verdict = |fact| match fact {
        Fact::Gate { verdict, .. } => Some(verdict),
        _ => None,
    };
    events.filter_map(|event| verdict(event.fact)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_is_as_fast_as_the_control_set_goes_out() {
    let mut world = World::new(20, P99, takes(900, 900, 100));
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 20));
    // The last wave has no control set, and is compared with itself on the old code.
    assert_eq!(
        verdicts(&world),
        [Verdict::Pass, Verdict::Pass, Verdict::Pass]
    );
    // The canary is asked at its gate; a node of the control set at both ends of the bakes of two waves, and at its own gate.
    let asked = |node: &str| {
        let calls = world.fleet.calls(node);
        calls.iter().filter(|call| **call == "describe").count()
    };
    assert_eq!(asked("n1"), 2);
    let planned = ended.view.planned.as_ref().unwrap();
    assert_eq!(planned.controls[0].len(), 3);
    for node in &planned.controls[0] {
        assert_eq!(asked(node), 6, "{node}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_is_slower_than_the_control_set_is_rolled_back_after_its_canary() {
    let mut world = World::new(20, P99, takes(900, 1_500, 100));
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (3, 0));
    assert_eq!(count(&ended, Outcome::Pending), 19);
    let verdicts = verdicts(&world);
    let [Verdict::Trip(reasons)] = verdicts.as_slice() else {
        panic!("{verdicts:?}")
    };
    assert!(
        reasons[0].starts_with("p99: 1.5 ms in this wave, "),
        "{reasons:?}"
    );
    assert!(
        reasons[0].ends_with("in the control set; at most 1.2x may be"),
        "{reasons:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_control_set_a_wave_is_compared_with_itself_before() {
    let policy = "waves: [100%]\nbake: 30s\ngates: [{p99: 1.2x, against: control}]\n";
    let mut world = World::new(3, policy, takes(900, 1_500, 100));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (3, 0));
    let all = format!("{:?}", verdicts(&world));
    assert!(all.contains("on the same nodes before"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_waits_for_data_passes_when_it_has_enough() {
    // 30 s give 300 measured events of the 1,000 that a 99th percentile needs.
    let mut world = World::new(20, P99, takes(900, 900, 10));
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 20));
    let verdicts = verdicts(&world);
    assert!(
        matches!(&verdicts[0], Verdict::Inconclusive(reasons) if reasons[0].ends_with("and 1000 are needed")),
        "{verdicts:?}"
    );
    assert!(verdicts.contains(&Verdict::Pass));
}

#[tokio::test(start_paused = true)]
async fn a_gate_without_data_holds_the_wave_and_pauses_the_rollout() {
    let policy = format!("{P99}timeouts: {{gate: 2m}}\n");
    let mut world = World::new(20, &policy, takes(900, 900, 1));
    world
        .die_at(|fact| {
            matches!(fact, Fact::State { state: RolloutState::Paused, reason } if reason.contains("measured events in this wave"))
        })
        .await;
    assert_eq!(world.on_new(), 1, "the canary alone, in probation");
    assert!(
        world
            .fleet
            .calls("n1")
            .iter()
            .all(|call| *call != "confirm")
    );
}

#[tokio::test]
async fn a_program_that_says_no_rolls_the_wave_back() {
    let policy = "waves: [1, 100%]\nbake: 0s\ngates: [{exec: {command: [sh, -c, 'exit 1']}}]\n";
    let mut world = World::new(4, policy, good);
    let ended = world.apply().await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (3, 0));
    let all = format!("{:?}", verdicts(&world));
    assert!(all.contains("exit code 1"), "{all}");
}
