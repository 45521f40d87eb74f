//! How the gates of a wave come to their verdict: the control set is read when the bake begins, the wave and the control set when it
//! ends, and gates that ask something else are asked then. Reading changes nothing on a node; what a verdict leads to is not decided here.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use midflight_proto::agent::v1 as pb;

use crate::engine::custom::{self, Subject};
use crate::engine::gate::{self, Baseline, Verdict};
use crate::engine::link::Link;
use crate::engine::measure::{Counts, Reading, Window};
use crate::policy::{Gate, Policy};
use crate::transport::CallError;

/// How long a single question may take.
const QUESTION: Duration = Duration::from_secs(5);

/// The gates of a rollout.
#[derive(Debug)]
pub struct Examiner {
    gates: Vec<Gate>,
    /// Modules that the patch changes.
    modules: Vec<String>,
    compares: bool,
    /// Whether a gate needs more than the counts of an upgrade's health.
    measures: bool,
    silence: Duration,
    concurrency: usize,
}

/// What the nodes of a wave did, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Since resume, on the new code.
    pub canary: Window,
    /// Before, on the old code.
    pub before: Window,
}

/// What the control set had counted when the bake began.
#[derive(Debug, Default)]
pub struct Beginning(Vec<Option<Reading>>);

impl Examiner {
    /// The gates of `policy`, for a patch that changes `modules`.
    #[must_use]
    pub fn new(policy: &Policy, modules: Vec<String>) -> Self {
        Self {
            gates: policy.gates.clone(),
            modules,
            compares: policy.needs_control(),
            measures: policy.needs_measures(),
            silence: policy.timeouts.silence.get(),
            concurrency: policy.concurrency.max(1) as usize,
        }
    }

    /// Asks a node how it stands and, where a gate needs it, what it measured, until it answers or has been silent for too long.
    ///
    /// # Errors
    /// The silence of the last attempt, or what the agent refused.
    pub async fn ask(&self, link: &Link, key: &pb::Key) -> Result<pb::DescribeResponse, CallError> {
        link.patiently(self.silence, QUESTION, |agent| {
            let key = key.clone();
            async move {
                match self.measures {
                    true => agent.measure(key).await,
                    false => agent.describe_order(key).await,
                }
            }
        })
        .await
    }

    /// Adds a node of the wave to its sums; `health` is what it says of this rollout since resume.
    pub fn add(&self, sums: &mut Sums, described: &pb::DescribeResponse, health: &pb::Health) {
        let reading = Reading::of(described, &self.modules);
        let since = Duration::from_millis(health.since_resume_ms);
        // What is counted since resume counts; what is only measured, since the version was loaded, which is the same moment.
        let canary = Counts {
            latency: reading.counts.latency,
            depth: reading.counts.depth,
            mailbox: reading.counts.mailbox,
            mailbox_max: reading.counts.mailbox_max,
            ..Counts::from(health)
        };
        sums.canary.merge(&Window::of(canary, since));
        let before = reading.uptime.saturating_sub(since);
        sums.before.merge(&Window::of(reading.before, before));
    }

    /// Reads the control set at the beginning of a bake. A node that does not answer is left out of it.
    pub async fn begin(&self, control: &[Arc<Link>], key: &pb::Key) -> Beginning {
        if !self.compares {
            return Beginning::default();
        }
        Beginning(self.read(control, key).await)
    }

    /// Reads the control set again, and judges the wave. Without a control set that can be compared, the wave is compared with what its
    /// own nodes did before.
    pub async fn judge(
        &self,
        sums: &Sums,
        beginning: &Beginning,
        control: &[Arc<Link>],
        key: &pb::Key,
        subject: &Subject,
    ) -> Verdict {
        let (control, custom) = tokio::join!(
            self.compare(beginning, control, key),
            custom::ask(&self.gates, subject)
        );
        let before = Some(Baseline::Before(&sums.before)).filter(|_| sums.before.nodes > 0);
        let baseline = control.as_ref().map(Baseline::Control).or(before);
        gate::judge(&self.gates, &sums.canary, baseline).and(custom)
    }

    async fn compare(
        &self,
        Beginning(beginning): &Beginning,
        control: &[Arc<Link>],
        key: &pb::Key,
    ) -> Option<Window> {
        if beginning.is_empty() {
            return None;
        }
        let end = self.read(control, key).await;
        let windows = beginning
            .iter()
            .zip(&end)
            .filter_map(|(before, after)| Window::between(before.as_ref()?, after.as_ref()?));
        windows.reduce(|mut all, window| {
            all.merge(&window);
            all
        })
    }

    async fn read(&self, links: &[Arc<Link>], key: &pb::Key) -> Vec<Option<Reading>> {
        let one = |link: Arc<Link>| async move {
            match link
                .once(
                    QUESTION,
                    |agent| async move { agent.measure(key.clone()).await },
                )
                .await
            {
                Ok(described) => Some(Reading::of(&described, &self.modules)),
                Err(error) => {
                    tracing::debug!(
                        node = link.target().name,
                        error = crate::error::chain(&error),
                        "not in the control set: no answer"
                    );
                    None
                }
            }
        };
        futures::stream::iter(links.iter().cloned())
            .map(one)
            .buffered(self.concurrency)
            .collect()
            .await
    }
}
