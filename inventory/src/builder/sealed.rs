//! Which variables `ansible-vault` has encrypted, so that a person can be told what is not known of an inventory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ansible::VAULT;
use crate::files::Files;
use crate::model::SealedVariable;
use crate::place::Spot;
use crate::value::Value;
use crate::vars::Vars;

/// The encrypted variables of these sets, each place once, in the order of the sources. Sets that many hosts share may come as
/// often as they like, and cost little when they come one after another.
pub(super) fn variables<'a>(
    files: &Files,
    sets: impl Iterator<Item = &'a Arc<Vars>>,
) -> Vec<SealedVariable> {
    let mut found: BTreeMap<Spot, &Arc<str>> = BTreeMap::new();
    let mut last = None;
    for set in sets {
        if last.replace(Arc::as_ptr(set)) == Some(Arc::as_ptr(set)) {
            continue;
        }
        let sealed = set.iter().filter(|var| is_sealed(&var.value));
        found.extend(sealed.map(|var| (var.spot, &var.name)));
    }
    let variable = |(spot, name): (Spot, &Arc<str>)| SealedVariable {
        name: Arc::clone(name),
        at: files.position(spot),
    };
    found.into_iter().map(variable).collect()
}

/// Whether a value is encrypted, or has something encrypted in it; the readers bound how deep it is.
fn is_sealed(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().any(is_sealed),
        Value::Map(entries) => entries
            .iter()
            .any(|(key, value)| key == VAULT || is_sealed(value)),
        _ => false,
    }
}
