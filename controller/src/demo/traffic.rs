//! The live clients: connections to every node's echo server and gateway, which keep asking through every act and check each
//! answer. A client never gives a message up: what is not answered when the demo ends is lost. It reaches nodes as any
//! client of the actors would, and never by way of an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::demo::client::{self, Client};
use crate::demo::counts::{Counts, Greeting};
use crate::demo::lines::{Form, Lines};
use crate::demo::place::{ECHO_PORT, GATEWAY_PORT};
use crate::demo::setup::Node;
use crate::error::Error;

/// Connections to each node's echo server.
const ECHOES: u32 = 4;
/// Connections to each node's gateway; the node's counters are divided among them.
const GATEWAYS: u32 = 2;
/// Lines and requests of each kind a second on all nodes together, about: it leaves most of two cores to the agents.
const RATE: u32 = 600;
/// No connection sends more often, and none more rarely.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(40), Duration::from_secs(1));
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The greatest number of counters that get most increments.
const HOT: u32 = 10;

/// What the clients saw so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Connections that were opened.
    pub connections: u64,
    /// Of these, closed by the other side.
    pub dropped: u64,
    /// Lines and requests that were sent.
    pub sent: u64,
    /// Lines and requests that were not answered or were answered with an error, and increments that were not counted.
    pub lost: u64,
    /// Lines and answers that came twice, and increments that were counted twice.
    pub duplicated: u64,
    /// Answers that came out of order, altered, or from code that was not in force.
    pub wrong: u64,
    /// Counters that are not what was sent to them.
    pub counters_wrong: u64,
    /// The first few things that were wrong, for a person.
    pub said: Vec<String>,
}

/// All clients.
pub struct Traffic {
    echoes: Vec<Arc<Client<Lines>>>,
    gateways: Vec<Arc<Client<Counts>>>,
    /// No more lines and increments.
    quiet: Arc<AtomicBool>,
    /// Counters of each node, from the first, that get most increments.
    hot: u32,
    /// Aborted when this is dropped.
    _tasks: JoinSet<()>,
}

impl Traffic {
    /// Connects to all nodes and begins to send.
    ///
    /// # Errors
    /// [`Error::Demo`] when a connection cannot be opened.
    pub async fn start(nodes: &[Node], counters: u32) -> Result<Self, Error> {
        let own_hot = (counters / 100 / GATEWAYS).clamp(1, HOT / GATEWAYS);
        // A demo has at most 250 nodes.
        let count = nodes.len() as u32;
        let mut traffic = Self {
            echoes: Vec::new(),
            gateways: Vec::new(),
            quiet: Arc::default(),
            hot: own_hot * GATEWAYS,
            _tasks: JoinSet::new(),
        };
        for (index, node) in nodes.iter().enumerate() {
            for number in 1..=ECHOES {
                let lines = Lines::new(format!("{} c{number}", node.name), Form::AsSent);
                let client = Client::new(index, lines);
                traffic.echoes.push(client.clone());
                let stream = client::connect(node.address, ECHO_PORT).await?;
                let (pace, quiet) = (pace(count * ECHOES), traffic.quiet.clone());
                let send = move |to, client| client::echo(to, client, pace, quiet);
                traffic
                    ._tasks
                    .spawn(client::run(client, stream, send, Lines::received));
            }
            for number in 1..=GATEWAYS {
                let own = (number..=counters).step_by(GATEWAYS as usize);
                let counts = Counts::new(format!("{}-g{number}", node.name), own, Greeting::Hello);
                let client = Client::new(index, counts);
                traffic.gateways.push(client.clone());
                let stream = client::connect(node.address, GATEWAY_PORT).await?;
                let (pace, quiet) = (pace(count * GATEWAYS), traffic.quiet.clone());
                let hot = own_hot as usize;
                let send = move |to, client| client::increments(to, client, pace, quiet, hot);
                traffic
                    ._tasks
                    .spawn(client::run(client, stream, send, Counts::answered));
            }
        }
        Ok(traffic)
    }

    /// Which code answers from now on; `Either` and `Either` while it changes.
    pub fn expect(&self, form: Form, greeting: Greeting) {
        self.echoes
            .iter()
            .for_each(|client| client.check().expect(form));
        self.gateways
            .iter()
            .for_each(|client| client.check().expect(greeting));
    }

    /// Waits until every open connection has sent some messages from now on and got their answers.
    ///
    /// # Errors
    /// [`Error::Demo`] when it does not come to that within `patience`.
    pub async fn flow(&self, messages: u64, patience: Duration) -> Result<(), Error> {
        self.echoes.iter().for_each(|client| client.check().mark());
        self.gateways
            .iter()
            .for_each(|client| client.check().mark());
        let waiting = || {
            let of_echoes = self
                .echoes
                .iter()
                .filter(|c| !c.is_dropped() && c.check().fresh() < messages)
                .count();
            of_echoes
                + self
                    .gateways
                    .iter()
                    .filter(|c| !c.is_dropped() && c.check().fresh() < messages)
                    .count()
        };
        until(patience, || waiting() == 0)
            .await
            .map_err(|()| stuck(format!("{} connections get no answers", waiting())))
    }

    /// The number of increments from which on a count is one of the few that are much higher than all others, on every
    /// node. Waits until there is one.
    ///
    /// # Errors
    /// [`Error::Demo`] when there is none within `patience`.
    pub async fn high_count(&self, patience: Duration) -> Result<u64, Error> {
        let extremes = || {
            let all: Vec<_> = self
                .gateways
                .iter()
                .map(|client| client.check().extremes(self.hot))
                .collect();
            let least_hot = all.iter().filter_map(|(hot, _)| *hot).min().unwrap_or(0);
            (
                least_hot,
                all.iter()
                    .filter_map(|(_, others)| *others)
                    .max()
                    .unwrap_or(0),
            )
        };
        // Twice as high: the others go on counting until the patch arrives.
        let high = || {
            Some(extremes())
                .filter(|(hot, others)| *hot > 2 * others + 2)
                .map(|(hot, _)| hot)
        };
        let found = until(patience, || high().is_some()).await;
        found
            .ok()
            .and_then(|()| high())
            .ok_or_else(|| stuck("no node's counters are as far apart as the act needs".to_owned()))
    }

    /// Asks every counter of every node for its count while the traffic goes on, and waits for the answers. Gives how many
    /// counters there are, and how many are not what was sent to them.
    pub async fn audit(&self, patience: Duration) -> (u64, u64) {
        self.gateways
            .iter()
            .for_each(|client| client.check().begin_audit());
        // Whoever did not answer in time is counted as wrong.
        let _ = until(patience, || {
            self.gateways
                .iter()
                .all(|c| c.is_dropped() || c.check().unseen() == 0)
        })
        .await;
        let counters = self
            .gateways
            .iter()
            .map(|client| client.check().counters() as u64)
            .sum();
        (
            counters,
            self.gateways
                .iter()
                .map(|client| client.check().wrong_counters())
                .sum(),
        )
    }

    /// Stops sending and waits for every answer that is due; what has not come within `patience` is lost.
    pub async fn finish(&self, patience: Duration) {
        self.quiet.store(true, Ordering::Relaxed);
        let due = || {
            self.echoes
                .iter()
                .any(|client| !client.is_dropped() && client.check().due() > 0)
                || self
                    .gateways
                    .iter()
                    .any(|client| !client.is_dropped() && client.check().due() > 0)
        };
        let _ = until(patience, || !due()).await;
    }

    /// What was seen so far. Messages under way count as lost, so that it is a verdict only after `finish`.
    pub fn figures(&self) -> Figures {
        let mut all = Figures::default();
        for client in &self.echoes {
            let check = client.check();
            all.add(
                client.is_dropped(),
                check.sent(),
                check.due(),
                check.duplicated,
                check.first_wrong.as_ref(),
            );
            all.wrong += check.overtook + check.foreign + check.misformed;
        }
        for client in &self.gateways {
            let check = client.check();
            let lost = check.due() + check.failed + check.uncounted;
            let twice = check.duplicated + check.counted_twice;
            all.add(
                client.is_dropped(),
                check.sent(),
                lost,
                twice,
                check.first_wrong.as_ref(),
            );
            all.wrong += check.misformed;
            all.counters_wrong += check.wrong_counters();
        }
        all
    }

    /// The nodes on which something was lost, came twice or was wrong, by index.
    pub fn troubled(&self) -> Vec<usize> {
        let echoes = self.echoes.iter().filter(|client| {
            let check = client.check();
            client.is_dropped() || check.due() > 0 || check.first_wrong.is_some()
        });
        let gateways = self.gateways.iter().filter(|client| {
            let check = client.check();
            client.is_dropped()
                || check.due() > 0
                || check.first_wrong.is_some()
                || check.wrong_counters() > 0
        });
        let mut nodes: Vec<usize> = echoes
            .map(|c| c.node)
            .chain(gateways.map(|c| c.node))
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

impl Figures {
    fn add(&mut self, dropped: bool, sent: u64, lost: u64, duplicated: u64, said: Option<&String>) {
        const SAID: usize = 5;
        self.connections += 1;
        self.dropped += u64::from(dropped);
        self.sent += sent;
        self.lost += lost;
        self.duplicated += duplicated;
        self.said
            .extend(said.filter(|_| self.said.len() < SAID).cloned());
    }

    /// Whether nothing was lost, came twice or was wrong.
    pub fn is_good(&self) -> bool {
        [
            self.dropped,
            self.lost,
            self.duplicated,
            self.wrong,
            self.counters_wrong,
        ] == [0; 5]
    }
}

fn pace(connections: u32) -> Duration {
    (Duration::from_secs(1) * connections / RATE).clamp(INTERVALS.0, INTERVALS.1)
}

/// Looks at a condition until it holds.
async fn until(patience: Duration, mut holds: impl FnMut() -> bool) -> Result<(), ()> {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() >= deadline {
            return Err(());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn stuck(problem: String) -> Error {
    Error::Demo {
        problem,
        hint: "see the agents' logs".to_owned(),
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
