//! One simulated node: what it runs, what became of each order, and its transaction. Its lease runs out when it is next looked
//! at after its time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use midflight_proto::agent::v1 as pb;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use crate::transport::CallError;
use crate::transport::memory::{Counts, Script, lost, refused};

type Out = mpsc::Sender<Result<pb::StepEvent, CallError>>;

/// The agent's codes: a transaction that was cut, an order of an earlier process, an order that the node has never met.
const CUT: &str = "MF0422";
const FENCED: &str = "MF0441";
const UNKNOWN: &str = "MF0423";

pub(super) struct Node {
    pub(super) name: String,
    pub(super) script: Script,
    pub(super) counts: Arc<Counts>,
    from: pb::Release,
    to: pb::Release,
    state: Mutex<State>,
    cancelled: Notify,
    started: Instant,
}

/// What became of one order.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) key: pb::Key,
    pub(super) state: pb::UpgradeState,
    pub(super) failure: Option<pb::Failure>,
    lease: Duration,
    holds: bool,
    until: Option<Instant>,
}

impl Record {
    pub(super) fn new(key: pb::Key, state: pb::UpgradeState) -> Self {
        Self {
            key,
            state,
            failure: None,
            lease: Duration::MAX,
            holds: false,
            until: None,
        }
    }

    fn is_open(&self) -> bool {
        matches!(
            self.state,
            pb::UpgradeState::Open | pb::UpgradeState::Suspended
        )
    }

    pub(super) fn status(&self, health: &pb::Health) -> pb::UpgradeStatus {
        pb::UpgradeStatus {
            key: Some(self.key.clone()),
            state: self.state.into(),
            health: Some(health.clone()),
            pause_us: 800,
            failure: self.failure.clone(),
            ..pb::UpgradeStatus::default()
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) records: Vec<Record>,
    pub(super) epoch: u64,
    pub(super) on_new: bool,
    pub(super) permanent_new: bool,
    pub(super) staged: bool,
    pub(super) away: bool,
    pub(super) silent: usize,
    pub(super) resumed: usize,
    /// When the new code began to run, the last time.
    pub(super) new_since: Option<Instant>,
    pub(super) failed: usize,
    pub(super) calls: Vec<&'static str>,
}

impl State {
    pub(super) fn record(&mut self, key: &pb::Key) -> Option<&mut Record> {
        self.records
            .iter_mut()
            .rev()
            .find(|record| record.key == *key)
    }

    /// The order that holds the node.
    pub(super) fn holder(&self) -> Option<&Record> {
        use pb::UpgradeState as S;
        let holds = |record: &&Record| {
            matches!(
                record.state,
                S::Open | S::Suspended | S::Probation | S::Confirmed
            )
        };
        self.records.iter().rev().find(holds)
    }

    /// Ends every lease whose time is over.
    fn expire(&mut self) {
        let now = Instant::now();
        for record in &mut self.records {
            let over = record.until.is_some_and(|until| until < now);
            if over && record.state == pb::UpgradeState::Probation && !record.holds {
                record.state = pb::UpgradeState::RolledBack;
                record.failure = Some(pb::Failure {
                    code: "MF0445".to_owned(),
                    what: "the lease ran out".to_owned(),
                    ..pb::Failure::default()
                });
                self.on_new = false;
            }
        }
    }
}

impl Node {
    pub(super) fn new(
        name: &str,
        script: Script,
        from: pb::Release,
        to: pb::Release,
        counts: Arc<Counts>,
    ) -> Self {
        let state = State {
            silent: script.silent_for,
            ..State::default()
        };
        Self {
            name: name.to_owned(),
            script,
            counts,
            from,
            to,
            state: Mutex::new(state),
            cancelled: Notify::new(),
            started: Instant::now(),
        }
    }

    /// With what its codes have measured since they began to run.
    pub(super) fn measured(&self, described: pb::DescribeResponse) -> pb::DescribeResponse {
        let (now, new_since) = (Instant::now(), self.state().new_since);
        let on_new = self.state().on_new;
        let new_since = new_since.filter(|_| on_new);
        let ran = |since: Instant, until: Instant| until.saturating_duration_since(since);
        let old = ran(self.started, new_since.unwrap_or(now));
        let [old_each, new_each] = &self.script.measures;
        let mut versions = vec![times(old_each, &self.from.vsn, old)];
        if let Some(since) = new_since {
            versions.insert(0, times(new_each, &self.to.vsn, ran(since, now)));
        }
        let module = pb::ModuleMeasures {
            module: "counter".to_owned(),
            versions,
            ..pb::ModuleMeasures::default()
        };
        pb::DescribeResponse {
            // A millisecond has passed before anything can be asked.
            uptime_ms: ran(self.started, now).as_millis() as u64 + 1,
            measures: vec![module],
            ..described
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked has failed already.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire();
        state
    }

    pub(super) fn call(&self, what: &'static str) -> Result<(), CallError> {
        let mut state = self.state();
        if state.away {
            return Err(lost());
        }
        state.calls.push(what);
        Ok(())
    }

    /// Lets an order of the highest epoch through; a higher one cuts what is open.
    pub(super) fn claim(&self, epoch: u64) -> Result<(), CallError> {
        let mut state = self.state();
        if epoch < state.epoch {
            return Err(refused(FENCED, "a later process drives the rollout"));
        }
        if epoch > state.epoch {
            state.epoch = epoch;
            drop(state);
            self.cancelled.notify_waiters();
        }
        Ok(())
    }

    pub(super) fn cancel(&self) {
        self.cancelled.notify_waiters();
    }

    pub(super) fn unknown() -> CallError {
        refused(UNKNOWN, "the rollout is unknown on this node")
    }

    pub(super) fn release(&self, new: bool) -> pb::Release {
        if new {
            self.to.clone()
        } else {
            self.from.clone()
        }
    }

    /// Extends the lease, and gives the state of the order.
    pub(super) fn renew(&self, key: &pb::Key) -> Option<pb::UpgradeState> {
        let mut state = self.state();
        let record = state.record(key)?;
        if record.state == pb::UpgradeState::Probation && record.until.is_some() {
            record.until = Some(Instant::now() + record.lease);
            self.counts.renewals.fetch_add(1, Ordering::Relaxed);
        }
        Some(record.state)
    }

    /// The upgrade of `open`, or what became of it when it is known.
    pub(super) async fn transact(
        self: Arc<Self>,
        mut orders: BoxStream<'static, pb::UpgradeRequest>,
        out: Out,
    ) {
        let Some(pb::upgrade_request::Body::Open(open)) =
            orders.next().await.and_then(|order| order.body)
        else {
            return;
        };
        let key = open.key.clone().unwrap_or_default();
        if let Err(error) = self.claim(open.epoch) {
            let _ = out.send(Err(error)).await;
            return;
        }
        let known = self.state().record(&key).cloned();
        if let Some(record) = known {
            return replay(&record, &out).await;
        }
        let lease = Duration::from_millis(open.lease_ms.into());
        let holds = open.on_lost_contact() == pb::OnLostContact::Hold;
        self.state().records.push(Record {
            lease,
            holds,
            ..Record::new(key.clone(), pb::UpgradeState::Open)
        });
        let now = self.counts.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.counts.most_in_flight.fetch_max(now, Ordering::Relaxed);
        let why = tokio::select! {
            biased;
            () = self.cancelled.notified() => Some("another order came"),
            why = self.follow(&key, &mut orders, &out) => why,
        };
        if let Some(why) = why {
            self.abort(&key, why, &out).await;
        }
        self.counts.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Runs phases as they are opened, until resume, a failure, or why the transaction is to be aborted.
    async fn follow(
        &self,
        key: &pb::Key,
        orders: &mut BoxStream<'static, pb::UpgradeRequest>,
        out: &Out,
    ) -> Option<&'static str> {
        use pb::upgrade_request::Body;
        let mut opened = None;
        loop {
            let body = match opened.take() {
                Some(body) => Some(body),
                None => orders.next().await.and_then(|order| order.body),
            };
            let Some(Body::Phases(phases)) = body else {
                if matches!(body, Some(Body::Abort(_))) {
                    self.counts.aborts.fetch_add(1, Ordering::Relaxed);
                    return Some("the controller said so");
                }
                return Some("the stream broke");
            };
            let phases: Vec<pb::Phase> = phases.phases().collect();
            let run = async {
                for phase in &phases {
                    if !self.phase(key, *phase, out).await {
                        return true;
                    }
                }
                phases.contains(&pb::Phase::Resume)
            };
            tokio::select! {
                biased;
                over = run => if over {
                    return None;
                },
                next = orders.next() => {
                    opened = Some(next.and_then(|order| order.body).unwrap_or(Body::Abort(pb::Abort {
                        reason: String::new(),
                    })));
                }
            }
        }
    }

    async fn abort(&self, key: &pb::Key, why: &str, out: &Out) {
        let failure = pb::Failure {
            code: CUT.to_owned(),
            what: format!("the transaction was aborted before resume: {why}"),
            ..pb::Failure::default()
        };
        if let Some(record) = self.state().record(key).filter(|record| record.is_open()) {
            record.state = pb::UpgradeState::Aborted;
            record.failure = Some(failure);
        }
        let status = pb::StepStatus::Aborted.into();
        let _ = out
            .send(Ok(pb::StepEvent {
                status,
                ..pb::StepEvent::default()
            }))
            .await;
    }

    /// One phase; true when the stream goes on.
    async fn phase(&self, key: &pb::Key, phase: pb::Phase, out: &Out) -> bool {
        let _ = out.send(Ok(step(phase, pb::StepStatus::Started))).await;
        sleep(self.script.phase).await;
        if self.script.fails_in == Some(phase) && self.fails() {
            let failure = pb::Failure {
                code: "MF0301".to_owned(),
                phase: phase.into(),
                what: "code_change failed for 1 actor".to_owned(),
                subject: "counter".to_owned(),
                hint: "mend code_change".to_owned(),
                ..pb::Failure::default()
            };
            if let Some(record) = self.state().record(key) {
                record.state = pb::UpgradeState::Aborted;
                record.failure = Some(failure.clone());
            }
            let failed = pb::StepEvent {
                failure: Some(failure),
                ..step(phase, pb::StepStatus::Failed)
            };
            let _ = out.send(Ok(failed)).await;
            return false;
        }
        if phase == pb::Phase::Resume {
            let mut state = self.state();
            (state.on_new, state.resumed) = (true, state.resumed + 1);
            state.new_since = Some(Instant::now());
            if let Some(record) = state.record(key) {
                record.state = pb::UpgradeState::Probation;
                let lease = Some(record.lease).filter(|lease| !lease.is_zero());
                record.until = lease.map(|lease| Instant::now() + lease);
            }
        }
        if self.script.breaks_after == Some(phase) {
            {
                let mut state = self.state();
                if let Some(record) = state.record(key).filter(|record| record.is_open()) {
                    record.state = pb::UpgradeState::Aborted;
                    record.failure = Some(pb::Failure {
                        code: CUT.to_owned(),
                        ..pb::Failure::default()
                    });
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
        let prepared = (phase == pb::Phase::Prepare).then_some(pb::PrepareReport {
            estimated_pause_us: 700,
            ..Default::default()
        });
        let _ = out
            .send(Ok(pb::StepEvent {
                resumed,
                prepared,
                ..step(phase, pb::StepStatus::Done)
            }))
            .await;
        true
    }

    fn fails(&self) -> bool {
        let mut state = self.state();
        state.failed += 1;
        self.script.fails.is_none_or(|most| state.failed <= most)
    }
}

fn step(phase: pb::Phase, status: pb::StepStatus) -> pb::StepEvent {
    pb::StepEvent {
        phase: phase.into(),
        status: status.into(),
        ..pb::StepEvent::default()
    }
}

/// What became of an order that was asked before.
async fn replay(record: &Record, out: &Out) {
    use pb::UpgradeState as S;
    let event = match record.state {
        S::Probation | S::Confirmed | S::Finished => step(pb::Phase::Resume, pb::StepStatus::Done),
        _ => pb::StepEvent {
            failure: record.failure.clone(),
            ..step(pb::Phase::Prepare, pb::StepStatus::Aborted)
        },
    };
    let _ = out.send(Ok(event)).await;
}

/// What comes each second, after so long.
fn times(each: &pb::VersionMeasures, vsn: &str, time: Duration) -> pb::VersionMeasures {
    let times = |count: u64| count * time.as_millis() as u64 / 1_000;
    let all = |each: &Option<pb::Distribution>| {
        let mut all = each.clone()?;
        all.counts
            .iter_mut()
            .for_each(|count| *count = times(*count));
        Some(all)
    };
    pb::VersionMeasures {
        vsn: vsn.to_owned(),
        events: times(each.events),
        traps: times(each.traps),
        errors: times(each.errors),
        latency: all(&each.latency),
        depth: all(&each.depth),
    }
}
