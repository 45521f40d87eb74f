//! From what is written to a script: appups instruction by instruction, a relup by what its steps do to each module.

use serde_json::Value;

use super::{ApplyScript, ModuleScript, Operation, Script, Way, What, breach};
use crate::error::Error;
use crate::instructions::{AppupInstruction, MAX_INSTRUCTIONS, Relup, UpdateModule};
use crate::limits;
use crate::manifest::{Manifest, Update};
use crate::names::ModuleName;
use crate::plan::{Direction, Instruction, PlanRule, Policy, Purge, Subject};
use crate::tree::Application;

/// All appups as one script; none when no list of this way is written.
pub(super) fn appups(patch: &Manifest, way: Way) -> Result<Option<Script>, Error> {
    let direction = way.direction(patch);
    let mut script = Script::default();
    let (mut written, mut left_out) = (None, None);
    for (index, appup) in patch.instructions.iter().enumerate() {
        let list = match direction {
            Direction::Up => &appup.up,
            Direction::Down => &appup.down,
        };
        let at = format!("/instructions/{index}");
        let Some(list) = list else {
            left_out = Some(at);
            continue;
        };
        let at = format!("{at}/{direction}");
        count(list.len())?;
        for (index, instruction) in list.iter().enumerate() {
            let place = format!("{at}/{index}");
            script.read(instruction, &appup.application, place, patch)?;
        }
        written = Some(at);
    }
    match (written, left_out) {
        (Some(_), None) => {
            if way == Way::Forward {
                script.add_application_modules(patch);
            }
            Ok(Some(script))
        }
        (None, Some(_)) if way == Way::Back => Ok(None),
        (_, Some(at)) => {
            let problem = match way {
                Way::Forward => {
                    format!(
                        "has no `{direction}`, the way that this patch leads; write it, empty if need be"
                    )
                }
                Way::Back => {
                    format!(
                        "has no `{direction}`, and another application has; write it for all or none"
                    )
                }
            };
            Err(breach(PlanRule::Agree, &at, problem))
        }
        (None, None) => Ok(None),
    }
}

impl Script {
    /// The modules of an application that is added come with it.
    fn add_application_modules(&mut self, patch: &Manifest) {
        let added: Vec<_> = self.added_applications().cloned().collect();
        for (index, entry) in patch.modules.iter().enumerate() {
            let owner = |a: &&Application| a.modules.contains(&entry.name);
            let owner = patch.applications.iter().find(owner);
            if entry.from.is_none()
                && owner.is_some_and(|owner| added.contains(&owner.name))
                && self.module(&entry.name).is_none()
            {
                let place = format!("/modules/{index}");
                self.modules
                    .push(ModuleScript::new(entry.name.clone(), place));
            }
        }
    }

    fn added_applications(&self) -> impl Iterator<Item = &String> {
        let added = |(_, operation): &&(String, Operation)| *operation == Operation::Add;
        self.applications.iter().filter(added).map(|(name, _)| name)
    }

    fn read(
        &mut self,
        instruction: &AppupInstruction,
        application: &str,
        place: String,
        patch: &Manifest,
    ) -> Result<(), Error> {
        let module = |name: &ModuleName| ModuleScript::new(name.clone(), place.clone());
        let mut operation = |operation| {
            self.applications.push((application.to_owned(), operation));
        };
        match instruction {
            AppupInstruction::Update(update) => {
                let module = ModuleScript {
                    what: change(update, patch),
                    depends: update.depends.clone(),
                    pre_purge: update.pre_purge,
                    // The deadline says when those that drain go; the end of the upgrade does not.
                    post_purge: match update.draining {
                        Some(_) => Purge::Soft,
                        None => update.post_purge,
                    },
                    timeout_ms: update.timeout_ms,
                    ..module(&update.module)
                };
                if update
                    .draining
                    .is_some_and(|draining| draining.deadline_ms == 0)
                {
                    let problem = "drains for 0 ms; give a deadline of at least 1 ms, or leave `draining` out";
                    return Err(breach(PlanRule::Agree, &place, problem));
                }
                self.modules.push(module);
            }
            AppupInstruction::LoadModule(load) => self.modules.push(ModuleScript {
                what: What::Change {
                    policy: Policy::LoadModule,
                    update: Update::Soft,
                    extra: Value::Null,
                },
                depends: load.depends.clone(),
                pre_purge: load.pre_purge,
                post_purge: load.post_purge,
                ..module(&load.module)
            }),
            AppupInstruction::AddModule(add) => self.modules.push(ModuleScript {
                depends: add.depends.clone(),
                ..module(&add.module)
            }),
            AppupInstruction::DeleteModule(delete) => self.modules.push(ModuleScript {
                what: What::Delete,
                depends: delete.depends.clone(),
                post_purge: delete.post_purge,
                ..module(&delete.module)
            }),
            AppupInstruction::AddApplication => operation(Operation::Add),
            AppupInstruction::RemoveApplication => operation(Operation::Remove),
            AppupInstruction::RestartApplication => operation(Operation::Restart),
            AppupInstruction::UpdateSupervisor => operation(Operation::Supervisors),
            AppupInstruction::Apply(apply) => self.applies.push(ApplyScript {
                module: apply.module.clone(),
                function: function(&apply.function, &place)?,
                args: apply.args.clone(),
                when: apply.when,
            }),
            AppupInstruction::Configure(configure) => self
                .configures
                .push((application.to_owned(), configure.module.clone())),
            AppupInstruction::RestartRuntime => return Err(restart_runtime(&place)),
        }
        Ok(())
    }
}

fn change(update: &UpdateModule, patch: &Manifest) -> What {
    let entry = patch.module(update.module.as_str());
    let extra = match (&update.extra, entry) {
        (Value::Null, Some(entry)) => &entry.extra,
        (extra, _) => extra,
    };
    What::Change {
        policy: match update.draining {
            None => Policy::Update,
            Some(draining) => Policy::Draining {
                deadline_ms: draining.deadline_ms,
                then: draining.then,
            },
        },
        update: update
            .change
            .or(entry.map(|entry| entry.update))
            .unwrap_or(Update::Soft),
        extra: extra.clone(),
    }
}

/// A script with the steps of a relup, and what they do to each module and application; none when this way is not written.
pub(super) fn relup(patch: &Manifest, relup: &Relup, way: Way) -> Result<Option<Script>, Error> {
    let direction = way.direction(patch);
    let steps = match direction {
        Direction::Up => &relup.up,
        Direction::Down => &relup.down,
    };
    let at = format!("/relup/{direction}");
    let Some(steps) = steps else {
        let problem = "is missing: it is the way that this patch leads".to_owned();
        return match way {
            Way::Forward => Err(breach(PlanRule::Agree, &at, problem)),
            Way::Back => Ok(None),
        };
    };
    count(steps.len())?;
    let mut script = Script::default();
    for (index, step) in steps.iter().enumerate() {
        script.read_step(step, patch, way, format!("{at}/{index}"))?;
    }
    script.steps = Some(steps.clone());
    Ok(Some(script))
}

impl Script {
    fn read_step(
        &mut self,
        step: &Instruction,
        patch: &Manifest,
        way: Way,
        place: String,
    ) -> Result<(), Error> {
        match step {
            Instruction::Load {
                module,
                pre_purge,
                post_purge,
            } => {
                // On the way back, what has no entry comes back, and everything else is changed.
                let entry = patch.module(module.as_str());
                let changes = match way {
                    Way::Forward => entry.is_some_and(|entry| entry.from.is_some()),
                    Way::Back => entry.is_some(),
                };
                let what = if changes {
                    What::Change {
                        policy: Policy::LoadModule,
                        update: Update::Soft,
                        extra: Value::Null,
                    }
                } else {
                    What::Add
                };
                self.put(module, place, |script| {
                    let what = match &script.what {
                        What::Change {
                            update,
                            extra,
                            policy,
                        } if changes => What::Change {
                            policy: *policy,
                            update: *update,
                            extra: extra.clone(),
                        },
                        _ => what,
                    };
                    script.what = what;
                    (script.pre_purge, script.post_purge) = (*pre_purge, *post_purge);
                });
            }
            Instruction::Remove {
                module,
                pre_purge,
                post_purge,
            } => self.put(module, place, |script| {
                script.what = What::Delete;
                (script.pre_purge, script.post_purge) = (*pre_purge, *post_purge);
            }),
            Instruction::Suspend {
                modules,
                timeout_ms,
            } => {
                for module in modules {
                    self.put(module, place.clone(), |script| {
                        script.what = What::Change {
                            policy: Policy::Update,
                            update: Update::Soft,
                            extra: Value::Null,
                        };
                        script.timeout_ms = *timeout_ms;
                    });
                }
            }
            Instruction::CodeChange { modules, .. } => {
                for change in modules {
                    self.put(&change.name, place.clone(), |script| {
                        script.what = What::Change {
                            policy: Policy::Update,
                            update: Update::Advanced,
                            extra: change.extra.clone(),
                        };
                    });
                }
            }
            Instruction::Stop {
                what: Subject::Application(name),
            } => self.applications.push((name.clone(), Operation::Remove)),
            Instruction::Start {
                what: Subject::Application(name),
            } => match self.applications.iter_mut().find(|(n, _)| n == name) {
                Some((_, operation)) => *operation = Operation::Restart,
                None => self.applications.push((name.clone(), Operation::Add)),
            },
            Instruction::UpdateSupervisors { application } => self
                .applications
                .push((application.clone(), Operation::Supervisors)),
            Instruction::Configure {
                application,
                module,
                ..
            } => self.configures.push((application.clone(), module.clone())),
            Instruction::Apply {
                module,
                function: name,
                args,
                when,
            } => self.applies.push(ApplyScript {
                module: module.clone(),
                function: function(name, &place)?,
                args: args.clone(),
                when: *when,
            }),
            Instruction::RestartRuntime => return Err(restart_runtime(&place)),
            Instruction::LoadObjectCode { .. }
            | Instruction::PointOfNoReturn
            | Instruction::Purge { .. }
            | Instruction::Resume { .. }
            | Instruction::SyncNodes { .. }
            | Instruction::Stop { .. }
            | Instruction::Start { .. } => {}
        }
        Ok(())
    }

    /// Changes the script of a module, which there is from then on.
    fn put(&mut self, name: &ModuleName, place: String, change: impl FnOnce(&mut ModuleScript)) {
        let index = self.modules.iter().position(|module| module.name == *name);
        let index = index.unwrap_or_else(|| {
            self.modules.push(ModuleScript::new(name.clone(), place));
            self.modules.len() - 1
        });
        change(&mut self.modules[index]);
    }
}

fn function(name: &str, place: &str) -> Result<String, Error> {
    if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
        let problem =
            "calls a function whose name is not 1 to 128 bytes without control characters";
        return Err(breach(PlanRule::Agree, place, problem));
    }
    Ok(name.to_owned())
}

fn restart_runtime(place: &str) -> Error {
    let problem = "restart_runtime is not possible in a patch: the agent's own program is replaced by its operator";
    breach(PlanRule::RestartRuntime, place, problem)
}

fn count(instructions: usize) -> Result<(), Error> {
    limits::check(
        "manifest",
        "the number of instructions of one list",
        instructions as u64,
        MAX_INSTRUCTIONS,
    )
}
