//! The effective release: what runs once a release was booted and patches were applied to it, in order. It answers whether
//! a patch fits, and what results; it changes nothing on a node and knows nothing of signatures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Manifest, Start};
use crate::names::{ModuleName, Vsn};
use crate::plan::When;
use crate::script::{Operation, Script, Way, What};
use crate::targets::ConnectTarget;
use crate::tree::Application;

/// The modules, actors and ports of an application at one vsn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The application.
    pub name: String,
    /// The vsn of the whole: a release bundle's `to`, or that of the last patch.
    pub vsn: Vsn,
    /// The modules.
    pub modules: BTreeMap<ModuleName, ReleaseModule>,
    /// The actors that a boot starts, in this order.
    pub start: Vec<Start>,
    /// The applications that a boot starts, besides the one that `start` stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<Application>,
    /// The TCP ports that actors may listen on.
    pub listen: Vec<u16>,
    /// Where actors may connect to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<ConnectTarget>,
}

/// One module of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseModule {
    /// Its vsn.
    pub vsn: Vsn,
    /// The component.
    pub blob: Digest,
    /// The component's size in bytes.
    pub size: u64,
    /// What `on_load` gets.
    pub config: Value,
}

impl Release {
    /// The release that a release bundle is.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a patch, and the errors of [`Manifest::check`].
    pub fn from_manifest(manifest: &Manifest) -> Result<Self, Error> {
        manifest.check()?;
        if !manifest.is_release() {
            return Err(wrong_kind(manifest, "release"));
        }
        let module = |entry: &crate::ModuleEntry| (entry.name.clone(), ReleaseModule::from(entry));
        Ok(Self {
            name: manifest.name.clone(),
            vsn: manifest.to.clone(),
            modules: manifest.modules.iter().map(module).collect(),
            start: manifest.start.clone(),
            applications: manifest.applications.clone(),
            listen: manifest.listen.clone().unwrap_or_default(),
            connect: manifest.connect.clone().unwrap_or_default(),
        })
    }

    /// The release after `patch`. A module that the patch does not name stays as it is, and so does an application with its
    /// actors to start.
    ///
    /// # Errors
    /// [`Error::WrongKind`] for a release, [`Error::OtherApplication`], [`Error::OtherRelease`], [`Error::NoSuchModule`],
    /// [`Error::OtherModuleVsn`], [`Error::ModuleExists`] and [`Error::OtherApplications`] when the patch does not fit, [`Error::Tree`] when its applications do not fit the others,
    /// and the errors of [`Manifest::check`].
    pub fn apply(&self, patch: &Manifest) -> Result<Self, Error> {
        patch.check()?;
        let Some(from) = &patch.from else {
            return Err(wrong_kind(patch, "patch"));
        };
        if patch.name != self.name {
            return Err(Error::OtherApplication {
                want: patch.name.clone(),
                have: self.name.clone(),
            });
        }
        if !from.matches(&self.vsn) {
            let (want, have) = (from.clone(), self.vsn.clone());
            return Err(Error::OtherRelease {
                name: self.name.clone(),
                want,
                have,
            });
        }
        let mut after = self.clone();
        let script = Script::of(patch, Way::Forward)?;
        after.change_modules(&script, patch)?;
        after.change_applications(&script, patch)?;
        for application in &patch.applications {
            after.put_application(application);
        }
        after.check_applications()?;
        self.check_named(&after, &script)?;
        after.vsn = patch.to.clone();
        if let Some(listen) = &patch.listen {
            after.listen = listen.clone();
        }
        if let Some(connect) = &patch.connect {
            after.connect = connect.clone();
        }
        Ok(after)
    }

    fn change_modules(&mut self, script: &Script, patch: &Manifest) -> Result<(), Error> {
        for change in &script.modules {
            let (name, module) = (self.name.clone(), change.name.clone());
            let running = self.modules.get(&change.name).map(|m| m.vsn.clone());
            match (&change.what, running) {
                (What::Add, Some(have)) => {
                    return Err(Error::ModuleExists { name, module, have });
                }
                (What::Delete | What::Change { .. }, None) => return Err(self.no_module(&module)),
                (What::Change { .. }, Some(have)) => {
                    let from = patch.module(module.as_str()).and_then(|m| m.from.clone());
                    if let Some(want) = from.or_else(|| patch.from.clone())
                        && !want.matches(&have)
                    {
                        return Err(Error::OtherModuleVsn {
                            name,
                            module,
                            want,
                            have,
                        });
                    }
                }
                (What::Add, None) | (What::Delete, Some(_)) => {}
            }
            self.modules.remove(&change.name);
            if let Some(entry) = patch.module(change.name.as_str()) {
                self.modules.insert(module, ReleaseModule::from(entry));
            }
        }
        Ok(())
    }

    fn change_applications(&mut self, script: &Script, patch: &Manifest) -> Result<(), Error> {
        for (name, operation) in &script.applications {
            let runs = self.has_application(name);
            let problem = match operation {
                Operation::Add if runs => format!("adds application {name}, which runs"),
                Operation::Remove | Operation::Restart | Operation::Supervisors if !runs => {
                    format!(
                        "is about application {name}, which release {} does not have",
                        self.vsn
                    )
                }
                _ => String::new(),
            };
            if !problem.is_empty() {
                let name = self.name.clone();
                return Err(Error::OtherApplications { name, problem });
            }
            if *operation != Operation::Remove {
                continue;
            }
            if self.is_short(name) {
                self.start.clear();
            }
            if let Some(at) = self.applications.iter().position(|a| a.name == *name) {
                // What an application was made of goes with it.
                for module in self.applications.remove(at).modules {
                    if script.module(&module).is_none() && patch.module(module.as_str()).is_none() {
                        self.modules.remove(&module);
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that what instructions name is in this release, or in the one after it, as the case may be.
    fn check_named(&self, after: &Self, script: &Script) -> Result<(), Error> {
        if let Some(start) = after
            .start
            .iter()
            .find(|s| !after.modules.contains_key(&s.module))
        {
            let problem = format!("deletes module {}, which {} runs", start.module, start.name);
            let name = self.name.clone();
            return Err(Error::OtherApplications { name, problem });
        }
        for apply in &script.applies {
            let there = match apply.when {
                When::Before => {
                    self.modules.contains_key(&apply.module)
                        || after.modules.contains_key(&apply.module)
                }
                When::After => after.modules.contains_key(&apply.module),
            };
            if !there {
                return Err(self.no_module(&apply.module));
            }
        }
        for (_, module) in &script.configures {
            if !after.modules.contains_key(module) {
                return Err(after.no_module(module));
            }
        }
        let steps = script.steps.as_deref().unwrap_or_default();
        let unknown = |name: &&str| !self.has_application(name) && !after.has_application(name);
        match crate::plan::check::applications(steps).find(unknown) {
            None => Ok(()),
            Some(application) => Err(Error::OtherApplications {
                name: self.name.clone(),
                problem: format!(
                    "is about application {application}, which release {} does not have",
                    self.vsn
                ),
            }),
        }
    }

    /// Whether the release has this application, as a tree or in the short form.
    pub fn has_application(&self, name: &str) -> bool {
        self.is_short(name) || self.applications.iter().any(|a| a.name == name)
    }

    fn no_module(&self, module: &ModuleName) -> Error {
        Error::NoSuchModule {
            name: self.name.clone(),
            module: module.clone(),
            release: self.vsn.clone(),
        }
    }

    /// The digest of the release's canonical JSON: two nodes with the same digest run the same code with the same
    /// configuration.
    ///
    /// # Errors
    /// [`Error::Manifest`] when a configuration holds a float, which no release read from a manifest does.
    pub fn digest(&self) -> Result<Digest, Error> {
        let bytes = canonical::serialize(self)
            .map_err(|error| Error::manifest(&error.pointer, error.problem))?;
        Ok(Digest::of(&bytes))
    }
}

impl From<&crate::ModuleEntry> for ReleaseModule {
    fn from(entry: &crate::ModuleEntry) -> Self {
        Self {
            vsn: entry.vsn.clone(),
            blob: entry.blob,
            size: entry.size,
            config: entry.config.clone(),
        }
    }
}

fn wrong_kind(manifest: &Manifest, want: &'static str) -> Error {
    Error::WrongKind {
        name: manifest.name.clone(),
        vsn: manifest.to.clone(),
        have: manifest.kind(),
        want,
    }
}
