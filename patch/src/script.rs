//! What a patch intends, one way: its instructions in a form of their own, whether they were written as an appup, as a relup, or
//! not at all. It is checked against the rest of the manifest here, and put in order by the plan.

mod agree;
mod read;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::Error;
use crate::limits;
use crate::manifest::{Manifest, ModuleEntry, Update};
use crate::names::ModuleName;
use crate::plan::{Direction, Instruction, PlanRule, Policy, Purge, When, check, order};

/// Which way a patch is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From its `from` to its `to`.
    Forward,
    /// From its `to` to where it started.
    Back,
}

/// The instructions of one way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// In the order in which they are written.
    pub(crate) modules: Vec<ModuleScript>,
    /// In the order in which they are written.
    pub(crate) applications: Vec<(String, Operation)>,
    /// In the order in which they are written.
    pub(crate) applies: Vec<ApplyScript>,
    /// Applications whose configuration changes, with the module that is told.
    pub(crate) configures: Vec<(String, ModuleName)>,
    /// The steps, when they are written by hand.
    pub(crate) steps: Option<Vec<Instruction>>,
}

/// What becomes of a module.
#[derive(Clone, Debug)]
pub(crate) struct ModuleScript {
    pub(crate) name: ModuleName,
    pub(crate) what: What,
    pub(crate) depends: Vec<ModuleName>,
    pub(crate) pre_purge: Purge,
    pub(crate) post_purge: Purge,
    pub(crate) timeout_ms: Option<u64>,
    /// A JSON pointer to where it is written.
    place: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Change {
        policy: Policy,
        update: Update,
        extra: Value,
    },
    Add,
    Delete,
}

/// What becomes of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Add,
    Remove,
    Restart,
    Supervisors,
    /// Without instructions: added, or its supervisors updated, as what runs demands.
    Bring,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApplyScript {
    pub(crate) module: ModuleName,
    pub(crate) function: String,
    pub(crate) args: Value,
    pub(crate) when: When,
}

impl Way {
    /// The direction of this way of a patch.
    pub(crate) fn direction(self, patch: &Manifest) -> Direction {
        match (self, patch.direction) {
            (Self::Forward, direction) => direction,
            (Self::Back, Direction::Up) => Direction::Down,
            (Self::Back, Direction::Down) => Direction::Up,
        }
    }
}

impl Script {
    /// The instructions of a patch, one way.
    pub(crate) fn of(patch: &Manifest, way: Way) -> Result<Self, Error> {
        let written = match (&patch.relup, patch.instructions.is_empty()) {
            (Some(relup), _) => read::relup(patch, relup, way)?,
            (None, false) => read::appups(patch, way)?,
            (None, true) if way == Way::Forward => Some(Self::default_of(patch)),
            (None, true) => None,
        };
        match written {
            Some(script) => Ok(script),
            None => Ok(Self::of(patch, Way::Forward)?.reversed()),
        }
    }

    /// Every module is updated, as its entry says, and every application that the patch has is brought up to it.
    fn default_of(patch: &Manifest) -> Self {
        let module = |(index, entry): (usize, &ModuleEntry)| ModuleScript {
            what: What::of(entry),
            ..ModuleScript::new(entry.name.clone(), format!("/modules/{index}"))
        };
        let bring =
            |application: &crate::tree::Application| (application.name.clone(), Operation::Bring);
        Self {
            modules: patch.modules.iter().enumerate().map(module).collect(),
            applications: patch.applications.iter().map(bring).collect(),
            ..Self::default()
        }
    }

    /// The way back: what was added is deleted, and the other way round. An `apply` has no reverse.
    fn reversed(mut self) -> Self {
        for module in &mut self.modules {
            module.what = match module.what.clone() {
                What::Add => What::Delete,
                What::Delete => What::Add,
                change => change,
            };
        }
        for (_, operation) in &mut self.applications {
            *operation = operation.reversed();
        }
        self.applies.clear();
        self.steps = None;
        self
    }

    pub(crate) fn module(&self, name: &ModuleName) -> Option<&ModuleScript> {
        self.modules.iter().find(|module| module.name == *name)
    }

    /// What each module stands behind, by its number: the modules that it depends on.
    pub(crate) fn dependencies(&self) -> Vec<Vec<usize>> {
        let number = |name: &ModuleName| self.modules.iter().position(|m| m.name == *name);
        let of = |m: &ModuleScript| m.depends.iter().filter_map(number).collect();
        self.modules.iter().map(of).collect()
    }
}

impl ModuleScript {
    pub(crate) fn new(name: ModuleName, place: String) -> Self {
        Self {
            name,
            what: What::Add,
            depends: Vec::new(),
            pre_purge: Purge::default(),
            post_purge: Purge::default(),
            timeout_ms: None,
            place,
        }
    }
}

impl What {
    fn of(entry: &ModuleEntry) -> Self {
        if entry.from.is_none() {
            return Self::Add;
        }
        Self::Change {
            policy: Policy::Update,
            update: entry.update,
            extra: entry.extra.clone(),
        }
    }
}

impl Operation {
    pub(crate) fn reversed(self) -> Self {
        match self {
            Self::Add => Self::Remove,
            Self::Remove => Self::Add,
            same => same,
        }
    }
}

/// Checks the instructions of a manifest, both ways.
pub(crate) fn check(patch: &Manifest) -> Result<(), Error> {
    let has = !patch.instructions.is_empty() || patch.relup.is_some();
    if patch.is_release() {
        return match has || patch.direction == Direction::Down {
            true => Err(Error::manifest(
                "/instructions",
                "and `relup` and `direction` must be left out: a release starts from nothing",
            )),
            false => Ok(()),
        };
    }
    if patch.relup.is_some() && !patch.instructions.is_empty() {
        let problem =
            "stands beside `instructions`; write the whole plan by hand, or none of it".to_owned();
        return Err(breach(PlanRule::Agree, "/relup", problem));
    }
    let forward = Script::of(patch, Way::Forward)?;
    limits::check(
        "manifest",
        "the number of modules that the instructions name",
        forward.modules.len() as u64,
        limits::MODULES,
    )?;
    let back = Script::of(patch, Way::Back)?;
    for (script, way) in [(&forward, Way::Forward), (&back, Way::Back)] {
        if let Some(steps) = &script.steps {
            check::steps(steps, patch, way.direction(patch))?;
        }
    }
    agree::with_manifest(&forward, patch)?;
    cycles(&forward)?;
    agree::both_ways(&forward, &back, patch)?;
    cycles(&back)?;
    Ok(())
}

/// Modules that are updated may need one another; what is added or deleted may not need itself.
fn cycles(script: &Script) -> Result<(), Error> {
    let comes_or_goes = |n: usize| matches!(script.modules[n].what, What::Add | What::Delete);
    let Some(members) = order::cycle(&script.dependencies(), comes_or_goes) else {
        return Ok(());
    };
    let names: Vec<_> = members
        .iter()
        .map(|n| script.modules[*n].name.as_str())
        .collect();
    let problem = format!(
        "modules {} depend on one another, and one of them is added or deleted; leave out one `depends`",
        names.join(", ")
    );
    Err(breach(
        PlanRule::Cycle,
        &script.modules[members[0]].place,
        problem,
    ))
}

pub(crate) fn breach(rule: PlanRule, place: &str, problem: impl Into<String>) -> Error {
    Error::Instructions {
        rule,
        place: format!("manifest {place}"),
        problem: problem.into(),
    }
}

/// The first name that comes twice.
fn twice<'a, T: Ord>(names: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}
