//! Outbound connections: what an actor writes is held against the release's list, names are resolved by threads of their
//! own, and one time bounds it all. The outcome is an event; a connection whose owner ended meanwhile is closed again.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::net::TcpStream;

use super::{Net, Share};
use crate::{
    actor::Item,
    bindings::{Connect, ConnectFailed, Connected, Event, SocketEvent},
    door::short,
    node::Shared,
    table::Pid,
};

/// When the actor names no time.
const DEFAULT: Duration = Duration::from_secs(10);
/// However long it names.
const LONGEST: Duration = Duration::from_secs(120);

impl Net {
    /// Begins to connect; the owner hears `connected` or `connect-failed`, once.
    pub(crate) fn connect(&self, owner: Pid, ask: Connect) {
        let Some(node) = self.node() else { return };
        let allowed = node
            .targets
            .read()
            .iter()
            .any(|target| target.allows(&ask.host, ask.port));
        let share = if !allowed {
            Err("the release does not list it under `connect`")
        } else if !self.accepting.load(Ordering::Relaxed) {
            Err("the node is about to stop")
        } else {
            self.enter(&node, owner)
        };
        match share {
            Err(reason) => fail(&node, owner, &ask, reason),
            Ok(share) => {
                let node = Arc::downgrade(&node);
                self.handle.spawn(open(node, owner, ask, share));
            }
        }
    }
}

fn fail(node: &Shared, owner: Pid, ask: &Connect, reason: &str) {
    let failed = SocketEvent::ConnectFailed(ConnectFailed {
        id: ask.id,
        reason: short(format!("{}:{}: {reason}", ask.host, ask.port)),
    });
    // Its owner may have ended.
    let _ = node.deliver(owner, Item::host(Event::Socket(failed)));
}

/// It has its place among the connections from the first moment.
async fn open(node: Weak<Shared>, owner: Pid, ask: Connect, share: Arc<Share>) {
    let time = match ask.timeout {
        0 => DEFAULT,
        ms => Duration::from_millis(ms.into()).min(LONGEST),
    };
    let opened = match tokio::time::timeout(time, reach(&ask.host, ask.port)).await {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no connection within {time:?}")),
    };
    let Some(node) = node.upgrade() else { return };
    match opened {
        Ok((stream, peer)) => node.net.introduce(&node, stream, owner, share, |socket| {
            SocketEvent::Connected(Connected {
                id: ask.id,
                socket,
                peer: peer.to_string(),
            })
        }),
        Err(reason) => {
            node.net.leave(&share);
            fail(&node, owner, &ask, &reason);
        }
    }
}

/// The first of the host's addresses that answers.
async fn reach(host: &str, port: u16) -> io::Result<(TcpStream, SocketAddr)> {
    // An IPv6 address may come in brackets.
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let mut last = io::Error::other("the name has no address");
    for address in tokio::net::lookup_host((bare.unwrap_or(host), port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(e) => last = e,
        }
    }
    Err(last)
}
