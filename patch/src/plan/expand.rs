//! From what a patch intends to the plan: which modules, in which order, by which instructions, as OTP's systools_rc does it.
//! Going up, dependencies are loaded first and states are converted after loading; going down, dependencies are loaded last
//! and states are converted before, since the newer code converts them. Suspended are dependants first, resumed in reverse.

use serde_json::{Map, Value};

use super::order;
use super::{Change, Direction, Hop, Instruction, ModulePlan, Plan, Policy, Subject, When};
use crate::manifest::Update;
use crate::names::ModuleName;
use crate::release::Release;
use crate::script::{ApplyScript, Operation, Script};

/// What is to be done, before it is in order.
pub(super) struct Draft<'a> {
    pub(super) script: Script,
    /// Of each module of the script, in its order.
    pub(super) modules: Vec<ModulePlan>,
    pub(super) direction: Direction,
    pub(super) from: &'a Release,
    pub(super) to: &'a Release,
}

impl Draft<'_> {
    /// Puts everything in order.
    pub(super) fn expand(self) -> Plan {
        let steps = match &self.script.steps {
            Some(steps) => self.by_hand(steps),
            None => self.in_order(),
        };
        let mut modules = self.modules;
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        Plan {
            name: self.from.name.clone(),
            from: self.from.vsn.clone(),
            to: self.to.vsn.clone(),
            direction: self.direction,
            modules,
            steps,
        }
    }

    fn in_order(&self) -> Vec<Instruction> {
        let dependencies = self.script.dependencies();
        let dependencies_first = self.sorted(&dependencies);
        let dependants_first = self.sorted(&order::reversed(&dependencies));
        let (loading, removing) = match self.direction {
            Direction::Up => (&dependencies_first, &dependants_first),
            Direction::Down => (&dependants_first, &dependants_first),
        };
        let mut steps = Vec::new();
        steps.extend(self.load_object_code(loading));
        steps.extend(self.applies(When::Before));
        steps.push(Instruction::PointOfNoReturn);
        let suspended: Vec<usize> = dependants_first
            .iter()
            .copied()
            .filter(|n| self.is_suspended(*n))
            .collect();
        steps.extend(self.suspend(&suspended));
        let code_change = self.code_change(loading);
        if self.direction == Direction::Down {
            steps.extend(code_change.clone());
        }
        steps.extend(self.load(loading));
        let removed: Vec<_> = removing.iter().map(|n| &self.modules[*n]).collect();
        let removed: Vec<_> = removed.into_iter().filter(|m| m.to.is_none()).collect();
        steps.extend(removed.iter().map(|module| Instruction::Remove {
            module: module.name.clone(),
            pre_purge: module.pre_purge,
            post_purge: module.post_purge,
        }));
        if self.direction == Direction::Up {
            steps.extend(code_change);
        }
        if !suspended.is_empty() {
            let modules = suspended.iter().rev().map(|n| self.name(*n)).collect();
            steps.push(Instruction::Resume { modules });
        }
        // Trees change behind the switch, where a failure still leads back to what ran, with nothing of it lost but these.
        steps.extend(self.stops());
        steps.extend(self.supervisors());
        steps.extend(self.starts());
        for (application, module) in &self.script.configures {
            steps.push(self.configure(application, module));
        }
        steps.extend(self.applies(When::After));
        if !removed.is_empty() {
            let modules = removed.iter().map(|module| module.name.clone()).collect();
            steps.push(Instruction::Purge { modules });
        }
        steps
    }

    fn sorted(&self, before: &[Vec<usize>]) -> Vec<usize> {
        order::sorted(before)
    }

    fn name(&self, n: usize) -> ModuleName {
        self.modules[n].name.clone()
    }

    /// Whether the actors of a module stop for the switch.
    fn is_suspended(&self, n: usize) -> bool {
        let module = &self.modules[n];
        module.from.is_some() && module.to.is_some() && module.policy == Policy::Update
    }

    fn load_object_code(&self, modules: &[usize]) -> Option<Instruction> {
        let comes = modules.iter().filter(|n| self.modules[**n].to.is_some());
        let modules: Vec<_> = comes.map(|n| self.name(*n)).collect();
        (!modules.is_empty()).then_some(Instruction::LoadObjectCode { modules })
    }

    fn suspend(&self, modules: &[usize]) -> Vec<Instruction> {
        let timeout = |n: &usize| self.script.modules[*n].timeout_ms;
        let same = modules.chunk_by(|a, b| timeout(a) == timeout(b));
        same.map(|modules| Instruction::Suspend {
            modules: modules.iter().map(|n| self.name(*n)).collect(),
            timeout_ms: timeout(&modules[0]),
        })
        .collect()
    }

    fn code_change(&self, modules: &[usize]) -> Option<Instruction> {
        let changes = |n: &usize| {
            let module = &self.modules[*n];
            let advanced = module
                .hops
                .iter()
                .filter(|hop| hop.update == Update::Advanced);
            let change = |hop: &Hop| Change {
                name: module.name.clone(),
                extra: hop.extra.clone(),
            };
            advanced.map(change).collect::<Vec<_>>()
        };
        let suspended = modules.iter().filter(|n| self.is_suspended(**n));
        let modules: Vec<_> = suspended.flat_map(changes).collect();
        (!modules.is_empty()).then_some(Instruction::CodeChange {
            direction: self.direction,
            modules,
        })
    }

    fn load(&self, modules: &[usize]) -> Vec<Instruction> {
        let modules = modules.iter().map(|n| &self.modules[*n]);
        let comes = modules.filter(|module| module.to.is_some());
        comes
            .map(|module| Instruction::Load {
                module: module.name.clone(),
                pre_purge: module.pre_purge,
                post_purge: module.post_purge,
            })
            .collect()
    }

    fn applies(&self, when: When) -> Vec<Instruction> {
        let applies = self
            .script
            .applies
            .iter()
            .filter(|apply| apply.when == when);
        applies
            .map(
                |ApplyScript {
                     module,
                     function,
                     args,
                     when,
                 }| Instruction::Apply {
                    module: module.clone(),
                    function: function.clone(),
                    args: args.clone(),
                    when: *when,
                },
            )
            .collect()
    }

    /// Whether an application is affected by an operation, `Bring` being what the releases make of it.
    fn does(&self, application: &str, wanted: &[Operation]) -> bool {
        let named = self
            .script
            .applications
            .iter()
            .find(|(name, _)| name == application);
        let (before, after) = (
            self.from.has_application(application),
            self.to.has_application(application),
        );
        let operation = match (named, before, after) {
            (Some((_, Operation::Bring)), false, _) => Operation::Add,
            (Some((_, Operation::Bring)), _, false) => Operation::Remove,
            (Some((_, Operation::Bring)), true, true) => Operation::Supervisors,
            (Some((_, operation)), ..) => *operation,
            (None, ..) => return false,
        };
        wanted.contains(&operation)
    }

    fn stops(&self) -> Vec<Instruction> {
        let order = self.from.start_order().into_iter().rev();
        let stopped =
            order.filter(|a| self.does(&a.name, &[Operation::Remove, Operation::Restart]));
        stopped
            .map(|application| Instruction::Stop {
                what: Subject::Application(application.name),
            })
            .collect()
    }

    fn starts(&self) -> Vec<Instruction> {
        let order = self.to.start_order().into_iter();
        let started = order.filter(|a| self.does(&a.name, &[Operation::Add, Operation::Restart]));
        started
            .map(|application| Instruction::Start {
                what: Subject::Application(application.name),
            })
            .collect()
    }

    fn supervisors(&self) -> Vec<Instruction> {
        let order = self.to.start_order().into_iter();
        let updated = order.filter(|a| self.does(&a.name, &[Operation::Supervisors]));
        updated
            .map(|application| Instruction::UpdateSupervisors {
                application: application.name,
            })
            .collect()
    }

    /// What became of the keys of an application's configuration.
    fn configure(&self, application: &str, module: &ModuleName) -> Instruction {
        let (old, new) = (config(self.from, application), config(self.to, application));
        let mut changed = new.clone();
        changed.retain(|key, value| old.get(key).is_some_and(|old| old != value));
        let removed = old.keys().filter(|key| !new.contains_key(*key)).cloned();
        let removed = removed.collect();
        let mut added = new;
        added.retain(|key, _| !old.contains_key(key));
        Instruction::Configure {
            application: application.to_owned(),
            module: module.clone(),
            changed,
            new: added,
            removed,
        }
    }

    fn by_hand(&self, steps: &[Instruction]) -> Vec<Instruction> {
        let step = |step: &Instruction| match step {
            Instruction::Configure {
                application,
                module,
                ..
            } => self.configure(application, module),
            other => other.clone(),
        };
        steps.iter().map(step).collect()
    }
}

/// The configuration of an application, by key; one that is no map has no keys.
fn config(release: &Release, application: &str) -> Map<String, Value> {
    let found = release.applications.iter().find(|a| a.name == application);
    match found.map(|application| &application.config) {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    }
}
