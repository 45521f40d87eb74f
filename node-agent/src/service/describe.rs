//! What runs on the node, what is permanent, and the upgrade that holds it.

use std::{collections::BTreeMap, sync::Arc};

use midflight_patch::{ModuleName, Release};
use midflight_proto::agent::v1 as pb;

use crate::{
    agent::{Agent, VERSION},
    book::Record,
    clock::wall_ns,
    key::Key,
    steps,
    target::{Health, ModuleMeasures, ModuleStatus, Pauses, VersionMeasures},
};

/// `asked` is an order whose outcome is wanted; `measures`: what the modules measured is wanted too. Blocks for the target.
pub fn describe(agent: &Arc<Agent>, asked: Option<&Key>, measures: bool) -> pb::DescribeResponse {
    let measured = match measures {
        true => agent.target.measures(),
        false => Vec::new(),
    };
    let status = agent.target.status();
    let state = agent.book.state();
    let drift = state.permanent.as_ref();
    let drift = drift.map(|permanent| drift_from(&permanent.release, &status.modules));
    pb::DescribeResponse {
        node: agent.node.clone(),
        agent_version: VERSION.to_owned(),
        current: state.current.as_ref().map(|release| release.to_pb()),
        permanent: state.permanent.as_ref().map(|release| release.to_pb()),
        modules: status.modules.into_iter().map(module).collect(),
        upgrade: state.holder().map(|record| upgrade(agent, record)),
        actors: status.actors,
        uptime_ms: millis(agent.clock.now().saturating_sub(agent.started)),
        clock_ns: wall_ns(&*agent.clock),
        dead_letters: status.dead_letters,
        claims: state
            .holder()
            .map(|record| claim(agent, record))
            .into_iter()
            .collect(),
        drift: drift.unwrap_or_default(),
        asked: asked
            .and_then(|key| state.record(key))
            .map(|record| upgrade(agent, record)),
        undoable: state.last_finished().map(|record| upgrade(agent, record)),
        measures: measured.into_iter().map(module_measures).collect(),
    }
}

fn claim(agent: &Agent, record: &Record) -> pb::Claim {
    pb::Claim {
        application: record
            .span
            .as_ref()
            .map_or_else(String::new, |span| span.to.release.name.clone()),
        rollout_id: record.key.rollout.clone(),
        epoch: record.order.epoch,
        state: record.stand.to_pb().into(),
        lease: lease(agent, record),
    }
}

/// Of the transaction that is open; of one that has ended, what the journal knows.
fn lease(agent: &Agent, record: &Record) -> Option<pb::Lease> {
    record.span.as_ref()?;
    Some(match agent.transaction_of(&record.key) {
        Some(transaction) => transaction.lease.to_pb(agent.clock.now()),
        None => pb::Lease {
            lease_ms: record.lease.lease_ms.into(),
            left_ms: 0,
            on_lost_contact: record.lease.on_lost_contact.to_pb().into(),
            expired: record.expired,
        },
    })
}

/// The modules that are loaded otherwise than a release has them, by name.
fn drift_from(wanted: &Release, loaded: &[ModuleStatus]) -> Vec<pb::ModuleDrift> {
    let mut all: BTreeMap<&ModuleName, (String, String)> = BTreeMap::new();
    for (name, module) in &wanted.modules {
        all.entry(name).or_default().0 = module.blob.to_string();
    }
    for module in loaded {
        all.entry(&module.name).or_default().1 = module.blob.to_string();
    }
    all.into_iter()
        .filter(|(_, (wanted, loaded))| wanted != loaded)
        .map(|(module, (wanted, loaded))| pb::ModuleDrift {
            module: module.to_string(),
            wanted,
            loaded,
        })
        .collect()
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
        old_since_ms: module
            .old_since
            .map_or(0, |since| millis(since.elapsed().unwrap_or_default())),
    }
}

fn module_measures(module: ModuleMeasures) -> pb::ModuleMeasures {
    let distribution = |pairs: Vec<(u32, u64)>| {
        let (buckets, counts) = pairs.into_iter().unzip();
        Some(pb::Distribution { buckets, counts })
    };
    let version = |version: VersionMeasures| pb::VersionMeasures {
        vsn: version.vsn,
        events: version.events,
        traps: version.traps,
        errors: version.errors,
        latency: distribution(version.latency),
        depth: distribution(version.depth),
    };
    pb::ModuleMeasures {
        module: module.module,
        versions: module.versions.into_iter().map(version).collect(),
        restarts: module.restarts,
        mailbox: module.mailbox,
        mailbox_max: module.mailbox_max,
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
        epoch: record.order.epoch,
        lease: lease(agent, record),
        failure: steps::why(record),
    }
}

fn health_to_pb(health: Health) -> pb::Health {
    pb::Health {
        events: health.events,
        traps: health.traps,
        errors: health.errors,
        restarts: health.restarts,
        parked: health.parked,
        ended: health.ended,
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
