//! `midflight-agent dial-stdio`: a controller's connection over SSH where sockets cannot be forwarded. It copies between its
//! own stdin and stdout and the agent's Unix socket until either side ends, and does nothing else: it looks at no byte,
//! holds no more than a pipe does, and takes nothing from the other side but bytes, so that it can stand as a
//! forced command (`restrict,command="midflight-agent dial-stdio"` in authorized_keys(5)).

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use clap::Args;

use crate::{
    config::{Config, DEFAULT_PATH, DEFAULT_SOCKET},
    error::Error,
};

/// Bytes that are on their way in each direction: what a pipe holds.
const CHUNK: usize = 1 << 16;

/// Connect stdin and stdout with the agent of this node; for controllers that come over SSH.
#[derive(Args, Debug)]
pub struct DialArgs {
    /// The configuration file of the agent (YAML). Where it cannot be read: the socket /run/midflight/agent.sock.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// The agent's socket, instead of what the configuration says.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Copies both ways until the agent ends the connection or the other side stops reading. The end of stdin is passed on to the
/// agent, whose answer may still come.
///
/// # Errors
/// [`Error::NoAgent`] when nobody listens, [`Error::Dropped`] when the agent does not take this user, [`Error::Config`], and
/// [`Error::Io`] when the connection breaks.
pub fn run(args: &DialArgs) -> Result<(), Error> {
    let path = socket_of(args)?;
    let agent = UnixStream::connect(&path).map_err(|source| Error::NoAgent {
        path: path.clone(),
        source: source.into(),
    })?;
    let broken = || Error::io("talk to the agent at", &path);
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let input = descriptor(stdin.as_fd()).map_err(broken())?;
    let output = descriptor(stdout.as_fd()).map_err(broken())?;
    let sending = agent.try_clone().map_err(broken())?;
    let said_all = Arc::new(AtomicBool::new(false));
    let ended = said_all.clone();
    // Owned by nobody: it may stand in a read of stdin for ever, and ends with the process.
    thread::spawn(move || {
        let _ = copy(&input, &sending); // a broken connection shows in the other direction
        ended.store(true, Relaxed);
        let _ = sending.shutdown(Shutdown::Write);
    });
    match copy(&agent, &output) {
        // An agent speaks first: HTTP/2 begins with its settings.
        Ok(0) if !said_all.load(Relaxed) => Err(Error::Dropped { path }),
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(broken()(error)),
        _ => Ok(()),
    }
}

/// Bytes until the end; gives their number. Not `io::copy`, which splices on Linux: splice(2) holds the lock of a pipe while it waits
/// for the socket at the other end, and whoever looks into the pipe meanwhile waits too, also with O_NONBLOCK as sshd does.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => return Ok(total),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        to.write_all(&chunk[..read])?;
        total += read as u64; // usize has 64 bits at most
    }
}

/// Without the buffers of the standard library, which would hold back what is no whole line.
fn descriptor(of: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(of.try_clone_to_owned()?))
}

fn socket_of(args: &DialArgs) -> Result<PathBuf, Error> {
    if let Some(socket) = &args.socket {
        return Ok(socket.clone());
    }
    let unix = match Config::read(&args.config) {
        Ok(config) => config.listen.unix.map(|unix| unix.path),
        // The user behind an SSH key may often read nothing of the agent's.
        Err(Error::Io { .. }) if args.config == Path::new(DEFAULT_PATH) => {
            Some(DEFAULT_SOCKET.into())
        }
        Err(error) => return Err(error),
    };
    unix.ok_or_else(|| Error::NoSocket {
        path: args.config.clone(),
    })
}
