//! The order that dependencies ask for. It is stable: what no dependency decides stays as it was written, and so do those that
//! depend on one another in a cycle, which stand together (appup(5), `DepMods`).

/// The numbers 0 to `before.len() - 1` such that everything in `before[n]` stands before `n`. A cycle keeps the order of its
/// numbers; numbers out of range count for nothing.
pub(crate) fn sorted(before: &[Vec<usize>]) -> Vec<usize> {
    let reach = closure(before);
    let same = |a: usize, b: usize| a == b || (reach[a].has(b) && reach[b].has(a));
    let mut placed = vec![false; before.len()];
    let mut order = Vec::with_capacity(before.len());
    while order.len() < before.len() {
        // The first that waits for nobody outside its own cycle. There is one, since cycles taken as one have no cycles.
        let ready = |n: &usize| {
            !placed[*n] && (0..before.len()).all(|m| !reach[*n].has(m) || placed[m] || same(*n, m))
        };
        let Some(first) = (0..before.len()).find(ready) else {
            return (0..before.len()).collect();
        };
        for (n, placed) in placed.iter_mut().enumerate().skip(first) {
            if !*placed && same(first, n) {
                *placed = true;
                order.push(n);
            }
        }
    }
    order
}

/// Those of a cycle, in their order, if there is one among the numbers that `counts`.
pub(crate) fn cycle(before: &[Vec<usize>], counts: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
    let reach = closure(before);
    let first = (0..before.len()).find(|n| reach[*n].has(*n) && counts(*n))?;
    let with = |n: &usize| reach[first].has(*n) && reach[*n].has(first);
    Some((0..before.len()).filter(with).collect())
}

/// The same, the other way round.
pub(crate) fn reversed(before: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut after = vec![Vec::new(); before.len()];
    for (n, list) in before.iter().enumerate() {
        for m in list.iter().filter(|m| **m < before.len()) {
            after[*m].push(n);
        }
    }
    after
}

/// Who is reached from each, by Warshall's algorithm on rows of bits.
fn closure(before: &[Vec<usize>]) -> Vec<Row> {
    let count = before.len();
    let mut rows = vec![Row(vec![0; count.div_ceil(64)]); count];
    for (row, list) in rows.iter_mut().zip(before) {
        for n in list.iter().filter(|n| **n < count) {
            row.0[n / 64] |= 1 << (n % 64);
        }
    }
    for through in 0..count {
        let more = rows[through].clone();
        for row in rows.iter_mut().filter(|row| row.has(through)) {
            row.0.iter_mut().zip(&more.0).for_each(|(a, b)| *a |= b);
        }
    }
    rows
}

#[derive(Clone)]
struct Row(Vec<u64>);

impl Row {
    fn has(&self, n: usize) -> bool {
        self.0[n / 64] >> (n % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_everything_else_stays_as_written() {
        assert_eq!(sorted(&[vec![], vec![], vec![]]), [0, 1, 2]);
        assert_eq!(sorted(&[vec![2], vec![], vec![]]), [1, 2, 0]);
        assert_eq!(sorted(&[vec![1], vec![2], vec![]]), [2, 1, 0]);
        assert_eq!(sorted(&reversed(&[vec![2], vec![], vec![]])), [0, 1, 2]);
    }

    #[test]
    fn a_cycle_stands_together_in_the_written_order() {
        // 0 and 2 need each other, and 2 needs 3; 1 is free.
        let before = [vec![2], vec![], vec![0, 3], vec![]];
        assert_eq!(sorted(&before), [1, 3, 0, 2]);
        assert_eq!(cycle(&before, |_| true), Some(vec![0, 2]));
        assert_eq!(cycle(&before, |n| n == 3), None);
        assert_eq!(cycle(&[vec![0]], |_| true), Some(vec![0]));
    }
}
