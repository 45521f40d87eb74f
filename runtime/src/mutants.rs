//! Faults that tests plant, to show that the tests would notice them. `mutant!(name)` is the constant `false`, and what
//! hangs on it is not compiled into anything, unless this crate is built with the feature `mutants`; then the fault named
//! by the variable `MIDFLIGHT_MUTANT` is in force. `docs/verification.md` lists them.

/// True: the fault of this name is in force.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

/// True: the fault of this name is in force.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::in_force(stringify!($name))
    };
}

#[cfg(feature = "mutants")]
pub(crate) fn in_force(name: &str) -> bool {
    use std::sync::OnceLock;

    static MUTANT: OnceLock<Option<String>> = OnceLock::new();
    let mutant = MUTANT.get_or_init(|| std::env::var("MIDFLIGHT_MUTANT").ok());
    mutant.as_deref() == Some(name)
}

/// `effects_released_early`: messages leave before anybody has looked whether all of the batch is good.
#[cfg(feature = "mutants")]
pub(crate) fn early(
    shared: &crate::node::Shared,
    pid: crate::table::Pid,
    mut batch: crate::bindings::Batch,
) -> crate::bindings::Batch {
    use crate::{
        actor::Item,
        bindings::{Dest, Effect, Event},
    };

    if mutant!(effects_released_early) {
        for step in &mut batch.steps {
            step.effects.retain(|effect| {
                let Effect::Cast(message) = effect else {
                    return true;
                };
                let to = match &message.to {
                    Dest::Pid(to) => Some(*to),
                    Dest::Name(name) => shared.names.whereis(name),
                };
                let mut item = Item::host(Event::Cast(message.body.clone()));
                item.envelope.sender = Some(pid);
                if let Some(to) = to {
                    shared.send(to, item);
                }
                false
            });
        }
    }
    batch
}
