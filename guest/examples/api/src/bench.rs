//! The benchmark's actor takes raw bytes: a cast adds their number to its state; a call does too, and is answered with
//! the new state, so that an empty call asks for it.

/// The answer to a call.
pub type Reply = u64;

/// A cast that the actor passes on to itself, so that its state never stops changing.
pub const AGAIN: &[u8] = b"again";
