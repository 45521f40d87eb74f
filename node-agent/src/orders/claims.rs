//! Claims: one rollout at a time may change an application, and of that rollout only the controller process with the highest
//! epoch. A claim is taken with the entry that opens an upgrade and ends with the one that ends it; what is here lets orders
//! through, writes down who took over, and ends the claim of a rollout that another one supersedes.

use std::sync::Arc;

use crate::{
    agent::Agent,
    book::{Record, Stand, State},
    error::Error,
    journal::{Entry, OrderNote},
    key::Key,
    orders::RollbackParams,
    target::OnDownFailure,
    transaction::Transaction,
};

impl Agent {
    /// Lets an order through whose process still drives its rollout; the first order of a later process is written down, and
    /// aborts what an earlier one has open. Blocks.
    ///
    /// # Errors
    /// [`Error::Fenced`], and those of the journal.
    pub(crate) fn check_claim(&self, key: &Key, order: &OrderNote) -> Result<(), Error> {
        let mut later = false;
        self.book.decide(|state| {
            later = state.check_epoch(&key.rollout, order.epoch)?;
            Ok(later.then(|| Entry::Claimed {
                rollout: key.rollout.clone(),
                order: order.clone(),
            }))
        })?;
        if !later {
            return Ok(());
        }
        let text = format!(
            "rollout {} was taken over by epoch {}, with an order of {}",
            key.rollout, order.epoch, order.peer
        );
        self.events.add("claim", text, Some(key), None);
        let open = self.transaction();
        if let Some(open) = open.filter(|open| open.key.rollout == key.rollout) {
            open.cancel(&format!("epoch {} took the rollout over", order.epoch));
        }
        Ok(())
    }

    /// Writes down that `key` takes the claim of the rollout that it names, if that one has a claim. Gives the
    /// transaction that must settle before the claim can end. Blocks.
    pub(crate) fn supersede(
        &self,
        state: &State,
        key: &Key,
        supersede: Option<&str>,
        order: &OrderNote,
    ) -> Result<Option<Arc<Transaction>>, Error> {
        let Some(holder) = other(state, key).filter(|holder| takes(supersede, holder)) else {
            return Ok(None);
        };
        if holder.superseded.is_none() {
            self.book.record(&Entry::Superseding {
                key: holder.key.clone(),
                to: key.rollout.clone(),
                order: order.clone(),
            })?;
            let text = format!(
                "rollout {} takes the claim of rollout {}, by an order of {}",
                key.rollout, holder.key.rollout, order.peer
            );
            self.events.add("claim", text, Some(&holder.key), None);
        }
        Ok(self.transaction_of(&holder.key))
    }

    /// Ends the claim of a superseded rollout that has settled: rolls it back in probation, finishes it when it is confirmed.
    /// Blocks.
    pub(crate) fn end_superseded(
        &self,
        key: &Key,
        on_down_failure: OnDownFailure,
        order: &OrderNote,
    ) -> Result<(), Error> {
        let state = self.book.state();
        let ours = |holder: &&Arc<Record>| holder.superseded.as_deref() == Some(&key.rollout);
        let Some(holder) = other(&state, key).filter(ours) else {
            return Ok(());
        };
        match holder.stand {
            Stand::Confirming | Stand::Confirmed => self.finish_confirmed(holder),
            _ => {
                let params = RollbackParams {
                    on_down_failure,
                    reason: format!("rollout {} supersedes it", key.rollout),
                    ..RollbackParams::default()
                };
                self.rollback(&holder.key, &params, order).map(drop)
            }
        }
    }
}

fn other<'a>(state: &'a State, key: &Key) -> Option<&'a Arc<Record>> {
    state
        .holder()
        .filter(|holder| holder.key.rollout != key.rollout)
}

fn takes(supersede: Option<&str>, holder: &Record) -> bool {
    supersede == Some(&holder.key.rollout)
}
