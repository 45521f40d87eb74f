//! A fleet in memory: simulated agents that keep the contract of the protocol, and fail as they are told to. The engine is
//! tested against it on paused time, with thousands of nodes. It checks no signature and runs no code.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use midflight_proto::agent::v1 as pb;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::transport::{Agent, CallError, Steps, Target, Transport};

/// What goes wrong on a node, and how long things take there.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// It cannot be connected to.
    pub dead: bool,
    /// Its upgrade fails in this phase, before resume.
    pub fails_in: Option<pb::Phase>,
    /// The connection breaks when this phase is done.
    pub breaks_after: Option<pb::Phase>,
    /// After that break it cannot be connected to any more.
    pub stays_away: bool,
    /// Counts of the patched modules after resume.
    pub health: pb::Health,
    /// It refuses to roll back.
    pub rollback_fails: bool,
    /// It loses the new release when it is asked for its health, as after a restart.
    pub restarts: bool,
    /// So many connections fail once the upgrade was opened.
    pub silent_for: usize,
    /// How long each phase of an upgrade takes.
    pub phase: Duration,
}

/// The fleet.
#[derive(Default)]
pub struct Fleet {
    nodes: BTreeMap<String, Arc<Node>>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: Arc<AtomicUsize>,
}

struct Node {
    script: Script,
    from: pb::Release,
    to: pb::Release,
    state: Mutex<State>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    upgrade: Option<(pb::Key, pb::UpgradeState)>,
    on_new: bool,
    permanent_new: bool,
    staged: bool,
    away: bool,
    silent: usize,
    calls: Vec<&'static str>,
}

impl Fleet {
    /// Adds a node that runs `from` of the application `name` and can be brought to `to`.
    pub fn add(&mut self, node: &str, name: &str, from: &str, to: &str, script: Script) {
        let release = |vsn: &str| pb::Release {
            name: name.to_owned(),
            vsn: vsn.to_owned(),
            digest: String::new(),
        };
        let state = State {
            silent: script.silent_for,
            ..State::default()
        };
        let node_state = Node {
            script,
            from: release(from),
            to: release(to),
            state: Mutex::new(state),
            in_flight: self.in_flight.clone(),
            most_in_flight: self.most_in_flight.clone(),
        };
        self.nodes.insert(node.to_owned(), Arc::new(node_state));
    }

    /// Whether the node runs the new release.
    #[must_use]
    pub fn runs_new(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.state().on_new)
    }

    /// What was asked of the node, in order.
    #[must_use]
    pub fn calls(&self, node: &str) -> Vec<&'static str> {
        self.nodes
            .get(node)
            .map(|node| node.state().calls.clone())
            .unwrap_or_default()
    }

    /// The most upgrades that were open at a time.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::Relaxed)
    }

    /// Puts a node on the new release as if another rollout had brought it there.
    pub fn bring_to_new(&self, node: &str) {
        if let Some(node) = self.nodes.get(node) {
            let mut state = node.state();
            (state.on_new, state.permanent_new) = (true, true);
        }
    }

    /// Puts a node into a state of another rollout.
    pub fn hold(&self, node: &str, rollout: &str, upgrade: pb::UpgradeState) {
        if let Some(node) = self.nodes.get(node) {
            let key = pb::Key {
                rollout_id: rollout.to_owned(),
                ..pb::Key::default()
            };
            node.state().upgrade = Some((key, upgrade));
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
                if state.upgrade.is_some() && state.silent > 0 {
                    state.silent -= 1;
                    return Err(unreachable());
                }
            }
            Ok(Arc::new(Connection { node }) as Arc<dyn Agent>)
        }
        .boxed()
    }
}

struct Connection {
    node: Arc<Node>,
}

impl Node {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A test that panicked has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, what: &'static str) -> Result<(), CallError> {
        let mut state = self.state();
        if state.away {
            return Err(lost());
        }
        state.calls.push(what);
        Ok(())
    }

    fn release(&self, new: bool) -> pb::Release {
        if new {
            self.to.clone()
        } else {
            self.from.clone()
        }
    }

    /// One phase; true when the stream goes on.
    async fn phase(
        &self,
        phase: pb::Phase,
        out: &mpsc::Sender<Result<pb::StepEvent, CallError>>,
    ) -> bool {
        let step = |status: pb::StepStatus| pb::StepEvent {
            phase: phase.into(),
            status: status.into(),
            ..pb::StepEvent::default()
        };
        let _ = out.send(Ok(step(pb::StepStatus::Started))).await;
        sleep(self.script.phase).await;
        if self.script.fails_in == Some(phase) {
            self.state().upgrade = None;
            let failure = pb::Failure {
                code: "MF0301".to_owned(),
                phase: phase.into(),
                what: "code_change failed for 1 actor".to_owned(),
                subject: "counter".to_owned(),
                hint: "mend code_change".to_owned(),
                ..pb::Failure::default()
            };
            let failed = pb::StepEvent {
                failure: Some(failure),
                ..step(pb::StepStatus::Failed)
            };
            let _ = out.send(Ok(failed)).await;
            return false;
        }
        if phase == pb::Phase::Resume {
            let mut state = self.state();
            state.on_new = true;
            if let Some(upgrade) = &mut state.upgrade {
                upgrade.1 = pb::UpgradeState::Probation;
            }
        }
        if self.script.breaks_after == Some(phase) {
            {
                let mut state = self.state();
                if phase != pb::Phase::Resume {
                    state.upgrade = None;
                }
                state.away = self.script.stays_away;
            }
            let _ = out.send(Err(lost())).await;
            return false;
        }
        let resumed = (phase == pb::Phase::Resume).then_some(pb::ResumeReport {
            pause_us: 800,
            ..Default::default()
        });
        let _ = out
            .send(Ok(pb::StepEvent {
                resumed,
                ..step(pb::StepStatus::Done)
            }))
            .await;
        true
    }

    async fn transact(
        self: Arc<Self>,
        mut orders: BoxStream<'static, pb::UpgradeRequest>,
        out: mpsc::Sender<Result<pb::StepEvent, CallError>>,
    ) {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(now, Ordering::Relaxed);
        while let Some(order) = orders.next().await {
            match order.body {
                Some(pb::upgrade_request::Body::Open(open)) => {
                    self.state().upgrade = open.key.map(|key| (key, pb::UpgradeState::Open));
                }
                Some(pb::upgrade_request::Body::Phases(phases)) => {
                    let run = async {
                        for phase in phases.phases() {
                            if !self.phase(phase, &out).await {
                                return true;
                            }
                        }
                        true
                    };
                    let aborted = tokio::select! {
                        ended = run => !ended,
                        () = aborted(&mut orders) => true,
                    };
                    if aborted {
                        self.state().upgrade = None;
                        let status = pb::StepStatus::Aborted.into();
                        let _ = out
                            .send(Ok(pb::StepEvent {
                                status,
                                ..pb::StepEvent::default()
                            }))
                            .await;
                    }
                    break;
                }
                _ => break,
            }
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Until the controller says abort, or goes away.
async fn aborted(orders: &mut BoxStream<'static, pb::UpgradeRequest>) {
    while let Some(order) = orders.next().await {
        if matches!(order.body, Some(pb::upgrade_request::Body::Abort(_))) {
            return;
        }
    }
}

impl Agent for Connection {
    fn describe(&self) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        async move {
            self.node.call("describe")?;
            let mut state = self.node.state();
            if self.node.script.restarts && state.upgrade.is_some() {
                (state.upgrade, state.on_new) = (None, false);
            }
            let upgrade = state
                .upgrade
                .as_ref()
                .map(|(key, upgrade)| pb::UpgradeStatus {
                    key: Some(key.clone()),
                    state: (*upgrade).into(),
                    health: Some(self.node.script.health.clone()),
                    pause_us: 800,
                    ..pb::UpgradeStatus::default()
                });
            let current = self.node.release(state.on_new);
            let module = |module: &str| pb::ModuleStatus {
                name: module.to_owned(),
                vsn: current.vsn.clone(),
                ..pb::ModuleStatus::default()
            };
            Ok(pb::DescribeResponse {
                modules: vec![module("counter")],
                permanent: Some(self.node.release(state.permanent_new)),
                current: Some(current),
                upgrade,
                ..pb::DescribeResponse::default()
            })
        }
        .boxed()
    }

    fn stage(
        &self,
        mut parts: BoxStream<'static, pb::StageRequest>,
    ) -> BoxFuture<'_, Result<pb::StageResponse, CallError>> {
        async move {
            self.node.call("stage")?;
            while parts.next().await.is_some() {}
            let complete = std::mem::replace(&mut self.node.state().staged, true);
            Ok(pb::StageResponse {
                complete,
                ..pb::StageResponse::default()
            })
        }
        .boxed()
    }

    fn upgrade(
        &self,
        orders: BoxStream<'static, pb::UpgradeRequest>,
    ) -> BoxFuture<'_, Result<Steps, CallError>> {
        async move {
            self.node.call("upgrade")?;
            let (out, events) = mpsc::channel(16);
            // Owned by its channels: it ends when the controller drops either side.
            tokio::spawn(self.node.clone().transact(orders, out));
            Ok(tokio_stream::wrappers::ReceiverStream::new(events).boxed())
        }
        .boxed()
    }

    fn confirm(
        &self,
        request: pb::ConfirmRequest,
    ) -> BoxFuture<'_, Result<pb::ConfirmResponse, CallError>> {
        async move {
            self.node
                .call(if request.finish { "finish" } else { "confirm" })?;
            let mut state = self.node.state();
            state.permanent_new = state.on_new;
            let next = if request.finish {
                pb::UpgradeState::Finished
            } else {
                pb::UpgradeState::Confirmed
            };
            if let Some(upgrade) = &mut state.upgrade {
                upgrade.1 = next;
            }
            Ok(pb::ConfirmResponse {
                state: next.into(),
                ..pb::ConfirmResponse::default()
            })
        }
        .boxed()
    }

    fn describe_order(
        &self,
        key: pb::Key,
    ) -> BoxFuture<'_, Result<pb::DescribeResponse, CallError>> {
        async move {
            let described = self.describe().await?;
            let asked = described.upgrade.clone();
            let asked = asked.filter(|upgrade| upgrade.key.as_ref() == Some(&key));
            Ok(pb::DescribeResponse { asked, ..described })
        }
        .boxed()
    }

    fn renew(
        &self,
        request: pb::RenewRequest,
    ) -> BoxFuture<'_, Result<pb::RenewResponse, CallError>> {
        async move {
            self.node.call("renew")?;
            let state = self.node.state();
            match &state.upgrade {
                Some((key, upgrade)) if request.key.as_ref() == Some(key) => Ok(pb::RenewResponse {
                    state: (*upgrade).into(),
                    lease: None,
                }),
                _ => Err(CallError::Failed(Box::new(pb::Failure {
                    code: "MF0423".to_owned(),
                    what: "the rollout is unknown on this node".to_owned(),
                    refused: true,
                    ..pb::Failure::default()
                }))),
            }
        }
        .boxed()
    }

    fn releases(&self) -> BoxFuture<'_, Result<pb::ReleasesResponse, CallError>> {
        async move {
            let release = self.node.release(self.node.state().permanent_new);
            let permanent = pb::ReleaseStatus {
                release: Some(release),
                state: pb::ReleaseState::Permanent.into(),
                bytes: 0,
            };
            Ok(pb::ReleasesResponse {
                releases: vec![permanent],
            })
        }
        .boxed()
    }

    fn remove_release(
        &self,
        request: pb::RemoveReleaseRequest,
    ) -> BoxFuture<'_, Result<pb::RemoveReleaseResponse, CallError>> {
        let failure = pb::Failure {
            code: "MF0443".to_owned(),
            what: format!("release {} is not on this node", request.vsn),
            refused: true,
            ..pb::Failure::default()
        };
        async move { Err(CallError::Failed(Box::new(failure))) }.boxed()
    }

    fn rollback(
        &self,
        _: pb::RollbackRequest,
    ) -> BoxFuture<'_, Result<pb::RollbackResponse, CallError>> {
        async move {
            self.node.call("rollback")?;
            if self.node.script.rollback_fails {
                let failure = pb::Failure {
                    code: "MF0302".to_owned(),
                    what: "the old code does not load".to_owned(),
                    changed: true,
                    ..pb::Failure::default()
                };
                return Err(CallError::Failed(Box::new(failure)));
            }
            let mut state = self.node.state();
            let was_new = std::mem::replace(&mut state.on_new, false);
            (state.permanent_new, state.upgrade) = (false, None);
            let outcome = if was_new {
                pb::RollbackOutcome::RolledBack
            } else {
                pb::RollbackOutcome::Untouched
            };
            Ok(pb::RollbackResponse {
                current: Some(self.node.release(false)),
                outcome: outcome.into(),
                report: Some(pb::RollbackReport {
                    pinned: 1,
                    ..Default::default()
                }),
            })
        }
        .boxed()
    }

    fn sys(&self, _: pb::SysRequest) -> BoxFuture<'_, Result<pb::SysResponse, CallError>> {
        let failure = pb::Failure {
            code: "MF0416".to_owned(),
            what: "sys is off".to_owned(),
            ..Default::default()
        };
        async move { Err(CallError::Failed(Box::new(failure))) }.boxed()
    }

    fn metrics(&self) -> BoxFuture<'_, Result<pb::MetricsResponse, CallError>> {
        async move {
            Ok(pb::MetricsResponse {
                text: "# EOF\n".to_owned(),
            })
        }
        .boxed()
    }
}

fn lost() -> CallError {
    CallError::Lost {
        source: "connection reset".into(),
    }
}
