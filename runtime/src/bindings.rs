//! The contract with modules: the functions of `wit/actor.wit`, generated, and the types of the crate `contract`, which
//! travel between them as frames. Payloads are moved, never copied, between mailboxes and these types, so they are the
//! runtime's own.
#![allow(missing_docs)] // documented in wit/actor.wit

wasmtime::component::bindgen!({
    path: "wit",
    world: "gen-server",
    imports: { default: trappable },
    additional_derives: [PartialEq, Clone],
});

pub use midflight::actor::host::{Host, Level};
pub use midflight_contract::*;

/// Read straight into what an actor keeps.
pub type Migrated = midflight_contract::Migrated<std::sync::Arc<[u8]>>;
