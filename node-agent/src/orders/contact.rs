//! Lost contact: what a node in probation does whose lease ran out. The end of the lease and a confirm exclude each other in
//! the journal: the one that is written first holds, the other is told. Then the node rolls back, again and again until it
//! is back, or stays in probation and waits, as the order said.

use std::{sync::Arc, time::Duration};

use crate::{
    agent::Agent, book::Stand, error::Error, journal::Entry, key::Key, lease::OnLostContact,
    orders::RollbackParams, transaction::Transaction, work,
};

/// How long after a rollback that failed the next one is tried; twice as long each time, up to the second value.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Watches over a transaction from resume until it is confirmed, rolled back, or the agent stops.
pub(crate) async fn probation(agent: Arc<Agent>, transaction: Arc<Transaction>) {
    let mut wait = RETRY.0;
    loop {
        let ran_out = tokio::select! {
            biased;
            () = agent.stopped() => return,
            ran_out = transaction.lease.ran_out(&*agent.clock) => ran_out,
        };
        if !ran_out {
            return;
        }
        let guard = agent.orders.clone().lock_owned().await;
        let (worker, on_thread, of) = (agent.worker.clone(), agent.clone(), transaction.clone());
        let lost = work::run(&worker, "end of a lease", move || {
            let _guard = guard;
            on_thread.lost_contact(&of)
        });
        match lost.await {
            Ok(Ok(())) => wait = RETRY.0,
            Ok(Err(error)) | Err(error) => {
                let text = format!(
                    "after its lease ran out, the node could not go back, and tries again in {} s: {}",
                    wait.as_secs(),
                    error.chain()
                );
                tracing::error!(key = %transaction.key, text);
                agent
                    .events
                    .add("lease", text, Some(&transaction.key), None);
                tokio::select! {
                    biased;
                    () = agent.stopped() => return,
                    () = transaction.lease.contact() => {}
                    () = agent.clock.until(agent.clock.now() + wait) => {}
                }
                wait = (wait * 2).min(RETRY.1);
                continue;
            }
        }
        tokio::select! {
            biased;
            () = agent.stopped() => return,
            () = transaction.lease.contact() => {}
        }
    }
}

impl Agent {
    /// Refuses a confirm that comes after the end of the lease.
    pub(crate) fn check_lease(&self, key: &Key) -> Result<(), Error> {
        if mutant!(confirm_without_compare_and_set) {
            return Ok(());
        }
        let Some(transaction) = self.transaction_of(key) else {
            return Ok(());
        };
        let terms = transaction.lease.terms();
        if terms.on_lost_contact == OnLostContact::Rollback
            && transaction.lease.expire(self.clock.now())
        {
            return Err(expired(key, terms.lease_ms));
        }
        Ok(())
    }

    /// Does what the order says of a lease that ran out, unless the rollout is in probation no more. Blocks.
    fn lost_contact(&self, transaction: &Arc<Transaction>) -> Result<(), Error> {
        let (key, terms) = (&transaction.key, transaction.lease.terms());
        let entry = Entry::LeaseExpired {
            key: key.clone(),
            terms,
        };
        let (mut probation, mut first) = (false, false);
        let written = self.book.decide(|state| {
            let record = state.record(key);
            probation = record.is_some_and(|record| record.stand == Stand::Probation)
                || mutant!(confirm_without_compare_and_set);
            first = probation && record.is_some_and(|record| !record.expired);
            Ok(first.then(|| entry.clone()))
        });
        if !probation {
            return Ok(());
        }
        if let Err(error) = written {
            // A journal that cannot be written must not keep the new code running: after a restart the old code boots.
            tracing::error!(%key, error = error.chain(), "the end of a lease is not in the journal");
            self.book.note(&entry);
        }
        let hold = terms.on_lost_contact == OnLostContact::Hold;
        if first || hold {
            let next = match terms.on_lost_contact {
                OnLostContact::Rollback => "the node rolls back",
                OnLostContact::Hold => "the node stays in probation and waits for an order",
            };
            let text = format!(
                "no confirm and no renewal came within {} ms: {next}",
                terms.lease_ms
            );
            tracing::warn!(%key, text, "lease");
            self.events.add("lease", text, Some(key), None);
        }
        if hold {
            return Ok(());
        }
        let order = self
            .book
            .state()
            .record(key)
            .map(|record| record.order.clone());
        let order = crate::journal::OrderNote {
            peer: "the agent itself".to_owned(),
            ..order.unwrap_or_default()
        };
        let params = RollbackParams {
            pause_budget: transaction.budget,
            on_down_failure: transaction.on_down_failure,
            reason: format!("its lease of {} ms ran out", terms.lease_ms),
        };
        self.rollback(key, &params, &order).map(drop)
    }
}

/// The answer to an order that comes after the end of the lease.
pub(crate) fn expired(key: &Key, lease_ms: u32) -> Error {
    Error::LeaseExpired {
        rollout: key.rollout.clone(),
        lease_ms,
    }
}
