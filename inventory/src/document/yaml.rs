//! YAML events become a tree, within budgets.
//!
//! Nothing here recurses: open collections stand on a stack. Anchored nodes are copied where an alias names them, and so
//! are the entries of merge keys; both are counted before they are made.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar;
use super::{Dialect, Key, Kind, Node};
use crate::error::Error;
use crate::limits;
use crate::place::{Pos, Source};

/// Anchors in a file.
const ANCHORS: usize = 10_000;

pub(super) fn parse(source: &Source, dialect: Dialect) -> Result<Node<'_>, Error> {
    let options = granit_parser::options! {
        flow_nesting_limit: limits::YAML_DEPTH,
        simple_key_max_lookahead: 4096,
        emit_comments: false,
        // PyYAML refuses what YAML 1.2 allows: an anchor that is given twice.
        emit_anchor_events: dialect == Dialect::Ansible,
    };
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let mut tree = Tree {
        source,
        dialect,
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        names: HashSet::new(),
        nodes: 0,
        text: 0,
        copied: 0,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| tree.scan_error(&error))?;
        tree.event(event, &span)?;
    }
    let start = Pos { line: 1, column: 1 };
    Ok(tree.root.unwrap_or(Node {
        pos: start,
        kind: Kind::Null,
    }))
}

/// A collection that has not ended.
struct Open<'a> {
    pos: Pos,
    anchor: usize,
    inside: Inside<'a>,
}

enum Inside<'a> {
    List(Vec<Node<'a>>),
    Map {
        entries: Vec<(Key<'a>, Node<'a>)>,
        key: Option<KeyOf<'a>>,
        merged: Vec<Vec<(Key<'a>, Node<'a>)>>,
    },
}

enum KeyOf<'a> {
    Entry(Key<'a>),
    Merge,
}

struct Tree<'a> {
    source: &'a Source,
    dialect: Dialect,
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    /// Nodes with an anchor, each with how many nodes it is.
    anchors: HashMap<usize, (Node<'a>, usize)>,
    names: HashSet<Cow<'a, str>>,
    nodes: usize,
    text: usize,
    copied: usize,
}

impl<'a> Tree<'a> {
    fn event(&mut self, event: Event<'a>, span: &Span) -> Result<(), Error> {
        let pos = position(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(pos)?;
                self.scalar(text, style, anchor, tag.as_deref(), pos)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection(tag.as_deref(), "seq", pos)?;
                self.begin(pos, anchor, Inside::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection(tag.as_deref(), "map", pos)?;
                self.begin(
                    pos,
                    anchor,
                    Inside::Map {
                        entries: Vec::new(),
                        key: None,
                        merged: Vec::new(),
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                self.count(pos)?;
                self.alias(anchor, pos)
            }
            Event::Anchor(_, name) => match self.names.insert(name) {
                true => Ok(()),
                false => Err(self.invalid(pos, "this anchor is given twice")),
            },
            _ => Ok(()),
        }
    }

    fn invalid(&self, pos: Pos, message: impl Into<String>) -> Error {
        Error::Yaml {
            at: self.source.place(pos),
            message: message.into(),
        }
    }

    fn too_complex(&self, pos: Pos, message: impl Into<String>) -> Error {
        Error::TooComplex {
            at: self.source.place(pos),
            message: message.into(),
        }
    }

    fn too_deep(&self, pos: Pos) -> Error {
        self.too_complex(
            pos,
            format!("it is nested more than {} deep", limits::YAML_DEPTH),
        )
    }

    fn scan_error(&self, error: &ScanError) -> Error {
        let pos = position(error.marker().line(), error.marker().col());
        let message = error.info();
        // The parser's own limits on nesting, which it reports as syntax errors.
        if message.contains("recursion limit") || message.contains("nesting") {
            return self.too_deep(pos);
        }
        if message.contains("unknown anchor") {
            return self.invalid(pos, "reference to unknown value");
        }
        let plain = message
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c });
        self.invalid(pos, plain.take(300).collect::<String>())
    }

    fn count(&mut self, pos: Pos) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > limits::YAML_NODES {
            let message = format!("it has more than {} nodes", limits::YAML_NODES);
            return Err(self.too_complex(pos, message));
        }
        // A second document is read only to be refused as such.
        if self.root.is_some() {
            return Err(self.invalid(pos, "only single YAML document expected but multiple found"));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        pos: Pos,
    ) -> Result<(), Error> {
        self.text += text.len();
        if self.text > limits::YAML_TEXT {
            let message = format!("it has more than {} bytes of text", limits::YAML_TEXT);
            return Err(self.too_complex(pos, message));
        }
        let plain = style == ScalarStyle::Plain;
        if plain && tag.is_none() && text == "<<" && self.expects_key() {
            return self.key(KeyOf::Merge, pos);
        }
        let resolved = scalar::resolve(text, plain, tag, self.dialect);
        let kind = resolved.map_err(|message| self.invalid(pos, message))?;
        let node = Node { pos, kind };
        self.remember(anchor, &node, 1)?;
        self.value(node)
    }

    fn collection(&mut self, tag: Option<&Tag>, kind: &str, pos: Pos) -> Result<(), Error> {
        self.count(pos)?;
        if let Some(tag) = tag
            && tag.core_suffix() != Some(kind)
            && !scalar::is_non_specific(tag)
        {
            return Err(self.invalid(pos, scalar::unsupported(tag)));
        }
        Ok(())
    }

    fn begin(&mut self, pos: Pos, anchor: usize, inside: Inside<'a>) -> Result<(), Error> {
        if self.expects_key() {
            return Err(self.invalid(pos, "expected string scalar"));
        }
        if self.open.len() >= limits::YAML_DEPTH {
            return Err(self.too_deep(pos));
        }
        self.open.push(Open {
            pos,
            anchor,
            inside,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open.inside {
            Inside::List(mut items) => {
                // Most lists and mappings are small, and there can be very many of them.
                items.shrink_to_fit();
                Kind::List(items)
            }
            Inside::Map {
                entries, merged, ..
            } => {
                let mut entries = self.with_merged(entries, merged);
                entries.shrink_to_fit();
                Kind::Map(entries)
            }
        };
        let node = Node {
            pos: open.pos,
            kind,
        };
        if open.anchor != 0 {
            let size = size(&node);
            self.remember(open.anchor, &node, size)?;
        }
        self.value(node)
    }

    /// A mapping's own entries count before merged ones, and of these the first. PyYAML puts merged entries in front.
    fn with_merged(
        &self,
        mut own: Vec<(Key<'a>, Node<'a>)>,
        merged: Vec<Vec<(Key<'a>, Node<'a>)>>,
    ) -> Vec<(Key<'a>, Node<'a>)> {
        if merged.is_empty() {
            return own;
        }
        let mut seen: HashSet<Cow<'a, str>> = own.iter().map(|(key, _)| key.text.clone()).collect();
        let mut more: Vec<_> = merged.into_iter().flatten().collect();
        more.retain(|(key, _)| seen.insert(key.text.clone()));
        match self.dialect {
            Dialect::Native => {
                own.extend(more);
                own
            }
            Dialect::Ansible => {
                more.extend(own);
                more
            }
        }
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                inside: Inside::Map { key: None, .. },
                ..
            })
        )
    }

    fn key(&mut self, of: KeyOf<'a>, pos: Pos) -> Result<(), Error> {
        match self.open.last_mut() {
            Some(Open {
                inside: Inside::Map { key, .. },
                ..
            }) => {
                *key = Some(of);
                Ok(())
            }
            _ => Err(self.invalid(pos, "a key outside a mapping")),
        }
    }

    /// Puts a finished node where it belongs.
    fn value(&mut self, node: Node<'a>) -> Result<(), Error> {
        if self.expects_key() {
            let pos = node.pos;
            let text = scalar::key(node.kind, self.dialect)
                .map_err(|message| self.invalid(pos, message))?;
            return self.key(KeyOf::Entry(Key { pos, text }), pos);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let merge = match &mut open.inside {
            Inside::List(items) => {
                items.push(node);
                return Ok(());
            }
            Inside::Map {
                entries,
                key,
                merged,
            } => match key.take() {
                Some(KeyOf::Entry(key)) => {
                    entries.push((key, node));
                    return Ok(());
                }
                _ => merged,
            },
        };
        let pos = node.pos;
        let refused = "a merge key takes a mapping, or a list of mappings";
        match node.kind {
            Kind::Map(entries) => merge.push(entries),
            Kind::List(items) => {
                for item in items {
                    let Kind::Map(entries) = item.kind else {
                        return Err(self.invalid(pos, refused));
                    };
                    merge.push(entries);
                }
            }
            _ => return Err(self.invalid(pos, refused)),
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node<'a>, size: usize) -> Result<(), Error> {
        if anchor == 0 {
            return Ok(());
        }
        self.copied += size;
        if self.anchors.len() >= ANCHORS || self.copied > limits::YAML_ALIAS_EVENTS {
            return Err(self.too_complex(node.pos, "it has too many anchors or aliases"));
        }
        self.anchors.insert(anchor, (node.clone(), size));
        Ok(())
    }

    fn alias(&mut self, anchor: usize, pos: Pos) -> Result<(), Error> {
        let Some((_, size)) = self.anchors.get(&anchor) else {
            return Err(self.invalid(pos, "reference to unknown value"));
        };
        self.copied += size;
        if self.copied > limits::YAML_ALIAS_EVENTS {
            let message = format!(
                "its aliases repeat more than {} nodes",
                limits::YAML_ALIAS_EVENTS
            );
            return Err(self.too_complex(pos, message));
        }
        let Some((node, _)) = self.anchors.get(&anchor) else {
            return Ok(());
        };
        let mut node = node.clone();
        move_to(&mut node, pos);
        self.value(node)
    }
}

fn position(line: usize, column: usize) -> Pos {
    let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Pos {
        line: clamp(line),
        column: clamp(column + 1),
    }
}

/// How many nodes a node is, keys among them. Recursion is as deep as the tree, which is bounded.
fn size(node: &Node<'_>) -> usize {
    match &node.kind {
        Kind::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Map(entries) => {
            let entry = |(_, node): &(Key<'_>, Node<'_>)| 1 + size(node);
            1 + entries.iter().map(entry).sum::<usize>()
        }
        _ => 1,
    }
}

/// An alias stands where it is used, with all that is in it.
fn move_to(node: &mut Node<'_>, pos: Pos) {
    node.pos = pos;
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| move_to(item, pos)),
        Kind::Map(entries) => {
            for (key, node) in entries {
                key.pos = pos;
                move_to(node, pos);
            }
        }
        _ => {}
    }
}
