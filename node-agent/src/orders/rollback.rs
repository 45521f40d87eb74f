//! Rollback: back to the release from before a rollout, whatever the rollout is in. In probation and until finish the
//! target undoes it actor by actor; after finish a transaction leads down to the recorded release. Before the node changes,
//! the journal says that the older release is permanent.

use std::{sync::Arc, time::Duration};

use midflight_patch::Plan;
use midflight_proto::agent::v1 as pb;

use super::trees;
use crate::{
    agent::Agent,
    book::{Span, Stand},
    error::Error,
    journal::{Entry, FailureNote, OrderNote, Outcome, ResumeNote, RollbackNote},
    key::Key,
    target::{OnDownFailure, Upgrade, UpgradeOrder},
};

/// The pause budget of an order that gives none.
pub const PAUSE_BUDGET: Duration = Duration::from_millis(500);
/// How long the migration of copies may take in a rollback after finish.
const PREPARE: Duration = Duration::from_secs(30);

/// How a rollback is to run.
#[derive(Clone, Debug)]
pub struct RollbackParams {
    /// From the start of suspend until the last affected actor may run.
    pub pause_budget: Duration,
    /// For actors whose way down fails.
    pub on_down_failure: OnDownFailure,
    /// For the journal.
    pub reason: String,
}

impl Default for RollbackParams {
    fn default() -> Self {
        Self {
            pause_budget: PAUSE_BUDGET,
            on_down_failure: OnDownFailure::default(),
            reason: String::new(),
        }
    }
}

impl Agent {
    /// Rolls a rollout back. It must have resumed or aborted. Blocks.
    pub(crate) fn rollback(
        &self,
        key: &Key,
        params: &RollbackParams,
        order: &OrderNote,
    ) -> Result<pb::RollbackResponse, Error> {
        let state = self.book.state();
        let Some(record) = state.record(key) else {
            // Written down, so that an order to open that was overtaken by this one is not carried out.
            let report = RollbackNote::default();
            self.book.record(&Entry::RolledBack {
                key: key.clone(),
                outcome: Outcome::Untouched,
                report,
                order: order.clone(),
            })?;
            return Ok(self.answer(Outcome::Untouched, &RollbackNote::default()));
        };
        match (&record.stand, &record.span) {
            (Stand::RolledBack(outcome, report), _) => Ok(self.answer(*outcome, report)),
            (Stand::Lost, _) => Ok(self.answer(Outcome::RolledBack, &RollbackNote::default())),
            (Stand::Finished, Some(span)) => {
                if state
                    .current
                    .as_ref()
                    .is_none_or(|current| current.digest != span.to.digest)
                {
                    return Ok(self.answer(Outcome::Superseded, &RollbackNote::default()));
                }
                match state.held_against(key) {
                    Some(error) => Err(error),
                    None if record.removed => Err(Error::NoSuchRelease {
                        release: span.from.release.vsn.to_string(),
                    }),
                    None => self.down(key, span, params, order),
                }
            }
            (Stand::Aborted(_), _) | (_, None) => {
                Ok(self.answer(Outcome::Untouched, &RollbackNote::default()))
            }
            (stand, Some(_)) => self.undo(key, stand, params, order),
        }
    }

    /// Until finish: the target puts every actor back.
    fn undo(
        &self,
        key: &Key,
        stand: &Stand,
        params: &RollbackParams,
        by: &OrderNote,
    ) -> Result<pb::RollbackResponse, Error> {
        let order = "be rolled back";
        let wrong = || Error::WrongState {
            rollout: key.rollout.clone(),
            order,
            state: stand.words(),
        };
        let transaction = self.transaction_of(key).ok_or_else(wrong)?;
        let intent = Entry::RollingBack {
            key: key.clone(),
            reason: params.reason.clone(),
            order: by.clone(),
        };
        match stand {
            Stand::RollingBack(_) => {}
            // The older release is permanent already: a journal that cannot be written must not keep the new code running.
            Stand::Probation => self.book.note(&intent),
            _ => drop(self.book.record(&intent)?),
        }
        match transaction
            .upgrade()
            .rollback(params.pause_budget, params.on_down_failure)
        {
            Ok(report) => {
                let report = RollbackNote::from(report);
                let outcome = if report.held.is_empty() {
                    Outcome::RolledBack
                } else {
                    Outcome::Held
                };
                let answer = self.rolled_back(key, outcome, report, by);
                transaction.lease.close();
                self.release(&transaction);
                Ok(answer)
            }
            Err(error) => Err(self.rollback_failed(key, error.into())),
        }
    }

    /// After finish: a transaction of its own, by the code that runs.
    fn down(
        &self,
        key: &Key,
        span: &Arc<Span>,
        params: &RollbackParams,
        order: &OrderNote,
    ) -> Result<pb::RollbackResponse, Error> {
        self.check_running()?;
        let plan = Plan::clone(&span.back);
        for (module, blob) in plan.components() {
            self.target.stage(module, blob, &self.store.read(blob)?)?;
        }
        let mut upgrade = self.target.begin(UpgradeOrder {
            plan,
            to: trees::back(&span.from.release),
            pause_budget: params.pause_budget,
            prepare_timeout: PREPARE,
            on_down_failure: params.on_down_failure,
        })?;
        upgrade.prepare()?;
        self.book.record(&Entry::RollingBack {
            key: key.clone(),
            reason: params.reason.clone(),
            order: order.clone(),
        })?;
        let resumed = match switch(upgrade.as_mut()) {
            Ok(resumed) => resumed,
            Err(error) => return Err(self.rollback_failed(key, error)),
        };
        let report = RollbackNote {
            migrated: resumed.actors,
            pause_us: resumed.pause_us,
            ..Default::default()
        };
        let answer = self.rolled_back(key, Outcome::RolledBack, report, order);
        // The older code runs and is permanent: what is left concerns the memory of the newer one.
        if let Err(error) = upgrade.confirm().and_then(|_| upgrade.finish()) {
            tracing::error!(%key, code = error.code, what = error.what, "the newer code was not purged after the rollback");
        }
        Ok(answer)
    }

    fn rolled_back(
        &self,
        key: &Key,
        outcome: Outcome,
        report: RollbackNote,
        order: &OrderNote,
    ) -> pb::RollbackResponse {
        self.book.note(&Entry::RolledBack {
            key: key.clone(),
            outcome,
            report: report.clone(),
            order: order.clone(),
        });
        let answer = self.answer(outcome, &report);
        let vsn = answer
            .current
            .as_ref()
            .map(|release| release.vsn.clone())
            .unwrap_or_default();
        self.events.add(
            "upgrade",
            format!("rolled back: {vsn} runs"),
            Some(key),
            None,
        );
        answer
    }

    fn rollback_failed(&self, key: &Key, error: Error) -> Error {
        let failure = FailureNote::from(&error.failure(pb::Phase::Rollback, false));
        self.book.note(&Entry::RollbackFailed {
            key: key.clone(),
            failure,
        });
        self.events.add(
            "upgrade",
            format!("the rollback failed: {}", error.chain()),
            Some(key),
            None,
        );
        error
    }

    fn answer(&self, outcome: Outcome, report: &RollbackNote) -> pb::RollbackResponse {
        pb::RollbackResponse {
            current: self
                .book
                .state()
                .current
                .as_ref()
                .map(|release| release.to_pb()),
            report: Some(report.to_pb()),
            outcome: outcome.to_pb().into(),
        }
    }
}

fn switch(upgrade: &mut dyn Upgrade) -> Result<ResumeNote, Error> {
    upgrade.suspend()?;
    upgrade.load()?;
    upgrade.migrate()?;
    Ok(upgrade.resume()?.into())
}
