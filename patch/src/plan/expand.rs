//! From what a patch intends to the plan: which modules, in which order, by which instructions, as OTP's systools_rc does it.
//! Going up, dependencies are loaded first and states are converted after loading; going down, dependencies are loaded last
//! and states are converted before, since the newer code converts them. Suspended are dependants first, resumed in reverse.

use super::order;
use super::{Change, Direction, Hop, Instruction, ModulePlan, Plan, Policy};
use crate::error::Error;
use crate::manifest::{Manifest, ModuleEntry, Update};
use crate::names::{ModuleName, Vsn};
use crate::release::Release;

/// What a patch intends, before anything is in order.
pub(super) struct Intent {
    pub(super) name: String,
    pub(super) from: Vsn,
    pub(super) to: Vsn,
    pub(super) direction: Direction,
    /// In the order in which they are written.
    pub(super) modules: Vec<ModuleIntent>,
}

/// What becomes of a module, and what that depends on.
pub(super) struct ModuleIntent {
    pub(super) plan: ModulePlan,
    pub(super) depends: Vec<ModuleName>,
    pub(super) timeout_ms: Option<u64>,
}

impl Plan {
    /// The plan of a patch on a node where `running` runs.
    ///
    /// # Errors
    /// Those of [`Release::apply`]: the patch does not fit.
    pub fn new(patch: &Manifest, running: &Release) -> Result<Self, Error> {
        let after = running.apply(patch)?;
        Ok(Intent::new(patch, Direction::Up, running, &after).expand())
    }

    /// The plan of the way back: from what `patch` made of the release `before` to `before`.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn back(patch: &Manifest, before: &Release) -> Result<Self, Error> {
        let after = before.apply(patch)?;
        Ok(Intent::new(patch, Direction::Down, &after, before).expand())
    }
}

impl Intent {
    fn new(patch: &Manifest, direction: Direction, from: &Release, to: &Release) -> Self {
        let intent = |entry: &ModuleEntry| {
            let new = to.modules.get(&entry.name);
            let hop = new.map(|module| Hop {
                vsn: module.vsn.clone(),
                blob: module.blob,
                update: entry.update,
                extra: entry.extra.clone(),
                config: module.config.clone(),
            });
            ModuleIntent {
                plan: ModulePlan {
                    name: entry.name.clone(),
                    from: from.modules.get(&entry.name).map(|old| old.vsn.clone()),
                    to: new.map(|module| module.vsn.clone()),
                    policy: Policy::Update,
                    hops: hop.into_iter().collect(),
                    pre_purge: Default::default(),
                    post_purge: Default::default(),
                },
                depends: Vec::new(),
                timeout_ms: None,
            }
        };
        Self {
            name: patch.name.clone(),
            from: from.vsn.clone(),
            to: to.vsn.clone(),
            direction,
            modules: patch.modules.iter().map(intent).collect(),
        }
    }

    /// Puts everything in order.
    pub(super) fn expand(self) -> Plan {
        let mut steps = Vec::new();
        let brought = |m: &&ModuleIntent| m.plan.to.is_some();
        let name = |m: &ModuleIntent| m.plan.name.clone();
        let dependencies_first = self.in_order(false);
        let dependants_first = self.in_order(true);
        let loading = match self.direction {
            Direction::Up => &dependencies_first,
            Direction::Down => &dependants_first,
        };

        let modules: Vec<_> = loading.iter().copied().filter(brought).map(name).collect();
        if !modules.is_empty() {
            steps.push(Instruction::LoadObjectCode { modules });
        }
        steps.push(Instruction::PointOfNoReturn);
        let suspended: Vec<_> = dependants_first
            .iter()
            .copied()
            .filter(|m| m.is_suspended())
            .collect();
        for same in suspended.chunk_by(|a, b| a.timeout_ms == b.timeout_ms) {
            steps.push(Instruction::Suspend {
                modules: same.iter().copied().map(name).collect(),
                timeout_ms: same[0].timeout_ms,
            });
        }
        let code_change = self.code_change(loading);
        if self.direction == Direction::Down {
            steps.extend(code_change.clone());
        }
        for module in loading {
            let ModulePlan {
                name,
                pre_purge,
                post_purge,
                ..
            } = &module.plan;
            let (module, pre_purge, post_purge) = (name.clone(), *pre_purge, *post_purge);
            steps.push(Instruction::Load {
                module,
                pre_purge,
                post_purge,
            });
        }
        if self.direction == Direction::Up {
            steps.extend(code_change);
        }
        if !suspended.is_empty() {
            let modules = suspended.iter().rev().copied().map(name).collect();
            steps.push(Instruction::Resume { modules });
        }
        let mut modules: Vec<_> = self.modules.into_iter().map(|module| module.plan).collect();
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        Plan {
            name: self.name,
            from: self.from,
            to: self.to,
            direction: self.direction,
            modules,
            steps,
        }
    }

    /// The modules such that those that others depend on come first, or last.
    fn in_order(&self, dependants_first: bool) -> Vec<&ModuleIntent> {
        let number = |name: &ModuleName| self.modules.iter().position(|m| m.plan.name == *name);
        let before = |m: &ModuleIntent| m.depends.iter().filter_map(number).collect();
        let mut before: Vec<Vec<usize>> = self.modules.iter().map(before).collect();
        if dependants_first {
            before = order::reversed(&before);
        }
        order::sorted(&before)
            .into_iter()
            .map(|n| &self.modules[n])
            .collect()
    }

    fn code_change(&self, modules: &[&ModuleIntent]) -> Option<Instruction> {
        let changes = |module: &&ModuleIntent| {
            let advanced = |hop: &&Hop| hop.update == Update::Advanced;
            let change = |hop: &Hop| Change {
                name: module.plan.name.clone(),
                extra: hop.extra.clone(),
            };
            let hops = module.plan.hops.iter().filter(advanced);
            hops.map(change).collect::<Vec<_>>()
        };
        let modules: Vec<_> = modules
            .iter()
            .filter(|module| module.is_suspended())
            .flat_map(changes)
            .collect();
        (!modules.is_empty()).then_some(Instruction::CodeChange {
            direction: self.direction,
            modules,
        })
    }
}

impl ModuleIntent {
    /// Whether its actors stop for the switch.
    fn is_suspended(&self) -> bool {
        let Self { plan, .. } = self;
        plan.from.is_some() && plan.to.is_some() && plan.policy == Policy::Update
    }
}
