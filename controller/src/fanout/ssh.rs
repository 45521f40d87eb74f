//! Commands over SSH: one connection a node, made when the node's turn comes, for one command or kept for more. A command that
//! is given up is hung up on, as `ssh` does it; whether it ends there is for its node to say.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use midflight_inventory::Host;
use midflight_ssh::{Client, Destination, Event, Exec, Exit, Session};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, mpsc};

use crate::error::{Error, chain};
use crate::fanout::answer::{Failure, Stream};
use crate::fanout::shell::{Ended, Heard, Input, Job, Shell};
use crate::policy::Span;
use crate::transport::{Target, ssh};

/// Nodes at a time when nobody says otherwise.
const FAN_OUT: u16 = 64;
/// How long connecting may take when nobody says otherwise.
const CONNECT: Span = Span::from_secs(10);

/// How many nodes at a time, and how patiently.
#[derive(Clone, Debug, Args)]
pub struct SshArgs {
    /// Nodes that are worked on at a time.
    #[arg(long, default_value_t = FAN_OUT, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4_096))]
    fan_out: u16,
    /// How long connecting may take, with its retries, where ssh_config does not say ConnectTimeout.
    #[arg(long, default_value_t = CONNECT, value_name = "TIME", value_parser = str::parse::<Span>)]
    connect_timeout: Span,
}

impl Default for SshArgs {
    /// What stands on the command line when nothing does.
    fn default() -> Self {
        Self {
            fan_out: FAN_OUT,
            connect_timeout: CONNECT,
        }
    }
}

impl SshArgs {
    /// How many nodes at a time.
    #[must_use]
    pub fn fan_out(&self) -> usize {
        self.fan_out.into()
    }
}

/// Nodes behind SSH servers.
pub struct Ssh {
    client: Client,
    nodes: Vec<Node>,
    patience: Duration,
    keep: bool,
}

struct Node {
    destination: Destination,
    kept: Mutex<Option<Arc<Session>>>,
}

impl Ssh {
    /// These hosts, in their order.
    ///
    /// # Errors
    /// [`Error::Ssh`]: what the files say that every connection needs.
    pub fn new(hosts: &[&Host], args: &SshArgs) -> Result<Self, Error> {
        let node = |host: &&Host| Node {
            destination: ssh::destination(&Target::from(*host)),
            kept: Mutex::default(),
        };
        Ok(Self {
            client: ssh::client()?,
            nodes: hosts.iter().map(node).collect(),
            patience: args.connect_timeout.get(),
            keep: false,
        })
    }

    /// Keeps connections for further commands, until this is dropped.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.keep = true;
        self
    }

    async fn session(&self, node: &Node) -> Result<Arc<Session>, midflight_ssh::Error> {
        let connect = self.client.connect(&node.destination, self.patience);
        if !self.keep {
            return Ok(Arc::new(connect.await?));
        }
        let mut kept = node.kept.lock().await;
        match &*kept {
            Some(session) => Ok(session.clone()),
            None => Ok(kept.insert(Arc::new(connect.await?)).clone()),
        }
    }

    async fn exec(&self, job: Job, heard: mpsc::Sender<Heard>) -> Result<Ended, Failure> {
        let node = &self.nodes[job.node];
        let failed = |began| move |error| failure(&error, began);
        let session = self.session(node).await.map_err(failed(false))?;
        let result = async {
            let mut exec = session.exec(&job.command).await.map_err(failed(false))?;
            // Nobody may be left to tell.
            let _ = heard.send(Heard::Began).await;
            let fed = feed(&mut exec, job.input);
            let (ended, ()) = futures::join!(listen(exec, &heard), fed);
            ended.map_err(failed(true))
        }
        .await;
        if result.is_err() {
            // The next command gets a connection of its own.
            node.kept.lock().await.take();
        }
        if let Some(session) = Arc::into_inner(session) {
            session.close().await;
        }
        result
    }
}

/// Gives a command its input, and the end of it. A command that reads no more is none that fails.
fn feed(exec: &mut Exec, input: Option<Input>) -> impl Future<Output = ()> + use<> {
    let stdin = exec.stdin();
    async move {
        let Some(mut stdin) = stdin else { return };
        if let Some(input) = input
            && stdin.write_all(input.bytes()).await.is_err()
        {
            return;
        }
        let _ = stdin.shutdown().await;
    }
}

async fn listen(
    mut exec: Exec,
    heard: &mpsc::Sender<Heard>,
) -> Result<Ended, midflight_ssh::Error> {
    loop {
        let (stream, bytes) = match exec.next().await? {
            Some(Event::Stdout(bytes)) => (Stream::Stdout, bytes),
            Some(Event::Stderr(bytes)) => (Stream::Stderr, bytes),
            Some(Event::Exit(Exit::Status(status))) => return Ok(Ended::Exit(status)),
            Some(Event::Exit(Exit::Signal { name, .. })) => return Ok(Ended::Signal(name)),
            None => return Ok(Ended::Exit(0)), // nothing comes after the exit, which returned
        };
        let _ = heard.send(Heard::Said(stream, bytes.to_vec())).await;
    }
}

fn failure(error: &midflight_ssh::Error, began: bool) -> Failure {
    Failure {
        code: error.code().to_owned(),
        what: chain(error),
        hint: String::new(), // the text ends with what to do
        began,
    }
}

impl Shell for Ssh {
    fn run<'a>(
        &'a self,
        job: Job,
        heard: mpsc::Sender<Heard>,
    ) -> BoxFuture<'a, Result<Ended, Failure>> {
        self.exec(job, heard).boxed()
    }
}
