//! OTP's `apply`: a function of a module, called once on the node by a patch, outside any actor. Before the point of no
//! return it is a check, and what it asks for is not done; after resume it may send, cast and exit, when it ends well.

use std::sync::{Arc, atomic::Ordering};

use midflight_patch::ModuleName;

use super::core::Core;
use crate::{
    Error,
    actor::Item,
    bindings::{Cx, Dest, Effect, Envelope, Event},
    code::Version,
    effects, exits,
    instance::Instance,
    measure::Stamp,
    node::{Shared, Undelivered},
};

/// A call of a module's `apply`.
#[derive(Debug, Clone)]
pub struct Apply {
    /// Whose.
    pub module: ModuleName,
    /// What it gets as `name`.
    pub function: String,
    /// What it gets as `args`, as JSON.
    pub args: Vec<u8>,
}

impl Apply {
    /// For people.
    pub(super) fn text(&self) -> String {
        format!("apply of {} in module {}", self.function, self.module)
    }
}

impl Core {
    /// The calls that are checks, by the code that runs, or is added.
    pub(super) fn check_applies(&self) -> Result<(), Error> {
        for apply in &self.order.before {
            let version = self.version_for(apply);
            let version = version.ok_or_else(|| Error::NoModule(apply.module.clone()))?;
            call(&self.shared, &version, apply).map_err(|reason| Error::Action {
                what: apply.text(),
                reason,
                held: None,
            })?;
        }
        Ok(())
    }

    /// By the code that is current now.
    pub(super) fn apply(&self, apply: &Apply) -> Result<(), String> {
        let version = self.version_for(apply).ok_or("its module is not loaded")?;
        let effects = call(&self.shared, &version, apply)?;
        release(&self.shared, &version, effects);
        Ok(())
    }

    fn version_for(&self, apply: &Apply) -> Option<Arc<Version>> {
        let code = &self.shared.code;
        if let Some(module) = code.module_named(apply.module.as_ref()) {
            return code.version(module.current.load(Ordering::SeqCst));
        }
        let added = self.txn.changes.iter().find(|c| c.name == apply.module)?;
        code.version(added.to)
    }
}

fn call(
    shared: &Arc<Shared>,
    version: &Arc<Version>,
    apply: &Apply,
) -> Result<Vec<Effect>, String> {
    let cx = Cx {
        me: 0,
        wall: Shared::wall(),
        mono: shared.mono(),
        seed: Shared::wall(),
        id_base: 0,
    };
    let mut instance = Instance::new(shared, version).map_err(|f| f.reason().to_owned())?;
    let called = instance.apply(cx, &apply.function, &apply.args);
    for pid in instance.door().reserved(0) {
        shared.table.release(pid);
    }
    let effects = called.map_err(|fault| fault.reason().to_owned())?;
    let allowed = |e: &Effect| matches!(e, Effect::Send(_) | Effect::Cast(_) | Effect::Exit(_));
    if !effects.iter().all(allowed) {
        return Err("it asked for something else than send, cast and exit".into());
    }
    effects::check(shared, 0, None, &effects, &[])?;
    Ok(effects)
}

/// Sent by nobody.
fn release(shared: &Shared, version: &Version, effects: Vec<Effect>) {
    for effect in effects {
        let (to, body) = match effect {
            Effect::Send(m) => (m.to, Event::Info(m.body)),
            Effect::Cast(m) => (m.to, Event::Cast(m.body)),
            Effect::Exit(signal) => {
                shared.exit(signal.to, &signal.reason, exits::SYSTEM);
                continue;
            }
            _ => continue,
        };
        let item = Item {
            envelope: Envelope { sender: None, body },
            stamp: version.index,
            measured: Stamp::default(),
            window: None,
        };
        let to = match to {
            Dest::Pid(pid) => Some(pid),
            Dest::Name(name) => shared.names.whereis(&name),
        };
        match to {
            Some(pid) => shared.send(pid, item),
            None => shared.bounce(item, Undelivered::Nobody),
        }
    }
}
