//! A target whose actors are plain values: an actor is a number, and `code_change` adds what the vsns differ by. It keeps
//! the order of calls that the trait demands, and migrates copies, all or none, as a runtime does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use midflight_agent::target::*;
use midflight_patch::{Digest, ModuleName, Release, Vsn};
use midflight_proto::agent::v1::{self as pb, sys_request::Op};
use parking_lot::{Condvar, Mutex};

/// What a test sees of a target and may do to it.
#[derive(Default)]
pub struct Control {
    state: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Name, module, vsn, value.
    actors: Vec<Actor>,
    blobs: BTreeMap<Digest, String>,
    calls: Vec<String>,
    /// Calls that wait until they are let go.
    held: BTreeSet<String>,
    /// Calls that fail.
    failing: BTreeSet<String>,
    /// What each module runs.
    loaded: BTreeMap<ModuleName, (Vsn, Digest)>,
    open: bool,
    /// What `suspended_for` says of suspended actors, whatever the clock says.
    pretended: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
struct Actor {
    name: String,
    module: ModuleName,
    vsn: Vsn,
    value: i64,
}

impl Control {
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    /// Vsn and value of each actor.
    pub fn actors(&self) -> Vec<(String, i64)> {
        self.state
            .lock()
            .actors
            .iter()
            .map(|actor| (actor.vsn.to_string(), actor.value))
            .collect()
    }

    pub fn hold(&self, call: &str) {
        self.state.lock().held.insert(call.to_owned());
    }

    pub fn let_go(&self, call: &str) {
        self.state.lock().held.remove(call);
        self.changed.notify_all();
    }

    pub fn fail(&self, call: &str) {
        self.state.lock().failing.insert(call.to_owned());
    }

    pub fn mend(&self, call: &str) {
        self.state.lock().failing.remove(call);
    }

    pub fn pretend_suspended(&self, so_long: Duration) {
        self.state.lock().pretended = Some(so_long);
    }

    /// Whether an upgrade is open.
    pub fn is_open(&self) -> bool {
        self.state.lock().open
    }

    /// Returns once this was called.
    pub async fn called(self: &Arc<Self>, call: &str) {
        self.called_times(call, 1).await;
    }

    /// Returns once this was called so many times.
    pub async fn called_times(self: &Arc<Self>, call: &str, times: usize) {
        let call = call.to_owned();
        self.until(move |state| state.calls.iter().filter(|one| **one == call).count() >= times)
            .await;
    }

    /// Returns once no upgrade is open.
    pub async fn closed(self: &Arc<Self>) {
        self.until(|state| !state.open).await;
    }

    async fn until(self: &Arc<Self>, done: impl Fn(&Inner) -> bool + Send + 'static) {
        let control = self.clone();
        let wait = move || {
            let mut state = control.state.lock();
            let deadline = Instant::now() + Duration::from_secs(10);
            while !done(&state) {
                let late = control.changed.wait_until(&mut state, deadline).timed_out();
                assert!(
                    !late,
                    "it happens within 10 s; these were called: {:?}",
                    state.calls
                );
            }
        };
        tokio::task::spawn_blocking(wait).await.unwrap();
    }

    fn call(&self, call: &str) -> Result<(), TargetError> {
        let mut state = self.state.lock();
        state.calls.push(call.to_owned());
        self.changed.notify_all();
        while state.held.contains(call) {
            self.changed.wait(&mut state);
        }
        if state.failing.contains(call) {
            Err(error("MF0399", format!("{call} fails")))
        } else {
            Ok(())
        }
    }
}

fn error(code: &'static str, what: String) -> TargetError {
    let hint = "mend it".to_owned();
    TargetError {
        code,
        what,
        subject: "counter".into(),
        hint,
        refused: false,
        actors: Vec::new(),
    }
}

fn loaded(release: &Release) -> BTreeMap<ModuleName, (Vsn, Digest)> {
    let modules = release.modules.iter();
    modules
        .map(|(name, module)| (name.clone(), (module.vsn.clone(), module.blob)))
        .collect()
}

pub struct Values(Arc<Control>);

impl Values {
    pub fn new(control: Arc<Control>) -> Self {
        Self(control)
    }
}

impl Target for Values {
    fn stage(&self, _: &ModuleName, blob: &Digest, component: &[u8]) -> Result<(), TargetError> {
        let text = String::from_utf8_lossy(component).into_owned();
        if self.0.state.lock().blobs.contains_key(blob) {
            return Ok(());
        }
        self.0.call("stage")?;
        if text.contains("broken") || !text.starts_with("component ") {
            return Err(TargetError {
                refused: true,
                ..error("MF0301", "the component does not compile".into())
            });
        }
        self.0.state.lock().blobs.insert(*blob, text);
        Ok(())
    }

    fn boot(
        &self,
        release: &Release,
        blobs: &BTreeMap<Digest, Arc<[u8]>>,
    ) -> Result<(), TargetError> {
        self.0.call(&format!("boot {}", release.vsn))?;
        for (name, module) in &release.modules {
            self.stage(name, &module.blob, &blobs[&module.blob])?;
        }
        let mut state = self.0.state.lock();
        state.loaded = loaded(release);
        for start in &release.start {
            for name in start.actor_names() {
                let vsn = release.modules[&start.module].vsn.clone();
                let value = start.args.as_i64().unwrap();
                state.actors.push(Actor {
                    name,
                    module: start.module.clone(),
                    vsn,
                    value,
                });
            }
        }
        Ok(())
    }

    fn begin(&self, order: UpgradeOrder) -> Result<Box<dyn Upgrade>, TargetError> {
        self.0.call(&format!("begin {:?}", order.plan.direction))?;
        let mut state = self.0.state.lock();
        if state.open {
            return Err(TargetError {
                refused: true,
                ..error("MF0302", "an upgrade is open".into())
            });
        }
        assert!(
            order
                .plan
                .components()
                .all(|(_, blob)| state.blobs.contains_key(blob))
        );
        state.open = true;
        let control = self.0.clone();
        Ok(Box::new(Change {
            control,
            order,
            stage: 0,
            old: None,
            new: Vec::new(),
            suspended: None,
        }))
    }

    fn status(&self) -> TargetStatus {
        let state = self.0.state.lock();
        let module = |(name, (vsn, blob)): (&ModuleName, &(Vsn, Digest))| ModuleStatus {
            name: name.clone(),
            vsn: vsn.clone(),
            blob: *blob,
            actors: 0,
            old_vsn: None,
            actors_on_old: 0,
            old_since: None,
            events: 0,
            traps: 0,
            errors: 0,
            restarts: 0,
        };
        TargetStatus {
            modules: state.loaded.iter().map(module).collect(),
            actors: state.actors.len() as u64,
            ..Default::default()
        }
    }

    fn sys(&self, who: &Who, op: &Op, _: Duration) -> Result<pb::SysResponse, TargetError> {
        let state = self.0.state.lock();
        let found = |name: &String| state.actors.iter().find(|one| one.name == *name);
        let actor = match who {
            Who::Node => return Ok(pb::SysResponse::default()),
            Who::Name(name) => found(name),
            Who::Pid(_) | Who::Module(_) => None,
        };
        let actor = actor.ok_or_else(|| error("MF0303", "no such actor".into()))?;
        let mut answer = pb::SysResponse {
            status: Some(pb::ActorStatus {
                name: actor.name.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        if matches!(op, Op::GetState(_)) {
            answer.state = actor.value.to_string();
        }
        Ok(answer)
    }

    fn metrics(&self) -> Metrics {
        Metrics {
            dead_letters: 3,
            ..Metrics::default()
        }
    }

    fn drain(&self, _: Duration) -> bool {
        self.0.call("drain").is_ok()
    }
}

type Modules = BTreeMap<ModuleName, (Vsn, Digest)>;

/// One upgrade. `stage` counts the calls that went well: prepare 1, suspend 2, load 3, migrate 4, resume 5, confirm 6.
struct Change {
    control: Arc<Control>,
    order: UpgradeOrder,
    stage: u8,
    old: Option<(Vec<Actor>, Modules)>,
    new: Vec<Actor>,
    suspended: Option<Instant>,
}

impl Change {
    fn step(&mut self, name: &str, stage: u8) -> Result<(), TargetError> {
        assert_eq!(self.stage + 1, stage, "{name} out of order");
        if let Err(error) = self.control.call(name) {
            if stage < 6 {
                self.end();
            }
            return Err(error);
        }
        self.stage = stage;
        Ok(())
    }

    fn end(&mut self) {
        self.suspended = None;
        self.stage = u8::MAX;
        self.control.state.lock().open = false;
        self.control.changed.notify_all();
    }
}

impl Upgrade for Change {
    fn prepare(&mut self) -> Result<Prepared, TargetError> {
        self.step("prepare", 1)?;
        let state = self.control.state.lock();
        let mut new = state.actors.clone();
        for module in &self.order.plan.modules {
            for actor in new.iter_mut().filter(|actor| actor.module == module.name) {
                for hop in &module.hops {
                    let number = |vsn: &Vsn| vsn.as_str().parse::<i64>().unwrap();
                    actor.value += 100 * (number(&hop.vsn) - number(&actor.vsn));
                    actor.vsn = hop.vsn.clone();
                }
            }
        }
        let fails = self
            .order
            .plan
            .components()
            .any(|(_, blob)| state.blobs[blob].contains("fails"));
        drop(state);
        if fails {
            self.end();
            let actor = pb::ActorFailure {
                pid: 2,
                name: "counter.2".into(),
                ..Default::default()
            };
            let error = error("MF0304", "code_change fails for 1 actor".into());
            return Err(TargetError {
                actors: vec![actor],
                ..error
            });
        }
        self.new = new;
        Ok(Prepared {
            actors: 3,
            rounds: 1,
            ..Default::default()
        })
    }

    fn suspend(&mut self) -> Result<(), TargetError> {
        self.step("suspend", 2)?;
        self.suspended = Some(Instant::now());
        Ok(())
    }

    fn load(&mut self) -> Result<(), TargetError> {
        self.step("load", 3)
    }

    fn migrate(&mut self) -> Result<(), TargetError> {
        self.step("migrate", 4)
    }

    fn resume(&mut self) -> Result<Resumed, TargetError> {
        self.step("resume", 5)?;
        let mut state = self.control.state.lock();
        let actors = std::mem::replace(&mut state.actors, self.new.clone());
        let modules = std::mem::replace(&mut state.loaded, loaded(&self.order.to));
        self.old = Some((actors, modules));
        let pause = self.suspended.take().unwrap().elapsed();
        Ok(Resumed {
            actors: 3,
            migrated_in_pause: 1,
            pause,
        })
    }

    fn confirm(&mut self) -> Result<u64, TargetError> {
        self.step("confirm", 6)?;
        Ok(2)
    }

    fn finish(&mut self) -> Result<(), TargetError> {
        self.step("finish", 7)?;
        self.end();
        Ok(())
    }

    fn rollback(&mut self, _: Duration, _: OnDownFailure) -> Result<RolledBack, TargetError> {
        assert!(self.stage == 5 || self.stage == 6);
        self.control.call("rollback")?;
        let (actors, modules) = self.old.take().unwrap();
        {
            let mut state = self.control.state.lock();
            (state.actors, state.loaded) = (actors, modules);
        }
        self.end();
        Ok(RolledBack {
            pinned: 3,
            ..Default::default()
        })
    }

    fn abort(&mut self) {
        if self.stage < 5 {
            let _ = self.control.call("abort"); // held or noted, never failing
            self.end();
        }
    }

    fn health(&self) -> Health {
        Health {
            events: 7,
            ..Default::default()
        }
    }

    fn suspended_for(&self) -> Option<Duration> {
        let pretended = self.control.state.lock().pretended;
        self.suspended
            .map(|since| pretended.unwrap_or(since.elapsed()))
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        self.abort();
    }
}
