//! A fleet in memory: simulated agents that keep the contract of the protocol (claims, leases, answers to what was asked before),
//! and fail as they are told to. The engine is tested against it on paused time, with thousands of nodes. It checks no
//! signature and runs no code.

mod calls;
mod node;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use midflight_proto::agent::v1 as pb;

use crate::transport::memory::calls::Connection;
use crate::transport::memory::node::{Node, Record};
use crate::transport::{Agent, CallError, Target, Transport};

/// What goes wrong on a node, and how long things take there.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// It cannot be connected to.
    pub dead: bool,
    /// Its upgrade fails in this phase, before resume.
    pub fails_in: Option<pb::Phase>,
    /// So many upgrades fail there; none: all.
    pub fails: Option<usize>,
    /// The connection breaks when this phase is done.
    pub breaks_after: Option<pb::Phase>,
    /// After that break it cannot be connected to any more.
    pub stays_away: bool,
    /// Counts of the patched modules after resume.
    pub health: pb::Health,
    /// What its old and its new code measure in each second that they run.
    pub measures: [pb::VersionMeasures; 2],
    /// It refuses to roll back.
    pub rollback_fails: bool,
    /// It loses the new release when it is asked for its health, as after a restart.
    pub restarts: bool,
    /// So many connections fail once the upgrade was opened.
    pub silent_for: usize,
    /// How long each phase of an upgrade takes.
    pub phase: Duration,
}

/// Of all nodes together.
#[derive(Debug, Default)]
struct Counts {
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    aborts: AtomicUsize,
    renewals: AtomicUsize,
}

/// The fleet.
#[derive(Default)]
pub struct Fleet {
    nodes: BTreeMap<String, Arc<Node>>,
    counts: Arc<Counts>,
}

impl Fleet {
    /// Adds a node that runs `from` of the application `name` and can be brought to `to`.
    pub fn add(&mut self, node: &str, name: &str, from: &str, to: &str, script: Script) {
        let release = |vsn: &str| pb::Release {
            name: name.to_owned(),
            vsn: vsn.to_owned(),
            digest: String::new(),
        };
        let made = Node::new(
            node,
            script,
            release(from),
            release(to),
            self.counts.clone(),
        );
        self.nodes.insert(node.to_owned(), Arc::new(made));
    }

    /// Whether the node runs the new release.
    #[must_use]
    pub fn runs_new(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.state().on_new)
    }

    /// Whether the node boots the new release after a crash.
    #[must_use]
    pub fn boots_new(&self, node: &str) -> bool {
        let node = self.nodes.get(node);
        node.is_some_and(|node| node.state().permanent_new)
    }

    /// What was asked of the node, in order.
    #[must_use]
    pub fn calls(&self, node: &str) -> Vec<&'static str> {
        let node = self.nodes.get(node);
        node.map(|node| node.state().calls.clone())
            .unwrap_or_default()
    }

    /// How often the node went over to the new release.
    #[must_use]
    pub fn resumed(&self, node: &str) -> usize {
        self.nodes.get(node).map_or(0, |node| node.state().resumed)
    }

    /// The most upgrades that were open at a time.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.counts.most_in_flight.load(Ordering::Relaxed)
    }

    /// How many upgrades are open.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.counts.in_flight.load(Ordering::Relaxed)
    }

    /// How many aborts nodes were sent.
    #[must_use]
    pub fn aborts(&self) -> usize {
        self.counts.aborts.load(Ordering::Relaxed)
    }

    /// How many renewals of leases nodes granted.
    #[must_use]
    pub fn renewals(&self) -> usize {
        self.counts.renewals.load(Ordering::Relaxed)
    }

    /// Puts a node on the new release as if another rollout had brought it there.
    pub fn bring_to_new(&self, node: &str) {
        if let Some(node) = self.nodes.get(node) {
            let mut state = node.state();
            (state.on_new, state.permanent_new) = (true, true);
        }
    }

    /// Cuts a node off, or brings it back.
    pub fn cut_off(&self, node: &str, away: bool) {
        if let Some(node) = self.nodes.get(node) {
            node.state().away = away;
        }
    }

    /// Puts a node into a state of another rollout.
    pub fn hold(&self, node: &str, rollout: &str, upgrade: pb::UpgradeState) {
        if let Some(node) = self.nodes.get(node) {
            let key = pb::Key {
                rollout_id: rollout.to_owned(),
                ..pb::Key::default()
            };
            node.state().records.push(Record::new(key, upgrade));
        }
    }
}

impl Transport for Fleet {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        _: Duration,
    ) -> BoxFuture<'a, Result<Arc<dyn Agent>, CallError>> {
        let unreachable = || CallError::Unreachable {
            address: format!("{}:{}", target.address, target.port),
            source: "connection refused".into(),
        };
        let node = self.nodes.get(&target.name).cloned();
        async move {
            let node = node.ok_or_else(unreachable)?;
            {
                let mut state = node.state();
                if node.script.dead || state.away {
                    return Err(unreachable());
                }
                if !state.records.is_empty() && state.silent > 0 {
                    state.silent -= 1;
                    return Err(unreachable());
                }
            }
            Ok(Arc::new(Connection { node }) as Arc<dyn Agent>)
        }
        .boxed()
    }
}

fn lost() -> CallError {
    CallError::Lost {
        source: "connection reset".into(),
    }
}

fn refused(code: &str, what: &str) -> CallError {
    CallError::Failed(Box::new(pb::Failure {
        code: code.to_owned(),
        what: what.to_owned(),
        refused: true,
        ..pb::Failure::default()
    }))
}
