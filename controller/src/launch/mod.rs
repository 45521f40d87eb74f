//! How a process comes to run a rollout, whether it planned it, was asked to go on with it, or found it open at its start: always
//! from the journal, so that going on after a death is the same path as beginning. Read [`wanted`] (what a plan is made of),
//! then [`Launch::record`], [`Launch::take`] and [`Taken::run`].

pub mod leftovers;
pub mod wanted;

use std::path::PathBuf;
use std::sync::Arc;

use midflight_patch::{Bundle, Digest};
use tokio::sync::{mpsc, oneshot};

use crate::engine::begin::Begin;
use crate::engine::control::{Answer, Control, Request, Verb};
use crate::engine::event::{Event, Fact, Owner, Planned};
use crate::engine::id::{RolloutId, now_ms};
use crate::engine::link::Link;
use crate::engine::payload::Payload;
use crate::engine::rollout::Input;
use crate::engine::view::View;
use crate::engine::words::RolloutState;
use crate::engine::{self, Ended, Reporter, Run, survey};
use crate::error::Error;
use crate::journal::{Journal, Lock, Sqlite, read_all};
use crate::policy::{self, OnDownFailure, Policy};
use crate::server::lives::{Alive, Lives, Told};
use crate::transport::{Target, Transport};
use wanted::Prepared;

/// What a process needs to run rollouts; cheap to clone.
#[derive(Clone)]
pub struct Launch {
    /// Where they are remembered.
    pub journal: Arc<dyn Journal>,
    /// The journal's file, beside which locks and sockets lie.
    pub path: PathBuf,
    /// How nodes are reached.
    pub transport: Arc<dyn Transport>,
    /// Those that run in this process.
    pub lives: Lives,
}

/// How a rollout is taken up.
#[derive(Clone, Debug, Default)]
pub struct Take {
    /// What a person asks for at the same time.
    pub request: Option<Request>,
    /// What a rollback does with an actor that cannot go back, when not what the plan says.
    pub on_down_failure: Option<OnDownFailure>,
    /// Where nodes are now, when not where the plan found them.
    pub moved: Vec<Target>,
}

/// A rollout that this process is about to run, and that no other can.
pub struct Taken {
    id: RolloutId,
    lock: Lock,
    policy: Policy,
    before: Vec<Event>,
    preface: Vec<Fact>,
    first: Input,
    on_down_failure: Option<OnDownFailure>,
    links: Vec<Arc<Link>>,
    payload: Option<Arc<Payload>>,
    journal: Arc<dyn Journal>,
    controls: mpsc::Receiver<Control>,
    alive: Alive,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Launch {
    /// Of a journal file, with nothing that runs yet.
    #[must_use]
    pub fn new(journal: Sqlite, transport: Arc<dyn Transport>) -> Self {
        Self {
            path: journal.path().to_owned(),
            journal: Arc::new(journal),
            transport,
            lives: Lives::default(),
        }
    }

    /// Records a plan as a new rollout. Bundles and policy go to the journal first, so that whoever reads the plan finds them.
    ///
    /// # Errors
    /// What the journal gives.
    pub async fn record(
        &self,
        prepared: &Prepared,
        pattern: &str,
    ) -> Result<(RolloutId, Lock), Error> {
        let id = RolloutId::generate()?;
        let lock = self.lock(&id, None)?;
        let policy = serde_json::to_vec(&prepared.policy);
        let policy = policy.map_err(|error| Error::Output {
            source: error.into(),
        })?;
        self.journal.put_blob(policy).await?;
        let mut bundles = Vec::new();
        for bundle in std::iter::once(&prepared.bundle).chain(&prepared.through) {
            let bytes = bundle
                .to_bytes()
                .map_err(Error::patch("the patch cannot be kept"))?;
            bundles.push(self.journal.put_blob(bytes).await?);
        }
        let begin = Begin {
            plan: &prepared.plan,
            payload: &prepared.payload,
            policy: &prepared.policy,
            pattern,
            owner: this_process(),
            prepare_only: prepared.prepare_only,
            supersedes: &prepared.supersedes,
            bundles: &bundles,
        };
        let events = Event::following(0, &id, now_ms(), begin.facts());
        self.journal.append(&events).await?;
        Ok((id, lock))
    }

    /// Takes the lock of a rollout.
    ///
    /// # Errors
    /// [`Error::Owned`] when a process has it.
    pub fn lock(&self, id: &RolloutId, owner: Option<Owner>) -> Result<Lock, Error> {
        Lock::take(&self.path, id)?.ok_or_else(|| Error::Owned {
            rollout: id.to_string(),
            owner: owner.unwrap_or_else(this_process),
        })
    }

    /// Makes a rollout of the journal this process's own: the next epoch begins, unless this process has just recorded it.
    ///
    /// # Errors
    /// What the journal gives; [`Error::NoBlob`] when the patch is not there and the request is no rollback.
    pub async fn take(
        &self,
        id: &RolloutId,
        lock: Lock,
        links: Option<Vec<Arc<Link>>>,
        take: Take,
    ) -> Result<Taken, Error> {
        let events = read_all(&*self.journal, id).await?;
        let view = View::of(&events);
        let gone = || Error::NoSuchRollout {
            rollout: id.to_string(),
        };
        let planned = view.planned.as_ref().ok_or_else(gone)?;
        let goes_back = view.state == RolloutState::RollingBack
            || matches!(&take.request, Some(request) if request.verb == Verb::Rollback);
        let policy = self.policy(planned, goes_back).await?;
        let payload = self.payload(planned, goes_back).await?;
        let fresh = links.is_some();
        let links = links.unwrap_or_else(|| {
            let mut targets: Vec<Target> = planned.nodes.iter().map(Target::from).collect();
            for target in &mut targets {
                if let Some(moved) = take.moved.iter().find(|moved| moved.name == target.name) {
                    *target = moved.clone();
                }
            }
            survey::links(&targets, &self.transport, &policy)
        });
        let owned = Fact::Owned {
            owner: this_process(),
            epoch: view.epoch + 1,
        };
        let (preface, first) = if fresh {
            (Vec::new(), Input::Start)
        } else {
            (vec![owned], Input::Recover(take.request))
        };
        let (alive, controls) = self.lives.enter(id).ok_or_else(|| Error::Owned {
            rollout: id.to_string(),
            owner: this_process(),
        })?;
        Ok(Taken {
            id: id.clone(),
            lock,
            policy,
            before: events,
            preface,
            first,
            on_down_failure: take.on_down_failure,
            links,
            payload,
            journal: self.journal.clone(),
            controls,
            alive,
            answer: None,
        })
    }

    /// The policy of a plan. To go back needs little of it, so that a plan of a version that did not keep it will do.
    ///
    /// # Errors
    /// What the journal gives.
    pub async fn policy(&self, planned: &Planned, goes_back: bool) -> Result<Policy, Error> {
        let kept = self.kept(&planned.policy).await;
        match kept {
            Ok(bytes) => policy::parse(&String::from_utf8_lossy(&bytes), "the journal"),
            Err(Error::NoBlob { .. }) if goes_back => Ok(Policy::default()),
            Err(error) => Err(error),
        }
    }

    async fn payload(
        &self,
        planned: &Planned,
        goes_back: bool,
    ) -> Result<Option<Arc<Payload>>, Error> {
        let mut bundles = Vec::new();
        for digest in &planned.bundles {
            let bytes = match self.kept(digest).await {
                Ok(bytes) => bytes,
                Err(Error::NoBlob { .. }) if goes_back => return Ok(None),
                Err(error) => return Err(error),
            };
            let bundle = Bundle::read_from(bytes.as_slice(), "the journal");
            bundles.push(bundle.map_err(Error::patch("the patch in the journal is refused"))?);
        }
        let mut bundles = bundles.into_iter();
        match bundles.next() {
            Some(bundle) => Ok(Some(Arc::new(Payload::with(bundle, bundles.collect())))),
            None if goes_back => Ok(None),
            None => Err(Error::NoBlob {
                digest: Digest::of(&[]),
                problem: "an earlier version recorded the plan, and kept no patch",
            }),
        }
    }

    async fn kept(&self, digest: &str) -> Result<Vec<u8>, Error> {
        let digest = digest
            .parse()
            .map_err(Error::patch("a digest in the journal"))?;
        self.journal.blob(digest).await
    }
}

impl Taken {
    /// The rollout.
    #[must_use]
    pub fn id(&self) -> &RolloutId {
        &self.id
    }

    /// What will be answered to the request it was taken up with, once that is in the journal.
    pub fn answered(&mut self) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.answer = Some(answer);
        answered
    }

    /// The events that were there before.
    #[must_use]
    pub fn before(&self) -> &[Event] {
        &self.before
    }

    /// Runs it until it is over or left to another process. The lock is free then. Dropped, it stops where it is.
    pub async fn run(self, shown: Box<dyn Reporter + '_>) -> Ended {
        let mut told = Told {
            alive: self.alive,
            shown,
            answer: self.answer,
        };
        let run = Run {
            now_ms: crate::engine::id::now_ms,
            id: self.id,
            policy: self.policy,
            before: self.before,
            preface: self.preface,
            first: self.first,
            on_down_failure: self.on_down_failure,
            links: self.links,
            payload: self.payload,
            journal: self.journal,
            reporter: &mut told,
            controls: self.controls,
        };
        let ended = engine::run(run).await;
        if ended.over {
            self.lock.finish();
        }
        ended
    }
}

/// This process, as `status` names it.
#[must_use]
pub fn this_process() -> Owner {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Owner {
        pid: std::process::id(),
        host,
        user: std::env::var("USER").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_back_from_what_the_journal_keeps_of_it() {
        let text = "waves: [{nodes: 1, bake: 2m}, {nodes: 'web:&eu', spread: zone}, 10%, 100%]\nmode: lockstep\n\
            gates: [{error_rate: +0.5%, against: control}, {parked: 0}]\nprobation: {lease: 90s, on_lost_contact: hold}\n";
        for policy in [Policy::default(), policy::parse(text, "a file").unwrap()] {
            let kept = serde_json::to_vec(&policy).unwrap();
            assert_eq!(Digest::of(&kept), policy.digest(), "under its digest");
            let again = policy::parse(&String::from_utf8(kept).unwrap(), "the journal").unwrap();
            assert_eq!(again, policy);
        }
    }
}
