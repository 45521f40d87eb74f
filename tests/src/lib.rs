//! The whole, end to end: a fleet of real `midflight-agent` processes on loopback addresses, driven by the real
//! `midflight` command line, with keys and certificates that the command line made. The benchmark programs are in `bin/`.
//! It holds nothing that the product uses.

pub mod figures;
mod fleet;
mod lines;
mod machine;
pub mod openmetrics;
pub mod process;
mod simulator;
mod sshd;

pub use fleet::{Done, Fleet, NodeProcess, Start, binary};
pub use lines::Client;
pub use machine::{Init, Machine};
pub use serde_json::{Value, json};
pub use simulator::Simulator;
pub use sshd::Sshd;

use std::time::{Duration, Instant};

/// How long anything may take that ought to happen at once; generous, since the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// Waits for a condition, for a time.
///
/// # Panics
/// When the time is up; it says what did not come to pass.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "it did not come to pass: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
