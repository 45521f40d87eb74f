//! The live clients: connections to every node's echo server and gateway, which keep asking through every act and check each
//! answer. A client never gives a message up: what is not answered when the demo ends is lost. It reaches nodes as any
//! client of the actors would, and never by way of an agent.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::demo::counts::{Counts, Greeting};
use crate::demo::lines::{Form, Lines, Splitter, half};
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
/// Requests of one connection to a gateway that may be open at a time.
const WINDOW: u64 = 200;
/// How long a client tries to connect: actors begin to listen after the agent answers.
const CONNECT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The greatest number of counters that get most increments.
const HOT: u32 = 10;

/// One connection: its checker, and whether the peer closed it.
#[derive(Debug)]
struct Client<T> {
    node: usize,
    check: Mutex<T>,
    dropped: AtomicBool,
}

impl<T> Client<T> {
    fn new(node: usize, check: T) -> Arc<Self> {
        Arc::new(Self { node, check: Mutex::new(check), dropped: AtomicBool::new(false) })
    }

    fn check(&self) -> MutexGuard<'_, T> {
        // A panic in a checker shows as a client that ended, which is counted as a dropped connection.
        self.check.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }
}

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
                let client = Client::new(index, Lines::new(format!("{} c{number}", node.name), Form::AsSent));
                let stream = connect(node.address, ECHO_PORT).await?;
                let (pace, quiet) = (pace(count * ECHOES), traffic.quiet.clone());
                traffic.run(client.clone(), stream, move |to, client| echo(to, client, pace, quiet), Lines::received);
                traffic.echoes.push(client);
            }
            for number in 1..=GATEWAYS {
                let own = (number..=counters).step_by(GATEWAYS as usize);
                let name = format!("{}-g{number}", node.name);
                let client = Client::new(index, Counts::new(name, own, Greeting::Hello));
                let stream = connect(node.address, GATEWAY_PORT).await?;
                let (pace, quiet) = (pace(count * GATEWAYS), traffic.quiet.clone());
                let send = move |to, client| increments(to, client, pace, quiet, own_hot as usize);
                traffic.run(client.clone(), stream, send, Counts::answered);
                traffic.gateways.push(client);
            }
        }
        Ok(traffic)
    }

    /// Runs the two halves of a connection: one sends, one checks what comes back.
    fn run<T: Send + 'static, F: Future<Output = std::io::Result<()>> + Send + 'static>(
        &mut self,
        client: Arc<Client<T>>,
        stream: TcpStream,
        send: impl FnOnce(OwnedWriteHalf, Arc<Client<T>>) -> F,
        take: fn(&mut T, &[u8]),
    ) {
        let (from, to) = stream.into_split();
        let sending = send(to, client.clone());
        self._tasks.spawn(async move {
            let broken = tokio::select! {
                sent = sending => sent.is_err(),
                () = receive(from, &client, take) => true,
            };
            client.dropped.store(broken, Ordering::Relaxed);
        });
    }

    /// Which code answers from now on; `Either` and `Either` while it changes.
    pub fn expect(&self, form: Form, greeting: Greeting) {
        self.echoes.iter().for_each(|client| client.check().expect(form));
        self.gateways.iter().for_each(|client| client.check().expect(greeting));
    }

    /// Waits until every open connection has sent some messages from now on and got their answers.
    ///
    /// # Errors
    /// [`Error::Demo`] when it does not come to that within `patience`.
    pub async fn flow(&self, messages: u64, patience: Duration) -> Result<(), Error> {
        self.echoes.iter().for_each(|client| client.check().mark());
        self.gateways.iter().for_each(|client| client.check().mark());
        let waiting = || {
            let of_echoes = self.echoes.iter().filter(|c| !c.is_dropped() && c.check().fresh() < messages).count();
            of_echoes + self.gateways.iter().filter(|c| !c.is_dropped() && c.check().fresh() < messages).count()
        };
        until(patience, || waiting() == 0).await.map_err(|()| stuck(format!("{} connections get no answers", waiting())))
    }

    /// The number of increments from which on a count is one of the few that are much higher than all others, on every
    /// node. Waits until there is one.
    ///
    /// # Errors
    /// [`Error::Demo`] when there is none within `patience`.
    pub async fn high_count(&self, patience: Duration) -> Result<u64, Error> {
        let extremes = || {
            let all: Vec<_> = self.gateways.iter().map(|client| client.check().extremes(self.hot)).collect();
            let least_hot = all.iter().filter_map(|(hot, _)| *hot).min().unwrap_or(0);
            (least_hot, all.iter().filter_map(|(_, others)| *others).max().unwrap_or(0))
        };
        // Twice as high: the others go on counting until the patch arrives.
        let high = || Some(extremes()).filter(|(hot, others)| *hot > 2 * others + 2).map(|(hot, _)| hot);
        let found = until(patience, || high().is_some()).await;
        found.ok().and_then(|()| high()).ok_or_else(|| stuck("no node's counters are as far apart as the act needs".to_owned()))
    }

    /// Asks every counter of every node for its count while the traffic goes on, and waits for the answers. Gives how many
    /// counters there are, and how many are not what was sent to them.
    pub async fn audit(&self, patience: Duration) -> (u64, u64) {
        self.gateways.iter().for_each(|client| client.check().begin_audit());
        // Whoever did not answer in time is counted as wrong.
        let _ = until(patience, || self.gateways.iter().all(|c| c.is_dropped() || c.check().unseen() == 0)).await;
        let counters = self.gateways.iter().map(|client| client.check().counters() as u64).sum();
        (counters, self.gateways.iter().map(|client| client.check().wrong_counters()).sum())
    }

    /// Stops sending and waits for every answer that is due; what has not come within `patience` is lost.
    pub async fn finish(&self, patience: Duration) {
        self.quiet.store(true, Ordering::Relaxed);
        let due = || {
            self.echoes.iter().any(|client| !client.is_dropped() && client.check().due() > 0)
                || self.gateways.iter().any(|client| !client.is_dropped() && client.check().due() > 0)
        };
        let _ = until(patience, || !due()).await;
    }

    /// What was seen so far. Messages under way count as lost, so that it is a verdict only after `finish`.
    pub fn figures(&self) -> Figures {
        let mut all = Figures::default();
        for client in &self.echoes {
            let check = client.check();
            all.add(client.is_dropped(), check.sent(), check.due(), check.duplicated, check.first_wrong.as_ref());
            all.wrong += check.overtook + check.foreign + check.misformed;
        }
        for client in &self.gateways {
            let check = client.check();
            let lost = check.due() + check.failed + check.uncounted;
            let twice = check.duplicated + check.counted_twice;
            all.add(client.is_dropped(), check.sent(), lost, twice, check.first_wrong.as_ref());
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
            client.is_dropped() || check.due() > 0 || check.first_wrong.is_some() || check.wrong_counters() > 0
        });
        let mut nodes: Vec<usize> = echoes.map(|c| c.node).chain(gateways.map(|c| c.node)).collect();
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
        self.said.extend(said.filter(|_| self.said.len() < SAID).cloned());
    }

    /// Whether nothing was lost, came twice or was wrong.
    pub fn is_good(&self) -> bool {
        [self.dropped, self.lost, self.duplicated, self.wrong, self.counters_wrong] == [0; 5]
    }
}

fn pace(connections: u32) -> Duration {
    (Duration::from_secs(1) * connections / RATE).clamp(INTERVALS.0, INTERVALS.1)
}

async fn connect(address: Ipv4Addr, port: u16) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + CONNECT;
    loop {
        match TcpStream::connect((address, port)).await.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < deadline => sleep(LOOK).await,
            Err(error) => {
                return Err(Error::Demo {
                    problem: format!("nothing accepts connections at {address}:{port}: {error}"),
                    hint: "see the agent's log".to_owned(),
                });
            }
        }
    }
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
    Error::Demo { problem, hint: "see the agents' logs".to_owned() }
}

/// Sends lines; every third in two halves, with a pause between, so that code may change while half a line is buffered.
async fn echo(
    mut to: OwnedWriteHalf,
    client: Arc<Client<Lines>>,
    pace: Duration,
    quiet: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let mut ticks = ticks(pace);
    loop {
        ticks.tick().await;
        if quiet.load(Ordering::Relaxed) {
            // The other half of the connection goes on reading.
            return std::future::pending().await;
        }
        let (line, number) = {
            let mut check = client.check();
            (check.send(), check.sent())
        };
        if number % 3 == 0 {
            let (first, second) = half(&line);
            to.write_all(first.as_bytes()).await?;
            ticks.tick().await;
            ticks.tick().await;
            to.write_all(second.as_bytes()).await?;
        } else {
            to.write_all(line.as_bytes()).await?;
        }
    }
}

/// Sends increments, most of them to a few counters, now and then a greeting or a question for the number, and the
/// questions of an audit. The upper half of a node's counters is never incremented.
async fn increments(
    mut to: OwnedWriteHalf,
    client: Arc<Client<Counts>>,
    pace: Duration,
    quiet: Arc<AtomicBool>,
    hot: usize,
) -> std::io::Result<()> {
    let mut ticks = ticks(pace);
    let driven = client.check().counters().div_ceil(2);
    let (mut of_few, mut of_others) = ((0..hot).cycle(), (hot..driven).cycle());
    for turn in 0_u64.. {
        ticks.tick().await;
        let mut batch = String::new();
        {
            let mut check = client.check();
            if !quiet.load(Ordering::Relaxed) && check.due() < WINDOW {
                batch = match turn % 25 {
                    7 => check.greet(),
                    17 => check.pi(),
                    // One to the others after four to the few; either sort has at least one counter.
                    of if of % 5 == 0 => of_others.next().map_or_else(String::new, |index| check.increment(index)),
                    _ => of_few.next().map_or_else(String::new, |index| check.increment(index)),
                };
            }
            while check.due() < WINDOW
                && let Some(question) = check.audit()
            {
                batch.push_str(&question);
            }
        }
        to.write_all(batch.as_bytes()).await?;
    }
    Ok(())
}

fn ticks(pace: Duration) -> tokio::time::Interval {
    let mut ticks = interval(pace);
    // After a stall it goes on at the same pace, and does not catch up in a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Checks what comes back, until the connection ends.
async fn receive<T>(mut from: OwnedReadHalf, client: &Client<T>, take: fn(&mut T, &[u8])) {
    let (mut splitter, mut buffer) = (Splitter::default(), vec![0; 16 * 1024]);
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let mut check = client.check();
        splitter.push(&buffer[..length], |line| take(&mut check, line));
    }
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
