//! Gates as tables, and against chance: how often they trip on nodes that are all alike.

use proptest::prelude::*;

use super::*;
use crate::policy::parse;

fn gates(text: &str) -> Vec<Gate> {
    parse(&format!("gates: [{text}]\n"), "p").unwrap().gates
}

fn window(counts: Counts) -> Window {
    Window {
        nodes: 1,
        node_ms: 30_000,
        counts,
    }
}

fn errors(errors: u64, handled: u64) -> Window {
    window(Counts {
        events: handled - errors,
        errors,
        ..Counts::default()
    })
}

fn latencies(values: impl IntoIterator<Item = u64>) -> Window {
    let mut counts = Counts::default();
    for micros in values {
        counts.latency.add(micros * 1_000 / LATENCY_UNIT);
    }
    window(counts)
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Trip(_) => "trip",
        Verdict::Inconclusive(_) => "inconclusive",
    }
}

#[test]
fn a_count_trips_above_its_bound_and_says_by_how_much() {
    let canary = window(Counts {
        events: 100,
        traps: 3,
        errors: 2,
        restarts: 1,
        parked: 4,
        ended: 5,
        mailbox_max: 90,
        ..Counts::default()
    });
    let table = [
        ("", "pass"),
        (
            "{traps: 3}, {errors: 2}, {restarts: 1}, {parked: 4}, {ended: 5}, {mailbox: 90}",
            "pass",
        ),
        ("{traps: 2}", "trip"),
        ("{mailbox: 89}", "trip"),
        ("{ended: 4}", "trip"),
        ("{traps: 5, min_samples: 105}", "pass"),
        ("{traps: 5, min_samples: 106}", "inconclusive"),
        ("{traps: 2, min_samples: 106}", "trip"),
    ];
    for (text, want) in table {
        assert_eq!(word(&judge(&gates(text), &canary, None)), want, "{text}");
    }
    let all = gates("{traps: 0}, {errors: 0}, {restarts: 0}, {parked: 1}");
    let Verdict::Trip(reasons) = judge(&all, &canary, None) else {
        panic!("it passed")
    };
    assert_eq!(reasons.len(), 4);
    assert_eq!(
        reasons[3],
        "4 parked actors since resume, and at most 1 may be"
    );
}

#[test]
fn an_error_rate_is_compared_with_the_control_set() {
    let more = gates("{error_rate: +0.5%, against: control}");
    let control = errors(100, 10_000);
    let table = [
        (errors(10, 1_000), "pass"),
        (errors(13, 1_000), "pass"),
        (errors(27, 1_000), "inconclusive"),
        (errors(60, 1_000), "trip"),
        (errors(20, 499), "inconclusive"),
    ];
    for (canary, want) in table {
        let verdict = judge(&more, &canary, Some(Baseline::Control(&control)));
        assert_eq!(word(&verdict), want, "{verdict:?}");
    }
    let verdict = judge(&more, &errors(60, 1_000), Some(Baseline::Control(&control)));
    assert_eq!(
        verdict,
        Verdict::Trip(vec![
            "error_rate: 6% in this wave, 1% in the control set; at most +0.5% may be".to_owned()
        ])
    );
}

#[test]
fn a_gate_without_a_control_set_is_inconclusive_and_never_passes() {
    let relative = gates("{p99: 1.2x, against: control}, {traps: 2x}, {parked: 0}");
    let Verdict::Inconclusive(reasons) = judge(&relative, &errors(0, 100_000), None) else {
        panic!("a verdict")
    };
    assert_eq!(
        reasons,
        [
            "p99: there is nothing to compare with",
            "traps: there is nothing to compare with"
        ]
    );
}

#[test]
fn a_quantile_is_compared_with_its_bounds_not_with_its_estimate() {
    let p99 = gates("{p99: 1.2x, against: control}");
    let control = latencies((0..5_000).map(|n| 1_000 + n % 100));
    let judged = |canary: Window| judge(&p99, &canary, Some(Baseline::Control(&control)));
    assert_eq!(
        judged(latencies((0..5_000).map(|n| 1_000 + n % 100))),
        Verdict::Pass
    );
    assert_eq!(
        word(&judged(latencies((0..5_000).map(|n| 2_000 + n % 100)))),
        "trip"
    );
    let few = judged(latencies((0..900).map(|_| 9_000)));
    assert_eq!(
        few,
        Verdict::Inconclusive(vec![
            "p99: 900 measured events in this wave, and 1000 are needed".to_owned()
        ])
    );
    // Two of a hundred that are slow are enough for the 99th percentile, half a per cent is not.
    let slow =
        |every: u64| latencies((0..5_000).map(move |n| if n % every == 0 { 9_000 } else { 1_000 }));
    assert_eq!(word(&judged(slow(50))), "trip");
    assert_eq!(judged(slow(200)), Verdict::Pass);
}

#[test]
fn an_absolute_latency_needs_no_control_set() {
    let canary = latencies((0..2_000).map(|n| 5_000 + n));
    assert_eq!(judge(&gates("{p90: 7ms}"), &canary, None), Verdict::Pass);
    assert_eq!(word(&judge(&gates("{p90: 6ms}"), &canary, None)), "trip");
    assert_eq!(judge(&gates("{p50: 6500us}"), &canary, None), Verdict::Pass);
}

#[test]
fn mailboxes_and_restarts_are_compared_for_the_same_exposure() {
    let counts = |depth: u64, restarts| {
        let mut counts = Counts {
            restarts,
            ..Counts::default()
        };
        (0..1_000).for_each(|n| counts.depth.add(depth + n % 3));
        window(counts)
    };
    let both = gates("{mailbox: 1.5x, against: control}, {restarts: 2x, against: control}");
    let judged = |canary: &Window| {
        word(&judge(
            &both,
            canary,
            Some(Baseline::Before(&counts(10, 5))),
        ))
    };
    assert_eq!(judged(&counts(10, 5)), "pass");
    assert_eq!(judged(&counts(30, 5)), "trip");
    assert_eq!(judged(&counts(10, 60)), "trip");
    assert_eq!(judged(&counts(10, 12)), "pass");
}

#[test]
fn the_worst_verdict_counts_and_keeps_all_its_reasons() {
    let trip = || Verdict::Trip(vec!["a".into()]);
    let doubt = || Verdict::Inconclusive(vec!["b".into()]);
    assert_eq!(Verdict::Pass.and(doubt()), doubt());
    assert_eq!(doubt().and(trip()), trip());
    assert_eq!(
        trip().and(trip()),
        Verdict::Trip(vec!["a".into(), "a".into()])
    );
    assert_eq!(
        doubt().and(doubt()),
        Verdict::Inconclusive(vec!["b".into(), "b".into()])
    );
    let text = serde_json::to_string(&trip()).unwrap();
    assert_eq!(text, r#"{"verdict":"trip","reasons":["a"]}"#);
    assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), trip());
}

/// xorshift64*, so that a failure can be played again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn errors(&mut self, handled: u64, rate: f64) -> Window {
        errors(
            (0..handled).filter(|_| self.next() < rate).count() as u64,
            handled,
        )
    }

    /// Exponential, with a mean in microseconds: the tail is long.
    fn latencies(&mut self, n: u64, mean: f64) -> Window {
        latencies((0..n).map(|_| (-mean * (1.0 - self.next()).ln()) as u64 + 1))
    }
}

/// How many of `rounds` judgements have each verdict.
fn verdicts(
    gate: &str,
    rounds: u32,
    mut sides: impl FnMut(&mut Random) -> (Window, Window),
) -> (u32, u32, u32) {
    let gate = gates(gate);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut counts = (0, 0, 0);
    for _ in 0..rounds {
        let (canary, control) = sides(&mut random);
        match judge(&gate, &canary, Some(Baseline::Control(&control))) {
            Verdict::Pass => counts.0 += 1,
            Verdict::Trip(_) => counts.1 += 1,
            Verdict::Inconclusive(_) => counts.2 += 1,
        }
    }
    counts
}

#[test]
fn nodes_that_are_alike_trip_a_gate_less_often_than_once_in_a_thousand() {
    // At the strictest bound that can be written: the same as the control set. 2,000 rounds may give 2 by chance; 8 never.
    let alike = |gate, sides: fn(&mut Random) -> (Window, Window)| {
        let (_, trips, doubts) = verdicts(gate, 2_000, sides);
        assert!(trips < 8, "{gate}: {trips} of 2000 tripped");
        assert!(doubts < 140, "{gate}: {doubts} of 2000 were in doubt");
    };
    alike("{error_rate: +0%, against: control}", |random| {
        (random.errors(500, 0.02), random.errors(1_500, 0.02))
    });
    alike("{error_rate: 1x, against: control}", |random| {
        (random.errors(500, 0.02), random.errors(1_500, 0.02))
    });
    alike(
        "{errors: 1x, against: control, min_samples: 20}",
        |random| (random.errors(30, 0.1), random.errors(90, 0.1)),
    );
    alike("{p50: 1x, against: control, min_samples: 20}", |random| {
        (random.latencies(40, 700.0), random.latencies(120, 700.0))
    });
    alike("{p99: 1x, against: control}", |random| {
        (
            random.latencies(1_000, 700.0),
            random.latencies(3_000, 700.0),
        )
    });
}

#[test]
fn nodes_that_are_clearly_worse_trip_a_gate_almost_always() {
    let worse = |gate, sides: fn(&mut Random) -> (Window, Window)| {
        let (passes, trips, _) = verdicts(gate, 300, sides);
        assert!(trips > 290, "{gate}: {trips} of 300 tripped");
        assert_eq!(passes, 0, "{gate}");
    };
    worse("{error_rate: +0.5%, against: control}", |random| {
        (random.errors(1_000, 0.06), random.errors(3_000, 0.01))
    });
    worse("{errors: 1.5x, against: control}", |random| {
        (random.errors(1_000, 0.06), random.errors(3_000, 0.01))
    });
    worse("{p50: 1.2x, against: control}", |random| {
        (
            random.latencies(500, 1_600.0),
            random.latencies(1_500, 700.0),
        )
    });
    worse("{p99: 1.2x, against: control}", |random| {
        (
            random.latencies(2_000, 2_100.0),
            random.latencies(6_000, 700.0),
        )
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_counts_bring_a_gate_down(
        a in prop::array::uniform9(any::<u64>()),
        b in prop::array::uniform9(any::<u64>()),
        buckets in prop::collection::vec((0_u32..600, any::<u64>()), 0..20),
    ) {
        let side = |n: [u64; 9], nodes| Window {
            nodes,
            node_ms: n[0],
            counts: Counts {
                events: n[1],
                traps: n[2],
                errors: n[3],
                restarts: n[4],
                parked: n[5],
                mailbox: n[6],
                mailbox_max: n[7],
                ended: n[8],
                latency: Histogram::new(buckets.clone()),
                depth: Histogram::new(buckets.clone()),
            },
        };
        let all = gates("{parked: 0}, {ended: 1}, {traps: 2x}, {errors: 1}, {restarts: 1.5x}, {error_rate: +1%}, {error_rate: 1%}, {p50: 1ms}, {p90: 2x}, {p99: 1.2x}, {mailbox: 3x}");
        let mut canary = side(a, 1);
        let control = side(b, 3);
        let _ = judge(&all, &canary, Some(Baseline::Control(&control)));
        canary.merge(&control);
        let _ = judge(&all, &canary, Some(Baseline::Before(&control)));
    }
}
