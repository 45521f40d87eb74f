//! What `ansible-inventory --list` prints for an inventory, byte for byte.
//!
//! Groups with their hosts and children, `all` among them, and under `_meta` the variables of each host as they are in
//! force. Keys are sorted, the indentation is four blanks, and text is not escaped beyond what JSON demands. Variables
//! that Ansible keeps for itself are left out, as it leaves them out.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::python;
use crate::error::Error;
use crate::model::{Group, Host, Inventory, Membership};
use crate::value::Value;

/// Variables that Ansible never lists.
const INTERNAL: [&str; 19] = [
    "ansible_config_file",
    "ansible_diff_mode",
    "ansible_facts",
    "ansible_forks",
    "ansible_inventory_sources",
    "ansible_limit",
    "ansible_playbook_python",
    "ansible_run_tags",
    "ansible_skip_tags",
    "ansible_verbosity",
    "ansible_version",
    "group_names",
    "groups",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "omit",
    "playbook_dir",
];

impl Inventory {
    /// The JSON that `ansible-inventory --list` prints for the same sources, with a newline at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Encrypted`] if a file of variables is encrypted as a whole: `ansible-inventory` would need the password.
    pub fn ansible_list(&self) -> Result<String, Error> {
        let mut text = Vec::new();
        // Nothing fails that is written to memory, and what is written is text.
        self.write_ansible_list(&mut text)?.unwrap_or_default();
        Ok(String::from_utf8(text).unwrap_or_default())
    }

    /// Writes what [`ansible_list`](Self::ansible_list) gives, piece by piece: it can be a hundred megabytes.
    ///
    /// # Errors
    ///
    /// As [`ansible_list`](Self::ansible_list), before anything is written; within, what the writer says.
    pub fn write_ansible_list(&self, out: &mut dyn io::Write) -> Result<io::Result<()>, Error> {
        if let Some(path) = self.sealed.first() {
            return Err(Error::Encrypted { path: path.clone() });
        }
        let mut writer = Writer {
            text: String::with_capacity(PIECE + PIECE / 4),
            depth: 0,
            empty: true,
            out,
            result: Ok(()),
        };
        let mut groups: Vec<(&str, Option<&Group>)> = self
            .groups
            .iter()
            .map(|group| (&*group.name, Some(group)))
            .collect();
        groups.push(("all", None));
        groups.sort_unstable_by_key(|(name, _)| *name);
        writer.begin('{');
        // `_` comes after capitals and digits, and before small letters.
        let meta = groups.partition_point(|(name, _)| *name < "_meta");
        for (name, group) in &groups[..meta] {
            self.list_group(&mut writer, name, *group);
        }
        self.list_hostvars(&mut writer);
        for (name, group) in &groups[meta..] {
            self.list_group(&mut writer, name, *group);
        }
        writer.end('}');
        writer.text.push('\n');
        writer.flush();
        Ok(writer.result)
    }

    fn list_group(&self, writer: &mut Writer<'_>, name: &str, group: Option<&Group>) {
        let name_of = |index: &u32| &*self.groups[*index as usize].name;
        let children: Vec<&str> = match group {
            Some(group) => group.children.iter().map(name_of).collect(),
            // Ansible always has this group, and has it first.
            None => std::iter::once("ungrouped")
                .chain(
                    self.roots
                        .iter()
                        .map(name_of)
                        .filter(|name| *name != "ungrouped"),
                )
                .collect(),
        };
        let hosts = group.map_or(&[][..], |group| &group.hosts);
        if children.is_empty() && hosts.is_empty() {
            return;
        }
        writer.key(name);
        writer.begin('{');
        if !children.is_empty() {
            writer.key("children");
            writer.begin('[');
            for child in children {
                writer.item();
                writer.string(child);
            }
            writer.end(']');
        }
        if !hosts.is_empty() {
            writer.key("hosts");
            writer.begin('[');
            for host in hosts {
                writer.item();
                writer.string(&self.hosts[*host as usize].name);
            }
            writer.end(']');
        }
        writer.end('}');
    }

    fn list_hostvars(&self, writer: &mut Writer<'_>) {
        writer.key("_meta");
        writer.begin('{');
        writer.key("hostvars");
        writer.begin('{');
        let mut order: Vec<&Host> = self.hosts.iter().collect();
        order.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut common: HashMap<*const Membership, Vec<(&str, &Value)>> = HashMap::new();
        for host in order {
            let of_groups = common
                .entry(Arc::as_ptr(&host.membership))
                .or_insert_with(|| flat(&host.membership));
            let own = host.vars.iter().flat_map(|vars| vars.iter());
            let own = own
                .map(|var| (&*var.name, &var.value))
                .filter(|(name, _)| !INTERNAL.contains(name));
            let mut vars = merged(of_groups, own).peekable();
            if vars.peek().is_none() {
                continue;
            }
            writer.key(&host.name);
            writer.begin('{');
            for (name, value) in vars {
                writer.key(name);
                writer.value(value);
            }
            writer.end('}');
        }
        writer.end('}');
        writer.end('}');
    }
}

/// The variables of a host's groups in force, by name.
fn flat(membership: &Membership) -> Vec<(&str, &Value)> {
    let vars = membership.layers.iter().flat_map(|layer| layer.iter());
    let all: std::collections::BTreeMap<&str, &Value> =
        vars.map(|var| (&*var.name, &var.value)).collect();
    all.into_iter()
        .filter(|(name, _)| !INTERNAL.contains(name))
        .collect()
}

/// Two sorted lists as one; the second overrides the first.
fn merged<'a>(
    first: &[(&'a str, &'a Value)],
    second: impl Iterator<Item = (&'a str, &'a Value)>,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let mut first = first.iter().copied().peekable();
    let mut second = second.peekable();
    std::iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some(a), Some(b)) if a.0 < b.0 => first.next(),
        (Some(a), Some(b)) => {
            if a.0 == b.0 {
                first.next();
            }
            second.next()
        }
        (Some(_), None) => first.next(),
        (None, _) => second.next(),
    })
}

/// Bytes that are collected before they are written.
const PIECE: usize = 64 * 1024;

/// JSON as Python's writer lays it out.
struct Writer<'o> {
    text: String,
    depth: usize,
    /// Whether the collection that is open has nothing in it yet.
    empty: bool,
    out: &'o mut dyn io::Write,
    /// After the first failure nothing more is written.
    result: io::Result<()>,
}

impl Writer<'_> {
    fn flush(&mut self) {
        if self.result.is_ok() {
            self.result = self.out.write_all(self.text.as_bytes());
        }
        self.text.clear();
    }

    fn begin(&mut self, bracket: char) {
        self.text.push(bracket);
        self.depth += 1;
        self.empty = true;
    }

    fn end(&mut self, bracket: char) {
        self.depth -= 1;
        if !self.empty {
            self.line();
        }
        self.text.push(bracket);
        self.empty = false;
    }

    fn line(&mut self) {
        const BLANKS: &str = "                                                                ";
        self.text.push('\n');
        let mut left = self.depth * 4;
        while left > 0 {
            let some = left.min(BLANKS.len());
            self.text.push_str(&BLANKS[..some]);
            left -= some;
        }
    }

    fn item(&mut self) {
        if self.text.len() >= PIECE {
            self.flush();
        }
        if !self.empty {
            self.text.push(',');
        }
        self.line();
        self.empty = false;
    }

    fn key(&mut self, name: &str) {
        self.item();
        self.string(name);
        self.text.push_str(": ");
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c == '"' || c == '\\' || c < ' ') {
            self.text.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                b'"' => self.text.push_str("\\\""),
                b'\\' => self.text.push_str("\\\\"),
                b'\n' => self.text.push_str("\\n"),
                b'\r' => self.text.push_str("\\r"),
                b'\t' => self.text.push_str("\\t"),
                8 => self.text.push_str("\\b"),
                12 => self.text.push_str("\\f"),
                other => self.text.push_str(&format!("\\u{other:04x}")),
            }
            rest = &rest[at + 1..];
        }
        self.text.push_str(rest);
        self.text.push('"');
    }

    /// Recursion is as deep as the value, which readers bound.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.text.push_str("null"),
            Value::Bool(true) => self.text.push_str("true"),
            Value::Bool(false) => self.text.push_str("false"),
            Value::Int(number) => self.text.push_str(&number.to_string()),
            Value::Float(number) => self.text.push_str(&python::float(*number)),
            Value::Text(text) => self.string(text),
            Value::List(items) => {
                self.begin('[');
                for item in items {
                    self.item();
                    self.value(item);
                }
                self.end(']');
            }
            Value::Map(map) => {
                self.begin('{');
                for (key, value) in map {
                    self.key(key);
                    self.value(value);
                }
                self.end('}');
            }
        }
    }
}
