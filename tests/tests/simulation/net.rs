//! The network of a simulation: streams of bytes between controllers and nodes, with delays that chance decides, and faults.
//! Across a partition bytes wait, one way or both, as TCP would send them again; a reset loses what was on its way; a process
//! that dies is seen to be gone, a machine that loses power is not. Bytes of one stream never overtake one another.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::chance::Chance;
use crate::truth::Truth;

/// Bytes on their way in one direction of one stream.
const WINDOW: usize = 1 << 16;
/// How often a connection is tried again across a partition.
const SYN: std::time::Duration = std::time::Duration::from_secs(1);

/// The network. A handle is cheap.
#[derive(Clone)]
pub struct Net(Arc<Mutex<Inner>>);

struct Inner {
    chance: Chance,
    truth: Truth,
    hosts: Vec<Host>,
    streams: BTreeMap<u64, Conn>,
    next: u64,
}

/// What a node does with a new connection.
type Accept = Arc<dyn Fn(Stream) + Send + Sync>;

#[derive(Default)]
struct Host {
    /// To the node, and from it.
    cut: [bool; 2],
    /// Milliseconds, at most.
    slow: u64,
    state: State,
}

#[derive(Default)]
enum State {
    /// Says that nobody listens.
    #[default]
    Closed,
    /// Says nothing.
    Dark,
    Up(Accept),
}

struct Conn {
    host: usize,
    /// The process at each end: the controller's, the node's.
    ends: [u64; 2],
    /// Towards the node, towards the controller.
    pipes: [Pipe; 2],
    /// Ends whose process is dead or that were dropped.
    gone: [bool; 2],
}

#[derive(Default)]
struct Pipe {
    queue: VecDeque<(Instant, Chunk)>,
    bytes: usize,
    last: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Chunk {
    Data(Vec<u8>, usize),
    End,
    Reset,
}

/// Which end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Controller = 0,
    Node = 1,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The kernel goes on: what was written still arrives.
    Process,
    /// Nothing more is heard, until the machine is back and says that it knows no such connection.
    Power,
}

/// One end of a connection.
pub struct Stream {
    net: Net,
    id: u64,
    side: Side,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Net {
    /// A network of so many nodes, of which none is up.
    pub fn new(chance: Chance, truth: Truth, nodes: usize) -> Self {
        let mut hosts = Vec::new();
        hosts.resize_with(nodes, Host::default);
        Self(Arc::new(Mutex::new(Inner {
            chance,
            truth,
            hosts,
            streams: BTreeMap::new(),
            next: 0,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// The node takes connections.
    pub fn up(&self, host: usize, accept: impl Fn(Stream) + Send + Sync + 'static) {
        let mut net = self.inner();
        net.hosts[host].state = State::Up(Arc::new(accept));
        // Its kernel knows none of the connections from before.
        net.reset(|conn| conn.host == host && conn.gone[Side::Node as usize]);
    }

    /// The node takes none.
    pub fn down(&self, host: usize, death: Death) {
        self.inner().hosts[host].state = match death {
            Death::Process => State::Closed,
            Death::Power => State::Dark,
        };
    }

    /// Ends one process, a controller's or a node's.
    pub fn kill(&self, process: u64, death: Death) {
        let mut net = self.inner();
        let now = Instant::now();
        for conn in net.streams.values_mut() {
            for side in [Side::Controller, Side::Node] {
                if conn.ends[side as usize] == process {
                    conn.leave(side, now, death == Death::Process);
                }
            }
        }
    }

    /// Cuts or heals the way to a node and the way from it.
    pub fn cut(&self, host: usize, to: bool, from: bool) {
        let mut net = self.inner();
        net.hosts[host].cut = [to, from];
        for conn in net.streams.values_mut().filter(|conn| conn.host == host) {
            conn.pipes.iter_mut().for_each(Pipe::wake);
        }
    }

    /// Delays what goes to a node and comes from it by up to so many milliseconds.
    pub fn slow(&self, host: usize, millis: u64) {
        self.inner().hosts[host].slow = millis;
    }

    /// Resets every connection of a node.
    pub fn break_all(&self, host: usize) {
        self.inner().reset(|conn| conn.host == host);
    }

    /// Connects a controller's process to a node. May wait for ever.
    pub async fn connect(&self, controller: u64, host: usize) -> io::Result<Stream> {
        loop {
            let delay = self.inner().delay(host);
            sleep(delay).await;
            // The node takes its end when the network is free again.
            let opened = self.inner().open(controller, host)?;
            if let Some((id, accept)) = opened {
                accept(self.end(id, Side::Node));
                return Ok(self.end(id, Side::Controller));
            }
            sleep(SYN).await;
        }
    }

    fn end(&self, id: u64, side: Side) -> Stream {
        Stream {
            net: self.clone(),
            id,
            side,
            sleep: None,
        }
    }
}

impl Inner {
    fn delay(&mut self, host: usize) -> std::time::Duration {
        let most = self.hosts[host].slow;
        self.chance.millis(0, 4 + most)
    }

    /// A connection to a node that takes one; `None` when nothing is heard of it.
    fn open(&mut self, controller: u64, host: usize) -> io::Result<Option<(u64, Accept)>> {
        if self.hosts[host].cut != [false; 2] {
            return Ok(None);
        }
        let accept = match &self.hosts[host].state {
            State::Up(accept) => accept.clone(),
            State::Closed => return Err(io::ErrorKind::ConnectionRefused.into()),
            State::Dark => return Ok(None),
        };
        let id = self.next;
        self.next += 1;
        let conn = Conn {
            host,
            // The node says which process it is when it takes the stream.
            ends: [controller, 0],
            pipes: Default::default(),
            gone: [false; 2],
        };
        self.streams.insert(id, conn);
        Ok(Some((id, accept)))
    }

    fn reset(&mut self, which: impl Fn(&Conn) -> bool) {
        let now = Instant::now();
        for conn in self.streams.values_mut().filter(|conn| which(conn)) {
            for pipe in &mut conn.pipes {
                pipe.queue.clear();
                pipe.bytes = 0;
                pipe.queue.push_back((now, Chunk::Reset));
                pipe.wake();
            }
        }
    }
}

impl Conn {
    /// One end is gone; whether the other is told.
    fn leave(&mut self, side: Side, now: Instant, tell: bool) {
        if std::mem::replace(&mut self.gone[side as usize], true) {
            return;
        }
        if tell {
            self.pipes[side as usize].push(now, Chunk::End);
        }
        self.pipes.iter_mut().for_each(Pipe::wake);
    }
}

impl Pipe {
    fn push(&mut self, at: Instant, chunk: Chunk) {
        let at = self.last.map_or(at, |last| last.max(at));
        self.last = Some(at);
        self.queue.push_back((at, chunk));
        self.wake();
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

impl Stream {
    /// The node's process that took it.
    pub fn taken_by(&self, process: u64) {
        if let Some(conn) = self.net.inner().streams.get_mut(&self.id) {
            conn.ends[Side::Node as usize] = process;
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let at = {
                let mut net = self.net.inner();
                let Inner {
                    streams,
                    hosts,
                    truth,
                    ..
                } = &mut *net;
                let Some(conn) = streams.get_mut(&self.id) else {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                };
                if conn.gone[self.side as usize] {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let way = 1 - self.side as usize;
                let cut = hosts[conn.host].cut[way];
                let pipe = &mut conn.pipes[way];
                let now = Instant::now();
                match pipe.queue.front_mut() {
                    Some((at, chunk)) if !cut && *at <= now => match chunk {
                        Chunk::End => return Poll::Ready(Ok(())),
                        Chunk::Reset => {
                            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                        }
                        Chunk::Data(bytes, done) => {
                            let some = buffer.remaining().min(bytes.len() - *done);
                            buffer.put_slice(&bytes[*done..*done + some]);
                            *done += some;
                            pipe.bytes -= some;
                            if self.side == Side::Node {
                                truth.heard(conn.host);
                            }
                            if *done == bytes.len() {
                                pipe.queue.pop_front();
                            }
                            if let Some(writer) = pipe.writer.take() {
                                writer.wake();
                            }
                            return Poll::Ready(Ok(()));
                        }
                    },
                    front => {
                        let at = front.filter(|_| !cut).map(|(at, _)| *at);
                        pipe.reader = Some(context.waker().clone());
                        match at {
                            Some(at) => at,
                            None => return Poll::Pending,
                        }
                    }
                }
            };
            let sleep = self.sleep.insert(Box::pin(sleep_until(at)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut net = self.net.inner();
        let Some(host) = net.streams.get(&self.id).map(|conn| conn.host) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let at = Instant::now() + net.delay(host);
        let Some(conn) = net.streams.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let pipe = &mut conn.pipes[self.side as usize];
        let broken = matches!(pipe.queue.back(), Some((_, Chunk::Reset | Chunk::End)));
        if conn.gone[self.side as usize] || broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let some = bytes.len().min(WINDOW - pipe.bytes);
        if some == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes += some;
        pipe.push(at, Chunk::Data(bytes[..some].to_vec(), 0));
        Poll::Ready(Ok(some))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(conn) = self.net.inner().streams.get_mut(&self.id) {
            let pipe = &mut conn.pipes[self.side as usize];
            if !matches!(pipe.queue.back(), Some((_, Chunk::Reset | Chunk::End))) {
                pipe.push(Instant::now(), Chunk::End);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut net = self.net.inner();
        if let Some(conn) = net.streams.get_mut(&self.id) {
            conn.leave(self.side, Instant::now(), true);
            if conn.gone == [true; 2] {
                net.streams.remove(&self.id);
            }
        }
    }
}
