//! What nodes measured of the patched modules: a [`Reading`] counts since the modules were loaded, and a [`Window`] is what came
//! between two readings, of many nodes together. Whether that is good is not decided here.

use std::collections::BTreeMap;
use std::time::Duration;

use midflight_proto::agent::v1 as pb;
use serde::{Deserialize, Serialize};

/// Values by size: sixteen buckets of equal width between each power of two and the next, so that a value is known to one
/// sixteenth. Bucket `n` below 16 holds the value `n`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    buckets: BTreeMap<u16, u64>,
}

impl Histogram {
    /// Buckets of the protocol; the last also counts all greater values.
    pub const BUCKETS: u16 = 464;

    /// From pairs of bucket and count; what is no bucket is left out.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in pairs {
            match u16::try_from(bucket) {
                Ok(bucket) if bucket < Self::BUCKETS && count > 0 => {
                    let slot = histogram.buckets.entry(bucket).or_default();
                    *slot = slot.saturating_add(count);
                }
                _ => {}
            }
        }
        histogram
    }

    /// The bucket of a value.
    #[must_use]
    pub fn bucket(value: u64) -> u16 {
        if value < 16 {
            // Below 16.
            return value as u16;
        }
        let octave = value.ilog2() - 4;
        // Sixteen to thirty-one, less sixteen.
        let within = (value >> octave) as u16 - 16;
        (16 + octave as u16 * 16 + within).min(Self::BUCKETS - 1)
    }

    /// The least and the greatest value of a bucket.
    #[must_use]
    pub fn span(bucket: u16) -> (u64, u64) {
        let bucket = u64::from(bucket);
        if bucket < 16 {
            return (bucket, bucket);
        }
        let (octave, within) = ((bucket - 16) / 16, (bucket - 16) % 16);
        let least = (16 + within) << octave;
        (least, least + (1 << octave) - 1)
    }

    /// Counts one value.
    pub fn add(&mut self, value: u64) {
        *self.buckets.entry(Self::bucket(value)).or_default() += 1;
    }

    /// Values in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.buckets.values();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The least and the greatest that the value of this rank, from 1, can be.
    #[must_use]
    pub fn of_rank(&self, rank: u64) -> Option<(u64, u64)> {
        let mut below = 0_u64;
        self.buckets.iter().find_map(|(bucket, count)| {
            below = below.saturating_add(*count);
            (below >= rank).then(|| Self::span(*bucket))
        })
    }

    /// About the value below which this part of all is, nearest rank; `None` when it is empty.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let rank = (part * self.count() as f64).ceil().max(1.0);
        // A part of a count.
        self.of_rank(rank as u64)
            .map(|(least, greatest)| least + (greatest - least) / 2)
    }

    /// What came since an earlier reading of the same counts.
    fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        for (bucket, count) in &mut later.buckets {
            *count = count.saturating_sub(earlier.buckets.get(bucket).copied().unwrap_or(0));
        }
        later.buckets.retain(|_, count| *count > 0);
        later
    }

    fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            let slot = self.buckets.entry(*bucket).or_default();
            *slot = slot.saturating_add(*count);
        }
    }
}

/// What one node counted of the patched modules since they were loaded, and what it had at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How long the node's agent had lived.
    pub uptime: Duration,
    /// Each module that the patch changes and the node has, with its current version.
    pub vsns: Vec<(String, String)>,
    /// What the current versions of all of them counted together.
    pub counts: Counts,
    /// The same of the old versions, where they are kept.
    pub before: Counts,
}

impl Reading {
    /// Of the modules that the patch changes, from what a node says of itself when it is asked for measures.
    #[must_use]
    pub fn of(described: &pb::DescribeResponse, modules: &[String]) -> Self {
        let mut reading = Self {
            uptime: Duration::from_millis(described.uptime_ms),
            ..Self::default()
        };
        let patched = described.measures.iter();
        for module in patched.filter(|module| modules.contains(&module.module)) {
            if let Some(current) = module.versions.first() {
                reading
                    .vsns
                    .push((module.module.clone(), current.vsn.clone()));
                reading.counts.merge(&Counts::from(current));
            }
            for old in module.versions.iter().skip(1) {
                reading.before.merge(&Counts::from(old));
            }
            reading.counts.merge(&Counts {
                restarts: module.restarts,
                mailbox: module.mailbox,
                mailbox_max: module.mailbox_max,
                ..Counts::default()
            });
        }
        reading
    }
}

impl From<&pb::VersionMeasures> for Counts {
    fn from(version: &pb::VersionMeasures) -> Self {
        let histogram = |distribution: &Option<pb::Distribution>| {
            let pairs = distribution.iter().flat_map(|distribution| {
                let counts = distribution.counts.iter().copied();
                distribution.buckets.iter().copied().zip(counts)
            });
            Histogram::new(pairs)
        };
        Self {
            events: version.events,
            traps: version.traps,
            errors: version.errors,
            latency: histogram(&version.latency),
            depth: histogram(&version.depth),
            ..Self::default()
        }
    }
}

impl From<&pb::Health> for Counts {
    fn from(health: &pb::Health) -> Self {
        Self {
            events: health.events,
            traps: health.traps,
            errors: health.errors,
            restarts: health.restarts,
            parked: health.parked,
            ended: health.ended,
            ..Self::default()
        }
    }
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Events handled well.
    pub events: u64,
    /// Handlers that trapped.
    pub traps: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Actors started again.
    pub restarts: u64,
    /// Of measured events, in units of 64 ns: from when they could be handled until they were.
    pub latency: Histogram,
    /// Of measured events: how many waited in the mailbox, themselves included.
    pub depth: Histogram,
    /// Actors that hold a failed event, at the end.
    pub parked: u64,
    /// Applications that ended by themselves since resume.
    pub ended: u64,
    /// Events that waited in all mailboxes, at the end.
    pub mailbox: u64,
    /// Events that waited in the longest mailbox, at the end.
    pub mailbox_max: u64,
}

impl Counts {
    /// Adds those of other modules or nodes.
    pub fn merge(&mut self, other: &Self) {
        let add = |slot: &mut u64, more: u64| *slot = slot.saturating_add(more);
        add(&mut self.events, other.events);
        add(&mut self.traps, other.traps);
        add(&mut self.errors, other.errors);
        add(&mut self.restarts, other.restarts);
        add(&mut self.parked, other.parked);
        add(&mut self.ended, other.ended);
        add(&mut self.mailbox, other.mailbox);
        self.mailbox_max = self.mailbox_max.max(other.mailbox_max);
        self.latency.merge(&other.latency);
        self.depth.merge(&other.depth);
    }

    /// Handlers that ran.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.events
            .saturating_add(self.errors)
            .saturating_add(self.traps)
    }

    fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            events: self.events.checked_sub(earlier.events)?,
            traps: self.traps.checked_sub(earlier.traps)?,
            errors: self.errors.checked_sub(earlier.errors)?,
            restarts: self.restarts.checked_sub(earlier.restarts)?,
            latency: self.latency.since(&earlier.latency),
            depth: self.depth.since(&earlier.depth),
            ..self.clone()
        })
    }
}

/// What nodes counted over some time, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Nodes in it.
    pub nodes: u32,
    /// The times of all nodes together, in milliseconds.
    pub node_ms: u64,
    /// What they counted.
    pub counts: Counts,
}

impl Window {
    /// What one node counted in `time`.
    #[must_use]
    pub fn of(counts: Counts, time: Duration) -> Self {
        Self {
            nodes: 1,
            node_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            counts,
        }
    }

    /// Between two readings of one node. `None` when they cannot be compared: the node started again, or runs another version.
    #[must_use]
    pub fn between(before: &Reading, after: &Reading) -> Option<Self> {
        let time = after.uptime.checked_sub(before.uptime)?;
        (before.vsns == after.vsns)
            .then(|| after.counts.since(&before.counts))?
            .map(|counts| Self::of(counts, time))
    }

    /// Adds another node, or many.
    pub fn merge(&mut self, other: &Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.node_ms = self.node_ms.saturating_add(other.node_ms);
        self.counts.merge(&other.counts);
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
