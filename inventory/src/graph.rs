//! The inventory as a tree of text, for `inventory graph`.
//!
//! Groups carry an `@`, hosts are folded into ranges. A group that several groups contain is shown in full once and by
//! name afterwards, so the text grows with the inventory and not with the number of paths through it.

use crate::fold::fold;
use crate::model::{Group, Host, Inventory};

impl Inventory {
    /// The tree of groups under `@all:`, children before hosts, one line each, indented by `|  `.
    #[must_use]
    pub fn graph(&self) -> String {
        let mut is_child = vec![false; self.groups.len()];
        for &child in self.groups.iter().flat_map(|group| &group.children) {
            is_child[child as usize] = true;
        }
        let mut text = "@all:\n".to_owned();
        let mut shown = vec![false; self.groups.len()];
        for (index, _) in is_child
            .iter()
            .enumerate()
            .filter(|(_, is_child)| !**is_child)
        {
            self.subtree(index, 1, &mut shown, &mut text);
        }
        text
    }

    /// Recursion is as deep as groups nest, which `limits::GROUP_DEPTH` bounds.
    fn subtree(&self, index: usize, depth: usize, shown: &mut [bool], text: &mut String) {
        let group = &self.groups[index];
        let again = std::mem::replace(&mut shown[index], true);
        let has_more = !group.children.is_empty() || !group.hosts.is_empty();
        let mark = if again && has_more {
            " (shown above)"
        } else {
            ""
        };
        line(text, depth, &format!("@{}:{mark}", Group::name(group)));
        if again {
            return;
        }
        for &child in &group.children {
            self.subtree(child as usize, depth + 1, shown, text);
        }
        for names in fold(self.direct_members(group).map(Host::name)) {
            line(text, depth + 1, &names);
        }
    }
}

fn line(text: &mut String, depth: usize, content: &str) {
    text.push_str(&"  |".repeat(depth));
    text.push_str("--");
    text.push_str(content);
    text.push('\n');
}
