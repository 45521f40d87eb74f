//! Asking the agents of a node pattern one thing each, and showing what they answer: one answer bare, several under the
//! folded names of the nodes that gave the same. A node that fails is told on stderr.

use std::sync::Arc;

use clap::Args;
use futures::StreamExt as _;
use midflight_inventory::fold_to_string;
use serde_json::{Value, json};

use crate::command::fleet::{FleetArgs, NarrowArgs};
use crate::command::{print, print_json, tell};
use crate::engine::link::Link;
use crate::engine::survey;
use crate::engine::words::Phase;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Format, table};
use crate::plan;
use crate::policy::{Policy, Span, Timeouts};
use crate::transport::{Agent, CallError};

/// Which nodes, and how they are reached.
#[derive(Debug, Args)]
pub struct NodesArgs {
    /// Which nodes: a name, or a pattern as in web:&prod or 'web[01:50]'.
    #[arg(value_name = "NODES")]
    pattern: String,
    #[command(flatten)]
    narrow: NarrowArgs,
    /// Allow a change on every node of the inventory.
    #[arg(long)]
    all: bool,
    /// How long an actor may take to be at a message boundary.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = str::parse::<Span>)]
    pub timeout: Span,
    #[command(flatten)]
    fleet: FleetArgs,
}

impl NodesArgs {
    /// The nodes, not connected yet.
    ///
    /// # Errors
    /// Those of the inventory and the certificates; [`Error::AllNodes`] for a change on all of several nodes.
    pub fn links(&self, changes: bool) -> Result<Vec<Arc<Link>>, Error> {
        let inventory = self.fleet.inventory.load()?;
        let all = !changes || self.all || inventory.hosts().len() == 1;
        let targets = plan::targets(&inventory, &self.narrow.apply(&self.pattern), all)?;
        let transport = self.fleet.pki.transport()?;
        survey::check(&targets, &transport)?;
        let connect = Timeouts::default().connect.get();
        let link = |target| Arc::new(Link::new(target, transport.clone(), connect));
        Ok(targets.into_iter().map(link).collect())
    }

    /// Asks each node once.
    ///
    /// # Errors
    /// Those of [`NodesArgs::links`]; what nodes say is in the answers.
    pub async fn ask<T, F>(
        &self,
        changes: bool,
        call: impl Fn(Arc<dyn Agent>) -> F,
    ) -> Result<Answers<T>, Error>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let links = self.links(changes)?;
        Ok(Answers(ask(&links, self.timeout, call).await))
    }
}

/// Asks each of these once; the answers come in their order.
pub async fn ask<T, F>(
    links: &[Arc<Link>],
    timeout: Span,
    call: impl Fn(Arc<dyn Agent>) -> F,
) -> Vec<(String, Result<T, CallError>)>
where
    F: Future<Output = Result<T, CallError>>,
{
    let limit = Timeouts::default().connect.get() * 2 + timeout.get();
    let at_once = Policy::default().concurrency.max(1) as usize;
    let asked = links.iter().map(|link| {
        let answer = link.once(limit, &call);
        async move { (link.target().name.clone(), answer.await) }
    });
    // Boxed one by one: a stream of futures that borrow is no more than that to the compiler.
    let asked: Vec<_> = asked.map(Box::pin).collect();
    futures::stream::iter(asked)
        .buffered(at_once)
        .collect()
        .await
}

/// What each node answered, in the order of the inventory.
pub struct Answers<T>(Vec<(String, Result<T, CallError>)>);

impl<T> From<Vec<(String, Result<T, CallError>)>> for Answers<T> {
    fn from(answers: Vec<(String, Result<T, CallError>)>) -> Self {
        Self(answers)
    }
}

impl<T> Answers<T> {
    /// The answers that are none of a failure.
    pub fn good(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0
            .iter()
            .filter_map(|(node, answer)| Some((node.as_str(), answer.as_ref().ok()?)))
    }

    /// One answer bare; several under the names of those that gave it. As JSON, a line a node.
    ///
    /// # Errors
    /// As [`Answers::end`].
    pub fn show(
        self,
        format: Format,
        json: impl Fn(&T) -> Value,
        text: impl Fn(&T) -> String,
    ) -> Result<Exit, Error> {
        if format == Format::Json {
            for (node, answer) in self.good() {
                print_json(&with_node(node, json(answer)))?;
            }
            return self.end(format);
        }
        let alone = self.0.len() == 1;
        let mut said: Vec<(String, Vec<&str>)> = Vec::new();
        for (node, answer) in self.good() {
            let text = text(answer);
            match said.iter_mut().find(|(other, _)| *other == text) {
                Some((_, nodes)) => nodes.push(node),
                None => said.push((text, vec![node])),
            }
        }
        for (text, nodes) in said {
            if alone {
                print(&text)?;
                continue;
            }
            print(&format!("{}:\n", fold_to_string(nodes)))?;
            for line in text.lines() {
                print(&format!("  {line}\n"))?;
            }
        }
        self.end(format)
    }

    /// A table of what all nodes list, with the node in front when there are several. As JSON, a line a node.
    ///
    /// # Errors
    /// As [`Answers::end`].
    pub fn show_rows<const N: usize>(
        self,
        format: Format,
        key: &str,
        head: [&str; N],
        rows: impl Fn(&T) -> Vec<([String; N], Value)>,
    ) -> Result<Exit, Error> {
        let alone = self.0.len() == 1;
        let mut lines = vec![line(alone, "NODE", head.map(str::to_owned))];
        for (node, answer) in self.good() {
            let (cells, values): (Vec<_>, Vec<_>) = rows(answer).into_iter().unzip();
            match format {
                Format::Json => print_json(&json!({"node": node, key: values}))?,
                Format::Text => lines.extend(cells.into_iter().map(|row| line(alone, node, row))),
            }
        }
        if format == Format::Text {
            print(&table(&lines))?;
        }
        self.end(format)
    }

    /// Tells who failed. 0 when nobody did, 7 when some did.
    ///
    /// # Errors
    /// [`Error::Node`] when all did.
    pub fn end(self, format: Format) -> Result<Exit, Error> {
        let all = self.0.iter().all(|(_, answer)| answer.is_err());
        let mut failed: Vec<_> = self
            .0
            .into_iter()
            .filter_map(|(node, answer)| Some((node, answer.err()?)))
            .collect();
        let last = if all { failed.pop() } else { None };
        let exit = if failed.is_empty() {
            Exit::OK
        } else {
            Exit::PARTIAL
        };
        for (node, error) in failed {
            if format == Format::Json {
                print_json(&json!({"node": node, "error": error.cause(Phase::Describe)}))?;
            }
            tell(&format!(
                "{node}: {}: {}",
                error.code(),
                crate::error::chain(&error)
            ));
        }
        match last {
            Some((node, source)) => Err(Error::Node { node, source }),
            None => Ok(exit),
        }
    }
}

fn line<const N: usize>(alone: bool, node: &str, row: [String; N]) -> Vec<String> {
    let node = (!alone).then(|| node.to_owned());
    node.into_iter().chain(row).collect()
}

fn with_node(node: &str, mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("node".to_owned(), json!(node));
    }
    value
}
