//! Confirm and rollback as requests. Each holds the lock of orders for as long as its work takes, also when the client goes
//! away meanwhile.

use std::time::Duration;

use midflight_proto::agent::v1 as pb;
use midflight_proto::peer::Peer;
use tonic::Status;

use super::Service;
use crate::{
    error::Error,
    journal::OrderNote,
    key::Key,
    orders::{PAUSE_BUDGET, RollbackParams},
    target::OnDownFailure,
};

impl Service {
    pub(super) async fn confirm_order(
        &self,
        peer: Peer,
        request: pb::ConfirmRequest,
    ) -> Result<pb::ConfirmResponse, Status> {
        let phase = if request.finish {
            pb::Phase::Finish
        } else {
            pb::Phase::Confirm
        };
        let key = Key::read(request.key.as_ref()).map_err(|error| error.status(phase, false))?;
        let order = order(&peer, request.epoch);
        let reason: String = request.reason.chars().take(500).collect();
        let guard = self.agent.orders.clone().lock_owned().await;
        let work = move |agent: &std::sync::Arc<crate::agent::Agent>| {
            let _guard = guard;
            let stand = |agent: &crate::agent::Agent| {
                agent
                    .book
                    .state()
                    .record(&key)
                    .map(|record| record.stand.clone())
            };
            let before = stand(agent);
            agent
                .confirm(&key, request.finish, &order, &reason)
                .map_err(|error| {
                    agent.refuse("confirm", Some(&key), &peer, Vec::new(), &error);
                    error.status(phase, stand(agent) != before)
                })
        };
        self.blocking("confirm", work)
            .await
            .map_err(|error| error.status(phase, true))?
    }

    /// Renewing waits for no other order: a lease must not run out while one is at work.
    pub(super) async fn renew_order(
        &self,
        peer: Peer,
        request: pb::RenewRequest,
    ) -> Result<pb::RenewResponse, Error> {
        let key = Key::read(request.key.as_ref())?;
        let order = order(&peer, request.epoch);
        let work = move |agent: &std::sync::Arc<crate::agent::Agent>| {
            agent
                .renew(&key, &order)
                .inspect_err(|error| agent.refuse("renew", Some(&key), &peer, Vec::new(), error))
        };
        self.blocking("renewal", work).await?
    }

    pub(super) async fn remove_release_order(
        &self,
        peer: Peer,
        request: pb::RemoveReleaseRequest,
    ) -> Result<pb::RemoveReleaseResponse, Error> {
        let guard = self.agent.orders.clone().lock_owned().await;
        let work = move |agent: &std::sync::Arc<crate::agent::Agent>| {
            let _guard = guard;
            let removed = agent.remove_release(&request, &peer.name);
            removed.inspect_err(|error| {
                agent.refuse("remove_release", None, &peer, Vec::new(), error);
            })?;
            Ok(pb::RemoveReleaseResponse {
                releases: agent.releases(),
            })
        };
        self.blocking("removal of a release", work).await?
    }

    pub(super) async fn rollback_order(
        &self,
        peer: Peer,
        request: pb::RollbackRequest,
    ) -> Result<pb::RollbackResponse, Error> {
        let key = Key::read(request.key.as_ref())?;
        let order = order(&peer, request.epoch);
        let params = RollbackParams {
            pause_budget: millis_or(request.pause_budget_ms, PAUSE_BUDGET),
            on_down_failure: on_down_failure(request.on_down_failure()),
            reason: request.reason.chars().take(500).collect(),
        };
        let guard = self.agent.orders.clone().lock_owned().await;
        let (claim, by, asking) = (key.clone(), order.clone(), peer.clone());
        let allowed = move |agent: &std::sync::Arc<crate::agent::Agent>| {
            agent.check_claim(&claim, &by).inspect_err(|error| {
                agent.refuse("rollback", Some(&claim), &asking, Vec::new(), error)
            })
        };
        self.blocking("check of a rollback", allowed).await??;
        if let Some(transaction) = self.agent.transaction_of(&key) {
            transaction.cancel("a rollback was ordered");
            transaction.settled().await;
        }
        let work = move |agent: &std::sync::Arc<crate::agent::Agent>| {
            let _guard = guard;
            agent
                .rollback(&key, &params, &order)
                .inspect_err(|error| agent.refuse("rollback", Some(&key), &peer, Vec::new(), error))
        };
        self.blocking("rollback", work).await?
    }
}

/// Who gives an order.
pub(super) fn order(peer: &Peer, epoch: u64) -> OrderNote {
    OrderNote {
        epoch: epoch.max(1),
        peer: peer.name.clone(),
    }
}

pub(super) fn millis_or(millis: u32, default: Duration) -> Duration {
    if millis == 0 {
        default
    } else {
        Duration::from_millis(millis.into())
    }
}

/// A member that this agent does not know is as if nothing were said.
pub(super) fn on_down_failure(asked: pb::OnDownFailure) -> OnDownFailure {
    match asked {
        pb::OnDownFailure::Unspecified | pb::OnDownFailure::Hold => OnDownFailure::Hold,
        pb::OnDownFailure::Restore => OnDownFailure::Restore,
        pb::OnDownFailure::Stop => OnDownFailure::Stop,
    }
}
