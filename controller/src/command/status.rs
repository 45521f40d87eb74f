//! `midflight status`: who owns a rollout, where it is and why, and what happens next by itself. Without a server it reads the
//! journal alone.

use clap::Args;

use crate::command::fleet::PkiArgs;
use crate::command::reach::ReachArgs;
use crate::command::{print, show};
use crate::engine::id::{RolloutId, now_ms};
use crate::engine::view::View;
use crate::error::Error;
use crate::exit::Exit;
use crate::journal::{Journal as _, Lock, Which, read_all};
use crate::output::{self, Format};

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The rollout; default the newest.
    rollout: Option<RolloutId>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    pki: PkiArgs,
}

pub async fn run(args: StatusArgs, format: Format) -> Result<Exit, Error> {
    if let Some(server) = args.reach.server(&args.pki).await? {
        return show(server.status(args.rollout.as_ref()).await?, format);
    }
    let journal = args.reach.journal()?;
    let id = match &args.rollout {
        Some(id) => Some(id.clone()),
        None => {
            let newest = journal.heads(Which::Newest(1)).await?.pop();
            newest.map(|head| head.rollout)
        }
    };
    let Some(id) = id else {
        print("no rollout was ever run with this journal\n")?;
        return Ok(Exit::OK);
    };
    let view = View::of(&read_all(&journal, &id).await?);
    let alive = Lock::is_held(journal.path(), &id)?;
    show(output::status(&id, &view, alive, now_ms()), format)
}
