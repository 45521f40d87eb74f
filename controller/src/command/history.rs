//! `midflight history`: the rollouts in the journal.

use clap::Args;
use serde_json::json;

use crate::command::rollback::read;
use crate::command::{JournalArgs, print, print_json};
use crate::error::Error;
use crate::exit::Exit;
use crate::journal::{Journal as _, Sqlite};
use crate::output::Format;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How many, at most.
    #[arg(short = 'n', long, default_value_t = 20)]
    most: u32,
    #[command(flatten)]
    journal: JournalArgs,
}

pub fn run(args: &HistoryArgs, format: Format) -> Result<Exit, Error> {
    let path = args.journal.path()?;
    let journal = Sqlite::open(&path)?;
    for id in journal.rollouts(args.most)? {
        let view = read(&journal, &path, &id)?;
        let Some(planned) = &view.planned else {
            continue;
        };
        match format {
            Format::Json => print_json(&json!({
                "rollout": id, "name": planned.name, "from": planned.from, "to": planned.to, "patch": planned.patch,
                "started_ms": view.started_ms, "owner": view.owner, "summary": view.summarise(),
            }))?,
            Format::Text => print(&format!(
                "{id}  {}  {} {} -> {}  {} nodes  {}  by {}\n",
                time_of(view.started_ms),
                planned.name,
                planned.from,
                planned.to,
                view.nodes.len(),
                view.state,
                planned.owner
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
