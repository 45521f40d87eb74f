//! `ssh_config`: what the files of a user and a machine say about one destination.
//!
//! The files are read once; a [`Destination`](crate::Destination) is then resolved against them as often as there are
//! hosts. It promises the values that `ssh -G` prints, for every keyword that has a meaning here, and refuses by name what
//! it does not follow. It opens no connection and looks no name up.

mod resolved;

pub use resolved::{
    AddressFamily, Algorithms, Hop, HostKeyChecking, IdentityAgent, Proxy, Resolved,
};
