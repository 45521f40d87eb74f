//! A YAML text as a tree in which every node knows its line and column.
//!
//! The readers of inventories walk this tree, so that their errors point at the exact node, and so that one set of
//! budgets guards them all: nodes, depth, text and aliases are bounded while the parser runs, before the tree grows.
//! It gives no meaning to any key, and lets duplicate keys through, for the reader to report with both places.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Location, MessageFormatter, Options, Spanned, UserMessageFormatter};

use crate::error::Error;
use crate::limits;
use crate::place::{Pos, Source};

/// A YAML node and where it begins. An alias stands where it is used.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub pos: Pos,
    pub kind: Kind<'a>,
}

/// What a node is. Text borrows from the file where it holds no escape.
#[derive(Debug)]
pub(crate) enum Kind<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number above `i64::MAX`.
    Large(u64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Map(Vec<(Key<'a>, Node<'a>)>),
}

/// The key of a mapping's entry. Every key is read as text: `1:` is the key "1".
#[derive(Debug)]
pub(crate) struct Key<'a> {
    pub pos: Pos,
    pub text: Cow<'a, str>,
}

impl Kind<'_> {
    /// What this is, for "must be …, not …".
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) | Kind::Large(_) | Kind::Float(_) => "a number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Parses one YAML document. An empty text is a document that is null.
pub(crate) fn parse(source: &Source) -> Result<Node<'_>, Error> {
    serde_saphyr::from_str_with_options(&source.text, options())
        .map_err(|error| explain(source, &error))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: limits::YAML_NODES * 2,
            max_nodes: limits::YAML_NODES,
            max_depth: limits::YAML_DEPTH,
            flow_nesting_limit: limits::YAML_DEPTH,
            max_total_scalar_bytes: limits::YAML_TEXT,
            // A second document is read only to be refused as such.
            max_documents: 2,
            max_anchors: 10_000,
            max_aliases: 10_000,
            max_recorded_anchor_events: limits::YAML_ALIAS_EVENTS,
            max_recorded_anchor_bytes: limits::YAML_TEXT / 4,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::YAML_ALIAS_EVENTS,
            max_replay_stack_depth: limits::YAML_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Merge,
        // YAML 1.2: Norway's `no` and the file mode `0755` are text, as they look.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn explain(source: &Source, error: &serde_saphyr::Error) -> Error {
    use serde_saphyr::Error as Yaml;
    let at = source.place(position(error.location().unwrap_or(Location::UNKNOWN)));
    let mut error = error.without_snippet();
    while let Yaml::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let message = match error {
        Yaml::Budget { breach, .. } => {
            return Error::TooComplex {
                at,
                message: breached(breach),
            };
        }
        Yaml::AliasReplayCounterOverflow { .. }
        | Yaml::AliasReplayLimitExceeded { .. }
        | Yaml::AliasExpansionLimitExceeded { .. }
        | Yaml::AliasReplayStackDepthExceeded { .. } => {
            let message = format!(
                "its aliases repeat more than {} nodes",
                limits::YAML_ALIAS_EVENTS
            );
            return Error::TooComplex { at, message };
        }
        error => UserMessageFormatter.format_message(error),
    };
    // The parser's own limit on brackets, which it reports as a syntax error without a kind.
    if message.contains("recursion limit exceeded") {
        return Error::TooComplex {
            at,
            message: too_deep(),
        };
    }
    Error::Yaml {
        at,
        message: message
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(300)
            .collect(),
    }
}

fn too_deep() -> String {
    format!("it is nested more than {} deep", limits::YAML_DEPTH)
}

fn breached(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } => {
            format!("it has more than {} nodes", limits::YAML_NODES)
        }
        BudgetBreach::Depth { .. } => too_deep(),
        BudgetBreach::ScalarBytes { .. } => {
            format!("it has more than {} bytes of text", limits::YAML_TEXT)
        }
        BudgetBreach::MergeKeys { .. } => "it has too many merge keys".to_owned(),
        _ => "it has too many anchors or aliases".to_owned(),
    }
}

fn position(location: Location) -> Pos {
    let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Pos {
        line: clamp(location.line()),
        column: clamp(location.column()),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind<'a>>::deserialize(deserializer)?;
        Ok(Node {
            pos: position(spanned.referenced),
            kind: spanned.value,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Kind<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Text<'a>>::deserialize(deserializer)?;
        Ok(Key {
            pos: position(spanned.referenced),
            text: spanned.value.0,
        })
    }
}

/// A scalar taken as text, whatever it looks like.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text key")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Kind::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Kind::Large(value), Kind::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Kind::Float(value))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Kind::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Kind::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Kind::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        // Most lists and mappings are small, and there can be very many of them.
        items.shrink_to_fit();
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        entries.shrink_to_fit();
        Ok(Kind::Map(entries))
    }
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
        match parse(&Source::new("t.yaml", text)) {
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
        insta::assert_snapshot!(read("[no, 0755, 1_000, true, -3, 18446744073709551615, '1']"), @r#"[Text("no")@1:2 Text("0755")@1:6 Text("1_000")@1:12 Bool(true)@1:19 Int(-3)@1:25 Large(18446744073709551615)@1:29 Text("1")@1:51]@1:1"#);
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
