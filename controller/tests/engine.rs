//! The engine against a fleet in memory, on paused time: what happens to nodes, what is in the journal, and the exit code.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use midflight_controller::engine::control::{Control, Request, Verb};
use midflight_controller::engine::event::{Event, Fact, Owner, Place, Planned};
use midflight_controller::engine::node::Order;
use midflight_controller::engine::payload::Payload;
use midflight_controller::engine::rollout::{Input, Rollout};
use midflight_controller::engine::view::View;
use midflight_controller::engine::words::{Outcome, Phase, RolloutState};
use midflight_controller::engine::{self, Ended, Reporter, Run, survey};
use midflight_controller::journal::{Journal, Memory, Ram};
use midflight_controller::output::{self, Silent};
use midflight_controller::plan;
use midflight_controller::policy::{self, Policy};
use midflight_controller::transport::Transport;
use midflight_controller::transport::memory::{Fleet, Script};
use midflight_inventory::Inventory;
use midflight_patch::{Bundle, Manifest};
use midflight_proto::agent::v1 as pb;
use tokio::sync::mpsc;

const FAST: &str = "waves: [1, 25%, 100%]\n";

fn bundle() -> Bundle {
    let component = b"not run here".to_vec();
    let blob = midflight_patch::Digest::of(&component);
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "schema": 1, "name": "demo", "from": "1", "to": "2", "world": midflight_patch::WORLD,
        "modules": [{
            "name": "counter", "vsn": "2", "from": "1", "update": "advanced", "extra": null, "config": null,
            "blob": blob, "size": component.len(),
        }],
        "start": [], "listen": null,
    }))
    .unwrap();
    let blobs = [(blob, component)].into();
    Bundle::assemble(manifest.to_bytes().unwrap(), blobs, Vec::new()).unwrap()
}

/// A fleet of `n1` to `n<size>`, where some nodes misbehave.
struct World {
    fleet: Arc<Fleet>,
    size: usize,
    policy: Policy,
    journal: Memory,
}

impl World {
    fn new(size: usize, policy: &str, misbehave: impl Fn(usize) -> Script) -> Self {
        let mut fleet = Fleet::default();
        for number in 1..=size {
            fleet.add(&format!("n{number}"), "demo", "1", "2", misbehave(number));
        }
        let policy = policy::parse(policy, "policy.yaml").unwrap();
        Self {
            fleet: Arc::new(fleet),
            size,
            policy,
            journal: Memory::default(),
        }
    }

    async fn apply(&mut self) -> Ended {
        let (_keep, controls) = mpsc::channel(1);
        self.apply_until(controls, &mut Silent).await.unwrap()
    }

    async fn apply_until(
        &mut self,
        controls: mpsc::Receiver<Control>,
        reporter: &mut dyn Reporter,
    ) -> Result<Ended, midflight_controller::Error> {
        let text = format!(
            "groups: {{all_of_them: {{hosts: {{'n[1:{}]': null}}}}}}\n",
            self.size
        );
        let inventory = Inventory::parse(&text, "fleet.yaml").unwrap();
        let targets = plan::targets(&inventory, "all", true)?;
        let transport: Arc<dyn Transport> = self.fleet.clone();
        let links = survey::links(&targets, &transport, &self.policy);
        let answers = survey::survey(&links, &self.policy).await;
        let payload = Arc::new(Payload::from(bundle()));
        let plan = plan::plan(
            targets,
            answers,
            &payload.manifest,
            &[],
            &self.policy,
            &inventory,
        )?;
        let names: Arc<[String]> = plan
            .targets
            .iter()
            .map(|target| target.name.clone())
            .collect();
        let wave = |nodes: &[usize]| nodes.iter().map(|node| names[*node].clone()).collect();
        let planned = Planned {
            name: "demo".into(),
            from: "1".into(),
            to: "2".into(),
            patch: payload.digest.clone(),
            policy: self.policy.digest().to_string(),
            pattern: "all".into(),
            on_down_failure: "hold".into(),
            owner: Owner {
                pid: 1,
                host: "here".into(),
                user: "eve".into(),
            },
            waves: plan.waves.iter().map(|it| wave(&it.nodes)).collect(),
            nodes: plan.targets.iter().map(Place::from).collect(),
        };
        let mut preface = vec![Fact::Planned(Box::new(planned))];
        let mut outcomes = Vec::new();
        let settled = [
            (Outcome::AlreadyCurrent, plan.current),
            (
                Outcome::Unreachable,
                plan.unreachable.iter().map(|(node, _)| *node).collect(),
            ),
        ];
        for (outcome, nodes) in settled {
            for node in nodes {
                outcomes.push((node, outcome));
                let node = names[node].clone();
                preface.push(Fact::Node {
                    node,
                    outcome,
                    pause_us: None,
                    cause: None,
                    rollback: None,
                });
            }
        }
        Ok(engine::run(Run {
            id: id(),
            machine: Rollout::new(names, plan.waves, &outcomes, &self.policy),
            view: View::default(),
            preface,
            first: Input::Start,
            links,
            order: self.order(&payload.digest),
            payload: Some(payload),
            concurrency: self.policy.concurrency,
            journal: Arc::new(self.journal.clone()),
            reporter,
            controls,
        })
        .await)
    }

    /// As `midflight rollback`: from the journal alone.
    async fn roll_back(&mut self) -> Ended {
        let view = View::of(&self.events());
        let planned = view.planned.clone().unwrap();
        let targets: Vec<_> = planned.nodes.iter().map(Into::into).collect();
        let transport: Arc<dyn Transport> = self.fleet.clone();
        let changed = view.changed();
        let outcomes = view.nodes.iter().map(|node| node.outcome).enumerate();
        let others: Vec<_> = outcomes
            .filter(|(node, _)| !changed.iter().any(|(other, _)| other == node))
            .collect();
        let names = planned
            .nodes
            .iter()
            .map(|place| place.name.clone())
            .collect();
        let (_keep, controls) = mpsc::channel(1);
        engine::run(Run {
            id: id(),
            machine: Rollout::resumed(names, &changed, &others, &self.policy),
            view,
            preface: vec![
                Fact::Control {
                    request: Request {
                        verb: Verb::Rollback,
                        who: "bob".into(),
                        reason: String::new(),
                    },
                    refused: None,
                },
                Fact::Owned {
                    owner: Owner {
                        pid: 2,
                        host: "there".into(),
                        user: "bob".into(),
                    },
                    epoch: 2,
                },
            ],
            first: Input::RollBack("a rollback was asked for".into()),
            links: survey::links(&targets, &transport, &self.policy),
            order: self.order(&planned.patch),
            payload: None,
            concurrency: self.policy.concurrency,
            journal: Arc::new(self.journal.clone()),
            reporter: &mut Silent,
            controls,
        })
        .await
    }

    fn order(&self, digest: &str) -> Arc<Order> {
        let key = pb::Key {
            rollout_id: id().to_string(),
            patch_digest: digest.to_owned(),
            attempt: 1,
        };
        let (timeouts, on_down_failure) = (self.policy.timeouts, self.policy.on_down_failure);
        Arc::new(Order {
            epoch: 1,
            key,
            timeouts,
            on_down_failure,
        })
    }

    fn events(&self) -> Vec<Event> {
        let all = self.journal.events(&id(), 0, usize::MAX);
        all.now_or_never().unwrap().unwrap()
    }

    fn on_new(&self) -> usize {
        (1..=self.size)
            .filter(|number| self.fleet.runs_new(&format!("n{number}")))
            .count()
    }
}

fn id() -> midflight_controller::engine::id::RolloutId {
    "20261121-test".parse().unwrap()
}

fn good(_: usize) -> Script {
    Script {
        phase: Duration::from_millis(10),
        ..Script::default()
    }
}

/// One node misbehaves.
fn only(number: usize, script: Script) -> impl Fn(usize) -> Script {
    move |node| {
        if node == number {
            script.clone()
        } else {
            good(node)
        }
    }
}

fn count(ended: &Ended, outcome: Outcome) -> u64 {
    ended.view.outcomes().get(&outcome).copied().unwrap_or(0)
}

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
        at(&|fact| matches!(fact, Fact::Ask { node, phase: Phase::Upgrade } if node == "n2"));
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
    let mut world = World::new(4, FAST, only(3, script));
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

/// Says stop when an event comes that it waits for.
struct StopAt<F> {
    to: mpsc::Sender<Control>,
    verb: Option<Verb>,
    when: F,
}

impl<F: Fn(&Fact) -> bool + Send> Reporter for StopAt<F> {
    fn event(&mut self, event: &Event, _: &View) {
        if (self.when)(&event.fact)
            && let Some(verb) = self.verb.take()
        {
            let request = Request {
                verb,
                who: "eve".into(),
                reason: String::new(),
            };
            let (answer, _) = tokio::sync::oneshot::channel();
            self.to.try_send(Control { request, answer }).unwrap();
        }
    }
}

fn phase_begins(wanted: &'static str, phase: Phase) -> impl Fn(&Fact) -> bool + Send {
    move |fact| matches!(fact, Fact::Step { node, phase: now, .. } if node == wanted && *now == phase)
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
    let mut reporter = StopAt {
        to,
        verb: Some(Verb::Abort { keep: false }),
        when,
    };
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
async fn a_process_that_leaves_at_once_leaves_a_journal_that_a_rollback_can_use() {
    let mut world = World::new(8, FAST, good);
    let (to, controls) = mpsc::channel(2);
    let when = phase_begins("n2", Phase::Resume);
    let mut reporter = StopAt {
        to,
        verb: Some(Verb::Detach),
        when,
    };
    let ended = world.apply_until(controls, &mut reporter).await.unwrap();
    assert!(!ended.over);
    assert_eq!(ended.view.state, RolloutState::Running);
    let view = View::of(&world.events());
    assert!(
        view.changed()
            .iter()
            .any(|(node, known)| view.nodes[*node].name == "n1" && *known)
    );
    assert!(
        view.changed()
            .iter()
            .any(|(node, known)| view.nodes[*node].name == "n2" && !*known)
    );
    let ended = world.roll_back().await;
    assert_eq!(
        (ended.view.exit().code(), ended.view.state),
        (0, RolloutState::RolledBack)
    );
    assert_eq!(world.on_new(), 0);
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

/// The summary without times.
fn shown(ended: &Ended) -> String {
    let text = output::summary(&id(), &ended.view);
    let (head, rest) = text.split_once('\n').unwrap();
    let (before, after) = head.split_once(" after ").unwrap();
    format!("{before}:{}\n{rest}", after.split_once(':').unwrap().1)
}
