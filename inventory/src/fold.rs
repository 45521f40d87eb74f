//! Many names as few: `web001.eu`, `web002.eu`, … become `web[001:500].eu`, or the node set `web[001-500].eu`.
//!
//! The result is in a syntax that inventories and patterns read, so folded output can be pasted back; zero padding is
//! kept, and [`expand`](crate::expand) gives the same set of names again. Folding is linear in the number of names but
//! for sorting the numbers of names that differ in nothing else. It looks at no inventory.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::limits;

/// Digit runs of a name that are tried, from its end; more would make hostile names slow.
const FIELDS: usize = 8;
/// Digits that a folded number may have; they fit 64 bits.
const DIGITS: usize = 18;

/// A name, or a range of names, and where the first of them stood among the names given.
struct Item {
    first: usize,
    text: String,
}

/// How folded numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// `n[1:3],n7`
    Ranges,
    /// `n[1-3,7]`
    NodeSet,
}

/// Folds names into ranges. Duplicates count once; the ranges stand in the order of their earliest name.
///
/// Every run of digits in a name is tried, so that two dimensions fold too: `rack[1:2]-node[01:20]`. A name that holds
/// a bracket or a comma, which no host name has, is returned as it is.
pub fn fold<I>(names: I) -> Vec<String>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    fold_as(Notation::Ranges, names)
}

/// Folds names into one node set as ClusterShell writes them: `node[001-500,600],login`. It is shorter than [`fold_to_string`]
/// where numbers have gaps, and a pattern cannot take it for anything else.
pub fn fold_nodes<I>(names: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    fold_as(Notation::NodeSet, names).join(",")
}

fn fold_as<I>(notation: Notation, names: I) -> Vec<String>
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let names: Vec<I::Item> = names.into_iter().collect();
    let mut seen = HashSet::with_capacity(names.len());
    let (mut items, mut foreign) = (Vec::with_capacity(names.len()), Vec::new());
    for (first, text) in names.iter().map(AsRef::as_ref).enumerate() {
        if seen.insert(text) {
            let is_foreign =
                text.contains(['[', ']', ',', '!', '&', '^']) || text.contains(char::is_whitespace);
            let list = if is_foreign { &mut foreign } else { &mut items };
            list.push(Item {
                first,
                text: text.to_owned(),
            });
        }
    }
    drop(seen);
    for field in 0..FIELDS {
        items = fold_field(items, field, notation);
    }
    items.append(&mut foreign);
    items.sort_unstable_by_key(|item| item.first);
    items.into_iter().map(|item| item.text).collect()
}

/// The folded names joined by `,`: one pattern that names the same hosts.
pub fn fold_to_string<I>(names: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    fold(names).join(",")
}

/// The numbers that occur between one beginning and one end.
#[derive(Default)]
struct Group {
    /// Written without a leading zero: number to earliest position.
    plain: BTreeMap<u64, usize>,
    /// Written with one, by width.
    padded: BTreeMap<usize, BTreeMap<u64, usize>>,
}

/// Folds over the digit run that is the `field`-th from the end.
fn fold_field(items: Vec<Item>, field: usize, notation: Notation) -> Vec<Item> {
    let runs: Vec<_> = items.iter().map(|item| digits(&item.text, field)).collect();
    let tried = runs.iter().flatten().count();
    if tried < 2 {
        return items;
    }
    let mut groups: HashMap<(&str, &str), Vec<usize>> = HashMap::with_capacity(tried);
    for (index, (item, run)) in items.iter().zip(runs).enumerate() {
        if let Some((start, end)) = run {
            let around = (&item.text[..start], &item.text[end..]);
            groups.entry(around).or_default().push(index);
        }
    }
    let mut kept = vec![true; items.len()];
    let mut folded = Vec::new();
    for ((before, after), members) in groups {
        if members.len() < 2 {
            continue;
        }
        let mut group = Group::default();
        for &index in &members {
            let item = &items[index];
            let run = &item.text[before.len()..item.text.len() - after.len()];
            // At most DIGITS digits always fit; a run that did not would be left as it is.
            let Ok(number) = run.parse::<u64>() else {
                continue;
            };
            kept[index] = false;
            if run.len() > 1 && run.starts_with('0') {
                group
                    .padded
                    .entry(run.len())
                    .or_default()
                    .insert(number, item.first);
            } else {
                group.plain.insert(number, item.first);
            }
        }
        let mut ranges = group.ranges();
        let mut push = |first, range: &str| {
            let text = format!("{before}{range}{after}");
            folded.push(Item { first, text });
        };
        match notation {
            Notation::Ranges => ranges
                .iter()
                .for_each(|range| push(range.at, &range.as_range())),
            Notation::NodeSet => {
                ranges.sort_by_key(Range::rank);
                // One bracket, unless it would be longer than any that is read.
                for ranges in ranges.chunks(limits::TERMS) {
                    let at = ranges.iter().map(|range| range.at).min();
                    let all: Vec<String> = ranges.iter().map(Range::as_stretch).collect();
                    let text = match &all[..] {
                        [one] if !one.contains('-') => one.clone(),
                        all => format!("[{}]", all.join(",")),
                    };
                    push(at.unwrap_or_default(), &text);
                }
            }
        }
    }
    let mut next: Vec<Item> = items
        .into_iter()
        .zip(kept)
        .filter_map(|(item, kept)| kept.then_some(item))
        .collect();
    next.append(&mut folded);
    // The hash map's order must not reach the outside, nor the next field.
    next.sort_unstable_by_key(|item| item.first);
    next
}

/// Consecutive numbers, and where the earliest of them stood among the names given.
struct Range {
    start: u64,
    end: u64,
    width: usize,
    at: usize,
}

impl Range {
    /// Digits of the first number, then its value: the order in which `nodeset` writes them.
    fn rank(&self) -> (usize, u64) {
        let digits = self.start.checked_ilog10().unwrap_or(0) as usize + 1;
        (digits.max(self.width), self.start)
    }

    fn as_range(&self) -> String {
        let Range {
            start, end, width, ..
        } = self;
        if start == end {
            format!("{start:0width$}")
        } else {
            format!("[{start:0width$}:{end:0width$}]")
        }
    }

    fn as_stretch(&self) -> String {
        let Range {
            start, end, width, ..
        } = self;
        if start == end {
            format!("{start:0width$}")
        } else {
            format!("{start:0width$}-{end:0width$}")
        }
    }
}

impl Group {
    fn ranges(mut self) -> Vec<Range> {
        let mut ranges = Vec::new();
        for (width, mut numbers) in std::mem::take(&mut self.padded) {
            // 098 and 099 are followed by 100, which has no leading zero: it is theirs rather than the plain numbers'.
            let Some(mut next) = 10u64.checked_pow(width as u32 - 1) else {
                continue;
            };
            if numbers.contains_key(&(next - 1)) {
                while next.checked_ilog10() == Some(width as u32 - 1)
                    && let Some(first) = self.plain.remove(&next)
                {
                    numbers.insert(next, first);
                    next += 1;
                }
            }
            runs(&numbers, width, &mut ranges);
        }
        runs(&self.plain, 1, &mut ranges);
        ranges
    }
}

/// The runs of consecutive numbers, each with the earliest position in it.
fn runs(numbers: &BTreeMap<u64, usize>, width: usize, ranges: &mut Vec<Range>) {
    let mut numbers = numbers.iter().peekable();
    while let Some((&start, &position)) = numbers.next() {
        let (mut end, mut at) = (start, position);
        while let Some(&(&next, &position)) = numbers.peek()
            && next == end + 1
        {
            (end, at) = (next, at.min(position));
            numbers.next();
        }
        ranges.push(Range {
            start,
            end,
            width,
            at,
        });
    }
}

/// The bytes of the `field`-th digit run from the end, unless it is folded already or too long. A folded range counts as
/// one run, so that fields keep their numbers from pass to pass.
fn digits(text: &str, field: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut end = bytes.len();
    let mut seen = 0;
    while end > 0 {
        let last = bytes[end - 1];
        if !last.is_ascii_digit() && last != b']' {
            end -= 1;
            continue;
        }
        let folded = last == b']';
        let mut start = end - 1;
        while start > 0
            && if folded {
                bytes[start] != b'['
            } else {
                bytes[start - 1].is_ascii_digit()
            }
        {
            start -= 1;
        }
        if seen == field {
            return (!folded && end - start <= DIGITS).then_some((start, end));
        }
        seen += 1;
        end = start;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(names: &str) -> String {
        fold_to_string(names.split(' '))
    }

    #[test]
    fn consecutive_names_fold_and_padding_stays() {
        assert_eq!(folded("web001.eu web002.eu web003.eu"), "web[001:003].eu");
        assert_eq!(folded("web9 web10 web11"), "web[9:11]");
        assert_eq!(folded("web09 web10 web11"), "web[09:11]");
        assert_eq!(
            folded("web099 web100 web101 web1000"),
            "web[099:101],web1000"
        );
        assert_eq!(folded("web999 web1000"), "web[999:1000]");
        assert_eq!(folded("n0 n1 n00 n01"), "n[0:1],n[00:01]");
    }

    #[test]
    fn gaps_stay_gaps_and_order_is_that_of_the_first_name() {
        assert_eq!(folded("db2 web1 db1 web3 db4"), "db[1:2],web1,web3,db4");
        assert_eq!(folded("b a b a"), "b,a");
        assert_eq!(folded("host"), "host");
    }

    #[test]
    fn every_digit_run_is_tried() {
        assert_eq!(folded("web1.eu-1 web2.eu-1 web3.eu-1"), "web[1:3].eu-1");
        assert_eq!(folded("r1-n01 r1-n02 r2-n01 r2-n02"), "r[1:2]-n[01:02]");
        assert_eq!(folded("r1-n01 r1-n02 r2-n01"), "r1-n[01:02],r2-n01");
    }

    #[test]
    fn a_node_set_takes_gaps_and_widths_into_one_bracket() {
        let folded = |names: &str| fold_nodes(names.split(' '));
        assert_eq!(folded("node001 node7 node003 node002"), "node[7,001-003]");
        assert_eq!(folded("n098 n099 n100 n102 login"), "n[098-100,102],login");
        assert_eq!(folded("n1c1 n1c3 n2c1 n2c3"), "n[1-2]c[1,3]");
        assert_eq!(folded("db4 web1 db1 db2"), "db[1-2,4],web1");
        assert_eq!(folded("a"), "a");
    }

    #[test]
    fn a_node_set_with_more_gaps_than_a_bracket_may_have_is_several() {
        let names: Vec<String> = (0..=limits::TERMS).map(|n| format!("n{}", 2 * n)).collect();
        let folded = fold_nodes(&names);
        let (many, one) = folded.rsplit_once(',').unwrap();
        assert!(many.starts_with("n[0,2,") && many.ends_with(']'));
        assert_eq!(one, names.last().unwrap());
        let read = crate::Inventory::read(&[crate::Input::Nodes(folded)]).unwrap();
        assert_eq!(read.hosts().len(), names.len());
    }

    #[test]
    fn names_with_foreign_characters_are_left_alone() {
        assert_eq!(
            fold(["a[1:2]", "x1", "x2", "b,c"]),
            ["a[1:2]", "x[1:2]", "b,c"]
        );
        assert_eq!(
            folded("n99999999999999999998 n99999999999999999999"),
            "n99999999999999999998,n99999999999999999999"
        );
    }
}
