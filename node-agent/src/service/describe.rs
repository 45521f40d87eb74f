//! What runs on the node, what is permanent, and the upgrade that holds it.

use std::sync::Arc;

use midflight_proto::agent::v1 as pb;

use crate::{
    agent::{Agent, VERSION},
    book::{Record, clock_ns},
    target::{Health, ModuleStatus, Pauses},
};

/// Blocks for the target.
pub fn describe(agent: &Arc<Agent>) -> pb::DescribeResponse {
    let status = agent.target.status();
    let state = agent.book.state();
    pb::DescribeResponse {
        node: agent.node.clone(),
        agent_version: VERSION.to_owned(),
        current: state.current.as_ref().map(|release| release.to_pb()),
        permanent: state.permanent.as_ref().map(|release| release.to_pb()),
        modules: status.modules.into_iter().map(module).collect(),
        upgrade: state.holder().map(|record| upgrade(agent, record)),
        actors: status.actors,
        uptime_ms: millis(agent.started.elapsed()),
        clock_ns: clock_ns(),
        dead_letters: status.dead_letters,
    }
}

fn module(module: ModuleStatus) -> pb::ModuleStatus {
    pb::ModuleStatus {
        name: module.name.into(),
        vsn: module.vsn.into(),
        digest: module.blob.to_string(),
        actors: module.actors,
        actors_on_old: module.actors_on_old,
        old_vsn: module.old_vsn.map(String::from).unwrap_or_default(),
        events: module.events,
        traps: module.traps,
        errors: module.errors,
        restarts: module.restarts,
    }
}

fn upgrade(agent: &Agent, record: &Record) -> pb::UpgradeStatus {
    let resumed = record.resumed;
    let health = resumed
        .and_then(|_| agent.transaction_of(&record.key))
        .map(|transaction| transaction.health());
    pb::UpgradeStatus {
        key: Some(record.key.to_pb()),
        state: record.stand.to_pb().into(),
        from: record.span.as_ref().map(|span| span.from.to_pb()),
        to: record.span.as_ref().map(|span| span.to.to_pb()),
        health: health.map(health_to_pb),
        pause_us: resumed.map_or(0, |report| report.pause_us),
    }
}

fn health_to_pb(health: Health) -> pb::Health {
    pb::Health {
        events: health.events,
        traps: health.traps,
        errors: health.errors,
        restarts: health.restarts,
        parked: health.parked,
        since_resume_ms: millis(health.since_resume),
        pauses: (health.pauses.count > 0).then(|| pauses(&health.pauses)),
    }
}

fn pauses(pauses: &Pauses) -> pb::PauseHistogram {
    let used = pauses.buckets.iter().rposition(|count| *count > 0);
    pb::PauseHistogram {
        count: pauses.count,
        sum_us: pauses.sum_us,
        max_us: pauses.max_us,
        buckets: pauses.buckets[..used.map_or(0, |last| last + 1)].to_vec(),
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
