//! A YAML or JSON text as a tree in which every node knows its line and column.
//!
//! The readers of inventories walk this tree, so that their errors point at the exact node, and so that one set of
//! budgets guards them all: nodes, depth, text and aliases are bounded while the parser runs, before the tree grows.
//! It gives no meaning to any key, and lets duplicate keys through, for the reader to report with both places.

mod json;
mod scalar;
mod value;
mod yaml;

use std::borrow::Cow;

use crate::error::Error;
use crate::limits;
use crate::place::{Pos, Source};

pub(crate) use value::{entries, found, mapping, value};

/// Whose rules say what a plain scalar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// YAML 1.2: Norway's `no` and the file mode `0755` are text, as they look.
    Native,
    /// YAML 1.1 as PyYAML reads it, with Ansible's tags; a text that is JSON is read as JSON.
    Ansible,
}

/// A node and where it begins. An alias stands where it is used.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub pos: Pos,
    pub kind: Kind<'a>,
}

/// What a node is. Text borrows from the file where it holds no escape.
#[derive(Clone, Debug)]
pub(crate) enum Kind<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Cow<'a, str>),
    /// Text that `ansible-vault` has encrypted.
    Vault(Cow<'a, str>),
    /// Text that Ansible must never take for a template.
    Unsafe(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// The key of a mapping's entry. Every key is text: `1:` is the key "1".
#[derive(Clone, Debug)]
pub(crate) struct Key<'a> {
    pub pos: Pos,
    pub text: Cow<'a, str>,
}

impl Node<'_> {
    /// A node that is not there.
    pub(crate) fn nothing(pos: Pos) -> Self {
        Node {
            pos,
            kind: Kind::Null,
        }
    }
}

impl Kind<'_> {
    /// What this is, for "must be …, not …".
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Text(_) | Kind::Unsafe(_) => "text",
            Kind::Vault(_) => "an encrypted text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Parses one document. An empty text is a document that is null.
pub(crate) fn parse(source: &Source, dialect: Dialect) -> Result<Node<'_>, Error> {
    if dialect == Dialect::Ansible
        && source.text.trim_start().starts_with('{')
        && let Ok(node) = json::parse(source, limits::YAML_NODES)
    {
        return Ok(node);
    }
    yaml::parse(source, dialect)
}

/// Parses a text that has to be JSON, as a program has printed it.
pub(crate) fn parse_printed(source: &Source) -> Result<Node<'_>, Error> {
    json::parse(source, limits::PRINTED_NODES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(node: &Node<'_>) -> String {
        let kind = match &node.kind {
            Kind::List(items) => format!(
                "[{}]",
                items.iter().map(shape).collect::<Vec<_>>().join(" ")
            ),
            Kind::Map(entries) => {
                let entry = |(key, node): &(Key<'_>, Node<'_>)| {
                    format!(
                        "{}@{}:{}={}",
                        key.text,
                        key.pos.line,
                        key.pos.column,
                        shape(node)
                    )
                };
                format!(
                    "{{{}}}",
                    entries.iter().map(entry).collect::<Vec<_>>().join(" ")
                )
            }
            other => format!("{other:?}"),
        };
        format!("{kind}@{}:{}", node.pos.line, node.pos.column)
    }

    fn read(text: &str) -> String {
        match parse(&Source::new("t.yaml", text), Dialect::Native) {
            Ok(node) => shape(&node),
            Err(error) => format!("{} {error}", error.code()),
        }
    }

    #[test]
    fn every_node_knows_its_place() {
        insta::assert_snapshot!(read("a: 1\nb:\n  - x\n  - {c: ~, \"d e\": 1.5}\n"), @r#"{a@1:1=Int(1)@1:4 b@2:1=[Text("x")@3:5 {c@4:6=Null@4:9 d e@4:12=Float(1.5)@4:19}@4:5]@3:3}@1:1"#);
    }

    #[test]
    fn text_that_looks_like_text_stays_text() {
        insta::assert_snapshot!(read("[no, 0755, 1_000, true, -3, 18446744073709551615, '1']"), @r#"[Text("no")@1:2 Text("0755")@1:6 Text("1_000")@1:12 Bool(true)@1:19 Int(-3)@1:25 Int(18446744073709551615)@1:29 Text("1")@1:51]@1:1"#);
    }

    #[test]
    fn duplicate_keys_pass_and_any_scalar_is_a_key() {
        insta::assert_snapshot!(read("{1: a, 1: b, true: c}"), @r#"{1@1:2=Text("a")@1:5 1@1:8=Text("b")@1:11 true@1:14=Text("c")@1:20}@1:1"#);
    }

    #[test]
    fn an_alias_stands_where_it_is_used_and_a_merge_key_merges() {
        insta::assert_snapshot!(read("a: &x {p: 1}\nb: *x\nc:\n  <<: *x\n  q: 2\n"), @"{a@1:1={p@1:8=Int(1)@1:11}@1:7 b@2:1={p@2:4=Int(1)@2:4}@2:4 c@3:1={q@5:3=Int(2)@5:6 p@4:7=Int(1)@4:7}@4:3}@1:1");
    }

    #[test]
    fn an_empty_text_is_null() {
        assert!(read("").starts_with("Null@"));
        assert!(read("# only a comment\n").starts_with("Null@"));
    }
}
