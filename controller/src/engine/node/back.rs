//! Puts a node back, whatever this rollout is in there, and finds words for what the node made of it.

use midflight_proto::agent::v1 as pb;

use crate::engine::event::RollbackCounts;
use crate::engine::link::Link;
use crate::engine::moves::Back;
use crate::engine::node::{Order, on_down_failure};
use crate::engine::words::Phase;
use crate::transport::{CallError, failure_cause};

/// Puts the node back, whatever it is doing. Retries until the policy's deadline.
pub async fn rollback(link: &Link, order: &Order, attempt: u32, reason: &str) -> Back {
    let patience = order.timeouts.rollback.get();
    let answer = link
        .patiently(patience, patience, |agent| async move {
            let request = pb::RollbackRequest {
                key: Some(order.key(attempt)),
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
