//! What an operator may order, as blocking functions over the agent: admit an upgrade, confirm it, roll it back. They come
//! one at a time, and each promise is in the journal before it is kept.

mod admit;
mod claims;
mod confirm;
mod contact;
mod releases;
mod rollback;
mod trees;

pub use admit::{Admitted, Params};
pub(crate) use confirm::ended_by;
pub(crate) use contact::probation;
pub use rollback::{PAUSE_BUDGET, RollbackParams};
