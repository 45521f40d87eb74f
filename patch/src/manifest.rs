//! The manifest: what a bundle is, which modules it brings, and which blobs they are, by digest and size. Its canonical
//! bytes are what engineers sign and what names the bundle. It promises that a value which parsed or was checked is
//! consistent in itself; whether it fits what runs on a node is decided by [`crate::Release::apply`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::digest::Digest;
use crate::error::{Error, printable};
use crate::instructions::{Appup, Relup};
use crate::limits;
use crate::names::{self, ModuleName, Vsn};
use crate::plan::{Direction, PlanRule};
use crate::script;
use crate::targets::ConnectTarget;
use crate::tree::{self, Application};
use crate::vsn_pattern::VsnPattern;

/// The one schema of manifests that this crate reads and writes.
pub const SCHEMA: u32 = 1;

/// The world that every module of a bundle implements.
pub const WORLD: &str = "midflight:actor/gen-server@0.3.0";

/// Most actors that one `start` entry may start.
pub const MAX_COUNT: u32 = 1_000_000;

/// What a bundle is. Without `from` it is a *release*, which a node can boot; with `from` it is a *patch* from that
/// release to `to`. Fields that a bundle can do without, `applications` and those from `connect` on, are written
/// only when they say something, all others always, so that one manifest has one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The application: `[a-z][a-z0-9_-]*`, at most 64 bytes.
    pub name: String,
    /// The releases that a patch starts from; `None` for a release.
    pub from: Option<VsnPattern>,
    /// The release that results.
    pub to: Vsn,
    /// Always [`WORLD`].
    pub world: String,
    /// The modules, at least one, sorted by name.
    pub modules: Vec<ModuleEntry>,
    /// The actors that a release starts, in this order; empty in a patch.
    pub start: Vec<Start>,
    /// The applications of a release; in a patch those that are new or whose tree changes, each with its whole tree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<Application>,
    /// The TCP ports that the application's actors may listen on. `None` means none in a release, and in a patch: those of
    /// the release before. 0 allows a port of the operating system's choice.
    pub listen: Option<Vec<u16>>,
    /// Where the release's actors may connect to. `None` means nowhere in a release, and in a patch: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Vec<ConnectTarget>>,
    /// Whether a patch leads to a newer release, or back to an older one.
    #[serde(default, skip_serializing_if = "is_up")]
    pub direction: Direction,
    /// What a patch does with its modules and applications, high-level. Empty: every module is updated, as its entry says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instructions: Vec<Appup>,
    /// The same, low-level, instead of `instructions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relup: Option<Relup>,
}

fn is_up(direction: &Direction) -> bool {
    *direction == Direction::Up
}

/// One module of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleEntry {
    /// The module.
    pub name: ModuleName,
    /// The vsn that the blob is.
    pub vsn: Vsn,
    /// The vsns of which one must run before a patch; `None` in a release, and for a module that a patch adds.
    pub from: Option<VsnPattern>,
    /// How the states of running actors become states of the new vsn.
    pub update: Update,
    /// What `code_change` gets as its extra argument. Null, booleans, integers, strings, arrays and maps; no floats.
    pub extra: Value,
    /// What `on_load` gets. The same kinds of values as in `extra`.
    pub config: Value,
    /// The component.
    pub blob: Digest,
    /// The component's size in bytes.
    pub size: u64,
}

/// How a module is updated, as in an OTP appup's `{update, Module, soft | {advanced, Extra}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// The state stays as it is; `code_change` is not called.
    Soft,
    /// `code_change` of the new vsn turns each state into one of its own.
    Advanced,
}

/// Actors that a release starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The actor's name: 1 to 128 bytes of `[A-Za-z0-9._-]`. With a `count` above one the actors are `<name>.1` to
    /// `<name>.<count>`.
    pub name: String,
    /// The module that they run; one of the release's.
    pub module: ModuleName,
    /// What `init` gets. The same kinds of values as in [`ModuleEntry::extra`].
    pub args: Value,
    /// How many actors, 1 to [`MAX_COUNT`].
    pub count: u32,
    /// What the supervisor does when one ends.
    pub restart: Restart,
}

/// When a supervisor starts an actor again, as in an OTP child specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only after an abnormal end.
    Transient,
    /// Never.
    Temporary,
}

impl Start {
    /// The names of the actors that this entry starts.
    pub fn actor_names(&self) -> impl Iterator<Item = String> + '_ {
        let one = self.count == 1;
        (1..=self.count).map(move |number| {
            if one {
                self.name.clone()
            } else {
                format!("{}.{number}", self.name)
            }
        })
    }
}

impl Manifest {
    /// Reads canonical bytes and checks what they say.
    ///
    /// # Errors
    /// [`Error::Limit`] over 1 MiB, [`Error::Manifest`] when it is not a valid manifest, and [`Error::NotCanonical`] when
    /// the same manifest has another canonical spelling.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        limits::check(
            "manifest",
            "the manifest's size in bytes",
            bytes.len() as u64,
            limits::MANIFEST,
        )?;
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| Error::manifest("", printable(&error.to_string())))?;
        manifest.check()?;
        let canonical = manifest.to_bytes()?;
        if canonical != bytes {
            let same = canonical
                .iter()
                .zip(bytes)
                .take_while(|(a, b)| a == b)
                .count();
            return Err(Error::NotCanonical { offset: same });
        }
        Ok(manifest)
    }

    /// The canonical bytes: what is signed, and whose digest is the bundle's.
    ///
    /// # Errors
    /// [`Error::Manifest`] when `extra`, `config` or `args` hold a float or are nested too deeply, and [`Error::Limit`]
    /// when the result is over 1 MiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let bytes = canonical::serialize(self)
            .map_err(|error| Error::manifest(&error.pointer, error.problem))?;
        limits::check(
            "manifest",
            "the manifest's size in bytes",
            bytes.len() as u64,
            limits::MANIFEST,
        )?;
        Ok(bytes)
    }

    /// The digest of the canonical bytes.
    ///
    /// # Errors
    /// As [`Manifest::to_bytes`].
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::of(&self.to_bytes()?))
    }

    /// Whether this is a release, which a node can boot.
    pub fn is_release(&self) -> bool {
        self.from.is_none()
    }

    /// "release" or "patch".
    pub fn kind(&self) -> &'static str {
        if self.is_release() {
            "release"
        } else {
            "patch"
        }
    }

    /// The entry of a module.
    pub fn module(&self, name: &str) -> Option<&ModuleEntry> {
        self.modules
            .iter()
            .find(|module| module.name.as_str() == name)
    }

    /// Checks every rule that the types alone do not keep.
    ///
    /// # Errors
    /// [`Error::Manifest`] with a JSON pointer to the first breach, or [`Error::Limit`].
    pub fn check(&self) -> Result<(), Error> {
        if self.schema != SCHEMA {
            let problem = format!(
                "is schema {}, and this program reads schema {SCHEMA}",
                self.schema
            );
            return Err(Error::manifest("/schema", problem));
        }
        if self.world != WORLD {
            let problem = format!(
                "{:?} is unknown here; this program knows {WORLD}",
                crate::error::cut(&self.world, 80)
            );
            return Err(Error::manifest("/world", problem));
        }
        names::check_application(&self.name)
            .map_err(|error| Error::manifest("/name", error.to_string()))?;
        if let Some(from) = &self.from {
            leads_elsewhere(from, &self.to, "/from", "/to")?;
        }
        self.check_modules()?;
        self.check_start()?;
        tree::check(self)?;
        self.check_listen()?;
        self.check_connect()?;
        script::check(self)
    }

    fn check_modules(&self) -> Result<(), Error> {
        limits::check(
            "manifest",
            "the number of modules",
            self.modules.len() as u64,
            limits::MODULES,
        )?;
        if self.modules.is_empty() && self.instructions.is_empty() && self.relup.is_none() {
            return Err(Error::manifest(
                "/modules",
                "is empty; a bundle brings at least one module, or has instructions",
            ));
        }
        let mut sizes = BTreeMap::new();
        for (index, module) in self.modules.iter().enumerate() {
            let at = |field: &str| format!("/modules/{index}{field}");
            let name = &module.name;
            if index > 0 && self.modules[index - 1].name >= *name {
                let problem =
                    format!("module {name} comes twice, or before its place in the order of names");
                return Err(Error::manifest(&at("/name"), problem));
            }
            match (&self.from, &module.from) {
                (None, Some(_)) => {
                    return Err(Error::manifest(
                        &at("/from"),
                        "must be null: a release starts from nothing",
                    ));
                }
                (Some(_), None) if !self.adds(name) => {
                    let problem =
                        format!("is null; a patch says from which vsn module {name} is changed");
                    return Err(Error::manifest(&at("/from"), problem));
                }
                (Some(_), Some(from)) => {
                    let to = format!("the vsn of module {name}");
                    leads_elsewhere(from, &module.vsn, &at("/from"), &to)?;
                }
                _ => {}
            }
            limits::check(
                "manifest",
                &format!("the size of module {name} in bytes"),
                module.size,
                limits::BLOB,
            )?;
            if *sizes.entry(module.blob).or_insert(module.size) != module.size {
                let problem = format!("of blob {} is given twice, and differently", module.blob);
                return Err(Error::manifest(&at("/size"), problem));
            }
        }
        let total = sizes.values().sum();
        limits::check(
            "manifest",
            "the size of all modules in bytes",
            total,
            limits::TOTAL,
        )
    }

    /// Whether a patch may bring this module as one that the release did not have.
    fn adds(&self, name: &ModuleName) -> bool {
        !self.instructions.is_empty()
            || self.relup.is_some()
            || self.applications.iter().any(|a| a.modules.contains(name))
    }

    fn check_start(&self) -> Result<(), Error> {
        if !self.is_release() && !self.start.is_empty() {
            return Err(Error::manifest(
                "/start",
                "must be empty: only a release starts actors",
            ));
        }
        limits::check(
            "manifest",
            "the number of start entries",
            self.start.len() as u64,
            limits::STARTS,
        )?;
        let mut counts = BTreeMap::new();
        for (index, start) in self.start.iter().enumerate() {
            names::check_actor(&start.name).map_err(|error| {
                Error::manifest(&format!("/start/{index}/name"), error.to_string())
            })?;
            if !(1..=MAX_COUNT).contains(&start.count) {
                let problem = format!("is {}; it must be 1 to {MAX_COUNT}", start.count);
                return Err(Error::manifest(&format!("/start/{index}/count"), problem));
            }
            if self.module(start.module.as_str()).is_none() {
                let problem = format!("{} is not a module of this release", start.module);
                return Err(Error::manifest(&format!("/start/{index}/module"), problem));
            }
            if counts.insert(start.name.as_str(), start.count).is_some() {
                let problem = format!("{} comes twice", start.name);
                return Err(Error::manifest(&format!("/start/{index}/name"), problem));
            }
        }
        for (index, start) in self
            .start
            .iter()
            .enumerate()
            .filter(|(_, start)| start.count == 1)
        {
            // `a` with count 3 starts `a.1` to `a.3`, so that a single `a.2` would be a second actor of that name.
            let Some((stem, number)) = start.name.rsplit_once('.') else {
                continue;
            };
            let Some(count) = counts.get(stem).filter(|count| **count > 1) else {
                continue;
            };
            if number
                .parse()
                .is_ok_and(|n: u32| n.to_string() == number && (1..=*count).contains(&n))
            {
                let problem = format!("{} is also one of the {count} actors of {stem}", start.name);
                return Err(Error::manifest(&format!("/start/{index}/name"), problem));
            }
        }
        Ok(())
    }

    fn check_connect(&self) -> Result<(), Error> {
        let targets = self.connect.as_deref().unwrap_or_default();
        limits::check(
            "manifest",
            "the number of targets to connect to",
            targets.len() as u64,
            limits::TARGETS,
        )?;
        let mut seen = BTreeSet::new();
        match targets.iter().position(|target| !seen.insert(target)) {
            Some(index) => Err(Error::manifest(
                &format!("/connect/{index}"),
                format!("{} comes twice", targets[index]),
            )),
            None => Ok(()),
        }
    }

    fn check_listen(&self) -> Result<(), Error> {
        let ports = self.listen.as_deref().unwrap_or_default();
        limits::check(
            "manifest",
            "the number of ports to listen on",
            ports.len() as u64,
            limits::PORTS,
        )?;
        let mut seen = BTreeSet::new();
        match ports.iter().position(|port| !seen.insert(port)) {
            Some(index) => Err(Error::manifest(
                &format!("/listen/{index}"),
                format!("port {} comes twice", ports[index]),
            )),
            None => Ok(()),
        }
    }
}

/// A patch leads to another vsn than any that it starts from.
fn leads_elsewhere(from: &VsnPattern, to: &Vsn, place: &str, what: &str) -> Result<(), Error> {
    if !from.matches(to) {
        return Ok(());
    }
    if from.exact().is_some() {
        let problem = format!("is {from}, the same as {what}; a patch leads to another vsn");
        return Err(Error::manifest(place, problem));
    }
    let problem =
        format!("is {from}, which {what}, {to}, matches too; name the vsns so that it does not");
    Err(script::breach(PlanRule::Pattern, place, problem))
}
