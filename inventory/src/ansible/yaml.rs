//! Ansible's YAML: groups at the top, each with `hosts`, `children` and `vars`, children nested in full.
//!
//! The order of keys counts as it does for Ansible. What it skips with a warning, or without one, is an error here.

use super::{address, groups};
use crate::builder::Builder;
use crate::document::{self, Key, Kind, Node};
use crate::error::Error;
use crate::place::{Pos, Source, Spot};
use crate::vars::{Var, Vars};

/// Reads one source into the builder.
pub(crate) fn read(
    builder: &mut Builder,
    index: u32,
    source: &Source,
    root: &Node<'_>,
) -> Result<(), Error> {
    let mut reader = Reader {
        builder,
        source,
        index,
    };
    reader.builder.ungrouped(reader.spot(root.pos));
    for (key, body) in document::entries(source, root, || "an inventory".to_owned())? {
        reader.group(key, body)?;
    }
    Ok(())
}

struct Reader<'b> {
    builder: &'b mut Builder,
    source: &'b Source,
    index: u32,
}

impl Reader<'_> {
    fn spot(&self, pos: Pos) -> Spot {
        Spot {
            source: self.index,
            pos,
        }
    }

    /// A group and what is in it. Recursion is as deep as the document, which is bounded.
    fn group(&mut self, key: &Key<'_>, body: &Node<'_>) -> Result<Option<u32>, Error> {
        let name = &*key.text;
        let spot = self.spot(key.pos);
        let group = groups::group(self.builder, name, spot)?;
        for (key, body) in document::entries(self.source, body, || format!("group {name}"))? {
            match &*key.text {
                "hosts" => self.hosts(group, name, body)?,
                "children" => self.children(group, name, body)?,
                "vars" => {
                    for var in self.vars(body, || format!("the vars of {name}"))? {
                        groups::set(self.builder, group, &var.name, var.value, var.spot)?;
                    }
                }
                other => {
                    return Err(Error::UnknownKey {
                        at: self.source.place(key.pos),
                        key: other.to_owned(),
                        within: "a group of Ansible's",
                        known:
                            "hosts, children, vars; a group within a group stands under children, and a native inventory begins with groups"
                                .to_owned(),
                    });
                }
            }
        }
        Ok(group)
    }

    /// A text in place of the mapping under `hosts` or `children` is one name.
    fn name<'n>(node: &'n Node<'_>) -> Option<Key<'n>> {
        match &node.kind {
            Kind::Text(text) => Some(Key {
                pos: node.pos,
                text: text.as_ref().into(),
            }),
            _ => None,
        }
    }

    fn children(&mut self, group: Option<u32>, name: &str, node: &Node<'_>) -> Result<(), Error> {
        if let Some(key) = Self::name(node) {
            return self.child(group, &key, &Node::nothing(node.pos));
        }
        let what = || format!("the children of {name}");
        for (key, body) in document::entries(self.source, node, what)? {
            self.child(group, key, body)?;
        }
        Ok(())
    }

    fn child(&mut self, group: Option<u32>, key: &Key<'_>, body: &Node<'_>) -> Result<(), Error> {
        let child = self.group(key, body)?;
        let spot = self.spot(key.pos);
        groups::child(self.builder, group, (&key.text, child), spot)
    }

    fn hosts(&mut self, group: Option<u32>, name: &str, node: &Node<'_>) -> Result<(), Error> {
        if let Some(key) = Self::name(node) {
            return self.host(group, &key, &Node::nothing(node.pos));
        }
        let what = || format!("the hosts of {name}");
        for (key, body) in document::entries(self.source, node, what)? {
            self.host(group, key, body)?;
        }
        Ok(())
    }

    fn host(&mut self, group: Option<u32>, key: &Key<'_>, body: &Node<'_>) -> Result<(), Error> {
        let vars = Vars::new(self.vars(body, || format!("the vars of host {}", key.text))?);
        let spot = self.spot(key.pos);
        let address = address::parse(&key.text);
        groups::hosts(self.builder, group, &key.text, address, spot, vars)
    }

    fn vars(&mut self, node: &Node<'_>, what: impl Fn() -> String) -> Result<Vec<Var>, Error> {
        let entries = document::entries(self.source, node, what)?;
        let mut vars = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            vars.push(Var {
                name: self.builder.word(&key.text),
                value: document::value(self.source, node)?,
                spot: self.spot(key.pos),
            });
        }
        Ok(vars)
    }
}
