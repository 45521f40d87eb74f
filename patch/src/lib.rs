//! Bundles: what an engineer signs and a node runs. Read [`manifest`] first (what a bundle says), then [`release`] (what
//! results on a node).
#![forbid(unsafe_code)]

pub mod canonical;
pub mod digest;
pub mod error;
pub mod limits;
pub mod manifest;
pub mod names;
pub mod release;

pub use digest::Digest;
pub use error::Error;
pub use manifest::{Manifest, ModuleEntry, Restart, Start, Update};
pub use names::{ModuleName, Vsn};
pub use release::{Release, ReleaseModule};
