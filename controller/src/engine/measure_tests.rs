//! Histograms and windows as arithmetic.

use proptest::prelude::*;

use super::*;

fn reading(uptime: u64, vsn: &str, events: u64) -> Reading {
    let mut counts = Counts {
        events,
        ..Counts::default()
    };
    (0..events).for_each(|event| counts.latency.add(event * 100));
    Reading {
        uptime: Duration::from_secs(uptime),
        vsns: vec![("counter".into(), vsn.into())],
        counts,
        before: Counts::default(),
    }
}

#[test]
fn buckets_follow_each_other_without_a_gap() {
    let mut next = 0;
    for bucket in 0..Histogram::BUCKETS {
        let (least, greatest) = Histogram::span(bucket);
        assert_eq!(least, next, "bucket {bucket}");
        next = greatest + 1;
    }
    assert_eq!(next, 1 << 32);
    assert_eq!(Histogram::bucket(u64::MAX), Histogram::BUCKETS - 1);
}

#[test]
fn a_window_is_what_came_between_two_readings() {
    let window = Window::between(&reading(10, "1", 100), &reading(40, "1", 250)).unwrap();
    assert_eq!((window.nodes, window.node_ms), (1, 30_000));
    assert_eq!(window.counts.events, 150);
    assert_eq!(window.counts.latency.count(), 150);
    let mut both = window.clone();
    both.merge(&window);
    assert_eq!((both.nodes, both.counts.handled()), (2, 300));
}

#[test]
fn a_node_that_started_again_or_changed_its_code_gives_no_window() {
    let before = reading(10, "1", 100);
    assert_eq!(Window::between(&before, &reading(5, "1", 250)), None);
    assert_eq!(Window::between(&before, &reading(40, "2", 250)), None);
    assert_eq!(Window::between(&before, &reading(40, "1", 99)), None);
}

#[test]
fn what_is_no_bucket_is_left_out() {
    let histogram = Histogram::new([(3, 2), (464, 9), (u32::MAX, 9), (3, 1), (5, 0)]);
    assert_eq!(histogram.count(), 3);
    assert_eq!(histogram.of_rank(3), Some((3, 3)));
    assert_eq!(histogram.of_rank(4), None);
}

proptest! {
    #[test]
    fn a_value_lies_in_its_bucket_which_is_a_sixteenth_wide(value in 0_u64..1 << 32) {
        let (least, greatest) = Histogram::span(Histogram::bucket(value));
        prop_assert!((least..=greatest).contains(&value));
        prop_assert!(greatest - least <= least / 16);
    }

    #[test]
    fn ranks_are_those_of_the_sorted_values(mut values in prop::collection::vec(0_u64..100_000, 1..200)) {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.add(*value));
        values.sort_unstable();
        for (rank, value) in (1..).zip(&values) {
            let (least, greatest) = histogram.of_rank(rank).unwrap();
            prop_assert!((least..=greatest).contains(value));
        }
    }
}
