//! The runtime of this project as a [`Target`]: it says the same things in the agent's words, and remembers in which
//! phase a transaction is, which the runtime itself keeps in types.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use midflight_patch::{Digest, ModuleName, Release};
use midflight_proto::agent::v1::{self as pb, sys_request::Op};
use midflight_runtime as rt;
use midflight_runtime::upgrade::{
    Loaded, Migrated, Opened, Prepared as PreparedStep, Probation, Suspended,
};

use crate::{
    Config, Error,
    runtime_sys::{Sys, histogram, metrics},
    target::{
        Health, Metrics, ModuleMeasures, ModuleStatus, OnDownFailure, Prepared, Resumed,
        RolledBack, Target, TargetError, TargetStatus, Upgrade, UpgradeOrder, VersionMeasures, Who,
    },
};

/// A node of this process.
pub struct RuntimeTarget {
    node: rt::Node,
    mailbox: u64,
}

impl RuntimeTarget {
    /// Starts a node without actors; compiled code is kept under `data_dir/code`, or where `code_cache` says.
    #[allow(clippy::new_ret_no_self)] // the agent knows targets by their trait alone
    pub fn new(config: &Config) -> Result<Arc<dyn Target>, Error> {
        let limits = &config.limits;
        let limits = rt::Limits {
            workers: limits.workers.get() as usize,
            actors: limits.actors.get() as u32,
            state_bytes: limits.state_bytes.get() as usize,
            message_bytes: limits.message_bytes.get() as usize,
            mailbox: limits.mailbox.get() as usize,
            application_mailbox_mb: limits.application_mailbox_mb.get() as usize,
            batch: limits.batch.get() as usize,
            handler_ms: limits.handler_ms.get(),
            effects: limits.effects.get() as usize,
            log_lines: limits.log_lines.get() as usize,
            instance_memory_mb: limits.instance_memory_mb.get() as usize,
            socket_buffer_bytes: limits.socket_buffer_bytes.get() as usize,
            connections: limits.connections.get() as usize,
            hermetic: limits.hermetic,
            actor_log_lines: limits.actor_log_lines.get() as usize,
            actors_per_application: limits.actors_per_application.get() as u32,
            connections_per_application: limits.connections_per_application.get() as usize,
            application_buffer_mb: limits.application_buffer_mb.get() as usize,
        };
        let mailbox = limits.mailbox as u64;
        let cache = config
            .code_cache
            .clone()
            .unwrap_or_else(|| config.data_dir.join("code"));
        let node = rt::Node::start(rt::Config {
            limits,
            cache: Some(cache),
            address: config.guest_address,
        })
        .map_err(|e| Error::from(error(&e)))?;
        Ok(Arc::new(Self { node, mailbox }))
    }
}

pub(crate) fn error(e: &rt::Error) -> TargetError {
    use rt::Error as E;
    let subject = match e {
        E::Component { module, .. }
        | E::OnLoad { module, .. }
        | E::WrongVsn { module, .. }
        | E::NotPurged { module, .. }
        | E::ModuleInUse { module, .. }
        | E::ModuleExists(module)
        | E::NoModule(module) => module.to_string(),
        E::Start { name, .. } => name.clone(),
        E::NoActor(actor)
        | E::SysTimeout { actor, .. }
        | E::Sys { actor, .. }
        | E::MailboxPressure { actor, .. } => actor.clone(),
        _ => String::new(),
    };
    let actors = match e {
        E::CodeChange(failing) => failing.iter().map(failure).collect(),
        _ => Vec::new(),
    };
    TargetError {
        code: e.code(),
        what: e.to_string(),
        subject,
        hint: e.hint().to_owned(),
        refused: e.refused(),
        actors,
    }
}

pub(crate) fn failure(f: &rt::ActorFailure) -> pb::ActorFailure {
    pb::ActorFailure {
        pid: f.pid,
        name: f.name.clone(),
        module: f.module.clone(),
        reason: f.reason.clone(),
    }
}

impl Target for RuntimeTarget {
    fn stage(
        &self,
        module: &ModuleName,
        blob: &Digest,
        component: &[u8],
    ) -> Result<(), TargetError> {
        self.node
            .stage(module, blob, component)
            .map_err(|e| error(&e))
    }

    fn boot(
        &self,
        release: &Release,
        blobs: &BTreeMap<Digest, Arc<[u8]>>,
    ) -> Result<(), TargetError> {
        self.node.boot(release, blobs).map_err(|e| error(&e))
    }

    fn begin(&self, order: UpgradeOrder) -> Result<Box<dyn Upgrade>, TargetError> {
        let order = rt::Order {
            pause_budget: order.pause_budget,
            prepare_timeout: order.prepare_timeout,
            on_down_failure: policy(order.on_down_failure),
            ..rt::Order::of_plan(&order.plan, &order.to)
        };
        let opened = self.node.begin(order).map_err(|e| error(&e))?;
        Ok(Box::new(RuntimeUpgrade(Step::Opened(opened))))
    }

    fn status(&self) -> TargetStatus {
        let module = |m: rt::ModuleStatus| ModuleStatus {
            name: m.name,
            vsn: m.vsn,
            blob: m.blob,
            actors: m.actors,
            old_vsn: m.old_vsn,
            actors_on_old: m.actors_on_old,
            old_since: m.old_since,
            events: m.events,
            traps: m.traps,
            errors: m.errors,
            restarts: m.restarts,
        };
        TargetStatus {
            modules: self.node.modules().into_iter().map(module).collect(),
            actors: self.node.actor_count(),
            dead_letters: self.node.dead_letters(),
        }
    }

    fn measures(&self) -> Vec<ModuleMeasures> {
        let version = |v: rt::VersionMeasures| VersionMeasures {
            vsn: v.vsn.into(),
            events: v.events,
            traps: v.traps,
            errors: v.errors,
            latency: v.latency,
            depth: v.depth,
        };
        let module = |m: rt::ModuleMeasures| ModuleMeasures {
            module: m.module.into(),
            versions: m.versions.into_iter().map(version).collect(),
            restarts: m.restarts,
            mailbox: m.mailbox,
            mailbox_max: m.mailbox_max,
        };
        let mut all: Vec<_> = self.node.measures().into_iter().map(module).collect();
        all.sort_by(|a, b| a.module.cmp(&b.module));
        all
    }

    fn sys(&self, who: &Who, op: &Op, timeout: Duration) -> Result<pb::SysResponse, TargetError> {
        let sys = Sys {
            node: &self.node,
            mailbox: self.mailbox,
            timeout,
        };
        sys.run(who, op)
    }

    fn metrics(&self) -> Metrics {
        metrics(&self.node)
    }

    fn drain(&self, deadline: Duration) -> bool {
        self.node.drain(deadline)
    }
}

/// Where a transaction is.
enum Step {
    Opened(Opened),
    Prepared(PreparedStep),
    Suspended(Suspended),
    Loaded(Loaded),
    Migrated(Migrated),
    Probation(Probation),
    /// Aborted, finished, or rolled back.
    Over,
}

struct RuntimeUpgrade(Step);

fn out_of_order(call: &str) -> TargetError {
    TargetError {
        code: "MF0307",
        what: format!("{call} is not possible in this phase"),
        subject: String::new(),
        hint: "see the phases of a node transaction in docs/architecture.md".into(),
        refused: true,
        actors: Vec::new(),
    }
}

fn policy(on_failure: OnDownFailure) -> rt::OnDownFailure {
    match on_failure {
        OnDownFailure::Hold => rt::OnDownFailure::Hold,
        OnDownFailure::Restore => rt::OnDownFailure::Restore,
        OnDownFailure::Stop => rt::OnDownFailure::Stop,
    }
}

impl RuntimeUpgrade {
    /// The step is taken out; a failure leaves the transaction over, which the runtime has aborted then.
    fn take(&mut self) -> Step {
        std::mem::replace(&mut self.0, Step::Over)
    }
}

impl Upgrade for RuntimeUpgrade {
    fn prepare(&mut self) -> Result<Prepared, TargetError> {
        match self.take() {
            Step::Opened(step) => {
                let (step, report) = step.prepare().map_err(|e| error(&e))?;
                self.0 = Step::Prepared(step);
                Ok(Prepared {
                    actors: report.actors,
                    rounds: report.rounds,
                    dirty: report.dirty,
                    estimated_pause: report.estimated_pause,
                })
            }
            step => self.refuse(step, "prepare"),
        }
    }

    fn suspend(&mut self) -> Result<(), TargetError> {
        match self.take() {
            Step::Prepared(step) => {
                self.0 = Step::Suspended(step.suspend().map_err(|e| error(&e))?);
                Ok(())
            }
            step => self.refuse(step, "suspend"),
        }
    }

    fn load(&mut self) -> Result<(), TargetError> {
        match self.take() {
            Step::Suspended(step) => {
                self.0 = Step::Loaded(step.load().map_err(|e| error(&e))?);
                Ok(())
            }
            step => self.refuse(step, "load"),
        }
    }

    fn migrate(&mut self) -> Result<(), TargetError> {
        match self.take() {
            Step::Loaded(step) => {
                self.0 = Step::Migrated(step.migrate().map_err(|e| error(&e))?);
                Ok(())
            }
            step => self.refuse(step, "migrate"),
        }
    }

    fn resume(&mut self) -> Result<Resumed, TargetError> {
        match self.take() {
            Step::Migrated(step) => {
                let (step, resumed) = step.resume().map_err(|e| error(&e))?;
                self.0 = Step::Probation(step);
                Ok(Resumed {
                    actors: resumed.actors,
                    migrated_in_pause: resumed.migrated_in_pause,
                    pause: resumed.pause,
                })
            }
            step => self.refuse(step, "resume"),
        }
    }

    fn confirm(&mut self) -> Result<u64, TargetError> {
        match &mut self.0 {
            Step::Probation(step) => Ok(step.confirm()),
            _ => Err(out_of_order("confirm")),
        }
    }

    fn finish(&mut self) -> Result<(), TargetError> {
        match self.take() {
            Step::Probation(step) => step.finish().map_err(|(step, e)| {
                self.0 = Step::Probation(step);
                error(&e)
            }),
            step => self.refuse(step, "finish"),
        }
    }

    fn rollback(
        &mut self,
        pause_budget: Duration,
        on_failure: OnDownFailure,
    ) -> Result<RolledBack, TargetError> {
        match self.take() {
            Step::Probation(step) => {
                let done =
                    step.rollback(pause_budget, policy(on_failure))
                        .map_err(|(step, e)| {
                            self.0 = Step::Probation(step);
                            error(&e)
                        })?;
                Ok(RolledBack {
                    pinned: done.pinned,
                    migrated: done.migrated,
                    restored: done.restored,
                    events_discarded: done.events_discarded,
                    stopped: done.stopped,
                    held: done.held.iter().map(failure).collect(),
                    redelivered: done.redelivered,
                    pause: done.pause,
                })
            }
            step => self.refuse(step, "rollback"),
        }
    }

    fn abort(&mut self) {
        let step = self.take();
        // Dropping a step before resume aborts it; after resume there is nothing to abort.
        if matches!(step, Step::Probation(_)) {
            self.0 = step;
        }
    }

    fn health(&self) -> Health {
        match &self.0 {
            Step::Probation(step) => {
                let h = step.health();
                Health {
                    events: h.events,
                    traps: h.traps,
                    errors: h.errors,
                    restarts: h.restarts,
                    parked: h.parked,
                    ended: h.ended,
                    since_resume: h.since_resume,
                    pauses: histogram(&h.pauses),
                }
            }
            _ => Health::default(),
        }
    }

    fn suspended_for(&self) -> Option<Duration> {
        match &self.0 {
            Step::Suspended(step) => Some(step.suspended_for()),
            Step::Loaded(step) => Some(step.suspended_for()),
            Step::Migrated(step) => Some(step.suspended_for()),
            _ => None,
        }
    }
}

impl RuntimeUpgrade {
    /// Out of order: the transaction stays where it is.
    fn refuse<T>(&mut self, step: Step, call: &str) -> Result<T, TargetError> {
        self.0 = step;
        Err(out_of_order(call))
    }
}
