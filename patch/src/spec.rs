//! `patch.yaml`: how a person describes a bundle. Reads it with bounds on size and nesting, fills in the defaults, reads the
//! modules' files beside it, and hands on a checked manifest with its blobs. Every complaint names file, line and column.

mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::{Location, Spanned, UserMessageFormatter};

use crate::component;
use crate::digest::Digest;
use crate::error::{Error, TreeRule, printable};
use crate::files;
use crate::instructions::{Appup, AppupInstruction, Relup};
use crate::limits;
use crate::manifest::{Manifest, ModuleEntry, Restart, SCHEMA, Start, Update, WORLD};
use crate::names::{ModuleName, Vsn};
use crate::plan::{Direction, Instruction, PlanRule};
use crate::targets::ConnectTarget;
use crate::tree::{Application, Supervisor};
use crate::vsn_pattern::VsnPattern;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    name: Spanned<String>,
    #[serde(default)]
    from: Option<Spanned<VsnPattern>>,
    to: Spanned<Vsn>,
    modules: Spanned<Vec<Spanned<SpecModule>>>,
    #[serde(default)]
    start: Vec<Spanned<SpecStart>>,
    #[serde(default)]
    applications: Vec<Spanned<SpecApplication>>,
    #[serde(default)]
    listen: Option<Spanned<Vec<u16>>>,
    #[serde(default)]
    connect: Option<Spanned<Vec<ConnectTarget>>>,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    instructions: Vec<Spanned<Appup<Spanned<AppupInstruction>>>>,
    #[serde(default)]
    relup: Option<Spanned<Relup<Spanned<Instruction>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecModule {
    name: ModuleName,
    file: Spanned<PathBuf>,
    update: Option<Spanned<Update>>,
    #[serde(default)]
    vsn: Option<Vsn>,
    #[serde(default)]
    from: Option<VsnPattern>,
    /// The release before does not have it.
    #[serde(default)]
    new: bool,
    #[serde(default)]
    extra: Value,
    #[serde(default)]
    config: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecStart {
    name: String,
    module: ModuleName,
    #[serde(default)]
    args: Value,
    #[serde(default = "one")]
    count: u32,
    #[serde(default)]
    restart: Restart,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecApplication {
    name: String,
    #[serde(default)]
    vsn: Option<Vsn>,
    #[serde(default)]
    depends: Vec<String>,
    #[serde(default)]
    config: Value,
    #[serde(default)]
    modules: Vec<ModuleName>,
    supervisor: Supervisor,
}

impl SpecApplication {
    /// Without `vsn` it has the bundle's.
    fn fill(&self, to: &Vsn) -> Application {
        let mut modules = self.modules.clone();
        modules.sort();
        Application {
            name: self.name.clone(),
            vsn: self.vsn.clone().unwrap_or_else(|| to.clone()),
            depends: self.depends.clone(),
            config: self.config.clone(),
            modules,
            supervisor: self.supervisor.clone(),
        }
    }
}

fn one() -> u32 {
    1
}

/// Blobs by digest.
pub(crate) type Blobs = BTreeMap<Digest, Vec<u8>>;

/// Reads the description at `path` and the modules that it names, relative to its folder.
pub(crate) fn build(path: &Path) -> Result<(Manifest, Blobs), Error> {
    let file = path.display().to_string();
    let text = files::read_text(path)?;
    let mut spec = parse(&text, &file)?;
    // The manifest has its modules in the order of their names; a stable sort keeps two of one name in reading order.
    spec.modules
        .value
        .sort_by(|a, b| a.value.name.cmp(&b.value.name));

    let folder = path.parent().unwrap_or(Path::new(""));
    let mut blobs = Blobs::new();
    let mut modules = Vec::new();
    for module in &spec.modules.value {
        modules.push(read_module(&spec, module, folder, &file, &mut blobs)?);
    }
    let start = spec.start.iter().map(|start| Start {
        name: start.value.name.clone(),
        module: start.value.module.clone(),
        args: start.value.args.clone(),
        count: start.value.count,
        restart: start.value.restart,
    });
    let applications = spec.applications.iter();
    let applications = applications.map(|a| a.value.fill(&spec.to.value));
    let manifest = Manifest {
        schema: SCHEMA,
        name: spec.name.value.clone(),
        from: spec.from.as_ref().map(|from| from.value.clone()),
        to: spec.to.value.clone(),
        world: WORLD.to_owned(),
        modules,
        start: start.collect(),
        applications: applications.collect(),
        listen: spec.listen.as_ref().map(|listen| listen.value.clone()),
        connect: spec.connect.as_ref().map(|connect| connect.value.clone()),
        direction: spec.direction,
        instructions: spec.appups(),
        relup: spec.relup(),
    };
    // `to_bytes` finds floats and deep nesting, which `check` does not look for.
    manifest
        .check()
        .and_then(|()| manifest.to_bytes())
        .map_err(|error| spec.locate(error, &file))?;
    Ok((manifest, blobs))
}

/// Reads a description without any of the files that it names; `file` is for messages.
///
/// # Errors
/// [`Error::Spec`], with the place.
pub fn check(text: &str, file: &str) -> Result<(), Error> {
    parse(text, file).map(drop)
}

fn parse(text: &str, file: &str) -> Result<Spec, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 64,
            max_nodes: 100_000,
            max_events: 250_000,
            max_anchors: 100,
            max_aliases: 1_000,
            max_total_scalar_bytes: 1 << 20,
        },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let message = error.render_with_formatter(&UserMessageFormatter);
        // The message ends with its place, which is given in front here.
        let problem = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(problem, _)| problem);
        here(file, at, plain(problem))
    })
}

fn read_module(
    spec: &Spec,
    module: &Spanned<SpecModule>,
    folder: &Path,
    file: &str,
    blobs: &mut Blobs,
) -> Result<ModuleEntry, Error> {
    let given = &module.value;
    let wasm = folder.join(&given.file.value);
    let bytes = files::read(&wasm, limits::BLOB, "the module's size in bytes").map_err(
        |error| match error {
            Error::Io { source, .. } => here(
                file,
                given.file.referenced,
                format!(
                    "module {}: cannot read {}: {source}",
                    given.name,
                    wasm.display()
                ),
            ),
            other => other,
        },
    )?;
    let component = component::encode(&given.name, &wasm.display().to_string(), &bytes)?;
    let blob = Digest::of(&component);
    let size = component.len() as u64;
    blobs.insert(blob, component);

    let written = spec.written(given);
    // A release has no states to change, so that `update` says nothing there and may be left out.
    let update = match (&given.update, written.update) {
        (Some(update), _) => update.value,
        (None, Some(update)) => update,
        (None, None) if spec.from.is_none() => Update::Soft,
        (None, None) => {
            let problem = format!(
                "module {} lacks `update`: soft (the state stays) or advanced (code_change)",
                given.name
            );
            return Err(here(file, module.referenced, problem));
        }
    };
    let from = || spec.from.as_ref().map(|from| from.value.clone());
    Ok(ModuleEntry {
        name: given.name.clone(),
        vsn: given.vsn.clone().unwrap_or_else(|| spec.to.value.clone()),
        from: match &given.from {
            None if written.added => None,
            None => from(),
            given => given.clone(),
        },
        update,
        extra: match &given.extra {
            Value::Null => written.extra,
            given => given.clone(),
        },
        config: given.config.clone(),
        blob,
        size,
    })
}

impl Spec {
    /// Turns a complaint about the manifest into one about the lines that it came from.
    fn locate(&self, error: Error, file: &str) -> Error {
        let (pointer, problem, rule) = match error {
            Error::Manifest { pointer, problem } => (pointer, problem, None),
            Error::Tree {
                rule,
                place,
                problem,
            } => (pointer_of(&place), problem, Some(Rule::Tree(rule))),
            Error::Instructions {
                rule,
                place,
                problem,
            } => (pointer_of(&place), problem, Some(Rule::Plan(rule))),
            other => return other,
        };
        if let Some((at, rest)) = self.locate_instruction(&pointer) {
            let problem = match rest {
                "" => problem,
                rest => format!("{rest} {problem}"),
            };
            return rule.map_or_else(
                || here(file, at, problem.clone()),
                |rule| rule.error(file, at, problem.clone()),
            );
        }
        let mut path = pointer.trim_start_matches([' ', '/']).splitn(3, '/');
        let (field, index) = (
            path.next().unwrap_or_default(),
            path.next().and_then(|index| index.parse::<usize>().ok()),
        );
        let at = match (field, index) {
            ("name", _) => Some(self.name.referenced),
            ("from", _) => self.from.as_ref().map(|from| from.referenced),
            ("to", _) => Some(self.to.referenced),
            ("modules", None) => Some(self.modules.referenced),
            ("modules", Some(index)) => self
                .modules
                .value
                .get(index)
                .map(|module| module.referenced),
            ("start", Some(index)) => self.start.get(index).map(|start| start.referenced),
            ("applications", Some(index)) => self.applications.get(index).map(|a| a.referenced),
            ("applications", None) => self.applications.first().map(|a| a.referenced),
            ("start", None) => self.start.first().map(|start| start.referenced),
            ("listen", _) => self.listen.as_ref().map(|listen| listen.referenced),
            ("connect", _) => self.connect.as_ref().map(|connect| connect.referenced),
            _ => None,
        };
        let what = match path.next() {
            Some(rest) => format!("{rest} "),
            None if index.is_none() && !field.is_empty() => format!("{field} "),
            None => String::new(),
        };
        let at = at.unwrap_or(self.name.referenced);
        let Some(rule) = rule else {
            return here(file, at, format!("{what}{problem}"));
        };
        rule.error(file, at, format!("{what}{problem}"))
    }
}

/// A rule whose breach has a code of its own.
#[derive(Clone, Copy)]
enum Rule {
    Tree(TreeRule),
    Plan(PlanRule),
}

impl Rule {
    fn error(self, file: &str, at: Location, problem: String) -> Error {
        let (line, column) = (at.line().max(1), at.column().max(1));
        let place = format!("{file}:{line}:{column}");
        match self {
            Self::Tree(rule) => Error::Tree {
                rule,
                place,
                problem,
            },
            Self::Plan(rule) => Error::Instructions {
                rule,
                place,
                problem,
            },
        }
    }
}

fn pointer_of(place: &str) -> String {
    place.replacen("manifest", "", 1)
}

/// What the YAML library says of a wrong type, in the words of somebody who writes YAML and not Rust.
fn plain(problem: &str) -> String {
    let needed = match problem {
        "expected sequence start" => "a list is needed here",
        "expected mapping start" => "keys with values are needed here",
        "expected string scalar" => "a text is needed here",
        "invalid u16" => "a whole number from 0 to 65535 is needed here",
        "invalid u32" => "a whole number from 0 to 4294967295 is needed here",
        other => return printable(other),
    };
    needed.to_owned()
}

fn here(file: &str, at: Location, problem: String) -> Error {
    Error::Spec {
        file: file.to_owned(),
        line: at.line().max(1),
        column: at.column().max(1),
        problem,
    }
}
