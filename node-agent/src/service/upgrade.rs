//! The stream of one upgrade. Its life is two states: waiting for the controller to open phases, with the watchdog on while
//! actors are suspended, and running them. Whatever ends the stream before resume aborts the transaction.

use std::{collections::VecDeque, future, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use midflight_patch::{Digest, plan::MAX_PATCHES};
use midflight_proto::agent::v1::{self as pb, upgrade_request::Body};
use midflight_proto::peer::Peer;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    Answers, Service,
    orders::{millis_or, on_down_failure, order},
};
use crate::{
    agent::Agent,
    error::Error,
    key::Key,
    lease::{OnLostContact, Terms},
    orders::{Admitted, PAUSE_BUDGET, Params, probation},
    steps::{self, Steps},
    transaction::{PHASES, Progress, Transaction},
    work,
};

/// How long the first message may take.
const FIRST: Duration = Duration::from_secs(30);
/// The longest lease, in milliseconds.
const MAX_LEASE_MS: u32 = 24 * 3_600 * 1_000;
/// The prepare timeout of an order that gives none.
const PREPARE: Duration = Duration::from_secs(30);

impl Service {
    pub(super) async fn open(
        &self,
        peer: Peer,
        mut inbound: Streaming<pb::UpgradeRequest>,
    ) -> Result<Answers<pb::StepEvent>, Error> {
        let bad = |problem: &str| Error::Request {
            field: "body",
            problem: problem.to_owned(),
        };
        let first = timeout(FIRST, inbound.message())
            .await
            .map_err(|_| bad("did not come within 30 s"))?;
        let first = first.map_err(|status| bad(&format!("did not come: {}", status.message())))?;
        let Some(Body::Open(open)) = first.and_then(|message| message.body) else {
            return Err(bad("must be an open in the first message"));
        };
        let key = Key::read(open.key.as_ref())?;
        let on_lost_contact = open.on_lost_contact();
        let params = Params {
            through: through(&open.through)?,
            pause_budget: millis_or(open.pause_budget_ms, PAUSE_BUDGET),
            prepare_timeout: millis_or(open.prepare_timeout_ms, PREPARE),
            on_down_failure: on_down_failure(open.on_down_failure()),
            supersede: Some(open.supersede).filter(|rollout| !rollout.is_empty()),
            order: order(&peer, open.epoch),
            lease: terms(open.lease_ms, on_lost_contact)?,
        };
        let guard = self.agent.orders.clone().lock_owned().await;
        if params.supersede.is_some() {
            let (key, params, peer) = (key.clone(), params.clone(), peer.clone());
            let work = move |agent: &Arc<Agent>| {
                let checked = agent.check_supersede(&key, &params);
                checked.map_err(|(error, signers)| {
                    agent.refuse("upgrade", Some(&key), &peer, signers, &error);
                    error
                })
            };
            if let Some(transaction) = self.blocking("admission", work).await?? {
                transaction.cancel("another rollout supersedes it");
                transaction.settled().await;
            }
        }
        let (out, events) = mpsc::channel(steps::ROOM);
        let steps = Arc::new(Steps::new(self.agent.clone(), key.clone(), out));
        // The driver starts on the thread that admitted the upgrade, so that an admitted upgrade always has one, even if
        // the client goes away in between.
        let work = move |agent: &Arc<Agent>| {
            let _guard = guard;
            match agent.admit(&key, &params) {
                Ok(Admitted::Known(record)) => Ok(Some(steps::replay(&record))),
                Ok(Admitted::New(transaction)) => {
                    let driver = Driver {
                        agent: agent.clone(),
                        transaction,
                        steps,
                        planned: 0,
                        queue: VecDeque::new(),
                    };
                    agent.tasks.spawn(driver.run(inbound));
                    Ok(None)
                }
                Err((error, signers)) => {
                    agent.refuse("upgrade", Some(&key), &peer, signers, &error);
                    Err(error)
                }
            }
        };
        Ok(match self.blocking("admission", work).await?? {
            Some(replay) => Box::pin(futures::stream::iter(replay.into_iter().map(Ok))),
            None => Box::pin(ReceiverStream::new(events)),
        })
    }
}

/// What the order says of the lease.
fn terms(lease_ms: u32, on_lost_contact: pb::OnLostContact) -> Result<Terms, Error> {
    if lease_ms > MAX_LEASE_MS {
        return Err(Error::Request {
            field: "open.lease_ms",
            problem: "is more than a day".to_owned(),
        });
    }
    let default = Terms::default();
    Ok(Terms {
        lease_ms: if lease_ms == 0 {
            default.lease_ms
        } else {
            lease_ms
        },
        on_lost_contact: match on_lost_contact {
            pb::OnLostContact::Hold => OnLostContact::Hold,
            pb::OnLostContact::Unspecified | pb::OnLostContact::Rollback => OnLostContact::Rollback,
        },
    })
}

/// The patches that may stand on the way.
fn through(digests: &[String]) -> Result<Vec<Digest>, Error> {
    let bad = |problem: &str| Error::Request {
        field: "open.through",
        problem: problem.to_owned(),
    };
    if digests.len() >= MAX_PATCHES as usize {
        return Err(bad("are more than 63"));
    }
    let read = |digest: &String| digest.parse();
    let read: Result<_, _> = digests.iter().map(read).collect();
    read.map_err(|_| bad("must each be sha256: and 64 hex digits"))
}

/// Drives one transaction from admission to resume or abort.
struct Driver {
    agent: Arc<Agent>,
    transaction: Arc<Transaction>,
    steps: Arc<Steps>,
    /// How many of [`PHASES`] were asked for.
    planned: usize,
    /// Asked for and not begun.
    queue: VecDeque<pb::Phase>,
}

/// What a message, or its absence, means.
enum Said {
    Queued,
    /// The controller will say no more.
    Nothing,
    Stop(Error),
}

impl Driver {
    async fn run(
        mut self,
        mut inbound: impl Stream<Item = Result<pb::UpgradeRequest, Status>> + Unpin,
    ) {
        loop {
            if let Err(error) = self.waiting(&mut inbound).await {
                return self.abort(error).await;
            }
            match self.running(&mut inbound).await {
                Ok(Progress::More) => {}
                Ok(Progress::Resumed) => {
                    let Self {
                        agent, transaction, ..
                    } = self;
                    // The stream ends here; the node's own watch goes on.
                    drop((self.steps, inbound));
                    return probation(agent, transaction).await;
                }
                Ok(Progress::Aborted) => return,
                Err(error) => return self.abort(error).await,
            }
        }
    }

    /// Until phases are queued.
    async fn waiting(
        &mut self,
        inbound: &mut (impl Stream<Item = Result<pb::UpgradeRequest, Status>> + Unpin),
    ) -> Result<(), Error> {
        let left = self.transaction.pause_left();
        let watchdog = async {
            match left {
                Some(left) => sleep(left).await,
                None => future::pending().await,
            }
        };
        tokio::pin!(watchdog);
        while self.queue.is_empty() {
            let said = tokio::select! {
                biased;
                reason = self.transaction.cancelled() => return Err(Error::Aborted { reason }),
                () = self.steps.closed() => return Err(broken()),
                () = &mut watchdog => return Err(self.transaction.pause_exceeded(self.suspended())),
                message = inbound.next() => self.hear(message),
            };
            match said {
                Said::Queued => {}
                Said::Nothing => {
                    return Err(Error::Aborted {
                        reason: "its controller closed the stream".to_owned(),
                    });
                }
                Said::Stop(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Until what is queued is done; more may be queued meanwhile.
    async fn running(
        &mut self,
        inbound: &mut (impl Stream<Item = Result<pb::UpgradeRequest, Status>> + Unpin),
    ) -> Result<Progress, Error> {
        let phases: Vec<_> = self.queue.drain(..).collect();
        let (agent, transaction, steps) = (
            self.agent.clone(),
            self.transaction.clone(),
            self.steps.clone(),
        );
        let work = work::run(&self.agent.worker, "upgrade", move || {
            transaction.run(&agent, &phases, &steps)
        });
        tokio::pin!(work);
        let (mut listening, mut read) = (true, true);
        loop {
            let said = tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.steps.closed(), if read => {
                    read = false;
                    Said::Stop(broken())
                }
                message = inbound.next(), if listening => self.hear(message),
            };
            match said {
                Said::Queued => {}
                Said::Nothing => listening = false,
                Said::Stop(error) => {
                    listening = false;
                    let reason = match error {
                        Error::Aborted { reason } => reason,
                        other => other.chain(),
                    };
                    self.transaction.cancel(&reason);
                    let text = format!("aborting after the phase that runs: {reason}");
                    self.agent
                        .events
                        .add("upgrade", text, Some(&self.transaction.key), None);
                }
            }
        }
    }

    fn hear(&mut self, message: Option<Result<pb::UpgradeRequest, Status>>) -> Said {
        let body = match message {
            None => return Said::Nothing,
            Some(Err(_)) => return Said::Stop(broken()),
            Some(Ok(message)) => message.body,
        };
        match body {
            Some(Body::Phases(list)) => {
                match list.phases().try_for_each(|phase| self.plan(phase)) {
                    Ok(()) => Said::Queued,
                    Err(error) => Said::Stop(error),
                }
            }
            Some(Body::Abort(abort)) => {
                let reason: String = abort.reason.chars().take(500).collect();
                Said::Stop(Error::Aborted {
                    reason: format!("its controller asked for it: {reason}"),
                })
            }
            Some(Body::Open(_)) | None => {
                let problem = "must be phases or an abort after the first message".to_owned();
                Said::Stop(Error::Request {
                    field: "body",
                    problem,
                })
            }
        }
    }

    /// Queues a phase, if it is the next.
    fn plan(&mut self, phase: pb::Phase) -> Result<(), Error> {
        let expected = PHASES.get(self.planned);
        if expected != Some(&phase) {
            let expected = match expected {
                Some(expected) => format!("{} comes next", steps::name(*expected)),
                None => "all phases of this stream are opened already".to_owned(),
            };
            return Err(Error::PhaseOrder {
                asked: steps::name(phase),
                expected,
            });
        }
        self.planned += 1;
        self.queue.push_back(phase);
        Ok(())
    }

    /// The phase that the transaction has come to.
    fn phase(&self) -> pb::Phase {
        PHASES[self
            .planned
            .saturating_sub(self.queue.len() + 1)
            .min(PHASES.len() - 1)]
    }

    fn suspended(&self) -> Duration {
        self.transaction
            .upgrade()
            .suspended_for()
            .unwrap_or_default()
    }

    async fn abort(self, error: Error) {
        let phase = self.phase();
        let worker = self.agent.worker.clone();
        let work = work::run(&worker, "abort", move || {
            if !matches!(error, Error::Aborted { .. }) {
                self.steps
                    .failed(phase, Duration::ZERO, error.failure(phase, false));
            }
            self.transaction
                .abort(&self.agent, phase, &error, &self.steps);
        });
        if let Err(error) = work.await {
            tracing::error!(
                error = error.chain(),
                "aborting a transaction ended in a panic"
            );
        }
    }
}

fn broken() -> Error {
    Error::Aborted {
        reason: "the controller's stream broke".to_owned(),
    }
}
