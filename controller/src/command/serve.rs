//! `midflight serve`: runs rollouts for many engineers and dashboards, from one journal. At its start it goes on with every open
//! rollout; on SIGTERM it leaves them as they are, and its next start goes on with them. There is no connection without TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::command::fleet::{FleetArgs, PolicyArgs};
use crate::command::reach::JournalArgs;
use crate::command::tell;
use crate::error::Error;
use crate::exit::Exit;
use crate::journal::Sqlite;
use crate::launch::Launch;
use crate::policy::Span;
use crate::server::host::Host;
use crate::server::late;
use crate::server::service::Service;
use crate::server::{Listen, SERVE_SOCKET, Server};

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen, as IP:PORT; with port 0, on a free one, which is told.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7401")]
    listen: SocketAddr,
    /// The server's own certificate, which must carry the name or address that clients call it by; default server.pem in --pki.
    #[arg(long, value_name = "FILE", requires = "server_key")]
    server_cert: Option<PathBuf>,
    /// Its private key; default server.key in --pki.
    #[arg(long, value_name = "FILE", requires = "server_cert")]
    server_key: Option<PathBuf>,
    /// Who issues the certificates of clients; default that of the nodes.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Check the signatures of patches here too, before any node is asked.
    #[arg(long, value_name = "FILE", env = "MIDFLIGHT_ALLOWED_SIGNERS")]
    allowed_signers: Option<PathBuf>,
    /// How often to look whether nodes that were away during a rollout answer again; see converge_until of the policy.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = some_time)]
    look_every: Span,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    journal: JournalArgs,
}

fn some_time(text: &str) -> Result<Span, String> {
    let time: Span = text.parse()?;
    match time.millis() {
        0 => Err("it must be longer than nothing".to_owned()),
        _ => Ok(time),
    }
}

pub async fn run(args: ServeArgs) -> Result<Exit, Error> {
    let failed = |source| Error::Output { source };
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let tls = args
        .fleet
        .pki
        .server_config(args.server_cert, args.server_key, args.client_ca)?;
    // Read now, so that a mistake in it is told at the start.
    args.policy.load(Some(&args.fleet.inventory.load()?))?;
    let journal = Sqlite::open(&args.journal.path()?)?;
    let launch = Launch::new(journal, args.fleet.pki.transport()?);
    let service = |host| Service {
        lives: launch.lives.clone(),
        journal: launch.journal.clone(),
        path: launch.path.clone(),
        host: Some(host),
    };
    let host = Arc::new(Host::new(
        launch.clone(),
        args.fleet.inventory,
        args.policy,
        args.allowed_signers,
    ));
    let listen = Listen {
        tcp: Some((args.listen, tls)),
        socket: Some(SERVE_SOCKET.to_owned()),
    };
    let server = Server::start(listen, service(host.clone())).await?;
    if let Some(address) = server.address() {
        tell(&format!("listening on {address}"));
    }
    host.go_on().await?;
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
        () = late::keep_looking(&host, args.look_every.get()) => {}
    }
    tell("leaving the rollouts as they are; the next start goes on with them");
    host.stop().await;
    server.stop().await;
    Ok(Exit::OK)
}
