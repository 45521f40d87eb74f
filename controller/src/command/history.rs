//! `midflight history`: the rollouts in the journal.

use clap::Args;

use crate::command::fleet::PkiArgs;
use crate::command::reach::ReachArgs;
use crate::command::{print, print_json};
use crate::error::Error;
use crate::exit::Exit;
use crate::journal::{Journal as _, Which};
use crate::output::Format;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How many, at most.
    #[arg(short = 'n', long, default_value_t = 20)]
    most: u32,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    pki: PkiArgs,
}

pub async fn run(args: HistoryArgs, format: Format) -> Result<Exit, Error> {
    let heads = match args.reach.server(&args.pki).await? {
        Some(server) => server.list(args.most).await?,
        None => {
            let journal = args.reach.journal()?;
            journal.heads(Which::Newest(args.most)).await?
        }
    };
    for head in heads {
        match format {
            Format::Json => print_json(&head)?,
            Format::Text => print(&format!(
                "{}  {}  {} {} -> {}  {} nodes  {}  by {}\n",
                head.rollout,
                time_of(head.started_ms),
                head.name,
                head.from,
                head.to,
                head.nodes,
                head.state,
                head.owner
                    .map_or_else(String::new, |owner| owner.to_string()),
            ))?,
        }
    }
    Ok(Exit::OK)
}

/// In UTC, to the minute.
fn time_of(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(0);
    let time = time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (date, hour, minute) = (time.date(), time.hour(), time.minute());
    format!(
        "{:04}-{:02}-{:02} {hour:02}:{minute:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}
