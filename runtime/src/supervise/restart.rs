//! When a child is started again, and when a supervisor gives up: `restart/2` and `add_restart/1` of OTP's supervisor.erl.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use midflight_patch::Strategy;

use super::{
    Key,
    forest::{Outcome, Step, Sup, Then},
    jobs::stops,
    machine::{Machine, actor_name},
};

/// Notes a restart. False: there were too many within the period.
fn allow(restarts: &mut VecDeque<Instant>, intensity: u32, period: Duration, now: Instant) -> bool {
    restarts.push_back(now);
    restarts.retain(|&at| now.duration_since(at) <= period);
    restarts.len() <= intensity as usize
}

impl Machine<'_> {
    /// A child has ended, or did not start, and is to run again. What is started here and fails comes back here.
    pub(super) fn restart(&mut self, sup: &mut Sup, key: Key, index: u32, reason: &str) {
        let Some(child) = sup.children.get(&key) else {
            return;
        };
        let name = actor_name(child, index);
        let (intensity, period) = (
            sup.spec.intensity,
            Duration::from_secs(sup.spec.period.into()),
        );
        let restarts = if sup.flat {
            sup.each.entry((key, index)).or_default()
        } else {
            &mut sup.restarts
        };
        if !allow(restarts, intensity, period, Instant::now()) {
            if sup.flat {
                // Counted anew, should somebody start it.
                sup.each.remove(&(key, index));
                tracing::error!(actor = %name, "ended more than {intensity} times within {period:?}; it is not started again");
                return;
            }
            tracing::error!(supervisor = sup.spec.name, child = %name, reason, "more than {intensity} restarts within {period:?}; it ends");
            return self.begin_end(sup, Outcome::GaveUp);
        }
        tracing::warn!(child = %name, reason, "started again");
        match sup.spec.strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => {
                self.start_one(sup, key, index, true);
            }
            Strategy::OneForAll => {
                let all = sup.ordered();
                self.renew(sup, all, None);
            }
            Strategy::RestForOne => {
                let mut rest = sup.ordered();
                if let Some(at) = rest.iter().position(|k| *k == key) {
                    rest.drain(..at);
                }
                self.renew(sup, rest, Some(index));
            }
        }
    }

    /// Ends these children in reverse order, and starts them in order. `from`: of the first only the actors from here on.
    /// Temporary ones are ended and not started again, and so are all that were spawned as such.
    fn renew(&mut self, sup: &mut Sup, keys: Vec<Key>, from: Option<u32>) {
        let range = |at: usize, key: &Key| {
            let all = sup.children[key].range();
            match from {
                Some(from) if at == 0 => from..all.end,
                _ => all,
            }
        };
        let mut steps = vec![Step::StopAllSpawned];
        for (at, key) in keys.iter().enumerate().rev() {
            steps.extend(stops(*key, range(at, key)));
            steps.push(Step::Settle(*key));
        }
        for (at, key) in keys.iter().enumerate() {
            steps.push(Step::Start {
                key: *key,
                range: range(at, key),
            });
        }
        self.begin(sup, steps, Then::Restarted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MaxR` restarts in `MaxT` seconds are allowed, one more is not; what is longer ago does not count.
    #[test]
    fn restart_intensity_is_counted_over_the_period_that_slides() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut restarts = VecDeque::new();
        let mut allowed = |ms| allow(&mut restarts, 2, Duration::from_secs(5), at(ms));
        assert!(allowed(0));
        assert!(allowed(3_000));
        assert!(allowed(5_001), "the first is longer ago");
        assert!(!allowed(6_000));
        assert!(
            !allow(&mut VecDeque::new(), 0, Duration::from_secs(5), start),
            "intensity 0"
        );
    }
}
