//! The one trait an actor implements. Its words are those of OTP's gen_server, and each default does what a gen_server
//! would do: refuse a call or cast that nobody handles, and note other events and go on.

use crate::change::{Change, Downgraded, OldState};
use crate::codec::{Body, Json, Message};
use crate::cx::Cx;
use crate::event::{Id, Pid, ReplyTo, Response, SocketEvent};
use crate::host::Level;
use crate::stable::Stable;
use crate::{Direction, Event};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An actor: a state, and what each event does to it.
///
/// A handler gets its state by reference. When it returns an error, traps, or takes too long, the state is what it was
/// before the event, no effect is released, and the actor ends with that reason. Handlers must depend on nothing but
/// their arguments: no statics, no `HashMap` order. The same event may be run again.
pub trait GenServer: Sized + 'static {
    /// What the runtime keeps between events.
    type State: Serialize + DeserializeOwned + Stable;
    /// What `init` gets: JSON from a release's manifest or from whoever spawns. [`NoArgs`](crate::NoArgs) takes anything.
    type Args: DeserializeOwned;
    /// What can be asked.
    type Call: Message;
    /// What a call is answered with.
    type Reply: Message;
    /// What can be told.
    type Cast: Message;

    /// The first state. An error ends the actor before it lived.
    fn init(cx: &mut Cx, args: Self::Args) -> Result<Self::State, String>;

    /// Answers now with `Some`, or with `None` later: keep `from`, then [`Cx::reply`].
    fn handle_call(
        cx: &mut Cx,
        state: &mut Self::State,
        call: Self::Call,
        from: ReplyTo,
    ) -> Result<Option<Self::Reply>, String> {
        let _ = (cx, state, call, from);
        Err("this actor answers no calls".to_owned())
    }

    /// A message from [`Cx::cast`].
    fn handle_cast(cx: &mut Cx, state: &mut Self::State, cast: Self::Cast) -> Result<(), String> {
        let _ = (cx, state, cast);
        Err("this actor takes no casts".to_owned())
    }

    /// A message from [`Cx::send`]. It may come from anyone, so it is decoded here.
    fn handle_info(cx: &mut Cx, state: &mut Self::State, info: Body<'_>) -> Result<(), String> {
        let _ = (state, info);
        unexpected(cx, "a message")
    }

    /// A timer that ran out, and the body it was started with.
    fn handle_timer(
        cx: &mut Cx,
        state: &mut Self::State,
        id: Id,
        body: Body<'_>,
    ) -> Result<(), String> {
        let _ = (state, id, body);
        unexpected(cx, "a timer")
    }

    /// What came of a [`Cx::request`].
    fn handle_response(
        cx: &mut Cx,
        state: &mut Self::State,
        response: Response<'_>,
    ) -> Result<(), String> {
        let _ = (state, response);
        unexpected(cx, "a response")
    }

    /// A monitored actor ended.
    fn handle_down(
        cx: &mut Cx,
        state: &mut Self::State,
        pid: Pid,
        reason: &str,
    ) -> Result<(), String> {
        let _ = (state, pid, reason);
        unexpected(cx, "a down")
    }

    /// A linked actor ended, or an exit signal came, and this actor traps exits.
    fn handle_exit(
        cx: &mut Cx,
        state: &mut Self::State,
        pid: Pid,
        reason: &str,
    ) -> Result<(), String> {
        let _ = (state, pid, reason);
        unexpected(cx, "an exit")
    }

    /// Something happened at a listener or connection.
    fn handle_socket(
        cx: &mut Cx,
        state: &mut Self::State,
        event: SocketEvent<'_>,
    ) -> Result<(), String> {
        let _ = (state, event);
        unexpected(cx, "a socket event")
    }

    /// The answer to [`Cx::register`]: who holds the name now, perhaps another.
    fn handle_registered(
        cx: &mut Cx,
        state: &mut Self::State,
        name: &str,
        holder: Pid,
    ) -> Result<(), String> {
        let _ = (cx, state, name, holder);
        Ok(())
    }

    /// The state of another version of this module, made this version's. The default expects the same shape.
    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<Self::State, String> {
        let _ = change;
        old.decode()
    }

    /// This version's state, made that of [`Change::vsn`]. The default hands on the same shape.
    fn code_change_down(change: &mut Change<'_>, state: Self::State) -> Result<Downgraded, String> {
        let _ = change;
        Downgraded::to(&state)
    }

    /// An event sent by code of the other side of a patch. None: it cannot be expressed here and is dead-lettered. The
    /// default passes it on, which is right while messages only grow by new variants at the end.
    fn convert_event(
        direction: Direction,
        vsn: &str,
        event: Event,
    ) -> Result<Option<Event>, String> {
        let _ = (direction, vsn);
        Ok(Some(event))
    }

    /// Runs once when the module is loaded; an error refuses the patch.
    fn on_load(config: Json<'_>) -> Result<(), String> {
        let _ = config;
        Ok(())
    }

    /// Runs once on a node, outside any actor, when a patch's `apply` says so, or, as `config_change`, when a patch changes the
    /// application's configuration. Only messages and exit signals are released; an error fails the patch.
    fn apply(cx: &mut Cx, name: &str, args: Json<'_>) -> Result<(), String> {
        let _ = (cx, args);
        match name {
            "config_change" => Ok(()),
            _ => Err(format!("this module has no function {name}")),
        }
    }

    /// The actor ends. Only messages, replies and writes are released.
    fn terminate(cx: &mut Cx, reason: &str, state: &Self::State) {
        let _ = (cx, reason, state);
    }
}

fn unexpected(cx: &mut Cx, what: &str) -> Result<(), String> {
    cx.log(
        Level::Warn,
        &format!("{what} that this actor does not handle"),
    );
    Ok(())
}
