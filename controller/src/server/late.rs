//! Late nodes: those that were dead or lost when a rollout brought its release to all others. The server looks from time to time
//! whether they answer again, and has them follow, as a wave of that same rollout, so that whoever rolls it back puts them back
//! too. Nodes that said no, or on which the patch failed, are left to people.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::engine::event::Fact;
use crate::engine::id::{RolloutId, now_ms};
use crate::engine::survey;
use crate::engine::view::View;
use crate::engine::words::{Outcome, RolloutState};
use crate::error::{self, Error};
use crate::journal::{Head, Which, read_all};
use crate::server::host::Host;
use crate::transport::Target;

/// Rollouts that are looked at, the newest first.
const LOOK_BACK: u32 = 1_000;

/// The longest time between two looks at a node that is still away, or that comes and goes.
const MOST_PATIENT: Duration = Duration::from_secs(600);

/// Looks every so often, for as long as the server lives.
pub async fn keep_looking(host: &Host, every: Duration) {
    let mut late = Late::new(every);
    loop {
        sleep(every).await;
        if let Err(error) = late.look(host).await {
            let error = error::chain(&error);
            tracing::warn!(error, "cannot look for nodes that were away");
        }
    }
}

/// What is known from one look to the next.
struct Late {
    every: Duration,
    /// By rollout, with the number of its last event when it was read.
    read: HashMap<RolloutId, (u64, Behind)>,
    /// When a node is looked at next, and how long it was left alone before.
    patience: HashMap<String, (Instant, Duration)>,
}

/// A rollout that succeeded, and the nodes that it is still to be brought to.
#[derive(Clone, Debug, Default, PartialEq)]
struct Behind {
    name: String,
    from: String,
    to: String,
    away: HashSet<String>,
    /// Until when, in milliseconds since 1970.
    until_ms: u64,
}

impl Late {
    fn new(every: Duration) -> Self {
        Self {
            every,
            read: HashMap::new(),
            patience: HashMap::new(),
        }
    }

    async fn look(&mut self, host: &Host) -> Result<(), Error> {
        let heads = host.launch.journal.heads(Which::Newest(LOOK_BACK)).await?;
        let behind = self.behind(host, &heads).await?;
        let targets = self.due(host, &heads, &behind).await?;
        if targets.is_empty() {
            return Ok(());
        }
        let policy = host.policy()?;
        let links = survey::links(&targets, &host.launch.transport, &policy);
        let answers = survey::survey(&links, &policy).await;
        let mut follow: HashMap<&RolloutId, Vec<Target>> = HashMap::new();
        for (target, answer) in targets.into_iter().zip(answers) {
            self.leave_alone(&target.name);
            let Some(current) = answer.ok().and_then(|answer| answer.current) else {
                continue;
            };
            let steps = behind
                .iter()
                .filter(|(_, step)| step.name == current.name && step.away.contains(&target.name));
            if let Some((head, _)) = next(&current.vsn, steps) {
                follow.entry(&head.rollout).or_default().push(target);
            }
        }
        for (head, _) in &behind {
            if let Some(targets) = follow.remove(&head.rollout) {
                let (rollout, nodes) = (head.rollout.to_string(), targets.len());
                match host.converge(head, targets).await {
                    Ok(()) => tracing::info!(rollout, nodes, "nodes that were away follow"),
                    Err(error) => {
                        let error = error::chain(&error);
                        tracing::warn!(rollout, error, "nodes that were away cannot follow");
                    }
                }
            }
        }
        Ok(())
    }

    /// The rollouts that nodes are still to follow, the newest first. Each is read once, and again when it went on.
    async fn behind<'a>(
        &mut self,
        host: &Host,
        heads: &'a [Head],
    ) -> Result<Vec<(&'a Head, Behind)>, Error> {
        let mut behind = Vec::new();
        for head in heads.iter().filter(|head| is_behind(head)) {
            let known = self.read.get(&head.rollout);
            if known.is_none_or(|(seq, _)| *seq != head.seq) {
                let read = read(host, head).await?;
                self.read.insert(head.rollout.clone(), (head.seq, read));
            }
            let (_, step) = &self.read[&head.rollout];
            if now_ms() < step.until_ms {
                behind.push((head, step.clone()));
            }
        }
        self.read
            .retain(|rollout, _| behind.iter().any(|(head, _)| head.rollout == *rollout));
        Ok(behind)
    }

    /// The nodes to look at now: those that are still in the inventory, where it says that they are, and that no open rollout
    /// is about.
    async fn due(
        &mut self,
        host: &Host,
        heads: &[Head],
        behind: &[(&Head, Behind)],
    ) -> Result<Vec<Target>, Error> {
        let away: HashSet<&String> = behind.iter().flat_map(|(_, step)| &step.away).collect();
        self.patience.retain(|node, _| away.contains(node));
        if away.is_empty() {
            return Ok(Vec::new());
        }
        let mut busy = HashSet::new();
        for head in heads.iter().filter(|head| head.is_open()) {
            let first = host.launch.journal.events(&head.rollout, 0, 1).await?;
            if let Some(Fact::Planned(planned)) = first.into_iter().next().map(|event| event.fact) {
                busy.extend(planned.nodes.into_iter().map(|node| node.name));
            }
        }
        let now = Instant::now();
        let inventory = host.inventory()?;
        let here = inventory.hosts().iter().filter(|node| {
            let name = node.name().to_owned();
            let next = self.patience.get(&name).map(|(next, _)| *next);
            away.contains(&name)
                && !busy.contains(&name)
                && next.is_none_or(|next| next <= now)
                && node.reachable().is_ok()
        });
        Ok(here
            .map(Target::from)
            .filter(|target| host.launch.transport.check(target).is_ok())
            .collect())
    }

    /// A node is looked at ever less often.
    fn leave_alone(&mut self, node: &str) {
        let wait = self
            .patience
            .get(node)
            .map_or(self.every, |(_, wait)| (*wait * 2).min(MOST_PATIENT));
        self.patience
            .insert(node.to_owned(), (Instant::now() + wait, wait));
    }
}

/// Whether a rollout has brought its release to all but nodes that were away.
fn is_behind(head: &Head) -> bool {
    let away = |(outcome, nodes): (&Outcome, &u64)| outcome.is_away() && *nodes > 0;
    let summary = head.summary.as_ref();
    head.state == RolloutState::Succeeded && summary.is_some_and(|it| it.outcomes.iter().any(away))
}

async fn read(host: &Host, head: &Head) -> Result<Behind, Error> {
    let view = View::of(&read_all(&*host.launch.journal, &head.rollout).await?);
    let Some(planned) = view
        .planned
        .as_ref()
        .filter(|planned| !planned.prepare_only)
    else {
        return Ok(Behind::default());
    };
    let until = host.launch.policy(planned, false).await?.converge_until;
    let away = view.nodes.iter().filter(|node| node.outcome.is_away());
    Ok(Behind {
        name: planned.name.clone(),
        from: planned.from.clone(),
        to: planned.to.clone(),
        away: away.map(|node| node.name.clone()).collect(),
        until_ms: head
            .last_ms
            .saturating_add(u64::try_from(until.get().as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Which of the rollouts that a node missed, the newest first, it is to follow next: the one that starts from what it runs, or
/// that led there, on an unbroken way to the newest.
fn next<'a>(
    runs: &str,
    missed: impl Iterator<Item = &'a (&'a Head, Behind)>,
) -> Option<&'a (&'a Head, Behind)> {
    let mut wanted: Option<&str> = None;
    for step in missed {
        if wanted.is_some_and(|vsn| vsn != step.1.to) {
            continue;
        }
        if step.1.from == runs || step.1.to == runs {
            return Some(step);
        }
        wanted = Some(&step.1.from);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::event;

    fn heads(count: u64) -> Vec<Head> {
        let id = |number| event(&format!("r-{number}"), 1).rollout;
        (0..count)
            .map(|number| Head::new(id(number), number))
            .collect()
    }

    #[test]
    fn a_node_follows_the_rollouts_that_it_missed_in_their_order() {
        let heads = heads(4);
        let step = |head: usize, from: &str, to: &str| {
            let (from, to) = (from.to_owned(), to.to_owned());
            let behind = Behind {
                from,
                to,
                ..Behind::default()
            };
            (&heads[head], behind)
        };
        // The newest first; 2 to 7 was taken back by a patch that led from 7 to 2, which the node did not miss.
        let missed = [
            step(3, "3", "4"),
            step(2, "2", "3"),
            step(1, "2", "7"),
            step(0, "1", "2"),
        ];
        let follows =
            |runs: &str| next(runs, missed.iter()).map(|(head, _)| head.rollout.to_string());
        assert_eq!(follows("1").as_deref(), Some("r-0"));
        assert_eq!(follows("2").as_deref(), Some("r-2"));
        assert_eq!(follows("3").as_deref(), Some("r-3"));
        assert_eq!(follows("4").as_deref(), Some("r-3"), "which is then told");
        assert_eq!(follows("7"), None, "somebody brought it elsewhere");
    }
}
