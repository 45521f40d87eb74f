//! The upgrade transaction, model-checked: every order of handlers, births, failures, orders to the upgrade and deaths of
//! the node, exhaustively, for a node small enough. The model calls the functions by which the runtime itself decides
//! (`upgrade::machine`). The number of states is part of the test: it changes only when the transaction does.
#![allow(clippy::unwrap_used)]

mod node;

use midflight_runtime::upgrade::machine::{Phase, Stage};
use node::{Life, MESSAGES, Node, Pause, Side, Step};
use stateright::{Checker, Model, Property};

struct Upgrade;

impl Model for Upgrade {
    type State = Node;
    type Action = Step;

    fn init_states(&self) -> Vec<Node> {
        vec![Node::new()]
    }

    fn actions(&self, node: &Node, steps: &mut Vec<Step>) {
        node.steps(steps);
    }

    fn next_state(&self, node: &Node, step: Step) -> Option<Node> {
        let mut node = node.clone();
        node.take(step);
        Some(node)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "every message is handled once and in order",
                |_, n: &Node| once(n),
            ),
            Property::always("what is released was committed", |_, n: &Node| committed(n)),
            Property::always(
                "a state is read by the code that wrote it",
                |_, n: &Node| fits(n),
            ),
            Property::always("the two sides never run in one phase", |_, n: &Node| {
                one_side(n)
            }),
            Property::always("nobody needs code that was purged", |_, n: &Node| kept(n)),
            Property::always("the permanent release is never purged", |_, n: &Node| {
                n.purged != Some(n.permanent)
            }),
            Property::always(
                "given up before resume, nothing has happened",
                |_, n: &Node| !over(n, Stage::Aborted) || all_on(n, Side::Old),
            ),
            Property::always("finished, everyone runs the new code", |_, n: &Node| {
                !over(n, Stage::Finished) || all_on(n, Side::New)
            }),
            Property::always(
                "rolled back, everyone runs the old code or is held",
                |_, n: &Node| !over(n, Stage::Undone) || all_on(n, Side::Old),
            ),
            Property::always("confirmed, nobody is parked", |_, n: &Node| {
                !over(n, Stage::Confirmed) || !paused(n, Pause::Parked)
            }),
            Property::always("what is over left nothing behind", |_, n: &Node| clean(n)),
            Property::eventually("the transaction ends", |_, n: &Node| n.died || n.free),
            Property::sometimes("an actor is held", |_, n: &Node| paused(n, Pause::Held)),
            Property::sometimes("an actor is restored with a loss", |_, n: &Node| {
                n.actors.iter().any(|a| a.discarded > 0)
            }),
            Property::sometimes("an actor is stopped by a rollback", |_, n: &Node| {
                let dead = n.actors.iter().any(|a| a.life == Life::Dead);
                dead && over(n, Stage::Undone)
            }),
            Property::sometimes(
                "what was done on the new code outlives a rollback",
                |_, n: &Node| {
                    let kept =
                        |a: &node::Actor| a.went_on && a.version == Side::Old && a.discarded == 0;
                    over(n, Stage::Undone) && n.actors.iter().all(kept_or_newborn(kept))
                },
            ),
            Property::sometimes("a parked actor goes on", |_, n: &Node| {
                let first = &n.actors[0];
                over(n, Stage::Undone) && first.state.events == MESSAGES && !first.went_on
            }),
            Property::sometimes("confirm ends a parked actor", |_, n: &Node| {
                over(n, Stage::Finished) && n.actors[0].life == Life::Dead
            }),
            Property::sometimes("a dead node boots the old release", |_, n: &Node| {
                n.died && n.permanent == Side::Old
            }),
            Property::sometimes("a dead node boots the new release", |_, n: &Node| {
                n.died && n.permanent == Side::New
            }),
        ]
    }
}

fn kept_or_newborn(kept: impl Fn(&node::Actor) -> bool) -> impl FnMut(&node::Actor) -> bool {
    move |actor| actor.life == Life::Unborn || kept(actor)
}

fn over(node: &Node, stage: Stage) -> bool {
    !node.died && node.stage == stage && node.acts.is_empty()
}

fn paused(node: &Node, pause: Pause) -> bool {
    node.actors.iter().any(|a| a.pause == pause)
}

/// What an actor handled, what it is at, and what waits are all messages it was sent, without a gap.
fn once(node: &Node) -> bool {
    let sent = [MESSAGES - node.unsent, node.released, 0];
    node.actors.iter().zip(sent).all(|(actor, sent)| {
        let done = actor.state.events + actor.discarded;
        let rest = actor.runs.iter().chain(&actor.mail).copied();
        node.died || !actor.lives() || rest.eq(done + 1..=sent)
    })
}

fn committed(node: &Node) -> bool {
    let first = &node.actors[0];
    node.died || !first.lives() || node.released == first.state.events + first.discarded
}

fn fits(node: &Node) -> bool {
    node.actors
        .iter()
        .all(|a| !a.lives() || a.state.form == a.version)
}

fn one_side(node: &Node) -> bool {
    let side = match node.phase {
        Phase::Open | Phase::Aborted | Phase::Undone => Side::Old,
        Phase::Probation | Phase::Confirmed | Phase::Finished => Side::New,
    };
    node.actors
        .iter()
        .all(|a| a.runs.is_none() || a.version == side)
}

fn kept(node: &Node) -> bool {
    node.died
        || node
            .actors
            .iter()
            .all(|a| !a.lives() || node.purged != Some(a.version))
}

fn all_on(node: &Node, side: Side) -> bool {
    let stands = |a: &node::Actor| !a.lives() || a.pause == Pause::Held || a.version == side;
    node.current == side && node.actors.iter().all(stands)
}

fn clean(node: &Node) -> bool {
    node.died
        || !node.free
        || (node.actors.iter().all(|a| a.shadow.is_none())
            && node.gates == [false; 2]
            && !node.tracked
            && !paused(node, Pause::Parked))
}

#[test]
fn the_transaction_holds_with_a_failure_or_a_crash_at_every_step() {
    let checker = Upgrade.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), 165_627);
}
