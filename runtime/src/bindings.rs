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

impl Event {
    /// Bytes of payload, for the bound on messages.
    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Event::Call(r) => r.body.len(),
            Event::Cast(b) | Event::Info(b) => b.len(),
            Event::Timer(t) => t.body.len(),
            Event::Response(r) => r.cookie.len() + r.outcome.as_ref().map_or(0, Vec::len),
            Event::Down(d) => d.reason.len(),
            Event::Socket(SocketEvent::Data(d)) => d.bytes.len(),
            Event::Socket(_) => 0,
            Event::Registered(r) => r.name.len(),
        }
    }
}
