//! Names close to a misspelt one, for "did you mean".
//!
//! Closeness is the edit distance, up to two edits (one for short names). The work is linear in the number of names;
//! it is done only for a message that ends the command.

/// The most edits between a name and one that is close to it.
const EDITS: usize = 2;
/// Cells of a row that a distance of at most `EDITS` can pass through.
const BAND: usize = 2 * EDITS + 1;

/// Up to three of `names` within a small edit distance of `wanted`, the closest first, then in the order given.
#[must_use]
pub fn close<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if wanted.len() > crate::limits::NAME_LENGTH {
        return Vec::new();
    }
    let allowed = if wanted.len() < 4 { 1 } else { EDITS };
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in names {
        let distance = distance(wanted.as_bytes(), name.as_bytes());
        if distance <= allowed {
            let at = found.partition_point(|(d, _)| *d <= distance);
            found.insert(at, (distance, name));
            found.truncate(3);
        }
    }
    found.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// The edit distance (insert, delete, replace, swap neighbours) in bytes; exact up to `EDITS`, and more than that beyond.
/// Only the band around the diagonal is computed, so the cost is the length and not its square.
fn distance(a: &[u8], b: &[u8]) -> usize {
    const FAR: usize = usize::MAX / 2;
    if a.len().abs_diff(b.len()) > EDITS {
        return FAR;
    }
    // Cell `k` of row `i` is column `j = i + k - EDITS`.
    let (mut before, mut above) = ([FAR; BAND], [FAR; BAND]);
    for i in 0..=a.len() {
        let mut row = [FAR; BAND];
        for k in 0..BAND {
            let Some(j) = (i + k).checked_sub(EDITS).filter(|j| *j <= b.len()) else {
                continue;
            };
            let mut best = if i == 0 { j } else { FAR };
            if i > 0 && k + 1 < BAND {
                best = best.min(above[k + 1] + 1);
            }
            if j > 0 && k > 0 {
                best = best.min(row[k - 1] + 1);
            }
            if i > 0 && j > 0 {
                best = best.min(above[k] + usize::from(a[i - 1] != b[j - 1]));
            }
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[k] + 1);
            }
            row[k] = best;
        }
        (before, above) = (above, row);
        if above.iter().min() > Some(&EDITS) {
            return FAR;
        }
    }
    above[b.len() + EDITS - a.len()]
}

#[cfg(test)]
mod tests {
    use super::close;

    #[test]
    fn the_closest_name_comes_first() {
        let names = ["web", "wab", "prod", "production"];
        assert_eq!(close("wbe", names.into_iter()), ["web"]);
        assert_eq!(close("prdo", names.into_iter()), ["prod"]);
        assert_eq!(close("prud", names.into_iter()), ["prod"]);
        assert!(close("database", names.into_iter()).is_empty());
    }

    #[test]
    fn swaps_and_ends_count_as_edits() {
        assert_eq!(close("abcd", ["abcdef"].into_iter()), ["abcdef"]);
        assert_eq!(
            close("abcdef", ["cdef", "abcd", "def"].into_iter()),
            ["cdef", "abcd"]
        );
        assert_eq!(close("abdc", ["abcd"].into_iter()), ["abcd"]);
        assert_eq!(close("badc", ["abcd"].into_iter()), ["abcd"]);
    }
}
