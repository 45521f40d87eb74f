//! One plan of one patch or of several, one after the other: each module makes a hop for each patch that changes it, and no
//! release between the first and the last ever runs. What would need one to run is refused by name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::expand::Draft;
use super::{Hop, ModulePlan, Plan, Policy, Purge, When};
use crate::error::Error;
use crate::manifest::{Manifest, Update};
use crate::names::ModuleName;
use crate::release::{Release, ReleaseModule};
use crate::script::{ModuleScript, Operation, Script, Way, What};

/// One patch on the way, in one direction.
struct Leg {
    script: Script,
    from: Release,
    to: Release,
}

impl Plan {
    /// The plan of a patch on a node where `running` runs.
    ///
    /// # Errors
    /// Those of [`Release::apply`]: the patch does not fit.
    pub fn new(patch: &Manifest, running: &Release) -> Result<Self, Error> {
        Self::chain(&[patch], running)
    }

    /// The plan of the way back: from what `patch` made of the release `before` to `before`.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn back(patch: &Manifest, before: &Release) -> Result<Self, Error> {
        Self::chain_back(&[patch], before)
    }

    /// The plan of several patches, one after the other, as one upgrade. [`path`](super::path) finds them.
    ///
    /// # Errors
    /// Those of [`Release::apply`] when one does not fit what the ones before it make, and [`Error::NotOneUpgrade`].
    pub fn chain(patches: &[&Manifest], running: &Release) -> Result<Self, Error> {
        let mut legs = Vec::new();
        let mut from = running.clone();
        for patch in patches {
            let (script, to) = (Script::of(patch, Way::Forward)?, from.apply(patch)?);
            legs.push(Leg {
                script,
                from,
                to: to.clone(),
            });
            from = to;
        }
        compose(patches, legs, Way::Forward)
    }

    /// The plan of the way back: from what `patches`, one after the other, made of the release `before` to `before`.
    ///
    /// # Errors
    /// As [`Plan::chain`].
    pub fn chain_back(patches: &[&Manifest], before: &Release) -> Result<Self, Error> {
        let mut legs = Vec::new();
        let mut to = before.clone();
        for patch in patches {
            let (script, from) = (Script::of(patch, Way::Back)?, to.apply(patch)?);
            legs.push(Leg {
                script,
                from: from.clone(),
                to,
            });
            to = from;
        }
        legs.reverse();
        compose(patches, legs, Way::Back)
    }
}

fn compose(patches: &[&Manifest], legs: Vec<Leg>, way: Way) -> Result<Plan, Error> {
    let (Some(first), Some(last), Some(patch)) = (legs.first(), legs.last(), patches.first())
    else {
        return Err(Error::manifest(
            "",
            "is missing: there is no patch to make a plan of",
        ));
    };
    let direction = way.direction(patch);
    let whole = Whole {
        legs: &legs,
        from: &first.from,
        to: &last.to,
    };
    if patches
        .iter()
        .any(|patch| way.direction(patch) != direction)
    {
        return Err(whole
            .refuse("some lead up and some down; go there and back in two upgrades".to_owned()));
    }
    let mut script = whole.rest()?;
    let mut modules = Vec::new();
    for name in whole.modules() {
        if let Some((module, plan)) = whole.module(&name)? {
            script.modules.push(module);
            modules.push(plan);
        }
    }
    let draft = Draft {
        script,
        modules,
        direction,
        from: whole.from,
        to: whole.to,
    };
    Ok(draft.expand())
}

struct Whole<'a> {
    legs: &'a [Leg],
    from: &'a Release,
    to: &'a Release,
}

impl Whole<'_> {
    fn refuse(&self, problem: String) -> Error {
        Error::NotOneUpgrade {
            name: self.from.name.clone(),
            from: self.from.vsn.clone(),
            to: self.to.vsn.clone(),
            problem,
        }
    }

    /// All modules that are touched, in the order in which they are written; those that come or go with an application last.
    fn modules(&self) -> Vec<ModuleName> {
        let mut seen = BTreeSet::new();
        let written = self.legs.iter().flat_map(|leg| &leg.script.modules);
        let written = written.map(|module| &module.name);
        let (from, to) = (&self.from.modules, &self.to.modules);
        let goes = from.keys().filter(|name| !to.contains_key(*name));
        let comes = to.keys().filter(|name| !from.contains_key(*name));
        written
            .chain(goes)
            .chain(comes)
            .filter(|name| seen.insert(*name))
            .cloned()
            .collect()
    }

    /// What becomes of a module in the end; nothing, when it was added and deleted on the way.
    fn module(&self, name: &ModuleName) -> Result<Option<(ModuleScript, ModulePlan)>, Error> {
        let old = self.from.modules.get(name);
        let new = self.to.modules.get(name);
        let scripts = || self.legs.iter().filter_map(|leg| leg.script.module(name));
        let last = scripts().next_back().cloned();
        let mut script = last.unwrap_or_else(|| ModuleScript::new(name.clone(), String::new()));
        for other in scripts() {
            for module in &other.depends {
                if !script.depends.contains(module) {
                    script.depends.push(module.clone());
                }
            }
            script.pre_purge = harder(script.pre_purge, other.pre_purge);
            script.post_purge = harder(script.post_purge, other.post_purge);
            // The time for all of them is that of the one that is given most.
            script.timeout_ms = script
                .timeout_ms
                .zip(other.timeout_ms)
                .map(|(a, b)| a.max(b));
        }
        let (policy, hops) = match (old, new) {
            (None, None) => return Ok(None),
            (Some(_), None) => (Policy::Update, Vec::new()),
            (None, Some(module)) => (Policy::Update, vec![added(module)]),
            (Some(_), Some(_)) => self.changes(name)?,
        };
        let plan = ModulePlan {
            name: name.clone(),
            from: old.map(|module| module.vsn.clone()),
            to: new.map(|module| module.vsn.clone()),
            policy,
            hops,
            pre_purge: script.pre_purge,
            post_purge: script.post_purge,
        };
        Ok(Some((script, plan)))
    }

    fn changes(&self, name: &ModuleName) -> Result<(Policy, Vec<Hop>), Error> {
        if let Some(leg) = self
            .legs
            .iter()
            .find(|leg| !leg.to.modules.contains_key(name))
        {
            let problem = format!(
                "release {} has no module {name}, whose actors would end there; go there first",
                leg.to.vsn
            );
            return Err(self.refuse(problem));
        }
        let hops: Vec<_> = self.legs.iter().filter_map(|leg| leg.hop(name)).collect();
        let policies: Vec<_> = self
            .legs
            .iter()
            .filter_map(|leg| leg.policy(name))
            .collect();
        let drains = |policy: &Policy| matches!(policy, Policy::Draining { .. });
        let policy = match policies.as_slice() {
            [one] => *one,
            many if many.iter().any(drains) => {
                let problem = format!(
                    "module {name} drains in one of them and changes in another; apply them one after the other"
                );
                return Err(self.refuse(problem));
            }
            many if many.iter().all(|policy| *policy == Policy::LoadModule) => Policy::LoadModule,
            _ => Policy::Update,
        };
        Ok((policy, hops))
    }

    /// Everything but the modules.
    fn rest(&self) -> Result<Script, Error> {
        let mut script = Script::default();
        let count = self.legs.len();
        for (index, leg) in self.legs.iter().enumerate() {
            let vsn = &leg.to.vsn;
            for apply in &leg.script.applies {
                let runs = match apply.when {
                    When::Before => index == 0,
                    When::After => index + 1 == count,
                };
                if !runs {
                    let problem = format!(
                        "the patch to {vsn} applies {} of module {} while a release runs that is passed over; apply it by itself",
                        apply.function, apply.module
                    );
                    return Err(self.refuse(problem));
                }
                script.applies.push(apply.clone());
            }
            for configure in &leg.script.configures {
                let there = self.to.has_application(&configure.0)
                    && self.to.modules.contains_key(&configure.1);
                if there && !script.configures.contains(configure) {
                    script.configures.push(configure.clone());
                }
            }
            if leg.script.steps.is_some() && count > 1 {
                let problem =
                    format!("the patch to {vsn} has its steps written by hand; apply it by itself");
                return Err(self.refuse(problem));
            }
            script.steps.clone_from(&leg.script.steps);
            for (name, operation) in &leg.script.applications {
                let known = script.applications.iter_mut().find(|(n, _)| n == name);
                match known {
                    None => script.applications.push((name.clone(), *operation)),
                    Some((_, before)) => *before = both(*before, *operation),
                }
            }
        }
        if count > 1 {
            self.settle(&mut script.applications);
        }
        Ok(script)
    }

    /// What becomes of each application in the end.
    fn settle(&self, applications: &mut Vec<(String, Operation)>) {
        for (name, operation) in applications.iter_mut() {
            let before = self.from.has_application(name);
            let after = self.to.has_application(name);
            *operation = match (before, after) {
                (false, true) => Operation::Add,
                (true, false) => Operation::Remove,
                _ => *operation,
            };
        }
        let there = |name: &str| self.from.has_application(name) || self.to.has_application(name);
        applications.retain(|(name, _)| there(name));
    }
}

/// An application that is stopped by one of two patches does not run through both.
fn both(first: Operation, second: Operation) -> Operation {
    let keeps = |operation| matches!(operation, Operation::Supervisors | Operation::Bring);
    if keeps(first) && keeps(second) {
        Operation::Supervisors
    } else {
        Operation::Restart
    }
}

/// A module that is added has no states to convert.
fn added(module: &ReleaseModule) -> Hop {
    Hop {
        vsn: module.vsn.clone(),
        blob: module.blob,
        update: Update::Soft,
        extra: Value::Null,
        config: module.config.clone(),
    }
}

fn harder(a: Purge, b: Purge) -> Purge {
    if a == Purge::Brutal { a } else { b }
}

impl Leg {
    fn policy(&self, name: &ModuleName) -> Option<Policy> {
        match &self.script.module(name)?.what {
            What::Change { policy, .. } => Some(*policy),
            What::Add | What::Delete => None,
        }
    }

    /// The hop that a module makes, if this patch changes it.
    fn hop(&self, name: &ModuleName) -> Option<Hop> {
        let module = self.to.modules.get(name)?;
        let What::Change { update, extra, .. } = &self.script.module(name)?.what else {
            return None;
        };
        Some(Hop {
            update: *update,
            extra: extra.clone(),
            ..added(module)
        })
    }
}
