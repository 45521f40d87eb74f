//! What differs between two texts, as hunks with a little around them, in the manner of `diff -u`. A shortest edit where the
//! difference is small (Myers, "An O(ND) Difference Algorithm and Its Variations", 1986); texts that differ in more than a bound
//! are shown as one wholly replaced by the other, so that time and memory stay small whatever nodes say.

use std::fmt::Write as _;

/// Lines around a change.
const AROUND: usize = 3;
/// Most lines inserted and deleted that are looked for; memory grows with its square.
const MOST: usize = 1_000;

/// What happens to lines, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Keep,
    Delete,
    Insert,
}

/// The hunks that make `new` of `old`; empty when they are the same.
#[must_use]
pub fn unified(old: &[String], new: &[String]) -> String {
    let edits = edits(old, new);
    let changes: Vec<usize> = (0..edits.len())
        .filter(|&at| edits[at] != Edit::Keep)
        .collect();
    let mut text = String::new();
    let mut next = 0;
    while let Some(&first) = changes.get(next) {
        let mut last = first;
        while let Some(&more) = changes.get(next)
            && more <= last + 2 * AROUND + 1
        {
            last = more;
            next += 1;
        }
        let from = first.saturating_sub(AROUND);
        let to = (last + AROUND + 1).min(edits.len());
        hunk(&mut text, old, new, &edits, from..to);
    }
    text
}

fn hunk(
    text: &mut String,
    old: &[String],
    new: &[String],
    edits: &[Edit],
    range: std::ops::Range<usize>,
) {
    let lines = |edits: &[Edit], kind| {
        let counted = |edit: &&Edit| **edit == Edit::Keep || **edit == kind;
        edits.iter().filter(counted).count()
    };
    let before = &edits[..range.start];
    let (mut at, mut to) = (lines(before, Edit::Delete), lines(before, Edit::Insert));
    let within = &edits[range];
    let (deleted, inserted) = (lines(within, Edit::Delete), lines(within, Edit::Insert));
    // As `diff -u` counts: lines from 1, and the line before where there are none.
    let first = |at: usize, count| at + usize::from(count > 0);
    let place = |at, count| format!("{},{count}", first(at, count));
    let _ = writeln!(
        text,
        "@@ -{} +{} @@",
        place(at, deleted),
        place(to, inserted)
    );
    for edit in within {
        let (sign, line) = match edit {
            Edit::Keep => (' ', &old[at]),
            Edit::Delete => ('-', &old[at]),
            Edit::Insert => ('+', &new[to]),
        };
        at += usize::from(*edit != Edit::Insert);
        to += usize::from(*edit != Edit::Delete);
        let _ = writeln!(text, "{sign}{line}");
    }
}

fn edits(old: &[String], new: &[String]) -> Vec<Edit> {
    let same = |(one, other): &(&String, &String)| one == other;
    let head = old.iter().zip(new).take_while(same).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(same)
        .count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let middle = shortest(old, new).unwrap_or_else(|| {
        let deleted = std::iter::repeat_n(Edit::Delete, old.len());
        deleted
            .chain(std::iter::repeat_n(Edit::Insert, new.len()))
            .collect()
    });
    let keep = |lines| std::iter::repeat_n(Edit::Keep, lines);
    keep(head).chain(middle).chain(keep(tail)).collect()
}

/// The shortest edit, or none within the bound.
fn shortest(old: &[String], new: &[String]) -> Option<Vec<Edit>> {
    // For each number of edits and each diagonal (lines of old minus lines of new), how many lines of old are done at most.
    // Diagonal k of round d is at (k + d) / 2: they have the parity of the round.
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let most = MOST.min(old.len() + new.len());
    for d in 0..=most {
        let mut reached = Vec::with_capacity(d + 1);
        for at in 0..=d {
            let mut x = match rounds.last() {
                None => 0,
                // Diagonal k comes from k - 1 by deleting a line of old, from k + 1 by inserting one of new.
                Some(before) => {
                    let inserted = before.get(at).copied();
                    let deleted = at.checked_sub(1).map(|at| before[at] + 1);
                    inserted.max(deleted).unwrap_or(0)
                }
            };
            let mut y = x + d - 2 * at;
            while let (Some(one), Some(other)) = (old.get(x), new.get(y)) {
                if one != other {
                    break;
                }
                x += 1;
                y += 1;
            }
            reached.push(x);
            if x == old.len() && y == new.len() {
                rounds.push(reached);
                return Some(trace(&rounds, at));
            }
        }
        rounds.push(reached);
    }
    None
}

/// The edits that led to diagonal `at` of the last round.
fn trace(rounds: &[Vec<usize>], mut at: usize) -> Vec<Edit> {
    let mut edits = Vec::new();
    for d in (0..rounds.len()).rev() {
        let x = rounds[d][at];
        let Some(before) = d.checked_sub(1).map(|d| &rounds[d]) else {
            edits.extend(std::iter::repeat_n(Edit::Keep, x));
            break;
        };
        let inserted = before.get(at).copied();
        let deleted = at.checked_sub(1).map(|at| before[at] + 1);
        let (start, edit) = if inserted >= deleted {
            (inserted.unwrap_or(0), Edit::Insert)
        } else {
            at -= 1;
            (deleted.unwrap_or(0), Edit::Delete)
        };
        edits.extend(std::iter::repeat_n(Edit::Keep, x - start));
        edits.push(edit);
    }
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn the_same_text_differs_in_nothing() {
        assert_eq!(unified(&lines("abc"), &lines("abc")), "");
        assert_eq!(unified(&[], &[]), "");
    }

    #[test]
    fn a_changed_line_is_shown_with_three_around_it() {
        let text = unified(&lines("abcdefghij"), &lines("abcdeXghij"));
        let want = "@@ -3,7 +3,7 @@\n c\n d\n e\n-f\n+X\n g\n h\n i\n";
        assert_eq!(text, want);
    }

    #[test]
    fn changes_far_apart_are_two_hunks_and_near_ones_are_one() {
        let old = lines("abcdefghijklmnop");
        let far = unified(&old, &lines("Xbcdefghijklmnop!"));
        assert_eq!(far.matches("@@ -").count(), 2, "{far}");
        let near = unified(&old, &lines("XbcdXfghijklmnop"));
        assert_eq!(near.matches("@@ -").count(), 1, "{near}");
        assert_eq!(
            unified(&[], &lines("a")),
            "@@ -0,0 +1,1 @@\n+a\n",
            "nothing before"
        );
    }

    #[test]
    fn texts_that_have_nothing_in_common_are_replaced_in_bounded_time() {
        let text = |from: u64| (from..from + 200_000).map(|n| n.to_string()).collect();
        let (old, new): (Vec<String>, Vec<String>) = (text(0), text(1_000_000));
        let diff = unified(&old, &new);
        assert_eq!(diff.lines().count(), 400_001);
    }

    proptest! {
        #[test]
        fn the_edits_make_the_new_text_of_the_old_and_none_could_be_left_out(
            old in "[abc]{0,24}", new in "[abc]{0,24}"
        ) {
            let (old, new) = (lines(&old), lines(&new));
            let edits = edits(&old, &new);
            let (mut at, mut made, mut changes) = (0, Vec::new(), 0);
            let mut to = 0;
            for edit in edits {
                match edit {
                    Edit::Keep => { made.push(old[at].clone()); at += 1; to += 1; }
                    Edit::Delete => { at += 1; changes += 1; }
                    Edit::Insert => { made.push(new[to].clone()); to += 1; changes += 1; }
                }
            }
            prop_assert_eq!((at, &made), (old.len(), &new));
            // The longest common subsequence, by the textbook.
            let mut longest = vec![vec![0; new.len() + 1]; old.len() + 1];
            for (i, one) in old.iter().enumerate() {
                for (j, other) in new.iter().enumerate() {
                    longest[i + 1][j + 1] = if one == other {
                        longest[i][j] + 1
                    } else {
                        longest[i][j + 1].max(longest[i + 1][j])
                    };
                }
            }
            prop_assert_eq!(changes, old.len() + new.len() - 2 * longest[old.len()][new.len()]);
        }
    }
}
