//! Who asked for what, in the journal. Refused orders with who had signed and why they were refused: at most 60 a minute,
//! so that a peer who is refused cannot fill the disk; the others are counted. And every change that `sys` makes, before
//! it is made.

use std::time::Duration;

use parking_lot::Mutex;

use midflight_proto::peer::Peer;

use crate::{agent::Agent, error::Error, journal::Entry, key::Key, target::Who};

const WINDOW: Duration = Duration::from_secs(60);
const MOST: u32 = 60;

/// How many refusals were recorded in this minute, and how many were not since the last one that was.
#[derive(Default)]
pub struct Audit(Mutex<(Duration, u32, u64)>);

impl Audit {
    /// Whether to record one more, and how many were suppressed before it.
    fn admit(&self, now: Duration) -> Option<u64> {
        let mut counts = self.0.lock();
        let (start, recorded, suppressed) = &mut *counts;
        if now.saturating_sub(*start) >= WINDOW {
            (*start, *recorded) = (now, 0);
        }
        if *recorded >= MOST {
            *suppressed += 1;
            return None;
        }
        *recorded += 1;
        Some(std::mem::take(suppressed))
    }
}

impl Agent {
    /// Makes a change of `sys` that is in the journal first. Blocks for the disk.
    pub(crate) fn change<T>(
        &self,
        verb: &'static str,
        who: &Who,
        peer: &Peer,
        change: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let subject = who.to_string();
        self.book.record(&Entry::Sys {
            verb: verb.to_owned(),
            subject: subject.clone(),
            peer: peer.name.clone(),
        })?;
        let done = change();
        let outcome = done.as_ref().map_or_else(Error::code, |_| "done");
        tracing::info!(verb, subject, peer = peer.name, outcome, "sys");
        let text = format!("sys {verb} of {subject} by {}: {outcome}", peer.name);
        self.events.add("actor", text, None, None);
        done
    }

    /// Records a refusal. Blocks for the disk.
    pub(crate) fn refuse(
        &self,
        order: &str,
        key: Option<&Key>,
        peer: &Peer,
        signers: Vec<String>,
        error: &Error,
    ) {
        let Some(suppressed) = self.audit.admit(self.clock.now()) else {
            return;
        };
        let what = error.chain();
        let signers = match error {
            Error::TooFewSigners { signers, .. } => signers.clone(),
            _ => signers,
        };
        tracing::warn!(
            order,
            peer = peer.name,
            code = error.code(),
            what,
            "refused"
        );
        self.events.add(
            "refused",
            format!("{order} by {}: {}: {what}", peer.name, error.code()),
            key,
            None,
        );
        let entry = Entry::Refused {
            order: order.to_owned(),
            key: key.cloned(),
            peer: peer.name.clone(),
            signers,
            code: error.code().to_owned(),
            what,
            suppressed,
        };
        if let Err(error) = self.book.record(&entry) {
            tracing::error!(error = error.chain(), "the refusal is not in the journal");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_beyond_the_most_of_a_minute_are_counted_and_told_with_the_next() {
        let audit = Audit::default();
        let start = WINDOW;
        for _ in 0..MOST {
            assert_eq!(audit.admit(start), Some(0));
        }
        assert_eq!((audit.admit(start), audit.admit(start)), (None, None));
        assert_eq!(audit.admit(start + WINDOW), Some(2));
        assert_eq!(audit.admit(start + WINDOW), Some(0));
    }
}
