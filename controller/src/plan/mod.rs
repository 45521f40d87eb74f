//! The plan: which of the nodes asked for are to be changed, in which waves, and what each wave is compared with. It is made from
//! what the nodes say they run, so that no wave consists of nodes that are dead or patched already; the same fleet, patch and
//! policy give the same plan. It changes nothing. `waves` cuts, `text` shows.

mod text;
mod waves;

use midflight_inventory::{Host, Inventory, fold_to_string};
use midflight_patch::{Manifest, VsnPattern};
use midflight_proto::agent::v1 as pb;

use crate::engine::event::Cause;
use crate::engine::rollout::Wave;
use crate::engine::words::Phase;
use crate::error::Error;
use crate::policy::Policy;
use crate::transport::{CallError, Target};

/// What is to happen.
#[derive(Debug)]
pub struct Plan {
    /// All nodes asked for, in the order of the inventory.
    pub targets: Vec<Target>,
    /// Their zones.
    pub zones: Vec<Option<String>>,
    /// The waves, over indices of `targets`.
    pub waves: Vec<Wave>,
    /// Nodes that run the patch's `to` already.
    pub current: Vec<usize>,
    /// Nodes that did not answer, and why.
    pub unreachable: Vec<(usize, Cause)>,
    /// Nodes where an earlier rollout is confirmed and was never finished: what is left to finish before they take a patch, and the
    /// epoch of its last order.
    pub unfinished: Vec<(usize, pb::Key, u64)>,
}

/// The hosts that a pattern names, in the order of the inventory. `all` allows that these are all that there are.
///
/// # Errors
/// [`Error::Inventory`], [`Error::NoTargets`], [`Error::AllNodes`].
pub fn targets(inventory: &Inventory, pattern: &str, all: bool) -> Result<Vec<Target>, Error> {
    let hosts = hosts(inventory, pattern, all)?;
    Ok(hosts.into_iter().map(Target::from).collect())
}

/// As [`targets`], with all that the inventory says of them.
///
/// # Errors
/// As [`targets`].
pub fn hosts<'a>(
    inventory: &'a Inventory,
    pattern: &str,
    all: bool,
) -> Result<Vec<&'a Host>, Error> {
    let hosts = inventory.select(pattern)?;
    if hosts.is_empty() {
        return Err(Error::NoTargets {
            pattern: pattern.to_owned(),
        });
    }
    if hosts.len() == inventory.hosts().len() && !all {
        return Err(Error::AllNodes {
            pattern: pattern.to_owned(),
            nodes: hosts.len(),
        });
    }
    hosts.iter().try_for_each(|host| host.reachable())?;
    Ok(hosts)
}

/// Cuts the plan from what the nodes answered. `through` are patches that may stand on the way to the one of `manifest`.
/// Nodes that the rollout `superseded` holds may be taken over: they are as they will be when it is gone. Empty: none.
///
/// # Errors
/// [`Error::Overlap`] when another rollout holds a node, [`Error::DoesNotFit`] when the patch does not start from what a
/// node runs, [`Error::TooManyUnreachable`], and [`Error::Waves`].
pub fn plan(
    superseded: &str,
    targets: Vec<Target>,
    answers: Vec<Result<pb::DescribeResponse, CallError>>,
    manifest: &Manifest,
    through: &[&Manifest],
    policy: &Policy,
    inventory: &Inventory,
) -> Result<Plan, Error> {
    let (mut change, mut current, mut unreachable) = (Vec::new(), Vec::new(), Vec::new());
    let mut unfinished = Vec::new();
    let (mut held, mut other) = (
        Vec::<(String, String)>::new(),
        Vec::<(String, String)>::new(),
    );
    for (index, answer) in answers.into_iter().enumerate() {
        let name = || targets[index].name.clone();
        if let Ok(pb::DescribeResponse {
            upgrade: Some(upgrade),
            ..
        }) = &answer
            && let (pb::UpgradeState::Confirmed, Some(key)) = (upgrade.state(), &upgrade.key)
            && (superseded.is_empty() || key.rollout_id != superseded)
        {
            unfinished.push((index, key.clone(), upgrade.epoch));
        }
        match answer.map(|described| fit(&described, manifest, through, superseded)) {
            Err(error) => unreachable.push((index, error.cause(Phase::Describe))),
            Ok(Fit::Held(rollout)) => held.push((name(), rollout)),
            Ok(Fit::Other(runs)) => other.push((name(), runs)),
            Ok(Fit::Current) => current.push(index),
            Ok(Fit::Change) => change.push(index),
        }
    }
    if let Some((_, rollout)) = held.first().cloned() {
        let nodes = fold_to_string(
            held.iter()
                .filter(|(_, by)| *by == rollout)
                .map(|(node, _)| node),
        );
        return Err(Error::Overlap { nodes, rollout });
    }
    if let Some((_, runs)) = other.first().cloned() {
        let nodes = fold_to_string(
            other
                .iter()
                .filter(|(_, what)| *what == runs)
                .map(|(node, _)| node),
        );
        return Err(Error::DoesNotFit {
            nodes,
            runs,
            patch: describe(manifest),
        });
    }
    // An inventory's bound on hosts fits 32 bits.
    let allowed = policy
        .failure_budget
        .unreachable
        .at_most(targets.len() as u32) as usize;
    if unreachable.len() > allowed {
        let nodes = fold_to_string(unreachable.iter().map(|(index, _)| &targets[*index].name));
        let (count, total) = (unreachable.len(), targets.len());
        let first = Box::new(unreachable.swap_remove(0).1);
        return Err(Error::TooManyUnreachable {
            nodes,
            count,
            total,
            allowed,
            first,
        });
    }
    // A manifest that has been read can be written; without one the lot is the same for every patch.
    let seed = manifest.digest().map(|digest| digest.to_string());
    let waves = waves::cut(
        policy,
        &targets,
        &change,
        inventory,
        &seed.unwrap_or_default(),
    )?;
    let zone = |target: &Target| Some(inventory.host(&target.name)?.zone()?.to_owned());
    Ok(Plan {
        zones: targets.iter().map(zone).collect(),
        targets,
        waves,
        current,
        unreachable,
        unfinished,
    })
}

/// How a node stands to a patch.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    /// It runs what the patch starts from.
    Change,
    /// It runs what the patch results in, also after a restart.
    Current,
    /// Another rollout has not ended there; its id.
    Held(String),
    /// It runs something else; what.
    Other(String),
}

fn fit(
    node: &pb::DescribeResponse,
    manifest: &Manifest,
    through: &[&Manifest],
    superseded: &str,
) -> Fit {
    if let Some(open) = &node.upgrade {
        use pb::UpgradeState as S;
        let by = open.key.as_ref().map_or("", |key| &key.rollout_id);
        let gives_way = !superseded.is_empty() && by == superseded;
        if let (S::Probation, true, Some(back)) = (open.state(), gives_way, &open.from) {
            // The node rolls it back first; whether the modules fit then, it says before it changes anything.
            let fits = back.name == manifest.name
                && (starts_from(manifest.from.as_ref(), &back.vsn)
                    || leads_on(through, manifest, &back.vsn));
            return match fits {
                true => Fit::Change,
                false => Fit::Other(format!("{} {}", back.name, back.vsn)),
            };
        }
        if !gives_way && matches!(open.state(), S::Open | S::Suspended | S::Probation) {
            return Fit::Held(
                open.key
                    .as_ref()
                    .map(|key| key.rollout_id.clone())
                    .unwrap_or_default(),
            );
        }
    }
    let Some(release) = &node.current else {
        return Fit::Other("no release".to_owned());
    };
    let vsn = |wanted: &midflight_patch::Vsn| release.vsn == wanted.as_str();
    let module = |name: &str| node.modules.iter().find(|module| module.name == name);
    let is_permanent = node
        .permanent
        .as_ref()
        .is_some_and(|permanent| permanent.vsn == release.vsn);
    let patched = manifest.modules.iter().all(|entry| {
        module(entry.name.as_str()).is_some_and(|module| {
            module.vsn == entry.vsn.as_str()
                && (module.digest.is_empty() || module.digest == entry.blob.to_string())
        })
    });
    if release.name == manifest.name && vsn(&manifest.to) && patched && is_permanent {
        return Fit::Current;
    }
    if release.name != manifest.name || !starts_from(manifest.from.as_ref(), &release.vsn) {
        // Whether the modules fit on the way too, the node says before it changes anything.
        return match release.name == manifest.name && leads_on(through, manifest, &release.vsn) {
            true => Fit::Change,
            false => Fit::Other(format!("{} {}", release.name, release.vsn)),
        };
    }
    let unfit = manifest.modules.iter().find_map(|entry| {
        match (module(entry.name.as_str()), &entry.from) {
            // The patch adds it.
            (None, None) => None,
            (None, Some(_)) => Some(format!(
                "{} {} without module {}",
                release.name, release.vsn, entry.name
            )),
            (Some(module), from) if !starts_from(from.as_ref(), &module.vsn) => {
                Some(format!("module {} {}", module.name, module.vsn))
            }
            (Some(_), _) => None,
        }
    });
    unfit.map_or(Fit::Change, Fit::Other)
}

/// Whether a chain of the patches on the way leads from `vsn` to where the last one starts.
fn leads_on(through: &[&Manifest], last: &Manifest, vsn: &str) -> bool {
    let mut reached = vec![vsn];
    let mut next = 0;
    while next < reached.len() {
        let vsn = reached[next];
        if starts_from(last.from.as_ref(), vsn) {
            return true;
        }
        for patch in through {
            let to = patch.to.as_str();
            if starts_from(patch.from.as_ref(), vsn) && !reached.contains(&to) {
                reached.push(to);
            }
        }
        next += 1;
    }
    false
}

fn starts_from(from: Option<&VsnPattern>, vsn: &str) -> bool {
    let vsn = vsn.parse();
    from.zip(vsn.ok())
        .is_some_and(|(from, vsn)| from.matches(&vsn))
}

fn describe(manifest: &Manifest) -> String {
    let from = manifest
        .from
        .as_ref()
        .map(|vsn| format!("{vsn} to "))
        .unwrap_or_default();
    format!("{} from {from}{}", manifest.name, manifest.to)
}

#[cfg(test)]
mod tests;
