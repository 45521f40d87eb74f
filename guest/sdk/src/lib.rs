//! Write actors that Midflight can patch while they run. An actor is a type that implements [`GenServer`]; [`export!`]
//! makes its crate a module. The SDK turns bytes into the actor's own types and back, and collects effects: it holds no
//! state of its own between calls and does nothing but what the contract (`runtime/wit/actor.wit`) says.
//!
//! Read in this order: [`GenServer`], [`Cx`], [`Stable`], then [`Change`] for what happens in a patch.
//!
//! ```
//! use midflight_guest::{Cx, GenServer, NoArgs, ReplyTo, message};
//!
//! #[message]
//! pub enum Cast { Increment }
//! #[message]
//! pub enum Call { GetCount }
//!
//! struct Counter;
//!
//! impl GenServer for Counter {
//!     type State = u64;
//!     type Args = NoArgs;
//!     type Call = Call;
//!     type Reply = u64;
//!     type Cast = Cast;
//!
//!     fn init(_: &mut Cx, _: NoArgs) -> Result<u64, String> {
//!         Ok(0)
//!     }
//!     fn handle_cast(_: &mut Cx, count: &mut u64, Cast::Increment: Cast) -> Result<(), String> {
//!         *count += 1;
//!         Ok(())
//!     }
//!     fn handle_call(_: &mut Cx, count: &mut u64, Call::GetCount: Call, _: ReplyTo) -> Result<Option<u64>, String> {
//!         Ok(Some(*count))
//!     }
//! }
//!
//! midflight_guest::export!(Counter);
//! ```

// The attributes name `::midflight_guest`; so they work in this crate's own tests too.
#[cfg(test)]
extern crate self as midflight_guest;

mod actor;
pub mod bindings;
mod change;
mod codec;
mod cx;
mod event;
mod host;
mod module;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
mod stable;

pub use actor::GenServer;
pub use change::{Change, Downgraded, OldState};
pub use codec::{Body, Json, Message, NoArgs, Raw};
pub use cx::{Cx, Spawn};
pub use event::{Active, Dest, Id, Pid, ReplyTo, RequestError, Response, Socket, SocketEvent};
pub use host::Level;
pub use midflight_guest_macros::{Stable, message, state};
pub use module::Module;
pub use stable::Stable;

/// The contract's own records, for `convert_event` and `redeliver`.
pub use midflight_contract as wit;
pub use midflight_contract::{Direction, Event};
/// The serde that `#[state]` and `#[message]` derive with.
pub use serde;
/// JSON values, for arguments and `extra` whose shape is not fixed.
pub use serde_json;

/// Makes this crate a module whose actors are `$actor`. Once per crate, at its root.
#[macro_export]
macro_rules! export {
    ($actor:ty) => {
        const _: () = {
            #[allow(dead_code)]
            type Exported = $crate::Module<$actor>;
            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code)]
            const _: () = {
        $crate::bindings::export!(Exported with_types_in $crate::bindings);
            };
        };
    };
}
