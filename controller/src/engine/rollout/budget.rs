//! The failure budget: whether a rollout may go on after a failure, and how many nodes may be in flight. The rule is small on
//! purpose: below `min_sample` finished nodes not one failure is allowed, so that a bad patch meets few nodes.

use crate::output::count;
use crate::policy::Policy;

/// The budget of one rollout over a known number of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    max: u32,
    min_sample: u32,
    concurrency: u32,
    finished: u32,
    failed: u32,
    healthy: u32,
    /// So many nodes had finished once that failures may be allowed; a retry does not take that back.
    sampled: bool,
}

impl Budget {
    /// For `nodes` nodes in all waves together.
    #[must_use]
    pub fn new(policy: &Policy, nodes: u32) -> Self {
        Self {
            max: policy.failure_budget.max.at_most(nodes),
            min_sample: policy.failure_budget.min_sample,
            concurrency: policy.concurrency,
            ..Self::default()
        }
    }

    /// A node runs the new code, or ran it before.
    pub fn healthy(&mut self) {
        self.finish();
        self.healthy += 1;
    }

    /// A node failed, was lost, or is in an unknown state.
    pub fn failed(&mut self) {
        self.finish();
        self.failed += 1;
    }

    /// A node that counted as healthy failed later: in its bake, at its gate or at confirm.
    pub fn failed_later(&mut self) {
        self.healthy = self.healthy.saturating_sub(1);
        self.failed += 1;
    }

    /// A node that failed is tried again.
    pub fn retried(&mut self) {
        self.failed = self.failed.saturating_sub(1);
        self.finished = self.finished.saturating_sub(1);
    }

    fn finish(&mut self) {
        self.finished += 1;
        self.sampled |= self.finished >= self.min_sample;
    }

    /// Whether no more failed than may.
    #[must_use]
    pub fn is_within(&self) -> bool {
        let is_known = self.sampled || mutant!(min_sample_ignored);
        self.failed <= if is_known { self.max } else { 0 }
    }

    /// How many nodes failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failed
    }

    /// How many nodes may be in flight now: min(concurrency, max(min_sample, 2 × healthy)).
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.concurrency
            .min(self.min_sample.max(self.healthy.saturating_mul(2)))
    }

    /// In words, for the reason of a rollback.
    #[must_use]
    pub fn explain(&self) -> String {
        let Self {
            failed,
            finished,
            max,
            min_sample,
            sampled,
            ..
        } = self;
        if !sampled {
            format!(
                "{failed} of {} failed, and below {min_sample} finished nodes not one may",
                count(*finished, "node")
            )
        } else {
            format!(
                "{failed} of {} failed, and the budget is {max}",
                count(*finished, "node")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Amount;

    fn budget(max: Amount, min_sample: u32, concurrency: u32, nodes: u32) -> Budget {
        let mut policy = Policy {
            concurrency,
            ..Policy::default()
        };
        policy.failure_budget.max = max;
        policy.failure_budget.min_sample = min_sample;
        Budget::new(&policy, nodes)
    }

    #[test]
    fn below_the_sample_not_one_failure_is_allowed() {
        for healthy_before in 0..19 {
            let mut budget = budget(Amount::Nodes(5), 20, 512, 1000);
            (0..healthy_before).for_each(|_| budget.healthy());
            budget.failed();
            assert!(
                !budget.is_within(),
                "{healthy_before} healthy nodes before it"
            );
        }
        let mut budget = budget(Amount::Nodes(5), 20, 512, 1000);
        (0..19).for_each(|_| budget.healthy());
        budget.failed();
        assert!(
            budget.is_within(),
            "the twentieth node completes the sample"
        );
    }

    #[test]
    fn after_the_sample_max_failures_are_allowed_and_no_more() {
        let mut budget = budget(Amount::Share(100), 20, 512, 300);
        (0..100).for_each(|_| budget.healthy());
        (0..3).for_each(|_| budget.failed());
        assert!(budget.is_within());
        budget.failed();
        assert!(!budget.is_within());
        assert_eq!(
            budget.explain(),
            "4 of 104 nodes failed, and the budget is 3"
        );
    }

    #[test]
    fn a_share_of_a_small_fleet_allows_none() {
        let mut budget = budget(Amount::Share(100), 1, 512, 99);
        budget.healthy();
        budget.failed();
        assert!(!budget.is_within());
    }

    #[test]
    fn a_failure_at_the_gate_counts_as_one_node() {
        let mut budget = budget(Amount::Nodes(1), 2, 512, 10);
        (0..5).for_each(|_| budget.healthy());
        budget.failed_later();
        assert!(budget.is_within());
        budget.failed_later();
        assert!(!budget.is_within());
        assert_eq!(budget.explain(), "2 of 5 nodes failed, and the budget is 1");
    }

    #[test]
    fn a_retry_gives_a_failure_back_and_takes_no_sample_away() {
        let mut budget = budget(Amount::Nodes(1), 2, 512, 10);
        budget.healthy();
        budget.failed();
        budget.failed();
        assert!(!budget.is_within());
        budget.retried();
        assert!(budget.is_within());
        budget.retried();
        assert_eq!((budget.finished, budget.failures()), (1, 0));
        budget.failed();
        assert!(budget.is_within(), "the sample was complete before");
    }

    #[test]
    fn in_flight_grows_with_twice_the_healthy_nodes_up_to_the_concurrency() {
        let mut budget = budget(Amount::Nodes(0), 20, 100, 1000);
        for (healthy, want) in [(0, 20), (10, 20), (11, 22), (40, 80), (50, 100), (400, 100)] {
            while budget.healthy < healthy {
                budget.healthy();
            }
            assert_eq!(budget.in_flight(), want, "{healthy} healthy");
        }
    }
}
