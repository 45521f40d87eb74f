//! A node with the benchmark's modules, and its driver.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use midflight_patch::{Digest, ModuleName, Release, ReleaseModule, Restart, Start, Vsn, component};
use midflight_runtime::{ActorRef, Config, Limits, Node};
use serde_json::Value;

use crate::Result;

/// For whatever may take long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn load(guests: &Path, file: &str) -> Result<(Digest, Arc<[u8]>)> {
    let path = guests.join(format!("{file}.wasm"));
    let bytes = std::fs::read(&path)
        .map_err(|e| format!("{}: {e}; `make guests` builds it", path.display()))?;
    let component = component::encode(&ModuleName::new("bench")?, file, &bytes)?;
    Ok((Digest::of(&component), component.into()))
}

/// A node that runs `bench`, version 1.0.0, and `bench_driver`, an actor of each.
pub(crate) fn boot(guests: &Path) -> Result<Node> {
    let limits = Limits {
        actors: 2_000_000,
        ..Limits::default()
    };
    let node = Node::start(Config {
        limits,
        cache: None,
        address: [127, 0, 0, 1].into(),
    })?;
    let mut release = Release {
        name: "bench".into(),
        vsn: Vsn::new("1.0.0")?,
        modules: BTreeMap::new(),
        start: Vec::new(),
        applications: Vec::new(),
        listen: Vec::new(),
        connect: Vec::new(),
    };
    let mut blobs = BTreeMap::new();
    for (name, file) in [("bench", "bench_v1"), ("bench_driver", "bench_driver")] {
        let (blob, bytes) = load(guests, file)?;
        let entry = ReleaseModule {
            vsn: Vsn::new("1.0.0")?,
            blob,
            size: bytes.len() as u64,
            config: Value::Null,
        };
        release.modules.insert(ModuleName::new(name)?, entry);
        blobs.insert(blob, bytes);
        release.start.push(Start {
            name: name.to_owned(),
            module: ModuleName::new(name)?,
            args: Value::Null,
            count: 1,
            restart: Restart::Temporary,
        });
    }
    node.boot(&release, &blobs)?;
    Ok(node)
}

/// Gives the driver a job and waits until it is done.
pub(crate) fn drive(node: &Node, job: &Value) -> Result<Value> {
    let driver = ActorRef::Name("bench_driver".to_owned());
    let answer = node.call(&driver, job.to_string().into_bytes(), PATIENCE)?;
    let answer: Value = serde_json::from_slice(&answer)?;
    match answer.get("error") {
        Some(error) => Err(format!("the driver answered {error}").into()),
        None => Ok(answer),
    }
}
