//! Executable inventories: a program that prints JSON when it is called with `--list`.
//!
//! Its groups are mappings with `hosts`, `children` and `vars`, or lists of hosts; `_meta` has the variables of hosts, and
//! without it the program is called with `--host NAME` for each. It is run without a shell and without input, and is
//! stopped when it takes too long or prints too much.

mod run;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::address::{self, Address};
use super::groups;
use crate::builder::Builder;
use crate::document::{self, Dialect, Key, Kind as Is, Node};
use crate::error::Error;
use crate::place::{Pos, Source, Spot};
use crate::vars::{Var, Vars};

pub(crate) use run::{Kind, is_program};

/// Runs a program, and reads what it prints into the builder.
pub(crate) fn read(builder: &mut Builder, path: &Path) -> Result<(), Error> {
    let program = run::Program::new(path)?;
    let text = program.output(&["--list"], builder.files.left())?;
    let name = format!("{} --list", path.display());
    let (index, source) = builder.files.take(Source::new(&name, text), path);
    let root = document::parse_printed(&source)?;
    read_printed(builder, index, &source, &root, Some((path, &program)))
}

/// Reads what a program has printed. Without a program, hosts have the variables under `_meta` alone.
pub(crate) fn read_printed(
    builder: &mut Builder,
    index: u32,
    source: &Source,
    root: &Node<'_>,
    program: Option<(&Path, &run::Program)>,
) -> Result<(), Error> {
    let entries = document::entries(source, root, || "an inventory".to_owned())?;
    let mut reader = Reader {
        builder,
        source,
        index,
        meta: None,
        program,
        seen: HashSet::new(),
    };
    reader.builder.ungrouped(reader.spot(root.pos));
    let hostvars = entries
        .iter()
        .filter(|(key, _)| key.text == "_meta")
        .flat_map(|(_, meta)| match &meta.kind {
            Is::Map(entries) => entries.as_slice(),
            _ => &[],
        })
        .find(|(key, _)| key.text == "hostvars");
    if let Some((_, hostvars)) = hostvars {
        let entries = document::entries(source, hostvars, || "hostvars".to_owned())?;
        let of_hosts = entries.iter().map(|(key, node)| (&*key.text, node));
        reader.meta = Some(of_hosts.collect());
    }
    for (key, body) in entries {
        if key.text != "_meta" {
            reader.group(key, body)?;
        }
    }
    Ok(())
}

struct Reader<'b, 'n> {
    builder: &'b mut Builder,
    source: &'n Source,
    index: u32,
    /// The variables of hosts, if the program gives them all at once.
    meta: Option<HashMap<&'n str, &'n Node<'n>>>,
    program: Option<(&'b Path, &'b run::Program)>,
    /// Hosts that have their variables.
    seen: HashSet<&'n str>,
}

impl<'n> Reader<'_, 'n> {
    fn spot(&self, pos: Pos) -> Spot {
        Spot {
            source: self.index,
            pos,
        }
    }

    fn bad(&self, node: &Node<'_>, what: String, expected: &'static str) -> Error {
        Error::BadValue {
            at: self.source.place(node.pos),
            what,
            expected,
            found: document::found(node),
        }
    }

    fn group(&mut self, key: &'n Key<'n>, body: &'n Node<'n>) -> Result<(), Error> {
        let name = &*key.text;
        let group = groups::group(self.builder, name, self.spot(key.pos))?;
        if let Is::List(hosts) = &body.kind {
            return self.hosts(group, name, hosts);
        }
        for (key, node) in document::entries(self.source, body, || format!("group {name}"))? {
            match (&*key.text, &node.kind) {
                ("hosts", Is::List(hosts)) => self.hosts(group, name, hosts)?,
                ("hosts", _) => {
                    return Err(self.bad(node, format!("the hosts of {name}"), "a list"));
                }
                ("children", Is::List(children)) => self.children(group, name, children)?,
                ("children", _) => {
                    return Err(self.bad(node, format!("the children of {name}"), "a list"));
                }
                ("vars", _) => {
                    let (source, index) = (self.source, self.index);
                    let what = format!("the vars of {name}");
                    for var in vars(self.builder, source, index, node, what)? {
                        groups::set(self.builder, group, &var.name, var.value, var.spot)?;
                    }
                }
                (other, _) => {
                    return Err(Error::UnknownKey {
                        at: self.source.place(key.pos),
                        key: other.to_owned(),
                        within: "a group that a program prints",
                        known: "hosts, children, vars".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    fn children(
        &mut self,
        group: Option<u32>,
        name: &str,
        children: &[Node<'_>],
    ) -> Result<(), Error> {
        for node in children {
            let Is::Text(child) = &node.kind else {
                return Err(self.bad(node, format!("a child of {name}"), "the name of a group"));
            };
            let spot = self.spot(node.pos);
            let index = groups::group(self.builder, child, spot)?;
            groups::child(self.builder, group, (child, index), spot)?;
        }
        Ok(())
    }

    fn hosts(
        &mut self,
        group: Option<u32>,
        name: &str,
        hosts: &'n [Node<'n>],
    ) -> Result<(), Error> {
        for node in hosts {
            let Is::Text(host) = &node.kind else {
                return Err(self.bad(node, format!("a host of {name}"), "text"));
            };
            let address = address::one(host).map(|names| Address { names, port: None });
            let vars = match address.is_ok() && self.seen.insert(host) {
                true => self.vars_of(host)?,
                false => None,
            };
            groups::hosts(
                self.builder,
                group,
                host,
                address,
                self.spot(node.pos),
                vars,
            )?;
        }
        Ok(())
    }

    fn vars_of(&mut self, host: &'n str) -> Result<Option<Arc<Vars>>, Error> {
        let what = format!("the variables of host {host}");
        if let Some(meta) = &self.meta {
            let Some(node) = meta.get(host) else {
                return Ok(None);
            };
            let vars = vars(self.builder, self.source, self.index, node, what)?;
            return Ok(Vars::new(vars));
        }
        let Some((path, program)) = self.program else {
            return Ok(None);
        };
        let text = program.output(&["--host", host], self.builder.files.left())?;
        let name = format!("{} --host {host}", path.display());
        let (index, source) = self.builder.files.take(Source::new(&name, text), path);
        let root = document::parse(&source, Dialect::Ansible)?;
        Ok(Vars::new(vars(self.builder, &source, index, &root, what)?))
    }
}

fn vars(
    builder: &mut Builder,
    source: &Source,
    index: u32,
    node: &Node<'_>,
    what: String,
) -> Result<Vec<Var>, Error> {
    let entries = document::entries(source, node, || what.clone())?;
    let mut vars = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        vars.push(Var {
            name: builder.word(&key.text),
            value: document::value(source, node)?,
            spot: Spot {
                source: index,
                pos: key.pos,
            },
        });
    }
    Ok(vars)
}
