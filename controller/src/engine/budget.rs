//! The failure budget: whether a rollout may go on after a failure, and how many nodes may be in flight. The rule is small on
//! purpose: below `min_sample` finished nodes not one failure is allowed, so that a bad patch meets few nodes.

use crate::output::count;
use crate::policy::Policy;

/// The budget of one rollout over a known number of nodes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    max: u32,
    min_sample: u32,
    concurrency: u32,
    finished: u32,
    failed: u32,
    healthy: u32,
}

impl Budget {
    /// For `nodes` nodes in all waves together.
    #[must_use]
    pub fn new(policy: &Policy, nodes: u32) -> Self {
        Self {
            max: policy.failure_budget.max.at_most(nodes),
            min_sample: policy.failure_budget.min_sample,
            concurrency: policy.concurrency,
            finished: 0,
            failed: 0,
            healthy: 0,
        }
    }

    /// A node runs the new code, or ran it before.
    pub fn healthy(&mut self) {
        self.finished += 1;
        self.healthy += 1;
    }

    /// A node failed, was lost, or is in an unknown state. False when that is more than is allowed.
    #[must_use]
    pub fn failed(&mut self) -> bool {
        self.finished += 1;
        self.failed += 1;
        self.failed <= self.allowed()
    }

    /// A node that counted as healthy failed later, at its gate or at confirm. False when that is more than is allowed.
    #[must_use]
    pub fn failed_later(&mut self) -> bool {
        self.healthy = self.healthy.saturating_sub(1);
        self.failed += 1;
        self.failed <= self.allowed()
    }

    fn allowed(&self) -> u32 {
        if self.finished < self.min_sample {
            0
        } else {
            self.max
        }
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
            ..
        } = self;
        if finished < min_sample {
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
            assert!(!budget.failed(), "{healthy_before} healthy nodes before it");
        }
        let mut budget = budget(Amount::Nodes(5), 20, 512, 1000);
        (0..19).for_each(|_| budget.healthy());
        assert!(budget.failed(), "the twentieth node completes the sample");
    }

    #[test]
    fn after_the_sample_max_failures_are_allowed_and_no_more() {
        let mut budget = budget(Amount::Share(100), 20, 512, 300);
        (0..100).for_each(|_| budget.healthy());
        assert!(budget.failed() && budget.failed() && budget.failed());
        assert!(!budget.failed());
        assert_eq!(
            budget.explain(),
            "4 of 104 nodes failed, and the budget is 3"
        );
    }

    #[test]
    fn a_share_of_a_small_fleet_allows_none() {
        let mut budget = budget(Amount::Share(100), 1, 512, 99);
        budget.healthy();
        assert!(!budget.failed());
    }

    #[test]
    fn a_failure_at_the_gate_counts_as_one_node() {
        let mut budget = budget(Amount::Nodes(1), 2, 512, 10);
        (0..5).for_each(|_| budget.healthy());
        assert!(budget.failed_later());
        assert!(!budget.failed_later());
        assert_eq!(budget.explain(), "2 of 5 nodes failed, and the budget is 1");
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
