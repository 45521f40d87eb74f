//! A node for tests: hermetic, with modules from `guest/out`, which `make guests` builds.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use midflight_patch::{
    Application, Digest, ModuleName, Release, ReleaseModule, Restart, Start, Vsn, component,
};
use midflight_runtime::{
    ActorRef, Config, Direction, Limits, Node, Order,
    upgrade::{ModuleOrder, Probation},
};
pub use serde_json::{Value, json};

pub const SOON: Duration = Duration::from_secs(10);

pub fn name(text: &str) -> ModuleName {
    ModuleName::new(text).unwrap()
}

pub fn vsn(text: &str) -> Vsn {
    Vsn::new(text).unwrap()
}

pub fn actor(text: &str) -> ActorRef {
    ActorRef::Name(text.to_owned())
}

/// The component of an example, and its digest.
pub fn component(file: &str) -> (Digest, Arc<[u8]>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../guest/out")
        .join(format!("{file}.wasm"));
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `make guests` first", path.display()));
    let component = component::encode(&name("m"), file, &bytes).unwrap();
    (Digest::of(&component), component.into())
}

/// Where compiled code is kept between tests.
pub fn code_cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("code")
}

/// One module of a release and the actors that run it.
pub struct Part {
    pub module: &'static str,
    pub file: &'static str,
    pub actors: u32,
    pub args: Value,
    pub restart: Restart,
}

pub fn part(module: &'static str, file: &'static str, actors: u32) -> Part {
    Part {
        module,
        file,
        actors,
        args: Value::Null,
        restart: Restart::Temporary,
    }
}

pub fn limits() -> Limits {
    Limits {
        hermetic: true,
        handler_ms: 200,
        ..Limits::default()
    }
}

/// Boots these as release 1.0.0.
pub fn try_boot(limits: Limits, parts: &[Part]) -> Result<Node, midflight_runtime::Error> {
    try_boot_apart(limits, parts, None)
}

/// The same, with one of the modules in an application of its own.
pub fn try_boot_apart(
    limits: Limits,
    parts: &[Part],
    apart: Option<&str>,
) -> Result<Node, midflight_runtime::Error> {
    static LOG: Once = Once::new();
    LOG.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .init();
    });
    let cache = code_cache();
    let node = Node::start(Config {
        limits,
        cache: Some(cache),
        address: [127, 0, 0, 1].into(),
    })
    .unwrap();
    let mut release = Release {
        name: "test".into(),
        vsn: vsn("1.0.0"),
        modules: BTreeMap::new(),
        start: Vec::new(),
        applications: apart.map(application).into_iter().collect(),
        listen: (0..=0).collect(),
        connect: vec![
            "127.0.0.1:*".parse().unwrap(),
            "*.invalid:*".parse().unwrap(),
        ],
    };
    let mut blobs = BTreeMap::new();
    for part in parts {
        let (blob, bytes) = component(part.file);
        let module = ReleaseModule {
            vsn: vsn("1.0.0"),
            blob,
            size: bytes.len() as u64,
            config: Value::Null,
        };
        release.modules.insert(name(part.module), module);
        blobs.insert(blob, bytes);
        if part.actors > 0 {
            release.start.push(Start {
                name: part.module.to_owned(),
                module: name(part.module),
                args: part.args.clone(),
                count: part.actors,
                restart: part.restart,
            });
        }
    }
    node.boot(&release, &blobs).map(|()| node)
}

fn application(module: &str) -> Application {
    Application {
        name: "apart".into(),
        vsn: vsn("1.0.0"),
        depends: Vec::new(),
        config: Value::Null,
        modules: vec![name(module)],
        supervisor: serde_json::from_value(json!({"name": "apart_top"})).unwrap(),
    }
}

/// The same, and it must succeed.
pub fn boot_with(limits: Limits, parts: &[Part]) -> Node {
    try_boot(limits, parts).unwrap()
}

pub fn boot(parts: &[Part]) -> Node {
    boot_with(limits(), parts)
}

/// A patch of one module.
pub fn change(
    module: &str,
    from: &str,
    to: &str,
    file: &str,
    extra: Value,
) -> (ModuleOrder, Digest, Arc<[u8]>) {
    let (blob, bytes) = component(file);
    let order = ModuleOrder {
        extra: extra.to_string().into_bytes(),
        ..ModuleOrder::new(name(module), vsn(from), vsn(to), blob)
    };
    (order, blob, bytes)
}

pub fn order(node: &Node, changes: Vec<(ModuleOrder, Digest, Arc<[u8]>)>) -> Order {
    let mut modules = Vec::new();
    for (module, blob, bytes) in changes {
        node.stage(&module.name, &blob, &bytes).unwrap();
        modules.push(module);
    }
    Order {
        listen: vec![0],
        pause_budget: Duration::from_secs(2),
        prepare_timeout: Duration::from_secs(20),
        ..Order::new(Direction::Up, modules)
    }
}

/// All phases up to probation.
pub fn upgrade(node: &Node, order: Order) -> Result<Probation, midflight_runtime::Error> {
    let (prepared, _) = node.begin(order)?.prepare()?;
    let (probation, _) = prepared.suspend()?.load()?.migrate()?.resume()?;
    Ok(probation)
}

/// Asks a probe.
pub fn ask(node: &Node, who: &str, body: Value) -> Value {
    try_ask(node, who, body).unwrap()
}

pub fn try_ask(node: &Node, who: &str, body: Value) -> Result<Value, midflight_runtime::Error> {
    let answer = node.call(&actor(who), body.to_string().into_bytes(), SOON)?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

pub fn tell(node: &Node, who: &str, body: Value) {
    node.cast(&actor(who), body.to_string().into_bytes())
        .unwrap();
}

/// Waits for a condition, for a time.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "it did not come to pass: {what}");
        std::thread::yield_now();
    }
}
