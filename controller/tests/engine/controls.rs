//! What people ask while a rollout runs: pause, resume, promote, abort, rollback, retry, and how soon it takes hold.

use std::time::Duration;

use midflight_controller::engine::control::{Answer, Verb, ask};
use midflight_controller::engine::event::Fact;
use midflight_controller::engine::words::{Outcome, Phase, RolloutState, WaveStage};
use midflight_controller::journal::{Journal as _, Memory};
use midflight_controller::output::Silent;
use midflight_controller::transport::memory::Script;
use midflight_proto::agent::v1 as pb;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::world::{AskAt, FAST, World, count, good, is_asked, only, request};

fn enters(stage: WaveStage) -> impl FnMut(&Fact) -> bool + Send {
    move |fact| matches!(fact, Fact::Wave { stage: now, .. } if *now == stage)
}

#[tokio::test(start_paused = true)]
async fn an_abort_takes_hold_at_once_and_leaves_what_is_confirmed() {
    let slow = |number| Script {
        phase: Duration::from_secs(if number == 4 { 600 } else { 1 }),
        ..Script::default()
    };
    let mut world = World::new(5, "waves: [1, 100%]\ntimeouts: {prepare: 1h}\n", slow);
    let (to, controls) = mpsc::channel(2);
    // n2 is in probation when n4 is still preparing.
    let when = |fact: &Fact| matches!(fact, Fact::Node { node, outcome: Outcome::InProbation, .. } if node == "n2");
    let mut reporter = AskAt::new(to, Verb::Abort { keep: false }, when);
    let ended = world.apply_until(controls, &mut reporter).await.unwrap();
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (6, RolloutState::Aborted)
    );
    assert_eq!((count(&ended, Outcome::Confirmed), world.on_new()), (1, 1));
    let took = Duration::from_millis(ended.view.last_ms - ended.view.started_ms);
    assert!(took < Duration::from_secs(60));
    assert!(world.fleet.calls("n1").contains(&"finish"));
}

#[tokio::test(start_paused = true)]
async fn a_pause_keeps_the_leases_of_nodes_in_probation_for_hours() {
    let policy = "waves: [1, 100%]\nprobation: {lease: 30s}\nbake: 10s\n";
    let mut world = World::new(20, policy, good);
    let (to, controls) = mpsc::channel(2);
    let mut seen = 0;
    let second_bake = move |fact: &Fact| {
        seen += u32::from(matches!(
            fact,
            Fact::Wave {
                stage: WaveStage::Baking,
                ..
            }
        ));
        seen == 2
    };
    let mut reporter = AskAt::new(to.clone(), Verb::Pause, second_bake);
    let resume = async {
        sleep(Duration::from_secs(4 * 3600)).await;
        ask(&to, request(Verb::Resume)).await
    };
    let (ended, answer) = tokio::join!(world.apply_until(controls, &mut reporter), resume);
    let ended = ended.unwrap();
    assert_eq!(answer, Some(Answer::Done));
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 20));
    let took = Duration::from_millis(ended.view.last_ms - ended.view.started_ms);
    assert!(took >= Duration::from_secs(4 * 3600));
    // Nineteen nodes, every ten seconds.
    let renewals = world.fleet.renewals();
    assert!((19 * 1_400..19 * 1_500).contains(&renewals), "{renewals}");
}

#[tokio::test(start_paused = true)]
async fn a_promotion_goes_on_to_the_next_wave_before_the_bake_is_over() {
    let mut world = World::new(4, "waves: [1, 100%]\nbake: 1h\n", good);
    let (to, controls) = mpsc::channel(2);
    let promotes = async {
        let mut answers = Vec::new();
        while answers.len() < 2 {
            sleep(Duration::from_secs(1)).await;
            let promote = Verb::Promote {
                accept_inconclusive: None,
            };
            if ask(&to, request(promote)).await == Some(Answer::Done) {
                answers.push(Instant::now());
            }
        }
    };
    let mut silent = Silent;
    let (ended, ()) = tokio::join!(world.apply_until(controls, &mut silent), promotes);
    let view = ended.unwrap().view;
    assert_eq!((view.exit().code(), world.on_new()), (0, 4));
    assert!(view.last_ms - view.started_ms < 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_is_asked_for_puts_everything_back_and_is_a_success() {
    let mut world = World::new(12, FAST, good);
    let (to, controls) = mpsc::channel(2);
    let when = |fact: &Fact| is_asked(fact, "n9", Phase::Upgrade);
    let mut reporter = AskAt::new(to, Verb::Rollback, when);
    let ended = world.apply_until(controls, &mut reporter).await.unwrap();
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (0, RolloutState::RolledBack)
    );
    assert_eq!(world.on_new(), 0);
    assert!(ended.view.requested);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_the_end_takes_up_the_nodes_that_failed_with_a_new_attempt() {
    let once = Script {
        fails_in: Some(pb::Phase::Migrate),
        fails: Some(1),
        ..good(1)
    };
    let policy = "waves: [1, 100%]\nfailure_budget: {max: 1, min_sample: 2}\n";
    let mut world = World::new(6, policy, only(5, once));
    assert_eq!(world.apply().await.view.exit().code(), 7);
    assert_eq!(world.on_new(), 5);
    let retry = Some(request(Verb::RetryFailed));
    let ended = world.go_on(retry, None, &mut Silent).await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 6));
    assert_eq!(count(&ended, Outcome::Confirmed), 6);
    assert_eq!(ended.view.waves.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_told_and_counts_as_a_failure() {
    let policy = "waves: [100%]\nprobation: {lease: 30s}\nbake: 10m\nfailure_budget: {max: 1, min_sample: 1}\n";
    let mut world = World::new(3, policy, good);
    let fleet = world.fleet.clone();
    let cut = async {
        sleep(Duration::from_secs(60)).await;
        fleet.cut_off("n2", true);
        sleep(Duration::from_secs(60)).await;
        fleet.cut_off("n2", false);
    };
    let (ended, ()) = tokio::join!(world.apply(), cut);
    assert_eq!((ended.view.exit().code(), world.on_new()), (7, 2));
    let node = ended.view.node("n2").unwrap();
    assert!(!world.fleet.runs_new("n2"));
    assert!(
        matches!(node.outcome, Outcome::RolledBack | Outcome::Untouched),
        "{node:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_process_that_detaches_ends_with_nothing_in_flight_and_the_next_goes_on() {
    let mut world = World::new(12, FAST, good);
    let (to, controls) = mpsc::channel(2);
    let mut reporter = AskAt::new(to, Verb::Detach, |fact: &Fact| {
        is_asked(fact, "n3", Phase::Upgrade)
    });
    let ended = world.apply_until(controls, &mut reporter).await.unwrap();
    assert!(!ended.over && ended.error.is_none());
    assert_eq!(ended.view.state, RolloutState::Running);
    assert_eq!((world.fleet.in_flight(), world.fleet.aborts()), (0, 0));
    assert!(ended.view.nodes.iter().all(|node| node.asked.is_none()));
    let ended = world.go_on(None, None, &mut Silent).await;
    assert_eq!((ended.view.exit().code(), world.on_new()), (0, 12));
    for number in 1..=12 {
        assert_eq!(world.fleet.resumed(&format!("n{number}")), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_wakes_up_late_stops_when_a_node_refuses_its_order() {
    let mut world = World::new(4, "waves: [1, 100%]\nbake: 1m\n", good);
    world.die_at(enters(WaveStage::Baking)).await;
    // Two processes believe that they own it from here on, each with a journal of its own.
    let mut late = World {
        journal: Memory::default(),
        ..world.clone()
    };
    let before = world.events();
    late.journal.append(&before).await.unwrap();
    let ended = world.go_on(None, None, &mut Silent).await;
    assert_eq!(ended.view.exit().code(), 0);
    let after = world.events();
    // The later one has the higher epoch on every node.
    let owned = after
        .iter()
        .filter(|event| matches!(event.fact, Fact::Owned { .. }));
    assert_eq!(owned.count(), 1);
    late.wakes_up = true;
    let ended = late.go_on(None, None, &mut Silent).await;
    assert_eq!(ended.error.unwrap().code(), "MF0550");
    assert!(!ended.over);
    assert_eq!(world.on_new(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_changes_nothing_and_says_who_would_fail_and_how_long_the_pause_would_be() {
    let fails = Script {
        fails_in: Some(pb::Phase::Prepare),
        ..good(1)
    };
    let mut world = World::new(9, FAST, only(4, fails));
    world.prepare_only = true;
    let ended = world.apply().await;
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (2, RolloutState::Failed)
    );
    assert_eq!((world.on_new(), count(&ended, Outcome::Prepared)), (0, 8));
    assert_eq!(ended.view.pauses().unwrap().max, 0.7);
    assert_eq!(world.fleet.resumed("n1"), 0);
    world.prepare_only = false;
}

/// Of this thread, which runs the engine and the whole fleet: other load on the machine does not count.
fn worked() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// Ten thousand nodes in flight, on real time: how soon every one of them has its abort.
#[tokio::test]
async fn an_abort_reaches_ten_thousand_nodes_in_flight_within_a_second() {
    const NODES: usize = 10_000;
    let stuck = |_| Script {
        phase: Duration::from_secs(3_600),
        ..Script::default()
    };
    let policy = "waves: [100%]\nconcurrency: 10000\nfailure_budget: {min_sample: 10000}\ntimeouts: {prepare: 1h}\n";
    let mut world = World::new(NODES, policy, stuck);
    let (to, controls) = mpsc::channel(2);
    let fleet = world.fleet.clone();
    let abort = async {
        while fleet.in_flight() < NODES {
            sleep(Duration::from_millis(10)).await;
        }
        let (asked, before) = (Instant::now(), worked());
        let answer = ask(&to, request(Verb::Abort { keep: false })).await;
        assert_eq!(answer, Some(Answer::Done));
        while fleet.aborts() < NODES {
            tokio::task::yield_now().await;
        }
        (asked.elapsed(), worked() - before)
    };
    let mut silent = Silent;
    let (ended, (took, worked)) = tokio::join!(world.apply_until(controls, &mut silent), abort);
    println!("{NODES} nodes had their abort after {took:?}, {worked:?} of work");
    assert!(worked < Duration::from_secs(1), "{worked:?}");
    assert_eq!(ended.unwrap().view.exit().code(), 6);
}
