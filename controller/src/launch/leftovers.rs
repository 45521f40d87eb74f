//! Earlier rollouts that were confirmed on nodes by a process that has died since: a node that is not finished takes no other
//! patch, so they are finished before a new rollout begins. A rollout that a process still runs is an overlap, and so is one that this
//! journal does not know: it may be alive elsewhere, and would lose its way back.

use std::collections::HashSet;
use std::path::Path;

use crate::engine::event::Planned;
use crate::engine::id::RolloutId;
use crate::engine::node::{self, Order};
use crate::error::Error;
use crate::journal::{Journal, Lock};
use crate::launch::wanted::Prepared;

/// Finishes what is left on the nodes of a plan.
///
/// # Errors
/// [`Error::Overlap`], and those of the journal.
pub async fn finish(journal: &dyn Journal, path: &Path, prepared: &Prepared) -> Result<(), Error> {
    let mut dead = HashSet::new();
    for (node, key, epoch) in &prepared.plan.unfinished {
        let link = &prepared.links[*node];
        let (name, rollout) = (link.target().name.clone(), key.rollout_id.clone());
        let overlap = || Error::Overlap {
            nodes: name.clone(),
            rollout: rollout.clone(),
        };
        let id = rollout.parse().map_err(|_| overlap())?;
        if !dead.contains(&id) {
            if journal.head(&id).await?.is_none() || Lock::is_held(path, &id)? {
                return Err(overlap());
            }
            dead.insert(RolloutId::clone(&id));
        }
        tracing::warn!(
            node = name,
            rollout,
            "finishing a rollout that is confirmed there and was left unfinished"
        );
        let planned = Planned {
            patch: key.patch_digest.clone(),
            ..Planned::default()
        };
        let order = Order::new(&id, &planned, &prepared.policy, *epoch);
        let finished = node::finish(link, &order, key).await;
        finished.map_err(|_| overlap())?;
    }
    Ok(())
}
