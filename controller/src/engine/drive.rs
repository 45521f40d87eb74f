//! The loop that drives a rollout: takes inputs in together, lets the state machine step, writes the facts, and only when they
//! are durable does what follows. What people ask goes before everything else.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::engine::control::{Answer, Control};
use crate::engine::event::{Cause, Event, Fact};
use crate::engine::jobs::Jobs;
use crate::engine::leases::Leases;
use crate::engine::moves::{Back, Standing, Timer, Upgraded};
use crate::engine::node::{Order, Report};
use crate::engine::rollout::{Action, Input, Rollout};
use crate::engine::view::View;
use crate::engine::words::Outcome;
use crate::engine::{Ended, Run};
use crate::error::Error;

/// Reports of nodes that wait for the engine.
const REPORTS: usize = 1024;
/// Inputs and reports that are taken in together, so that they share one flush of the journal.
const BATCH: usize = 1024;
/// The agent's code for an order of a controller process that is not the last one of its rollout.
const FENCED: &str = "MF0441";

/// Drives a rollout until it is over, is left to another process, or cannot be recorded any more.
pub(super) async fn drive(mut run: Run<'_>) -> Ended {
    let mut machine = Rollout::of(&run.policy, &run.before);
    let mut view = View::of(&run.before);
    let error = go(&mut run, &mut machine, &mut view).await.err();
    Ended {
        over: error.is_none() && view.state.is_final(),
        view,
        error,
    }
}

async fn go(run: &mut Run<'_>, machine: &mut Rollout, view: &mut View) -> Result<(), Error> {
    let clock = Clock::new((run.now_ms)());
    let preface = std::mem::take(&mut run.preface);
    for fact in &preface {
        machine.fold(clock.now_ms(), fact);
    }
    record(run, view, clock.now_ms(), preface).await?;
    let planned = view.planned.as_ref().ok_or_else(|| Error::NoSuchRollout {
        rollout: run.id.to_string(),
    })?;
    let mut order = Order::new(&run.id, planned, &run.policy, machine.epoch());
    order.on_down_failure = run.on_down_failure.unwrap_or(order.on_down_failure);
    let (to, reports) = mpsc::channel(REPORTS);
    let leases = Leases::new(order.lease);
    let (links, payload) = (run.links.clone(), run.payload.clone());
    let jobs = Jobs::new(links, order, planned, &run.policy, payload, to);
    let mut driver = Driver {
        clock,
        jobs,
        leases,
        reports,
        timers: BTreeMap::new(),
        answers: VecDeque::new(),
        controls_open: true,
    };
    driver.go(run, machine, view).await
}

/// Milliseconds since 1970 that never go back while this process runs, whatever happens to the machine's clock.
struct Clock {
    began_ms: u64,
    began: Instant,
}

impl Clock {
    fn new(began_ms: u64) -> Self {
        Self {
            began_ms,
            began: Instant::now(),
        }
    }

    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.began_ms.saturating_add(elapsed)
    }
}

struct Driver {
    clock: Clock,
    jobs: Jobs,
    leases: Leases,
    reports: mpsc::Receiver<Report>,
    timers: BTreeMap<Timer, Instant>,
    /// Who waits for an answer, in the order of the requests.
    answers: VecDeque<oneshot::Sender<Answer>>,
    controls_open: bool,
}

impl Driver {
    async fn go(
        &mut self,
        run: &mut Run<'_>,
        machine: &mut Rollout,
        view: &mut View,
    ) -> Result<(), Error> {
        let mut inputs = vec![run.first.clone()];
        let mut facts = Vec::new();
        loop {
            let now_ms = self.clock.now_ms();
            let mut actions = Vec::new();
            for input in inputs.drain(..) {
                if let Some(cause) = fenced(&input) {
                    return Err(Error::Fenced {
                        rollout: run.id.to_string(),
                        what: cause.what.clone(),
                    });
                }
                for action in machine.step(now_ms, input) {
                    match action {
                        Action::Record(fact) => facts.push(*fact),
                        action => actions.push(action),
                    }
                }
            }
            let written = record(run, view, now_ms, std::mem::take(&mut facts)).await?;
            for event in &written {
                if let Fact::Node {
                    node,
                    outcome: Outcome::InProbation,
                    ..
                } = &event.fact
                    && let Some(node) = machine.node(node)
                {
                    self.leases.add(node);
                }
            }
            for action in actions {
                match action {
                    Action::Leave => return Ok(()),
                    Action::End(_) => {
                        let ended = Fact::Ended(Box::new(view.summarise()));
                        record(run, view, now_ms, vec![ended]).await?;
                        return Ok(());
                    }
                    action => self.act(action, machine),
                }
            }
            self.wait(run, machine, &mut inputs, &mut facts).await;
        }
    }

    fn act(&mut self, action: Action, machine: &Rollout) {
        match action {
            Action::Answer(answer) => {
                if let Some(to) = self.answers.pop_front() {
                    // Who asked may have gone.
                    let _ = to.send(answer);
                }
            }
            Action::Wait(timer, time) => {
                self.timers.insert(timer, Instant::now() + time);
            }
            Action::Open(barrier) => self.jobs.open(barrier),
            Action::CancelUpgrades | Action::CancelBatch => self.jobs.cut(),
            Action::CancelConfirms => self.jobs.cancel_confirms(),
            Action::Inquire(node) => {
                self.leases.add(node);
                self.jobs.start(action, machine);
            }
            action => self.jobs.start(action, machine),
        }
    }

    /// Until there is something to take in; takes in everything that is there, up to a batch.
    async fn wait(
        &mut self,
        run: &mut Run<'_>,
        machine: &Rollout,
        inputs: &mut Vec<Input>,
        facts: &mut Vec<Fact>,
    ) {
        let timer = self.timers.iter().min_by_key(|(_, at)| **at);
        let timer = timer.map(|(timer, at)| (*timer, *at));
        let elapsed = async {
            match timer {
                Some((_, at)) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let mut reported = None;
        tokio::select! {
            biased;
            control = run.controls.recv(), if self.controls_open => match control {
                Some(Control { request, answer }) => {
                    self.answers.push_back(answer);
                    inputs.push(Input::Control(request));
                }
                None => self.controls_open = false,
            },
            () = elapsed => {
                inputs.extend(timer.map(|(timer, _)| {
                    self.timers.remove(&timer);
                    Input::Elapsed(timer)
                }));
            }
            due = self.leases.due() => {
                for node in due {
                    if machine.holds_lease(node) {
                        self.leases.add(node);
                        self.jobs.start(Action::Inquire(node), machine);
                    }
                }
            }
            report = self.reports.recv() => reported = report,
            input = self.jobs.next() => inputs.extend(input),
        }
        while facts.len() + inputs.len() < BATCH {
            match reported.take().or_else(|| self.reports.try_recv().ok()) {
                Some(Report::Reached(node, barrier)) => inputs.push(Input::Reached(node, barrier)),
                Some(Report::Step {
                    node,
                    phase,
                    status,
                    elapsed_us,
                }) => facts.push(Fact::Step {
                    node: run.links[node].target().name.clone(),
                    phase,
                    status,
                    elapsed_us,
                }),
                // What a node reported on the way comes before how it ended.
                None => match self.jobs.try_next() {
                    Some(input) => inputs.extend(input),
                    None => break,
                },
            }
        }
    }
}

/// The node's refusal of an order because a later process drives the rollout.
fn fenced(input: &Input) -> Option<&Cause> {
    let cause = match input {
        Input::Upgraded(
            _,
            Upgraded::Refused(cause) | Upgraded::Untouched(cause) | Upgraded::Changed(cause),
        )
        | Input::Told(_, Standing::Unknown(cause))
        | Input::Confirmed(_, Standing::Unknown(cause))
        | Input::Finished(_, Err(cause))
        | Input::RolledBack(_, Back::Failed(cause)) => cause,
        _ => return None,
    };
    (cause.code == FENCED).then_some(cause)
}

/// Writes facts as events, and only then shows them.
async fn record(
    run: &mut Run<'_>,
    view: &mut View,
    time_ms: u64,
    facts: Vec<Fact>,
) -> Result<Vec<Event>, Error> {
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    let events = Event::following(view.seq, &run.id, time_ms, facts);
    run.journal.append(&events).await?;
    for event in &events {
        view.apply(event);
        run.reporter.event(event, view);
    }
    run.reporter.flush();
    Ok(events)
}
