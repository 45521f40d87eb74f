//! The gateway: TCP clients speak a line protocol to it, and it asks the counters, the greeter and the pi server for
//! them. One actor listens; each connection gets an actor of its own, of the same module. It keeps no table of requests:
//! what an answer is for travels with the request, as its cookie.
//!
//! ```text
//! inc SEQ COUNTER     increments, then asks      ok SEQ COUNT
//! get SEQ COUNTER     asks                       ok SEQ COUNT
//! greet SEQ NAME      asks the actor `greeter`   ok SEQ LINE
//! pi SEQ              asks the actor `pi`        ok SEQ 3.14
//! ```
//!
//! SEQ is a number of the client's choice. A request that fails is answered `err SEQ REASON`, a line that is none of
//! these `err - REASON`. Requests may follow each other without waiting; answers come in order for one actor asked, in
//! any order across several.

mod line;

use api::{counter, greeter, pi};
use line::{Line, Request};
use midflight_guest::serde::{Deserialize, Serialize};
use midflight_guest::{
    Active, Cx, GenServer, Level, Message, Response, Socket, SocketEvent, Spawn, message, state,
};
use std::time::Duration;

/// Longer than any pause of a patch.
const PATIENCE: Duration = Duration::from_secs(120);
/// A longer line closes its connection.
const LINE: usize = 4096;

#[state]
enum State {
    Listener { port: u16, socket: Option<Socket> },
    Connection { socket: Socket, buffer: Vec<u8> },
}

/// `{"port": 7001}` from the release, `{"socket": 5}` from the listener.
#[derive(Serialize, Deserialize)]
#[serde(crate = "midflight_guest::serde", rename_all = "snake_case")]
enum Args {
    Port(u16),
    Socket(Socket),
}

/// Which request an answer is for. Append-only, like a message: a newer gateway may get it back.
#[message]
struct Cookie {
    seq: u64,
    asked: Asked,
}

#[message]
enum Asked {
    Counter,
    Greeter,
    Pi,
}

struct Gateway;

impl GenServer for Gateway {
    type State = State;
    type Args = Args;
    type Call = ();
    type Reply = ();
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
                let connection = cx.spawn(Spawn::new("gateway", Args::Socket(socket)))?;
                cx.give(socket, connection);
            }
            SocketEvent::Data { bytes, .. } => {
                if let State::Connection { socket, buffer } = state {
                    buffer.extend_from_slice(bytes);
                    lines(cx, *socket, buffer)?;
                }
            }
            SocketEvent::Passive { .. }
            | SocketEvent::Connected { .. }
            | SocketEvent::ConnectFailed { .. } => {}
            // Answers still to come find nobody, which is right: nobody could read them.
            SocketEvent::Closed { .. } => cx.stop("normal"),
        }
        Ok(())
    }

    fn handle_response(
        cx: &mut Cx,
        state: &mut State,
        response: Response<'_>,
    ) -> Result<(), String> {
        let State::Connection { socket, .. } = state else {
            return Ok(());
        };
        let Cookie { seq, asked } = response.cookie.decode()?;
        let outcome = match asked {
            Asked::Counter => text(&response, |counter::v1::Reply::Count(count)| {
                count.to_string()
            }),
            Asked::Greeter => text(&response, |line: greeter::Reply| line),
            Asked::Pi => text(&response, |value: pi::Reply| value.to_string()),
        };
        cx.write(*socket, answer(seq, outcome));
        Ok(())
    }
}

/// The answer in words, or why there is none; an answer that this gateway cannot read is the asker's failure alone.
fn text<R: Message>(
    response: &Response<'_>,
    say: impl FnOnce(R) -> String,
) -> Result<String, String> {
    response
        .reply::<R>()?
        .map(say)
        .map_err(|error| error.to_string())
}

fn answer(seq: u64, outcome: Result<String, String>) -> String {
    match outcome {
        Ok(text) => format!("ok {seq} {}\n", text.replace('\n', " ")),
        Err(reason) => format!("err {seq} {}\n", reason.replace('\n', " ")),
    }
}

/// Asks for every whole line and keeps the rest.
fn lines(cx: &mut Cx, socket: Socket, buffer: &mut Vec<u8>) -> Result<(), String> {
    let mut done = 0;
    while let Some(length) = buffer[done..].iter().position(|byte| *byte == b'\n') {
        match line::parse(&buffer[done..done + length]) {
            Ok(line) => ask(cx, line)?,
            Err(reason) => cx.write(socket, format!("err - {reason}\n")),
        }
        done += length + 1;
    }
    buffer.drain(..done);
    if buffer.len() > LINE {
        cx.write(socket, "err - the line is too long\n");
        cx.close(socket);
        // The peer's fault: it must not look like this code's.
        cx.stop("normal");
    }
    Ok(())
}

fn ask(cx: &mut Cx, Line { seq, request }: Line<'_>) -> Result<(), String> {
    let cookie = |asked| Cookie { seq, asked };
    match request {
        Request::Inc(name) => {
            cx.cast(name, &counter::v1::Cast::Increment)?;
            cx.request(
                name,
                &counter::v1::Call::GetCount,
                &cookie(Asked::Counter),
                PATIENCE,
            )?;
        }
        Request::Get(name) => {
            cx.request(
                name,
                &counter::v1::Call::GetCount,
                &cookie(Asked::Counter),
                PATIENCE,
            )?;
        }
        Request::Greet(name) => {
            let call = greeter::Call::Greet {
                name: name.to_owned(),
            };
            cx.request("greeter", &call, &cookie(Asked::Greeter), PATIENCE)?;
        }
        Request::Pi => {
            cx.request("pi", &pi::Call::Get, &cookie(Asked::Pi), PATIENCE)?;
        }
    }
    Ok(())
}

midflight_guest::export!(Gateway);

#[cfg(test)]
mod tests;
