//! Cuts the nodes that are to be changed into waves. Each wave of the policy says how much of them has the patch after it; a wave that
//! adds nobody is left out. Nodes of the last wave are picked out that earlier waves are compared with: of the same groups and,
//! where there are enough, of the same zones, in the same shares. In lockstep whole batches are moved instead of single nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use midflight_inventory::{Host, Inventory, fold_to_string};
use midflight_patch::Digest;

use crate::engine::rollout::Wave;
use crate::error::Error;
use crate::policy::{Label, Mode, Policy, WaveSize, WaveSpec};
use crate::transport::Target;

/// A control set has at least so many nodes, where there are so many to be had.
const CONTROL: usize = 3;

/// The waves over `change`, which are indices of `targets`. What is left to chance follows from `seed`.
///
/// # Errors
/// [`Error::Waves`] when nodes are left out, [`Error::NoBatch`] when a node of a lockstep rollout is in no batch, and
/// [`Error::Inventory`] for a pattern.
pub(super) fn cut(
    policy: &Policy,
    targets: &[Target],
    change: &[usize],
    inventory: &Inventory,
    seed: &str,
) -> Result<Vec<Wave>, Error> {
    let fleet = Fleet::new(policy, targets, change, inventory, seed)?;
    let mut waves = Cut::new(&fleet, 0).waves(&policy.waves, policy)?;
    // A control set comes out of the last wave, so that the waves before keep their size.
    if let Some(((last, wave), [_, ..])) = waves.split_last()
        && policy.needs_control()
    {
        waves = Cut::new(&fleet, wave.nodes.len()).waves(&policy.waves[..=*last], policy)?;
    }
    Ok(waves.into_iter().map(|(_, wave)| wave).collect())
}

/// Nodes that go together: one node, or in lockstep a batch.
struct Unit {
    nodes: Vec<usize>,
}

/// All that is to be changed.
struct Fleet<'a> {
    targets: &'a [Target],
    inventory: &'a Inventory,
    seed: &'a str,
    units: Vec<Unit>,
    /// Nodes in all units.
    total: usize,
    lockstep: bool,
}

impl<'a> Fleet<'a> {
    fn new(
        policy: &Policy,
        targets: &'a [Target],
        change: &[usize],
        inventory: &'a Inventory,
        seed: &'a str,
    ) -> Result<Self, Error> {
        let mut fleet = Self {
            targets,
            inventory,
            seed,
            units: Vec::new(),
            total: change.len(),
            lockstep: policy.mode == Mode::Lockstep,
        };
        if !fleet.lockstep {
            fleet.units = change
                .iter()
                .map(|node| Unit { nodes: vec![*node] })
                .collect();
            return Ok(fleet);
        }
        let (mut batches, mut without) = (HashMap::<String, usize>::new(), Vec::new());
        for node in change {
            match fleet.label(&policy.batch, *node) {
                None => without.push(*node),
                Some(batch) => {
                    let next = fleet.units.len();
                    let unit = *batches.entry(batch).or_insert(next);
                    if unit == next {
                        fleet.units.push(Unit { nodes: Vec::new() });
                    }
                    fleet.units[unit].nodes.push(*node);
                }
            }
        }
        if without.is_empty() {
            return Ok(fleet);
        }
        Err(Error::NoBatch {
            nodes: fold_to_string(without.iter().map(|node| fleet.name(*node))),
            count: without.len(),
            label: policy.batch.as_str().to_owned(),
        })
    }

    fn name(&self, node: usize) -> &str {
        &self.targets[node].name
    }

    fn host(&self, node: usize) -> Option<&Host> {
        self.inventory.host(self.name(node))
    }

    fn label(&self, label: &Label, node: usize) -> Option<String> {
        label.of(self.host(node)?)
    }

    /// A number that is as good as random, and always the same for a node of a rollout.
    fn lot(&self, what: &str) -> Digest {
        Digest::of(format!("{}\n{what}", self.seed).as_bytes())
    }

    /// What nodes are alike in that may be compared: groups, then zone.
    fn kind(&self, node: usize) -> (Vec<&str>, Option<&str>) {
        match self.host(node) {
            Some(host) => (host.groups().collect(), host.zone()),
            None => (Vec::new(), None),
        }
    }

    /// The units that a pattern names a node of.
    fn named(&self, pattern: &str) -> Result<HashSet<usize>, Error> {
        let hosts = self.inventory.select(pattern)?;
        let names: HashSet<&str> = hosts.into_iter().map(Host::name).collect();
        let units = (0..self.units.len()).filter(|unit| {
            let mut nodes = self.units[*unit].nodes.iter();
            nodes.any(|node| names.contains(self.name(*node)))
        });
        Ok(units.collect())
    }
}

/// One way to cut.
struct Cut<'a> {
    fleet: &'a Fleet<'a>,
    /// Most nodes that may be kept for the last wave.
    most_kept: usize,
    /// Of each unit: whether it is in a wave.
    taken: Vec<bool>,
    /// Of each unit: whether it is kept for the last wave.
    kept: Vec<bool>,
    nodes_taken: usize,
    nodes_kept: usize,
}

impl<'a> Cut<'a> {
    fn new(fleet: &'a Fleet<'a>, most_kept: usize) -> Self {
        Self {
            fleet,
            most_kept,
            taken: vec![false; fleet.units.len()],
            kept: vec![false; fleet.units.len()],
            nodes_taken: 0,
            nodes_kept: 0,
        }
    }

    /// The waves that add somebody, with their places in the list.
    fn waves(mut self, specs: &[WaveSpec], policy: &Policy) -> Result<Vec<(usize, Wave)>, Error> {
        let mut named = Vec::new();
        for spec in specs {
            named.push(match &spec.nodes {
                WaveSize::Pattern(pattern) => Some(self.fleet.named(pattern)?),
                WaveSize::UpTo(_) => None,
            });
        }
        // Who is named for a wave is in it, and not in a control set.
        let early = named.iter().rev().skip(1).flatten().flatten().copied();
        let spoken_for: HashSet<usize> = early.collect();
        let kinds = self.by_kind(&spoken_for);
        let mut waves = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let last = index + 1 == specs.len();
            if last {
                self.kept.fill(false);
            }
            let units = self.pick(spec, named[index].as_ref());
            if units.is_empty() {
                continue;
            }
            for unit in &units {
                self.taken[*unit] = true;
                self.nodes_taken += self.fleet.units[*unit].nodes.len();
            }
            let batches = units.iter().map(|unit| self.fleet.units[*unit].nodes.len());
            let nodes = units
                .iter()
                .flat_map(|unit| self.fleet.units[*unit].nodes.iter().copied());
            let nodes: Vec<usize> = nodes.collect();
            let control = if last {
                Vec::new()
            } else {
                self.control(&nodes, &kinds)
            };
            let wave = Wave {
                nodes,
                bake: spec.bake.unwrap_or(policy.bake).get(),
                batches: if self.fleet.lockstep {
                    batches.collect()
                } else {
                    Vec::new()
                },
                control,
                late: false,
            };
            waves.push((index, wave));
        }
        let left: Vec<usize> = (0..self.taken.len())
            .filter(|unit| !self.taken[*unit])
            .collect();
        if left.is_empty() {
            return Ok(waves);
        }
        let nodes = left.iter().flat_map(|unit| &self.fleet.units[*unit].nodes);
        Err(Error::Waves {
            nodes: fold_to_string(nodes.clone().map(|node| self.fleet.name(*node))),
            count: nodes.count(),
        })
    }

    /// The units of the next wave.
    fn pick(&self, spec: &WaveSpec, named: Option<&HashSet<usize>>) -> Vec<usize> {
        let free = |unit: &usize| !self.taken[*unit] && !self.kept[*unit];
        let mut units: Vec<usize> = (0..self.taken.len()).filter(free).collect();
        if let Some(spread) = &spec.spread {
            units = self.spread(units, spread);
        }
        match (&spec.nodes, named) {
            (WaveSize::UpTo(amount), _) => {
                // An inventory's bound on hosts fits 32 bits.
                let wanted = amount.at_least(self.fleet.total as u32) as usize;
                let mut more = wanted.saturating_sub(self.nodes_taken);
                units.retain(|unit| {
                    let take = more > 0;
                    if take {
                        more = more.saturating_sub(self.fleet.units[*unit].nodes.len());
                    }
                    take
                });
            }
            (WaveSize::Pattern(_), Some(named)) => units.retain(|unit| named.contains(unit)),
            (WaveSize::Pattern(_), None) => units.clear(),
        }
        units
    }

    /// In turn one unit of each value of the label, those first of which the waves before took least; by lot within a value.
    fn spread(&self, units: Vec<usize>, label: &Label) -> Vec<usize> {
        let value = |unit: usize| {
            let first = self.fleet.units[unit].nodes.first();
            first
                .and_then(|node| self.fleet.label(label, *node))
                .unwrap_or_default()
        };
        let mut before = HashMap::<String, usize>::new();
        for unit in (0..self.taken.len()).filter(|unit| self.taken[*unit]) {
            *before.entry(value(unit)).or_default() += 1;
        }
        let mut values = BTreeMap::<String, Vec<usize>>::new();
        for unit in units {
            values.entry(value(unit)).or_default().push(unit);
        }
        let mut queues: Vec<(String, Vec<usize>)> = values.into_iter().collect();
        queues.sort_by_cached_key(|(value, _)| {
            (
                before.get(value).copied().unwrap_or(0),
                self.fleet.lot(value),
            )
        });
        let mut turns = Vec::new();
        for (rank, (_, units)) in queues.iter_mut().enumerate() {
            units.sort_by_cached_key(|unit| self.lot_of(*unit));
            turns.extend(
                units
                    .iter()
                    .enumerate()
                    .map(|(turn, unit)| (turn, rank, *unit)),
            );
        }
        turns.sort_unstable();
        turns.into_iter().map(|(_, _, unit)| unit).collect()
    }

    fn lot_of(&self, unit: usize) -> Digest {
        let first = self.fleet.units[unit].nodes.first();
        self.fleet
            .lot(first.map_or("", |node| self.fleet.name(*node)))
    }

    /// The nodes that may be in a control set, by their groups and zones; by lot. Empty when no control set is wanted.
    fn by_kind(&self, spoken_for: &HashSet<usize>) -> Kinds<'a> {
        let mut kinds = Kinds::new();
        if self.most_kept == 0 {
            return kinds;
        }
        let mut units: Vec<usize> = (0..self.taken.len())
            .filter(|unit| !spoken_for.contains(unit))
            .collect();
        units.sort_by_cached_key(|unit| self.lot_of(*unit));
        for unit in units {
            for node in &self.fleet.units[unit].nodes {
                let (groups, zone) = self.fleet.kind(*node);
                let zones = kinds.entry(groups).or_default();
                zones.entry(zone).or_default().push((unit, *node));
            }
        }
        kinds
    }

    /// The control set of a wave: a hundredth of all nodes, at least three, in the shares that the wave has of each kind. Who is
    /// in one is kept for the last wave.
    fn control(&mut self, wave: &[usize], kinds: &Kinds<'a>) -> Vec<usize> {
        if self.most_kept == 0 {
            return Vec::new();
        }
        let wanted = self
            .fleet
            .total
            .div_ceil(100)
            .max(CONTROL)
            .min(self.most_kept);
        let mut shares = BTreeMap::<_, usize>::new();
        for node in wave {
            *shares.entry(self.fleet.kind(*node)).or_default() += 1;
        }
        let mut control = Vec::new();
        for ((groups, zone), quota) in quotas(&shares, wanted, wave.len()) {
            let Some(zones) = kinds.get(&groups) else {
                continue;
            };
            let same = zones.get(&zone).into_iter().flatten();
            let others = zones.iter().filter(|(other, _)| **other != zone);
            let others = others.flat_map(|(_, nodes)| nodes);
            let mut left = quota;
            left -= self.keep(same.copied(), left, &mut control);
            self.keep(others.copied(), left, &mut control);
        }
        control.sort_unstable();
        control
    }

    /// Puts up to `wanted` of these into the control set, those first that are kept already. Gives how many.
    fn keep(
        &mut self,
        nodes: impl Iterator<Item = (usize, usize)> + Clone,
        wanted: usize,
        control: &mut Vec<usize>,
    ) -> usize {
        let mut found = 0;
        for kept in [true, false] {
            for (unit, node) in nodes.clone() {
                if found == wanted {
                    return found;
                }
                let more = self.fleet.units[unit].nodes.len();
                let room = !kept && self.nodes_kept + more <= self.most_kept;
                if self.taken[unit] || !self.kept[unit] && !room || control.contains(&node) {
                    continue;
                }
                if !self.kept[unit] {
                    self.kept[unit] = true;
                    self.nodes_kept += more;
                }
                control.push(node);
                found += 1;
            }
        }
        found
    }
}

/// Nodes with their units, by zone, by groups.
type Kinds<'a> = BTreeMap<Vec<&'a str>, BTreeMap<Option<&'a str>, Vec<(usize, usize)>>>;

/// Shares `wanted` out in proportion, the greatest remainders rounded up.
fn quotas<K: Clone + Ord>(
    shares: &BTreeMap<K, usize>,
    wanted: usize,
    total: usize,
) -> Vec<(K, usize)> {
    let total = total.max(1);
    let mut quotas: Vec<(K, usize, usize)> = shares
        .iter()
        .map(|(kind, share)| {
            let exact = share * wanted;
            (kind.clone(), exact / total, exact % total)
        })
        .collect();
    let given: usize = quotas.iter().map(|(_, quota, _)| quota).sum();
    quotas.sort_by_key(|(_, _, rest)| Reverse(*rest));
    for (_, quota, _) in quotas.iter_mut().take(wanted.saturating_sub(given)) {
        *quota += 1;
    }
    quotas
        .into_iter()
        .map(|(kind, quota, _)| (kind, quota))
        .collect()
}
