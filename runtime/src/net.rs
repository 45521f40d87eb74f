//! TCP listeners and connections. They belong to the host: an actor holds a number, so that a connection knows nothing
//! of the code behind it and outlives every change of it. Reading waits for the owner: by its `active` mode, by a window
//! of events that it has not handled yet, and while its module is suspended.

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
    io::AsyncWriteExt,
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::AbortHandle,
};

use crate::{
    Limits,
    actor::{Item, Run},
    bindings::{Accepted, Active, Closed, Data, Event, ListenFailed, Listening, SocketEvent},
    node::Shared,
    table::{Pid, Slot},
};

/// Events of one connection that its owner has not handled yet.
const WINDOW: usize = 8;
/// Bytes in one event.
const READ: usize = 16 << 10;
/// How long a closed connection may still take to write what waits.
const LINGER: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// All sockets of a node, and the thread that waits for them.
pub(crate) struct Net {
    address: IpAddr,
    buffer: usize,
    connections: usize,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    handle: tokio::runtime::Handle,
    node: OnceLock<Weak<Shared>>,
    sockets: Mutex<Sockets>,
    next: AtomicU64,
    accepting: AtomicBool,
    gates: Notify,
}

#[derive(Default)]
struct Sockets {
    connections: HashMap<u64, Arc<Connection>>,
    listeners: HashMap<u64, (Pid, AbortHandle)>,
    by_owner: HashMap<Pid, Vec<u64>>,
}

struct Connection {
    id: u64,
    owner: AtomicU64,
    active: Mutex<Active>,
    unhandled: AtomicUsize,
    /// Something changed that the reader waits for.
    readable: Notify,
    out: Mutex<Vec<u8>>,
    /// Bytes not yet given to the kernel, those in the writer's hands included.
    unwritten: AtomicUsize,
    writable: Notify,
    closing: AtomicBool,
    /// What is not written yet never will be.
    given_up: Notify,
}

/// Room in a connection's window; given back when dropped.
pub(crate) struct Window(Arc<Connection>);

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({})", self.0.id)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.0.unhandled.fetch_sub(1, Ordering::AcqRel);
        self.0.readable.notify_one();
    }
}

impl Net {
    pub(crate) fn new(address: IpAddr, limits: &Limits) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mf-io")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self {
            address,
            buffer: limits.socket_buffer_bytes,
            connections: limits.connections,
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            node: OnceLock::new(),
            sockets: Mutex::default(),
            next: AtomicU64::new(1),
            accepting: AtomicBool::new(true),
            gates: Notify::new(),
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

    /// Binds, and tells the owner by an event.
    pub(crate) fn listen(&self, owner: Pid, id: u64, port: u16) {
        let Some(node) = self.node() else { return };
        let address = SocketAddr::new(self.address, port);
        let allowed = node.ports.read().contains(&port);
        let bound = if allowed {
            bind(&self.handle, address)
        } else {
            Err(io::Error::other("the release does not list this port"))
        };
        let event = match bound {
            Err(e) => SocketEvent::ListenFailed(ListenFailed {
                id,
                port,
                reason: e.to_string(),
            }),
            Ok(listener) => {
                let port = listener.local_addr().map_or(port, |at| at.port());
                let socket = self.next.fetch_add(1, Ordering::Relaxed);
                let mut sockets = self.sockets.lock();
                let task =
                    self.handle
                        .spawn(accept(Arc::downgrade(&node), listener, socket, owner));
                sockets
                    .listeners
                    .insert(socket, (owner, task.abort_handle()));
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
        let mut sockets = self.sockets.lock();
        if sockets.connections.len() >= self.connections || !self.accepting.load(Ordering::Relaxed)
        {
            tracing::warn!(%peer, "connection refused: limits.connections is reached");
            return;
        }
        // Lines are short; waiting for more of them only adds delay.
        let _ = stream.set_nodelay(true);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            id,
            owner: AtomicU64::new(owner),
            active: Mutex::new(Active::Off),
            unhandled: AtomicUsize::new(0),
            readable: Notify::new(),
            out: Mutex::default(),
            unwritten: AtomicUsize::new(0),
            writable: Notify::new(),
            closing: AtomicBool::new(false),
            given_up: Notify::new(),
        });
        sockets.connections.insert(id, connection.clone());
        sockets.by_owner.entry(owner).or_default().push(id);
        drop(sockets);
        let (read, write) = stream.into_split();
        let reader = self
            .handle
            .spawn(read_all(Arc::downgrade(node), connection.clone(), read));
        self.handle.spawn(write_all(
            Arc::downgrade(node),
            connection,
            write,
            reader.abort_handle(),
        ));
        let event = Accepted {
            listener,
            socket: id,
            peer: peer.to_string(),
        };
        let item = Item::host(Event::Socket(SocketEvent::Accepted(event)));
        if node.deliver(owner, item).is_err() {
            // It ended while this was accepted, and closed what it had.
            self.close(id);
        }
    }

    fn connection(&self, id: u64) -> Option<Arc<Connection>> {
        self.sockets.lock().connections.get(&id).cloned()
    }

    pub(crate) fn write(&self, id: u64, bytes: Vec<u8>) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let waiting = connection
            .unwritten
            .fetch_add(bytes.len(), Ordering::AcqRel)
            + bytes.len();
        if waiting > self.buffer {
            tracing::warn!(
                socket = id,
                waiting,
                "closed: its peer does not read; limits.socket_buffer_bytes is reached"
            );
            self.gone(&connection, "its peer does not read what was written");
            connection.given_up.notify_one();
            return;
        }
        let mut out = connection.out.lock();
        if out.is_empty() {
            *out = bytes;
        } else {
            out.extend_from_slice(&bytes);
        }
        drop(out);
        connection.writable.notify_one();
    }

    pub(crate) fn set_active(&self, id: u64, mode: Active) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        *connection.active.lock() = mode;
        connection.readable.notify_one();
    }

    /// Hands a socket over: what is read from now on goes to the new owner. Only its owner can.
    pub(crate) fn give(&self, id: u64, from: Pid, to: Pid) {
        let mut sockets = self.sockets.lock();
        let Some(connection) = sockets.connections.get(&id).cloned() else {
            return;
        };
        if connection
            .owner
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            return;
        }
        sockets.disown(from, id);
        sockets.by_owner.entry(to).or_default().push(id);
        drop(sockets);
        // Looked at after it is noted: an end of the new owner in between closes it by one of the two.
        let lives = |slot: &Slot| slot.mail.lock().run != Run::Free;
        if let Some(node) = self.node()
            && !node.table.get(to).is_some_and(lives)
        {
            self.close(id);
        }
    }

    /// Writes what waits, then closes. A listener is closed at once; its connections stay.
    pub(crate) fn close(&self, id: u64) {
        let mut sockets = self.sockets.lock();
        if let Some((owner, task)) = sockets.listeners.remove(&id) {
            task.abort();
            sockets.disown(owner, id);
        } else if let Some(connection) = sockets.connections.remove(&id) {
            sockets.disown(connection.owner.load(Ordering::Acquire), id);
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
            self.close(id);
        }
    }

    /// The connection ended without its owner's doing: the owner is told.
    fn gone(&self, connection: &Arc<Connection>, reason: &str) {
        let known = {
            let mut sockets = self.sockets.lock();
            let known = sockets.connections.remove(&connection.id).is_some();
            sockets.disown(connection.owner.load(Ordering::Acquire), connection.id);
            known
        };
        self.wind_up(connection);
        if known && let Some(node) = self.node() {
            let closed = Closed {
                socket: connection.id,
                reason: reason.to_owned(),
            };
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
        for (id, (owner, task)) in std::mem::take(&mut sockets.listeners) {
            task.abort();
            sockets.disown(owner, id);
        }
    }

    /// Waits until the kernel has all that was written.
    pub(crate) fn flush(&self, end: Instant) {
        let waiting = || {
            self.sockets
                .lock()
                .connections
                .values()
                .any(|c| c.unwritten.load(Ordering::Acquire) > 0)
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

async fn accept(node: Weak<Shared>, listener: TcpListener, socket: u64, owner: Pid) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(node) = node.upgrade() else { return };
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

impl Connection {
    /// May the next bytes be read?
    fn wants(&self, node: &Shared) -> bool {
        let mode = !matches!(*self.active.lock(), Active::Off | Active::Count(0));
        mode && self.unhandled.load(Ordering::Acquire) < WINDOW && !self.owner_suspended(node)
    }

    fn owner_suspended(&self, node: &Shared) -> bool {
        let Some(slot) = node.table.get(self.owner.load(Ordering::Acquire)) else {
            return false;
        };
        let module = slot.mail.lock().module;
        node.code.module(module).is_some_and(|m| m.gated())
    }

    /// One event was delivered; true: it was the last that the mode allows.
    fn spend(&self) -> bool {
        let mut active = self.active.lock();
        match *active {
            Active::Once => {
                *active = Active::Off;
                false
            }
            Active::Count(n) => {
                *active = if n <= 1 {
                    Active::Off
                } else {
                    Active::Count(n - 1)
                };
                n <= 1
            }
            Active::Off | Active::Always => false,
        }
    }
}

async fn read_all(node: Weak<Shared>, connection: Arc<Connection>, from: OwnedReadHalf) {
    let mut buffer = vec![0; READ];
    loop {
        {
            let Some(node) = node.upgrade() else { return };
            // Both are armed before the look, so that no change is missed.
            let readable = connection.readable.notified();
            let gates = node.net.gates.notified();
            tokio::pin!(readable, gates);
            readable.as_mut().enable();
            gates.as_mut().enable();
            if !connection.wants(&node) {
                tokio::select! { () = readable => {} () = gates => {} }
                continue;
            }
        }
        if let Err(e) = from.readable().await {
            let Some(node) = node.upgrade() else { return };
            return node.net.gone(&connection, &e.to_string());
        }
        let Some(node) = node.upgrade() else { return };
        // Nothing is read before it is there, so that a change of mind in between holds for it.
        if !connection.wants(&node) {
            continue;
        }
        let read = from.try_read(&mut buffer);
        if read
            .as_ref()
            .is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
        {
            continue;
        }
        let bytes = match read {
            Ok(0) => return node.net.gone(&connection, "closed by the peer"),
            Ok(n) => buffer[..n].to_vec(),
            Err(e) => return node.net.gone(&connection, &e.to_string()),
        };
        connection.unhandled.fetch_add(1, Ordering::AcqRel);
        let mut item = Item::host(Event::Socket(SocketEvent::Data(Data {
            socket: connection.id,
            bytes,
        })));
        item.window = Some(Window(connection.clone()));
        let last = connection.spend();
        let owner = connection.owner.load(Ordering::Acquire);
        if node.deliver(owner, item).is_err() {
            return node.net.close(connection.id);
        }
        if last {
            node.send(
                owner,
                Item::host(Event::Socket(SocketEvent::Passive(connection.id))),
            );
        }
    }
}

async fn write_all(
    node: Weak<Shared>,
    connection: Arc<Connection>,
    mut to: OwnedWriteHalf,
    reader: AbortHandle,
) {
    loop {
        let bytes = std::mem::take(&mut *connection.out.lock());
        if bytes.is_empty() {
            if connection.closing.load(Ordering::Acquire) {
                // The peer sees an orderly end behind the last byte.
                let _ = to.shutdown().await;
                reader.abort();
                return;
            }
            connection.writable.notified().await;
            continue;
        }
        let written = tokio::select! {
            written = to.write_all(&bytes) => written,
            () = connection.given_up.notified() => Err(io::Error::other("given up")),
        };
        connection
            .unwritten
            .fetch_sub(bytes.len(), Ordering::AcqRel);
        if let Err(e) = written {
            reader.abort();
            if let Some(node) = node.upgrade() {
                node.net.gone(&connection, &e.to_string());
            }
            return;
        }
    }
}
