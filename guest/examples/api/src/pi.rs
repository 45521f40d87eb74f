//! The pi server: it knows one number.

use midflight_guest::message;

/// What can be asked.
#[message]
pub enum Call {
    /// Answered with the number.
    Get,
}

/// The number.
pub type Reply = f64;
