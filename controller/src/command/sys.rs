//! `midflight sys`: one actor or all actors of a module, on one node or several, looked at or changed, as OTP's `sys` module
//! does. Agents refuse it unless their configuration turns it on; what changes actors or shows what they hold takes a
//! certificate of the role debugger.

use clap::{Args, Subcommand};
use midflight_proto::agent::v1::{
    self as pb,
    sys_request::{Actor, Op},
};

use crate::command::ask::{Answers, NodesArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Format, sys as show};
use crate::policy::Span;

#[derive(Debug, Subcommand)]
pub enum SysVerb {
    /// Show module, vsn, status and mailbox of an actor, or how the actors of a module stand.
    Status(WhoArgs),
    /// Show the state of an actor as JSON.
    GetState(ActorArgs),
    /// Stop actors at a message boundary; their mailboxes keep filling.
    Suspend(WhoArgs),
    /// Let suspended actors go on.
    Resume(WhoArgs),
    /// Replace the state of an actor, and show the new one.
    ReplaceState {
        #[command(flatten)]
        actor: ActorArgs,
        /// The state as JSON, as get-state prints it; `-` reads it from stdin.
        #[arg(value_name = "JSON")]
        state: String,
    },
    /// Count events, messages and errors; without --on and --off, show the counts.
    Statistics {
        #[command(flatten)]
        who: WhoArgs,
        #[command(flatten)]
        switch: SwitchArgs,
    },
    /// Note events and what comes of them in a ring; without --on and --off, show the ring.
    Trace {
        #[command(flatten)]
        who: WhoArgs,
        #[command(flatten)]
        switch: SwitchArgs,
        #[command(flatten)]
        order: TraceArgs,
    },
    /// End actors: their terminate runs, and their supervisors act on it.
    Terminate {
        #[command(flatten)]
        who: WhoArgs,
        /// What supervisors and watchers hear; normal and shutdown restart no transient actor.
        #[arg(long, default_value = "shutdown")]
        reason: String,
    },
    /// List actors.
    List(ListArgs),
    /// Show the last lines that an actor logged.
    Log(ActorArgs),
    /// Say who runs old code, and since when.
    OldCode(NodesArgs),
    /// Try once more to bring the actors that run a module's old code to the current: held and drained ones.
    CatchUp {
        #[command(flatten)]
        nodes: NodesArgs,
        /// The module.
        #[arg(long, short, value_name = "MODULE")]
        module: String,
    },
}

/// One actor.
#[derive(Debug, Args)]
pub struct ActorArgs {
    #[command(flatten)]
    nodes: NodesArgs,
    /// The actor's name, or its pid as a number.
    actor: String,
}

/// One actor, or all of a module.
#[derive(Debug, Args)]
pub struct WhoArgs {
    #[command(flatten)]
    nodes: NodesArgs,
    /// The actor's name, or its pid as a number.
    #[arg(required_unless_present = "module", conflicts_with = "module")]
    actor: Option<String>,
    /// All actors of this module instead.
    #[arg(long, short, value_name = "MODULE")]
    module: Option<String>,
}

#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// Begin, from nothing.
    #[arg(long)]
    on: bool,
    /// End, and show what there was.
    #[arg(long, conflicts_with = "on")]
    off: bool,
}

impl SwitchArgs {
    fn switch(&self) -> pb::SysSwitch {
        match (self.on, self.off) {
            (true, _) => pb::SysSwitch::On,
            (_, true) => pb::SysSwitch::Off,
            _ => pb::SysSwitch::Get,
        }
    }
}

/// What a trace keeps, and when it ends by itself.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// One in so many events, at most 1,000,000.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "on", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sample: u32,
    /// Entries kept, at most 4,096; the oldest give way.
    #[arg(long, value_name = "N", default_value_t = 256, requires = "on", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    entries: u32,
    /// Bytes kept of each body, at most 4,096.
    #[arg(long, value_name = "N", default_value_t = 256, requires = "on", value_parser = clap::value_parser!(u32).range(0..=4_096))]
    body_bytes: u32,
    /// Events until it ends by itself, at most 1,000,000.
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "on", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    events: u64,
    /// Time until it ends by itself, at most 1h.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", requires = "on", value_parser = str::parse::<Span>)]
    time: Span,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    nodes: NodesArgs,
    /// Only actors of this module.
    #[arg(
        long,
        short,
        value_name = "MODULE",
        default_value = "",
        hide_default_value = true
    )]
    module: String,
    /// Only actors on this vsn.
    #[arg(
        long,
        value_name = "VSN",
        default_value = "",
        hide_default_value = true
    )]
    vsn: String,
    /// Only actors that are so: waiting, running, suspended, parked or held.
    #[arg(long, value_name = "STATUS", default_value = "", hide_default_value = true, value_parser = ["", "waiting", "running", "suspended", "parked", "held"])]
    status: String,
    /// At most so many of each node.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
}

/// The most that an agent puts into one page.
const PAGE: u64 = 1_000;

fn actor(text: &str) -> Actor {
    text.parse()
        .map_or_else(|_| Actor::Name(text.to_owned()), Actor::Pid)
}

impl WhoArgs {
    fn parts(self) -> (NodesArgs, Option<Actor>) {
        let module = self.module.map(Actor::Module);
        let who = module.or_else(|| self.actor.as_deref().map(actor));
        (self.nodes, who)
    }
}

impl ActorArgs {
    fn parts(self) -> (NodesArgs, Option<Actor>) {
        (self.nodes, Some(actor(&self.actor)))
    }
}

pub async fn run(verb: SysVerb, format: Format) -> Result<Exit, Error> {
    let ((nodes, who), op, changes) = match verb {
        SysVerb::List(args) => return list(args, format).await,
        SysVerb::OldCode(nodes) => {
            let answers = ask(&nodes, None, Op::OldCode(pb::SysOldCode {}), false).await?;
            return answers.show_rows(format, "old_code", show::OLD_CODE, show::old_code);
        }
        SysVerb::Status(who) => (who.parts(), Op::Status(pb::SysStatus {}), false),
        SysVerb::GetState(one) => (one.parts(), Op::GetState(pb::SysGetState {}), false),
        SysVerb::Log(one) => (one.parts(), Op::Log(pb::SysLog {}), false),
        SysVerb::Suspend(who) => (who.parts(), Op::Suspend(pb::SysSuspend {}), true),
        SysVerb::Resume(who) => (who.parts(), Op::Resume(pb::SysResume {}), true),
        SysVerb::ReplaceState { actor: one, state } => {
            let op = Op::ReplaceState(pb::SysReplaceState {
                state: read(state)?,
            });
            (one.parts(), op, true)
        }
        SysVerb::Statistics { who, switch } => {
            let changes = switch.on || switch.off;
            let op = Op::Statistics(pb::SysStatistics {
                switch: switch.switch().into(),
            });
            (who.parts(), op, changes)
        }
        SysVerb::Trace { who, switch, order } => {
            let changes = switch.on || switch.off;
            let op = Op::Trace(pb::SysTrace {
                switch: switch.switch().into(),
                sample: order.sample,
                entries: order.entries,
                body_bytes: Some(order.body_bytes),
                events: order.events,
                time_ms: order.time.millis(),
            });
            (who.parts(), op, changes)
        }
        SysVerb::CatchUp { nodes, module } => {
            let op = Op::CatchUp(pb::SysCatchUp {});
            ((nodes, Some(Actor::Module(module))), op, true)
        }
        SysVerb::Terminate { who, reason } => {
            let op = Op::Terminate(pb::SysTerminate { reason });
            (who.parts(), op, true)
        }
    };
    let about = op.clone();
    let answers = ask(&nodes, who, op, changes).await?;
    answers.show(format, show::json, |answer| show::text(&about, answer))
}

async fn ask(
    nodes: &NodesArgs,
    actor: Option<Actor>,
    op: Op,
    changes: bool,
) -> Result<Answers<pb::SysResponse>, Error> {
    let request = pb::SysRequest {
        actor,
        timeout_ms: nodes.timeout.millis(),
        op: Some(op),
    };
    nodes
        .ask(changes, |agent| {
            let request = request.clone();
            async move { agent.sys(request).await }
        })
        .await
}

fn read(state: String) -> Result<String, Error> {
    if state != "-" {
        return Ok(state);
    }
    std::io::read_to_string(std::io::stdin())
        .map_err(Error::io("read", std::path::Path::new("stdin")))
}

/// Pages are asked for until the limit is reached; a node that fails halfway is a node that failed.
async fn list(args: ListArgs, format: Format) -> Result<Exit, Error> {
    let (timeout_ms, limit) = (args.nodes.timeout.millis(), args.rows);
    let list = pb::SysList {
        module: args.module,
        vsn: args.vsn,
        status: args.status,
        ..pb::SysList::default()
    };
    let answers = args.nodes.ask(false, |agent| {
        let list = list.clone();
        async move {
            let mut all = pb::SysResponse::default();
            let mut cursor = Some(0);
            while let (Some(from), left @ 1..) = (cursor, limit - all.actors.len() as u64) {
                let page = pb::SysList {
                    cursor: from,
                    // At most 1,000.
                    limit: left.min(PAGE) as u32,
                    ..list.clone()
                };
                let request = pb::SysRequest {
                    actor: None,
                    timeout_ms,
                    op: Some(Op::List(page)),
                };
                let answer = agent.sys(request).await?;
                all.actors.extend(answer.actors);
                cursor = answer.next_cursor;
            }
            all.next_cursor = cursor;
            Ok(all)
        }
    });
    let answers = answers.await?;
    for (node, answer) in answers.good() {
        if answer.next_cursor.is_some() {
            crate::command::tell(&format!(
                "{node}: there are more; see --rows and the filters"
            ));
        }
    }
    answers.show_rows(format, "actors", show::ACTORS, show::actors)
}
