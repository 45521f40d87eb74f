//! Which of the patches at hand lead from the release that runs to another, when no single one does. The answer is the same for
//! the same patches in any order: the fewest patches, and among as many, the one whose digests come first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Direction;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::names::Vsn;
use crate::release::Release;

/// Most patches that may be at hand.
pub const MAX_PATCHES: u64 = 64;
/// Most releases that are looked at on the way.
const MAX_RELEASES: u64 = 4096;

/// The patches of the shortest chain from `running` to `to`, as numbers of `patches`, in order; all of one direction. Empty
/// when `to` runs.
///
/// # Errors
/// [`Error::NoPath`], which names what is reached and what is missing; [`Error::Limit`] over [`MAX_PATCHES`] patches, or
/// when they lead to too many different releases.
pub fn path(running: &Release, patches: &[&Manifest], to: &Vsn) -> Result<Vec<usize>, Error> {
    let limit =
        |what, found, limit| crate::limits::check("the patches at hand", what, found, limit);
    limit("their number", patches.len() as u64, MAX_PATCHES)?;
    if running.vsn == *to {
        return Ok(Vec::new());
    }
    let mut order = Vec::new();
    for (index, patch) in patches.iter().enumerate() {
        order.push((patch.digest()?, index));
    }
    order.sort();

    let mut seen: BTreeSet<(Direction, Digest)> = BTreeSet::new();
    let mut queue = VecDeque::new();
    for direction in [Direction::Up, Direction::Down] {
        seen.insert((direction, running.digest()?));
        queue.push_back((direction, running.clone(), Vec::new()));
    }
    let mut misfits = BTreeMap::new();
    while let Some((direction, release, chain)) = queue.pop_front() {
        for (_, index) in &order {
            let patch = patches[*index];
            if patch.direction != direction {
                continue;
            }
            let next = match release.apply(patch) {
                Ok(next) => next,
                Err(Error::OtherRelease { .. }) => continue,
                Err(error) => {
                    misfits.entry(*index).or_insert(error);
                    continue;
                }
            };
            let mut chain: Vec<usize> = chain.clone();
            chain.push(*index);
            if next.vsn == *to {
                return Ok(chain);
            }
            if seen.insert((direction, next.digest()?)) {
                limit(
                    "the number of releases on the way",
                    seen.len() as u64,
                    MAX_RELEASES,
                )?;
                queue.push_back((direction, next, chain));
            }
        }
    }
    Err(no_path(running, patches, to, misfits))
}

fn no_path(
    running: &Release,
    patches: &[&Manifest],
    to: &Vsn,
    misfits: BTreeMap<usize, Error>,
) -> Error {
    // By vsn alone, which is what a person asks first.
    let mut reached = BTreeSet::from([running.vsn.clone()]);
    loop {
        let more: Vec<_> = patches
            .iter()
            .filter(|patch| {
                let from = |vsn| patch.from.as_ref().is_some_and(|from| from.matches(vsn));
                reached.iter().any(from) && !reached.contains(&patch.to)
            })
            .map(|patch| patch.to.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    let list = |names: Vec<String>| match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    };
    let onward = reached.iter().filter(|vsn| **vsn != running.vsn);
    let onward = list(onward.map(ToString::to_string).collect());
    let starts: BTreeSet<String> = patches
        .iter()
        .filter(|patch| patch.to == *to)
        .filter_map(|patch| patch.from.as_ref().map(ToString::to_string))
        .collect();
    let mut problem = match starts.is_empty() {
        true => format!("they reach {onward}, and none leads to {to}; add one that does"),
        false => format!(
            "they reach {onward}, and {to} is reached from {} only; add a patch between the two",
            list(starts.into_iter().collect())
        ),
    };
    if let Some((index, error)) = misfits.into_iter().next() {
        let patch = patches[index];
        let from = patch.from.as_ref().map(ToString::to_string);
        problem = format!(
            "the patch from {} to {} does not fit: {error}",
            from.unwrap_or_default(),
            patch.to
        );
    }
    Error::NoPath {
        name: running.name.clone(),
        from: running.vsn.clone(),
        to: to.clone(),
        patches: patches.len(),
        problem,
    }
}
