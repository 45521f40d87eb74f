//! The contract of `wit/actor.wit` as Rust types, generated. Payloads are moved, never copied, between mailboxes and
//! these types, so the generated ones are the runtime's own.
#![allow(missing_docs)] // documented in wit/actor.wit

wasmtime::component::bindgen!({
    path: "wit",
    world: "gen-server",
    imports: { default: trappable },
    additional_derives: [PartialEq, Clone],
});

pub use midflight::actor::host::{Host, Level};
pub use midflight::actor::types::*;
