//! The supervision trees that a target is given with a plan. Of several patches each may end children of a supervisor, whatever
//! the last one says; on the way back, all that the older trees do not have end. What a boot starts without a tree has one here.

use std::collections::BTreeSet;

use midflight_patch::{Child, Manifest, Release, Supervisor};

/// The release that `patches` lead to, its trees saying what they end.
pub(super) fn forward(to: &Release, patches: &[&Manifest]) -> Release {
    let mut ending = BTreeSet::new();
    for patch in patches {
        for application in &patch.applications {
            walk(&mut application.supervisor.clone(), &mut |supervisor| {
                if supervisor.stop_removed {
                    ending.insert(supervisor.name.clone());
                }
            });
        }
    }
    marked(to, |supervisor| ending.contains(&supervisor.name))
}

/// The release that a rollback leads to: exactly its children run.
pub(super) fn back(to: &Release) -> Release {
    marked(to, |_| true)
}

/// The list of actors, if that is what a release has, as the tree that it stands for.
fn marked(to: &Release, ends: impl Fn(&Supervisor) -> bool) -> Release {
    let mut applications = to.start_order();
    for application in &mut applications {
        walk(&mut application.supervisor, &mut |supervisor| {
            supervisor.stop_removed = ends(supervisor);
        });
    }
    Release {
        applications,
        ..to.clone()
    }
}

fn walk(supervisor: &mut Supervisor, visit: &mut impl FnMut(&mut Supervisor)) {
    visit(supervisor);
    for child in &mut supervisor.children {
        if let Child::Supervisor(below) = child {
            walk(below, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use midflight_patch::{Application, Vsn};

    use super::*;

    fn supervisor(name: &str, stop_removed: bool, below: Vec<Child>) -> Supervisor {
        Supervisor {
            name: name.into(),
            stop_removed,
            children: below,
            ..Supervisor::default()
        }
    }

    fn tree(stop_removed: bool) -> Application {
        let below = vec![Child::Supervisor(supervisor("below", stop_removed, vec![]))];
        Application {
            name: "shop".into(),
            vsn: Vsn::new("1").unwrap(),
            depends: Vec::new(),
            config: serde_json::Value::Null,
            modules: Vec::new(),
            supervisor: supervisor("top", false, below),
        }
    }

    fn ends(release: &Release) -> Vec<String> {
        let mut ends = Vec::new();
        for application in &release.applications {
            walk(&mut application.supervisor.clone(), &mut |supervisor| {
                if supervisor.stop_removed {
                    ends.push(supervisor.name.clone());
                }
            });
        }
        ends
    }

    #[test]
    fn children_end_where_a_patch_says_so_and_on_the_way_back() {
        let manifest = serde_json::json!({
            "schema": 1, "name": "demo", "from": "1", "to": "2", "world": midflight_patch::WORLD,
            "modules": [], "start": [], "listen": null,
        });
        let mut patch: Manifest = serde_json::from_value(manifest).unwrap();
        patch.applications = vec![tree(true)];
        let to = Release {
            name: "demo".into(),
            vsn: Vsn::new("2").unwrap(),
            modules: Default::default(),
            start: Vec::new(),
            applications: vec![tree(false)],
            listen: Vec::new(),
            connect: Vec::new(),
        };
        assert_eq!(ends(&forward(&to, &[&patch])), ["below"]);
        patch.applications = vec![tree(false)];
        assert!(ends(&forward(&to, &[&patch])).is_empty());
        assert_eq!(ends(&back(&to)), ["top", "below"]);
    }
}
