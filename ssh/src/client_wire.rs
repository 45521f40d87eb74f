//! What lies under a connection: a TCP socket, the standard input and output of a `ProxyCommand`, or a channel of another
//! connection. Each ends with the connection above it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::task::AtomicWaker;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::client_handler::one_line;
use crate::config::{AddressFamily, Resolved};

/// Bytes both ways.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The next address is tried beside one that does not answer for so long (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// With `TCPKeepAlive`, the kernel asks after so much silence whether the peer is there.
const IDLE: Duration = Duration::from_secs(10);
/// Between two such questions; three without an answer end the connection.
const PROBE: Duration = Duration::from_secs(4);
/// Bytes read at once: packets of an idle connection are small, and each would otherwise be read in two parts.
const READ: usize = 8 << 10;

/// A TCP connection to the host of the configuration, and the address that answered.
pub(crate) async fn tcp(to: &Resolved) -> io::Result<(TcpStream, SocketAddr)> {
    let wanted = |address: &SocketAddr| match to.address_family {
        AddressFamily::Any => true,
        AddressFamily::Inet => address.is_ipv4(),
        AddressFamily::Inet6 => address.is_ipv6(),
    };
    let found = tokio::net::lookup_host((to.hostname.as_str(), to.port)).await?;
    let mut addresses = found.filter(wanted).collect::<Vec<_>>().into_iter();
    let mut dials = FuturesUnordered::new();
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} has no address of the AddressFamily", to.hostname),
    );
    let mut more = true;
    loop {
        if more {
            match addresses.next() {
                Some(address) => dials.push(one_tcp(to, address)),
                None if dials.is_empty() => return Err(last),
                None => {}
            }
        }
        let waiting = addresses.len() > 0;
        more = tokio::select! {
            Some(done) = dials.next() => match done {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    last = error;
                    true
                }
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if waiting => true,
        };
    }
}

async fn one_tcp(to: &Resolved, address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(from) = &to.bind_address {
        let mut found = tokio::net::lookup_host((from.as_str(), 0)).await?;
        let Some(from) = found.find(|from| from.is_ipv4() == address.is_ipv4()) else {
            return Err(io::Error::other(format!(
                "BindAddress {from} is of another family"
            )));
        };
        socket.bind(from)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    if to.tcp_keep_alive {
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, IDLE)?;
        sockopt::set_tcp_keepintvl(&stream, PROBE)?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
    }
    Ok((stream, address))
}

/// The command of a `ProxyCommand`, which ends when this is dropped.
pub(crate) struct Piped {
    input: ChildStdin,
    output: ChildStdout,
    /// Killed when it is dropped.
    _child: Child,
}

/// The last words on a command's standard error.
#[derive(Clone, Default)]
pub(crate) struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    /// Most bytes kept.
    const KEPT: usize = 1024;

    pub(crate) fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        one_line(&String::from_utf8_lossy(&kept))
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        let over = kept.len().saturating_sub(Self::KEPT);
        kept.drain(..over);
    }
}

/// Starts a command as `ssh` does: by the user's shell, which it replaces.
pub(crate) fn command(line: &str) -> io::Result<(Piped, LastWords)> {
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut child = Command::new(shell)
        .arg("-c")
        .arg(format!("exec {line}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let words = LastWords::default();
    let (Some(input), Some(output), Some(mut errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("no pipes"));
    };
    // Ends with the command, which ends with the connection.
    let kept = words.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok(some) = errors.read(&mut buffer).await
            && some > 0
        {
            kept.push(&buffer[..some]);
        }
    });
    let piped = Piped {
        input,
        output,
        _child: child,
    };
    Ok((piped, words))
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(context)
    }
}

/// The first words of a server that are not its version: a full one says "Exceeded MaxStartups" there.
#[derive(Clone, Default)]
pub(crate) struct Greeting(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    /// The version came, or too much else.
    over: bool,
}

impl Greeting {
    /// What came before a version, or instead of one; empty when a version came.
    pub(crate) fn words(&self) -> String {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.over {
            true => String::new(),
            false => one_line(&String::from_utf8_lossy(&heard.bytes)),
        }
    }

    fn hear(&self, bytes: &[u8]) -> bool {
        const MOST: usize = 1024;
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.bytes.extend_from_slice(bytes);
        let version = heard
            .bytes
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(b"SSH-"));
        heard.over = version || heard.bytes.len() > MOST;
        if heard.over {
            heard.bytes = Vec::new();
        }
        heard.over
    }
}

/// Ends a connection when it is dropped: its wire breaks, whatever waits for it. russh's own task notices nothing while it
/// waits for a key exchange.
pub(crate) struct Cut(Arc<Edge>);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cut.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }
}

#[derive(Default)]
struct Edge {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Edge {
    /// Fails when it is cut; wakes the task when it will be.
    fn look(&self, waker: &AtomicWaker, context: &Context<'_>) -> io::Result<()> {
        waker.register(context.waker());
        match self.cut.load(Ordering::Acquire) {
            true => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "it was given up",
            )),
            false => Ok(()),
        }
    }
}

/// A wire that can be cut, and on which the server's first words are listened to.
pub(crate) struct Listening<W> {
    wire: BufReader<W>,
    edge: Arc<Edge>,
    greeting: Option<Greeting>,
}

impl<W: Wire> Listening<W> {
    pub(crate) fn new(wire: W) -> (Self, Greeting, Cut) {
        let greeting = Greeting::default();
        let edge = Arc::new(Edge::default());
        let this = Self {
            wire: BufReader::with_capacity(READ, wire),
            edge: edge.clone(),
            greeting: Some(greeting.clone()),
        };
        (this, greeting, Cut(edge))
    }
}

impl<W: Wire> AsyncRead for Listening<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.edge.look(&self.edge.reader, context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(context, buffer))?;
        if let Some(greeting) = &self.greeting
            && greeting.hear(&buffer.filled()[before..])
        {
            self.greeting = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: Wire> AsyncWrite for Listening<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.edge.look(&self.edge.writer, context)?;
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.edge.look(&self.edge.writer, context)?;
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}
