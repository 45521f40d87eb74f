//! The variables that one place sets: a file's top, a group, a host entry.
//!
//! They are kept sorted in one piece of memory, with names that the whole inventory shares, because there can be one
//! such set for each of very many hosts.

use std::sync::Arc;

use crate::place::Spot;
use crate::value::Value;

/// A variable and where it is set.
#[derive(Clone, Debug)]
pub(crate) struct Var {
    pub name: Arc<str>,
    pub value: Value,
    pub spot: Spot,
}

/// Variables by name, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vars(Box<[Var]>);

impl Vars {
    /// Sorts the variables; of several with one name the last counts. `None` if there are none.
    pub(crate) fn new(mut vars: Vec<Var>) -> Option<Arc<Vars>> {
        if vars.is_empty() {
            return None;
        }
        // Stable, so that the last of each name stays last.
        vars.sort_by(|a, b| a.name.cmp(&b.name));
        vars.reverse();
        vars.dedup_by(|later, kept| later.name == kept.name);
        vars.reverse();
        Some(Arc::new(Vars(vars.into_boxed_slice())))
    }

    /// These variables, overridden by others.
    pub(crate) fn overlaid(&self, over: &Vars) -> Arc<Vars> {
        let both = self.0.iter().chain(&over.0).cloned().collect();
        Vars::new(both).unwrap_or_default()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Var> {
        let at = self.0.binary_search_by(|var| (*var.name).cmp(name)).ok()?;
        self.0.get(at)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).map(|var| &var.value)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Var> {
        self.0.iter()
    }
}
