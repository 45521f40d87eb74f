//! TCP listeners and connections. They belong to the host: an actor holds a number, so that they outlive every change of
//! its code. Only the actor that owns a socket can use it, and hand it over; what it opened counts for its application,
//! whoever owns it later.

mod connect;
mod connection;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::AbortHandle,
};

use self::connection::Connection;
pub(crate) use self::connection::Window;
use crate::{
    Limits,
    actor::{Item, Run},
    bindings::{Accepted, Active, Closed, Event, ListenFailed, Listening, SocketEvent},
    node::Shared,
    table::{Pid, Slot},
};

/// How long a closed connection may still take to write what waits.
const LINGER: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// Threads that resolve names.
const RESOLVERS: usize = 8;

/// All sockets of a node, and the thread that waits for them.
pub(crate) struct Net {
    address: IpAddr,
    limits: Limits,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    handle: tokio::runtime::Handle,
    node: OnceLock<Weak<Shared>>,
    sockets: Mutex<Sockets>,
    next: AtomicU64,
    accepting: AtomicBool,
    gates: Notify,
    /// Places taken by listeners, and by connections until they are written out.
    taken: AtomicUsize,
}

#[derive(Default)]
struct Sockets {
    connections: HashMap<u64, Arc<Connection>>,
    /// Closed for their owners, with bytes that wait to be written.
    closing: HashMap<u64, Arc<Connection>>,
    listeners: HashMap<u64, Listener>,
    by_owner: HashMap<Pid, Vec<u64>>,
    shares: HashMap<u32, Arc<Share>>,
}

struct Listener {
    owner: Arc<AtomicU64>,
    share: Arc<Share>,
    task: AbortHandle,
}

/// What one application uses.
#[derive(Default)]
pub(super) struct Share {
    taken: AtomicUsize,
    unwritten: AtomicUsize,
}

impl Net {
    pub(crate) fn new(address: IpAddr, limits: &Limits) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(RESOLVERS)
            .thread_name("mf-io")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self {
            address,
            limits: limits.clone(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            node: OnceLock::new(),
            sockets: Mutex::default(),
            next: AtomicU64::new(1),
            accepting: AtomicBool::new(true),
            gates: Notify::new(),
            taken: AtomicUsize::new(0),
        })
    }

    /// Called once, when the node exists.
    pub(crate) fn attach(&self, node: &Arc<Shared>) {
        // A second call would find it set to the same node.
        let _ = self.node.set(Arc::downgrade(node));
    }

    fn node(&self) -> Option<Arc<Shared>> {
        self.node.get()?.upgrade()
    }

    /// A place for a socket that this actor opens, in the node and in its application's share.
    fn enter(&self, node: &Shared, owner: Pid) -> Result<Arc<Share>, &'static str> {
        let application = node.application_of(owner);
        let mut sockets = self.sockets.lock();
        let share = sockets.shares.entry(application).or_default().clone();
        if self.taken.load(Ordering::Acquire) >= self.limits.connections {
            return Err("limits.connections is reached");
        }
        let bound = match node.code.applications() {
            1 => self.limits.connections,
            _ => self.limits.application_connections(),
        };
        if share.taken.load(Ordering::Acquire) >= bound {
            return Err("limits.connections_per_application is reached");
        }
        self.taken.fetch_add(1, Ordering::AcqRel);
        share.taken.fetch_add(1, Ordering::AcqRel);
        Ok(share)
    }

    fn leave(&self, share: &Share) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
        share.taken.fetch_sub(1, Ordering::AcqRel);
    }

    /// Binds, and tells the owner by an event.
    pub(crate) fn listen(&self, owner: Pid, id: u64, port: u16) {
        let Some(node) = self.node() else { return };
        let address = SocketAddr::new(self.address, port);
        let bound = if !node.ports.read().contains(&port) {
            Err(io::Error::other("the release does not list this port"))
        } else {
            self.enter(&node, owner)
                .map_err(io::Error::other)
                .and_then(|share| {
                    bind(&self.handle, address)
                        .map(|listener| (listener, share.clone()))
                        .inspect_err(|_| self.leave(&share))
                })
        };
        let event = match bound {
            Err(e) => SocketEvent::ListenFailed(ListenFailed {
                id,
                port,
                reason: e.to_string(),
            }),
            Ok((listener, share)) => {
                let port = listener.local_addr().map_or(port, |at| at.port());
                let socket = self.next.fetch_add(1, Ordering::Relaxed);
                let mut sockets = self.sockets.lock();
                let holder = Arc::new(AtomicU64::new(owner));
                let accept = accept(Arc::downgrade(&node), listener, socket, holder.clone());
                let listener = Listener {
                    owner: holder,
                    share,
                    task: self.handle.spawn(accept).abort_handle(),
                };
                sockets.listeners.insert(socket, listener);
                sockets.by_owner.entry(owner).or_default().push(socket);
                SocketEvent::Listening(Listening { id, socket, port })
            }
        };
        node.send(owner, Item::host(Event::Socket(event)));
    }

    fn accepted(
        &self,
        node: &Arc<Shared>,
        stream: TcpStream,
        peer: SocketAddr,
        listener: u64,
        owner: Pid,
    ) {
        if !self.accepting.load(Ordering::Relaxed) {
            return;
        }
        match self.enter(node, owner) {
            Err(reason) => tracing::warn!(%peer, reason, "connection refused"),
            Ok(share) => self.introduce(node, stream, owner, share, |socket| {
                SocketEvent::Accepted(Accepted {
                    listener,
                    socket,
                    peer: peer.to_string(),
                })
            }),
        }
    }

    /// An open connection becomes its owner's, who hears of it first.
    fn introduce(
        &self,
        node: &Arc<Shared>,
        stream: TcpStream,
        owner: Pid,
        share: Arc<Share>,
        event: impl FnOnce(u64) -> SocketEvent,
    ) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(id, owner, share));
        {
            let mut sockets = self.sockets.lock();
            sockets.connections.insert(id, connection.clone());
            sockets.by_owner.entry(owner).or_default().push(id);
        }
        let told = node.deliver(owner, Item::host(Event::Socket(event(id))));
        connection.run(node, stream);
        if told.is_err() {
            // It ended meanwhile, and closed what it had.
            self.drop_socket(id);
        }
    }

    /// Who owns a socket that is open.
    pub(crate) fn owner_of(&self, id: u64) -> Option<Pid> {
        let sockets = self.sockets.lock();
        let of = |owner: &AtomicU64| owner.load(Ordering::Acquire);
        let connection = sockets.connections.get(&id).map(|c| of(&c.owner));
        connection.or_else(|| sockets.listeners.get(&id).map(|l| of(&l.owner)))
    }

    /// A connection of this actor. One that it lost since it asked is left alone, and counted.
    fn owned(&self, pid: Pid, id: u64) -> Option<Arc<Connection>> {
        let connection = self.sockets.lock().connections.get(&id)?.clone();
        if connection.owner.load(Ordering::Acquire) == pid {
            return Some(connection);
        }
        self.not_owned(pid, id);
        None
    }

    fn not_owned(&self, pid: Pid, socket: u64) {
        tracing::warn!(
            actor = %crate::pid_text(pid),
            socket,
            "left alone: the socket is another's by now"
        );
        if let Some(node) = self.node() {
            node.counters.not_owned.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn write(&self, pid: Pid, id: u64, bytes: Vec<u8>) {
        let Some(connection) = self.owned(pid, id) else {
            return;
        };
        let full = {
            let mut out = connection.out.lock();
            if connection.closing.load(Ordering::Acquire) {
                return;
            }
            let add = |to: &AtomicUsize| to.fetch_add(bytes.len(), Ordering::AcqRel) + bytes.len();
            let waiting = add(&connection.unwritten);
            let of_all = add(&connection.share.unwritten);
            if waiting > self.limits.socket_buffer_bytes {
                Some("limits.socket_buffer_bytes")
            } else if of_all > self.limits.application_buffer_mb << 20 {
                Some("limits.application_buffer_mb")
            } else {
                if out.is_empty() {
                    *out = bytes;
                } else {
                    out.extend_from_slice(&bytes);
                }
                None
            }
        };
        if let Some(bound) = full {
            tracing::warn!(
                socket = id,
                "closed: its peer does not read; {bound} is reached"
            );
            self.gone(&connection, "its peer does not read what was written");
            connection.given_up.notify_one();
        } else {
            connection.writable.notify_one();
        }
    }

    pub(crate) fn set_active(&self, pid: Pid, id: u64, mode: Active) {
        let Some(connection) = self.owned(pid, id) else {
            return;
        };
        *connection.active.lock() = mode;
        connection.readable.notify_one();
    }

    /// Hands a socket over (OTP's `controlling_process`): what was read of it and waits in the mailbox moves along, in
    /// order, before anything that is read from now on. Given to an actor that is gone it is closed.
    pub(crate) fn give(&self, id: u64, from: Pid, to: Pid) {
        let Some(node) = self.node() else { return };
        if from == to {
            return;
        }
        let Some(connection) = self.owned(from, id) else {
            self.give_listener(id, from, to);
            return;
        };
        {
            let _delivering = connection.delivering.lock();
            {
                let mut sockets = self.sockets.lock();
                if !sockets.connections.contains_key(&id) {
                    return;
                }
                connection.owner.store(to, Ordering::Release);
                sockets.hand_over(id, from, to);
            }
            for item in waiting_of(&node, from, id) {
                // Undelivered it is lost with the connection, which is closed below.
                let _ = node.deliver(to, item);
            }
        }
        self.close_if_gone(&node, id, to);
    }

    fn give_listener(&self, id: u64, from: Pid, to: Pid) {
        let given = {
            let mut sockets = self.sockets.lock();
            let swap = |l: &Listener| {
                let (done, seen) = (Ordering::AcqRel, Ordering::Relaxed);
                l.owner.compare_exchange(from, to, done, seen).is_ok()
            };
            let given = sockets.listeners.get(&id).is_some_and(swap);
            if given {
                sockets.hand_over(id, from, to);
            }
            given
        };
        if given && let Some(node) = self.node() {
            self.close_if_gone(&node, id, to);
        }
    }

    /// Looked at after it is noted: an end of the new owner in between closes it by one of the two.
    fn close_if_gone(&self, node: &Shared, id: u64, owner: Pid) {
        let lives = |slot: &Slot| slot.mail.lock().run != Run::Free;
        if !node.table.get(owner).is_some_and(lives) {
            self.drop_socket(id);
        }
    }

    /// Writes what waits, then closes. A listener is closed at once; its connections stay.
    pub(crate) fn close(&self, pid: Pid, id: u64) {
        match self.owner_of(id) {
            Some(owner) if owner == pid => self.drop_socket(id),
            Some(_) => self.not_owned(pid, id),
            None => {}
        }
    }

    /// The same, whoever owns it.
    pub(crate) fn drop_socket(&self, id: u64) {
        let mut sockets = self.sockets.lock();
        if let Some(listener) = sockets.listeners.remove(&id) {
            listener.task.abort();
            self.leave(&listener.share);
            sockets.disown(listener.owner.load(Ordering::Acquire), id);
        } else if let Some(connection) = sockets.shut(id) {
            drop(sockets);
            self.wind_up(&connection);
        }
    }

    /// Lets the writer end: behind what waits, or when the peer does not take that in time.
    fn wind_up(&self, connection: &Arc<Connection>) {
        connection.closing.store(true, Ordering::Release);
        connection.writable.notify_one();
        if connection.unwritten.load(Ordering::Acquire) > 0 {
            let connection = connection.clone();
            self.handle.spawn(async move {
                tokio::time::sleep(LINGER).await;
                connection.given_up.notify_one();
            });
        }
    }

    /// The writer is done: nothing of it is left.
    fn ended(&self, connection: &Connection) {
        {
            // Nobody adds to it under this lock once it is closing.
            let _out = connection.out.lock();
            connection.closing.store(true, Ordering::Release);
            connection.wrote(connection.unwritten.load(Ordering::Acquire));
        }
        self.sockets.lock().closing.remove(&connection.id);
        self.leave(&connection.share);
    }

    /// Sockets that an actor owns.
    pub(crate) fn sockets_of(&self, owner: Pid) -> Vec<u64> {
        self.sockets
            .lock()
            .by_owner
            .get(&owner)
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn close_all_of(&self, owner: Pid) {
        for id in self.sockets_of(owner) {
            self.drop_socket(id);
        }
    }

    /// The connection ended without its owner's doing: the owner is told, behind what was read.
    fn gone(&self, connection: &Arc<Connection>, reason: &str) {
        let known = self.sockets.lock().shut(connection.id).is_some();
        self.wind_up(connection);
        if known && let Some(node) = self.node() {
            let closed = Closed {
                socket: connection.id,
                reason: reason.to_owned(),
            };
            let _delivering = connection.delivering.lock();
            let owner = connection.owner.load(Ordering::Acquire);
            let _ = node.deliver(
                owner,
                Item::host(Event::Socket(SocketEvent::Closed(closed))),
            );
        }
    }

    /// Suspended modules run again: their sockets may be read.
    pub(crate) fn gates_opened(&self) {
        self.gates.notify_waiters();
    }

    pub(crate) fn stop_accepting(&self) {
        self.accepting.store(false, Ordering::Relaxed);
        let mut sockets = self.sockets.lock();
        for (id, listener) in std::mem::take(&mut sockets.listeners) {
            listener.task.abort();
            self.leave(&listener.share);
            sockets.disown(listener.owner.load(Ordering::Acquire), id);
        }
    }

    /// Waits until the kernel has all that was written, also to connections that are closed already.
    pub(crate) fn flush(&self, end: Instant) {
        let waiting = || {
            let sockets = self.sockets.lock();
            let mut all = sockets.connections.values().chain(sockets.closing.values());
            all.any(|c| c.unwritten.load(Ordering::Acquire) > 0)
        };
        while Instant::now() < end && waiting() {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Sockets {
    fn disown(&mut self, owner: Pid, id: u64) {
        if let Some(owned) = self.by_owner.get_mut(&owner) {
            owned.retain(|&o| o != id);
            if owned.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }

    fn hand_over(&mut self, id: u64, from: Pid, to: Pid) {
        self.disown(from, id);
        self.by_owner.entry(to).or_default().push(id);
    }

    /// Nobody's any more, but written out. None: it was shut already.
    fn shut(&mut self, id: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&id)?;
        self.disown(connection.owner.load(Ordering::Acquire), id);
        self.closing.insert(id, connection.clone());
        Some(connection)
    }
}

/// Takes what was read of a connection out of a mailbox.
fn waiting_of(node: &Shared, pid: Pid, id: u64) -> Vec<Item> {
    let Some(slot) = node.table.get(pid) else {
        return Vec::new();
    };
    let of_it = |item: &Item| match &item.envelope.body {
        Event::Socket(SocketEvent::Data(data)) => data.socket == id,
        Event::Socket(SocketEvent::Passive(socket)) => *socket == id,
        _ => false,
    };
    let mut mail = slot.mail.lock();
    if !mail.queue.iter().any(of_it) {
        return Vec::new();
    }
    let all = std::mem::take(&mut mail.queue);
    let (moved, kept): (Vec<Item>, Vec<Item>) = all.into_iter().partition(of_it);
    mail.queue = kept.into();
    node.wait_less(mail.module, &moved);
    moved
}

fn bind(handle: &tokio::runtime::Handle, address: SocketAddr) -> io::Result<TcpListener> {
    let _inside = handle.enter();
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(node: Weak<Shared>, listener: TcpListener, socket: u64, owner: Arc<AtomicU64>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(node) = node.upgrade() else { return };
                let owner = owner.load(Ordering::Acquire);
                node.net.accepted(&node, stream, peer, socket, owner);
            }
            Err(e) => {
                // Out of descriptors, or the peer left again: neither is helped by ending.
                tracing::warn!(error = %e, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
