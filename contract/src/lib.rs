//! The contract between the runtime and a module as Rust types, once for both sides, and the frames in which they
//! travel. The runtime and the guests' SDK both link this crate; `docs/frames.md` says the same for other languages.
//! It knows bytes and types: what the values mean, and what may be said when, is `docs/contract.md`.
//!
//! Read `types` (what is said), then `call` (which function takes and gives what), then `wire` (how it is written).
//! A decoder never panics, never reads past the frame, and never makes room for more than the frame can hold.
#![forbid(unsafe_code)]

#[macro_use]
mod macros;
mod call;
mod types;
mod wire;

pub use call::{
    Apply, BatchRoom, Changed, CodeChange, ConvertEvent, Describe, Effects, Handle, Init, Place,
    Steps, Terminate, put_code_change, put_handle,
};
pub use types::*;
pub use wire::{FrameError, Reader, VERSION, Wire, decode, encode};
