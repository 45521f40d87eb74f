//! How long actors waited in a pause, as nodes report it: a histogram that those of many nodes are added up in. Only
//! actors that had events waiting are in it.

use serde::{Deserialize, Serialize};

/// Buckets of the protocol.
const BUCKETS: usize = 32;

/// Durations by powers of two: bucket `n` counts those below 2ⁿ µs that none before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Pauses {
    count: u64,
    max_us: u64,
    buckets: [u64; BUCKETS],
}

/// In the journal: without the empty buckets at the end.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    max_us: u64,
    buckets: Vec<u64>,
}

impl From<Written> for Pauses {
    fn from(written: Written) -> Self {
        Self::new(written.max_us, &written.buckets)
    }
}

impl From<Pauses> for Written {
    fn from(pauses: Pauses) -> Self {
        let used = pauses.buckets.iter().rposition(|count| *count > 0);
        Self {
            max_us: pauses.max_us,
            buckets: pauses.buckets[..used.map_or(0, |last| last + 1)].to_vec(),
        }
    }
}

impl Pauses {
    /// What a node reports. Buckets beyond those of this version are added to the last.
    #[must_use]
    pub fn new(max_us: u64, counts: &[u64]) -> Self {
        let mut buckets = [0_u64; BUCKETS];
        for (n, count) in counts.iter().enumerate() {
            let bucket = &mut buckets[n.min(BUCKETS - 1)];
            *bucket = bucket.saturating_add(*count);
        }
        Self {
            count: buckets
                .iter()
                .fold(0, |sum, count| sum.saturating_add(*count)),
            max_us,
            buckets,
        }
    }

    /// Nobody had to wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Actors that had to wait.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest wait in microseconds.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// So many percent of the actors waited no longer, in microseconds: the end of a bucket, at most twice the truth.
    #[must_use]
    pub fn percentile_us(&self, percent: u64) -> u64 {
        let wanted = self.count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        for (n, count) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= wanted && n + 1 < BUCKETS {
                return (1 << n).min(self.max_us);
            }
        }
        self.max_us
    }
}

impl std::ops::AddAssign for Pauses {
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.max_us = self.max_us.max(other.max_us);
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_of_nodes_add_up_and_have_percentiles() {
        let mut all = Pauses::new(7, &[0, 0, 0, 99]);
        all += Pauses::new(900, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((all.count(), all.max_us()), (100, 900));
        assert_eq!((all.percentile_us(50), all.percentile_us(99)), (8, 8));
        assert_eq!(all.percentile_us(100), 900, "never more than the longest");
        assert_eq!(Pauses::default().percentile_us(50), 0);
    }

    #[test]
    fn the_journal_leaves_empty_buckets_out_and_reads_them_back() {
        let pauses = Pauses::new(3, &[0, 1, 1]);
        let text = serde_json::to_string(&pauses).unwrap();
        assert_eq!(text, r#"{"max_us":3,"buckets":[0,1,1]}"#);
        assert_eq!(serde_json::from_str::<Pauses>(&text).unwrap(), pauses);
    }
}
