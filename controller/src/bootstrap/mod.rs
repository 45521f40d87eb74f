//! Bringing agents to hosts that have an SSH server and nothing else. Read [`agents`] (the signed programs), [`place`] (where
//! things go on a host), [`template`] (its configuration), [`wanted`] (which files), [`probe`] (what is there already), [`steps`]
//! (what is to be done), [`scripts`] (how, in POSIX sh) and [`work`] (one host from beginning to end).
//!
//! It promises that a second run changes nothing, that signer files are written once and never again, that no agent which holds
//! actors is restarted unasked, and that no program which does not verify leaves this machine.

pub mod agents;
pub mod place;
pub mod probe;
pub mod scripts;
pub mod steps;
pub mod template;
pub mod trouble;
pub mod wanted;
pub mod work;
