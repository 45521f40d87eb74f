//! Whether steps that were written by hand keep to the rules of relup(5). OTP finds most of these when the release handler
//! runs them; here a manifest that breaks one is refused when it is built, and when it is read.

use std::collections::{BTreeMap, BTreeSet};

use super::{Direction, Instruction, PlanRule, Subject, When};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::names::ModuleName;
use crate::script::breach;

/// What happened to a module so far.
#[derive(Default)]
struct Seen {
    fetched: bool,
    suspended: bool,
    converted: bool,
    replaced: bool,
}

struct Walk<'a> {
    direction: Direction,
    place: String,
    over: bool,
    modules: BTreeMap<&'a ModuleName, Seen>,
    barriers: BTreeSet<&'a str>,
}

/// Checks the steps of one direction.
pub(crate) fn steps(
    steps: &[Instruction],
    patch: &Manifest,
    direction: Direction,
) -> Result<(), Error> {
    let at = format!("/relup/{direction}");
    let mut walk = Walk {
        direction,
        place: String::new(),
        over: false,
        modules: BTreeMap::new(),
        barriers: BTreeSet::new(),
    };
    for (index, step) in steps.iter().enumerate() {
        walk.place = format!("{at}/{index}");
        walk.side(step)?;
        walk.step(step)?;
    }
    walk.place = at;
    walk.end(patch)
}

impl<'a> Walk<'a> {
    fn refuse<T>(&self, rule: PlanRule, problem: String) -> Result<T, Error> {
        Err(breach(rule, &self.place, problem))
    }

    /// The side of the point of no return on which a step must stand.
    fn side(&mut self, step: &Instruction) -> Result<(), Error> {
        let before = match step {
            Instruction::SyncNodes { .. } | Instruction::RestartRuntime => return Ok(()),
            Instruction::PointOfNoReturn if self.over => {
                let problem = "is a second point_of_no_return; keep the first".to_owned();
                return self.refuse(PlanRule::SecondPointOfNoReturn, problem);
            }
            Instruction::PointOfNoReturn => {
                self.over = true;
                return Ok(());
            }
            Instruction::LoadObjectCode { .. } => true,
            Instruction::Apply { when, .. } => *when == When::Before,
            _ => false,
        };
        match (before, self.over) {
            (true, true) => self.refuse(
                PlanRule::PointOfNoReturn,
                format!("`{step}` may fail, and the node has changed already; put it before point_of_no_return"),
            ),
            (false, false) => self.refuse(
                PlanRule::PointOfNoReturn,
                format!(
                    "`{step}` changes the node before point_of_no_return, where only load_object_code, sync_nodes and an apply that is \
                     a check may stand; put it after"
                ),
            ),
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: &'a Instruction) -> Result<(), Error> {
        match step {
            Instruction::LoadObjectCode { modules } => {
                for name in modules {
                    self.modules.entry(name).or_default().fetched = true;
                }
            }
            Instruction::Suspend { modules, .. } => {
                for name in modules {
                    if std::mem::replace(&mut self.seen(name).suspended, true) {
                        let problem = format!(
                            "suspends module {name}, which is suspended already; suspend and resume it once"
                        );
                        return self.refuse(PlanRule::Paired, problem);
                    }
                }
            }
            Instruction::Resume { modules } => {
                for name in modules {
                    if !std::mem::take(&mut self.seen(name).suspended) {
                        let problem = format!(
                            "resumes module {name}, which is not suspended; suspend it before"
                        );
                        return self.refuse(PlanRule::Paired, problem);
                    }
                }
            }
            Instruction::CodeChange { direction, modules } => {
                for change in modules {
                    self.code_change(*direction, &change.name)?;
                }
            }
            Instruction::Load { module, .. } => self.replace(module, true)?,
            Instruction::Remove { module, .. } => self.replace(module, false)?,
            Instruction::Purge { modules } => {
                let kept = |name: &&ModuleName| !self.modules.get(name).is_some_and(|m| m.replaced);
                if let Some(name) = modules.iter().find(kept) {
                    let problem =
                        format!("purges module {name}, which was neither loaded nor removed");
                    return self.refuse(PlanRule::Module, problem);
                }
            }
            Instruction::SyncNodes { id } => {
                if id.is_empty() || id.len() > 64 || !self.barriers.insert(id) {
                    let problem = "names its barrier by an id that is empty, longer than 64 bytes, or used before".to_owned();
                    return self.refuse(PlanRule::Once, problem);
                }
            }
            Instruction::Configure {
                changed,
                new,
                removed,
                ..
            } => {
                if !(changed.is_empty() && new.is_empty() && removed.is_empty()) {
                    let problem = "says what changed; leave it out, each node compares the configurations itself".to_owned();
                    return self.refuse(PlanRule::Agree, problem);
                }
            }
            Instruction::PointOfNoReturn
            | Instruction::Stop { .. }
            | Instruction::Start { .. }
            | Instruction::UpdateSupervisors { .. }
            | Instruction::Apply { .. }
            | Instruction::RestartRuntime => {}
        }
        Ok(())
    }

    fn seen(&mut self, name: &'a ModuleName) -> &mut Seen {
        self.modules.entry(name).or_default()
    }

    fn code_change(&mut self, direction: Direction, name: &'a ModuleName) -> Result<(), Error> {
        if direction != self.direction {
            let problem = format!("is code_change {direction} in a list of the other direction");
            return self.refuse(PlanRule::Agree, problem);
        }
        let Seen {
            suspended,
            converted,
            replaced,
            ..
        } = *self.seen(name);
        if !suspended {
            let problem = format!(
                "changes the states of module {name}, which is not suspended; suspend it before"
            );
            return self.refuse(PlanRule::Suspended, problem);
        }
        if converted {
            let problem = format!("changes the states of module {name} twice");
            return self.refuse(PlanRule::Once, problem);
        }
        // The newer code converts: up, it must be loaded; down, the older must not be yet.
        match (direction, replaced) {
            (Direction::Up, false) => {
                let problem = format!(
                    "changes the states of module {name} by code that is not loaded; load it before"
                );
                self.refuse(PlanRule::Agree, problem)
            }
            (Direction::Down, true) => {
                let problem = format!(
                    "changes the states of module {name} after the older code was loaded; load it after"
                );
                self.refuse(PlanRule::Agree, problem)
            }
            _ => {
                self.seen(name).converted = true;
                Ok(())
            }
        }
    }

    fn replace(&mut self, name: &'a ModuleName, loads: bool) -> Result<(), Error> {
        if loads && !self.seen(name).fetched {
            let problem =
                format!("loads module {name}, which no load_object_code names; add it there");
            return self.refuse(PlanRule::Fetched, problem);
        }
        if std::mem::replace(&mut self.seen(name).replaced, true) {
            let problem =
                format!("loads or removes module {name} a second time; keep one of the two");
            return self.refuse(PlanRule::Once, problem);
        }
        Ok(())
    }

    fn end(&self, patch: &Manifest) -> Result<(), Error> {
        if !self.over {
            let problem =
                "has no point_of_no_return; write it after what is fetched and checked".to_owned();
            return self.refuse(PlanRule::NoPointOfNoReturn, problem);
        }
        let of = |wanted: fn(&Seen) -> bool| {
            let found = self.modules.iter().find(|(_, seen)| wanted(seen));
            found.map(|(name, _)| *name)
        };
        if let Some(name) = of(|seen| seen.suspended) {
            let problem = format!("suspends module {name} and does not resume it");
            return self.refuse(PlanRule::Paired, problem);
        }
        if let Some(name) = of(|seen| !seen.replaced) {
            let problem = format!("names module {name}, and neither loads nor removes it");
            return self.refuse(PlanRule::Module, problem);
        }
        let unknown = |name: &&&ModuleName| patch.module(name.as_str()).is_none();
        let fetched = self.modules.iter().filter(|(_, seen)| seen.fetched);
        // The way back fetches what the release before has, which this manifest does not say.
        match fetched.map(|(name, _)| name).find(unknown) {
            Some(name) if self.direction == patch.direction => {
                let problem = format!(
                    "fetches module {name}, which is not in `modules`; add it there with its file"
                );
                self.refuse(PlanRule::Module, problem)
            }
            _ => Ok(()),
        }
    }
}

/// The applications that steps name; whether they exist, only a release can say.
pub(crate) fn applications(steps: &[Instruction]) -> impl Iterator<Item = &str> {
    steps.iter().filter_map(|step| match step {
        Instruction::Stop { what } | Instruction::Start { what } => Some(match what {
            Subject::Application(name) => name.as_str(),
            Subject::Child { application, .. } => application,
        }),
        Instruction::UpdateSupervisors { application }
        | Instruction::Configure { application, .. } => Some(application),
        _ => None,
    })
}
