//! What an operator may order, as blocking functions over the agent: admit an upgrade, confirm it, roll it back. They come
//! one at a time, and each promise is in the journal before it is kept.

mod admit;
mod confirm;
mod rollback;
mod trees;

pub use admit::{Admitted, Params};
pub use rollback::RollbackParams;
