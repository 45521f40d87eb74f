//! The statistics that gates judge by: how likely a count or a quantile is, if the truth were at the bound. All tests are
//! one-sided and exact, so that small samples accuse nobody; they take events as independent, which those of one node are not quite.

/// ln Γ(x) for x > 0, by Lanczos' approximation (g = 7, nine terms); good to 14 digits.
#[allow(clippy::excessive_precision)] // as published
fn ln_gamma(x: f64) -> f64 {
    const C: [f64; 9] = [
        0.999_999_999_999_809_93,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_13,
        -176.615_029_162_140_59,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_571_6e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let base = x + 7.5;
    let sum = C
        .iter()
        .zip(0_i32..)
        .skip(1)
        .fold(C[0], |sum, (c, n)| sum + c / (x + f64::from(n)));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * base.ln() - base + sum.ln()
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast on this side of the mean.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // About √max(a, b) terms are needed, and no count is above `MOST`.
    for m in 1..1_000_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            value *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-13 {
            break;
        }
    }
    value
}

/// Samples above this are judged as if they were so many: what a larger one would show is shown by it.
const MOST: u64 = 1_000_000_000;

/// The chance of at least `k` of `n`, each with chance `p`.
pub(super) fn at_least(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    let (mut hits, mut misses) = (k as f64, (n - k) as f64);
    if n > MOST {
        let scale = MOST as f64 / n as f64;
        (hits, misses) = ((hits * scale).max(1.0), misses * scale);
    }
    beta(p, hits, misses + 1.0)
}

/// The smallest part of all that explains at least `k` of `n` with a chance of `alpha` (Clopper and Pearson's lower bound).
pub(super) fn lowest_share(k: u64, n: u64, alpha: f64) -> f64 {
    if k == 0 {
        return 0.0;
    }
    solve(|p| at_least(k, n, p) > alpha)
}

/// The greatest part of all that explains at most `k` of `n` with a chance of `alpha`.
pub(super) fn highest_share(k: u64, n: u64, alpha: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    solve(|p| 1.0 - at_least(k + 1, n, p) <= alpha)
}

/// The least p in 0..1 from which on `holds` is true.
fn solve(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Ranks, from 1, of a sorted sample of `n`: the quantile `q` is below the value of the first with a chance of at most `alpha`, and above
/// that of the second with a chance of at most `alpha`. `None` where no value of the sample says so much.
pub(super) fn quantile_ranks(n: u64, q: f64, alpha: f64) -> (Option<u64>, Option<u64>) {
    // The first: the greatest r for which fewer than r values at or below the quantile have a chance of at most alpha.
    let below = |r: u64| 1.0 - at_least(r, n, q) <= alpha;
    let first = greatest(n, below);
    // The second: the least r for which at least r values below the quantile have a chance of at most alpha.
    let above = |r: u64| at_least(r, n, q) > alpha;
    let second = greatest(n, above) + 1;
    (
        (first > 0).then_some(first),
        (second <= n).then_some(second),
    )
}

/// The greatest of 1 to `n` for which `holds`, which is true up to there; 0 when there is none.
fn greatest(n: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// The chance of at least `k` of `k + other` events on our side, if ours came `factor` times as often as the others for the same
/// exposure (the conditional test of two Poisson rates).
pub(super) fn as_often(k: u64, exposure: f64, other: u64, other_exposure: f64, factor: f64) -> f64 {
    let ours = factor * exposure;
    let total = ours + other_exposure;
    if total <= 0.0 {
        return 1.0;
    }
    at_least(k, k.saturating_add(other), ours / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, want: f64) {
        assert!(
            (value - want).abs() <= 1e-9 * want.abs().max(1e-3),
            "{value} is not {want}"
        );
    }

    /// Summed up, term by term.
    fn summed(k: u64, n: u64, p: f64) -> f64 {
        let mut term = (1.0 - p).powi(n as i32);
        let mut below = 0.0;
        for i in 0..k {
            below += term;
            term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
        }
        1.0 - below
    }

    #[test]
    fn the_binomial_tail_is_the_sum_of_its_terms() {
        for n in [1, 2, 7, 50, 150] {
            for k in [0, 1, n / 3, n / 2, n] {
                for p in [0.01, 0.3, 0.5, 0.97] {
                    let (value, want) = (at_least(k, n, p), summed(k, n, p));
                    assert!(
                        (value - want).abs() < 1e-9,
                        "{k} of {n} at {p}: {value}, {want}"
                    );
                }
            }
        }
        let many = at_least(1, 1_000_000_000, 1e-9);
        assert!((many - (1.0 - (-1.0_f64).exp())).abs() < 1e-5, "{many}");
    }

    #[test]
    fn bounds_of_a_share_are_those_of_clopper_and_pearson() {
        // The published 95 % interval of 10 in 100.
        assert!((lowest_share(10, 100, 0.025) - 0.049_004_7).abs() < 1e-6);
        assert!((highest_share(10, 100, 0.025) - 0.176_222_6).abs() < 1e-6);
        near(highest_share(0, 100, 0.05), 1.0 - 0.05_f64.powf(0.01));
        assert_eq!(
            (lowest_share(0, 9, 0.05), highest_share(9, 9, 0.05)),
            (0.0, 1.0)
        );
    }

    #[test]
    fn ranks_hold_a_quantile_between_them() {
        // The published 95 % ranks for the median of 20.
        assert_eq!(quantile_ranks(20, 0.5, 0.025), (Some(6), Some(15)));
        assert_eq!(quantile_ranks(5, 0.5, 0.025), (None, None));
        let (first, second) = quantile_ranks(1_000, 0.99, 0.0005);
        assert!(first.is_some_and(|rank| rank < 990));
        assert!(second.is_some_and(|rank| rank > 990));
        assert_eq!(
            quantile_ranks(700, 0.99, 0.0005).1,
            None,
            "0.99⁷⁰⁰ is more than 0.0005"
        );
        assert_eq!(quantile_ranks(0, 0.99, 0.01), (None, None));
    }

    #[test]
    fn rates_are_compared_for_the_same_exposure() {
        near(as_often(3, 1.0, 0, 1.0, 1.0), 0.125);
        near(as_often(3, 1.0, 0, 3.0, 1.0), 1.0 / 64.0);
        near(as_often(0, 1.0, 5, 1.0, 1.0), 1.0);
        near(as_often(4, 0.0, 0, 0.0, 2.0), 1.0);
    }
}
