//! How long actors and the node waited: histograms with fixed buckets, so that those of many upgrades and many nodes can
//! be added up. Only an actor that had events waiting is measured; one that nobody wrote to noticed nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Buckets of a histogram.
pub const PAUSE_BUCKETS: usize = 32;

/// Durations by powers of two: bucket `n` counts those below 2ⁿ µs that no bucket before it counts; the last one also
/// counts all that are longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PauseHistogram {
    /// Durations counted.
    pub count: u64,
    /// Their sum in microseconds.
    pub sum_us: u64,
    /// The longest in microseconds.
    pub max_us: u64,
    /// How many fell into each bucket.
    pub buckets: [u64; PAUSE_BUCKETS],
}

impl PauseHistogram {
    /// The end of a bucket in microseconds: everything it counts is shorter. None: the last, which has no end.
    pub fn bound_us(bucket: usize) -> Option<u64> {
        (bucket + 1 < PAUSE_BUCKETS).then(|| 1 << bucket)
    }

    /// The bucket's end below which this share of all durations lies, 0.0 to 1.0; 0 without durations, never more than
    /// the longest.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return Self::bound_us(bucket).map_or(self.max_us, |end| end.min(self.max_us));
            }
        }
        self.max_us
    }
}

/// All pauses of a node since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodePauses {
    /// Of each actor with events waiting: from the start of suspend until it ran again.
    pub actors: PauseHistogram,
    /// Of each upgrade, rollback and aborted upgrade that suspended: from the start of suspend until its actors could run.
    pub node: PauseHistogram,
}

/// A histogram that many threads write to.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    count: AtomicU64,
    sum_us: AtomicU64,
    max_us: AtomicU64,
    buckets: [AtomicU64; PAUSE_BUCKETS],
}

impl Pauses {
    pub(crate) fn add(&self, pause: Duration) {
        let us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.buckets[bucket.min(PAUSE_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> PauseHistogram {
        let of = |value: &AtomicU64| value.load(Ordering::Relaxed);
        PauseHistogram {
            count: of(&self.count),
            sum_us: of(&self.sum_us),
            max_us: of(&self.max_us),
            buckets: std::array::from_fn(|n| of(&self.buckets[n])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_below_the_end_of_its_bucket_and_not_below_the_one_before() {
        for us in [0, 1, 2, 3, 4, 1_000, 1 << 20, u64::from(u32::MAX)] {
            let pauses = Pauses::default();
            pauses.add(Duration::from_micros(us));
            let read = pauses.read();
            let bucket = read.buckets.iter().position(|&n| n == 1).unwrap();
            assert!(
                PauseHistogram::bound_us(bucket).is_none_or(|end| us < end),
                "{us} in {bucket}"
            );
            assert!(
                bucket == 0 || PauseHistogram::bound_us(bucket - 1).unwrap() <= us,
                "{us} in {bucket}"
            );
            assert_eq!((read.count, read.sum_us, read.max_us), (1, us, us));
        }
    }

    #[test]
    fn a_quantile_is_never_more_than_the_longest() {
        let pauses = Pauses::default();
        for us in 1..=100 {
            pauses.add(Duration::from_micros(us));
        }
        let read = pauses.read();
        assert_eq!(read.quantile_us(1.0), 100);
        assert_eq!(read.quantile_us(0.5), 64);
        assert_eq!(PauseHistogram::default().quantile_us(0.99), 0);
    }
}
