//! The TCP demo of the article, version 1.0.0: it echoes whatever arrives, as it arrives. One actor listens; each
//! connection gets an actor of its own, of the same module, which owns the socket.

use api::tcp_demo::{Call, Reply};
use midflight_guest::serde::{Deserialize, Serialize};
use midflight_guest::{Active, Cx, GenServer, Level, ReplyTo, Socket, SocketEvent, Spawn, state};

#[state]
enum State {
    Listener { port: u16, socket: Option<Socket> },
    Connection { socket: Socket },
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
                Ok(State::Connection { socket })
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
            SocketEvent::Data { socket, bytes } => cx.write(socket, bytes),
            SocketEvent::Passive { .. }
            | SocketEvent::Connected { .. }
            | SocketEvent::ConnectFailed { .. } => {}
            SocketEvent::Closed { .. } => cx.stop("normal"),
        }
        Ok(())
    }
}

midflight_guest::export!(TcpDemo);
