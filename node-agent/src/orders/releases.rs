//! The releases on the node, in the words of OTP's release handler: permanent, current, old, unpacked. What is unpacked is
//! what staged patches lead to; what is old is what a rollback leads to. Only those two can be removed, and not while a
//! rollout that holds the node needs them.

use std::{collections::BTreeSet, sync::Arc};

use midflight_patch::{Digest, Vsn};
use midflight_proto::agent::v1 as pb;

use crate::{
    agent::Agent,
    book::{NamedRelease, State},
    error::Error,
    journal::Entry,
};

/// A release, its state, and the staged patches that lead to it.
struct Kept {
    release: Arc<NamedRelease>,
    state: pb::ReleaseState,
    patches: Vec<Digest>,
}

impl Agent {
    /// Every release that is here. Blocks for the disk.
    pub(crate) fn releases(&self) -> Vec<pb::ReleaseStatus> {
        let status = |kept: Kept| pb::ReleaseStatus {
            release: Some(kept.release.to_pb()),
            state: kept.state.into(),
            bytes: bytes(&kept.release),
        };
        let kept = self.kept(&self.book.state());
        kept.into_iter().map(status).collect()
    }

    /// Removes the releases that the request names, and the blobs that nothing needs then. Blocks.
    ///
    /// # Errors
    /// [`Error::NoSuchRelease`], [`Error::ReleaseNeeded`], and those of the journal; then all of them are still here.
    pub(crate) fn remove_release(
        &self,
        request: &pb::RemoveReleaseRequest,
        peer: &str,
    ) -> Result<(), Error> {
        let pb::RemoveReleaseRequest { vsn, digest } = request;
        let fits = |wanted: &str, have: &str| wanted.is_empty() || wanted == have;
        let named = |kept: &Kept| {
            fits(vsn, kept.release.release.vsn.as_str())
                && fits(digest, &kept.release.digest.to_string())
        };
        let state = self.book.state();
        let named: Vec<Kept> = self.kept(&state).into_iter().filter(named).collect();
        if named.is_empty() || (vsn.is_empty() && digest.is_empty()) {
            let release = if digest.is_empty() { vsn } else { digest };
            let release = release.chars().take(100).collect();
            return Err(Error::NoSuchRelease { release });
        }
        for kept in &named {
            if let Some(why) = needed(&state, kept) {
                let release = kept.release.release.vsn.clone();
                return Err(Error::ReleaseNeeded { release, why });
            }
        }
        for Kept {
            release, patches, ..
        } in named
        {
            self.book.record(&Entry::Removed {
                release: release.digest,
                vsn: release.release.vsn.clone(),
                patches,
                peer: peer.to_owned(),
            })?;
            let text = format!("release {} was removed by {peer}", release.release.vsn);
            self.events.add("release", text, None, None);
        }
        self.collect();
        Ok(())
    }

    fn kept(&self, state: &State) -> Vec<Kept> {
        let mut kept: Vec<Kept> = Vec::new();
        let mut add = |release: Arc<NamedRelease>, state, patch: Option<Digest>| match kept
            .iter_mut()
            .find(|kept| kept.release.digest == release.digest)
        {
            Some(known) => known.patches.extend(patch),
            None => kept.push(Kept {
                release,
                state,
                patches: patch.into_iter().collect(),
            }),
        };
        if let Some(permanent) = &state.permanent {
            add(permanent.clone(), pb::ReleaseState::Permanent, None);
        }
        if let Some(current) = &state.current {
            add(current.clone(), pb::ReleaseState::Current, None);
        }
        for record in state.holder().into_iter().chain(state.last_finished()) {
            if let Some(span) = record.span.as_ref().filter(|_| record.resumed.is_some()) {
                add(span.from.clone(), pb::ReleaseState::Old, None);
            }
        }
        let mut unpacked: Vec<(Vsn, Arc<NamedRelease>, Digest)> = Vec::new();
        for (patch, release) in self.fitting(state) {
            // A configuration that has no canonical spelling was refused when the patch was staged.
            if let Ok(release) = NamedRelease::new(release) {
                unpacked.push((release.release.vsn.clone(), release, patch));
            }
        }
        unpacked.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        for (_, release, patch) in unpacked {
            add(release, pb::ReleaseState::Unpacked, Some(patch));
        }
        kept
    }
}

/// Why a release must stay.
fn needed(state: &State, kept: &Kept) -> Option<String> {
    let holder = state.holder();
    match (kept.state, holder) {
        (pb::ReleaseState::Permanent, _) => Some("it is permanent".to_owned()),
        (pb::ReleaseState::Current, _) => Some("it runs".to_owned()),
        (pb::ReleaseState::Old, Some(holder)) => Some(format!(
            "it is what rollout {} can be rolled back to",
            holder.key.rollout
        )),
        (_, Some(holder)) if kept.patches.contains(&holder.key.patch) => {
            Some(format!("rollout {} brings it", holder.key.rollout))
        }
        _ => None,
    }
}

fn bytes(release: &NamedRelease) -> u64 {
    let mut seen = BTreeSet::new();
    let modules = release.release.modules.values();
    let once = modules.filter(|module| seen.insert(module.blob));
    once.map(|module| module.size).sum()
}
