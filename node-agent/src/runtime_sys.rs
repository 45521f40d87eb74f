//! `sys` of this project's runtime in the protocol's words: each operation on an actor, on a module, or on the node; and
//! the numbers of a node. What an operation means, and its bounds, stand in the runtime.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use midflight_proto::agent::v1::{self as pb, sys_request::Op};
use midflight_runtime as rt;
use rt::Switch;

use crate::{
    runtime_target::{error, failure},
    target::{Metrics, Pauses, TargetError, VersionCounts, Who},
};

/// Rows of a top, and actors of a page, when the request names no number.
const TOP_ROWS: usize = 20;
const PAGE: usize = 100;
/// The reason of a `terminate` that names none.
const SHUTDOWN: &str = "shutdown";
/// Over which a top measures, and the longest.
const INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(2);

/// A node of this process, as `sys` needs it.
pub(crate) struct Sys<'a> {
    pub(crate) node: &'a rt::Node,
    /// `limits.mailbox`.
    pub(crate) mailbox: u64,
    pub(crate) timeout: Duration,
}

impl Sys<'_> {
    pub(crate) fn run(&self, who: &Who, op: &Op) -> Result<pb::SysResponse, TargetError> {
        match who {
            Who::Pid(pid) => self.actor(&rt::ActorRef::Pid(*pid), op),
            Who::Name(name) => self.actor(&rt::ActorRef::Name(name.clone()), op),
            Who::Module(module) => self.module(module, op),
            Who::Node => self.whole(op),
        }
        .map_err(|e| error(&e))
    }

    fn actor(&self, actor: &rt::ActorRef, op: &Op) -> Result<pb::SysResponse, rt::Error> {
        let (node, timeout) = (self.node, self.timeout);
        let mut answer = pb::SysResponse::default();
        match op {
            Op::GetState(_) => answer.state = node.get_state(actor, timeout)?,
            Op::ReplaceState(new) => {
                answer.state = node.replace_state(actor, &new.state, timeout)?;
            }
            Op::Log(_) => answer.log = node.log(actor, timeout)?.into_iter().map(line).collect(),
            Op::Suspend(_) => return Ok(self.status(node.suspend(actor, timeout)?)),
            Op::Resume(_) => return Ok(self.status(node.resume(actor, timeout)?)),
            Op::Terminate(order) => {
                return Ok(self.status(node.terminate(actor, reason(order), timeout)?));
            }
            Op::Statistics(order) => {
                answer.counts = node
                    .statistics(actor, switch(order.switch()), timeout)?
                    .map(counts);
            }
            Op::Trace(order) => {
                answer.trace = match switch(order.switch()) {
                    Switch::On => {
                        node.trace(actor, trace_order(order), timeout)?;
                        node.trace_report(actor, false, timeout)?
                    }
                    other => node.trace_report(actor, other == Switch::Off, timeout)?,
                }
                .map(trace);
            }
            _ => {}
        }
        let status = node.status(actor, timeout)?;
        answer.status = Some(actor_status(status, self.mailbox));
        Ok(answer)
    }

    fn status(&self, status: rt::ActorStatus) -> pb::SysResponse {
        pb::SysResponse {
            status: Some(actor_status(status, self.mailbox)),
            ..pb::SysResponse::default()
        }
    }

    fn module(&self, module: &str, op: &Op) -> Result<pb::SysResponse, rt::Error> {
        let (node, timeout) = (self.node, self.timeout);
        let mut answer = pb::SysResponse::default();
        let mut affected = |done: rt::Affected| {
            answer.affected = Some(pb::SysAffected {
                actors: done.actors,
                gone: done.gone,
            });
        };
        match op {
            Op::Suspend(_) => affected(node.suspend_module(module, timeout)?),
            Op::Resume(_) => affected(node.resume_module(module)?),
            Op::Terminate(order) => {
                affected(node.terminate_module(module, reason(order), timeout)?);
            }
            Op::CatchUp(_) => {
                let module = module.parse().map_err(|_| {
                    rt::Error::SysArgument(format!("{module:?} is no name of a module"))
                })?;
                let caught = node.catch_up(&module)?;
                answer.caught_up = Some(pb::CaughtUp {
                    updated: caught.updated,
                    held: caught.held.iter().map(failure).collect(),
                });
            }
            Op::Statistics(order) => {
                let stands = node.module_statistics(module, switch(order.switch()))?;
                answer.counts = stands.counted.map(counts);
                answer.counters = Some(pb::ModuleStatus {
                    name: stands.actors.module,
                    vsn: stands.actors.vsn,
                    actors: stands.actors.actors,
                    events: stands.events,
                    traps: stands.traps,
                    errors: stands.errors,
                    restarts: stands.restarts,
                    ..pb::ModuleStatus::default()
                });
            }
            Op::Trace(order) => {
                answer.trace = match switch(order.switch()) {
                    Switch::On => {
                        node.trace_module(module, trace_order(order))?;
                        node.module_trace_report(module, false)?
                    }
                    other => node.module_trace_report(module, other == Switch::Off)?,
                }
                .map(trace);
            }
            _ => {}
        }
        answer.module = Some(module_actors(node.module_status(module)?));
        Ok(answer)
    }

    fn whole(&self, op: &Op) -> Result<pb::SysResponse, rt::Error> {
        let (node, timeout) = (self.node, self.timeout);
        let mut answer = pb::SysResponse::default();
        match op {
            Op::List(list) => {
                let filter = rt::Filter {
                    module: some(&list.module),
                    vsn: some(&list.vsn),
                    status: some(&list.status),
                };
                let page = node.list(&filter, list.cursor, or(list.limit, PAGE), timeout)?;
                answer.next_cursor = page.next;
                answer.actors = page
                    .actors
                    .into_iter()
                    .map(|a| actor_status(a, self.mailbox))
                    .collect();
            }
            Op::Top(top) => {
                let interval = match top.interval_ms {
                    0 => INTERVAL,
                    ms => Duration::from_millis(ms.into()).min(MAX_INTERVAL),
                };
                let by = match top.by() {
                    pb::SysTopBy::Unspecified | pb::SysTopBy::Mailbox => rt::TopBy::Mailbox,
                    pb::SysTopBy::Messages => rt::TopBy::Messages,
                    pb::SysTopBy::Traps => rt::TopBy::Traps,
                    pb::SysTopBy::State => rt::TopBy::State,
                };
                let module = some(&top.module);
                let before = node.event_counts(timeout);
                std::thread::sleep(interval);
                let rows = or(top.limit, TOP_ROWS);
                let found = node.top(&before, by, module.as_deref(), rows, timeout)?;
                answer.top = Some(self.top(found));
            }
            Op::OldCode(_) => answer.old_code = old_code(node),
            _ => {}
        }
        Ok(answer)
    }

    fn top(&self, top: rt::Top) -> pb::TopReport {
        let row = |row: rt::TopRow| pb::TopRow {
            status: Some(actor_status(row.status, self.mailbox)),
            per_second: row.per_second,
            traps: row.traps,
        };
        pb::TopReport {
            rows: top.rows.into_iter().map(row).collect(),
            actors: top.actors,
            per_second: top.per_second,
            mailbox: top.mailbox,
            busy: top.busy,
        }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn or(number: u32, default: usize) -> usize {
    match number {
        0 => default,
        number => number as usize,
    }
}

fn reason(order: &pb::SysTerminate) -> &str {
    match order.reason.as_str() {
        "" => SHUTDOWN,
        reason => reason,
    }
}

fn switch(switch: pb::SysSwitch) -> Switch {
    match switch {
        pb::SysSwitch::Unspecified | pb::SysSwitch::Get => Switch::Get,
        pb::SysSwitch::On => Switch::On,
        pb::SysSwitch::Off => Switch::Off,
    }
}

fn trace_order(order: &pb::SysTrace) -> rt::TraceOrder {
    let default = rt::TraceOrder::default();
    rt::TraceOrder {
        sample: order.sample.max(1),
        entries: or(order.entries, default.entries),
        body_bytes: order.body_bytes.map_or(default.body_bytes, |b| b as usize),
        events: match order.events {
            0 => default.events,
            events => events,
        },
        time: match order.time_ms {
            0 => default.time,
            ms => Duration::from_millis(ms.into()),
        },
    }
}

fn trace(report: rt::TraceReport) -> pb::TraceReport {
    let entry = |entry: rt::TraceEntry| pb::TraceEntry {
        seq: entry.seq,
        clock_ns: entry.wall,
        pid: entry.pid,
        way: entry.way.text().to_owned(),
        kind: entry.kind.to_owned(),
        peer: entry.peer,
        bytes: entry.bytes,
        body: entry.body,
    };
    pb::TraceReport {
        running: report.running,
        events: report.events,
        dropped: report.dropped,
        entries: report.entries.into_iter().map(entry).collect(),
    }
}

fn line(line: rt::LogLine) -> pb::LogLine {
    let level = match line.level {
        rt::LogLevel::Debug => "debug",
        rt::LogLevel::Info => "info",
        rt::LogLevel::Warn => "warn",
        rt::LogLevel::Error => "error",
    };
    pb::LogLine {
        clock_ns: line.wall,
        level: level.to_owned(),
        text: line.text,
    }
}

fn counts(counted: rt::Statistics) -> pb::SysCounts {
    let since = counted.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    pb::SysCounts {
        since_ns: since.as_nanos().try_into().unwrap_or(u64::MAX),
        events: counted.events,
        messages_in: counted.messages_in,
        messages_out: counted.messages_out,
        errors: counted.errors,
        mailbox: counted.mailbox,
    }
}

fn actor_status(status: rt::ActorStatus, mailbox_bound: u64) -> pb::ActorStatus {
    pb::ActorStatus {
        pid: status.pid,
        name: status.name,
        module: status.module,
        vsn: status.vsn,
        status: status.status.to_owned(),
        mailbox: status.mailbox,
        mailbox_bound,
        state_bytes: status.state_bytes,
        events: status.events,
        suspended: status.suspended,
    }
}

fn module_actors(all: rt::ModuleActors) -> pb::ModuleActors {
    pb::ModuleActors {
        module: all.module,
        vsn: all.vsn,
        actors: all.actors,
        waiting: all.waiting,
        running: all.running,
        suspended: all.suspended,
        parked: all.parked,
        held: all.held,
        mailbox: all.mailbox,
        mailbox_max: all.mailbox_max,
    }
}

/// Who runs old code.
pub(crate) fn old_code(node: &rt::Node) -> Vec<pb::OldCode> {
    let modules = node.modules();
    let old = |old: rt::upgrade::OldUse| {
        let current = modules.iter().find(|m| m.name == old.module);
        let since = SystemTime::now().duration_since(old.since);
        pb::OldCode {
            current: current.map_or_else(String::new, |m| m.vsn.to_string()),
            module: old.module.into(),
            vsn: old.vsn.into(),
            since_ms: since.map_or(0, |ago| ago.as_millis().try_into().unwrap_or(u64::MAX)),
            actors: old.actors,
            pids: old.pids,
        }
    };
    node.old_code().into_iter().map(old).collect()
}

/// The node in numbers.
pub(crate) fn metrics(node: &rt::Node) -> Metrics {
    let all = node.metrics();
    let pauses = node.pauses();
    let version = |version: rt::VersionNumbers| VersionCounts {
        module: version.module.into(),
        vsn: version.vsn.into(),
        events: version.events,
        traps: version.traps,
        errors: version.errors,
    };
    Metrics {
        actors: all.actors.to_vec(),
        modules: all
            .modules
            .into_iter()
            .map(|m| (m.name.into(), m.actors, m.restarts))
            .collect(),
        versions: all.versions.into_iter().map(version).collect(),
        old_code: old_code(node),
        mailbox: all.mailbox,
        mailbox_max: all.mailbox_max,
        mailbox_bytes: all
            .mailbox_bytes
            .into_iter()
            .map(|(module, bytes)| (module.into(), bytes))
            .collect(),
        dead_letters: all.dead_letters,
        overflows: all.overflows,
        unconverted: all.unconverted,
        not_owned: all.not_owned,
        ended: all.ended,
        traces: all.traces,
        bounds: all.bounds,
        actor_pauses: histogram(&pauses.actors),
        node_pauses: histogram(&pauses.node),
    }
}

/// A histogram in the agent's words.
pub(crate) fn histogram(pauses: &rt::upgrade::PauseHistogram) -> Pauses {
    Pauses {
        count: pauses.count,
        sum_us: pauses.sum_us,
        max_us: pauses.max_us,
        buckets: pauses.buckets,
    }
}
