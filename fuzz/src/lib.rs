//! The bodies of the fuzz targets: `parsers` for what reads bytes by itself, `node` for what takes a node to read them. A target
//! passes its input on and does nothing else, so that ordinary tests run the same.

#[cfg(feature = "node")]
pub mod node;
mod parsers;

pub use parsers::*;
