//! The plan of a patch when nobody says which release runs: the one that it is for, as far as the patch itself says what that is.

use super::Plan;
use crate::manifest::Manifest;
use crate::release::{Release, ReleaseModule};
use crate::script::{Operation, Script, Way, What};

impl Plan {
    /// The plan of a patch that starts from one vsn, and whose instructions leave nothing open. `None`: what is done depends
    /// on the release that runs, as with patterns of vsns, modules that are deleted, and applications that the patch does not
    /// bring.
    pub fn assume(patch: &Manifest) -> Option<Self> {
        let script = Script::of(patch, Way::Forward).ok()?;
        let open =
            |operation: &Operation| !matches!(operation, Operation::Add | Operation::Supervisors);
        if !script.configures.is_empty()
            || script
                .applications
                .iter()
                .any(|(_, operation)| open(operation))
            || script
                .modules
                .iter()
                .any(|module| module.what == What::Delete)
        {
            return None;
        }
        let mut running = Release {
            name: patch.name.clone(),
            vsn: patch.from.as_ref()?.exact()?,
            modules: Default::default(),
            start: Vec::new(),
            applications: Vec::new(),
            connect: Vec::new(),
            listen: Vec::new(),
        };
        for entry in patch.modules.iter().filter(|entry| entry.from.is_some()) {
            let module = ReleaseModule {
                vsn: entry.from.as_ref()?.exact()?,
                ..ReleaseModule::from(entry)
            };
            running.modules.insert(entry.name.clone(), module);
        }
        let runs = |name: &str| {
            let runs = (name.to_owned(), Operation::Supervisors);
            script.applications.contains(&runs)
        };
        for application in patch.applications.iter().filter(|a| runs(&a.name)) {
            running.applications.push(application.clone());
        }
        Self::new(patch, &running).ok()
    }
}
