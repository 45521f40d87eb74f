//! What a node reads: a component, compiled and checked against the contract, and the lines of its journal. Apart from the other
//! targets because it brings the runtime with it.

use std::sync::{Mutex, PoisonError};

use midflight_agent::check_journal;
use midflight_patch::{Digest, ModuleName};
use midflight_runtime::{Config, Limits, Node};

/// Components that one node stages before another takes its place: what is compiled stays as long as the node lives.
const STAGED: usize = 200;

static NODE: Mutex<Option<(Node, usize)>> = Mutex::new(None);

/// A component, as a patch brings it to a node: compiled and linked, or refused.
pub fn stage(bytes: &[u8]) {
    let name = ModuleName::new("fuzz").expect("a module's name");
    let mut held = NODE.lock().unwrap_or_else(PoisonError::into_inner);
    let (node, staged) = match held.take() {
        Some((node, staged)) if staged < STAGED => (node, staged),
        _ => (start(), 0),
    };
    let accepted = node.stage(&name, &Digest::of(bytes), bytes).is_ok();
    *held = Some((node, staged + usize::from(accepted)));
}

fn start() -> Node {
    let limits = Limits {
        workers: 1,
        ..Limits::default()
    };
    let config = Config {
        limits,
        cache: None,
        address: [127, 0, 0, 1].into(),
    };
    Node::start(config).expect("a node starts")
}

/// The lines of a journal, as they are, and as they would be with digests that fit: then their order and their entries are all
/// that can be wrong with them. What is read adds up to a state, or is refused.
pub fn journal(bytes: &[u8]) {
    let _ = check_journal(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = check_journal(&sealed(text.lines()));
}

/// A journal of these entries; what is no JSON is left out.
pub fn sealed<'a>(entries: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut journal = Vec::new();
    let mut head = Digest::of(b"");
    let read = entries.filter(|entry| serde_json::from_str::<serde_json::Value>(entry).is_ok());
    for (at, entry) in read.enumerate() {
        let line = format!(
            r#"{{"seq":{},"time_ns":{at},"prev":"{head}","entry":{entry}"#,
            at + 1
        );
        head = Digest::of(line.as_bytes());
        journal.extend_from_slice(format!("{line},\"sum\":\"{head}\"}}\n").as_bytes());
    }
    journal
}
