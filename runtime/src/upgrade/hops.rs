//! The way of states between two versions of a module, with those in between when a patch joins several hops. Each step is
//! a call of the newer code of its two versions, up or down; what an earlier step redelivers is put into the words of the
//! later ones.

use std::sync::Arc;

use midflight_patch::Update;

use super::txn::{Change, Step, Txn, way};
use crate::{
    actor::State,
    bindings::{Cx, Event, Migrated},
    instance::{Fault, Instance, Instances},
    node::Shared,
};

/// What `code_change` makes of some states, one result for each.
pub(super) type Results = Vec<Result<Migrated, String>>;

/// Takes states the whole way. A trap in any step is a fault of the whole call.
pub(super) fn migrate_states(
    shared: &Arc<Shared>,
    instances: &mut Instances,
    txn: &Txn,
    change: &Change,
    forward: bool,
    items: &[(Cx, State)],
) -> Result<Results, Fault> {
    let steps = way(change, forward);
    if let [step] = steps[..] {
        return one_step(shared, instances, txn, step, forward, items);
    }
    let start = |item: &(Cx, State)| {
        Ok(Migrated {
            state: item.1.clone(),
            redeliver: Vec::new(),
        })
    };
    let mut results: Results = items.iter().map(start).collect();
    for step in steps {
        if step.update == Update::Soft {
            continue;
        }
        let going = |(at, result): (usize, &Result<Migrated, String>)| {
            let migrated = result.as_ref().ok()?;
            Some((at, (items[at].0, migrated.state.clone())))
        };
        let (at, states): (Vec<usize>, Vec<_>) =
            results.iter().enumerate().filter_map(going).unzip();
        if at.is_empty() {
            break;
        }
        let named = |reason: &str| format!("{}: {reason}", hop(shared, step, forward));
        let made =
            one_step(shared, instances, txn, step, forward, &states).map_err(
                |fault| match fault {
                    Fault::Trap(reason) => Fault::Trap(named(&reason)),
                    Fault::Error(reason) => Fault::Error(named(&reason)),
                },
            )?;
        for (at, made) in at.into_iter().zip(made) {
            let before = std::mem::replace(&mut results[at], Err(String::new()));
            results[at] = before.and_then(|before| {
                let mut made = made.map_err(|reason| named(&reason))?;
                for event in &before.redeliver {
                    match event_step(shared, instances, txn, step, forward, event) {
                        Ok(converted) => made.redeliver.extend(converted),
                        Err(fault) => return Err(named(fault.reason())),
                    }
                }
                Ok(made)
            });
        }
    }
    Ok(results)
}

/// One `code_change`, run a second time when the node is hermetic.
fn one_step(
    shared: &Arc<Shared>,
    instances: &mut Instances,
    txn: &Txn,
    step: &Step,
    forward: bool,
    items: &[(Cx, impl AsRef<[u8]>)],
) -> Result<Results, Fault> {
    let newer = txn.newer(step);
    let Some(older) = shared.code.version(txn.older(step)) else {
        return Err(Fault::Error("the older code was purged".into()));
    };
    let direction = txn.heading(forward);
    let instance = instances.get(newer)?;
    let result = instance.code_change(direction, &older.vsn_text, &step.extra, items);
    let version = instance.version.clone();
    // What a module logs while it migrates copies may be of copies that are dropped.
    for (_, text) in instance.door_mut().take_logs() {
        tracing::debug!(target: "code_change", module = %version.name, "{text}");
    }
    if result.is_err() {
        instances.discard(newer);
    }
    let results = result?;
    if shared.limits.hermetic {
        let again = Instance::new(shared, &version)?.code_change(
            direction,
            &older.vsn_text,
            &step.extra,
            items,
        )?;
        if again != results {
            return Err(Fault::Trap(
                "hermetic: code_change gave something else when it was run again".into(),
            ));
        }
    }
    Ok(results)
}

/// An event in the words of the other end of a change. None: it has no meaning there.
pub(crate) fn convert_event(
    shared: &Shared,
    instances: &mut Instances,
    txn: &Txn,
    change: &Change,
    forward: bool,
    event: &Event,
) -> Result<Option<Event>, Fault> {
    let mut event = event.clone();
    for step in way(change, forward) {
        match event_step(shared, instances, txn, step, forward, &event)? {
            Some(converted) => event = converted,
            None => return Ok(None),
        }
    }
    Ok(Some(event))
}

fn event_step(
    shared: &Shared,
    instances: &mut Instances,
    txn: &Txn,
    step: &Step,
    forward: bool,
    event: &Event,
) -> Result<Option<Event>, Fault> {
    let newer = txn.newer(step);
    let Some(older) = shared.code.version(txn.older(step)) else {
        return Ok(Some(event.clone()));
    };
    let result = instances
        .get(newer)?
        .convert_event(txn.heading(forward), &older.vsn_text, event);
    if matches!(result, Err(Fault::Trap(_))) {
        instances.discard(newer);
    }
    result
}

/// A step as people read it.
fn hop(shared: &Shared, step: &Step, forward: bool) -> String {
    let vsn = |version| {
        let version = shared.code.version(version);
        version.map_or_else(|| "?".to_owned(), |v| v.vsn.to_string())
    };
    let (a, b) = (vsn(step.from), vsn(step.to));
    if forward {
        format!("hop {a} to {b}")
    } else {
        format!("hop {b} back to {a}")
    }
}
