//! Confirm and finish. The release is permanent from the moment that the journal says so; the target is told after that.
//! Asked again, it answers what it answered.

use midflight_proto::agent::v1 as pb;

use crate::{
    agent::Agent,
    book::{Record, Stand, State},
    error::Error,
    journal::{Entry, OrderNote},
    key::Key,
    lease::OnLostContact,
    orders::contact::expired,
};

impl Agent {
    /// Makes the release of a rollout in probation permanent, and with `finish` purges the old code. Blocks.
    pub(crate) fn confirm(
        &self,
        key: &Key,
        finish: bool,
        order: &OrderNote,
        reason: &str,
    ) -> Result<pb::ConfirmResponse, Error> {
        self.check_claim(key, order)?;
        let state = self.book.state();
        let unknown = || Error::UnknownRollout {
            rollout: key.rollout.clone(),
            attempt: key.attempt,
        };
        let record = state.record(key).ok_or_else(unknown)?;
        match &record.stand {
            Stand::Probation => {
                self.check_lease(key)?;
                self.book.decide(|state| {
                    still_in_probation(state, key).map(|()| {
                        Some(Entry::Confirming {
                            key: key.clone(),
                            order: order.clone(),
                            reason: reason.to_owned(),
                        })
                    })
                })?;
                self.tell_target(key, record)?;
            }
            Stand::Confirming => self.tell_target(key, record)?,
            Stand::Confirmed | Stand::Finished => {}
            Stand::Lost => return Err(lost(&state).unwrap_or_else(unknown)),
            Stand::Open
            | Stand::Suspending
            | Stand::RollingBack(_)
            | Stand::RolledBack(..)
            | Stand::Aborted(_) => {
                return Err(
                    ended_by(record).unwrap_or_else(|| wrong_state(key, record, "be confirmed"))
                );
            }
        }
        if finish {
            self.finish(key)?;
        }
        let state = self.book.state();
        let record = state.record(key).ok_or_else(unknown)?;
        Ok(pb::ConfirmResponse {
            permanent: state.permanent.as_ref().map(|release| release.to_pb()),
            crashed: record.crashed,
            state: record.stand.to_pb().into(),
        })
    }

    /// Extends the lease of a rollout in probation. Blocks only to write down a later process.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::UnknownRollout`], and why a rollout that holds the node no more has ended.
    pub(crate) fn renew(&self, key: &Key, order: &OrderNote) -> Result<pb::RenewResponse, Error> {
        self.check_claim(key, order)?;
        let state = self.book.state();
        let record = state.record(key).ok_or_else(|| Error::UnknownRollout {
            rollout: key.rollout.clone(),
            attempt: key.attempt,
        })?;
        if !record.stand.holds() {
            return Err(match record.stand {
                Stand::Lost => lost(&state),
                _ => ended_by(record),
            }
            .unwrap_or_else(|| wrong_state(key, record, "be renewed")));
        }
        let now = self.clock.now();
        let transaction = self.transaction_of(key);
        if let Some(transaction) = &transaction
            && !transaction.lease.renew(now)
        {
            return Err(expired(key, transaction.lease.terms().lease_ms));
        }
        Ok(pb::RenewResponse {
            state: record.stand.to_pb().into(),
            lease: transaction.map(|transaction| transaction.lease.to_pb(now)),
        })
    }

    /// Ends the claim of a rollout that is confirmed.
    pub(crate) fn finish_confirmed(&self, record: &Record) -> Result<(), Error> {
        if record.stand == Stand::Confirming {
            self.tell_target(&record.key, record)?;
        }
        self.finish(&record.key)
    }

    fn tell_target(&self, key: &Key, record: &Record) -> Result<(), Error> {
        let transaction = self
            .transaction_of(key)
            .ok_or_else(|| wrong_state(key, record, "be confirmed"))?;
        transaction.lease.close();
        let crashed = transaction.upgrade().confirm()?;
        self.book.note(&Entry::Confirmed {
            key: key.clone(),
            crashed,
        });
        self.events.add(
            "upgrade",
            format!(
                "confirmed: {} is permanent",
                transaction.span.to.release.vsn
            ),
            Some(key),
            None,
        );
        Ok(())
    }

    fn finish(&self, key: &Key) -> Result<(), Error> {
        // None: it is finished already.
        let Some(transaction) = self.transaction_of(key) else {
            return Ok(());
        };
        transaction.upgrade().finish()?;
        self.book.note(&Entry::Finished { key: key.clone() });
        self.release(&transaction);
        self.events
            .add("upgrade", "finished".to_owned(), Some(key), None);
        self.collect();
        Ok(())
    }
}

/// Why an order comes too late for a rollout that was ended by something else than an order of its own.
pub(crate) fn ended_by(record: &Record) -> Option<Error> {
    if record.expired && record.lease.on_lost_contact == OnLostContact::Rollback {
        return Some(expired(&record.key, record.lease.lease_ms));
    }
    let by = record.superseded.clone()?;
    let rollout = record.key.rollout.clone();
    Some(Error::Superseded { rollout, by })
}

/// What the confirm is decided by, in one step with its entry: a lease that ran out may have been written first.
fn still_in_probation(state: &State, key: &Key) -> Result<(), Error> {
    let record = state
        .record(key)
        .filter(|record| record.stand == Stand::Probation);
    match record {
        Some(_) if mutant!(confirm_without_compare_and_set) => Ok(()),
        Some(record) => ended_by(record).map_or(Ok(()), Err),
        None => Err(Error::UnknownRollout {
            rollout: key.rollout.clone(),
            attempt: key.attempt,
        }),
    }
}

fn lost(state: &State) -> Option<Error> {
    let release = state.permanent.as_ref()?.release.vsn.clone();
    Some(Error::LostInRestart { release })
}

fn wrong_state(key: &Key, record: &Record, order: &'static str) -> Error {
    Error::WrongState {
        rollout: key.rollout.clone(),
        order,
        state: record.stand.words(),
    }
}
