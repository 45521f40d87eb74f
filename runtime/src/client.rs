//! Messages from the program that embeds the node: a cast, and a call that waits. For tests, benchmarks and tools; what a
//! fleet does enters through sockets.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{
    Error, Node,
    actor::{HOST, Item},
    bindings::{Event, Request, RequestError},
    node::Undelivered,
    requests::Pending,
    sys::ActorRef,
};

/// The caller that is no actor.
pub(crate) const HOST_CALLER: u64 = 0;

impl Node {
    /// Sends a cast. It waits in the mailbox like any other.
    pub fn cast(&self, to: &ActorRef, body: Vec<u8>) -> Result<(), Error> {
        let pid = self.find(to)?;
        self.shared
            .deliver(pid, Item::host(Event::Cast(body)))
            .map_err(|undelivered| match undelivered.1 {
                Undelivered::Nobody => Error::NoActor(to.to_string()),
                Undelivered::Full => Error::Call {
                    actor: to.to_string(),
                    reason: "its mailbox is full".into(),
                },
            })
    }

    /// What actors asked of sockets that they had given away, since the node started: it was left undone.
    pub fn not_owned(&self) -> u64 {
        let counters = &self.shared.counters;
        counters
            .not_owned
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Sends an exit signal, as a supervisor does: `kill` ends the actor behind the handler that runs, any other reason
    /// waits in the mailbox. An actor that does not trap exits ignores `normal`.
    pub fn exit(&self, to: &ActorRef, reason: &str) -> Result<(), Error> {
        let pid = self.find(to)?;
        self.shared.exit(pid, reason, crate::exits::SYSTEM);
        Ok(())
    }

    /// Calls an actor and waits for its answer; for as long as the actor is suspended by an upgrade, the time stands still.
    pub fn call(&self, to: &ActorRef, body: Vec<u8>, timeout: Duration) -> Result<Vec<u8>, Error> {
        let pid = self.find(to)?;
        let shared = &self.shared;
        let id = shared
            .host_calls
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (answer, answered) = mpsc::sync_channel(1);
        let pending = Pending {
            id,
            cookie: Vec::new(),
            vsn: "".into(),
            era: 0,
            timed: false,
            host: Some(answer),
        };
        shared.requests.add(HOST_CALLER, pending);
        let module = shared.table.get(pid).map(|slot| slot.mail.lock().module);
        let module = module.and_then(|module| shared.code.module(module));
        let paused = || module.as_ref().map_or(Duration::ZERO, |m| m.closed_for());
        let (start, before) = (Instant::now(), paused());
        shared.send(
            pid,
            Item {
                stamp: HOST,
                ..Item::host(Event::Call(Request {
                    caller: HOST_CALLER,
                    id,
                    body,
                }))
            },
        );
        let outcome = loop {
            let allowed = timeout.saturating_add(paused() - before);
            match answered.recv_timeout(allowed.saturating_sub(start.elapsed())) {
                // The actor may have been suspended meanwhile, or be so still.
                Err(mpsc::RecvTimeoutError::Timeout)
                    if start.elapsed() < timeout.saturating_add(paused() - before) => {}
                Err(_) if module.as_ref().is_some_and(|m| m.gated()) => {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                outcome => break outcome,
            }
        };
        shared.requests.take(HOST_CALLER, id);
        let reason = match outcome {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(RequestError::Down(reason))) => reason,
            Ok(Err(RequestError::Overflow)) => "its mailbox is full".into(),
            Ok(Err(RequestError::Restored)) => "a rollback restored it".into(),
            Ok(Err(RequestError::Timeout)) | Err(_) => format!("no answer within {timeout:?}"),
        };
        Err(Error::Call {
            actor: to.to_string(),
            reason,
        })
    }
}
