//! Plain lists of hosts: a name or a node set a line, `#` begins a comment; node sets by themselves; names from elsewhere.
//!
//! Hosts of a list are in no group of their own, so that they are in Ansible's `ungrouped`, and are reached over SSH unless a
//! variable says otherwise. A list is a set: a name that comes again changes nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::ansible::address::{self, Wrong};
use crate::builder::{Builder, Names};
use crate::chosen::Operator;
use crate::error::Error;
use crate::expand;
use crate::input::Named;
use crate::native;
use crate::nodeset;
use crate::place::{Pos, Source, Spot};
use crate::value::Value;
use crate::vars::{Var, Vars};

/// Whether a file that could be Ansible's INI is a list: it has a node set, and neither sections nor variables.
pub(crate) fn is_list(text: &str) -> bool {
    let mut has_node_set = false;
    for line in text.lines() {
        let line = content(line).trim();
        if line.starts_with('[') && !nodeset::is_template(line) || line.contains(['=', ';']) {
            return false;
        }
        has_node_set |= nodeset::is_template(line) || line.contains(['!', '&', '^']);
    }
    has_node_set
}

/// A line without its comment.
fn content(line: &str) -> &str {
    line.split('#').next().unwrap_or("")
}

/// Reads a list, every line of it.
pub(crate) fn read(builder: &mut Builder, index: u32, source: &Source) -> Result<(), Error> {
    let mut list = List::new(builder, index);
    for (line, text) in (1u32..).zip(source.text.lines()) {
        let text = content(text);
        if !text.trim().is_empty() {
            list.line(source, line, text)?;
        }
    }
    Ok(())
}

/// Takes in names that stand in other files.
pub(crate) fn read_names(builder: &mut Builder, names: &[Named]) -> Result<(), Error> {
    let mut files: HashMap<&Path, u32> = HashMap::new();
    for named in names {
        // Errors show the line.
        let index = match files.get(&*named.file) {
            Some(index) => *index,
            None => {
                let (index, _) = builder.files.read(&named.file)?;
                files.insert(&named.file, index);
                index
            }
        };
        let mut list = List::new(builder, index);
        list.vars = named.arguments.as_ref().and_then(|arguments| {
            Vars::new(vec![Var {
                name: "ansible_ssh_common_args".into(),
                value: Value::Text(arguments.clone()),
                spot: list.spot(named.line, 0),
            }])
        });
        list.name(named.line, 0, &named.name)?;
    }
    Ok(())
}

struct List<'b> {
    builder: &'b mut Builder,
    source: u32,
    ungrouped: u32,
    vars: Option<Arc<Vars>>,
}

impl<'b> List<'b> {
    fn new(builder: &'b mut Builder, source: u32) -> Self {
        let pos = Pos { line: 1, column: 1 };
        let ungrouped = builder.ungrouped(Spot { source, pos });
        List {
            builder,
            source,
            ungrouped,
            vars: None,
        }
    }

    fn spot(&self, line: u32, offset: usize) -> Spot {
        Spot {
            source: self.source,
            pos: Pos {
                line,
                column: u32::try_from(offset + 1).unwrap_or(u32::MAX),
            },
        }
    }

    fn line(&mut self, source: &Source, line: u32, text: &str) -> Result<(), Error> {
        if !text.contains(['[', ']', ',', '!', '&', '^']) {
            let indent = text.chars().take_while(|c| c.is_whitespace()).count();
            return self.name(line, indent, text.trim());
        }
        let items = expand::parse(source, line, 0, text)?;
        for item in &items {
            if let Some(reason) = native::flaw_of_name(&item.template) {
                return Err(self.bad_name(line, item.offset, text.trim(), reason));
            }
        }
        if items.iter().all(|item| item.operator == Operator::Join) {
            for item in items {
                let spot = self.spot(line, item.offset);
                self.list(Names::Range(item.template), spot)?;
            }
            return Ok(());
        }
        for name in expand::names(&items) {
            self.name(line, 0, &name)?;
        }
        Ok(())
    }

    fn name(&mut self, line: u32, offset: usize, name: &str) -> Result<(), Error> {
        match address::one(name) {
            Ok(names) => self.list(names, self.spot(line, offset)),
            Err(Wrong::Name(reason)) => Err(self.bad_name(line, offset, name, reason)),
            Err(Wrong::Range(flaw)) => Err(Error::BadRange {
                at: self.builder.place(self.spot(line, offset + flaw.offset)),
                reason: flaw.reason,
            }),
        }
    }

    fn list(&mut self, names: Names, spot: Spot) -> Result<(), Error> {
        self.builder
            .listed(Some(self.ungrouped), names, spot, self.vars.clone(), None)
    }

    fn bad_name(&self, line: u32, offset: usize, name: &str, reason: &'static str) -> Error {
        Error::BadName {
            at: self.builder.place(self.spot(line, offset)),
            what: "host name",
            name: name.to_owned(),
            reason,
            next: "write one name or node set a line, such as web1.eu or node[001-500,600]",
        }
    }
}
