//! What a simulated node runs: nothing, but it changes from release to release in the order of calls of a runtime, fails where
//! its nature says so, and shows everything that begins to run to [`crate::truth`]. It dies with its process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midflight_agent::target::{
    Health, Metrics, ModuleMeasures, ModuleStatus, OnDownFailure, Prepared, Resumed, RolledBack,
    Target, TargetError, TargetStatus, Upgrade, UpgradeOrder, VersionMeasures, Who,
};
use midflight_patch::{Digest, ModuleName, Release};
use midflight_proto::agent::v1::{self as pb, sys_request::Op};
use tokio::time::Instant;

use crate::chance::Chance;
use crate::truth::Truth;

/// What a patch does on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    /// Of a hundred upgrades, so many fail before resume.
    pub fails: u64,
    /// The new code parks actors.
    pub parks: bool,
    /// Of a hundred events, so many end in an error on the new code.
    pub errs: u64,
    /// Of a hundred rollbacks, so many fail, and may be tried again.
    pub sticks: u64,
}

pub struct Machine {
    node: usize,
    nature: Nature,
    chance: Mutex<Chance>,
    truth: Truth,
    runs: Arc<Mutex<Runs>>,
}

struct Runs {
    release: Option<Release>,
    /// Since when, and of the release before, how long it ran.
    since: Instant,
    before: Option<(Release, Duration)>,
    open: bool,
}

impl Runs {
    fn change(&mut self, to: Release) -> Option<Release> {
        let now = Instant::now();
        let before = self.release.replace(to)?;
        self.before = Some((before.clone(), now - self.since));
        self.since = now;
        Some(before)
    }
}

/// Events that a node handles in a second.
const RATE: u64 = 200;
/// Events that a node handled before the simulation began.
const EARLIER: u64 = 5_000;

impl Machine {
    pub fn new(node: usize, nature: Nature, chance: Chance, truth: Truth) -> Arc<Self> {
        Arc::new(Self {
            node,
            nature,
            chance: Mutex::new(chance),
            truth,
            runs: Arc::new(Mutex::new(Runs {
                release: None,
                since: Instant::now(),
                before: None,
                open: false,
            })),
        })
    }
}

fn failed(code: &'static str, what: &str) -> TargetError {
    TargetError {
        code,
        what: what.to_owned(),
        subject: String::new(),
        hint: String::new(),
        refused: false,
        actors: Vec::new(),
    }
}

impl Target for Machine {
    fn stage(&self, _: &ModuleName, _: &Digest, _: &[u8]) -> Result<(), TargetError> {
        Ok(())
    }

    fn boot(&self, release: &Release, _: &BTreeMap<Digest, Arc<[u8]>>) -> Result<(), TargetError> {
        self.truth.runs(self.node, release);
        self.runs.lock().unwrap().change(release.clone());
        Ok(())
    }

    fn begin(&self, order: UpgradeOrder) -> Result<Box<dyn Upgrade>, TargetError> {
        let mut runs = self.runs.lock().unwrap();
        if std::mem::replace(&mut runs.open, true) {
            self.truth
                .broken(format!("n{}: two upgrades are open", self.node));
        }
        let mut chance = self.chance.lock().unwrap();
        Ok(Box::new(Change {
            node: self.node,
            nature: self.nature,
            fails_at: match chance.percent(self.nature.fails) {
                true => Some(*chance.one(&[
                    Step::Opened,
                    Step::Prepared,
                    Step::Suspended,
                    Step::Loaded,
                    Step::Migrated,
                ])),
                false => None,
            },
            chance: Chance::new(chance.next(), 0),
            truth: self.truth.clone(),
            runs: self.runs.clone(),
            to: order.to,
            from: None,
            step: Step::Opened,
            suspended: None,
            resumed: None,
        }))
    }

    fn status(&self) -> TargetStatus {
        let runs = self.runs.lock().unwrap();
        let modules = runs.release.iter().flat_map(|release| &release.modules);
        let module =
            |(name, module): (&ModuleName, &midflight_patch::ReleaseModule)| ModuleStatus {
                name: name.clone(),
                vsn: module.vsn.clone(),
                blob: module.blob,
                actors: 1,
                old_vsn: None,
                actors_on_old: 0,
                old_since: None,
                events: 0,
                traps: 0,
                errors: 0,
                restarts: 0,
            };
        TargetStatus {
            modules: modules.map(module).collect(),
            actors: 1,
            dead_letters: 0,
        }
    }

    fn measures(&self) -> Vec<ModuleMeasures> {
        let runs = self.runs.lock().unwrap();
        let now = runs
            .release
            .clone()
            .map(|release| (release, runs.since.elapsed()));
        let versions: Vec<_> = now.into_iter().chain(runs.before.clone()).collect();
        let counts = |(release, time): &(Release, Duration)| {
            let module = release.modules.values().next()?;
            let is_first = release.vsn.as_str() == "1";
            let before = if is_first { EARLIER } else { 0 };
            let all = before + time.as_millis() as u64 * RATE / 1_000;
            let errors = match is_first {
                true => 0,
                false => all * self.nature.errs / 100,
            };
            Some(VersionMeasures {
                vsn: module.vsn.to_string(),
                events: all - errors,
                errors,
                ..VersionMeasures::default()
            })
        };
        let versions = versions.iter().filter_map(counts).collect();
        vec![ModuleMeasures {
            module: "counter".to_owned(),
            versions,
            ..ModuleMeasures::default()
        }]
    }

    fn sys(&self, _: &Who, _: &Op, _: Duration) -> Result<pb::SysResponse, TargetError> {
        Err(failed("MF0360", "there are no actors"))
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn drain(&self, _: Duration) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Opened,
    Prepared,
    Suspended,
    Loaded,
    Migrated,
    Probation,
    Confirmed,
    Over,
}

struct Change {
    node: usize,
    nature: Nature,
    fails_at: Option<Step>,
    chance: Chance,
    truth: Truth,
    runs: Arc<Mutex<Runs>>,
    to: Release,
    from: Option<Release>,
    step: Step,
    suspended: Option<Instant>,
    resumed: Option<Instant>,
}

impl Change {
    fn go(&mut self, from: Step, to: Step) -> Result<(), TargetError> {
        if self.step != from {
            let (node, have) = (self.node, self.step);
            self.truth
                .broken(format!("n{node}: {to:?} was ordered after {have:?}"));
            return Err(failed("MF0307", "that is not its order"));
        }
        if self.fails_at == Some(from) {
            self.end();
            return Err(failed("MF0308", "a state cannot be migrated"));
        }
        self.step = to;
        Ok(())
    }

    fn end(&mut self) {
        if self.step != Step::Over {
            self.step = Step::Over;
            self.suspended = None;
            self.runs.lock().unwrap().open = false;
        }
    }

    fn is_before_resume(&self) -> bool {
        !matches!(self.step, Step::Probation | Step::Confirmed | Step::Over)
    }
}

impl Upgrade for Change {
    fn prepare(&mut self) -> Result<Prepared, TargetError> {
        self.go(Step::Opened, Step::Prepared)?;
        Ok(Prepared::default())
    }

    fn suspend(&mut self) -> Result<(), TargetError> {
        self.go(Step::Prepared, Step::Suspended)?;
        self.suspended = Some(Instant::now());
        Ok(())
    }

    fn load(&mut self) -> Result<(), TargetError> {
        self.go(Step::Suspended, Step::Loaded)
    }

    fn migrate(&mut self) -> Result<(), TargetError> {
        self.go(Step::Loaded, Step::Migrated)
    }

    fn resume(&mut self) -> Result<Resumed, TargetError> {
        self.go(Step::Migrated, Step::Probation)?;
        self.suspended = None;
        self.resumed = Some(Instant::now());
        self.truth.runs(self.node, &self.to);
        self.from = self.runs.lock().unwrap().change(self.to.clone());
        Ok(Resumed::default())
    }

    fn confirm(&mut self) -> Result<u64, TargetError> {
        if self.step != Step::Confirmed {
            self.go(Step::Probation, Step::Confirmed)?;
        }
        Ok(0)
    }

    fn finish(&mut self) -> Result<(), TargetError> {
        self.go(Step::Confirmed, Step::Confirmed)?;
        self.from = None;
        self.runs.lock().unwrap().before = None;
        self.end();
        Ok(())
    }

    fn rollback(&mut self, _: Duration, _: OnDownFailure) -> Result<RolledBack, TargetError> {
        if self.chance.percent(self.nature.sticks) {
            return Err(failed("MF0316", "it does not go back this time"));
        }
        let Some(from) = self.from.take() else {
            let node = self.node;
            self.truth
                .broken(format!("n{node}: rolled back without a resume"));
            return Err(failed("MF0307", "nothing has resumed"));
        };
        self.truth.runs(self.node, &from);
        let mut runs = self.runs.lock().unwrap();
        runs.change(from);
        runs.before = None;
        drop(runs);
        self.end();
        Ok(RolledBack::default())
    }

    fn abort(&mut self) {
        if self.is_before_resume() {
            self.end();
        }
    }

    fn health(&self) -> Health {
        let Some(resumed) = self.resumed else {
            return Health::default();
        };
        let since_resume = resumed.elapsed();
        let events = since_resume.as_millis() as u64 * RATE / 1_000;
        let errors = events * self.nature.errs / 100;
        Health {
            events: events - errors,
            errors,
            parked: u64::from(self.nature.parks && since_resume > Duration::from_millis(100)),
            since_resume,
            ..Health::default()
        }
    }

    fn suspended_for(&self) -> Option<Duration> {
        self.suspended.map(|since| since.elapsed())
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.abort();
    }
}
