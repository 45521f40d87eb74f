//! One upgrade while it holds the node: the target's half, and what the stream, a rollback and a shutdown need to know of
//! it. Phases run on a thread that may block, one after the other, and between two of them it looks whether to stop.

use std::{sync::Arc, time::Duration};

use midflight_proto::agent::v1 as pb;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    agent::Agent,
    book::Span,
    error::Error,
    journal::{Entry, FailureNote, ResumeNote},
    key::Key,
    lease::Lease,
    orders::Params,
    steps::Steps,
    target::{Health, OnDownFailure, Upgrade},
};

/// The phases that a controller opens, in their order.
pub const PHASES: [pb::Phase; 5] = [
    pb::Phase::Prepare,
    pb::Phase::Suspend,
    pb::Phase::Load,
    pb::Phase::Migrate,
    pb::Phase::Resume,
];

/// An open upgrade.
pub struct Transaction {
    /// Whose it is.
    pub key: Key,
    /// What it leads from and to.
    pub span: Arc<Span>,
    /// Of the pause, also of a rollback that the agent begins by itself.
    pub budget: Duration,
    /// For such a rollback.
    pub on_down_failure: OnDownFailure,
    /// Runs from resume on.
    pub lease: Lease,
    upgrade: Mutex<Box<dyn Upgrade>>,
    /// Why to abort before resume; the first reason stays.
    cancel: watch::Sender<Option<String>>,
    /// True once it has resumed or aborted.
    settled: watch::Sender<bool>,
    health: Mutex<Option<Health>>,
}

/// How far a list of phases came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of them are done, and resume is still to come.
    More,
    /// The new code runs.
    Resumed,
    /// Old code, old states.
    Aborted,
}

impl Transaction {
    /// Wraps what the target has begun.
    pub fn new(key: Key, span: Arc<Span>, params: &Params, upgrade: Box<dyn Upgrade>) -> Arc<Self> {
        Arc::new(Self {
            key,
            span,
            budget: params.pause_budget,
            on_down_failure: params.on_down_failure,
            lease: Lease::new(params.lease),
            upgrade: Mutex::new(upgrade),
            cancel: watch::Sender::new(None),
            settled: watch::Sender::new(false),
            health: Mutex::new(None),
        })
    }

    /// Asks it to abort, if it has not resumed.
    pub fn cancel(&self, reason: &str) {
        self.cancel.send_if_modified(|cancel| {
            let first = cancel.is_none();
            cancel.get_or_insert_with(|| reason.to_owned());
            first
        });
    }

    /// Returns, with the reason, once it is asked to abort.
    pub async fn cancelled(&self) -> String {
        let mut cancel = self.cancel.subscribe();
        // The sender lives in self, so that waiting cannot fail.
        let reason = cancel
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone());
        reason.ok().flatten().unwrap_or_default()
    }

    /// Returns once it has resumed or aborted.
    pub async fn settled(&self) {
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await; // the sender lives in self
    }

    /// How long the actors may stay suspended; none: they are not.
    pub fn pause_left(&self) -> Option<Duration> {
        self.upgrade
            .lock()
            .suspended_for()
            .map(|so_far| self.budget.saturating_sub(so_far))
    }

    /// Of the patched modules since resume. Never waits for a phase: while one runs, the figures are those from before it.
    pub fn health(&self) -> Health {
        let now = self.upgrade.try_lock().map(|upgrade| upgrade.health());
        let mut known = self.health.lock();
        if now.is_some() {
            *known = now;
        }
        known.unwrap_or_default()
    }

    /// The target's half, for confirm, finish and rollback.
    pub fn upgrade(&self) -> parking_lot::MutexGuard<'_, Box<dyn Upgrade>> {
        self.upgrade.lock()
    }

    /// What speaks against going on.
    fn obstacle(&self, upgrade: &dyn Upgrade) -> Option<Error> {
        if let Some(reason) = self.cancel.borrow().clone()
            && !mutant!(resume_after_claim_lost)
        {
            return Some(Error::Aborted { reason });
        }
        let suspended = upgrade
            .suspended_for()
            .filter(|so_far| *so_far > self.budget)?;
        Some(self.pause_exceeded(suspended))
    }

    /// The pause took too long.
    pub fn pause_exceeded(&self, suspended: Duration) -> Error {
        Error::PauseExceeded {
            suspended_ms: suspended.as_millis().try_into().unwrap_or(u64::MAX),
            budget_ms: self.budget.as_millis().try_into().unwrap_or(u64::MAX),
        }
    }

    /// Runs phases back to back. Blocks.
    pub fn run(self: &Arc<Self>, agent: &Agent, phases: &[pb::Phase], steps: &Steps) -> Progress {
        let mut upgrade = self.upgrade.lock();
        for phase in phases {
            if let Some(error) = self.obstacle(upgrade.as_ref()) {
                self.abort_locked(agent, upgrade.as_mut(), *phase, &error, steps);
                return Progress::Aborted;
            }
            // Before anybody waits: the fsync is no part of the pause.
            let recorded = match phase {
                pb::Phase::Suspend => agent
                    .book
                    .record(&Entry::Suspending {
                        key: self.key.clone(),
                    })
                    .map(drop),
                _ => Ok(()),
            };
            steps.started(*phase);
            let start = agent.clock.now();
            let outcome =
                recorded.and_then(|()| phase_of(upgrade.as_mut(), *phase).map_err(Error::from));
            match outcome {
                Ok(Report::Resumed(report)) => {
                    self.resumed(
                        agent,
                        report,
                        agent.clock.now().saturating_sub(start),
                        steps,
                    );
                    return Progress::Resumed;
                }
                Ok(Report::Prepared(report)) => {
                    steps.prepared(agent.clock.now().saturating_sub(start), report)
                }
                Ok(Report::Nothing) => steps.done(*phase, agent.clock.now().saturating_sub(start)),
                Err(error) => {
                    steps.failed(
                        *phase,
                        agent.clock.now().saturating_sub(start),
                        error.failure(*phase, false),
                    );
                    self.abort_locked(agent, upgrade.as_mut(), *phase, &error, steps);
                    return Progress::Aborted;
                }
            }
        }
        Progress::More
    }

    /// The new code runs. DONE is told only after it is written.
    fn resumed(&self, agent: &Agent, report: ResumeNote, elapsed: Duration, steps: &Steps) {
        // The lease counts from the resume, not from the end of its fsync.
        self.lease.start(agent.clock.now());
        let entry = Entry::Resumed {
            key: self.key.clone(),
            report,
        };
        match agent.book.record(&entry) {
            Ok(_) => steps.resumed(elapsed, report),
            Err(error) => {
                agent.book.note(&entry);
                let error = Error::ResumedUnrecorded {
                    source: Box::new(error),
                };
                steps.failed(
                    pb::Phase::Resume,
                    elapsed,
                    error.failure(pb::Phase::Resume, true),
                );
            }
        }
        self.settled.send_replace(true);
    }

    /// Aborts between phases. Blocks.
    pub fn abort(self: &Arc<Self>, agent: &Agent, phase: pb::Phase, error: &Error, steps: &Steps) {
        self.abort_locked(agent, self.upgrade.lock().as_mut(), phase, error, steps);
    }

    fn abort_locked(
        self: &Arc<Self>,
        agent: &Agent,
        upgrade: &mut dyn Upgrade,
        phase: pb::Phase,
        error: &Error,
        steps: &Steps,
    ) {
        // First the actors, then the paper.
        upgrade.abort();
        let failure = error.failure(phase, false);
        agent.book.note(&Entry::Aborted {
            key: self.key.clone(),
            failure: FailureNote::from(&failure),
        });
        agent.release(self);
        steps.aborted(phase, failure);
        self.settled.send_replace(true);
    }
}

enum Report {
    Nothing,
    Prepared(pb::PrepareReport),
    Resumed(ResumeNote),
}

fn phase_of(
    upgrade: &mut dyn Upgrade,
    phase: pb::Phase,
) -> Result<Report, crate::target::TargetError> {
    match phase {
        pb::Phase::Prepare => upgrade.prepare().map(|found| {
            Report::Prepared(pb::PrepareReport {
                actors: found.actors,
                rounds: found.rounds,
                dirty: found.dirty,
                estimated_pause_us: crate::journal::micros(found.estimated_pause),
            })
        }),
        pb::Phase::Suspend => upgrade.suspend().map(|()| Report::Nothing),
        pb::Phase::Load => upgrade.load().map(|()| Report::Nothing),
        pb::Phase::Migrate => upgrade.migrate().map(|()| Report::Nothing),
        pb::Phase::Resume => upgrade.resume().map(|done| Report::Resumed(done.into())),
        // Only PHASES are ever queued.
        _ => Ok(Report::Nothing),
    }
}
