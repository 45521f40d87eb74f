//! Whether a script fits the manifest that it stands in: everything that is named is there, everything that is there is named,
//! each once, and instructions do not say something else than the entries of their modules.

use super::{Operation, Script, What, breach, twice};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::plan::{PlanRule, When};

/// Checks the way that a patch leads.
pub(super) fn with_manifest(script: &Script, patch: &Manifest) -> Result<(), Error> {
    names(script)?;
    modules(script, patch)?;
    applications(script, patch)?;
    for apply in &script.applies {
        let module = script.module(&apply.module);
        if apply.when == When::After && module.is_some_and(|m| m.what == What::Delete) {
            let problem = format!(
                "applies {} of {}, which this patch deletes",
                apply.function, apply.module
            );
            return Err(breach(PlanRule::Module, instructions(patch), problem));
        }
    }
    Ok(())
}

/// Checks that the way back undoes the way that a patch leads: no more and no less.
pub(super) fn both_ways(forward: &Script, back: &Script, patch: &Manifest) -> Result<(), Error> {
    names(back)?;
    for module in &forward.modules {
        let undone = match (back.module(&module.name).map(|m| &m.what), &module.what) {
            (Some(What::Delete), What::Add) | (Some(What::Add), What::Delete) => true,
            (Some(What::Change { .. }), What::Change { .. }) => true,
            (Some(_) | None, _) => false,
        };
        if !undone {
            let (name, does) = (&module.name, module.what.verb());
            let problem = format!("{does} module {name}, and the way back does not undo it");
            return Err(breach(PlanRule::Agree, &module.place, problem));
        }
    }
    let more = |module: &&super::ModuleScript| forward.module(&module.name).is_none();
    if let Some(module) = back.modules.iter().find(more) {
        let (name, does) = (&module.name, module.what.verb());
        let problem = format!("{does} module {name}, which the other way does not touch");
        return Err(breach(PlanRule::Agree, &module.place, problem));
    }
    for (one, other) in [(forward, back), (back, forward)] {
        for (name, operation) in &one.applications {
            let wanted = (name.clone(), operation.reversed());
            let matters = matches!(operation, Operation::Add | Operation::Remove);
            if matters && !other.applications.contains(&wanted) {
                let problem = format!(
                    "{} application {name} one way, and do not undo it the other",
                    operation.verb()
                );
                return Err(breach(PlanRule::Agree, instructions(patch), problem));
            }
        }
    }
    Ok(())
}

fn names(script: &Script) -> Result<(), Error> {
    for (index, module) in script.modules.iter().enumerate() {
        let name = &module.name;
        if script.modules[..index].iter().any(|m| m.name == *name) {
            let problem = format!("module {name} has an instruction already; keep one of them");
            return Err(breach(PlanRule::Once, &module.place, problem));
        }
        let unknown = |name: &&crate::ModuleName| script.module(name).is_none();
        if let Some(missing) = module.depends.iter().find(unknown) {
            let problem = format!(
                "module {name} depends on {missing}, which has no instruction in this patch; correct the name, or leave it out"
            );
            return Err(breach(PlanRule::Module, &module.place, problem));
        }
    }
    Ok(())
}

fn modules(script: &Script, patch: &Manifest) -> Result<(), Error> {
    for module in &script.modules {
        let (name, place) = (&module.name, &module.place);
        let entry = patch.module(name.as_str());
        let refuse = |rule, problem: String| Err(breach(rule, place, problem));
        match (&module.what, entry) {
            (What::Delete, None) => {}
            (What::Delete, Some(_)) => {
                let problem = format!(
                    "module {name} is deleted, and `modules` brings it; keep one of the two"
                );
                return refuse(PlanRule::Once, problem);
            }
            (_, None) => {
                let problem =
                    format!("module {name} is not in `modules`; add it there with its file");
                return refuse(PlanRule::Module, problem);
            }
            (What::Add, Some(entry)) if entry.from.is_some() => {
                let problem = format!(
                    "module {name} is added, and its entry has `from`; update it, or leave `from` out"
                );
                return refuse(PlanRule::Agree, problem);
            }
            (What::Add, Some(_)) => {}
            (What::Change { update, extra, .. }, Some(entry)) => {
                if entry.from.is_none() {
                    let problem = format!(
                        "module {name} is changed, and its entry is of a module that is added"
                    );
                    return refuse(PlanRule::Agree, problem);
                }
                if *update != entry.update || *extra != entry.extra {
                    let problem = format!(
                        "module {name}: `update` or `extra` of its entry says something else; write each in one place"
                    );
                    return refuse(PlanRule::Agree, problem);
                }
            }
        }
    }
    for (index, entry) in patch.modules.iter().enumerate() {
        if script.module(&entry.name).is_none() {
            let problem = format!(
                "module {} has no instruction; add `update`, `load_module` or `add_module` for it",
                entry.name
            );
            return Err(breach(
                PlanRule::Module,
                &format!("/modules/{index}/name"),
                problem,
            ));
        }
    }
    Ok(())
}

fn applications(script: &Script, patch: &Manifest) -> Result<(), Error> {
    let refuse = |rule, problem| Err(breach(rule, instructions(patch), problem));
    if let Some(name) = twice(script.applications.iter().map(|(name, _)| name)) {
        let problem = format!("name application {name} in two instructions; keep one of them");
        return refuse(PlanRule::Once, problem);
    }
    let brought = |name: &str| patch.applications.iter().any(|a| a.name == name);
    for (name, operation) in &script.applications {
        let problem = match (operation, brought(name)) {
            (Operation::Add | Operation::Supervisors, false) => {
                format!(
                    "{} application {name}, which is not in `applications`; add it there with its tree",
                    operation.verb()
                )
            }
            (Operation::Remove, true) => {
                format!(
                    "remove application {name}, and `applications` brings it; keep one of the two"
                )
            }
            _ => continue,
        };
        return refuse(PlanRule::Application, problem);
    }
    if let Some((name, _)) = script.configures.iter().find(|(name, _)| !brought(name)) {
        let problem = format!(
            "tell of the configuration of application {name}, which is not in `applications`; add it there with its `config`"
        );
        return refuse(PlanRule::Application, problem);
    }
    for (index, application) in patch.applications.iter().enumerate() {
        let name = &application.name;
        let named = script.applications.iter().any(|(n, _)| n == name);
        if !named && !script.configures.iter().any(|(n, _)| n == name) {
            let problem = format!(
                "application {name} has no instruction; add `add_application`, `update_supervisor`, `restart_application` or `configure`"
            );
            let place = format!("/applications/{index}/name");
            return Err(breach(PlanRule::Application, &place, problem));
        }
    }
    Ok(())
}

/// Where the instructions of a manifest are.
fn instructions(patch: &Manifest) -> &'static str {
    match patch.relup {
        Some(_) => "/relup",
        None => "/instructions",
    }
}

impl What {
    fn verb(&self) -> &'static str {
        match self {
            Self::Change { .. } => "changes",
            Self::Add => "adds",
            Self::Delete => "deletes",
        }
    }
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Restart => "restart",
            Self::Supervisors | Self::Bring => "update the supervisors of",
        }
    }
}
