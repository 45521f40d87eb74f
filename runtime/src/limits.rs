//! Bounds on what actors may use. Each bound has an error or a counter: what hits it hurts the actor that did, no other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of one node. The defaults suit a machine with a few cores; `check` says what may be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Threads that run handlers; 0: one a core.
    pub workers: usize,
    /// Actors alive at once.
    pub actors: u32,
    /// Of these, those of one application where a release has several; 0: nine tenths.
    pub actors_per_application: u32,
    /// Bytes of one actor's state.
    pub state_bytes: usize,
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Messages that wait in one mailbox; more are dead-lettered and counted.
    pub mailbox: usize,
    /// Bytes, in MiB, that may wait in all mailboxes of one application, to within 64 KiB for each worker and module; more
    /// messages are dead-lettered and counted.
    pub application_mailbox_mb: usize,
    /// Events that one call of a handler may take.
    pub batch: usize,
    /// Milliseconds that one call of a handler may run.
    pub handler_ms: u64,
    /// Effects of one event.
    pub effects: usize,
    /// Lines that one event may log; more are dropped and the drop is logged.
    pub log_lines: usize,
    /// Lines that an actor that logs keeps, its last ones; 0: none.
    pub actor_log_lines: usize,
    /// MiB of linear memory of one instance.
    pub instance_memory_mb: usize,
    /// Bytes that may wait to be written to one connection; more close it.
    pub socket_buffer_bytes: usize,
    /// Bytes, in MiB, that may wait to be written to all connections of one application; the connection that passes it is
    /// closed.
    pub application_buffer_mb: usize,
    /// Listeners and connections open at once, those included that are being opened or written out; more are closed when
    /// accepted, and refused when asked for.
    pub connections: usize,
    /// Of these, those of one application where a release has several; 0: nine tenths.
    pub connections_per_application: usize,
    /// Run every handler a second time in a fresh instance and stop the actor when the two differ. For tests.
    pub hermetic: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 0,
            actors: 1_000_000,
            actors_per_application: 0,
            state_bytes: 64 << 10,
            message_bytes: 64 << 10,
            mailbox: 10_000,
            application_mailbox_mb: 1_024,
            batch: 64,
            handler_ms: 100,
            effects: 1_000,
            log_lines: 100,
            actor_log_lines: 32,
            instance_memory_mb: 64,
            socket_buffer_bytes: 4 << 20,
            application_buffer_mb: 256,
            connections: 10_000,
            connections_per_application: 0,
            hermetic: false,
        }
    }
}

impl Limits {
    /// Says which bound is out of range, if one is.
    pub fn check(&self) -> Result<(), String> {
        let range = |name: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(format!(
                    "limits.{name} is {value}; it must be {min} to {max}"
                ))
            }
        };
        range("workers", self.workers as u64, 0, 256)?;
        range(
            "actors",
            self.actors.into(),
            1,
            crate::table::CAPACITY.into(),
        )?;
        range("state_bytes", self.state_bytes as u64, 64, 16 << 20)?;
        range("message_bytes", self.message_bytes as u64, 64, 16 << 20)?;
        range("mailbox", self.mailbox as u64, 10, 10_000_000)?;
        range(
            "application_mailbox_mb",
            self.application_mailbox_mb as u64,
            1,
            1 << 20,
        )?;
        range("batch", self.batch as u64, 1, 1_024)?;
        range("handler_ms", self.handler_ms, 5, 60_000)?;
        range("effects", self.effects as u64, 1, 65_536)?;
        range("log_lines", self.log_lines as u64, 0, 10_000)?;
        range("actor_log_lines", self.actor_log_lines as u64, 0, 10_000)?;
        range(
            "actors_per_application",
            self.actors_per_application.into(),
            0,
            self.actors.into(),
        )?;
        range(
            "application_buffer_mb",
            self.application_buffer_mb as u64,
            1,
            1 << 20,
        )?;
        range(
            "instance_memory_mb",
            self.instance_memory_mb as u64,
            2,
            1_024,
        )?;
        range(
            "socket_buffer_bytes",
            self.socket_buffer_bytes as u64,
            4_096,
            1 << 30,
        )?;
        range("connections", self.connections as u64, 0, 1_000_000)?;
        range(
            "connections_per_application",
            self.connections_per_application as u64,
            0,
            self.connections as u64,
        )
    }

    pub(crate) fn application_actors(&self) -> u64 {
        match self.actors_per_application {
            0 => u64::from(self.actors) * 9 / 10,
            n => n.into(),
        }
    }

    pub(crate) fn application_connections(&self) -> usize {
        match self.connections_per_application {
            0 => self.connections * 9 / 10,
            n => n,
        }
    }

    /// How long one call of a handler may run.
    pub fn handler_time(&self) -> Duration {
        Duration::from_millis(self.handler_ms)
    }

    pub(crate) fn worker_count(&self) -> usize {
        if self.workers > 0 {
            return self.workers;
        }
        std::thread::available_parallelism().map_or(2, |n| n.get())
    }
}
