//! The TCP demo. Its clients speak TCP to it; actors can only ask where it listens.

use midflight_guest::message;

/// What can be asked.
#[message]
pub enum Call {
    /// Answered with the port that the listener is bound to; none from a connection, or before it listens.
    Port,
}

/// The port.
pub type Reply = Option<u16>;
