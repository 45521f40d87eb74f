//! Who said the same: nodes by what came from them and how it ended. The bytes of an answer are kept once for all nodes
//! that gave it. A line break at the very end makes no difference.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use crate::fanout::answer::{Answer, Output, Stream};

/// Nodes with one answer.
#[derive(Debug)]
pub struct Group {
    /// The answer of the first of them that ended.
    pub answer: Answer,
    /// Their positions among all nodes, ascending once they are [`Groups::in_order`].
    pub nodes: Vec<usize>,
}

/// All answers so far.
#[derive(Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    /// By a hash of the answer, the groups that have it.
    known: HashMap<u64, Vec<usize>>,
}

impl Groups {
    /// Takes the answer of the node at a position.
    pub fn add(&mut self, node: usize, answer: Answer) {
        let same = self.known.entry(hash(&answer)).or_default();
        let groups = &mut self.groups;
        let found = same
            .iter()
            .copied()
            .find(|&at| is_same(&groups[at].answer, &answer));
        match found {
            Some(at) => groups[at].nodes.push(node),
            None => {
                same.push(groups.len());
                groups.push(Group {
                    answer,
                    nodes: vec![node],
                });
            }
        }
    }

    /// The groups by their first nodes.
    #[must_use]
    pub fn in_order(mut self) -> Vec<Group> {
        for group in &mut self.groups {
            group.nodes.sort_unstable();
        }
        self.groups.sort_by_key(|group| group.nodes[0]); // a group is made with a node
        self.groups
    }
}

/// The text of a stream, but for a line break at its end.
fn text(output: &Output, stream: Stream) -> &[u8] {
    let bytes = output.of(stream);
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
}

fn hash(answer: &Answer) -> u64 {
    let mut hasher = DefaultHasher::new();
    answer.end.hash(&mut hasher);
    text(&answer.output, Stream::Stdout).hash(&mut hasher);
    text(&answer.output, Stream::Stderr).hash(&mut hasher);
    hasher.finish()
}

fn is_same(one: &Answer, other: &Answer) -> bool {
    let same = |stream| text(&one.output, stream) == text(&other.output, stream);
    one.end == other.end
        && one.output.cut() == other.output.cut()
        && same(Stream::Stdout)
        && same(Stream::Stderr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::answer::{Budget, End};

    #[test]
    fn the_same_output_and_end_is_one_group_in_the_order_of_the_nodes() {
        let budget = Budget::new(1_000);
        let answer = |stdout: &str, stderr: &str, exit| {
            let mut output = Output::new(100, budget.clone());
            output.push(Stream::Stdout, stdout.as_bytes());
            output.push(Stream::Stderr, stderr.as_bytes());
            let end = End::Exit(exit);
            Answer { output, end }
        };
        let mut groups = Groups::default();
        groups.add(7, answer("a\n", "", 0));
        groups.add(2, answer("b", "", 0));
        groups.add(3, answer("a", "", 0));
        groups.add(1, answer("a", "", 1));
        groups.add(4, answer("", "a", 0));
        groups.add(0, answer("b", "", 0));
        let groups = groups.in_order();
        let nodes: Vec<&[usize]> = groups.iter().map(|group| &*group.nodes).collect();
        assert_eq!(nodes, [&[0, 2][..], &[1], &[3, 7], &[4]]);
    }

    #[test]
    fn an_answer_that_was_cut_is_not_the_same_as_one_that_was_not() {
        let answer = |bytes: &[u8]| {
            let mut output = Output::new(3, Budget::new(100));
            output.push(Stream::Stdout, bytes);
            let end = End::Exit(0);
            Answer { output, end }
        };
        let mut groups = Groups::default();
        groups.add(0, answer(b"abc"));
        groups.add(1, answer(b"abcd"));
        assert_eq!(groups.in_order().len(), 2);
    }
}
