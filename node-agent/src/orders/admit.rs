//! Admission of an upgrade: the patch is here, its signatures hold now, it starts from what runs, and nobody else holds the
//! node. Asked again, it tells what became of the upgrade and does nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use midflight_patch::plan::path;
use midflight_patch::{Digest, Manifest, Plan, Release};

use super::trees;
use crate::{
    agent::Agent,
    book::{NamedRelease, Record, Span, Stand, State},
    error::Error,
    journal::{Entry, OrderNote, StagedPatch},
    key::Key,
    lease::Terms,
    target::{OnDownFailure, UpgradeOrder},
    transaction::Transaction,
};

/// How an upgrade is to run.
#[derive(Clone, Debug)]
pub struct Params {
    /// Patches that may stand on the way to the one of the key, when that one does not start from what runs.
    pub through: Vec<Digest>,
    /// From the start of suspend until the last affected actor may run.
    pub pause_budget: Duration,
    /// Of prepare.
    pub prepare_timeout: Duration,
    /// For a later rollback.
    pub on_down_failure: OnDownFailure,
    /// The rollout whose claim this one may take.
    pub supersede: Option<String>,
    /// From resume on.
    pub lease: Terms,
    /// Who orders it.
    pub order: OrderNote,
}

/// What became of a request to open.
pub enum Admitted {
    /// It holds the node.
    New(Arc<Transaction>),
    /// It was opened before.
    Known(Arc<Record>),
}

/// Why an order is not taken, and who had signed what it names.
type Unfit = (Error, Vec<String>);

impl Agent {
    /// Admits an upgrade. Blocks. On refusal the second value names those who signed, as far as that is known.
    pub(crate) fn admit(&self, key: &Key, params: &Params) -> Result<Admitted, Unfit> {
        let plain = |error| (error, Vec::new());
        self.check_running().map_err(plain)?;
        self.check_claim(key, &params.order).map_err(plain)?;
        let ended = self.end_superseded(key, params.on_down_failure, &params.order);
        ended.map_err(plain)?;
        let state = self.book.state();
        if let Some(record) = state.record(key) {
            return match record.stand {
                Stand::Open | Stand::Suspending => Err(plain(record.held())),
                _ => Ok(Admitted::Known(record.clone())),
            };
        }
        if let Some(error) = state.held_against(key) {
            return Err(plain(error));
        }
        let (patches, signers) = self.verify_all(&state, key, params)?;
        let transaction = self.begin(&state, key, &patches, params, &signers);
        transaction
            .map(Admitted::New)
            .map_err(|error| (error, signers))
    }

    /// For an upgrade that may take the claim of another rollout: whether it could be admitted after that one, and then the
    /// transaction that must settle first. Blocks.
    pub(crate) fn check_supersede(
        &self,
        key: &Key,
        params: &Params,
    ) -> Result<Option<Arc<Transaction>>, Unfit> {
        let plain = |error| (error, Vec::new());
        let state = self.book.state();
        let Some(holder) = state.holder().filter(|holder| {
            params.supersede.as_ref() == Some(&holder.key.rollout)
                && holder.key.rollout != key.rollout
        }) else {
            return Ok(None);
        };
        self.check_claim(key, &params.order).map_err(plain)?;
        if let (None, Some(span)) = (state.record(key), &holder.span) {
            let after = match holder.stand {
                Stand::Confirming | Stand::Confirmed => &span.to,
                _ => &span.from,
            };
            let (patches, signers) = self.verify_all(&state, key, params)?;
            let what = format!("patch {}", key.patch.short());
            let route = Route::find(&after.release, &patches).map_err(Error::patch(what));
            route.map_err(|error| (error, signers))?;
        }
        self.supersede(&state, key, params.supersede.as_deref(), &params.order)
            .map_err(plain)
    }

    /// The manifests of the patch and of those that may stand on the way, and who signed them.
    fn verify_all(
        &self,
        state: &State,
        key: &Key,
        params: &Params,
    ) -> Result<(Vec<Manifest>, Vec<String>), Unfit> {
        let mut signers = BTreeSet::new();
        let mut patches = Vec::new();
        for patch in [&key.patch].into_iter().chain(&params.through) {
            let (manifest, by) = match self.verify_staged(state, patch) {
                Ok(verified) => verified,
                // What fits nothing here is not kept; if it is needed after all, there is no chain.
                Err(Error::NotStaged { .. }) if *patch != key.patch => continue,
                Err(error) => return Err((error, signers.into_iter().collect())),
            };
            signers.extend(by);
            patches.push(manifest);
        }
        Ok((patches, signers.into_iter().collect()))
    }

    /// The manifest of a staged patch, with its signatures checked once more.
    fn verify_staged(
        &self,
        state: &State,
        patch: &Digest,
    ) -> Result<(Manifest, Vec<String>), Error> {
        let not_staged = || Error::NotStaged {
            patch: patch.to_string(),
        };
        let staged = state.staged.get(patch).ok_or_else(not_staged)?;
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
        let what = format!("patch {}", patch.short());
        let signers = self
            .trust
            .verify(&what, &bytes, &signatures, self.clock.wall())?;
        Ok((
            Manifest::parse(&bytes).map_err(Error::patch(what))?,
            signers,
        ))
    }

    /// `patches` starts with the one of the key; the others may stand on the way to it.
    fn begin(
        &self,
        state: &State,
        key: &Key,
        patches: &[Manifest],
        params: &Params,
        signers: &[String],
    ) -> Result<Arc<Transaction>, Error> {
        // An agent that serves has booted.
        let from = state.current.clone().ok_or_else(|| Error::Stopping {
            node: self.node.clone(),
        })?;
        let what = format!("patch {}", key.patch.short());
        let route = Route::find(&from.release, patches).map_err(Error::patch(what))?;
        let Route {
            plan,
            back,
            to,
            target,
        } = route;
        for (module, blob) in plan.components() {
            self.target.stage(module, blob, &self.store.read(blob)?)?;
        }
        let order = UpgradeOrder {
            plan,
            to: target,
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
            back: back.clone(),
            signers: signers.to_vec(),
            order: params.order.clone(),
            lease: params.lease,
        })?;
        let span = match state.record(key).and_then(|record| record.span.clone()) {
            Some(span) => span,
            None => Arc::new(Span {
                from,
                to: NamedRelease::new(to)?,
                back,
            }),
        };
        let transaction = Transaction::new(key.clone(), span, params, upgrade);
        self.hold(transaction.clone());
        let text = format!(
            "rollout {} has the claim on {}: epoch {}, by an order of {}",
            key.rollout, transaction.span.to.release.name, params.order.epoch, params.order.peer
        );
        self.events.add("claim", text, Some(key), None);
        Ok(transaction)
    }
}

/// How a node gets from what runs to what is ordered, and back. The node finds it out by itself, from signed manifests alone.
struct Route {
    plan: Plan,
    back: Box<Plan>,
    to: Release,
    /// The same, for the target.
    target: Release,
}

impl Route {
    /// `patches` starts with the one that is ordered.
    fn find(running: &Release, patches: &[Manifest]) -> Result<Self, midflight_patch::Error> {
        let all: Vec<&Manifest> = patches.iter().collect();
        let chain = match all.as_slice() {
            [one] => vec![*one],
            [wanted, rest @ ..] => {
                // The order names its last patch; another one that leads to the same release is not what was ordered.
                let hand: Vec<&Manifest> = [*wanted]
                    .into_iter()
                    .chain(rest.iter().copied().filter(|patch| patch.to != wanted.to))
                    .collect();
                let numbers = path(running, &hand, &wanted.to)?;
                numbers.into_iter().map(|number| hand[number]).collect()
            }
            [] => Vec::new(),
        };
        let mut to = running.clone();
        for patch in &chain {
            to = to.apply(patch)?;
        }
        Ok(Self {
            plan: Plan::chain(&chain, running)?,
            back: Box::new(Plan::chain_back(&chain, running)?),
            target: trees::forward(&to, &chain),
            to,
        })
    }
}
