//! Which groups contain which: cycles found, depths measured, ancestors listed.
//!
//! Everything is bounded: a graph that is acyclic but huge is refused by [`limits::GROUP_DEPTH`] and
//! [`limits::GROUP_LINKS`] rather than walked. Nothing here recurses, so no nesting can overflow the stack.

use crate::limits;

/// The groups as numbers, with their children's numbers.
pub(crate) struct Relations {
    parents: Vec<Vec<u32>>,
    depth: Vec<u32>,
    links: usize,
}

/// Why groups cannot be related.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tangle {
    /// A cycle, as (group, index of the child that leads on); the last leads to the first.
    Cycle(Vec<(u32, usize)>),
    /// The group lies deeper than the limit.
    Deep(u32),
    /// Too many links were followed to list ancestors.
    Links,
}

impl Relations {
    /// Relates groups; `children[g]` are the children of group `g`.
    pub(crate) fn new(children: &[Vec<u32>]) -> Result<Relations, Tangle> {
        let order = parents_first(children)?;
        let mut depth = vec![0u32; children.len()];
        let mut parents = vec![Vec::new(); children.len()];
        for group in order {
            let below = depth[group as usize] + 1;
            if below as usize > limits::GROUP_DEPTH {
                return Err(Tangle::Deep(group));
            }
            for &child in &children[group as usize] {
                parents[child as usize].push(group);
                depth[child as usize] = depth[child as usize].max(below);
            }
        }
        Ok(Relations {
            parents,
            depth,
            links: 0,
        })
    }

    /// The groups on the longest chain of parents above a group.
    pub(crate) fn depth(&self, group: u32) -> u32 {
        self.depth[group as usize]
    }

    /// The groups given and all that contain them, each once, outermost first: by depth, then by `rank`.
    pub(crate) fn with_ancestors<K: Ord>(
        &mut self,
        groups: &[u32],
        rank: impl Fn(u32) -> K,
    ) -> Result<Vec<u32>, Tangle> {
        let mut found: Vec<u32> = groups.to_vec();
        let mut seen: std::collections::HashSet<u32> = groups.iter().copied().collect();
        let mut next = 0;
        while let Some(&group) = found.get(next) {
            next += 1;
            let parents = &self.parents[group as usize];
            self.links += parents.len() + 1;
            if self.links > limits::GROUP_LINKS {
                return Err(Tangle::Links);
            }
            found.extend(
                parents
                    .iter()
                    .copied()
                    .filter(|parent| seen.insert(*parent)),
            );
        }
        found.sort_by_key(|&group| (self.depth(group), rank(group)));
        Ok(found)
    }
}

/// A topological order, or a cycle.
fn parents_first(children: &[Vec<u32>]) -> Result<Vec<u32>, Tangle> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; children.len()];
    let mut done = Vec::with_capacity(children.len());
    for start in 0..children.len() as u32 {
        if marks[start as usize] != Mark::New {
            continue;
        }
        marks[start as usize] = Mark::Open;
        let mut path: Vec<(u32, usize)> = vec![(start, 0)];
        while let Some((group, next)) = path.last_mut() {
            let Some(&child) = children[*group as usize].get(*next) else {
                marks[*group as usize] = Mark::Done;
                done.push(*group);
                path.pop();
                if let Some((_, next)) = path.last_mut() {
                    *next += 1;
                }
                continue;
            };
            match marks[child as usize] {
                Mark::Done => *next += 1,
                Mark::New => {
                    marks[child as usize] = Mark::Open;
                    path.push((child, 0));
                }
                Mark::Open => {
                    let from = path
                        .iter()
                        .position(|(group, _)| *group == child)
                        .unwrap_or(0);
                    return Err(Tangle::Cycle(path.split_off(from)));
                }
            }
        }
    }
    done.reverse();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_reported_with_its_path() {
        let tangle = Relations::new(&[vec![1], vec![2], vec![3, 1], vec![]]).err();
        assert_eq!(tangle, Some(Tangle::Cycle(vec![(1, 0), (2, 1)])));
        assert_eq!(
            Relations::new(&[vec![0]]).err(),
            Some(Tangle::Cycle(vec![(0, 0)]))
        );
    }

    #[test]
    fn a_child_lies_deeper_than_all_its_parents() {
        // 0 > 1 > 2 and 0 > 2: group 2 lies below group 1 although it is also a child of 0.
        let mut relations = Relations::new(&[vec![2, 1], vec![2], vec![]]).expect("acyclic");
        assert_eq!([0, 1, 2].map(|group| relations.depth(group)), [0, 1, 2]);
        assert_eq!(relations.with_ancestors(&[2], |g| g), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn a_long_chain_is_refused_without_recursion() {
        let chain: Vec<Vec<u32>> = (1..=200_000).map(|g| vec![g]).chain([vec![]]).collect();
        assert!(matches!(Relations::new(&chain), Err(Tangle::Deep(_))));
    }

    #[test]
    fn a_hub_between_many_parents_and_children_is_refused() {
        let hub = 100_000u32;
        let mut children: Vec<Vec<u32>> = (0..hub).map(|_| vec![hub]).collect();
        children.push((hub + 1..hub + 100_000).collect());
        children.extend((hub + 1..hub + 100_000).map(|_| Vec::new()));
        let mut relations = Relations::new(&children).expect("acyclic");
        let refused = (hub + 1..hub + 100_000)
            .any(|group| relations.with_ancestors(&[group], |g| g).is_err());
        assert!(refused);
    }
}
