//! How long events take and how many wait, measured on one event in [`ONE_IN`]: stamped when it is put into a mailbox, counted by the
//! version that handled it when what it did is released. An event that has no stamp costs a comparison, and nothing is locked.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

/// One event in so many is measured, by each thread that sends.
pub const ONE_IN: u32 = 32;
/// Nanoseconds of one unit of a measured time.
pub const UNIT_NS: u64 = 64;
/// Sizes that are told apart.
const BUCKETS: usize = 464;

thread_local! {
    static SENT: Cell<u32> = const { Cell::new(0) };
}

/// When a measured event was put into its mailbox, in units since the node started, cut to 32 bits; 0: it is not measured. Four
/// bytes, which an item has to spare; they wrap after 275 s, which is also the longest time that is told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// For the next event that this thread sends; the clock is read for those that are measured.
    pub(crate) fn next(mono: impl FnOnce() -> u64) -> Self {
        SENT.with(|sent| {
            let number = sent.get().wrapping_add(1);
            sent.set(number);
            if number % ONE_IN == 0 {
                Self(((mono() / UNIT_NS) as u32).max(1))
            } else {
                Self(0)
            }
        })
    }

    /// Whether the event is measured.
    pub(crate) fn is_set(self) -> bool {
        self.0 != 0
    }
}

/// What one version measured since it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// In units, from mailbox to release.
    latency: Histogram,
    /// Events that waited when it was the actor's turn, those that it took included.
    depth: Histogram,
    /// Nanoseconds since the node started: what was put into a mailbox before, waited for an upgrade and is not measured.
    since: AtomicU64,
}

impl Measured {
    /// The version runs from now on.
    pub(crate) fn begin(&self, mono: u64) {
        self.since.store(mono, Ordering::Relaxed);
    }

    /// Counts one event that was handled.
    pub(crate) fn add(&self, stamp: Stamp, depth: usize, mono: u64) {
        let took = ((mono / UNIT_NS) as u32).wrapping_sub(stamp.0);
        let ran = mono.saturating_sub(self.since.load(Ordering::Relaxed));
        if u64::from(took) * UNIT_NS <= ran {
            self.latency.add(took.into());
            self.depth.add(depth as u64);
        }
    }

    /// The latencies and the depths.
    pub(crate) fn read(&self) -> (Distribution, Distribution) {
        (self.latency.read(), self.depth.read())
    }
}

/// Values by size: bucket and number of values, ascending, without empty buckets. Bucket `n` below 16 holds the value `n`; above
/// are sixteen of equal width for each power of two; the last, 463, also holds all that is greater.
pub type Distribution = Vec<(u32, u64)>;

#[derive(Debug)]
struct Histogram(Box<[AtomicU64]>);

impl Default for Histogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Histogram {
    fn add(&self, value: u64) {
        self.0[bucket(value)].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Distribution {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        (0..).zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

fn bucket(value: u64) -> usize {
    if value < 16 {
        return value as usize;
    }
    let octave = value.ilog2() as usize - 4;
    // What is left of the value is 16 to 31.
    let within = (value >> octave) as usize - 16;
    (16 + octave * 16 + within).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_by_a_sixteenth_at_most() {
        for (value, want) in [
            (0, 0),
            (15, 15),
            (16, 16),
            (17, 17),
            (31, 31),
            (32, 32),
            (34, 33),
            (64, 48),
        ] {
            assert_eq!(bucket(value), want, "{value}");
        }
        assert_eq!(bucket((1 << 32) - 1), BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn one_event_in_so_many_is_measured_and_only_for_it_the_clock_is_read() {
        let mut reads = 0;
        let mut stamps = (0..ONE_IN * 3).map(|_| {
            Stamp::next(|| {
                reads += 1;
                0
            })
        });
        assert_eq!(stamps.by_ref().filter(|stamp| stamp.is_set()).count(), 3);
        drop(stamps);
        assert_eq!(reads, 3);
    }

    #[test]
    fn what_waited_for_the_upgrade_is_not_measured() {
        let measured = Measured::default();
        let at = |ns: u64| Stamp(((ns / UNIT_NS) as u32).max(1));
        measured.add(at(64_000), 1, 128_000);
        measured.begin(200_000);
        measured.add(at(64_000), 1, 264_000);
        measured.add(at(206_400), 3, 264_000);
        let (latency, depth) = measured.read();
        assert_eq!(latency.iter().map(|(_, count)| count).sum::<u64>(), 2);
        assert_eq!(depth, [(1, 1), (3, 1)]);
    }

    #[test]
    fn a_stamp_that_wraps_still_tells_the_time() {
        let measured = Measured::default();
        let wrap = (1_u64 << 32) * UNIT_NS;
        let before = Stamp((((wrap - 640) / UNIT_NS) as u32).max(1));
        measured.add(before, 1, wrap + 640);
        assert_eq!(measured.read().0, [(20, 1)]);
    }
}
