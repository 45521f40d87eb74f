//! One client of the actors: a connection of which one half sends and the other checks what comes back, side by side, until
//! the peer closes it. What is right is the checkers' business; a client never gives a message up.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::demo::counts::Counts;
use crate::demo::lines::{Lines, Splitter, half};
use crate::error::Error;

/// Requests of one connection to a gateway that may be open at a time.
const WINDOW: u64 = 200;
/// How long a client tries to connect: actors begin to listen after the agent answers.
const CONNECT: Duration = Duration::from_secs(20);
/// How long it waits between two attempts.
const AGAIN: Duration = Duration::from_millis(20);

/// One connection: its checker, and whether the peer closed it.
#[derive(Debug)]
pub struct Client<T> {
    /// Its node, by index.
    pub node: usize,
    check: Mutex<T>,
    dropped: AtomicBool,
}

impl<T> Client<T> {
    /// Of a connection that nothing was sent on.
    pub fn new(node: usize, check: T) -> Arc<Self> {
        Arc::new(Self {
            node,
            check: Mutex::new(check),
            dropped: AtomicBool::new(false),
        })
    }

    /// Its checker.
    pub fn check(&self) -> MutexGuard<'_, T> {
        // A panic in a checker ends the client, which counts as a dropped connection.
        self.check.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the peer closed the connection.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Runs a client until the peer closes its connection, or for ever.
pub async fn run<T, F: Future<Output = std::io::Result<()>>>(
    client: Arc<Client<T>>,
    stream: TcpStream,
    send: impl FnOnce(OwnedWriteHalf, Arc<Client<T>>) -> F,
    take: fn(&mut T, &[u8]),
) {
    /// A client that ends by itself has lost its connection, also when a checker panics.
    struct Ended<T>(Arc<Client<T>>);
    impl<T> Drop for Ended<T> {
        fn drop(&mut self) {
            self.0.dropped.store(true, Ordering::Relaxed);
        }
    }
    let ended = Ended(client.clone());
    let (from, to) = stream.into_split();
    tokio::select! {
        _ = send(to, client) => {}
        () = receive(from, &ended.0, take) => {}
    }
}

/// Connects, once there is somebody who accepts.
///
/// # Errors
/// [`Error::Demo`] when that takes too long.
pub async fn connect(address: Ipv4Addr, port: u16) -> Result<TcpStream, Error> {
    let deadline = Instant::now() + CONNECT;
    loop {
        match TcpStream::connect((address, port))
            .await
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < deadline => sleep(AGAIN).await,
            Err(error) => {
                return Err(Error::Demo {
                    problem: format!("nothing accepts connections at {address}:{port}: {error}"),
                    hint: "see the agent's log".to_owned(),
                });
            }
        }
    }
}

/// Sends lines; every third in two halves, with a pause between, so that code may change while half a line is buffered.
pub async fn echo(
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
pub async fn increments(
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
                    of if of % 5 == 0 => of_others
                        .next()
                        .map_or_else(String::new, |index| check.increment(index)),
                    _ => of_few
                        .next()
                        .map_or_else(String::new, |index| check.increment(index)),
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
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let mut check = client.check();
        splitter.push(&buffer[..length], |line| take(&mut check, line));
    }
}
