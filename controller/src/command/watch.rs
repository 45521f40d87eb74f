//! `midflight watch`: attaches to a rollout from any terminal, from the start or a cursor, and ends with it. To end the watching is
//! nothing to the rollout.

use std::sync::Arc;

use clap::Args;
use futures::StreamExt as _;

use crate::command::fleet::PkiArgs;
use crate::command::follow::{Signals, conclude, follow, show};
use crate::command::reach::{Place, ReachArgs};
use crate::command::tell;
use crate::engine::id::RolloutId;
use crate::engine::view::View;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;
use crate::server::lives::Lives;
use crate::server::watch;

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The rollout; see `midflight history`.
    rollout: RolloutId,
    /// Show the events after this number.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: u64,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    pki: PkiArgs,
}

pub async fn run(args: WatchArgs, format: Format) -> Result<Exit, Error> {
    let (id, from) = (&args.rollout, args.from);
    match args.reach.place(&args.pki, id).await? {
        Place::There(client) => follow(&client, id, from, Signals::Leave, format).await,
        Place::Here(journal, head) => {
            let events = watch::events(Arc::new(journal), &Lives::default(), id.clone(), 0);
            let mut view = View::default();
            show(events.boxed(), &mut view, from, format).await?;
            if head.is_open() {
                tell(&format!(
                    "no process runs rollout {id}; go on with it with: midflight resume {id}"
                ));
            }
            conclude(id, &view, false, format)
        }
    }
}
