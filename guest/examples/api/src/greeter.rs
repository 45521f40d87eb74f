//! The greeter: it greets, in the log or in an answer.

use midflight_guest::message;

/// What can be told.
#[message]
pub enum Cast {
    /// Writes the greeting to the log.
    Greet {
        /// Whom.
        name: String,
    },
}

/// What can be asked.
#[message]
pub enum Call {
    /// Answered with the greeting.
    Greet {
        /// Whom.
        name: String,
    },
}

/// The greeting, without a newline.
pub type Reply = String;
