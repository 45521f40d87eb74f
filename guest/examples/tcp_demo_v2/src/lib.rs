//! The TCP demo of the article, version 2.0.0: it answers each line in upper case. A line may arrive in pieces, so a
//! connection keeps what is not a line yet. On the way down that goes back into the mailbox, and version 1 echoes it:
//! no byte is lost.

use api::tcp_demo::{Call, Reply};
use midflight_guest::serde::{Deserialize, Serialize};
use midflight_guest::{
    Active, Change, Cx, Downgraded, GenServer, Level, OldState, ReplyTo, Socket, SocketEvent,
    Spawn, state,
};

/// A line may be this long; a longer one closes its connection, so that no peer can fill a state.
const LINE: usize = 16 * 1024;

#[state]
enum State {
    Listener { port: u16, socket: Option<Socket> },
    Connection { socket: Socket, buffer: Vec<u8> },
}

/// The state as version 1.0.0 has it.
mod v1 {
    use midflight_guest::{Socket, state};

    #[state]
    pub enum State {
        Listener { port: u16, socket: Option<Socket> },
        Connection { socket: Socket },
    }
}

/// `{"port": 7002}` from the release, `{"socket": 5}` from the listener.
#[derive(Serialize, Deserialize)]
#[serde(crate = "midflight_guest::serde", rename_all = "snake_case")]
enum Args {
    Port(u16),
    Socket(Socket),
}

struct TcpDemo;

impl GenServer for TcpDemo {
    type State = State;
    type Args = Args;
    type Call = Call;
    type Reply = Reply;
    type Cast = ();

    fn init(cx: &mut Cx, args: Args) -> Result<State, String> {
        match args {
            Args::Port(port) => {
                cx.listen(port);
                Ok(State::Listener { port, socket: None })
            }
            Args::Socket(socket) => {
                cx.set_active(socket, Active::Always);
                Ok(State::Connection {
                    socket,
                    buffer: Vec::new(),
                })
            }
        }
    }

    fn handle_call(
        _: &mut Cx,
        state: &mut State,
        Call::Port: Call,
        _: ReplyTo,
    ) -> Result<Option<Reply>, String> {
        Ok(Some(match state {
            State::Listener {
                port,
                socket: Some(_),
            } => Some(*port),
            _ => None,
        }))
    }

    fn handle_socket(cx: &mut Cx, state: &mut State, event: SocketEvent<'_>) -> Result<(), String> {
        match event {
            SocketEvent::Listening { socket, port, .. } => {
                cx.log(Level::Info, &format!("Listening on {port}..."));
                *state = State::Listener {
                    port,
                    socket: Some(socket),
                };
            }
            SocketEvent::ListenFailed { port, reason, .. } => {
                cx.stop(&format!("cannot listen on {port}: {reason}"))
            }
            SocketEvent::Accepted { socket, .. } => {
                let connection = cx.spawn(Spawn::new("tcp_demo", Args::Socket(socket)))?;
                cx.give(socket, connection);
            }
            SocketEvent::Data { bytes, .. } => {
                if let State::Connection { socket, buffer } = state {
                    shout(cx, *socket, buffer, bytes);
                }
            }
            SocketEvent::Passive { .. }
            | SocketEvent::Connected { .. }
            | SocketEvent::ConnectFailed { .. } => {}
            SocketEvent::Closed { .. } => cx.stop("normal"),
        }
        Ok(())
    }

    fn code_change(change: &mut Change<'_>, old: OldState<'_>) -> Result<State, String> {
        match change.vsn() {
            "1.0.0" => Ok(match old.decode()? {
                v1::State::Listener { port, socket } => State::Listener { port, socket },
                v1::State::Connection { socket } => State::Connection {
                    socket,
                    buffer: Vec::new(),
                },
            }),
            _ => old.decode(),
        }
    }

    fn code_change_down(change: &mut Change<'_>, state: State) -> Result<Downgraded, String> {
        match (change.vsn(), state) {
            ("1.0.0", State::Listener { port, socket }) => {
                Downgraded::to(&v1::State::Listener { port, socket })
            }
            ("1.0.0", State::Connection { socket, buffer }) => {
                if !buffer.is_empty() {
                    change.redeliver_data(socket, buffer);
                }
                Downgraded::to(&v1::State::Connection { socket })
            }
            (_, state) => Downgraded::to(&state),
        }
    }
}

/// Writes every whole line in upper case and keeps the rest.
fn shout(cx: &mut Cx, socket: Socket, buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(bytes);
    let whole = buffer
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    if whole > 0 {
        let rest = buffer.split_off(whole);
        let lines = std::mem::replace(buffer, rest);
        cx.write(socket, upper(lines));
    }
    if buffer.len() > LINE {
        cx.close(socket);
        // The peer's fault: it must not look like this code's.
        cx.stop("normal");
    }
}

/// Upper case of text; of bytes that are not text, only the ASCII letters.
fn upper(lines: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(lines) {
        Ok(text) => text.to_uppercase().into_bytes(),
        Err(error) => error.into_bytes().to_ascii_uppercase(),
    }
}

midflight_guest::export!(TcpDemo);

#[cfg(test)]
mod tests;
