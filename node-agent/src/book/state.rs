//! What the journal's entries add up to: the permanent and the current release, the patches that are here, and what became
//! of each rollout. Folding the same entries gives the same state; nothing here writes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use midflight_patch::{Digest, Plan, Release};
use midflight_proto::agent::v1 as pb;

use crate::{
    error::Error,
    journal::{Entry, FailureNote, OrderNote, Outcome, ResumeNote, RollbackNote, StagedPatch},
    key::Key,
    lease::Terms,
};

/// How many rollouts a node remembers; the oldest are forgotten first.
pub const REMEMBERED: usize = 256;

/// A release and its digest.
#[derive(Debug, PartialEq)]
pub struct NamedRelease {
    /// The release.
    pub release: Release,
    /// The digest of its canonical JSON.
    pub digest: Digest,
}

impl NamedRelease {
    /// Computes the digest.
    ///
    /// # Errors
    /// [`Error::Patch`] when a configuration in it has no canonical spelling.
    pub fn new(release: Release) -> Result<Arc<Self>, Error> {
        let digest = release
            .digest()
            .map_err(Error::patch(format!("release {}", release.vsn)))?;
        Ok(Arc::new(Self { release, digest }))
    }

    /// As it travels.
    pub fn to_pb(&self) -> pb::Release {
        pb::Release {
            name: self.release.name.clone(),
            vsn: self.release.vsn.to_string(),
            digest: self.digest.to_string(),
        }
    }

    /// Its components.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        self.release.modules.values().map(|module| module.blob)
    }
}

/// What a rollout leads from and to.
#[derive(Debug, PartialEq)]
pub struct Span {
    /// What ran before.
    pub from: Arc<NamedRelease>,
    /// What the patch brings.
    pub to: Arc<NamedRelease>,
    /// The way back, once it is finished.
    pub back: Box<Plan>,
}

/// What one rollout is in on this node.
#[derive(Clone, Debug, PartialEq)]
pub enum Stand {
    /// Admitted; nothing has changed.
    Open,
    /// The actors are suspended, or about to be, or the new code runs and that is not written yet.
    Suspending,
    /// The new code runs.
    Probation,
    /// Permanent, and the target does not know yet.
    Confirming,
    /// Permanent.
    Confirmed,
    /// The old code is gone.
    Finished,
    /// On the way back from the stand in the box.
    RollingBack(Box<Stand>),
    /// Back, or it never changed anything.
    RolledBack(Outcome, RollbackNote),
    /// Ended before resume.
    Aborted(FailureNote),
    /// The node restarted after suspend and before confirm, and booted the permanent release.
    Lost,
}

impl Stand {
    /// Whether it holds the node, so that no other rollout may begin.
    pub fn holds(&self) -> bool {
        match self {
            Self::Open
            | Self::Suspending
            | Self::Probation
            | Self::Confirming
            | Self::Confirmed => true,
            Self::RollingBack(was) => was.holds(),
            Self::Finished | Self::RolledBack(..) | Self::Aborted(_) | Self::Lost => false,
        }
    }

    /// In words that follow "it" or the rollout's name.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Open => "is open",
            Self::Suspending => "has suspended actors",
            Self::Probation => "is in probation",
            Self::Confirming | Self::Confirmed => "is confirmed and not finished",
            Self::Finished => "is finished",
            Self::RollingBack(_) => "is being rolled back",
            Self::RolledBack(..) => "is rolled back",
            Self::Aborted(_) => "was aborted before resume",
            Self::Lost => "was lost in a restart before confirm",
        }
    }

    /// As it travels.
    pub fn to_pb(&self) -> pb::UpgradeState {
        match self {
            Self::Open => pb::UpgradeState::Open,
            Self::Suspending => pb::UpgradeState::Suspended,
            Self::Probation | Self::RollingBack(_) => pb::UpgradeState::Probation,
            Self::Confirming | Self::Confirmed => pb::UpgradeState::Confirmed,
            Self::Finished => pb::UpgradeState::Finished,
            Self::RolledBack(..) | Self::Lost => pb::UpgradeState::RolledBack,
            Self::Aborted(_) => pb::UpgradeState::Aborted,
        }
    }

    /// Whether the rollout's release is the permanent one while it stands so.
    fn is_permanent(&self) -> bool {
        matches!(self, Self::Confirming | Self::Confirmed | Self::Finished)
    }
}

/// One rollout on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// None: it was rolled back before it was ever opened here.
    pub span: Option<Arc<Span>>,
    /// What it is in.
    pub stand: Stand,
    /// Once it resumed.
    pub resumed: Option<ResumeNote>,
    /// Actors that crashed at confirm.
    pub crashed: u64,
    /// Who signed.
    pub signers: Vec<String>,
    /// The highest epoch that gave an order, and who gave it.
    pub order: OrderNote,
    /// The rollout that took its claim.
    pub superseded: Option<String>,
    /// The release before is no longer kept.
    pub removed: bool,
    /// How long it may be in probation without a word from its controller.
    pub lease: Terms,
    /// That was too long.
    pub expired: bool,
}

impl Record {
    /// The error for others while it holds the node.
    pub fn held(&self) -> Error {
        Error::Held {
            rollout: self.key.rollout.clone(),
            attempt: self.key.attempt,
            state: self.stand.words(),
            owner: self.order.clone(),
        }
    }

    fn new(key: &Key, stand: Stand, order: &OrderNote) -> Self {
        Self {
            key: key.clone(),
            span: None,
            stand,
            resumed: None,
            crashed: 0,
            signers: Vec::new(),
            order: order.clone(),
            superseded: None,
            removed: false,
            lease: Terms::default(),
            expired: false,
        }
    }
}

/// The sum of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// What boots after a crash. None: nothing was installed yet.
    pub permanent: Option<Arc<NamedRelease>>,
    /// What runs.
    pub current: Option<Arc<NamedRelease>>,
    /// Oldest first.
    pub records: VecDeque<Arc<Record>>,
    /// Patches that are completely here, by the digest of their manifest.
    pub staged: BTreeMap<Digest, Arc<StagedPatch>>,
}

impl State {
    /// The rollout of a key.
    pub fn record(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.iter().rev().find(|record| record.key == *key)
    }

    /// The rollout that holds the node.
    pub fn holder(&self) -> Option<&Arc<Record>> {
        self.records
            .iter()
            .rev()
            .find(|record| record.stand.holds())
    }

    /// The error for an order of another rollout, or of another attempt, while one holds the node.
    pub fn held_against(&self, key: &Key) -> Option<Error> {
        let other = |holder: &&Arc<Record>| holder.key != *key && !mutant!(claim_not_checked);
        let holder = self.holder().filter(other)?;
        Some(holder.held())
    }

    /// The order with the highest epoch that this node has met for a rollout.
    pub fn owner(&self, rollout: &str) -> Option<&OrderNote> {
        let of = self.records.iter().rev();
        of.filter(|record| record.key.rollout == rollout)
            .map(|record| &record.order)
            .max_by_key(|order| order.epoch)
    }

    /// Whether an order of this epoch still counts. True: it is a later process than any that was met before.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub fn check_epoch(&self, rollout: &str, epoch: u64) -> Result<bool, Error> {
        match self.owner(rollout) {
            Some(owner) if epoch < owner.epoch && !mutant!(no_epoch_check) => Err(Error::Fenced {
                rollout: rollout.to_owned(),
                epoch,
                owner: owner.epoch,
                peer: owner.peer.clone(),
            }),
            owner => Ok(owner.is_some_and(|owner| epoch > owner.epoch)),
        }
    }

    /// The finished rollout that brought what runs: the one that a rollback can still undo.
    pub fn last_finished(&self) -> Option<&Arc<Record>> {
        let current = self.current.as_ref()?;
        let last = self
            .records
            .iter()
            .rev()
            .find(|record| record.stand == Stand::Finished)?;
        last.span
            .as_ref()
            .is_some_and(|span| !last.removed && span.to.digest == current.digest)
            .then_some(last)
    }

    /// The blobs that something still needs: the current and the permanent release, the release before, and staged
    /// patches among `fitting`.
    pub fn needed(&self, fitting: &BTreeSet<Digest>) -> BTreeSet<Digest> {
        let mut needed = BTreeSet::new();
        for release in self.current.iter().chain(&self.permanent) {
            needed.extend(release.blobs());
        }
        for record in self.last_finished().into_iter().chain(self.holder()) {
            if let Some(span) = &record.span {
                let hops = span.back.components().map(|(_, blob)| *blob);
                needed.extend(span.from.blobs().chain(span.to.blobs()).chain(hops));
            }
        }
        for patch in fitting.iter().filter_map(|patch| self.staged.get(patch)) {
            needed.extend(
                patch
                    .blobs
                    .iter()
                    .copied()
                    .chain([patch.manifest, patch.signatures]),
            );
        }
        needed
    }

    /// Adds one entry.
    ///
    /// # Errors
    /// Why the entry cannot follow those before it; then the journal is not one that this program wrote.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Installed { release, .. } => {
                let named = named(release)?;
                self.permanent = Some(named.clone());
                self.current = Some(named);
            }
            Entry::Boot { release, .. } => self.boot(release)?,
            Entry::Staged { patch, .. } => {
                self.staged.insert(patch.manifest, Arc::new(patch.clone()));
            }
            Entry::Opened {
                key,
                from,
                to,
                back,
                signers,
                order,
                lease,
            } => {
                let current = self
                    .current
                    .clone()
                    .filter(|current| current.digest == *from);
                let from = current
                    .ok_or_else(|| format!("{key} starts from a release that does not run"))?;
                let span = Span {
                    from,
                    to: named(to)?,
                    back: back.clone(),
                };
                self.remember(Record {
                    span: Some(Arc::new(span)),
                    signers: signers.clone(),
                    lease: *lease,
                    ..Record::new(key, Stand::Open, order)
                });
            }
            Entry::Claimed { rollout, order } => {
                let mut of = self.records.iter_mut().rev();
                let record = of.find(|record| record.key.rollout == *rollout);
                let record = record.ok_or_else(|| format!("{rollout} was never opened"))?;
                Arc::make_mut(record).order = order.clone();
            }
            Entry::Superseding { key, to, .. } => {
                self.change(key, |record| record.superseded = Some(to.clone()))?;
            }
            Entry::Suspending { key } => {
                self.change(key, |record| record.stand = Stand::Suspending)?
            }
            Entry::Resumed { key, report } => {
                self.change(key, |record| {
                    record.stand = Stand::Probation;
                    record.resumed = Some(*report);
                })?;
                self.current = Some(self.span(key)?.to.clone());
            }
            Entry::LeaseExpired { key, .. } => self.change(key, |record| record.expired = true)?,
            Entry::Confirming { key, .. } => {
                self.change(key, |record| record.stand = Stand::Confirming)?;
                self.permanent = Some(self.span(key)?.to.clone());
            }
            Entry::Confirmed { key, crashed } => self.change(key, |record| {
                record.stand = Stand::Confirmed;
                record.crashed = *crashed;
            })?,
            Entry::Finished { key } => self.change(key, |record| record.stand = Stand::Finished)?,
            Entry::RollingBack { key, .. } => {
                self.change(key, |record| {
                    record.stand = Stand::RollingBack(Box::new(record.stand.clone()))
                })?;
                self.permanent = Some(self.span(key)?.from.clone());
            }
            Entry::RolledBack {
                key,
                outcome,
                report,
                order,
            } => self.rolled_back(key, *outcome, report, order)?,
            Entry::RollbackFailed { key, .. } => {
                self.change(key, |record| {
                    if let Stand::RollingBack(was) = &record.stand {
                        record.stand = Stand::clone(was);
                    }
                })?;
                if self.known(key)?.stand.is_permanent() {
                    self.permanent = Some(self.span(key)?.to.clone());
                }
            }
            Entry::Aborted { key, failure } => {
                self.change(key, |record| record.stand = Stand::Aborted(failure.clone()))?
            }
            Entry::Removed {
                release, patches, ..
            } => {
                self.staged.retain(|patch, _| !patches.contains(patch));
                for record in &mut self.records {
                    let leads_to = |span: &Arc<Span>| {
                        record.stand == Stand::Finished && span.from.digest == *release
                    };
                    if record.span.as_ref().is_some_and(leads_to) {
                        Arc::make_mut(record).removed = true;
                    }
                }
            }
            Entry::Refused { .. } | Entry::Sys { .. } => {}
        }
        Ok(())
    }

    /// After a restart the permanent release runs, and what was open has ended.
    fn boot(&mut self, release: &Digest) -> Result<(), String> {
        let permanent = self
            .permanent
            .clone()
            .ok_or("a boot before anything was installed")?;
        if permanent.digest != *release {
            return Err(format!(
                "a boot of {release}, while {} is permanent",
                permanent.digest
            ));
        }
        let vsn = permanent.release.vsn.clone();
        self.current = Some(permanent);
        for record in &mut self.records {
            let stand = match &record.stand {
                Stand::Open => {
                    let error = Error::Aborted {
                        reason: "the node restarted".to_owned(),
                    };
                    Stand::Aborted(FailureNote::from(&error.failure(pb::Phase::Prepare, false)))
                }
                Stand::Suspending | Stand::Probation => Stand::Lost,
                Stand::Confirming | Stand::Confirmed => Stand::Finished,
                Stand::RollingBack(_) => {
                    Stand::RolledBack(Outcome::RolledBack, RollbackNote::default())
                }
                Stand::Finished | Stand::RolledBack(..) | Stand::Aborted(_) | Stand::Lost => {
                    continue;
                }
            };
            tracing::debug!(key = %record.key, state = stand.words(), %vsn, "closed by the restart");
            Arc::make_mut(record).stand = stand;
        }
        Ok(())
    }

    fn rolled_back(
        &mut self,
        key: &Key,
        outcome: Outcome,
        report: &RollbackNote,
        order: &OrderNote,
    ) -> Result<(), String> {
        let stand = Stand::RolledBack(outcome, report.clone());
        if self.record(key).is_none() {
            self.remember(Record::new(key, stand, order));
            return Ok(());
        }
        let was_under_way = matches!(self.known(key)?.stand, Stand::RollingBack(_));
        self.change(key, |record| record.stand = stand.clone())?;
        if was_under_way {
            self.current = Some(self.span(key)?.from.clone());
        }
        Ok(())
    }

    fn remember(&mut self, record: Record) {
        if self.records.len() >= REMEMBERED {
            // What holds the node, and what a rollback can still undo, is never forgotten.
            let last = self.last_finished().map(|record| record.key.clone());
            let spare =
                |record: &Arc<Record>| !record.stand.holds() && Some(&record.key) != last.as_ref();
            if let Some(oldest) = self.records.iter().position(spare) {
                self.records.remove(oldest);
            }
        }
        self.records.push_back(Arc::new(record));
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Record)) -> Result<(), String> {
        let record = self
            .records
            .iter_mut()
            .rev()
            .find(|record| record.key == *key);
        change(Arc::make_mut(
            record.ok_or_else(|| format!("{key} was never opened"))?,
        ));
        Ok(())
    }

    fn known(&self, key: &Key) -> Result<&Arc<Record>, String> {
        self.record(key)
            .ok_or_else(|| format!("{key} was never opened"))
    }

    fn span(&self, key: &Key) -> Result<Arc<Span>, String> {
        self.known(key)?
            .span
            .clone()
            .ok_or_else(|| format!("{key} was never opened"))
    }
}

fn named(release: &Release) -> Result<Arc<NamedRelease>, String> {
    NamedRelease::new(release.clone()).map_err(|error| error.chain())
}
