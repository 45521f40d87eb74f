//! The state machine alone: what follows from an input, without clock or network.

use proptest::prelude::*;

use super::*;
use crate::engine::control::{Answer, Request, Verb};
use crate::engine::event::{Health, Owner, Place, Planned, RollbackCounts};
use crate::engine::gate::Verdict;
use crate::engine::words::Barrier;
use crate::policy::OnFailure;

fn rollout(waves: &[usize]) -> Rollout {
    rollout_with(waves, &Policy::default())
}

fn rollout_with(waves: &[usize], policy: &Policy) -> Rollout {
    rollout_of(plan(waves), policy)
}

fn rollout_of(planned: Planned, policy: &Policy) -> Rollout {
    let mut rollout = Rollout::new(policy);
    rollout.fold(0, &Fact::Planned(Box::new(planned)));
    rollout
}

fn plan(waves: &[usize]) -> Planned {
    let total: usize = waves.iter().sum();
    let mut names = (0..total).map(|node| format!("n{node}"));
    let waves: Vec<Vec<String>> = waves
        .iter()
        .map(|size| names.by_ref().take(*size).collect())
        .collect();
    let place = |name: &String| Place {
        name: name.clone(),
        address: String::new(),
        port: 0,
        ssh: None,
    };
    Planned {
        nodes: waves.iter().flatten().map(place).collect(),
        bakes_ms: vec![5_000; waves.len()],
        waves,
        ..Planned::default()
    }
}

fn cause() -> Cause {
    Cause {
        code: "MF0301".into(),
        phase: Phase::Prepare,
        what: "no".into(),
        subject: String::new(),
        hint: String::new(),
        actors: Vec::new(),
        actor_count: 0,
    }
}

/// Actions as short words; facts only where a state is entered.
fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Record(fact) => match &**fact {
            Fact::State { state, .. } => Some(state.to_string()),
            _ => None,
        },
        Action::Wait(Timer::Bake, time) => Some(format!("bake {}s", time.as_secs())),
        Action::Wait(timer, time) => Some(format!("{timer:?} {}s", time.as_secs()).to_lowercase()),
        Action::Upgrade {
            node,
            attempt: 1,
            again: false,
        } => Some(format!("upgrade {node}")),
        Action::Upgrade {
            node,
            attempt,
            again,
        } => Some(format!("upgrade {node} attempt {attempt} again {again}")),
        Action::Open(barrier) => Some(format!("open {barrier}")),
        Action::Measure => None,
        Action::Judge => Some("judge".into()),
        Action::Inquire(node) => Some(format!("inquire {node}")),
        Action::Confirm(node) => Some(format!("confirm {node}")),
        Action::Finish(node) => Some(format!("finish {node}")),
        Action::Rollback(node) => Some(format!("rollback {node}")),
        Action::CancelUpgrades => Some("cancel upgrades".into()),
        Action::CancelBatch => Some("cancel batch".into()),
        Action::CancelConfirms => Some("cancel confirms".into()),
        Action::Answer(Answer::Done) => None,
        Action::Answer(Answer::Refused(why)) => Some(format!("refused: {why}")),
        Action::Leave => Some("leave".into()),
        Action::End(state) => Some(format!("end {state}")),
    };
    actions.iter().filter_map(word).collect()
}

fn step(rollout: &mut Rollout, input: Input) -> Vec<String> {
    words(&rollout.step(rollout.now_ms, input))
}

fn ask(rollout: &mut Rollout, verb: Verb) -> Vec<String> {
    step(
        rollout,
        Input::Control(Request {
            verb,
            who: "eve".into(),
            reason: String::new(),
        }),
    )
}

fn judged(verdict: Verdict) -> Input {
    Input::Judged(Judged {
        verdict,
        health: Health::default(),
        lost: Vec::new(),
    })
}

fn passed() -> Input {
    judged(Verdict::Pass)
}

fn undecided() -> Input {
    judged(Verdict::Inconclusive(vec!["3 events".into()]))
}

fn resumed(node: usize) -> Input {
    let probation = Upgraded::Probation {
        pause_us: Some(1),
        steps: Vec::new(),
    };
    Input::Upgraded(node, probation)
}

fn confirmed(node: usize) -> Input {
    Input::Confirmed(node, Standing::Confirmed)
}

fn back(node: usize) -> Input {
    Input::RolledBack(node, Back::RolledBack(RollbackCounts::default()))
}

fn baked() -> Input {
    Input::Elapsed(Timer::Bake)
}

/// Brings the wave of one node through to its end.
fn confirm_canary(r: &mut Rollout) -> Vec<String> {
    step(r, Input::Start);
    step(r, resumed(0));
    step(r, baked());
    step(r, passed());
    step(r, confirmed(0))
}

#[test]
fn a_healthy_rollout_goes_wave_by_wave() {
    let mut r = rollout(&[1, 2]);
    assert_eq!(step(&mut r, Input::Start), ["running", "upgrade 0"]);
    assert_eq!(step(&mut r, resumed(0)), ["bake 5s"]);
    assert_eq!(step(&mut r, baked()), ["judge"]);
    assert_eq!(step(&mut r, passed()), ["confirm 0"]);
    assert_eq!(step(&mut r, confirmed(0)), ["upgrade 1", "upgrade 2"]);
    assert_eq!(step(&mut r, resumed(2)), [""; 0]);
    assert_eq!(step(&mut r, resumed(1)), ["bake 5s"]);
    assert_eq!(step(&mut r, baked()), ["judge"]);
    assert_eq!(step(&mut r, passed()), ["confirm 1", "confirm 2"]);
    step(&mut r, confirmed(1));
    assert_eq!(
        step(&mut r, confirmed(2)),
        ["finish 0", "finish 1", "finish 2"]
    );
    step(&mut r, Input::Finished(0, Ok(())));
    step(&mut r, Input::Finished(1, Err(cause())));
    assert_eq!(
        step(&mut r, Input::Finished(2, Ok(()))),
        ["succeeded", "end succeeded"]
    );
}

#[test]
fn a_canary_that_fails_before_anything_changed_ends_the_rollout_at_once() {
    let mut r = rollout(&[1, 2]);
    step(&mut r, Input::Start);
    let words = step(&mut r, Input::Upgraded(0, Upgraded::Untouched(cause())));
    assert_eq!(words, ["failed", "end failed"]);
}

#[test]
fn a_tripped_gate_rolls_back_confirmed_waves_too() {
    let mut r = rollout(&[1, 1]);
    step(&mut r, Input::Start);
    step(&mut r, resumed(0));
    step(&mut r, baked());
    step(&mut r, passed());
    step(&mut r, confirmed(0));
    step(&mut r, resumed(1));
    step(&mut r, baked());
    let tripped = judged(Verdict::Trip(vec!["1 parked actor".into()]));
    let words = step(&mut r, tripped);
    assert_eq!(
        words,
        [
            "rolling_back",
            "cancel upgrades",
            "cancel confirms",
            "rollback 0",
            "rollback 1"
        ]
    );
    step(&mut r, back(1));
    let words = step(&mut r, back(0));
    assert_eq!(words, ["rolled_back", "end rolled_back"]);
}

#[test]
fn a_node_that_resumes_while_the_rollout_rolls_back_is_rolled_back_too() {
    let mut r = rollout(&[2]);
    step(&mut r, Input::Start);
    let words = step(&mut r, Input::Upgraded(0, Upgraded::Untouched(cause())));
    assert_eq!(
        words,
        ["rolling_back", "cancel upgrades", "cancel confirms"]
    );
    assert_eq!(step(&mut r, resumed(1)), ["rollback 1"]);
    let failed = step(&mut r, Input::RolledBack(1, Back::Unreached(cause())));
    assert_eq!(failed, ["failed", "end failed"]);
}

#[test]
fn an_abort_leaves_what_is_confirmed_and_finishes_it() {
    let mut r = rollout(&[1, 2]);
    step(&mut r, Input::Start);
    step(&mut r, resumed(0));
    step(&mut r, baked());
    step(&mut r, passed());
    step(&mut r, confirmed(0));
    step(&mut r, resumed(1));
    assert_eq!(
        ask(&mut r, Verb::Abort { keep: false }),
        ["cancel upgrades", "rollback 1"]
    );
    step(&mut r, Input::Upgraded(2, Upgraded::Untouched(cause())));
    let words = step(&mut r, back(1));
    assert_eq!(words, ["finish 0"]);
    assert_eq!(
        step(&mut r, Input::Finished(0, Ok(()))),
        ["aborted", "end aborted"]
    );
}

#[test]
fn within_the_budget_a_failed_node_is_put_back_alone_and_the_rollout_goes_on() {
    let mut policy = Policy::default();
    policy.failure_budget.min_sample = 1;
    policy.failure_budget.max = crate::policy::Amount::Nodes(1);
    let mut r = rollout_with(&[1, 2], &policy);
    step(&mut r, Input::Start);
    step(&mut r, resumed(0));
    step(&mut r, baked());
    step(&mut r, passed());
    step(&mut r, confirmed(0));
    assert_eq!(
        step(&mut r, Input::Upgraded(1, Upgraded::Changed(cause()))),
        ["rollback 1"]
    );
    assert_eq!(step(&mut r, resumed(2)), ["bake 5s"]);
}

#[test]
fn late_answers_of_a_rollout_that_is_over_change_nothing() {
    let mut r = rollout(&[1]);
    step(&mut r, Input::Start);
    step(&mut r, Input::Upgraded(0, Upgraded::Untouched(cause())));
    for input in [
        baked(),
        resumed(0),
        confirmed(0),
        Input::RolledBack(0, Back::Untouched),
        Input::Told(0, Standing::Confirmed),
        passed(),
        Input::Start,
    ] {
        assert_eq!(step(&mut r, input), [""; 0]);
    }
}

/// A rollout that is played to its end with answers at random, by processes that die at random.
struct Play<'a> {
    planned: Planned,
    policy: Policy,
    rollout: Rollout,
    facts: Vec<Fact>,
    open: Vec<Action>,
    dice: std::iter::Cycle<std::iter::Copied<std::slice::Iter<'a, u8>>>,
    end: Option<RolloutState>,
    most: u32,
}

impl Play<'_> {
    fn roll(&mut self) -> u8 {
        self.dice.next().unwrap_or(0)
    }

    fn step(&mut self, input: Input) {
        for action in self.rollout.step(0, input) {
            match action {
                Action::Record(fact) => self.facts.push(*fact),
                Action::End(state) => self.end = Some(state),
                action => self.open.push(action),
            }
        }
        self.most = self.most.max(self.rollout.state.nodes.upgrading);
    }

    /// The state is what the facts say, but for answers of finish, which leave none.
    fn check_fold(&self) {
        let mut folded = rollout_of(self.planned.clone(), &self.policy);
        for fact in &self.facts {
            folded.fold(0, fact);
        }
        let mut live = self.rollout.state.clone();
        for state in [&mut live, &mut folded.state] {
            for node in state.nodes.all(|node| node == Node::Finishing) {
                state.nodes.set(node, Node::Settled(Outcome::Confirmed));
            }
        }
        assert_eq!(live, folded.state);
    }

    /// Another process goes on from the facts alone.
    fn die(&mut self) {
        self.rollout = rollout_of(self.planned.clone(), &self.policy);
        for fact in &self.facts {
            self.rollout.fold(0, fact);
        }
        self.open.clear();
        let owned = Fact::Owned {
            owner: Owner::default(),
            epoch: self.rollout.epoch() + 1,
        };
        self.rollout.fold(0, &owned);
        self.facts.push(owned);
        self.step(Input::Recover(None));
    }

    fn answer(&mut self, action: Action) -> Option<Input> {
        let (roll, health) = (self.roll(), Health::default());
        Some(match action {
            Action::Upgrade { node, again, .. } => Input::Upgraded(
                node,
                match roll % 20 {
                    0 => Upgraded::Untouched(cause()),
                    1 => Upgraded::Unknown(cause()),
                    2 => Upgraded::Changed(cause()),
                    3 => Upgraded::AlreadyCurrent,
                    4 => Upgraded::RolledBack(cause()),
                    5 => Upgraded::Superseded(cause()),
                    6..=9 if again => Upgraded::Interrupted(cause()),
                    _ => return Some(resumed(node)),
                },
            ),
            Action::Wait(timer, _) => Input::Elapsed(timer),
            Action::Judge => match roll % 8 {
                0 => undecided(),
                1 if roll > 200 => judged(Verdict::Trip(vec!["1 trap".into()])),
                _ => {
                    let probation = self.rollout.state.nodes.all(|node| node == Node::Probation);
                    let lost = probation.first().filter(|_| roll % 16 == 3).copied();
                    let lost = lost.map(|node| (node, Standing::RolledBack(cause())));
                    Input::Judged(Judged {
                        verdict: Verdict::Pass,
                        health,
                        lost: lost.into_iter().collect(),
                    })
                }
            },
            Action::Inquire(node) => Input::Told(
                node,
                match roll % 8 {
                    0 => Standing::RolledBack(cause()),
                    1 => Standing::Unknown(cause()),
                    _ => Standing::Probation,
                },
            ),
            Action::Confirm(node) => Input::Confirmed(
                node,
                match roll % 32 {
                    0 => Standing::Unknown(cause()),
                    1 => Standing::RolledBack(cause()),
                    _ => Standing::Confirmed,
                },
            ),
            Action::Finish(node) => Input::Finished(node, Ok(())),
            Action::Rollback(node) => match roll % 8 {
                0 => Input::RolledBack(node, Back::Unreached(cause())),
                1 => Input::RolledBack(node, Back::Untouched),
                _ => back(node),
            },
            _ => return None,
        })
    }

    fn play(&mut self, dies: &[usize], asks: &[(usize, u8)]) {
        self.step(Input::Start);
        for step in 0..5_000 {
            if self.end.is_some() {
                return;
            }
            if dies.contains(&step) {
                self.die();
                continue;
            }
            if let Some((_, verb)) = asks.iter().find(|(at, _)| *at == step) {
                let verb = match verb % 7 {
                    0 => Verb::Pause,
                    1 => Verb::Promote {
                        accept_inconclusive: Some("night".into()),
                    },
                    2 => Verb::Abort { keep: false },
                    3 => Verb::Abort { keep: true },
                    4 => Verb::Rollback,
                    5 => Verb::RetryFailed,
                    _ => Verb::Converge {
                        nodes: vec!["n1".into(), "n0".into()],
                    },
                };
                self.step(Input::Control(Request {
                    verb,
                    who: "eve".into(),
                    reason: String::new(),
                }));
                continue;
            }
            if self.open.is_empty() {
                // Whoever paused, resumes or gives up.
                let verb = match self.rollout.failure() {
                    None => Verb::Resume,
                    Some(_) => Verb::Rollback,
                };
                assert!(self.rollout.state.paused, "{:?}", self.rollout.state);
                self.step(Input::Control(Request {
                    verb,
                    who: "eve".into(),
                    reason: String::new(),
                }));
                continue;
            }
            let index = usize::from(self.roll()) % self.open.len();
            let action = self.open.swap_remove(index);
            if let Some(input) = self.answer(action) {
                self.step(input);
                self.check_fold();
            }
        }
    }
}

proptest! {
    #[test]
    fn every_rollout_ends_and_leaves_no_node_in_between_whoever_dies_or_asks(
        seed in prop::collection::vec(any::<u8>(), 8..200),
        waves in prop::collection::vec(1usize..12, 1..4),
        min_sample in 1u32..8,
        pauses in any::<bool>(),
        dies in prop::collection::vec(0usize..120, 0..4),
        asks in prop::collection::vec((0usize..100, any::<u8>()), 0..4),
    ) {
        let mut policy = Policy::default();
        policy.failure_budget.min_sample = min_sample;
        policy.failure_budget.max = crate::policy::Amount::Nodes(2);
        policy.on_failure = if pauses { OnFailure::Pause } else { OnFailure::Rollback };
        let planned = plan(&waves);
        let mut play = Play {
            rollout: rollout_of(planned.clone(), &policy),
            planned,
            policy,
            facts: Vec::new(),
            open: Vec::new(),
            dice: seed.iter().copied().cycle(),
            end: None,
            most: 0,
        };
        play.play(&dies, &asks);
        prop_assert!(play.end.is_some_and(RolloutState::is_final), "{:?}", play.rollout.state);
        for (_, node) in play.rollout.state.nodes.iter() {
            prop_assert!(matches!(node, Node::Settled(_) | Node::Pending), "{node:?}");
        }
        prop_assert!(play.most <= 512);
    }
}

fn paused_with(policy: &str) -> Policy {
    crate::policy::parse(policy, "policy.yaml").unwrap()
}

#[test]
fn a_pause_starts_nothing_new_and_a_resume_goes_on() {
    let mut r = rollout(&[1, 30]);
    confirm_canary(&mut r);
    assert_eq!(ask(&mut r, Verb::Pause), ["paused"]);
    // Twenty are in flight; who resumes makes no room while the rollout is paused.
    assert_eq!(step(&mut r, resumed(1)), [""; 0]);
    assert_eq!(ask(&mut r, Verb::Pause), ["refused: it is paused already"]);
    assert_eq!(ask(&mut r, Verb::Resume), ["running", "upgrade 21"]);
    assert_eq!(
        ask(&mut r, Verb::Resume),
        ["refused: it is running, not paused"]
    );
}

#[test]
fn a_bake_that_ends_in_a_pause_opens_its_gate_after_it() {
    let mut r = rollout(&[1]);
    step(&mut r, Input::Start);
    step(&mut r, resumed(0));
    ask(&mut r, Verb::Pause);
    assert_eq!(step(&mut r, baked()), [""; 0]);
    assert_eq!(ask(&mut r, Verb::Resume), ["running", "judge"]);
    // A verdict that comes in a pause counts after it.
    ask(&mut r, Verb::Pause);
    assert_eq!(step(&mut r, passed()), [""; 0]);
    assert_eq!(ask(&mut r, Verb::Resume), ["running", "confirm 0"]);
}

#[test]
fn a_promotion_skips_the_rest_of_a_bake_and_never_a_tripped_gate() {
    let policy = paused_with("on_failure: pause\n");
    let mut r = rollout_with(&[1, 2], &policy);
    step(&mut r, Input::Start);
    let promote = || Verb::Promote {
        accept_inconclusive: None,
    };
    let refused = "refused: wave 1 is being upgraded: there is no bake to skip yet";
    assert_eq!(ask(&mut r, promote()), [refused]);
    step(&mut r, resumed(0));
    assert_eq!(ask(&mut r, promote()), ["judge"]);
    assert_eq!(step(&mut r, baked()), [""; 0], "the bake is over already");
    let tripped = judged(Verdict::Trip(vec!["2 traps".into()]));
    assert_eq!(step(&mut r, tripped), ["paused"]);
    let refused = "refused: the gate of wave 1 tripped: 2 traps";
    assert_eq!(ask(&mut r, promote()), [refused]);
    let accept = Verb::Promote {
        accept_inconclusive: Some("I know better".into()),
    };
    assert_eq!(ask(&mut r, accept), [refused]);
    assert_eq!(
        ask(&mut r, Verb::Resume),
        [format!(
            "{refused}; roll it back, abort it, or retry the nodes that failed"
        )]
    );
    let words = ask(&mut r, Verb::Rollback);
    assert_eq!(
        words,
        [
            "rolling_back",
            "cancel upgrades",
            "cancel confirms",
            "rollback 0"
        ]
    );
}

/// The simulation's seed 1372: nobody looked at the gate any more, and the rollout stood still.
#[test]
fn a_promotion_in_a_pause_has_the_gate_looked_at_that_the_process_before_left_undecided() {
    for accept_inconclusive in [None, Some("it is late".to_owned())] {
        let mut r = rollout(&[1]);
        step(&mut r, Input::Start);
        step(&mut r, resumed(0));
        assert_eq!(step(&mut r, baked()), ["judge"]);
        ask(&mut r, Verb::Pause);
        let mut next = rollout(&[1]);
        next.state = r.state.clone();
        assert_eq!(step(&mut next, Input::Recover(None)), ["inquire 0"]);
        let promoted = ask(
            &mut next,
            Verb::Promote {
                accept_inconclusive,
            },
        );
        assert_eq!(promoted, ["running", "bake 5s", "judge"]);
        assert_eq!(step(&mut next, passed()), ["confirm 0"]);
    }
}

#[test]
fn a_rollout_that_succeeded_can_be_rolled_back_until_its_policy_says_no() {
    let mut r = rollout_with(&[1], &paused_with("rollback_until: 7d\n"));
    confirm_canary(&mut r);
    step(&mut r, Input::Finished(0, Ok(())));
    r.now_ms = 7 * 86_400_000 + 1;
    let refused = ask(&mut r, Verb::Rollback);
    assert!(
        refused[0].starts_with("refused: it succeeded longer ago"),
        "{refused:?}"
    );
    r.now_ms = 7 * 86_400_000;
    let words = ask(&mut r, Verb::Rollback);
    assert_eq!(
        words,
        [
            "rolling_back",
            "cancel upgrades",
            "cancel confirms",
            "rollback 0"
        ]
    );
}

#[test]
fn a_gate_with_too_little_data_is_looked_at_again_and_pauses_the_rollout_in_the_end() {
    let mut r = rollout(&[1, 1]);
    step(&mut r, Input::Start);
    step(&mut r, resumed(0));
    step(&mut r, baked());
    assert_eq!(step(&mut r, undecided()), ["recheck 5s"]);
    assert_eq!(step(&mut r, Input::Elapsed(Timer::Recheck)), ["judge"]);
    r.now_ms = 299_000;
    assert_eq!(step(&mut r, undecided()), ["recheck 1s"]);
    step(&mut r, Input::Elapsed(Timer::Recheck));
    r.now_ms = 300_000;
    assert_eq!(step(&mut r, undecided()), ["paused"]);
    let promote = Verb::Promote {
        accept_inconclusive: None,
    };
    let refused = ask(&mut r, promote);
    assert!(
        refused[0].contains("too little data: 3 events"),
        "{refused:?}"
    );
    let accept = Verb::Promote {
        accept_inconclusive: Some("no traffic at night".into()),
    };
    assert_eq!(ask(&mut r, accept), ["running", "confirm 0"]);
    // The next wave has a gate of its own.
    assert_eq!(step(&mut r, confirmed(0)), ["upgrade 1"]);
    step(&mut r, resumed(1));
    step(&mut r, baked());
    assert_eq!(step(&mut r, undecided()), ["recheck 5s"]);
}

#[test]
fn an_abort_that_keeps_confirms_what_is_in_probation() {
    let mut r = rollout(&[3]);
    step(&mut r, Input::Start);
    step(&mut r, resumed(0));
    let words = ask(&mut r, Verb::Abort { keep: true });
    assert_eq!(words, ["cancel upgrades", "confirm 0"]);
    assert_eq!(step(&mut r, resumed(1)), ["confirm 1"]);
    step(&mut r, confirmed(0));
    step(&mut r, confirmed(1));
    let cancelled = Cause {
        code: CANCELLED.into(),
        ..cause()
    };
    let words = step(&mut r, Input::Upgraded(2, Upgraded::Untouched(cancelled)));
    assert_eq!(words, ["finish 0", "finish 1"]);
    assert_eq!(ask(&mut r, Verb::Pause), ["refused: it is being aborted"]);
}

#[test]
fn failed_nodes_are_tried_again_with_the_next_attempt_as_a_wave_of_their_own() {
    let policy = paused_with("failure_budget: {max: 1, min_sample: 1}\n");
    let mut r = rollout_with(&[1, 2], &policy);
    confirm_canary(&mut r);
    step(&mut r, Input::Upgraded(1, Upgraded::Untouched(cause())));
    assert_eq!(
        ask(&mut r, Verb::RetryFailed),
        [
            "refused: it is running; nodes are tried again when it is paused or has succeeded, and else by a new rollout"
        ]
    );
    step(&mut r, resumed(2));
    step(&mut r, baked());
    step(&mut r, passed());
    step(&mut r, confirmed(2));
    step(&mut r, Input::Finished(0, Ok(())));
    assert_eq!(ask(&mut r, Verb::Pause), ["paused"]);
    assert_eq!(
        ask(&mut r, Verb::RetryFailed),
        ["refused: it is being finished; nodes are tried again when it has succeeded"]
    );
    assert_eq!(ask(&mut r, Verb::Resume), ["running"]);
    let words = step(&mut r, Input::Finished(2, Ok(())));
    assert_eq!(words, ["succeeded", "end succeeded"]);
    let words = ask(&mut r, Verb::RetryFailed);
    assert_eq!(words, ["running", "upgrade 1 attempt 2 again false"]);
    step(&mut r, resumed(1));
    step(&mut r, baked());
    step(&mut r, passed());
    assert_eq!(step(&mut r, confirmed(1)), ["finish 1"]);
    let words = step(&mut r, Input::Finished(1, Ok(())));
    assert_eq!(words, ["succeeded", "end succeeded"]);
    assert_eq!(
        ask(&mut r, Verb::RetryFailed),
        ["refused: no node failed, was lost or could not be reached"]
    );
}

/// A rollout over three nodes that succeeded without the last two, which were away.
fn succeeded_without_two(policy: &Policy) -> Rollout {
    let planned = plan(&[3]);
    let planned = Planned {
        waves: vec![vec!["n0".into()]],
        ..planned
    };
    let mut r = rollout_of(planned, policy);
    for node in ["n1", "n2"] {
        let fact = Fact::Node {
            node: node.into(),
            outcome: Outcome::Unreachable,
            pause_us: None,
            steps: Vec::new(),
            cause: Some(cause()),
            rollback: None,
        };
        r.fold(0, &fact);
    }
    step(&mut r, Input::Start);
    for input in [resumed(0), baked(), passed(), confirmed(0)] {
        step(&mut r, input);
    }
    let words = step(&mut r, Input::Finished(0, Ok(())));
    assert_eq!(words, ["succeeded", "end succeeded"]);
    r
}

fn converge(nodes: &[&str]) -> Verb {
    Verb::Converge {
        nodes: nodes.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn nodes_that_were_away_follow_and_are_put_back_with_the_others() {
    let mut r = succeeded_without_two(&Policy::default());
    let words = ask(&mut r, converge(&["n2", "n0", "n9"]));
    assert_eq!(words, ["running", "upgrade 2 attempt 2 again false"]);
    for input in [resumed(2), baked(), passed()] {
        step(&mut r, input);
    }
    assert_eq!(step(&mut r, confirmed(2)), ["finish 2"]);
    let words = step(&mut r, Input::Finished(2, Ok(())));
    assert_eq!(words, ["succeeded", "end succeeded"]);
    assert_eq!(r.state.reason, "1 of 1 node that were away have followed");
    let refused = "refused: none of these nodes was away";
    assert_eq!(ask(&mut r, converge(&["n2", "n0"])), [refused]);
    let words = ask(&mut r, Verb::Rollback);
    assert_eq!(words[3..], ["rollback 0", "rollback 2"]);
    assert!(ask(&mut r, converge(&["n1"]))[0].contains("it is rolling back"));
}

#[test]
fn a_node_that_was_away_and_does_not_pass_its_gate_goes_back_alone() {
    let mut policy = Policy::default();
    policy.timeouts.gate = crate::policy::Span::from_secs(0);
    let inconclusive = judged(Verdict::Inconclusive(vec!["no event".into()]));
    let tripped = judged(Verdict::Trip(vec!["traps".into()]));
    for verdict in [inconclusive, tripped] {
        let mut r = succeeded_without_two(&policy);
        ask(&mut r, converge(&["n1", "n2"]));
        // One says no, which is no failure that the budget counts.
        step(&mut r, resumed(1));
        step(&mut r, Input::Upgraded(2, Upgraded::Refused(cause())));
        step(&mut r, baked());
        assert_eq!(step(&mut r, verdict), ["rollback 1"]);
        let words = step(&mut r, back(1));
        assert_eq!(words, ["succeeded", "end succeeded"]);
        assert_eq!(r.state.reason, "0 of 2 nodes that were away have followed");
        let standing: Vec<Node> = r.state.nodes.iter().map(|(_, node)| node).collect();
        let settled = [Outcome::Confirmed, Outcome::RolledBack, Outcome::Refused];
        assert_eq!(standing, settled.map(Node::Settled));
        let refused = "refused: none of these nodes was away";
        assert_eq!(ask(&mut r, converge(&["n1", "n2"])), [refused]);
    }
}

#[test]
fn nodes_that_were_away_follow_for_as_long_as_the_policy_says() {
    let mut policy = Policy::default();
    policy.converge_until = crate::policy::Span::from_secs(60);
    let mut r = succeeded_without_two(&policy);
    r.now_ms += 61_000;
    let words = ask(&mut r, converge(&["n1"]));
    assert!(words[0].contains("longer ago than the 1m"), "{words:?}");
    r.now_ms -= 2_000;
    let words = ask(&mut r, converge(&["n1"]));
    assert_eq!(words, ["running", "upgrade 1 attempt 2 again false"]);
}

#[test]
fn with_on_failure_pause_a_person_decides_and_a_retry_goes_on() {
    let policy = paused_with("on_failure: pause\n");
    let mut r = rollout_with(&[1, 2], &policy);
    confirm_canary(&mut r);
    let words = step(&mut r, Input::Upgraded(1, Upgraded::Untouched(cause())));
    assert_eq!(words, ["paused"]);
    let refused = ask(&mut r, Verb::Resume);
    assert!(refused[0].contains("1 of 2 nodes failed"), "{refused:?}");
    assert_eq!(ask(&mut r, Verb::RetryFailed), ["running"]);
    step(&mut r, resumed(2));
    step(&mut r, baked());
    step(&mut r, passed());
    let words = step(&mut r, confirmed(2));
    assert_eq!(words, ["upgrade 1 attempt 2 again false"]);
}

#[test]
fn a_process_that_is_to_leave_lets_what_is_in_flight_end_first() {
    let mut r = rollout(&[1, 2]);
    confirm_canary(&mut r);
    assert_eq!(ask(&mut r, Verb::Detach), [""; 0]);
    assert_eq!(step(&mut r, resumed(1)), [""; 0]);
    assert_eq!(step(&mut r, resumed(2)), ["leave"]);
    r.fold(
        0,
        &Fact::Owned {
            owner: Owner::default(),
            epoch: 2,
        },
    );
    assert_eq!(
        step(&mut r, Input::Recover(None)),
        ["inquire 1", "inquire 2", "bake 5s"]
    );
}

#[test]
fn a_process_that_takes_over_asks_what_became_of_every_node_in_flight() {
    let mut r = rollout(&[1, 3]);
    confirm_canary(&mut r);
    step(&mut r, resumed(1));
    let words = step(&mut r, Input::Recover(None));
    assert_eq!(
        words,
        [
            "inquire 1",
            "upgrade 2 attempt 1 again true",
            "upgrade 3 attempt 1 again true"
        ]
    );
    // Its transaction was cut with the old process: the next attempt begins from the old code.
    let words = step(&mut r, Input::Upgraded(2, Upgraded::Interrupted(cause())));
    assert_eq!(words, ["upgrade 2 attempt 2 again false"]);
    step(&mut r, Input::Upgraded(3, Upgraded::Untouched(cause())));
    // One failure among two is too many: the rest is put back, and a third process goes on with that.
    let words = step(&mut r, Input::Recover(None));
    assert_eq!(words, ["rollback 0", "rollback 1", "rollback 2"]);
}

#[test]
fn a_rehearsal_prepares_every_node_and_says_who_would_not_take_the_patch() {
    let planned = Planned {
        prepare_only: true,
        ..plan(&[1, 2])
    };
    let mut r = rollout_of(planned, &Policy::default());
    assert_eq!(step(&mut r, Input::Start), ["running", "upgrade 0"]);
    // A failure keeps nobody from being asked: nothing is changed.
    let words = step(&mut r, Input::Upgraded(0, Upgraded::Untouched(cause())));
    assert_eq!(words, ["upgrade 1", "upgrade 2"]);
    step(&mut r, Input::Upgraded(1, Upgraded::Prepared(700)));
    let words = step(&mut r, Input::Upgraded(2, Upgraded::Prepared(800)));
    assert_eq!(words, ["failed", "end failed"]);
    assert_eq!(
        r.state.reason,
        "1 node would not take the patch; nothing was changed"
    );
}

fn lockstep() -> Rollout {
    let planned = Planned {
        batches: vec![vec![2, 1]],
        ..plan(&[3])
    };
    rollout_of(planned, &Policy::default())
}

fn reach(r: &mut Rollout, nodes: &[usize], barrier: Barrier) -> Vec<String> {
    let words = nodes
        .iter()
        .map(|node| step(r, Input::Reached(*node, barrier)));
    words.collect::<Vec<_>>().concat()
}

#[test]
fn a_batch_passes_each_barrier_when_its_last_node_is_there() {
    let mut r = lockstep();
    let first = step(&mut r, Input::Start);
    assert_eq!(
        first,
        [
            "running",
            "open prepare",
            "barrier 100s",
            "upgrade 0",
            "upgrade 1"
        ]
    );
    assert_eq!(reach(&mut r, &[1], Barrier::Prepare), [""; 0]);
    assert_eq!(
        reach(&mut r, &[0], Barrier::Prepare),
        ["open suspend", "barrier 10s"]
    );
    assert_eq!(
        reach(&mut r, &[0, 1], Barrier::Suspend),
        ["open migrate", "barrier 10s"]
    );
    r.now_ms = 1_000;
    assert_eq!(
        reach(&mut r, &[0, 1], Barrier::Migrate),
        ["open resume", "barrier 10s"]
    );
    step(&mut r, resumed(0));
    r.now_ms = 1_040;
    let actions = r.step(1_040, resumed(1));
    let mixed = actions.iter().find_map(|action| match action {
        Action::Record(fact) => match &**fact {
            Fact::Batch { mixed_ms, .. } => *mixed_ms,
            _ => None,
        },
        _ => None,
    });
    assert_eq!(mixed, Some(40));
    assert_eq!(
        words(&actions),
        ["open prepare", "barrier 100s", "upgrade 2"]
    );
    for barrier in [Barrier::Prepare, Barrier::Suspend, Barrier::Migrate] {
        reach(&mut r, &[2], barrier);
    }
    assert_eq!(step(&mut r, resumed(2)), ["bake 5s"]);
}

#[test]
fn a_node_that_fails_before_resume_ends_its_batch_and_nobody_runs_the_new_code() {
    let mut r = lockstep();
    step(&mut r, Input::Start);
    reach(&mut r, &[0], Barrier::Prepare);
    let words = step(&mut r, Input::Upgraded(1, Upgraded::Untouched(cause())));
    assert_eq!(
        words,
        [
            "cancel batch",
            "rolling_back",
            "cancel upgrades",
            "cancel confirms"
        ]
    );
    let cancelled = Cause {
        code: CANCELLED.into(),
        ..cause()
    };
    let words = step(&mut r, Input::Upgraded(0, Upgraded::Untouched(cancelled)));
    assert_eq!(words, ["failed", "end failed"]);
}

#[test]
fn a_node_that_is_late_for_a_barrier_or_misses_resume_takes_its_batch_with_it() {
    let policy = paused_with("failure_budget: {max: 3, min_sample: 1}\n");
    let planned = Planned {
        batches: vec![vec![2, 1]],
        ..plan(&[3])
    };
    let mut r = rollout_of(planned, &policy);
    step(&mut r, Input::Start);
    for barrier in [Barrier::Prepare, Barrier::Suspend, Barrier::Migrate] {
        reach(&mut r, &[0, 1], barrier);
    }
    step(&mut r, resumed(0));
    let words = step(&mut r, Input::Elapsed(Timer::Barrier));
    assert_eq!(words, ["cancel batch", "rollback 0"]);
    // It resumed after all, too late.
    assert_eq!(
        step(&mut r, resumed(1)),
        ["rollback 1", "open prepare", "barrier 100s", "upgrade 2"]
    );
}
