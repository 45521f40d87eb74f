//! The rollout engine. Read in this order: [`event`] (what can happen), [`rollout`] with [`moves`] (what follows from it, as a pure
//! state machine), [`node`] (what is done with one node), then [`run`], which ties them together: it records facts in the journal
//! before it acts on them, and is the only writer of a rollout's events.

pub mod budget;
pub mod control;
pub mod custom;
pub mod event;
pub mod examine;
pub mod gate;
pub mod id;
pub mod link;
pub mod measure;
pub mod moves;
pub mod node;
pub mod pauses;
pub mod payload;
pub mod rollout;
pub mod survey;
pub mod view;
pub mod words;

mod jobs;
mod nodes;
mod stats;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::engine::control::{Answer, Control, Verb};
use crate::engine::event::{Event, Fact};
use crate::engine::id::{RolloutId, now_ms};
use crate::engine::jobs::Jobs;
use crate::engine::link::Link;
use crate::engine::node::{Order, Step};
use crate::engine::payload::Payload;
use crate::engine::rollout::{Action, Input, Rollout};
use crate::engine::view::View;
use crate::error::Error;
use crate::journal::Journal;

/// Steps of nodes that wait for the engine.
const STEPS: usize = 1024;
/// Inputs that are taken in together, so that they share one flush of the journal.
const BATCH: usize = 256;

/// Is told every event after it is in the journal, with the view that it led to.
pub trait Reporter: Send {
    /// An event happened.
    fn event(&mut self, event: &Event, view: &View);
}

/// Everything that the engine needs to run one rollout.
pub struct Run<'a> {
    /// The rollout.
    pub id: RolloutId,
    /// The state machine, with the plan in it.
    pub machine: Rollout,
    /// What happened before: events of an earlier process, already in the journal.
    pub view: View,
    /// Facts to record first: the plan, or the new owner.
    pub preface: Vec<Fact>,
    /// The first input.
    pub first: Input,
    /// The nodes, in the order of the plan.
    pub links: Vec<Arc<Link>>,
    /// The order.
    pub order: Arc<Order>,
    /// The patch; only a rollback needs none.
    pub payload: Option<Arc<Payload>>,
    /// Nodes that are asked something at a time.
    pub concurrency: u32,
    /// Where events are kept.
    pub journal: Arc<dyn Journal>,
    /// Who is told.
    pub reporter: &'a mut dyn Reporter,
    /// What people ask; see [`control::ask`].
    pub controls: mpsc::Receiver<Control>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The rollout as of the last recorded event.
    pub view: View,
    /// Why the run ended before the rollout did, if it did: the journal failed. Nothing was done that is not in it.
    pub error: Option<Error>,
    /// Whether the rollout itself is over.
    pub over: bool,
}

/// Runs a rollout to its end.
pub async fn run(mut run: Run<'_>) -> Ended {
    let mut over = false;
    let error = drive(&mut run, &mut over).await.err();
    Ended {
        view: run.view,
        error,
        over,
    }
}

async fn drive(run: &mut Run<'_>, over: &mut bool) -> Result<(), Error> {
    let (cancel_upgrades, cancels_upgrades) = watch::channel(false);
    let (cancel_confirms, cancels_confirms) = watch::channel(false);
    let (to, mut steps) = mpsc::channel(STEPS);
    let mut jobs = Jobs::new(run, to, cancels_upgrades, cancels_confirms);
    let mut bake: Option<Instant> = None;
    let mut controls_open = true;
    let mut inputs = vec![run.first.clone()];
    let mut facts = std::mem::take(&mut run.preface);
    loop {
        let mut actions = Vec::new();
        for action in inputs.drain(..).flat_map(|input| run.machine.step(input)) {
            match action {
                Action::Record(fact) => facts.push(*fact),
                action => actions.push(action),
            }
        }
        record(run, std::mem::take(&mut facts)).await?;
        for action in actions {
            match action {
                // Sorted out above.
                Action::Record(_) => {}
                Action::Bake(time) => bake = Some(Instant::now() + time),
                // Receivers live as long as the jobs.
                Action::CancelUpgrades => drop(cancel_upgrades.send(true)),
                Action::CancelConfirms => drop(cancel_confirms.send(true)),
                Action::End(_) => {
                    *over = true;
                    let summary = run.view.summarise();
                    return record(run, vec![Fact::Ended(Box::new(summary))]).await;
                }
                job => jobs.start(job, run.machine.reason()),
            }
        }
        let bake_over = async { sleep_until(bake.unwrap_or_else(Instant::now)).await };
        tokio::select! {
            biased;
            control = run.controls.recv(), if controls_open => match control {
                Some(Control { request, answer }) => {
                    let input = match &request.verb {
                        Verb::Abort { keep: false } => Some(Input::Abort(format!("aborted by {}", request.who))),
                        Verb::Rollback => Some(Input::RollBack(format!("{} asked for a rollback", request.who))),
                        _ => None,
                    };
                    let leaves = request.verb == Verb::Detach;
                    let refused = (input.is_none() && !leaves).then(|| "it cannot be done to a rollout that runs".to_owned());
                    inputs.extend(input);
                    record(run, vec![Fact::Control { request, refused: refused.clone() }]).await?;
                    // Who asked may have gone.
                    let _ = answer.send(refused.map_or(Answer::Done, Answer::Refused));
                    if leaves {
                        return Ok(());
                    }
                }
                None => controls_open = false,
            },
            // The sender is in `jobs`, so that this never ends.
            Some(step) = steps.recv() => facts.push(step_fact(&run.links, step)),
            Some(input) = jobs.next() => {
                inputs.push(input);
                while inputs.len() < BATCH && let Some(input) = jobs.try_next() {
                    inputs.push(input);
                }
            }
            () = bake_over, if bake.is_some() => {
                bake = None;
                inputs.push(Input::Baked);
            }
        }
        // The steps that led to these inputs come before them in the journal.
        while facts.len() < BATCH
            && let Ok(step) = steps.try_recv()
        {
            facts.push(step_fact(&run.links, step));
        }
    }
}

fn step_fact(links: &[Arc<Link>], step: Step) -> Fact {
    let Step {
        node,
        phase,
        status,
        elapsed_us,
    } = step;
    Fact::Step {
        node: links[node].target().name.clone(),
        phase,
        status,
        elapsed_us,
    }
}

/// Writes facts as events, and only then shows them.
async fn record(run: &mut Run<'_>, facts: Vec<Fact>) -> Result<(), Error> {
    if facts.is_empty() {
        return Ok(());
    }
    let time_ms = now_ms();
    let event = |(seq, fact)| Event {
        rollout: run.id.clone(),
        seq,
        time_ms,
        fact,
    };
    let events: Vec<Event> = (run.view.seq + 1..).zip(facts).map(event).collect();
    run.journal.append(&events).await?;
    for event in &events {
        run.view.apply(event);
        run.reporter.event(event, &run.view);
    }
    Ok(())
}
