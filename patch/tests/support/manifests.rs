//! Manifests without components behind them, for tests of what they say.

use midflight_patch::plan::Direction;
use midflight_patch::tree::{Application, Child, Shutdown, Supervisor, Worker};
use midflight_patch::{
    Digest, Manifest, ModuleEntry, ModuleName, SCHEMA, Update, Vsn, VsnPattern, WORLD,
};
use serde_json::{Value, json};

pub fn vsn(text: &str) -> Vsn {
    Vsn::new(text).unwrap()
}

pub fn pattern(text: &str) -> VsnPattern {
    VsnPattern::new(text).unwrap()
}

pub fn name(text: &str) -> ModuleName {
    ModuleName::new(text).unwrap()
}

pub fn module(module: &str, from: Option<&str>, to: &str) -> ModuleEntry {
    ModuleEntry {
        name: name(module),
        vsn: vsn(to),
        from: from.map(pattern),
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
        from: from.map(pattern),
        to: vsn(to),
        world: WORLD.to_owned(),
        modules,
        start: Vec::new(),
        applications: Vec::new(),
        listen: None,
        connect: None,
        direction: Direction::Up,
        instructions: Vec::new(),
        relup: None,
    }
}

/// An application with one worker a module.
pub fn application(application: &str, modules: &[&str], depends: &[&str]) -> Application {
    let worker = |module: &&str| {
        Child::Worker(Worker {
            name: (*module).to_owned(),
            module: name(module),
            args: Value::Null,
            count: 1,
            restart: Default::default(),
            shutdown: Shutdown::default(),
        })
    };
    Application {
        name: application.to_owned(),
        vsn: vsn("1"),
        depends: depends.iter().map(|name| (*name).to_owned()).collect(),
        config: json!({"vat": 7, "region": "eu"}),
        modules: modules.iter().map(|module| name(module)).collect(),
        supervisor: Supervisor {
            name: format!("{application}_sup"),
            children: modules.iter().map(worker).collect(),
            ..Supervisor::default()
        },
    }
}
