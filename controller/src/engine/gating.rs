//! One look at the gates of a wave: the nodes of the wave are asked how they stand and what they counted, and [`examine`] judges
//! that. What was read at the beginning of a bake is kept here; a process that goes on after another begins without it.

use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::engine::custom::Subject;
use crate::engine::event::{Health, Planned};
use crate::engine::examine::{Beginning, Examiner, Sums};
use crate::engine::link::Link;
use crate::engine::moves::{Judged, Standing};
use crate::engine::node::{self, Order};
use crate::engine::words::Phase;
use crate::policy::Policy;

/// A node to look at.
pub(super) struct Member {
    pub(super) node: usize,
    pub(super) attempt: u32,
    pub(super) link: Arc<Link>,
}

/// See the module's text; shared by the tasks that look.
pub(super) struct Gating {
    examiner: Examiner,
    subject: Subject,
    concurrency: usize,
    /// When the bake began, and what the control set had counted then; held while that is read.
    bake: Mutex<(Instant, Beginning)>,
}

impl Gating {
    /// `modules` are those that the patch changes.
    pub(super) fn new(
        order: &Order,
        planned: &Planned,
        policy: &Policy,
        modules: Vec<String>,
    ) -> Self {
        Self {
            examiner: Examiner::new(policy, modules),
            subject: Subject {
                rollout: order.key(1).rollout_id,
                application: planned.name.clone(),
                from: planned.from.clone(),
                to: planned.to.clone(),
                ..Subject::default()
            },
            concurrency: policy.concurrency.max(1) as usize,
            bake: Mutex::new((Instant::now(), Beginning::default())),
        }
    }

    /// Reads the control set at the beginning of a bake.
    pub(super) async fn measure(&self, control: Vec<Arc<Link>>, order: &Order) {
        let mut bake = self.bake.lock().await;
        let now = Instant::now();
        *bake = (now, self.examiner.begin(&control, &order.key(1)).await);
    }

    /// Looks at the nodes of wave `wave`, from 1, and at the control set, and judges.
    pub(super) async fn judge(
        &self,
        wave: u32,
        members: Vec<Member>,
        control: Vec<Arc<Link>>,
        order: &Order,
    ) -> Judged {
        let name = |link: &Arc<Link>| link.target().name.clone();
        let nodes = members.iter().map(|member| name(&member.link)).collect();
        let ask = |member: Member| async move {
            let key = order.key(member.attempt);
            (member.node, self.examiner.ask(&member.link, &key).await)
        };
        let mut answers = futures::stream::iter(members)
            .map(ask)
            .buffer_unordered(self.concurrency);
        let (mut sums, mut health, mut lost) = (Sums::default(), Health::default(), Vec::new());
        while let Some((node, answer)) = answers.next().await {
            let described = match answer {
                Ok(described) => described,
                Err(error) => {
                    lost.push((node, Standing::Unknown(error.cause(Phase::Gate))));
                    continue;
                }
            };
            match (node::standing(&described, Phase::Gate), &described.asked) {
                (Standing::Probation | Standing::Confirmed, Some(status)) => {
                    let counted = status.health.clone().unwrap_or_default();
                    self.examiner.add(&mut sums, &described, &counted);
                    health += Health::from(&counted);
                }
                (standing, _) => lost.push((node, standing)),
            }
        }
        let bake = self.bake.lock().await;
        let subject = Subject {
            wave,
            nodes,
            control: control.iter().map(name).collect(),
            window_ms: u64::try_from(bake.0.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..self.subject.clone()
        };
        let verdict = self
            .examiner
            .judge(&sums, &bake.1, &control, &order.key(1), &subject)
            .await;
        Judged {
            verdict,
            health,
            lost,
        }
    }
}
