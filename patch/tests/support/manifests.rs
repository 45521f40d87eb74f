//! Manifests without components behind them, for tests of what they say.

use midflight_patch::{Digest, Manifest, ModuleEntry, ModuleName, SCHEMA, Update, Vsn, WORLD};
use serde_json::{Value, json};

pub fn vsn(text: &str) -> Vsn {
    Vsn::new(text).unwrap()
}

pub fn name(text: &str) -> ModuleName {
    ModuleName::new(text).unwrap()
}

pub fn module(module: &str, from: Option<&str>, to: &str) -> ModuleEntry {
    ModuleEntry {
        name: name(module),
        vsn: vsn(to),
        from: from.map(vsn),
        update: Update::Advanced,
        extra: Value::Null,
        config: json!({"of": to}),
        blob: Digest::of(format!("{module} {to}").as_bytes()),
        size: 100,
    }
}

pub fn manifest(from: Option<&str>, to: &str, modules: Vec<ModuleEntry>) -> Manifest {
    Manifest {
        schema: SCHEMA,
        name: "demo".to_owned(),
        from: from.map(vsn),
        to: vsn(to),
        world: WORLD.to_owned(),
        modules,
        start: Vec::new(),
        applications: Vec::new(),
        listen: None,
        connect: None,
    }
}
