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
    /// [`Error::WrongKind`] for a release, [`Error::OtherApplication`], [`Error::OtherRelease`], [`Error::NoSuchModule`]
    /// and [`Error::OtherModuleVsn`] when the patch does not fit, [`Error::Tree`] when its applications do not fit the others,
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
        if *from != self.vsn {
            let (want, have) = (from.clone(), self.vsn.clone());
            return Err(Error::OtherRelease {
                name: self.name.clone(),
                want,
                have,
            });
        }
        let mut after = self.clone();
        for entry in &patch.modules {
            let name = self.name.clone();
            let module = entry.name.clone();
            let want = entry.from.clone().unwrap_or_else(|| from.clone());
            let Some(running) = after.modules.get_mut(&entry.name) else {
                return Err(Error::NoSuchModule {
                    name,
                    module,
                    want,
                    release: self.vsn.clone(),
                });
            };
            if running.vsn != want {
                return Err(Error::OtherModuleVsn {
                    name,
                    module,
                    want,
                    have: running.vsn.clone(),
                });
            }
            *running = ReleaseModule::from(entry);
        }
        for application in &patch.applications {
            after.put_application(application);
        }
        after.check_applications()?;
        after.vsn = patch.to.clone();
        if let Some(listen) = &patch.listen {
            after.listen = listen.clone();
        }
        if let Some(connect) = &patch.connect {
            after.connect = connect.clone();
        }
        Ok(after)
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
