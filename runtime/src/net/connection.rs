//! One TCP connection: who owns it, what may be read of it, and the two tasks that read and write it. A connection knows
//! nothing of the code behind it; reading waits for the owner: by its `active` mode, by a window of events that it has not
//! handled yet, and while its module is suspended.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::AbortHandle,
};

use super::Share;
use crate::{
    actor::Item,
    bindings::{Active, Data, Event, SocketEvent},
    node::Shared,
    table::Pid,
};

/// Events of one connection that its owner has not handled yet.
const WINDOW: usize = 8;
/// Bytes in one event.
const READ: usize = 16 << 10;

pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) owner: AtomicU64,
    /// What the application that opened it uses, wherever it is given.
    pub(super) share: Arc<Share>,
    /// Held while something is delivered to the owner, and while the owner changes: nothing read is ever overtaken.
    pub(super) delivering: Mutex<()>,
    pub(super) active: Mutex<Active>,
    unhandled: AtomicUsize,
    /// Something changed that the reader waits for.
    pub(super) readable: Notify,
    pub(super) out: Mutex<Vec<u8>>,
    /// Bytes not yet given to the kernel, those in the writer's hands included.
    pub(super) unwritten: AtomicUsize,
    pub(super) writable: Notify,
    pub(super) closing: AtomicBool,
    /// What is not written yet never will be.
    pub(super) given_up: Notify,
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

impl Connection {
    pub(super) fn new(id: u64, owner: Pid, share: Arc<Share>) -> Self {
        Self {
            id,
            owner: AtomicU64::new(owner),
            share,
            delivering: Mutex::default(),
            active: Mutex::new(Active::Off),
            unhandled: AtomicUsize::new(0),
            readable: Notify::new(),
            out: Mutex::default(),
            unwritten: AtomicUsize::new(0),
            writable: Notify::new(),
            closing: AtomicBool::new(false),
            given_up: Notify::new(),
        }
    }

    /// Starts its two tasks.
    pub(super) fn run(self: &Arc<Self>, node: &Arc<Shared>, stream: TcpStream) {
        // Lines are short; waiting for more of them only adds delay.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let handle = &node.net.handle;
        let reader = handle.spawn(read_all(Arc::downgrade(node), self.clone(), read));
        handle.spawn(write_all(
            Arc::downgrade(node),
            self.clone(),
            write,
            reader.abort_handle(),
        ));
    }

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

    /// So many bytes are the kernel's, or nobody's.
    pub(super) fn wrote(&self, bytes: usize) {
        self.unwritten.fetch_sub(bytes, Ordering::AcqRel);
        self.share.unwritten.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Gives what was read to the owner. False: it is gone.
    fn deliver(self: &Arc<Self>, node: &Shared, bytes: Vec<u8>) -> bool {
        let _delivering = self.delivering.lock();
        self.unhandled.fetch_add(1, Ordering::AcqRel);
        let mut item = Item::host(Event::Socket(SocketEvent::Data(Data {
            socket: self.id,
            bytes,
        })));
        item.window = Some(Window(self.clone()));
        let last = self.spend();
        let owner = self.owner.load(Ordering::Acquire);
        if node.deliver(owner, item).is_err() {
            return false;
        }
        if last {
            node.send(
                owner,
                Item::host(Event::Socket(SocketEvent::Passive(self.id))),
            );
        }
        true
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
        if !connection.deliver(&node, bytes) {
            return node.net.drop_socket(connection.id);
        }
    }
}

async fn write_all(
    node: Weak<Shared>,
    connection: Arc<Connection>,
    to: OwnedWriteHalf,
    reader: AbortHandle,
) {
    let outcome = write_until_closed(&connection, to).await;
    reader.abort();
    let Some(node) = node.upgrade() else { return };
    if let Err(e) = outcome {
        node.net.gone(&connection, &e.to_string());
    }
    node.net.ended(&connection);
}

async fn write_until_closed(connection: &Connection, mut to: OwnedWriteHalf) -> io::Result<()> {
    loop {
        let bytes = std::mem::take(&mut *connection.out.lock());
        if bytes.is_empty() {
            if connection.closing.load(Ordering::Acquire) {
                // The peer sees an orderly end behind the last byte.
                let _ = to.shutdown().await;
                return Ok(());
            }
            connection.writable.notified().await;
            continue;
        }
        tokio::select! {
            written = to.write_all(&bytes) => written?,
            () = connection.given_up.notified() => return Err(io::Error::other("given up")),
        }
        connection.wrote(bytes.len());
    }
}
