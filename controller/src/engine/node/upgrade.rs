//! One upgrade of one node: stage, then the stream of phases, and after a stream that broke the question what came of it.

use std::sync::Arc;

use midflight_proto::agent::v1 as pb;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::engine::event::Cause;
use crate::engine::link::Link;
use crate::engine::moves::{Back, Upgraded};
use crate::engine::node::back::rollback;
use crate::engine::node::stage::stage_all;
use crate::engine::node::stream::{Passage, ended, stream};
use crate::engine::node::{Order, QUESTION, Reports, SLOW, cancelled_cause};
use crate::engine::payload::Payload;
use crate::engine::words::{Phase, Status};
use crate::transport::{CallError, failure_cause};

/// The agent's code of a transaction that was cut: by a broken stream, by a later controller process, or by an abort.
const CUT: &str = "MF0422";
/// The agent's code of a rollout that another one took over.
pub(super) const SUPERSEDED: &str = "MF0442";

/// Stages the patch and upgrades the node as far as the order goes. `passage` may cut it short until it has reached resume.
/// `again`: another process may have asked for this attempt before.
pub async fn upgrade(
    link: &Link,
    order: &Order,
    attempt: u32,
    again: bool,
    payload: &Arc<Payload>,
    reports: &Reports,
    mut passage: watch::Receiver<Passage>,
) -> Upgraded {
    let key = order.key(attempt);
    if again && let Some(upgraded) = ask_what_happened(link, order, &key, None).await {
        return upgraded;
    }
    if attempt > 1 && !again {
        // What the attempt before may have left.
        let why = "the node is tried again";
        if let Err(upgraded) = withdraw(link, order, attempt - 1, why).await {
            return upgraded;
        }
    }
    let cancelled = || Upgraded::Untouched(cancelled_cause(Phase::Stage));
    let started = Instant::now();
    let staged = async {
        let staging = stage_all(link, order, &key, payload);
        tokio::pin!(staging);
        tokio::select! {
            staged = &mut staging => return staged,
            () = sleep(SLOW) => reports.step(Phase::Stage, Status::Started, 0).await,
        }
        staging.await
    };
    let staged = tokio::select! {
        biased;
        _ = passage.wait_for(Passage::is_cut) => return cancelled(),
        staged = staged => staged,
    };
    let elapsed = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    if let Err(error) = staged {
        reports.step(Phase::Stage, Status::Failed, elapsed).await;
        return without_change(&error, Phase::Stage);
    }
    if passage.borrow().is_cut() {
        return cancelled();
    }
    match stream(link, order, &key, payload, elapsed, reports, passage).await {
        Ok(upgraded) => upgraded,
        // The stream broke: only the node knows on which side of resume.
        Err(error) => {
            let broke = error.cause(Phase::Upgrade);
            if let Some(upgraded) = ask_what_happened(link, order, &key, Some(&broke)).await {
                return upgraded;
            }
            // The order to open may still be on its way: once the node knows that it is withdrawn, it comes too late.
            let why = "its stream broke before the node had met it";
            match withdraw(link, order, attempt, why).await {
                Ok(()) => Upgraded::Untouched(broke),
                Err(upgraded) => upgraded,
            }
        }
    }
}

/// Puts back what an attempt has done on the node, or has it refused when it comes later; an error says how the node stands
/// instead.
async fn withdraw(link: &Link, order: &Order, attempt: u32, why: &str) -> Result<(), Upgraded> {
    match rollback(link, order, attempt, why).await {
        Back::RolledBack(_) | Back::Untouched => Ok(()),
        Back::Superseded(cause) => Err(Upgraded::Superseded(cause)),
        Back::Held(cause, _) | Back::Failed(cause) => Err(Upgraded::Changed(cause)),
        Back::Unreached(cause) => Err(Upgraded::Unknown(cause)),
    }
}

/// Of a call that cannot have changed what runs.
fn without_change(error: &CallError, phase: Phase) -> Upgraded {
    match error {
        CallError::Failed(failure) if failure.code == SUPERSEDED => {
            Upgraded::Superseded(failure_cause(failure, phase))
        }
        CallError::Failed(failure) if failure.refused => {
            Upgraded::Refused(failure_cause(failure, phase))
        }
        error => Upgraded::Untouched(error.cause(phase)),
    }
}

/// What the node says of an attempt whose stream `broke`, or that another process may have begun; `None` when it has never met
/// it.
async fn ask_what_happened(
    link: &Link,
    order: &Order,
    key: &pb::Key,
    broke: Option<&Cause>,
) -> Option<Upgraded> {
    let patience = order.timeouts.silence.get();
    let deadline = Instant::now() + patience;
    link.hang_up().await;
    let open = || CallError::Lost {
        source: "the transaction is still open on the node".into(),
    };
    let answer = link
        .patiently(patience, QUESTION, |agent| async move {
            let described = agent.describe_order(key.clone()).await?;
            match described.asked.as_ref().map(pb::UpgradeStatus::state) {
                Some(pb::UpgradeState::Open | pb::UpgradeState::Suspended)
                    if Instant::now() < deadline =>
                {
                    Err(open())
                }
                _ => Ok(described),
            }
        })
        .await;
    let status = match answer {
        Ok(described) => described.asked?,
        Err(error) => {
            let broke = broke.cloned();
            return Some(Upgraded::Unknown(
                broke.unwrap_or_else(|| error.cause(Phase::Upgrade)),
            ));
        }
    };
    let cause = || {
        let told = status.failure.as_ref();
        let told = told.map(|failure| failure_cause(failure, Phase::Upgrade));
        told.or_else(|| broke.cloned())
            .unwrap_or_else(|| cancelled_cause(Phase::Upgrade))
    };
    let is_cut = status
        .failure
        .as_ref()
        .is_none_or(|failure| failure.code == CUT);
    Some(match status.state() {
        pb::UpgradeState::Probation | pb::UpgradeState::Confirmed | pb::UpgradeState::Finished => {
            Upgraded::Probation {
                pause_us: Some(status.pause_us),
                steps: Vec::new(),
            }
        }
        pb::UpgradeState::Aborted | pb::UpgradeState::RolledBack if is_cut => match broke {
            Some(broke) => Upgraded::Untouched(broke.clone()),
            None => Upgraded::Interrupted(cause()),
        },
        pb::UpgradeState::Aborted => match &status.failure {
            Some(failure) => ended(failure, Phase::Upgrade),
            None => Upgraded::Untouched(cause()),
        },
        pb::UpgradeState::RolledBack => match cause() {
            cause if cause.code == SUPERSEDED => Upgraded::Superseded(cause),
            cause => Upgraded::RolledBack(cause),
        },
        _ => Upgraded::Unknown(open().cause(Phase::Upgrade)),
    })
}
