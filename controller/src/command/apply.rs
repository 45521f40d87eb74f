//! `midflight apply`: plan, then run the rollout to its end in this process. The first Ctrl-C or SIGTERM aborts it in order,
//! the second leaves at once.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use midflight_proto::agent::v1 as pb;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::command::plan::{PlanArgs, Prepared};
use crate::command::{JournalArgs, print, tell};
use crate::engine::begin::Begin;
use crate::engine::control::{self, Control, Request, Verb};
use crate::engine::event::{Owner, Planned};
use crate::engine::id::RolloutId;
use crate::engine::link::Link;
use crate::engine::node::{self, Order};
use crate::engine::payload::Payload;
use crate::engine::rollout::Input;
use crate::engine::{self, Ended, Run};
use crate::error::Error;
use crate::exit::Exit;
use crate::journal::{Lock, Sqlite};
use crate::output::{self, Format, summary};
use crate::policy::Policy;

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    journal: JournalArgs,
}

pub async fn run(args: ApplyArgs, format: Format) -> Result<Exit, Error> {
    let controls = signals()?;
    run_until(args, format, controls).await
}

/// The same, with somebody else who says when to stop.
pub async fn run_until(
    args: ApplyArgs,
    format: Format,
    mut controls: mpsc::Receiver<Control>,
) -> Result<Exit, Error> {
    let path = args.journal.path()?;
    let prepared = tokio::select! {
        prepared = args.plan.prepare() => prepared?,
        _ = controls.recv() => {
            tell("stopped while planning; no node was changed");
            return Ok(Exit::ABORTED);
        }
    };
    let Prepared {
        bundle,
        through,
        policy,
        plan,
        links,
    } = prepared;
    finish_what_is_left(&path, &plan.unfinished, &links, &policy).await?;
    let journal = Sqlite::open(&path)?;
    let id = RolloutId::generate()?;
    let lock = Lock::take(&path, &id)?.ok_or_else(|| Error::Owned {
        rollout: id.to_string(),
        owner: this_process(),
    })?;
    let payload = Arc::new(Payload::with(bundle, through));
    let preface = Begin {
        plan: &plan,
        payload: &payload,
        policy: &policy,
        pattern: &args.plan.target.pattern,
        owner: this_process(),
        prepare_only: false,
        supersedes: "",
    }
    .facts();
    let ended = engine::run(Run {
        id: id.clone(),
        policy,
        before: Vec::new(),
        preface,
        first: Input::Start,
        on_down_failure: None,
        links,
        payload: Some(payload),
        journal: Arc::new(journal),
        reporter: &mut *output::reporter(format),
        controls,
    })
    .await;
    conclude(&id, ended, lock, format)
}

/// Shows what a run came to, and gives its exit code.
pub fn conclude(id: &RolloutId, ended: Ended, lock: Lock, format: Format) -> Result<Exit, Error> {
    let Ended { view, error, over } = ended;
    let text = summary(id, &view);
    match format {
        Format::Text => print(&text)?,
        Format::Json if !over => tell(&text),
        Format::Json => {}
    }
    if over {
        lock.finish();
        return Ok(view.exit());
    }
    let changed = view.changed();
    if !changed.is_empty() {
        tell(&format!(
            "left with {} nodes that may run the new code: midflight rollback {id}",
            changed.len()
        ));
    }
    match error {
        Some(error) if changed.is_empty() => Err(error),
        Some(error) => {
            tell(&format!(
                "error: {}: {}",
                error.code(),
                crate::error::chain(&error)
            ));
            Ok(Exit::UNRESOLVED)
        }
        None if changed.is_empty() => Ok(Exit::ABORTED),
        None => Ok(Exit::UNRESOLVED),
    }
}

/// The first Ctrl-C or SIGTERM asks for an abort, the next to leave everything as it is.
pub fn signals() -> Result<mpsc::Receiver<Control>, Error> {
    let failed = |source| Error::Output { source };
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let (to, controls) = mpsc::channel(control::WAITING);
    // Ends when the receiver is gone, at the latest with the process.
    tokio::spawn(async move {
        let mut verb = Verb::Abort { keep: false };
        loop {
            let name = tokio::select! {
                _ = interrupts.recv() => "Ctrl-C",
                _ = terminations.recv() => "SIGTERM",
            };
            tell(&format!("{name}: aborting; once more leaves at once"));
            let request = Request {
                verb: std::mem::replace(&mut verb, Verb::Detach),
                who: name.to_owned(),
                reason: String::new(),
            };
            // Lines say what came of it.
            let (answer, _) = tokio::sync::oneshot::channel();
            if to.send(Control { request, answer }).await.is_err() {
                return;
            }
        }
    });
    Ok(controls)
}

/// Finishes earlier rollouts that were confirmed on nodes by a process that has died since: a node that is not finished takes
/// no other patch. A rollout that a process of this machine still runs is an overlap.
async fn finish_what_is_left(
    journal: &Path,
    unfinished: &[(usize, pb::Key)],
    links: &[Arc<Link>],
    policy: &Policy,
) -> Result<(), Error> {
    for (node, key) in unfinished {
        let link = &links[*node];
        let (name, rollout) = (link.target().name.clone(), key.rollout_id.clone());
        if rollout
            .parse()
            .is_ok_and(|id| Lock::is_held(journal, &id).unwrap_or(false))
        {
            return Err(Error::Overlap {
                nodes: name,
                rollout,
            });
        }
        tell(&format!(
            "{name}: finishing rollout {rollout}, which is confirmed there and was left unfinished"
        ));
        let planned = Planned {
            patch: key.patch_digest.clone(),
            ..Planned::default()
        };
        let order = rollout
            .parse()
            .map(|id| Order::new(&id, &planned, policy, 1));
        let finished = match &order {
            Ok(order) => node::finish(link, order, key).await.is_ok(),
            Err(_) => false,
        };
        if !finished {
            return Err(Error::Overlap {
                nodes: name,
                rollout,
            });
        }
    }
    Ok(())
}

/// This process, as `status` names it.
pub fn this_process() -> Owner {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Owner {
        pid: std::process::id(),
        host,
        user: std::env::var("USER").unwrap_or_default(),
    }
}
