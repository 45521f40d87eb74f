//! What the tests of this crate share.
#![allow(dead_code)]

pub mod corpus;
pub mod servers;
pub mod ssh_g;
pub mod world;
