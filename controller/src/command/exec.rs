//! `midflight exec`: one command on many nodes over SSH, for the engineer who needs to look first. What nodes say is shown once for
//! all that said it, as what differs from the majority, or line by line as it comes; whatever happened on a node is told.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::command::fleet::{InventoryArgs, TargetArgs};
use crate::command::{print, print_json, tell};
use crate::error::Error;
use crate::exit::Exit;
use crate::fanout::answer::{Answer, End, Stream};
use crate::fanout::drive::Stop;
use crate::fanout::groups::{Group, Groups};
use crate::fanout::run::{Event, Options, run as run_on};
use crate::fanout::shell::{Input, Shell};
use crate::fanout::ssh::{Ssh, SshArgs};
use crate::fanout::{json as as_json, text};
use crate::output::{Format, count};
use crate::plan;
use crate::policy::Span;

/// Most bytes that are read from stdin for the nodes.
const MOST_INPUT: u64 = 64 << 20;
/// Bytes that are kept of what all nodes say.
const MOST_IN_ALL: usize = 1 << 30;
/// Events that wait to be shown.
const WAITING: usize = 64;

/// Run a command on nodes over SSH, and show once what several said alike.
///
/// Exit codes: 0 the command ended with 0 on every node; 7 it did not on some: another status, a signal, a time-out, a connection that
/// failed; 2 it ran on none; 6 interrupted.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// The command. Words are joined by spaces for the login shell of the node, as ssh does.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Show each line as it comes, with its node in front, instead of folded answers at the end.
    #[arg(long, conflicts_with = "diff")]
    live: bool,
    /// Show what most nodes said, and how the others differ from it.
    #[arg(long)]
    diff: bool,
    /// Read stdin once, at most 64 MiB, and give it to the command on every node. Otherwise its stdin is empty.
    #[arg(long)]
    stdin: bool,
    /// How long the command may take on a node, once it has begun there.
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = str::parse::<Span>)]
    timeout: Span,
    /// KiB that are kept of what one node says. More is counted, and the end of the answer says so.
    #[arg(long, default_value_t = 1_024, value_name = "KIB", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    keep: u32,
    #[command(flatten)]
    ssh: SshArgs,
    #[command(flatten)]
    inventory: InventoryArgs,
}

/// Runs the verb.
///
/// # Errors
/// Those of the inventory and of the SSH settings; what nodes say, and how they fail, is no error.
pub async fn run(args: ExecArgs, format: Format) -> Result<Exit, Error> {
    let inventory = args.inventory.load()?;
    let all = args.targets.all || inventory.hosts().len() == 1;
    let hosts = plan::hosts(&inventory, &args.targets.pattern(), all)?;
    let names: Vec<String> = hosts.iter().map(|host| host.name().to_owned()).collect();
    let shell: Arc<dyn Shell> = Arc::new(Ssh::new(&hosts, &args.ssh)?);
    let options = Options {
        command: args.command.join(" ").into(),
        input: args.stdin.then(input).transpose()?,
        at_once: args.ssh.fan_out(),
        timeout: args.timeout.get(),
        most: args.keep as usize * 1_024,
        most_in_all: MOST_IN_ALL,
        live: args.live,
    };
    let (say, stop) = Stop::new();
    let (events, mut read) = mpsc::channel(WAITING);
    let failed = |source| Error::Output { source };
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let running = tokio::spawn(run_on(shell, names.len(), options, stop, events));
    let mut show = Show::new(names, &args, format);
    // On a thread of its own: who reads slowly, or not at all, holds the nodes up and not Ctrl-C.
    let mut showing = tokio::task::spawn_blocking(move || {
        while let Some(event) = read.blocking_recv() {
            show.event(event)?;
        }
        Ok::<_, Error>(show)
    });
    let panicked = |source| Error::Panicked { source };
    let show = loop {
        tokio::select! {
            shown = &mut showing => break shown.map_err(panicked)??,
            _ = interrupts.recv() => interrupt(&say),
            _ = terminations.recv() => interrupt(&say),
        }
    };
    running.await.and_then(|ended| ended).map_err(panicked)?;
    show.end(*say.borrow())
}

/// The first time what runs is let go, and what came is kept; the second time the process ends.
fn interrupt(say: &tokio::sync::watch::Sender<bool>) {
    if say.send_replace(true) {
        std::process::exit(i32::from(Exit::ABORTED.code()));
    }
}

fn input() -> Result<Input, Error> {
    let mut bytes = Vec::new();
    let read = std::io::stdin()
        .take(MOST_INPUT + 1)
        .read_to_end(&mut bytes);
    read.map_err(Error::io("read", "stdin".as_ref()))?;
    if bytes.len() as u64 > MOST_INPUT {
        return Err(Error::Usage {
            problem: "stdin has more than 64 MiB".to_owned(),
            hint: "copy it to the nodes as a file, and name that file in the command",
        });
    }
    Ok(Input::new(bytes.into()))
}

/// What is shown, and what was counted.
struct Show {
    names: Vec<String>,
    format: Format,
    live: bool,
    diff: bool,
    groups: Groups,
    /// Nodes by how it ended there.
    ends: BTreeMap<String, u64>,
    good: usize,
    began: usize,
    bar: Option<ProgressBar>,
}

impl Show {
    fn new(names: Vec<String>, args: &ExecArgs, format: Format) -> Self {
        let bar = format == Format::Text && !args.live && std::io::stderr().is_terminal();
        Self {
            bar: bar.then(|| ProgressBar::new(names.len() as u64)),
            names,
            format,
            live: args.live,
            diff: args.diff,
            groups: Groups::default(),
            ends: BTreeMap::new(),
            good: 0,
            began: 0,
        }
    }

    fn event(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Line { node, stream, line } => self.line(node, stream, &line),
            Event::Ended { node, answer, took } => {
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                self.count(&answer.end);
                match self.format {
                    Format::Json => print_json(&as_json::ended(&self.names[node], &answer, took)),
                    Format::Text if self.live => {
                        if answer.end != End::Exit(0) {
                            tell(&format!("{}: {}", self.names[node], text::end(&answer.end)));
                        }
                        Ok(())
                    }
                    Format::Text => {
                        self.groups.add(node, answer);
                        Ok(())
                    }
                }
            }
        }
    }

    fn line(&self, node: usize, stream: Stream, line: &[u8]) -> Result<(), Error> {
        let name = &self.names[node];
        match (self.format, stream) {
            (Format::Json, _) => print_json(&as_json::line(name, stream, line)),
            (Format::Text, Stream::Stdout) => print(&format!("{name}: {}\n", text::shown(line))),
            (Format::Text, Stream::Stderr) => {
                tell(&format!("{name}: {}", text::shown(line)));
                Ok(())
            }
        }
    }

    fn count(&mut self, end: &End) {
        let (word, began) = match end {
            End::Exit(status) => (format!("exit {status}"), true),
            End::Signal(_) => ("ended by a signal".to_owned(), true),
            End::Failed(failure) if failure.began => ("broken off".to_owned(), true),
            End::Failed(_) | End::NotStarted => ("not run".to_owned(), false),
            End::TimedOut => ("timed out".to_owned(), true),
            End::Interrupted => ("interrupted".to_owned(), true),
        };
        *self.ends.entry(word).or_default() += 1;
        self.began += usize::from(began);
        self.good += usize::from(*end == End::Exit(0));
    }

    fn end(mut self, interrupted: bool) -> Result<Exit, Error> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let exit = match (self.good, self.began) {
            _ if interrupted => Exit::ABORTED,
            (good, _) if good == self.names.len() => Exit::OK,
            (_, 0) => Exit::REFUSED,
            _ => Exit::PARTIAL,
        };
        match self.format {
            Format::Json => {
                let summary = json!({"event": "summary", "nodes": self.names.len(), "ends": self.ends,
                                     "exit": exit});
                print_json(&summary)?;
            }
            Format::Text => self.show()?,
        }
        Ok(exit)
    }

    fn show(self) -> Result<(), Error> {
        let groups = self.groups.in_order();
        let not_run = |group: &Group| match &group.answer.end {
            End::NotStarted => true,
            End::Failed(failure) => !failure.began,
            _ => false,
        };
        let (failed, ran): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(not_run);
        match &ran[..] {
            [only] if self.names.len() == 1 => bare(&only.answer, &self.names[0])?,
            _ if self.diff => print(&text::against_majority(&ran, &self.names))?,
            _ => print(&text::folded(&ran, &self.names))?,
        }
        for group in &failed {
            let names = group.nodes.iter().map(|&node| &self.names[node]);
            let names = midflight_inventory::fold_to_string(names);
            tell(&format!("{names}: {}", text::end(&group.answer.end)));
            if let End::Failed(failure) = &group.answer.end
                && !failure.hint.is_empty()
            {
                tell(&format!("  {}", failure.hint));
            }
        }
        if self.names.len() > 1 && (self.ends.len() > 1 || self.live) {
            let ends = self
                .ends
                .iter()
                .map(|(end, nodes)| format!("{nodes} {end}"));
            let ends: Vec<String> = ends.collect();
            let nodes = count(self.names.len() as u64, "node");
            tell(&format!("{nodes}: {}", ends.join(", ")));
        }
        Ok(())
    }
}

/// The answer of the only node, byte for byte.
fn bare(answer: &Answer, name: &str) -> Result<(), Error> {
    let failed = |source| Error::Output { source };
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    for (stream, to) in [
        (Stream::Stdout, &mut out as &mut dyn std::io::Write),
        (Stream::Stderr, &mut err),
    ] {
        match to
            .write_all(answer.output.of(stream))
            .and_then(|()| to.flush())
        {
            Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
                return Err(failed(source));
            }
            _ => {}
        }
    }
    drop((out, err));
    if answer.output.cut() > 0 {
        let more = count(answer.output.cut(), "byte");
        tell(&format!("{name}: cut here: {more} more came"));
    }
    if answer.end != End::Exit(0) {
        tell(&format!("{name}: {}", text::end(&answer.end)));
    }
    Ok(())
}
