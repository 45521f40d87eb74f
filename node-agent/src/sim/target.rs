//! A target that runs nothing: it accepts every component, counts events as its scenario says, and changes from release to
//! release as a runtime would, in the same order of calls. What an agent promises is not simulated; this is what it drives.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use midflight_patch::{Digest, ModuleName, Release, Vsn};
use midflight_proto::agent::v1::{self as pb, sys_request::Op};
use parking_lot::Mutex;

use super::{
    scenario::Load,
    script::{Kind, Script},
};
use crate::target::{
    Health, Metrics, ModuleMeasures, ModuleStatus, OnDownFailure, Prepared, Resumed, RolledBack,
    Target, TargetError, TargetStatus, Upgrade, UpgradeOrder, VersionMeasures, Who,
};

/// Actors of a release that starts none.
const FEWEST: u64 = 1;

/// One simulated node.
pub struct SimTarget {
    script: Arc<Script>,
    runs: Arc<Mutex<Runs>>,
}

/// What runs.
struct Runs {
    release: Option<Arc<Release>>,
    /// Since when it does.
    since: Instant,
    /// Whether a patch brought it.
    patched: bool,
    /// What ran before the patch, and for how long.
    before: Option<(Arc<Release>, Duration)>,
    /// An upgrade is open.
    held: bool,
}

impl SimTarget {
    /// Empty.
    pub fn new(script: Arc<Script>) -> Arc<Self> {
        let runs = Runs {
            release: None,
            since: Instant::now(),
            patched: false,
            before: None,
            held: false,
        };
        Arc::new(Self {
            script,
            runs: Arc::new(Mutex::new(runs)),
        })
    }
}

/// What the handlers of a node do.
fn load(script: &Script, patched: bool) -> &Load {
    match &script.zone.new {
        Some(new) if patched => new,
        _ => &script.zone.old,
    }
}

/// Events, errors and traps of what runs.
fn counts(script: &Script, runs: &Runs) -> (u64, u64, u64) {
    counts_in(load(script, runs.patched), runs.since.elapsed())
}

fn counts_in(load: &Load, time: Duration) -> (u64, u64, u64) {
    let events = f64::from(load.events) * time.as_secs_f64();
    (
        events as u64,
        load.errors.of(events) as u64,
        load.traps.of(events) as u64,
    )
}

/// What a module of a release has measured after `time`, when the release has so many.
fn measures(load: &Load, time: Duration, vsn: &Vsn, modules: u64) -> VersionMeasures {
    let (events, errors, traps) = counts_in(load, time);
    let samples = events / modules / u64::from(midflight_runtime::ONE_IN);
    VersionMeasures {
        vsn: vsn.to_string(),
        events: events / modules,
        traps: traps / modules,
        errors: errors / modules,
        latency: latencies(f64::from(load.latency_us), samples),
        depth: Vec::new(),
    }
}

/// So many samples of an exponential distribution with this mean, in the protocol's buckets.
fn latencies(mean_us: f64, samples: u64) -> Vec<(u32, u64)> {
    if mean_us == 0.0 {
        return Vec::new();
    }
    let mean = mean_us * 1_000.0 / midflight_runtime::UNIT_NS as f64;
    let up_to = |value: f64| ((1.0 - (-value / mean).exp()) * samples as f64) as u64;
    // Sixteen buckets to an octave, up to the greatest value of 32 bits.
    let mut all = Vec::new();
    let (mut least, mut width, mut below) = (0_u64, 1_u64, 0);
    for bucket in 0..464_u32 {
        if bucket >= 32 && bucket % 16 == 0 {
            width *= 2;
        }
        least += width;
        let count = up_to(least as f64);
        if count > below {
            all.push((bucket, count - below));
        }
        below = count;
    }
    all
}

fn actors(release: &Release) -> u64 {
    let count: u64 = release
        .start
        .iter()
        .map(|start| u64::from(start.count))
        .sum();
    count.max(FEWEST)
}

fn simulated(code: &'static str, what: &str, actors: Vec<pb::ActorFailure>) -> TargetError {
    TargetError {
        code,
        what: format!("{what}, because the scenario says so"),
        subject: String::new(),
        hint: "this node is simulated: see the scenario of midflight sim".to_owned(),
        refused: false,
        actors,
    }
}

impl Target for SimTarget {
    fn stage(&self, module: &ModuleName, _: &Digest, _: &[u8]) -> Result<(), TargetError> {
        if self.script.fails(Kind::Stage) {
            let what = format!("module {module} does not compile");
            return Err(simulated("MF0301", &what, Vec::new()));
        }
        Ok(())
    }

    fn boot(&self, release: &Release, _: &BTreeMap<Digest, Arc<[u8]>>) -> Result<(), TargetError> {
        let mut runs = self.runs.lock();
        runs.release = Some(Arc::new(release.clone()));
        runs.since = Instant::now();
        Ok(())
    }

    fn begin(&self, order: UpgradeOrder) -> Result<Box<dyn Upgrade>, TargetError> {
        let mut runs = self.runs.lock();
        if std::mem::replace(&mut runs.held, true) {
            return Err(simulated("MF0306", "an upgrade is open", Vec::new()));
        }
        let upgrade = SimUpgrade {
            script: self.script.clone(),
            runs: self.runs.clone(),
            to: Arc::new(order.to),
            from: None,
            step: Step::Opened,
            suspended: None,
        };
        Ok(Box::new(upgrade))
    }

    fn status(&self) -> TargetStatus {
        let runs = self.runs.lock();
        let Some(release) = &runs.release else {
            return TargetStatus::default();
        };
        let (events, errors, traps) = counts(&self.script, &runs);
        let actors = actors(release);
        let modules = release.modules.len().max(1) as u64;
        let module =
            |(name, module): (&ModuleName, &midflight_patch::ReleaseModule)| ModuleStatus {
                name: name.clone(),
                vsn: module.vsn.clone(),
                blob: module.blob,
                actors: actors / modules,
                old_vsn: None,
                actors_on_old: 0,
                old_since: None,
                events: events / modules,
                traps: traps / modules,
                errors: errors / modules,
                restarts: 0,
            };
        TargetStatus {
            modules: release.modules.iter().map(module).collect(),
            actors,
            dead_letters: 0,
        }
    }

    fn measures(&self) -> Vec<ModuleMeasures> {
        let runs = self.runs.lock();
        let Some(release) = &runs.release else {
            return Vec::new();
        };
        let modules = release.modules.len().max(1) as u64;
        let module = |(name, module): (&ModuleName, &midflight_patch::ReleaseModule)| {
            let (now, old) = (load(&self.script, runs.patched), load(&self.script, false));
            let mut versions = vec![measures(now, runs.since.elapsed(), &module.vsn, modules)];
            if let Some((before, time)) = &runs.before
                && let Some(module) = before.modules.get(name)
            {
                versions.push(measures(old, *time, &module.vsn, modules));
            }
            ModuleMeasures {
                module: name.to_string(),
                versions,
                ..ModuleMeasures::default()
            }
        };
        release.modules.iter().map(module).collect()
    }

    fn sys(&self, _: &Who, _: &Op, _: Duration) -> Result<pb::SysResponse, TargetError> {
        let mut refusal = simulated("MF0360", "there are no actors to look at", Vec::new());
        refusal.refused = true;
        Err(refusal)
    }

    fn metrics(&self) -> Metrics {
        let status = self.status();
        Metrics {
            actors: vec![("waiting", status.actors)],
            ..Metrics::default()
        }
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

struct SimUpgrade {
    script: Arc<Script>,
    runs: Arc<Mutex<Runs>>,
    to: Arc<Release>,
    from: Option<Arc<Release>>,
    step: Step,
    suspended: Option<Instant>,
}

impl SimUpgrade {
    fn go(&mut self, from: Step, to: Step) -> Result<(), TargetError> {
        if self.step == from {
            self.step = to;
            return Ok(());
        }
        let what = format!("{to:?} cannot follow {:?}", self.step);
        Err(simulated("MF0307", &what, Vec::new()))
    }

    /// The node is free, and what was suspended runs.
    fn end(&mut self) {
        if self.step != Step::Over {
            self.step = Step::Over;
            self.suspended = None;
            self.runs.lock().held = false;
        }
    }
}

impl Upgrade for SimUpgrade {
    fn prepare(&mut self) -> Result<Prepared, TargetError> {
        self.go(Step::Opened, Step::Prepared)?;
        if self.script.fails(Kind::Upgrade) {
            self.end();
            let actor = pb::ActorFailure {
                pid: 1,
                name: "simulated".to_owned(),
                module: self.to.name.clone(),
                reason: "code_change failed".to_owned(),
            };
            return Err(simulated(
                "MF0308",
                "a state cannot be migrated",
                vec![actor],
            ));
        }
        Ok(Prepared {
            actors: actors(&self.to),
            rounds: 1,
            dirty: 0,
            estimated_pause: Duration::ZERO,
        })
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
        let since = self.suspended.take();
        let mut runs = self.runs.lock();
        self.from = runs.release.replace(self.to.clone());
        runs.before = self.from.clone().map(|from| (from, runs.since.elapsed()));
        runs.since = Instant::now();
        runs.patched = true;
        Ok(Resumed {
            actors: actors(&self.to),
            migrated_in_pause: 0,
            pause: since.map_or(Duration::ZERO, |since| since.elapsed()) + self.script.pause(),
        })
    }

    fn confirm(&mut self) -> Result<u64, TargetError> {
        if self.script.fails(Kind::Confirm) {
            return Err(simulated("MF0316", "it is not confirmed", Vec::new()));
        }
        if self.step != Step::Confirmed {
            self.go(Step::Probation, Step::Confirmed)?;
        }
        Ok(0)
    }

    fn finish(&mut self) -> Result<(), TargetError> {
        self.go(Step::Confirmed, Step::Confirmed)?;
        self.from = None;
        self.runs.lock().before = None;
        self.end();
        Ok(())
    }

    fn rollback(&mut self, _: Duration, _: OnDownFailure) -> Result<RolledBack, TargetError> {
        if self.script.fails(Kind::Rollback) {
            return Err(simulated("MF0316", "it does not go back", Vec::new()));
        }
        let Some(from) = self.from.take() else {
            return Err(simulated("MF0307", "nothing has resumed", Vec::new()));
        };
        let mut runs = self.runs.lock();
        let pinned = actors(&from);
        runs.release = Some(from);
        runs.before = None;
        runs.since = Instant::now();
        runs.patched = false;
        drop(runs);
        self.end();
        Ok(RolledBack {
            pinned,
            pause: self.script.pause(),
            ..RolledBack::default()
        })
    }

    fn abort(&mut self) {
        if !matches!(self.step, Step::Probation | Step::Confirmed) {
            self.end();
        }
    }

    fn health(&self) -> Health {
        if !matches!(self.step, Step::Probation | Step::Confirmed) {
            return Health::default();
        }
        let runs = self.runs.lock();
        let (events, errors, traps) = counts(&self.script, &runs);
        Health {
            events,
            traps,
            errors,
            // A handler that fails in probation parks its actor.
            parked: traps.min(actors(&self.to)),
            since_resume: runs.since.elapsed(),
            ..Health::default()
        }
    }

    fn suspended_for(&self) -> Option<Duration> {
        self.suspended.map(|since| since.elapsed())
    }
}

impl Drop for SimUpgrade {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_exponential() {
        let samples = |n| latencies(1_000.0, n);
        let all = samples(100_000);
        assert!((99_990..=100_000).contains(&all.iter().map(|(_, count)| count).sum::<u64>()));
        // Half of them below 693 µs, which is 10,830 units: in bucket 165, whose values begin at 10,752.
        let below: u64 = all
            .iter()
            .filter(|(bucket, _)| *bucket < 165)
            .map(|(_, count)| count)
            .sum();
        assert!((48_000..=50_000).contains(&below), "{below}");
        assert!(latencies(0.0, 5).is_empty());
    }
}
