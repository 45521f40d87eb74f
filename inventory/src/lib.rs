//! Which nodes exist, how to reach them, and how to name a set of them.
//!
//! An [`Inventory`] is read by [`Inventory::load`] from native YAML files, Ansible's inventories and lists of hosts, asked for
//! hosts by pattern with [`Inventory::select`], and shown again with names folded by [`fold`] or [`fold_nodes`]. It promises that every
//! error names a file, a line and a column, and that input too large to be meant is refused before memory is spent on it.
//! It opens no connection and resolves no name; the only programs it runs are executable inventories.
//!
//! Read in this order: `sources` (which reader a source is for), `range` (the `[001:500]` syntax), `native` (the native
//! YAML, over the located tree of `document`), `ansible` (INI, YAML, programs), `lists`, `builder` (what makes a readable file a wrong
//! one), [`model`], `pattern`, `fold`.
#![forbid(unsafe_code)]

mod ansible;
mod builder;
mod chosen;
mod document;
mod error;
mod expand;
mod files;
mod fold;
mod graph;
mod input;
pub mod limits;
mod lists;
pub mod model;
mod native;
mod nodeset;
mod pattern;
mod place;
mod range;
mod reach;
mod relations;
mod sources;
mod suggest;
mod value;
mod vars;
mod words;

pub use error::Error;
pub use expand::expand;
pub use fold::{fold, fold_nodes, fold_to_string};
pub use input::{Input, Named};
pub use model::{Group, Host, Inventory, SealedVariable, Ssh, Transport};
pub use pattern::{narrow, with_lists};
pub use place::{Place, Position};
pub use suggest::close as close_to;
pub use value::Value;
