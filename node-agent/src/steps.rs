//! The events of one transaction: numbered, sent to the controller's stream and to those who watch the node. Sending never
//! waits, because it may happen while actors are suspended: the stream has room for all events that a transaction can have.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use midflight_proto::agent::v1 as pb;
use tokio::sync::mpsc;
use tonic::Status;

use crate::{
    agent::Agent,
    book::{Record, Stand},
    error::Error,
    journal::{ResumeNote, micros},
    key::Key,
};

/// More than a transaction has: five phases with two events each, one failure, one abort.
pub const ROOM: usize = 16;

/// Where the events of one transaction go.
pub struct Steps {
    agent: Arc<Agent>,
    key: Key,
    out: mpsc::Sender<Result<pb::StepEvent, Status>>,
    seq: AtomicU64,
}

impl Steps {
    /// `out` must have [`ROOM`].
    pub fn new(
        agent: Arc<Agent>,
        key: Key,
        out: mpsc::Sender<Result<pb::StepEvent, Status>>,
    ) -> Self {
        Self {
            agent,
            key,
            out,
            seq: AtomicU64::new(0),
        }
    }

    /// Returns once nobody reads the stream any more.
    pub async fn closed(&self) {
        self.out.closed().await;
    }

    /// A phase begins.
    pub fn started(&self, phase: pb::Phase) {
        self.send(event(phase, pb::StepStatus::Started));
    }

    /// A phase ended well.
    pub fn done(&self, phase: pb::Phase, elapsed: Duration) {
        self.send(pb::StepEvent {
            elapsed_us: micros(elapsed),
            ..event(phase, pb::StepStatus::Done)
        });
    }

    /// Prepare ended well.
    pub fn prepared(&self, elapsed: Duration, report: pb::PrepareReport) {
        let done = event(pb::Phase::Prepare, pb::StepStatus::Done);
        self.send(pb::StepEvent {
            elapsed_us: micros(elapsed),
            prepared: Some(report),
            ..done
        });
    }

    /// Resume ended well.
    pub fn resumed(&self, elapsed: Duration, report: ResumeNote) {
        let done = event(pb::Phase::Resume, pb::StepStatus::Done);
        self.send(pb::StepEvent {
            elapsed_us: micros(elapsed),
            resumed: Some(report.to_pb()),
            ..done
        });
    }

    /// A phase failed.
    pub fn failed(&self, phase: pb::Phase, elapsed: Duration, failure: pb::Failure) {
        let failed = event(phase, pb::StepStatus::Failed);
        self.send(pb::StepEvent {
            elapsed_us: micros(elapsed),
            failure: Some(failure),
            ..failed
        });
    }

    /// The transaction was aborted in this phase.
    pub fn aborted(&self, phase: pb::Phase, failure: pb::Failure) {
        self.send(pb::StepEvent {
            failure: Some(failure),
            ..event(phase, pb::StepStatus::Aborted)
        });
    }

    fn send(&self, mut step: pb::StepEvent) {
        step.seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let (phase, status) = (name(step.phase()), step.status().as_str_name());
        let text = format!(
            "{phase} {}",
            status.trim_start_matches("STEP_STATUS_").to_lowercase()
        );
        tracing::info!(key = %self.key, phase, status = text, elapsed_us = step.elapsed_us, "step");
        self.agent
            .events
            .add("upgrade", text, Some(&self.key), Some(step.clone()));
        // Nobody reads any more, or this is more than a transaction has: neither may stop the work.
        let _ = self.out.try_send(Ok(step));
    }
}

/// What happened to a rollout, for a controller that asks again.
pub fn replay(record: &Record) -> Vec<pb::StepEvent> {
    let mut steps = Vec::new();
    if let Some(report) = record.resumed {
        let resumed = Some(report.to_pb());
        steps.push(pb::StepEvent {
            resumed,
            ..event(pb::Phase::Resume, pb::StepStatus::Done)
        });
    }
    match &record.stand {
        Stand::Open | Stand::Suspending | Stand::Probation | Stand::RollingBack(_) => {}
        Stand::Confirming | Stand::Confirmed => {
            steps.push(event(pb::Phase::Confirm, pb::StepStatus::Done))
        }
        Stand::Finished => {
            steps.push(event(pb::Phase::Confirm, pb::StepStatus::Done));
            steps.push(event(pb::Phase::Finish, pb::StepStatus::Done));
        }
        Stand::RolledBack(..) if record.span.is_none() => steps.push(pb::StepEvent {
            failure: why(record),
            ..event(pb::Phase::Prepare, pb::StepStatus::Aborted)
        }),
        Stand::RolledBack(..) | Stand::Lost => steps.push(pb::StepEvent {
            failure: why(record),
            ..event(pb::Phase::Rollback, pb::StepStatus::Done)
        }),
        Stand::Aborted(failure) => steps.push(pb::StepEvent {
            failure: why(record),
            ..event(failure.to_pb().phase(), pb::StepStatus::Aborted)
        }),
    }
    for (seq, step) in (1..).zip(&mut steps) {
        step.seq = seq;
    }
    steps
}

/// Why a rollout ended otherwise than its controller ordered.
pub fn why(record: &Record) -> Option<pb::Failure> {
    let ended = crate::orders::ended_by(record);
    match &record.stand {
        Stand::Aborted(failure) => Some(failure.to_pb()),
        Stand::RolledBack(..) if record.span.is_none() => {
            let error = Error::Aborted {
                reason: "it was rolled back before it was opened".to_owned(),
            };
            Some(error.failure(pb::Phase::Prepare, false))
        }
        Stand::Lost => {
            let release = record.span.as_ref()?.from.release.vsn.clone();
            Some(Error::LostInRestart { release }.failure(pb::Phase::Probation, true))
        }
        Stand::RolledBack(..) => Some(ended?.failure(pb::Phase::Probation, true)),
        _ => None,
    }
}

/// "prepare" and so on.
pub fn name(phase: pb::Phase) -> String {
    phase
        .as_str_name()
        .trim_start_matches("PHASE_")
        .to_lowercase()
}

fn event(phase: pb::Phase, status: pb::StepStatus) -> pb::StepEvent {
    pb::StepEvent {
        phase: phase.into(),
        status: status.into(),
        ..Default::default()
    }
}
