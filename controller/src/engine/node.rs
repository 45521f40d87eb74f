//! What the engine does with one node: stage, upgrade up to resume, ask for its health, confirm, finish, roll back. Each is
//! one async function that always ends, and says in a word of [`crate::engine::rollout`] how. What follows is not decided here.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use midflight_proto::agent::v1 as pb;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::engine::event::{Cause, Health, RollbackCounts};
use crate::engine::link::Link;
use crate::engine::pauses::Pauses;
use crate::engine::payload::Payload;
use crate::engine::rollout::{Back, Checked, Upgraded};
use crate::engine::words::{Phase, Status};
use crate::policy::{OnDownFailure, Timeouts};
use crate::transport::{CallError, failure_cause, phase_of};

/// How long a single short question may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a node has to say how an abort ended.
const ABORT: Duration = Duration::from_secs(10);

/// What all nodes of a rollout have in common.
#[derive(Debug)]
pub struct Order {
    /// Names the rollout, the patch and the attempt.
    pub key: pb::Key,
    /// Counts the controller processes that owned the rollout, from 1: nodes refuse orders of an earlier one.
    pub epoch: u64,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// What a rollback does with an actor that cannot go back.
    pub on_down_failure: OnDownFailure,
}

/// A step of a node, as its agent reports it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Index of the node.
    pub node: usize,
    /// The phase.
    pub phase: Phase,
    /// How it is getting on.
    pub status: Status,
    /// Of this phase so far, in microseconds.
    pub elapsed_us: u64,
}

/// Where the steps of one node go.
#[derive(Clone, Debug)]
pub struct Steps {
    /// Index of the node.
    pub node: usize,
    /// Bounded; a full channel slows the reading of steps, never the node.
    pub to: mpsc::Sender<Step>,
}

impl Steps {
    async fn send(&self, phase: Phase, status: Status, elapsed_us: u64) {
        // The engine outlives its nodes' jobs; when it is gone, nobody needs the step.
        let _ = self
            .to
            .send(Step {
                node: self.node,
                phase,
                status,
                elapsed_us,
            })
            .await;
    }
}

/// Stages the patch and upgrades the node up to resume. `cancel` turning true aborts what has not reached resume.
pub async fn upgrade(
    link: &Link,
    order: &Order,
    payload: &Arc<Payload>,
    steps: &Steps,
    mut cancel: watch::Receiver<bool>,
) -> Upgraded {
    let cancelled = || Upgraded::Untouched(cancelled_cause(Phase::Stage));
    let started = Instant::now();
    steps.send(Phase::Stage, Status::Started, 0).await;
    let staged = tokio::select! {
        biased;
        _ = cancel.wait_for(|cancel| *cancel) => return cancelled(),
        staged = stage_all(link, order, payload) => staged,
    };
    let elapsed = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    if let Err(error) = staged {
        steps.send(Phase::Stage, Status::Failed, elapsed).await;
        return without_change(&error, Phase::Stage);
    }
    steps.send(Phase::Stage, Status::Done, elapsed).await;
    if *cancel.borrow() {
        return cancelled();
    }
    match transact(link, order, payload, steps, cancel).await {
        Ok(upgraded) => upgraded,
        // The stream broke: only the node knows on which side of resume.
        Err(error) => ask_what_happened(link, order, error.cause(Phase::Upgrade)).await,
    }
}

/// Brings the patches that may stand on the way, and the one that is ordered.
async fn stage_all(link: &Link, order: &Order, payload: &Arc<Payload>) -> Result<(), CallError> {
    for patch in payload.through.iter().chain([payload]) {
        stage(link, order, patch).await?;
    }
    Ok(())
}

/// Brings what the node does not have. Asked again after a break, it goes on where the node stopped.
async fn stage(link: &Link, order: &Order, payload: &Arc<Payload>) -> Result<(), CallError> {
    let limit = order.timeouts.stage.get();
    let key = &pb::Key {
        patch_digest: payload.digest.clone(),
        ..order.key.clone()
    };
    link.patiently(limit, limit, |agent| async move {
        let header = payload.header(key, order.epoch);
        let have = agent
            .stage(futures::stream::iter([header.clone()]).boxed())
            .await?;
        if have.complete {
            return Ok(());
        }
        let chunks = payload.clone().missing(&have.blobs);
        let have = agent
            .stage(futures::stream::iter([header].into_iter().chain(chunks)).boxed())
            .await?;
        if have.complete {
            return Ok(());
        }
        Err(CallError::Lost {
            source: "the node has not all of the patch yet".into(),
        })
    })
    .await
}

/// The stream of one upgrade. An error says that the stream broke and that the outcome is the node's secret.
async fn transact(
    link: &Link,
    order: &Order,
    payload: &Payload,
    steps: &Steps,
    mut cancel: watch::Receiver<bool>,
) -> Result<Upgraded, CallError> {
    let agent = link.agent().await?;
    // Room for everything that is ever sent: open, phases, abort.
    let (orders, received) = mpsc::channel(3);
    let body = pb::upgrade_request::Body::Open(pb::UpgradeOpen {
        key: Some(order.key.clone()),
        pause_budget_ms: order.timeouts.pause.millis(),
        prepare_timeout_ms: order.timeouts.prepare.millis(),
        on_down_failure: on_down_failure(order.on_down_failure).into(),
        through: payload
            .through
            .iter()
            .map(|patch| patch.digest.clone())
            .collect(),
        epoch: order.epoch,
        ..pb::UpgradeOpen::default()
    });
    let phases = [
        pb::Phase::Prepare,
        pb::Phase::Suspend,
        pb::Phase::Load,
        pb::Phase::Migrate,
        pb::Phase::Resume,
    ];
    let phases = pb::OpenPhases {
        phases: phases.iter().map(|phase| i32::from(*phase)).collect(),
    };
    for body in [body, pb::upgrade_request::Body::Phases(phases)] {
        // There is room, and the receiver is in this function.
        let _ = orders.try_send(pb::UpgradeRequest { body: Some(body) });
    }
    let mut deadline = Instant::now() + order.timeouts.upgrade();
    let received = tokio_stream::wrappers::ReceiverStream::new(received).boxed();
    let limit = order.timeouts.upgrade();
    let opened = timeout_at(deadline, agent.upgrade(received)).await;
    let mut events = match opened.unwrap_or(Err(CallError::Timeout { after: limit })) {
        Ok(events) => events,
        Err(CallError::Failed(failure)) => return Ok(ended(&failure, Phase::Prepare)),
        Err(error) => return Err(error),
    };
    let mut aborting = false;
    loop {
        let event = tokio::select! {
            biased;
            _ = cancel.wait_for(|cancel| *cancel), if !aborting => {
                aborting = true;
                deadline = deadline.min(Instant::now() + ABORT);
                let abort = pb::Abort { reason: "the rollout stops".to_owned() };
                let body = Some(pb::upgrade_request::Body::Abort(abort));
                // There is room for one abort; a stream that is closed has its end in the events.
                let _ = orders.try_send(pb::UpgradeRequest { body });
                continue;
            }
            event = timeout_at(deadline, events.next()) => event,
        };
        let event = match event.map_err(|_| CallError::Timeout { after: limit })? {
            Some(Ok(event)) => event,
            Some(Err(CallError::Failed(failure))) => return Ok(ended(&failure, Phase::Upgrade)),
            Some(Err(error)) => return Err(error),
            None => {
                return Err(CallError::Lost {
                    source: "the node ended the upgrade without a result".into(),
                });
            }
        };
        if let Some(ended) = follow(&event, steps).await {
            return Ok(ended);
        }
    }
}

/// Reports one step; gives the result when it was the last.
async fn follow(event: &pb::StepEvent, steps: &Steps) -> Option<Upgraded> {
    let phase = phase_of(event.phase());
    let status = match event.status() {
        pb::StepStatus::Unspecified => Status::Unrecognised,
        pb::StepStatus::Started => Status::Started,
        pb::StepStatus::Done => Status::Done,
        pb::StepStatus::Failed => Status::Failed,
        pb::StepStatus::Aborted => Status::Aborted,
    };
    let shown = phase.unwrap_or(Phase::Unrecognised);
    steps.send(shown, status, event.elapsed_us).await;
    match status {
        Status::Done if phase == Some(Phase::Resume) => Some(Upgraded::Probation(
            event.resumed.as_ref().map(|report| report.pause_us),
        )),
        Status::Failed | Status::Aborted => Some(match &event.failure {
            Some(failure) => ended(failure, shown),
            None => Upgraded::Untouched(cancelled_cause(shown)),
        }),
        _ => None,
    }
}

fn ended(failure: &pb::Failure, phase: Phase) -> Upgraded {
    let cause = failure_cause(failure, phase);
    match failure {
        pb::Failure { changed: true, .. } => Upgraded::Changed(cause),
        pb::Failure { refused: true, .. } => Upgraded::Refused(cause),
        _ => Upgraded::Untouched(cause),
    }
}

/// Of a call that cannot have changed what runs.
fn without_change(error: &CallError, phase: Phase) -> Upgraded {
    match error {
        CallError::Failed(failure) if failure.refused => {
            Upgraded::Refused(failure_cause(failure, phase))
        }
        error => Upgraded::Untouched(error.cause(phase)),
    }
}

/// After a stream that broke: what the node says about this rollout, or that it says nothing.
async fn ask_what_happened(link: &Link, order: &Order, broke: Cause) -> Upgraded {
    let patience = order.timeouts.silence.get();
    let deadline = Instant::now() + patience;
    link.hang_up().await;
    let open = CallError::Lost {
        source: "the transaction is still open on the node".into(),
    };
    let answer = link
        .patiently(patience, QUESTION, |agent| async move {
            let described = agent.describe().await?;
            match ours(&described, &order.key).map(pb::UpgradeStatus::state) {
                Some(pb::UpgradeState::Open | pb::UpgradeState::Suspended)
                    if Instant::now() < deadline =>
                {
                    Err(CallError::Lost {
                        source: "the transaction is still open on the node".into(),
                    })
                }
                _ => Ok(described),
            }
        })
        .await;
    let described = match answer {
        Ok(described) => described,
        Err(_) => return Upgraded::Unknown(broke),
    };
    match ours(&described, &order.key) {
        None => Upgraded::Untouched(broke),
        Some(status) => match status.state() {
            pb::UpgradeState::Probation
            | pb::UpgradeState::Confirmed
            | pb::UpgradeState::Finished => Upgraded::Probation(Some(status.pause_us)),
            pb::UpgradeState::Aborted | pb::UpgradeState::RolledBack => Upgraded::Untouched(broke),
            _ => Upgraded::Unknown(open.cause(Phase::Upgrade)),
        },
    }
}

/// The status of this rollout's upgrade in what a node says of itself.
fn ours<'a>(described: &'a pb::DescribeResponse, key: &pb::Key) -> Option<&'a pb::UpgradeStatus> {
    described
        .upgrade
        .as_ref()
        .filter(|status| status.key.as_ref() == Some(key))
}

/// Asks for the node's health since resume.
pub async fn check(link: &Link, order: &Order) -> Checked {
    let answer = link
        .patiently(order.timeouts.silence.get(), QUESTION, |agent| async move {
            agent.describe().await
        })
        .await;
    let described = match answer {
        Ok(described) => described,
        Err(error) => return Checked::Unknown(error.cause(Phase::Gate)),
    };
    let Some(status) = ours(&described, &order.key) else {
        return Checked::Restarted(restarted(&described));
    };
    match status.state() {
        pb::UpgradeState::Probation | pb::UpgradeState::Confirmed => {
            let health = status.health.clone().unwrap_or_default();
            let pauses = health.pauses.unwrap_or_default();
            Checked::Health(Health {
                events: health.events,
                traps: health.traps,
                errors: health.errors,
                restarts: health.restarts,
                parked: health.parked,
                ended: health.ended,
                pauses: Pauses::new(pauses.max_us, &pauses.buckets),
            })
        }
        _ => Checked::Restarted(restarted(&described)),
    }
}

fn restarted(described: &pb::DescribeResponse) -> Cause {
    let runs = described
        .current
        .as_ref()
        .map_or("nothing", |release| &release.vsn);
    Cause {
        code: "MF0524".to_owned(),
        phase: Phase::Gate,
        what: format!(
            "the node left probation by itself and runs {runs}: it restarted before confirm"
        ),
        subject: String::new(),
        hint: "see the agent's log for why it restarted".to_owned(),
        actors: Vec::new(),
        actor_count: 0,
    }
}

/// Makes the release permanent, or with `finish` drops the old code. An answer that was not heard is asked for again.
pub async fn confirm(
    link: &Link,
    order: &Order,
    finish: bool,
    mut cancel: watch::Receiver<bool>,
) -> Result<(), Cause> {
    let phase = if finish {
        Phase::Finish
    } else {
        Phase::Confirm
    };
    let patience = order.timeouts.confirm.get();
    let asked = link.patiently(patience, patience, |agent| async move {
        agent
            .confirm(pb::ConfirmRequest {
                key: Some(order.key.clone()),
                finish,
                epoch: order.epoch,
                ..pb::ConfirmRequest::default()
            })
            .await
    });
    tokio::select! {
        biased;
        answer = asked => answer.map(|_| ()).map_err(|error| error.cause(phase)),
        _ = cancel.wait_for(|cancel| *cancel) => Err(cancelled_cause(phase)),
    }
}

/// Puts the node back, whatever it is doing. Retries until the policy's deadline.
pub async fn rollback(link: &Link, order: &Order, reason: &str) -> Back {
    let patience = order.timeouts.rollback.get();
    let answer = link
        .patiently(patience, patience, |agent| async move {
            let request = pb::RollbackRequest {
                key: Some(order.key.clone()),
                on_down_failure: on_down_failure(order.on_down_failure).into(),
                pause_budget_ms: order.timeouts.pause.millis(),
                reason: reason.to_owned(),
                epoch: order.epoch,
            };
            agent.rollback(request).await
        })
        .await;
    let response = match answer {
        Ok(response) => response,
        Err(CallError::Failed(failure)) => {
            return Back::Failed(failure_cause(&failure, Phase::Rollback));
        }
        Err(error) => return Back::Unreached(error.cause(Phase::Rollback)),
    };
    let report = response.report.clone().unwrap_or_default();
    let counts = RollbackCounts {
        pinned: report.pinned,
        migrated: report.migrated,
        restored: report.restored,
        events_discarded: report.events_discarded,
        stopped: report.stopped,
        held: report.held.len() as u64,
        redelivered: report.redelivered,
        pause_us: report.pause_us,
    };
    let runs = response
        .current
        .as_ref()
        .map_or("nothing", |release| &release.vsn);
    let say = |code: &str, what: String, hint: &str| {
        let failure = pb::Failure {
            code: code.to_owned(),
            what,
            hint: hint.to_owned(),
            actors: report.held.clone(),
            ..pb::Failure::default()
        };
        failure_cause(&failure, Phase::Rollback)
    };
    match response.outcome() {
        pb::RollbackOutcome::RolledBack => Back::RolledBack(counts),
        pb::RollbackOutcome::Untouched => Back::Untouched,
        pb::RollbackOutcome::Superseded => {
            let what = format!("the node runs {runs}, which came after this rollout");
            Back::Superseded(say(
                "MF0525",
                what,
                "roll back the later rollout first, or leave the node as it is",
            ))
        }
        pb::RollbackOutcome::Held => {
            let what = format!("{} actors are held on the newer code", report.held.len());
            let hint = "their mailboxes are kept; in the next policy choose on_down_failure restore or stop, if that is better";
            Back::Held(say("MF0526", what, hint), counts)
        }
        pb::RollbackOutcome::Unspecified => {
            let what = format!("the node gave no outcome that this version knows, and runs {runs}");
            Back::Failed(say(
                "MF0523",
                what,
                "see `midflight nodes` for what it runs",
            ))
        }
    }
}

fn cancelled_cause(phase: Phase) -> Cause {
    Cause {
        code: "MF0527".to_owned(),
        phase,
        what: "cancelled, because the rollout stops".to_owned(),
        subject: String::new(),
        hint: String::new(),
        actors: Vec::new(),
        actor_count: 0,
    }
}

fn on_down_failure(policy: OnDownFailure) -> pb::OnDownFailure {
    match policy {
        OnDownFailure::Hold => pb::OnDownFailure::Hold,
        OnDownFailure::Restore => pb::OnDownFailure::Restore,
        OnDownFailure::Stop => pb::OnDownFailure::Stop,
    }
}
