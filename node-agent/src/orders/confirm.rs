//! Confirm and finish. The release is permanent from the moment that the journal says so; the target is told after that.
//! Asked again, it answers what it answered.

use midflight_proto::agent::v1 as pb;

use crate::{
    agent::Agent,
    book::{Record, Stand, State},
    error::Error,
    journal::Entry,
    key::Key,
};

impl Agent {
    /// Makes the release of a rollout in probation permanent, and with `finish` purges the old code. Blocks.
    pub(crate) fn confirm(&self, key: &Key, finish: bool) -> Result<pb::ConfirmResponse, Error> {
        let state = self.book.state();
        let unknown = || Error::UnknownRollout {
            rollout: key.rollout.clone(),
            attempt: key.attempt,
        };
        let record = state.record(key).ok_or_else(unknown)?;
        match &record.stand {
            Stand::Probation => {
                self.book.record(&Entry::Confirming { key: key.clone() })?;
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
                return Err(wrong_state(key, record));
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

    fn tell_target(&self, key: &Key, record: &Record) -> Result<(), Error> {
        let transaction = self
            .transaction_of(key)
            .ok_or_else(|| wrong_state(key, record))?;
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

fn lost(state: &State) -> Option<Error> {
    let release = state.permanent.as_ref()?.release.vsn.clone();
    Some(Error::LostInRestart { release })
}

fn wrong_state(key: &Key, record: &Record) -> Error {
    Error::WrongState {
        rollout: key.rollout.clone(),
        order: "be confirmed",
        state: record.stand.words(),
    }
}
