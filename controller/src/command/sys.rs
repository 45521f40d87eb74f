//! `midflight sys`: one actor of one node, looked at or changed, as OTP's `sys` module does. Agents refuse it unless their
//! configuration turns it on, and states are shown to certificates of the role debugger alone.

use clap::{Args, Subcommand};
use midflight_proto::agent::v1::{self as pb, sys_request};
use serde_json::json;

use crate::command::fleet::FleetArgs;
use crate::command::{print, print_json};
use crate::engine::link::Link;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Format, count};
use crate::plan;
use crate::policy::{Span, Timeouts};
use crate::transport::Target;

#[derive(Debug, Subcommand)]
pub enum SysVerb {
    /// Show module, vsn, status and mailbox of an actor.
    Status(ActorArgs),
    /// Show the state of an actor as JSON.
    GetState(ActorArgs),
    /// Stop an actor at a message boundary; its mailbox keeps filling.
    Suspend(ActorArgs),
    /// Let a suspended actor go on.
    Resume(ActorArgs),
    /// Replace the state of an actor, and show the new one.
    ReplaceState {
        #[command(flatten)]
        actor: ActorArgs,
        /// The state as JSON, as get-state prints it; `-` reads it from stdin.
        #[arg(value_name = "JSON")]
        state: String,
    },
}

#[derive(Debug, Args)]
pub struct ActorArgs {
    /// The node's name in the inventory.
    node: String,
    /// The actor's name, or its pid as a number.
    actor: String,
    /// How long the actor may take to be at a message boundary.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = str::parse::<Span>)]
    timeout: Span,
    #[command(flatten)]
    fleet: FleetArgs,
}

pub async fn run(verb: SysVerb, format: Format) -> Result<Exit, Error> {
    use sys_request::Op;

    let (args, op) = match verb {
        SysVerb::Status(args) => (args, Op::Status(pb::SysStatus {})),
        SysVerb::GetState(args) => (args, Op::GetState(pb::SysGetState {})),
        SysVerb::Suspend(args) => (args, Op::Suspend(pb::SysSuspend {})),
        SysVerb::Resume(args) => (args, Op::Resume(pb::SysResume {})),
        SysVerb::ReplaceState { actor, state } => {
            let state = if state == "-" {
                std::io::read_to_string(std::io::stdin())
                    .map_err(Error::io("read", std::path::Path::new("stdin")))?
            } else {
                state
            };
            (actor, Op::ReplaceState(pb::SysReplaceState { state }))
        }
    };
    let inventory = args.fleet.inventory.load()?;
    let mut targets = plan::targets(&inventory, &args.node, true)?;
    let target: Target = match (targets.pop(), targets.is_empty()) {
        (Some(target), true) => target,
        _ => {
            let problem = format!(
                "{:?} names {} nodes, and an actor is on one",
                args.node,
                targets.len() + 1
            );
            return Err(Error::Usage {
                problem,
                hint: "name one node",
            });
        }
    };
    let actor = match args.actor.parse() {
        Ok(pid) => sys_request::Actor::Pid(pid),
        Err(_) => sys_request::Actor::Name(args.actor.clone()),
    };
    let request = pb::SysRequest {
        actor: Some(actor),
        timeout_ms: args.timeout.millis(),
        op: Some(op),
    };
    let connect = Timeouts::default().connect.get();
    let link = Link::new(target, args.fleet.pki.transport()?, connect);
    let answer = link
        .once(connect * 2 + args.timeout.get(), |agent| async move {
            agent.sys(request).await
        })
        .await;
    let answer = answer.map_err(|source| Error::Node {
        node: link.target().name.clone(),
        source,
    })?;
    show(&answer, format)?;
    Ok(Exit::OK)
}

fn show(answer: &pb::SysResponse, format: Format) -> Result<(), Error> {
    let status = answer.status.as_ref();
    if format == Format::Json {
        let status = status.map(|actor| {
            json!({
                "pid": actor.pid, "name": actor.name, "module": actor.module, "vsn": actor.vsn, "status": actor.status,
                "mailbox": actor.mailbox, "mailbox_bound": actor.mailbox_bound, "state_bytes": actor.state_bytes,
                "events": actor.events,
            })
        });
        // What is no JSON, which an agent should not send, is shown as text.
        let state = (!answer.state.is_empty())
            .then(|| serde_json::from_str(&answer.state).unwrap_or_else(|_| json!(answer.state)));
        return print_json(&json!({"status": status, "state": state}));
    }
    if !answer.state.is_empty() {
        return print(&format!("{}\n", answer.state));
    }
    let Some(actor) = status else {
        return print("done\n");
    };
    print(&format!(
        "pid {}  name {}  {} {}  {}\nmailbox {} of {}  state {}  {} handled\n",
        actor.pid,
        if actor.name.is_empty() {
            "-"
        } else {
            &actor.name
        },
        actor.module,
        actor.vsn,
        actor.status,
        actor.mailbox,
        actor.mailbox_bound,
        count(actor.state_bytes, "byte"),
        count(actor.events, "event")
    ))
}
