//! Applications and their supervision trees, as a release or a patch says them. The words are OTP's (`application`,
//! `supervisor`); the checks here see to it that what is left for a node to refuse is what only a node can know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, TreeRule};
use crate::limits;
use crate::manifest::{MAX_COUNT, Manifest, Restart, Start};
use crate::names::{self, ModuleName, Vsn};
use crate::release::Release;

/// Supervisors below each other, the top one included.
pub const MAX_DEPTH: usize = 8;
/// Most restarts that `intensity` may allow.
pub const MAX_INTENSITY: u32 = 1_000;
/// Longest `period`, in seconds.
pub const MAX_PERIOD: u32 = 86_400;
/// Longest time to end, in milliseconds.
pub const MAX_SHUTDOWN: u32 = 600_000;

/// A supervision tree that starts and stops as one, and what it is made of (OTP's `.app` file and its top supervisor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// `[a-z][a-z0-9_-]*`, at most 64 bytes; one of a release's applications has it.
    pub name: String,
    /// Its own vsn.
    pub vsn: Vsn,
    /// Applications that are started before it and stopped after it.
    pub depends: Vec<String>,
    /// Its configuration. Null, booleans, integers, strings, arrays and maps; no floats.
    pub config: Value,
    /// The modules that belong to it, sorted; a module belongs to one application at most.
    pub modules: Vec<ModuleName>,
    /// The top of the tree.
    pub supervisor: Supervisor,
}

/// What a supervisor does when a child of it ends and is to be started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// That child is started again.
    #[default]
    OneForOne,
    /// All children are ended and started again.
    OneForAll,
    /// Those started after it are ended, and it and they are started again.
    RestForOne,
    /// As `one_for_one`, for children that are all alike and started while it runs.
    SimpleOneForOne,
}

/// A supervisor: its children in start order, and when it gives up (OTP's `supervisor:sup_flags()`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// 1 to 128 bytes of `[A-Za-z0-9._-]`; no other child and no other supervisor of the release has it.
    pub name: String,
    /// What it does when a child ends.
    #[serde(default)]
    pub strategy: Strategy,
    /// Restarts that it allows within `period`; one more ends it. 0 to [`MAX_INTENSITY`].
    #[serde(default = "intensity")]
    pub intensity: u32,
    /// Seconds, 1 to [`MAX_PERIOD`].
    #[serde(default = "period")]
    pub period: u32,
    /// When its own supervisor starts it again; says nothing for the top of a tree.
    #[serde(default)]
    pub restart: Restart,
    /// When it starts again an actor that another actor spawned under it. A `simple_one_for_one` supervisor goes by its
    /// one child's `restart` instead.
    #[serde(default = "spawned")]
    pub spawned: Restart,
    /// In a patch, and in the release that results: when the tree changes to this one, a child that runs and is not in
    /// `children` any more is ended. Otherwise it runs on, as the last.
    #[serde(default)]
    pub stop_removed: bool,
    /// In start order. A `simple_one_for_one` supervisor has one worker, the pattern of all.
    #[serde(default)]
    pub children: Vec<Child>,
}

/// A child specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Child {
    /// Actors.
    Worker(Worker),
    /// A supervisor with children of its own.
    Supervisor(Supervisor),
}

/// Actors that a supervisor starts (OTP's `supervisor:child_spec()`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// The actor's name: 1 to 128 bytes of `[A-Za-z0-9._-]`. With a `count` above one the actors are `<name>.1` to
    /// `<name>.<count>`.
    pub name: String,
    /// The module that they run.
    pub module: ModuleName,
    /// What `init` gets. The same kinds of values as in [`Application::config`].
    #[serde(default)]
    pub args: Value,
    /// How many, 1 to [`MAX_COUNT`]. They start and end together.
    #[serde(default = "one")]
    pub count: u32,
    /// When one is started again.
    #[serde(default)]
    pub restart: Restart,
    /// How one is ended.
    #[serde(default)]
    pub shutdown: Shutdown,
}

/// How an actor is ended by its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Shutdown {
    /// At once: `terminate` is not called.
    BrutalKill,
    /// With an exit signal `shutdown`, upon which an actor that traps exits ends by `terminate`, and any other without; killed
    /// after so many milliseconds.
    Ms(u32),
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::Ms(5_000)
    }
}

impl TryFrom<Value> for Shutdown {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let ms = value
            .as_u64()
            .and_then(|ms| u32::try_from(ms).ok())
            .filter(|ms| *ms <= MAX_SHUTDOWN);
        match (value.as_str(), ms) {
            (Some("brutal_kill"), _) => Ok(Self::BrutalKill),
            (_, Some(ms)) => Ok(Self::Ms(ms)),
            _ => Err(format!(
                "shutdown is brutal_kill or milliseconds, 0 to {MAX_SHUTDOWN}"
            )),
        }
    }
}

impl From<Shutdown> for Value {
    fn from(shutdown: Shutdown) -> Self {
        match shutdown {
            Shutdown::BrutalKill => "brutal_kill".into(),
            Shutdown::Ms(ms) => ms.into(),
        }
    }
}

fn intensity() -> u32 {
    1
}

fn period() -> u32 {
    5
}

fn spawned() -> Restart {
    Restart::Temporary
}

fn one() -> u32 {
    1
}

impl Default for Supervisor {
    /// `one_for_one` without children or a name, one restart in five seconds.
    fn default() -> Self {
        Self {
            name: String::new(),
            strategy: Strategy::OneForOne,
            intensity: intensity(),
            period: period(),
            restart: Restart::Permanent,
            spawned: spawned(),
            stop_removed: false,
            children: Vec::new(),
        }
    }
}

impl Child {
    /// The child's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Worker(worker) => &worker.name,
            Self::Supervisor(supervisor) => &supervisor.name,
        }
    }
}

impl Supervisor {
    /// All workers of the tree, in start order.
    pub fn workers(&self) -> Vec<&Worker> {
        let mut all = Vec::new();
        for child in &self.children {
            match child {
                Child::Worker(worker) => all.push(worker),
                Child::Supervisor(below) => all.extend(below.workers()),
            }
        }
        all
    }

    /// The same, and every child that is not in it is ended: what a way back asks for.
    #[must_use]
    pub fn exactly(mut self) -> Self {
        self.stop_removed = true;
        self.children = self
            .children
            .into_iter()
            .map(|child| match child {
                Child::Supervisor(below) => Child::Supervisor(below.exactly()),
                worker => worker,
            })
            .collect();
        self
    }
}

impl Application {
    /// What the short form, a list of actors, stands for: one `one_for_one` supervisor, which starts an actor again at
    /// most three times in five seconds.
    fn short(release: &Release) -> Self {
        let worker = |start: &Start| {
            Child::Worker(Worker {
                name: start.name.clone(),
                module: start.module.clone(),
                args: start.args.clone(),
                count: start.count,
                restart: start.restart,
                shutdown: Shutdown::default(),
            })
        };
        let supervisor = Supervisor {
            name: release.name.clone(),
            intensity: 3,
            children: release.start.iter().map(worker).collect(),
            ..Supervisor::default()
        };
        Self {
            name: release.name.clone(),
            vsn: release.vsn.clone(),
            depends: Vec::new(),
            config: Value::Null,
            modules: Vec::new(),
            supervisor,
        }
    }
}

impl Release {
    /// Whether this application is the short form: the list of actors to start, and no tree.
    pub fn is_short(&self, application: &str) -> bool {
        !self.start.is_empty() && self.name == application
    }

    /// All applications in start order: each after those that it depends on, otherwise as written. The short form is the
    /// first.
    pub fn start_order(&self) -> Vec<Application> {
        let short = (!self.start.is_empty()).then(|| Application::short(self));
        let mut left: Vec<Application> = short
            .into_iter()
            .chain(self.applications.iter().cloned())
            .collect();
        let mut ordered: Vec<Application> = Vec::new();
        while !left.is_empty() {
            let ready = left.iter().position(|application| {
                let waits = |name: &String| left.iter().any(|other| other.name == *name);
                !application.depends.iter().any(waits)
            });
            // A checked release has no cycle; one that has goes on as written.
            ordered.push(left.remove(ready.unwrap_or(0)));
        }
        ordered
    }

    /// Puts an application of a patch into its place: the one of its name, or behind all others.
    pub(crate) fn put_application(&mut self, application: &Application) {
        if self.is_short(&application.name) {
            self.start.clear();
        }
        let same = |a: &&mut Application| a.name == application.name;
        match self.applications.iter_mut().find(same) {
            Some(place) => place.clone_from(application),
            None => self.applications.push(application.clone()),
        }
    }

    /// Checks what concerns all applications together: names, modules and who depends on whom.
    pub(crate) fn check_applications(&self) -> Result<(), Error> {
        let mut tree = Check {
            known: Some(self.modules.keys().cloned().collect()),
            stop_removed: true,
            ..Check::default()
        };
        tree.starts(&self.start)?;
        tree.applications(
            &self.applications,
            self.is_short(&self.name).then_some(&*self.name),
        )?;
        tree.depends(&self.applications, &self.name, !self.start.is_empty())
    }
}

/// Checks the applications of a manifest: in a release all, in a patch as far as it can be said without the release.
pub(crate) fn check(manifest: &Manifest) -> Result<(), Error> {
    let release = manifest.is_release();
    let modules = manifest.modules.iter().map(|m| m.name.clone());
    let mut tree = Check {
        known: release.then(|| modules.collect()),
        stop_removed: !release,
        ..Check::default()
    };
    tree.starts(&manifest.start)?;
    let short = (!manifest.start.is_empty()).then_some(&*manifest.name);
    tree.applications(&manifest.applications, short)?;
    if release {
        tree.depends(&manifest.applications, &manifest.name, short.is_some())?;
    }
    Ok(())
}

/// A walk over all trees of one manifest or release.
#[derive(Default)]
struct Check<'a> {
    /// The modules that may be named; none: any.
    known: Option<BTreeSet<ModuleName>>,
    stop_removed: bool,
    names: BTreeMap<&'a str, u32>,
    children: u64,
}

fn refuse(rule: TreeRule, at: &str, problem: impl Into<String>) -> Error {
    Error::Tree {
        rule,
        place: format!("manifest {at}"),
        problem: problem.into(),
    }
}

impl<'a> Check<'a> {
    fn starts(&mut self, starts: &'a [Start]) -> Result<(), Error> {
        for (index, start) in starts.iter().enumerate() {
            self.name(&start.name, start.count, &format!("/start/{index}"))?;
        }
        Ok(())
    }

    /// Takes a name, with `count` above one those numbered after it as well.
    fn name(&mut self, name: &'a str, count: u32, at: &str) -> Result<(), Error> {
        let twice = |problem| Err(refuse(TreeRule::Name, &format!("{at}/name"), problem));
        if self.names.contains_key(name) {
            return twice(format!("{name} comes twice"));
        }
        if count == 1
            && let Some((stem, number)) = name.rsplit_once('.')
            && let Some(&others) = self.names.get(stem)
            && numbers(number, others)
        {
            return twice(format!(
                "{name} is also one of the {others} actors of {stem}"
            ));
        }
        if count > 1 {
            let below = format!("{name}.");
            let singles = self.names.range(&*below..);
            let mut taken = singles
                .take_while(|(other, _)| other.starts_with(&below))
                .filter(|(_, others)| **others == 1);
            if let Some((other, _)) = taken.find(|(other, _)| numbers(&other[below.len()..], count))
            {
                return twice(format!(
                    "one of the {count} actors of {name} is also {other}"
                ));
            }
        }
        self.names.insert(name, count);
        Ok(())
    }

    fn applications(
        &mut self,
        applications: &'a [Application],
        short: Option<&str>,
    ) -> Result<(), Error> {
        let size = |what: &str, found: usize, limit: u64, at: &str| {
            if found as u64 > limit {
                let problem = format!("{what} is {found}, the limit is {limit}");
                return Err(refuse(TreeRule::Size, at, problem));
            }
            Ok(())
        };
        let most = limits::APPLICATIONS;
        size(
            "the number of applications",
            applications.len(),
            most,
            "/applications",
        )?;
        let (mut seen, mut owned) = (BTreeSet::new(), BTreeMap::new());
        for (index, application) in applications.iter().enumerate() {
            let at = format!("/applications/{index}");
            let name = &application.name;
            names::check_application(name).map_err(|error| {
                refuse(TreeRule::Name, &format!("{at}/name"), error.to_string())
            })?;
            if !seen.insert(name) {
                let problem = format!("application {name} comes twice");
                return Err(refuse(TreeRule::Name, &format!("{at}/name"), problem));
            }
            if short == Some(name) {
                let problem = format!(
                    "application {name} is what `start` stands for; write it out, or rename it"
                );
                return Err(refuse(TreeRule::Name, &format!("{at}/name"), problem));
            }
            size(
                "the number of applications that it depends on",
                application.depends.len(),
                most,
                &at,
            )?;
            for (place, module) in application.modules.iter().enumerate() {
                let at = format!("{at}/modules/{place}");
                self.module(module, &at)?;
                if place > 0 && application.modules[place - 1] >= *module {
                    let problem = format!(
                        "module {module} comes twice, or before its place in the order of names"
                    );
                    return Err(refuse(TreeRule::Module, &at, problem));
                }
                if let Some(other) = owned.insert(module, name) {
                    let problem = format!("module {module} belongs to application {other} already");
                    return Err(refuse(TreeRule::Module, &at, problem));
                }
            }
            self.supervisor(&application.supervisor, &format!("{at}/supervisor"), 1)?;
        }
        Ok(())
    }

    fn module(&self, module: &ModuleName, at: &str) -> Result<(), Error> {
        match &self.known {
            Some(known) if !known.contains(module) => {
                let problem = format!("{module} is not a module of this release");
                Err(refuse(TreeRule::Module, at, problem))
            }
            _ => Ok(()),
        }
    }

    fn supervisor(
        &mut self,
        supervisor: &'a Supervisor,
        at: &str,
        depth: usize,
    ) -> Result<(), Error> {
        let name = &supervisor.name;
        let spelled = |name: &str, at: &str| {
            names::check_actor(name)
                .map_err(|error| refuse(TreeRule::Name, &format!("{at}/name"), error.to_string()))
        };
        let size = |problem| Err(refuse(TreeRule::Size, at, problem));
        if depth > MAX_DEPTH {
            return size(format!(
                "supervisor {name} is deeper than {MAX_DEPTH} levels"
            ));
        }
        spelled(name, at)?;
        self.name(name, 1, at)?;
        if supervisor.intensity > MAX_INTENSITY {
            return size(format!(
                "intensity of {name} is {}; it must be 0 to {MAX_INTENSITY}",
                supervisor.intensity
            ));
        }
        if !(1..=MAX_PERIOD).contains(&supervisor.period) {
            return size(format!(
                "period of {name} is {}; it must be 1 to {MAX_PERIOD} seconds",
                supervisor.period
            ));
        }
        if supervisor.stop_removed && !self.stop_removed {
            let problem = format!(
                "stop_removed of {name} says what a patch does; a release has no children to remove"
            );
            return Err(refuse(TreeRule::Pattern, at, problem));
        }
        self.children += supervisor.children.len() as u64;
        if self.children > limits::CHILDREN {
            return size(format!(
                "there are more than {} children in all trees",
                limits::CHILDREN
            ));
        }
        if supervisor.strategy == Strategy::SimpleOneForOne {
            let one =
                matches!(&supervisor.children[..], [Child::Worker(worker)] if worker.count == 1);
            if !one {
                let problem = format!(
                    "{name} is simple_one_for_one: it has one child, a worker without count, the pattern of all"
                );
                return Err(refuse(TreeRule::Pattern, at, problem));
            }
        }
        for (index, child) in supervisor.children.iter().enumerate() {
            let kind = match child {
                Child::Worker(_) => "worker",
                Child::Supervisor(_) => "supervisor",
            };
            let at = format!("{at}/children/{index}/{kind}");
            match child {
                Child::Supervisor(below) => self.supervisor(below, &at, depth + 1)?,
                Child::Worker(worker) => {
                    spelled(&worker.name, &at)?;
                    self.name(&worker.name, worker.count, &at)?;
                    if !(1..=MAX_COUNT).contains(&worker.count) {
                        let problem = format!(
                            "count of {} is {}; it must be 1 to {MAX_COUNT}",
                            worker.name, worker.count
                        );
                        return Err(refuse(TreeRule::Size, &at, problem));
                    }
                    self.module(&worker.module, &format!("{at}/module"))?;
                }
            }
        }
        Ok(())
    }

    fn depends(
        &self,
        applications: &[Application],
        release: &str,
        short: bool,
    ) -> Result<(), Error> {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        if short {
            done.insert(release);
        }
        let exists = |name: &str| {
            (short && name == release) || applications.iter().any(|other| other.name == name)
        };
        for (index, application) in applications.iter().enumerate() {
            for (place, on) in application.depends.iter().enumerate() {
                if !exists(on) {
                    let at = format!("/applications/{index}/depends/{place}");
                    let problem = format!("{on} is not an application of this release");
                    return Err(refuse(TreeRule::Depends, &at, problem));
                }
            }
        }
        let mut left: Vec<(usize, &Application)> = applications.iter().enumerate().collect();
        while !left.is_empty() {
            let before = left.len();
            left.retain(|(_, application)| {
                let ready = application.depends.iter().all(|on| done.contains(&**on));
                if ready {
                    done.insert(&application.name);
                }
                !ready
            });
            if left.len() == before {
                let names: Vec<_> = left.iter().map(|(_, a)| &*a.name).collect();
                let at = format!("/applications/{}/depends", left[0].0);
                let problem = format!("{} depend on each other in a cycle", names.join(", "));
                return Err(refuse(TreeRule::Depends, &at, problem));
            }
        }
        Ok(())
    }
}

/// `a` with count 3 starts `a.1` to `a.3`, so that a single `a.2` would be a second actor of that name.
fn numbers(number: &str, count: u32) -> bool {
    count > 1
        && number
            .parse()
            .is_ok_and(|n: u32| n.to_string() == number && (1..=count).contains(&n))
}
