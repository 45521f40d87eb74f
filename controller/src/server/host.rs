//! What only `midflight serve` does: it plans for others with its own inventory and certificates, runs all rollouts of its
//! journal that are open, and takes up those that somebody asks for. Each rollout is a task that is owned here; when the server
//! stops, rollouts are left as they are, and the next start goes on with them.

use std::time::Duration;

use midflight_inventory::Inventory;
use midflight_patch::Bundle;
use midflight_proto::controller::v1 as pb;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::command::fleet::{InventoryArgs, PolicyArgs, check_signature};
use crate::command::nodes;
use crate::engine::control::{Answer, Request, Verb};
use crate::engine::id::RolloutId;
use crate::engine::words::RolloutState;
use crate::error::{self, Error};
use crate::journal::{Head, Which};
use crate::launch::wanted::{Wanted, check_count, check_patch};
use crate::launch::{Launch, Take, Taken, leftovers};
use crate::output::{Rendered, Silent};
use crate::policy::{self, Policy};
use crate::server::lives::Live;
use crate::transport::Target;

/// How long rollouts may take to leave what they are doing when the server stops.
const LEAVE: Duration = Duration::from_secs(10);

/// Who asks for what nobody asked for.
const WHO: &str = "midflight serve";

/// What a client submits.
pub struct Submission {
    /// What is wanted.
    pub header: pb::SubmitHeader,
    /// The patch, and those that may stand on the way to it.
    pub bundles: Vec<Vec<u8>>,
}

/// The server's own part.
pub struct Host {
    /// Where rollouts are, and how they are run.
    pub launch: Launch,
    /// The nodes that there are; read for every plan.
    pub inventory: InventoryArgs,
    /// The policy of submissions without one.
    pub policy: PolicyArgs,
    /// Who may sign patches, when it is checked here too.
    pub allowed_signers: Option<std::path::PathBuf>,
    runs: Mutex<JoinSet<()>>,
}

impl Host {
    /// A host that runs nothing yet.
    #[must_use]
    pub fn new(
        launch: Launch,
        inventory: InventoryArgs,
        policy: PolicyArgs,
        allowed_signers: Option<std::path::PathBuf>,
    ) -> Self {
        Self {
            launch,
            inventory,
            policy,
            allowed_signers,
            runs: Mutex::default(),
        }
    }

    /// Goes on with every open rollout that no other process runs. One that cannot be gone on with keeps no other back: it is
    /// told in the log, and stays as it is.
    ///
    /// # Errors
    /// When the journal does not list them.
    pub async fn go_on(&self) -> Result<(), Error> {
        for head in self.launch.journal.heads(Which::Open).await? {
            let rollout = head.rollout.to_string();
            match self.take(&head, Take::default()).await {
                Ok(taken) => {
                    self.spawn(taken).await;
                    tracing::info!(rollout, "going on");
                }
                Err(error) => {
                    let error = error::chain(&error);
                    tracing::error!(rollout, error, "cannot go on with a rollout");
                }
            }
        }
        Ok(())
    }

    /// What an apply would do.
    ///
    /// # Errors
    /// What the plan gives.
    pub async fn plan(&self, submission: Submission) -> Result<Rendered, Error> {
        let wanted = self.wanted(submission)?;
        Ok(wanted.prepare(&self.launch.transport).await?.rendered())
    }

    /// Records a rollout and begins it.
    ///
    /// # Errors
    /// What plan and journal give.
    pub async fn apply(&self, submission: Submission, who: String) -> Result<RolloutId, Error> {
        let pattern = submission.header.pattern.clone();
        let prepared = self
            .wanted(submission)?
            .prepare(&self.launch.transport)
            .await?;
        leftovers::finish(&*self.launch.journal, &self.launch.path, &prepared).await?;
        let (id, lock) = self.launch.record(&prepared, &pattern).await?;
        tracing::info!(rollout = %id, who, pattern, "a rollout was submitted");
        let taken = self
            .launch
            .take(&id, lock, Some(prepared.links), Take::default());
        self.spawn(taken.await?).await;
        Ok(id)
    }

    fn wanted(&self, submission: Submission) -> Result<Wanted, Error> {
        let Submission { header, bundles } = submission;
        let inventory = self.inventory()?;
        let mut policy = if header.policy.is_empty() {
            self.policy.load(Some(&inventory))?
        } else {
            policy::parse_submitted(&header.policy, "the submitted policy")?
        };
        if header.emergency {
            policy = policy.emergency();
        }
        check_count(bundles.len().saturating_sub(1))?;
        let read = |(number, bytes): (usize, Vec<u8>)| {
            let name = format!("number {number}");
            let bundle = Bundle::read_from(bytes.as_slice(), &name)
                .map_err(Error::patch(format!("the bundle {name} is refused")))?;
            check_signature(&bundle, &name, self.allowed_signers.as_deref())?;
            check_patch(bundle, &name)
        };
        let mut bundles = (1..).zip(bundles).map(read);
        let bundle = bundles.next().ok_or_else(|| Error::Usage {
            problem: "no patch was submitted".to_owned(),
            hint: "send a bundle after the header",
        })??;
        Ok(Wanted {
            bundle,
            through: bundles.collect::<Result<_, _>>()?,
            inventory,
            policy,
            pattern: header.pattern,
            all: header.all,
            prepare_only: header.prepare_only,
            supersedes: header.supersede,
        })
    }

    /// The inventory, for patterns that clients send: they are not to have files of this machine read.
    ///
    /// # Errors
    /// What the files give.
    pub fn inventory(&self) -> Result<Inventory, Error> {
        Ok(self.inventory.load()?.without_lists())
    }

    /// How long to wait for nodes, and how many at a time, outside of rollouts.
    ///
    /// # Errors
    /// What the file gives.
    pub fn policy(&self) -> Result<Policy, Error> {
        self.policy.load(Some(&self.inventory()?))
    }

    /// What runs on nodes.
    ///
    /// # Errors
    /// What inventory and pattern give.
    pub async fn nodes(&self, pattern: &str) -> Result<Rendered, Error> {
        let inventory = self.inventory()?;
        nodes::look(&inventory, &self.policy()?, pattern, &self.launch.transport).await
    }

    /// Follows a request for a rollout that no process runs, by running it here.
    ///
    /// # Errors
    /// [`Error::Owned`], [`Error::NoOwner`] for a request that only a living rollout follows, and what the journal gives.
    pub async fn take_up(
        &self,
        rollout: &RolloutId,
        head: &Head,
        request: Request,
    ) -> Result<Answer, Error> {
        let request = match (&request.verb, head.state) {
            (Verb::Resume, RolloutState::Paused) => Some(request),
            (Verb::Resume, _) if head.is_open() => None,
            (Verb::Rollback | Verb::RetryFailed, _) => Some(request),
            (_, state) if state.is_final() => return Ok(Answer::Refused(format!("it is {state}"))),
            _ => {
                let rollout = rollout.to_string();
                return Err(Error::NoOwner { rollout });
            }
        };
        let asks = request.is_some();
        let take = Take {
            request,
            ..Take::default()
        };
        let mut taken = self.take(head, take).await?;
        let answered = taken.answered();
        self.spawn(taken).await;
        if !asks {
            return Ok(Answer::Done);
        }
        // An engine that ended without an answer could not write it.
        let ended = || Answer::Refused("its engine ended: see the server's log".to_owned());
        Ok(answered.await.unwrap_or_else(|_| ended()))
    }

    /// Has nodes that were away follow a rollout that has succeeded.
    ///
    /// # Errors
    /// [`Error::Owned`] when another process has taken it up, and what the journal gives.
    pub async fn converge(&self, head: &Head, late: Vec<Target>) -> Result<(), Error> {
        let nodes = late.iter().map(|target| target.name.clone()).collect();
        let take = Take {
            request: Some(Request {
                verb: Verb::Converge { nodes },
                who: WHO.to_owned(),
                reason: "answering again".to_owned(),
            }),
            moved: late,
            ..Take::default()
        };
        let taken = self.take(head, take).await?;
        self.spawn(taken).await;
        Ok(())
    }

    async fn take(&self, head: &Head, take: Take) -> Result<Taken, Error> {
        let lock = self.launch.lock(&head.rollout, head.owner.clone())?;
        self.launch.take(&head.rollout, lock, None, take).await
    }

    async fn spawn(&self, taken: Taken) {
        let mut runs = self.runs.lock().await;
        // Those that have ended since.
        while runs.try_join_next().is_some() {}
        runs.spawn(async move {
            let rollout = taken.id().to_string();
            let ended = taken.run(Box::new(Silent)).await;
            let state = ended.view.state.as_str();
            match ended.error {
                Some(error) => {
                    let error = error::chain(&error);
                    tracing::error!(rollout, state, error, "a rollout stands still");
                }
                None => tracing::info!(rollout, state, "a rollout was left"),
            }
        });
    }

    /// Asks every rollout to leave, and stops those that take too long over it: the journal has all that they did.
    pub async fn stop(&self) {
        let leave = |live: Live| async move {
            let request = Request {
                verb: Verb::Detach,
                who: WHO.to_owned(),
                reason: "the server stops".to_owned(),
            };
            live.ask(request).await
        };
        let mut runs = self.runs.lock().await;
        let leaving = async {
            futures::future::join_all(self.launch.lives.all().into_iter().map(leave)).await;
            while runs.join_next().await.is_some() {}
        };
        if tokio::time::timeout(LEAVE, leaving).await.is_err() {
            runs.shutdown().await;
        }
    }
}
