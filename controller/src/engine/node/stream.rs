//! The stream of one upgrade transaction: opens the phases, all at once or from barrier to barrier, follows the node's steps,
//! and aborts when the rollout or the batch stops. It is over with the first result.

use futures::StreamExt as _;
use midflight_proto::agent::v1 as pb;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep_until, timeout_at};

use crate::engine::link::Link;
use crate::engine::moves::Upgraded;
use crate::engine::node::upgrade::SUPERSEDED;
use crate::engine::node::{
    ABORT, Order, Reports, SLOW, Way, cancelled_cause, on_down_failure, on_lost_contact,
};
use crate::engine::payload::Payload;
use crate::engine::words::{Barrier, Phase, Status};
use crate::transport::{CallError, failure_cause, phase_of};

/// How far nodes may go. All nodes of a rollout that are in flight look at one, and in lockstep those of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// In lockstep, what was opened last.
    pub open: Barrier,
    /// What has not reached resume is aborted.
    pub cut: bool,
}

impl Passage {
    /// Nothing is opened, and nothing cut.
    #[must_use]
    pub fn new() -> Self {
        Self {
            open: Barrier::Prepare,
            cut: false,
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }
}

impl Default for Passage {
    fn default() -> Self {
        Self::new()
    }
}

/// What a barrier opens on a node.
fn phases(barrier: Barrier) -> &'static [pb::Phase] {
    match barrier {
        Barrier::Prepare => &[pb::Phase::Prepare],
        Barrier::Suspend => &[pb::Phase::Suspend],
        Barrier::Migrate => &[pb::Phase::Load, pb::Phase::Migrate],
        Barrier::Resume => &[pb::Phase::Resume],
        _ => &[],
    }
}

/// The barrier that a node is through with a phase.
fn through(phase: Phase) -> Option<Barrier> {
    match phase {
        Phase::Prepare => Some(Barrier::Prepare),
        Phase::Suspend => Some(Barrier::Suspend),
        Phase::Migrate => Some(Barrier::Migrate),
        _ => None,
    }
}

/// Runs the transaction. An error says that the stream broke and that the outcome is the node's secret.
pub(super) async fn stream(
    link: &Link,
    order: &Order,
    key: &pb::Key,
    payload: &Payload,
    staged_us: u64,
    reports: &Reports,
    mut passage: watch::Receiver<Passage>,
) -> Result<Upgraded, CallError> {
    let agent = link.agent().await?;
    let lockstep = order.way == Way::Lockstep;
    let limit = limit(order);
    let mut deadline = Instant::now() + limit;
    // Room for everything that is ever sent: open, phases up to four times, abort.
    let (orders, received) = mpsc::channel(6);
    // There is room, and a stream that is closed has its end in the events.
    let send = |body| drop(orders.try_send(pb::UpgradeRequest { body: Some(body) }));
    let open = |phases: &[pb::Phase]| {
        let phases = phases.iter().map(|phase| i32::from(*phase)).collect();
        pb::upgrade_request::Body::Phases(pb::OpenPhases { phases })
    };
    send(pb::upgrade_request::Body::Open(opening(
        order, key, payload,
    )));
    let free = [
        Barrier::Prepare,
        Barrier::Suspend,
        Barrier::Migrate,
        Barrier::Resume,
    ];
    match order.way {
        Way::Free => send(open(&free.map(phases).concat())),
        Way::Lockstep | Way::PrepareOnly => send(open(phases(Barrier::Prepare))),
    }
    let received = tokio_stream::wrappers::ReceiverStream::new(received).boxed();
    let opened = timeout_at(deadline, agent.upgrade(received)).await;
    let mut events = match opened.unwrap_or(Err(CallError::Timeout { after: limit })) {
        Ok(events) => events,
        Err(CallError::Failed(failure)) => return Ok(ended(&failure, Phase::Prepare)),
        Err(error) => return Err(error),
    };
    let (mut opened, mut aborting) = (Barrier::Prepare, false);
    let mut follower = Follower::new(staged_us);
    let mut prepared = None;
    loop {
        let event = tokio::select! {
            biased;
            now = news(&mut passage, opened, lockstep), if !aborting => {
                if now.cut {
                    aborting = true;
                    deadline = deadline.min(Instant::now() + ABORT);
                    send(abort("the rollout stops"));
                } else {
                    opened = now.open;
                    send(open(phases(opened)));
                }
                continue;
            }
            () = follower.slow() => {
                follower.say(reports).await;
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
        if let (Some(estimate), pb::StepStatus::Aborted) = (prepared, event.status()) {
            return Ok(Upgraded::Prepared(estimate));
        }
        if let Some(ended) = follower.follow(&event, reports).await {
            return Ok(ended);
        }
        if event.status() != pb::StepStatus::Done {
            continue;
        }
        match (order.way, phase_of(event.phase()).and_then(through)) {
            (Way::PrepareOnly, Some(Barrier::Prepare)) => {
                let report = event.prepared.as_ref();
                prepared = Some(report.map_or(0, |report| report.estimated_pause_us));
                aborting = true;
                deadline = deadline.min(Instant::now() + ABORT);
                send(abort("nothing but prepare was wanted"));
            }
            (Way::Lockstep, Some(barrier)) => reports.reached(barrier).await,
            _ => {}
        }
    }
}

/// Until what has not resumed is cut, or in lockstep another barrier is opened.
async fn news(passage: &mut watch::Receiver<Passage>, opened: Barrier, lockstep: bool) -> Passage {
    let is_new = |now: &Passage| now.cut || (lockstep && now.open != opened);
    let now = passage.wait_for(is_new).await.map(|now| *now);
    match now {
        Ok(now) => now,
        // The engine has ended, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

/// How long a transaction may take, waiting at barriers included.
fn limit(order: &Order) -> Duration {
    let timeouts = &order.timeouts;
    match order.way {
        Way::Free | Way::PrepareOnly => timeouts.upgrade(),
        Way::Lockstep => timeouts.upgrade() + timeouts.stage.get() + timeouts.barrier.get() * 4,
    }
}

fn opening(order: &Order, key: &pb::Key, payload: &Payload) -> pb::UpgradeOpen {
    let mut pause = order.timeouts.pause.millis();
    if order.way == Way::Lockstep {
        // The actors are suspended while their node waits for the others.
        pause = pause.saturating_add(order.timeouts.barrier.millis().saturating_mul(3));
    }
    let through = payload.through.iter().map(|patch| patch.digest.clone());
    pb::UpgradeOpen {
        key: Some(key.clone()),
        pause_budget_ms: pause,
        prepare_timeout_ms: order.timeouts.prepare.millis(),
        on_down_failure: on_down_failure(order.on_down_failure).into(),
        through: through.collect(),
        epoch: order.epoch,
        lease_ms: u32::try_from(order.lease.as_millis()).unwrap_or(u32::MAX),
        on_lost_contact: on_lost_contact(order.on_lost_contact).into(),
        supersede: order.supersedes.clone(),
    }
}

fn abort(reason: &str) -> pb::upgrade_request::Body {
    pb::upgrade_request::Body::Abort(pb::Abort {
        reason: reason.to_owned(),
    })
}

/// What is known of the steps so far.
struct Follower {
    /// The phases that are done, and how long each took.
    steps: Vec<(Phase, u64)>,
    /// The phase under way, when it began, and whether that was reported.
    now: Option<(Phase, Instant, bool)>,
}

impl Follower {
    fn new(staged_us: u64) -> Self {
        Self {
            steps: vec![(Phase::Stage, staged_us)],
            now: None,
        }
    }

    /// Until the phase under way has taken so long that it is to be reported.
    async fn slow(&self) {
        match self.now {
            Some((_, since, false)) => sleep_until(since + SLOW).await,
            _ => std::future::pending().await,
        }
    }

    async fn say(&mut self, reports: &Reports) {
        if let Some((phase, _, said)) = &mut self.now {
            *said = true;
            reports.step(*phase, Status::Started, 0).await;
        }
    }

    /// Takes in one step; gives the result when it was the last.
    async fn follow(&mut self, event: &pb::StepEvent, reports: &Reports) -> Option<Upgraded> {
        let phase = phase_of(event.phase());
        let shown = phase.unwrap_or(Phase::Unrecognised);
        match event.status() {
            pb::StepStatus::Unspecified => None,
            pb::StepStatus::Started => {
                self.now = Some((shown, Instant::now(), false));
                None
            }
            pb::StepStatus::Done => {
                self.steps.push((shown, event.elapsed_us));
                if let Some((_, _, true)) = self.now.take() {
                    reports.step(shown, Status::Done, event.elapsed_us).await;
                }
                (phase == Some(Phase::Resume)).then(|| Upgraded::Probation {
                    pause_us: event.resumed.as_ref().map(|report| report.pause_us),
                    steps: std::mem::take(&mut self.steps),
                })
            }
            status @ (pb::StepStatus::Failed | pb::StepStatus::Aborted) => {
                let word = match status {
                    pb::StepStatus::Failed => Status::Failed,
                    _ => Status::Aborted,
                };
                reports.step(shown, word, event.elapsed_us).await;
                Some(match &event.failure {
                    Some(failure) => ended(failure, shown),
                    None => Upgraded::Untouched(cancelled_cause(shown)),
                })
            }
        }
    }
}

/// How a transaction ended that failed in `phase`.
pub(super) fn ended(failure: &pb::Failure, phase: Phase) -> Upgraded {
    let cause = failure_cause(failure, phase);
    match failure {
        pb::Failure { code, .. } if code == SUPERSEDED => Upgraded::Superseded(cause),
        pb::Failure { changed: true, .. } => Upgraded::Changed(cause),
        pb::Failure { refused: true, .. } => Upgraded::Refused(cause),
        _ => Upgraded::Untouched(cause),
    }
}
