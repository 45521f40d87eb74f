//! What is asked of a node that runs the new code: how it stands, for a renewal of its lease, for its health, to confirm, and to
//! finish. A node that left probation by itself says so in each of these.

use midflight_proto::agent::v1 as pb;
use tokio::sync::watch;

use crate::engine::event::Cause;
use crate::engine::link::Link;
use crate::engine::moves::Standing;
use crate::engine::node::upgrade::SUPERSEDED;
use crate::engine::node::{Order, QUESTION, cancelled_cause};
use crate::engine::words::Phase;
use crate::transport::{CallError, failure_cause};

/// Renews the lease of a node, and asks what happened when the node does not grant that.
pub async fn inquire(link: &Link, order: &Order, attempt: u32) -> Standing {
    // A node that is silent for longer is lost, and its lease runs out.
    let patience = order.lease * 2 / 3;
    let answer = link
        .patiently(patience, QUESTION.min(patience), |agent| async move {
            agent
                .renew(pb::RenewRequest {
                    key: Some(order.key(attempt)),
                    epoch: order.epoch,
                })
                .await
        })
        .await;
    match answer {
        Ok(renewed) => match renewed.state() {
            pb::UpgradeState::Probation => Standing::Probation,
            pb::UpgradeState::Confirmed | pb::UpgradeState::Finished => Standing::Confirmed,
            _ => what_happened(link, order, attempt).await,
        },
        Err(CallError::Failed(failure)) if failure.code == SUPERSEDED => {
            Standing::Superseded(failure_cause(&failure, Phase::Gate))
        }
        Err(CallError::Failed(_)) => what_happened(link, order, attempt).await,
        Err(error) => Standing::Unknown(error.cause(Phase::Gate)),
    }
}

async fn describe(
    link: &Link,
    order: &Order,
    attempt: u32,
) -> Result<pb::DescribeResponse, CallError> {
    link.patiently(order.timeouts.silence.get(), QUESTION, |agent| async move {
        agent.describe_order(order.key(attempt)).await
    })
    .await
}

async fn what_happened(link: &Link, order: &Order, attempt: u32) -> Standing {
    match describe(link, order, attempt).await {
        Ok(described) => standing(&described, Phase::Gate),
        Err(error) => Standing::Unknown(error.cause(Phase::Gate)),
    }
}

/// How a node stands that should be in probation, from its answer to the question about this order.
#[must_use]
pub fn standing(described: &pb::DescribeResponse, phase: Phase) -> Standing {
    let Some(status) = &described.asked else {
        return Standing::RolledBack(restarted(described, phase));
    };
    match status.state() {
        pb::UpgradeState::Probation => Standing::Probation,
        pb::UpgradeState::Confirmed | pb::UpgradeState::Finished => Standing::Confirmed,
        _ => match &status.failure {
            Some(failure) if failure.code == SUPERSEDED => {
                Standing::Superseded(failure_cause(failure, phase))
            }
            Some(failure) => Standing::RolledBack(failure_cause(failure, phase)),
            None => Standing::RolledBack(restarted(described, phase)),
        },
    }
}

fn restarted(described: &pb::DescribeResponse, phase: Phase) -> Cause {
    let runs = described
        .current
        .as_ref()
        .map_or("nothing", |release| &release.vsn);
    Cause {
        code: "MF0524".to_owned(),
        phase,
        what: format!(
            "the node left probation by itself and runs {runs}: it restarted before confirm"
        ),
        subject: String::new(),
        hint: "see the agent's log for why it restarted".to_owned(),
        actors: Vec::new(),
        actor_count: 0,
    }
}

/// Makes the release permanent. An answer that was not heard is asked for again, and a node that refuses is asked how it stands.
pub async fn confirm(
    link: &Link,
    order: &Order,
    attempt: u32,
    mut cancel: watch::Receiver<bool>,
) -> Standing {
    let asked = async {
        match permanent(link, order, &order.key(attempt), false).await {
            Ok(()) => Standing::Confirmed,
            Err(CallError::Failed(failure)) => {
                match what_happened(link, order, attempt).await {
                    // It says no, for whatever reason, and is in probation still.
                    Standing::Probation => {
                        Standing::Unknown(failure_cause(&failure, Phase::Confirm))
                    }
                    standing => standing,
                }
            }
            Err(error) => Standing::Unknown(error.cause(Phase::Confirm)),
        }
    };
    tokio::select! {
        biased;
        standing = asked => standing,
        _ = cancel.wait_for(|cancel| *cancel) => Standing::Unknown(cancelled_cause(Phase::Confirm)),
    }
}

/// Drops the old code of what `key` confirmed.
///
/// # Errors
/// Why the node did not.
pub async fn finish(link: &Link, order: &Order, key: &pb::Key) -> Result<(), Cause> {
    let finished = permanent(link, order, key, true).await;
    finished.map_err(|error| error.cause(Phase::Finish))
}

async fn permanent(
    link: &Link,
    order: &Order,
    key: &pb::Key,
    finish: bool,
) -> Result<(), CallError> {
    let patience = order.timeouts.confirm.get();
    let asked = link.patiently(patience, patience, |agent| async move {
        agent
            .confirm(pb::ConfirmRequest {
                key: Some(key.clone()),
                finish,
                epoch: order.epoch,
                ..pb::ConfirmRequest::default()
            })
            .await
    });
    asked.await.map(drop)
}
