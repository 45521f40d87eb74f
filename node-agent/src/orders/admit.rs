//! Admission of an upgrade: the patch is here, its signatures hold now, it starts from what runs, and nobody else holds the
//! node. Asked again, it tells what became of the upgrade and does nothing.

use std::{sync::Arc, time::Duration};

use midflight_patch::{Manifest, ModuleEntry, Release};

use crate::{
    agent::Agent,
    book::{NamedRelease, Record, Span, Stand, State},
    error::Error,
    journal::{Entry, ModuleNote, StagedPatch},
    key::Key,
    target::{Direction, ModuleChange, OnDownFailure, UpgradeOrder},
    transaction::Transaction,
};

/// How an upgrade is to run.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// From the start of suspend until the last affected actor may run.
    pub pause_budget: Duration,
    /// Of prepare.
    pub prepare_timeout: Duration,
    /// For a later rollback.
    pub on_down_failure: OnDownFailure,
}

/// What became of a request to open.
pub enum Admitted {
    /// It holds the node.
    New(Arc<Transaction>),
    /// It was opened before.
    Known(Arc<Record>),
}

impl Agent {
    /// Admits an upgrade. Blocks. On refusal the second value names those who signed, as far as that is known.
    pub(crate) fn admit(
        &self,
        key: &Key,
        params: Params,
    ) -> Result<Admitted, (Error, Vec<String>)> {
        let plain = |error| (error, Vec::new());
        self.check_running().map_err(plain)?;
        let state = self.book.state();
        if let Some(record) = state.record(key) {
            return match record.stand {
                Stand::Open | Stand::Suspending => Err(plain(held_by(record))),
                _ => Ok(Admitted::Known(record.clone())),
            };
        }
        if let Some(error) = state.held_against(key) {
            return Err(plain(error));
        }
        let (manifest, signers) = self.verify_staged(&state, key).map_err(plain)?;
        let transaction = self.begin(&state, key, &manifest, params, &signers);
        transaction
            .map(Admitted::New)
            .map_err(|error| (error, signers))
    }

    /// The manifest of a staged patch, with its signatures checked once more.
    fn verify_staged(&self, state: &State, key: &Key) -> Result<(Manifest, Vec<String>), Error> {
        let not_staged = || Error::NotStaged {
            patch: key.patch.to_string(),
        };
        let staged = state.staged.get(&key.patch).ok_or_else(not_staged)?;
        let StagedPatch {
            manifest,
            signatures,
            blobs,
        } = &**staged;
        if !blobs.iter().all(|blob| self.store.has(blob)) {
            return Err(not_staged());
        }
        let bytes = self.store.read(manifest)?;
        // The store has checked the digest, and the agent wrote the list itself.
        let signatures: Vec<String> =
            serde_json::from_slice(&self.store.read(signatures)?).map_err(|_| not_staged())?;
        let what = format!("patch {}", key.patch.short());
        let signers = self.trust.verify(&what, &bytes, &signatures)?;
        Ok((
            Manifest::parse(&bytes).map_err(Error::patch(what))?,
            signers,
        ))
    }

    fn begin(
        &self,
        state: &State,
        key: &Key,
        manifest: &Manifest,
        params: Params,
        signers: &[String],
    ) -> Result<Arc<Transaction>, Error> {
        // An agent that serves has booted.
        let from = state.current.clone().ok_or_else(|| Error::Stopping {
            node: self.node.clone(),
        })?;
        let what = format!("patch {}", key.patch.short());
        let to = from.release.apply(manifest).map_err(Error::patch(what))?;
        for module in &manifest.modules {
            self.target
                .stage(&module.name, &module.blob, &self.store.read(&module.blob)?)?;
        }
        let note = |module: &ModuleEntry| {
            let (name, update, extra) = (module.name.clone(), module.update, module.extra.clone());
            ModuleNote {
                name,
                update,
                extra,
            }
        };
        let modules: Vec<_> = manifest.modules.iter().map(note).collect();
        let order = UpgradeOrder {
            direction: Direction::Up,
            modules: changes(&modules, &from.release, &to),
            listen: to.listen.clone(),
            connect: to.connect.clone(),
            pause_budget: params.pause_budget,
            prepare_timeout: params.prepare_timeout,
            on_down_failure: params.on_down_failure,
        };
        let upgrade = self.target.begin(order)?;
        // If this cannot be written, the upgrade is dropped here, which aborts it.
        let state = self.book.record(&Entry::Opened {
            key: key.clone(),
            from: from.digest,
            to: to.clone(),
            modules: modules.clone(),
            signers: signers.to_vec(),
        })?;
        let span = match state.record(key).and_then(|record| record.span.clone()) {
            Some(span) => span,
            None => Arc::new(Span {
                from,
                to: NamedRelease::new(to)?,
                modules,
            }),
        };
        let transaction = Transaction::new(key.clone(), span, params.pause_budget, upgrade);
        self.hold(transaction.clone());
        Ok(transaction)
    }
}

/// The modules that lead from one release to another.
pub(super) fn changes(modules: &[ModuleNote], from: &Release, to: &Release) -> Vec<ModuleChange> {
    let change = |note: &ModuleNote| {
        let (old, new) = (from.modules.get(&note.name)?, to.modules.get(&note.name)?);
        Some(ModuleChange {
            name: note.name.clone(),
            from: old.vsn.clone(),
            to: new.vsn.clone(),
            blob: new.blob,
            update: note.update,
            extra: note.extra.to_string().into_bytes(),
            config: new.config.to_string().into_bytes(),
        })
    };
    modules.iter().filter_map(change).collect()
}

fn held_by(record: &Record) -> Error {
    Error::Held {
        rollout: record.key.rollout.clone(),
        attempt: record.key.attempt,
        state: record.stand.words(),
    }
}
