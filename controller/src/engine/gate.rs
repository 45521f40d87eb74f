//! The gate of a wave: whether the patched modules stayed within the policy's bounds since resume. It judges sums over the
//! nodes of the wave and knows nothing of how they were read.

use crate::engine::event::Health;
use crate::output::count;
use crate::policy::Gate;

/// What was over its bound, one sentence each; empty when the wave may be confirmed.
#[must_use]
pub fn judge(gates: &[Gate], health: &Health) -> Vec<String> {
    let over = |gate: &Gate| {
        let (what, found, bound) = match *gate {
            Gate::Parked(bound) => ("parked actor", health.parked, bound),
            Gate::Traps(bound) => ("trap", health.traps, bound),
            Gate::Errors(bound) => ("error", health.errors, bound),
            Gate::Restarts(bound) => ("restart", health.restarts, bound),
        };
        (found > bound).then(|| {
            format!(
                "{} since resume, and at most {bound} may be",
                count(found, what)
            )
        })
    };
    gates.iter().filter_map(over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_trips_above_its_bound_and_says_by_how_much() {
        let health = Health {
            events: 100,
            traps: 3,
            errors: 2,
            restarts: 1,
            parked: 4,
            ..Health::default()
        };
        let table: &[(&[Gate], usize)] = &[
            (&[], 0),
            (
                &[
                    Gate::Traps(3),
                    Gate::Errors(2),
                    Gate::Restarts(1),
                    Gate::Parked(4),
                ],
                0,
            ),
            (&[Gate::Traps(2)], 1),
            (
                &[
                    Gate::Traps(0),
                    Gate::Errors(0),
                    Gate::Restarts(0),
                    Gate::Parked(0),
                ],
                4,
            ),
        ];
        for (gates, want) in table {
            assert_eq!(judge(gates, &health).len(), *want, "{gates:?}");
        }
        assert_eq!(
            judge(&[Gate::Parked(1)], &health),
            ["4 parked actors since resume, and at most 1 may be"]
        );
    }
}
