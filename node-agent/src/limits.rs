//! The limits of one node's runtime, as the configuration names them: each has a default and bounds, and a value out of
//! bounds is refused where it is written. The agent passes them on; the target enforces them.

use serde::{Deserialize, Deserializer, de};

/// An integer from `MIN` to `MAX`, both included. Reading another one fails, and names both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Within<MIN, MAX> {
    /// The number, when it is in bounds.
    pub const fn new(value: u64) -> Option<Self> {
        if value < MIN || value > MAX {
            None
        } else {
            Some(Self(value))
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A default: checked when the program starts, and by every test.
    pub(crate) const fn of(value: u64) -> Self {
        assert!(
            value >= MIN && value <= MAX,
            "a default lies within its bounds"
        );
        Self(value)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| {
            de::Error::custom(format!(
                "{value} is out of bounds: it must be {MIN} to {MAX}"
            ))
        })
    }
}

/// What one node's actors may use. Absent keys have their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one actor's state. Default 64 KiB.
    pub state_bytes: Within<64, { 16 << 20 }>,
    /// Bytes of one message. Default 64 KiB.
    pub message_bytes: Within<64, { 16 << 20 }>,
    /// Messages in one actor's mailbox. At 80 % of it an upgrade in its pause aborts. Default 10,000.
    pub mailbox: Within<16, 10_000_000>,
    /// MiB that may wait in all mailboxes of one application. Default 1,024.
    pub application_mailbox_mb: Within<1, { 1 << 20 }>,
    /// Effects that one event may have. Default 1,000.
    pub effects: Within<1, 65_536>,
    /// Lines that one event may log. Default 100.
    pub log_lines: Within<0, 10_000>,
    /// Lines that an actor that logs keeps, its last ones. Default 32.
    pub actor_log_lines: Within<0, 10_000>,
    /// Events that one call of a handler may take. Default 64.
    pub batch: Within<1, 1_024>,
    /// Milliseconds that one call of a handler may take; keep it under half of the pause budgets used. Default 100.
    pub handler_ms: Within<5, 60_000>,
    /// MiB of linear memory of one instance. Default 64.
    pub instance_memory_mb: Within<2, 1_024>,
    /// Actors alive at a time. Default 1,000,000.
    pub actors: Within<1, { 4 << 20 }>,
    /// Of these, those of one application where a release has several; 0: nine tenths. Default 0.
    pub actors_per_application: Within<0, { 4 << 20 }>,
    /// Connections of actors open at a time, listeners included. Default 10,000.
    pub connections: Within<0, 1_000_000>,
    /// Of these, those of one application where a release has several; 0: nine tenths. Default 0.
    pub connections_per_application: Within<0, 1_000_000>,
    /// MiB that may wait to be written to all connections of one application. Default 256.
    pub application_buffer_mb: Within<1, { 1 << 20 }>,
    /// Bytes that may wait to be written to one connection; more close it. Default 4 MiB.
    pub socket_buffer_bytes: Within<4_096, { 1 << 30 }>,
    /// Threads that run handlers; 0: one for each core. Default 0.
    pub workers: Within<0, 256>,
    /// Run every handler twice, the second time in a fresh instance, and compare. For tests. Default false.
    pub hermetic: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            state_bytes: Within::of(64 << 10),
            message_bytes: Within::of(64 << 10),
            mailbox: Within::of(10_000),
            application_mailbox_mb: Within::of(1_024),
            effects: Within::of(1_000),
            log_lines: Within::of(100),
            actor_log_lines: Within::of(32),
            batch: Within::of(64),
            handler_ms: Within::of(100),
            instance_memory_mb: Within::of(64),
            actors: Within::of(1_000_000),
            actors_per_application: Within::of(0),
            connections: Within::of(10_000),
            connections_per_application: Within::of(0),
            application_buffer_mb: Within::of(256),
            socket_buffer_bytes: Within::of(4 << 20),
            workers: Within::of(0),
            hermetic: false,
        }
    }
}
