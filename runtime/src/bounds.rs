//! How often handlers passed a bound of `limits`. Every refusal for a bound names it in its reason (`limits.state_bytes`), so
//! that what a person reads and what is counted are the same thing.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bounds that fail a handler.
const NAMES: [&str; 8] = [
    "state_bytes",
    "message_bytes",
    "effects",
    "handler_ms",
    "mailbox",
    "application_mailbox_mb",
    "actors",
    "socket_buffer_bytes",
];

/// Counts since the node started.
#[derive(Debug, Default)]
pub(crate) struct Bounds([AtomicU64; NAMES.len()]);

impl Bounds {
    /// A handler failed for this reason, which the host gave: it is counted when it names a bound.
    pub(crate) fn note(&self, reason: &str) {
        let Some((_, after)) = reason.split_once("limits.") else {
            return;
        };
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &after[..end.unwrap_or(after.len())];
        if let Some(index) = NAMES.iter().position(|bound| *bound == name) {
            self.0[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// By the name of the limit.
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        NAMES.into_iter().zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_names_a_bound_is_counted_for_it_and_no_other() {
        let bounds = Bounds::default();
        bounds.note("a state of 70000 bytes; limits.state_bytes is 65536");
        bounds.note("it ran longer than limits.handler_ms");
        bounds.note("unreachable");
        bounds.note("limits.unheard_of");
        let counted: Vec<_> = bounds.read().into_iter().filter(|b| b.1 > 0).collect();
        assert_eq!(counted, [("state_bytes", 1), ("handler_ms", 1)]);
    }
}
