//! `midflight top`: the busiest actors of nodes, as a table that lives, or once. Each node scans its own actors and sends
//! no more rows than are shown; no state is read and no guest code is called.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use midflight_proto::agent::v1::{self as pb, sys_request::Op};
use serde_json::json;
use std::io::IsTerminal as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::command::ask::{Answers, NodesArgs, ask};
use crate::command::{print, print_json};
use crate::engine::link::Link;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::screen::{Keys, Screen};
use crate::output::{Format, count, sys as show, table};
use crate::policy::Span;
use crate::transport::CallError;

/// Over which a node measures events a second, when the table is refreshed less often.
const MEASURED: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    nodes: NodesArgs,
    /// Greatest first. In the live table: m, e, t and s.
    #[arg(long, value_enum, default_value_t = Sort::Mailbox)]
    sort: Sort,
    /// Rows.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    rows: u32,
    /// Only actors of this module.
    #[arg(
        long,
        short,
        value_name = "MODULE",
        default_value = "",
        hide_default_value = true
    )]
    module: String,
    /// How often the table is made anew, from 100ms.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = str::parse::<Span>)]
    interval: Span,
    /// Print one table and end. So it is also with --output json, and when stdout is no terminal.
    #[arg(long)]
    once: bool,
}

/// What actors are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Events that wait.
    Mailbox,
    /// Events handled a second.
    Messages,
    /// Handlers of the actor's version that trapped.
    Traps,
    /// Bytes of state.
    State,
}

impl Sort {
    fn of_key(key: u8) -> Option<Self> {
        Some(match key {
            b'm' => Self::Mailbox,
            b'e' => Self::Messages,
            b't' => Self::Traps,
            b's' => Self::State,
            _ => return None,
        })
    }

    fn to_pb(self) -> pb::SysTopBy {
        match self {
            Self::Mailbox => pb::SysTopBy::Mailbox,
            Self::Messages => pb::SysTopBy::Messages,
            Self::Traps => pb::SysTopBy::Traps,
            Self::State => pb::SysTopBy::State,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Mailbox => "mailbox",
            Self::Messages => "messages",
            Self::Traps => "traps",
            Self::State => "state",
        }
    }

    /// By which rows of several nodes are put in order.
    fn key(self, row: &pb::TopRow) -> f64 {
        let of = |number: fn(&pb::ActorStatus) -> u64| {
            row.status
                .as_ref()
                .map_or(0.0, |actor| number(actor) as f64)
        };
        match self {
            Self::Mailbox => of(|actor| actor.mailbox),
            Self::Messages => row.per_second,
            Self::Traps => row.traps as f64,
            Self::State => of(|actor| actor.state_bytes),
        }
    }
}

type Heard = Vec<(String, Result<pb::TopReport, CallError>)>;

pub async fn run(args: TopArgs, format: Format) -> Result<Exit, Error> {
    let links = args.nodes.links(false)?;
    if args.once || format == Format::Json || !std::io::stdout().is_terminal() {
        let heard = hear(&links, &args, args.sort).await;
        match format {
            Format::Json => heard.iter().try_for_each(|(node, answer)| match answer {
                Ok(report) => print_json(&as_json(node, report)),
                Err(_) => Ok(()),
            })?,
            Format::Text => print(&text(&heard, args.sort, args.rows as usize))?,
        }
        return Answers::from(heard).end(format);
    }
    live(&links, &args).await
}

async fn hear(links: &[Arc<Link>], args: &TopArgs, sort: Sort) -> Heard {
    let measured = MEASURED.min(args.interval.get().max(Duration::from_millis(100)));
    let request = pb::SysRequest {
        actor: None,
        timeout_ms: args.nodes.timeout.millis(),
        op: Some(Op::Top(pb::SysTop {
            by: sort.to_pb().into(),
            module: args.module.clone(),
            limit: args.rows,
            // At most a second.
            interval_ms: measured.as_millis() as u32,
        })),
    };
    ask(links, args.nodes.timeout, |agent| {
        let request = request.clone();
        async move { Ok(agent.sys(request).await?.top.unwrap_or_default()) }
    })
    .await
}

/// Until q, Ctrl-C or SIGTERM. The screen is as before afterwards, whatever ended it.
async fn live(links: &[Arc<Link>], args: &TopArgs) -> Result<Exit, Error> {
    let failed = |source| Error::Output { source };
    let mut ends = signal(SignalKind::terminate()).map_err(failed)?;
    let mut keys = Keys::read().map_err(failed)?;
    let mut screen = Screen::enter().map_err(failed)?;
    let mut sort = args.sort;
    loop {
        let begun = Instant::now();
        let mut heard = None;
        let next = begun + args.interval.get();
        let mut changed = false;
        while heard.is_none() || Instant::now() < next {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => return Ok(Exit::OK),
                _ = ends.recv() => return Ok(Exit::OK),
                key = keys.next() => match key {
                    None | Some(b'q') => return Ok(Exit::OK),
                    Some(key) => if let Some(other) = Sort::of_key(key) {
                        sort = other;
                        changed = true;
                        break;
                    },
                },
                answers = hear(links, args, sort), if heard.is_none() => {
                    let rows = (args.rows as usize).min(screen.rows().saturating_sub(3));
                    screen.draw(&text(&answers, sort, rows)).map_err(failed)?;
                    heard = Some(());
                }
                () = tokio::time::sleep_until(next), if heard.is_some() => {}
            }
        }
        if changed {
            continue;
        }
    }
}

/// A line that sums up, the table, and the nodes that did not answer.
fn text(heard: &Heard, sort: Sort, limit: usize) -> String {
    let good: Vec<(&str, &pb::TopReport)> = heard
        .iter()
        .filter_map(|(node, answer)| Some((node.as_str(), answer.as_ref().ok()?)))
        .collect();
    let sum = |of: fn(&pb::TopReport) -> u64| good.iter().map(|(_, top)| of(top)).sum::<u64>();
    // From 0: the sum of nothing is -0 otherwise.
    let per_second = good.iter().fold(0.0, |sum, (_, top)| sum + top.per_second);
    let mut text = format!(
        "{}  {}  {per_second:.0} events/s  {} waiting  by {}\n",
        count(good.len() as u64, "node"),
        count(sum(|top| top.actors + top.busy), "actor"),
        sum(|top| top.mailbox),
        sort.text(),
    );
    let mut rows: Vec<(&str, &pb::TopRow)> = good
        .iter()
        .flat_map(|(node, top)| top.rows.iter().map(|row| (*node, row)))
        .collect();
    // Stable: equal ones stay in the order of the nodes.
    rows.sort_by(|a, b| sort.key(b.1).total_cmp(&sort.key(a.1)));
    let head = [
        "NODE", "PID", "NAME", "MODULE", "VSN", "STATUS", "MAILBOX", "EVENTS/S", "EVENTS", "STATE",
        "TRAPS",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    for (node, row) in rows.into_iter().take(limit) {
        let Some(actor) = &row.status else { continue };
        let [pid, name, module, vsn, status, mailbox, state, events] = show::cells(actor);
        lines.push([
            node.to_owned(),
            pid,
            name,
            module,
            vsn,
            status,
            mailbox,
            format!("{:.1}", row.per_second),
            events,
            state,
            row.traps.to_string(),
        ]);
    }
    text.push_str(&table(&lines));
    for (node, answer) in heard {
        if let Err(error) = answer {
            text.push_str(&format!("{node}: {}: {error}\n", error.code()));
        }
    }
    text
}

fn as_json(node: &str, top: &pb::TopReport) -> serde_json::Value {
    let row = |row: &pb::TopRow| {
        let mut value = row
            .status
            .as_ref()
            .map(show::actor_json)
            .unwrap_or_default();
        value["per_second"] = json!(row.per_second);
        value["traps"] = json!(row.traps);
        value
    };
    json!({
        "node": node, "actors": top.actors, "per_second": top.per_second, "mailbox": top.mailbox, "busy": top.busy,
        "rows": top.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, mailbox: u64, per_second: f64) -> pb::TopRow {
        let status = pb::ActorStatus {
            name: name.into(),
            mailbox,
            ..Default::default()
        };
        pb::TopRow {
            status: Some(status),
            per_second,
            traps: 0,
        }
    }

    #[test]
    fn rows_of_several_nodes_are_put_in_one_order_and_cut() {
        let report = |rows| pb::TopReport {
            rows,
            actors: 10,
            per_second: 5.0,
            ..Default::default()
        };
        let silent = CallError::Timeout {
            after: Duration::from_millis(5),
        };
        let heard = vec![
            (
                "n1".to_owned(),
                Ok(report(vec![row("a", 9, 0.0), row("b", 1, 7.0)])),
            ),
            ("n2".to_owned(), Ok(report(vec![row("c", 5, 3.0)]))),
            ("n3".to_owned(), Err(silent)),
        ];
        let names = |sort, limit| -> Vec<String> {
            let text = text(&heard, sort, limit);
            assert!(
                text.starts_with("2 nodes  20 actors  10 events/s"),
                "{text}"
            );
            assert!(
                text.ends_with("n3: MF0522: no answer within 5 ms\n"),
                "{text}"
            );
            let rows = text.lines().skip(2).filter(|line| !line.starts_with("n3"));
            rows.map(|line| line.split_whitespace().nth(2).unwrap().to_owned())
                .collect()
        };
        assert_eq!(names(Sort::Mailbox, 10), ["a", "c", "b"]);
        assert_eq!(names(Sort::Messages, 2), ["b", "c"]);
    }
}
