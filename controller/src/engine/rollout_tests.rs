//! The state machine alone: what follows from an input, without clock or network.

use proptest::prelude::*;

use super::*;
use crate::engine::event::RollbackCounts;

fn rollout(waves: &[usize]) -> Rollout {
    rollout_with(waves, &Policy::default())
}

fn rollout_with(waves: &[usize], policy: &Policy) -> Rollout {
    let total: usize = waves.iter().sum();
    let names: Arc<[String]> = (0..total).map(|node| format!("n{node}")).collect();
    let mut next = 0..total;
    let wave = |size: &usize| Wave {
        nodes: next.by_ref().take(*size).collect(),
        bake: Duration::from_secs(5),
        ..Wave::default()
    };
    Rollout::new(names, waves.iter().map(wave).collect(), &[], policy)
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
        Action::Bake(time) => Some(format!("bake {}s", time.as_secs())),
        Action::Upgrade(node) => Some(format!("upgrade {node}")),
        Action::Check(node) => Some(format!("check {node}")),
        Action::Confirm(node) => Some(format!("confirm {node}")),
        Action::Finish(node) => Some(format!("finish {node}")),
        Action::Rollback(node) => Some(format!("rollback {node}")),
        Action::CancelUpgrades => Some("cancel upgrades".into()),
        Action::CancelConfirms => Some("cancel confirms".into()),
        Action::End(state) => Some(format!("end {state}")),
    };
    actions.iter().filter_map(word).collect()
}

fn step(rollout: &mut Rollout, input: Input) -> Vec<String> {
    words(&rollout.step(input))
}

fn healthy() -> Checked {
    Checked::Health(Health::default())
}

#[test]
fn a_healthy_rollout_goes_wave_by_wave() {
    let mut r = rollout(&[1, 2]);
    assert_eq!(step(&mut r, Input::Start), ["running", "upgrade 0"]);
    assert_eq!(
        step(&mut r, Input::Upgraded(0, Upgraded::Probation(Some(1)))),
        ["bake 5s"]
    );
    assert_eq!(step(&mut r, Input::Baked), ["check 0"]);
    assert_eq!(step(&mut r, Input::Checked(0, healthy())), ["confirm 0"]);
    assert_eq!(
        step(&mut r, Input::Confirmed(0, Ok(()))),
        ["upgrade 1", "upgrade 2"]
    );
    assert_eq!(
        step(&mut r, Input::Upgraded(2, Upgraded::Probation(None))),
        [""; 0]
    );
    assert_eq!(
        step(&mut r, Input::Upgraded(1, Upgraded::Probation(None))),
        ["bake 5s"]
    );
    assert_eq!(step(&mut r, Input::Baked), ["check 1", "check 2"]);
    step(&mut r, Input::Checked(1, healthy()));
    assert_eq!(
        step(&mut r, Input::Checked(2, healthy())),
        ["confirm 1", "confirm 2"]
    );
    step(&mut r, Input::Confirmed(1, Ok(())));
    assert_eq!(
        step(&mut r, Input::Confirmed(2, Ok(()))),
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
    assert_eq!(
        words,
        ["cancel upgrades", "cancel confirms", "failed", "end failed"]
    );
}

#[test]
fn a_tripped_gate_rolls_back_confirmed_waves_too() {
    let mut r = rollout(&[1, 1]);
    step(&mut r, Input::Start);
    step(&mut r, Input::Upgraded(0, Upgraded::Probation(None)));
    step(&mut r, Input::Baked);
    step(&mut r, Input::Checked(0, healthy()));
    step(&mut r, Input::Confirmed(0, Ok(())));
    step(&mut r, Input::Upgraded(1, Upgraded::Probation(None)));
    step(&mut r, Input::Baked);
    let parked = Checked::Health(Health {
        parked: 1,
        ..Health::default()
    });
    let words = step(&mut r, Input::Checked(1, parked));
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
    step(
        &mut r,
        Input::RolledBack(1, Back::RolledBack(RollbackCounts::default())),
    );
    let words = step(
        &mut r,
        Input::RolledBack(0, Back::RolledBack(RollbackCounts::default())),
    );
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
    assert_eq!(
        step(&mut r, Input::Upgraded(1, Upgraded::Probation(None))),
        ["rollback 1"]
    );
    let failed = step(&mut r, Input::RolledBack(1, Back::Unreached(cause())));
    assert_eq!(failed, ["failed", "end failed"]);
}

#[test]
fn an_abort_leaves_what_is_confirmed_and_finishes_it() {
    let mut r = rollout(&[1, 2]);
    step(&mut r, Input::Start);
    step(&mut r, Input::Upgraded(0, Upgraded::Probation(None)));
    step(&mut r, Input::Baked);
    step(&mut r, Input::Checked(0, healthy()));
    step(&mut r, Input::Confirmed(0, Ok(())));
    step(&mut r, Input::Upgraded(1, Upgraded::Probation(None)));
    assert_eq!(
        step(&mut r, Input::Abort("enough".into())),
        ["cancel upgrades", "rollback 1"]
    );
    step(&mut r, Input::Upgraded(2, Upgraded::Untouched(cause())));
    let words = step(
        &mut r,
        Input::RolledBack(1, Back::RolledBack(RollbackCounts::default())),
    );
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
    step(&mut r, Input::Upgraded(0, Upgraded::Probation(None)));
    step(&mut r, Input::Baked);
    step(&mut r, Input::Checked(0, healthy()));
    step(&mut r, Input::Confirmed(0, Ok(())));
    assert_eq!(
        step(&mut r, Input::Upgraded(1, Upgraded::Changed(cause()))),
        ["rollback 1"]
    );
    assert_eq!(
        step(&mut r, Input::Upgraded(2, Upgraded::Probation(None))),
        ["bake 5s"]
    );
}

#[test]
fn late_answers_of_a_rollout_that_is_over_change_nothing() {
    let mut r = rollout(&[1]);
    step(&mut r, Input::Start);
    step(&mut r, Input::Upgraded(0, Upgraded::Untouched(cause())));
    for input in [
        Input::Baked,
        Input::Upgraded(0, Upgraded::Probation(None)),
        Input::Confirmed(0, Ok(())),
        Input::RolledBack(0, Back::Untouched),
        Input::Abort("x".into()),
        Input::RollBack("x".into()),
        Input::Start,
    ] {
        assert_eq!(step(&mut r, input), [""; 0]);
    }
}

/// Answers every action at random, and gives the last state with what each node was left with.
fn play(
    seed: &[u8],
    waves: &[usize],
    min_sample: u32,
    abort_at: usize,
) -> (Option<RolloutState>, Vec<Node>, usize) {
    let mut policy = Policy::default();
    policy.failure_budget.min_sample = min_sample;
    policy.failure_budget.max = crate::policy::Amount::Nodes(2);
    let mut r = rollout_with(waves, &policy);
    let mut dice = seed.iter().cycle().copied();
    let mut roll = || dice.next().unwrap_or(0);
    let mut open: Vec<Action> = r.step(Input::Start);
    let (mut end, mut most, mut steps) = (None, 0, 0);
    while let Some(index) = (!open.is_empty()).then(|| usize::from(roll()) % open.len()) {
        let input = match open.swap_remove(index) {
            Action::Upgrade(node) => Input::Upgraded(
                node,
                match roll() % 16 {
                    0 => Upgraded::Untouched(cause()),
                    1 => Upgraded::Unknown(cause()),
                    2 => Upgraded::Changed(cause()),
                    3 => Upgraded::AlreadyCurrent,
                    _ => Upgraded::Probation(None),
                },
            ),
            Action::Bake(_) => Input::Baked,
            Action::Check(node) => Input::Checked(
                node,
                match roll() % 32 {
                    0 => Checked::Unknown(cause()),
                    1 => Checked::Restarted(cause()),
                    2 => Checked::Health(Health {
                        traps: 1,
                        ..Health::default()
                    }),
                    _ => healthy(),
                },
            ),
            Action::Confirm(node) => Input::Confirmed(
                node,
                if roll() % 32 == 0 {
                    Err(cause())
                } else {
                    Ok(())
                },
            ),
            Action::Finish(node) => Input::Finished(node, Ok(())),
            Action::Rollback(node) => Input::RolledBack(
                node,
                match roll() % 8 {
                    0 => Back::Unreached(cause()),
                    _ => Back::RolledBack(RollbackCounts::default()),
                },
            ),
            Action::End(state) => {
                end = Some(state);
                continue;
            }
            _ => continue,
        };
        open.extend(r.step(input));
        steps += 1;
        if steps == abort_at {
            open.extend(r.step(Input::Abort("enough".into())));
        }
        most = most.max(r.nodes.upgrading as usize);
    }
    (end, r.nodes.into_states(), most)
}

proptest! {
    #[test]
    fn every_rollout_ends_and_leaves_no_node_in_between(
        seed in prop::collection::vec(any::<u8>(), 8..200),
        waves in prop::collection::vec(1usize..12, 1..4),
        min_sample in 1u32..8,
        abort_at in 0usize..60,
    ) {
        let (end, nodes, most) = play(&seed, &waves, min_sample, abort_at);
        prop_assert!(end.is_some_and(RolloutState::is_final));
        for node in nodes {
            prop_assert!(matches!(node, Node::Settled(_) | Node::Pending), "{node:?}");
            prop_assert_ne!(node, Node::Settled(Outcome::InProbation));
        }
        prop_assert!(most <= 512);
    }
}
