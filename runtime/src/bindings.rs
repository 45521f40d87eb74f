//! The contract with modules: the types of the crate `contract`, which travel as frames, and what a log line may be.
//! Payloads are moved, never copied, between mailboxes and these types, so they are the runtime's own.

pub use midflight_contract::*;

/// Read straight into what an actor keeps.
pub type Migrated = midflight_contract::Migrated<std::sync::Arc<[u8]>>;

/// How loud a guest's log line is (`host.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}
