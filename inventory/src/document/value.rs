//! What readers of every format take from a tree: mappings without repeated keys, and values as they are kept.

use std::collections::{BTreeMap, HashMap};

use super::{Key, Kind, Node};
use crate::error::Error;
use crate::place::{Pos, Source, quoted};
use crate::value::Value;

/// The entries of a mapping; nothing (`hosts:` with no value) is an empty one.
pub(crate) fn mapping<'n, 'a>(
    source: &Source,
    node: &'n Node<'a>,
    what: impl Fn() -> String,
) -> Result<&'n [(Key<'a>, Node<'a>)], Error> {
    match &node.kind {
        Kind::Map(entries) => Ok(entries),
        Kind::Null => Ok(&[]),
        _ => Err(Error::BadValue {
            at: source.place(node.pos),
            what: what(),
            expected: "a mapping",
            found: found(node),
        }),
    }
}

/// The entries of a mapping, which has each key once.
pub(crate) fn entries<'n, 'a>(
    source: &Source,
    node: &'n Node<'a>,
    what: impl Fn() -> String,
) -> Result<&'n [(Key<'a>, Node<'a>)], Error> {
    let entries = mapping(source, node, what)?;
    let twice = |key: &Key<'_>, first: Pos| Error::DuplicateKey {
        at: source.place(key.pos),
        what: format!("the key {}", quoted(&key.text)),
        first: source.place(first),
    };
    // Most mappings are small, and there can be very many of them.
    if entries.len() <= 8 {
        for (index, (key, _)) in entries.iter().enumerate() {
            let mut before = entries[..index].iter();
            if let Some((first, _)) = before.find(|(first, _)| first.text == key.text) {
                return Err(twice(key, first.pos));
            }
        }
        return Ok(entries);
    }
    let mut seen: HashMap<&str, Pos> = HashMap::with_capacity(entries.len());
    for (key, _) in entries {
        if let Some(first) = seen.insert(&key.text, key.pos) {
            return Err(twice(key, first));
        }
    }
    Ok(entries)
}

/// What is there, for "must be …, not …".
pub(crate) fn found(node: &Node<'_>) -> String {
    match &node.kind {
        Kind::Text(text) => quoted(text),
        Kind::Int(value) => value.to_string(),
        kind => kind.name().to_owned(),
    }
}

/// A node as the value of a variable. Recursion is as deep as the tree, which is bounded.
pub(crate) fn value(source: &Source, node: &Node<'_>) -> Result<Value, Error> {
    let marked = |key: &str, text: &str| {
        Value::Map(BTreeMap::from([(
            key.to_owned(),
            Value::Text(text.to_owned()),
        )]))
    };
    Ok(match &node.kind {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Int(value) => Value::Int(*value),
        Kind::Float(value) => Value::Float(*value),
        Kind::Text(text) => Value::Text(text.to_string()),
        // As Ansible writes them in JSON.
        Kind::Vault(text) => marked(crate::ansible::VAULT, text),
        Kind::Unsafe(text) => marked(crate::ansible::UNSAFE, text),
        Kind::List(items) => {
            let items = items.iter().map(|item| value(source, item));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Kind::Map(_) => {
            let mut map = BTreeMap::new();
            for (key, node) in entries(source, node, String::new)? {
                map.insert(key.text.to_string(), value(source, node)?);
            }
            Value::Map(map)
        }
    })
}
