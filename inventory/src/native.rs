//! The native inventory format: YAML with `vars`, `groups` and `policy`, as `docs/inventory.md` describes it.
//!
//! This walks the located tree and feeds the builder. It knows the keys and the kinds of their values, and refuses every
//! other key or kind at its place. Rules about hosts and groups as such are the builder's.

use crate::builder::{Builder, Settings};
use crate::document::{self, Key, Kind, Node};
use crate::error::Error;
use crate::limits;
use crate::model::Transport;
use crate::place::{Pos, Source, Spot};
use crate::range::{Part, Template};
use crate::reach::Reach;
use crate::value::Value;
use crate::vars::{Var, Vars};
use crate::words;

/// Reads one file into the builder.
pub(crate) fn read(
    builder: &mut Builder,
    index: u32,
    source: &Source,
    root: &Node<'_>,
) -> Result<(), Error> {
    Reader {
        source,
        index,
        builder,
    }
    .root(root)
}

type Entry<'n, 'a> = (&'n Key<'a>, &'n Node<'a>);

struct Reader<'b> {
    source: &'b Source,
    index: u32,
    builder: &'b mut Builder,
}

impl Reader<'_> {
    fn spot(&self, pos: Pos) -> Spot {
        Spot {
            source: self.index,
            pos,
        }
    }

    fn bad(&self, node: &Node<'_>, what: String, expected: &'static str) -> Error {
        let found = document::found(node);
        Error::BadValue {
            at: self.source.place(node.pos),
            what,
            expected,
            found,
        }
    }

    fn root(&mut self, root: &Node<'_>) -> Result<(), Error> {
        if matches!(root.kind, Kind::Null) {
            return Ok(());
        }
        let known = ["vars", "transport", "ssh", "groups", "policy"];
        let [vars, transport, ssh, groups, policy] = self.fields(root, "an inventory", known)?;
        self.reach_of(None, "all hosts", transport, ssh)?;
        if let Some((_, vars)) = vars {
            self.vars(None, vars)?;
        }
        if let Some((_, groups)) = groups {
            for (key, body) in self.entries(groups, || "groups".to_owned())? {
                self.group(key, body)?;
            }
        }
        if let Some((key, policy)) = policy {
            let Kind::Map(_) = policy.kind else {
                return Err(self.bad(policy, "the policy".to_owned(), "a mapping"));
            };
            let value = self.value(policy)?;
            self.builder.policy(value, self.spot(key.pos))?;
        }
        Ok(())
    }

    fn group(&mut self, key: &Key<'_>, body: &Node<'_>) -> Result<(), Error> {
        let (name, pos) = (&*key.text, key.pos);
        if name.contains(['[', ']']) {
            return Err(self.bad_name(pos, "group name", name, "a group cannot be a range"));
        }
        self.check_name("group name", name, pos)?;
        let group = self.builder.group(name, self.spot(pos));
        if matches!(body.kind, Kind::Null) {
            return Ok(());
        }
        let known = ["hosts", "children", "vars", "transport", "ssh"];
        let [hosts, children, vars, transport, ssh] = self.fields(body, "a group", known)?;
        self.reach_of(Some(group), name, transport, ssh)?;
        if let Some((_, hosts)) = hosts {
            let what = || format!("the hosts of {name}");
            // Not `entries`: a host that is listed twice has an error of its own.
            for (key, body) in self.mapping(hosts, what)? {
                self.host(group, key, body)?;
            }
        }
        if let Some((_, children)) = children {
            let expected = "a list of group names";
            let what = || format!("children of {name}");
            let items: &[Node<'_>] = match &children.kind {
                Kind::List(items) => items,
                Kind::Null => &[],
                _ => return Err(self.bad(children, what(), expected)),
            };
            self.builder.expect_children(group, items.len());
            for item in items {
                let Kind::Text(child) = &item.kind else {
                    return Err(self.bad(
                        item,
                        format!("a child of {name}"),
                        "the name of a group",
                    ));
                };
                self.builder.child(group, child, self.spot(item.pos));
            }
        }
        match vars {
            Some((_, vars)) => self.vars(Some(group), vars),
            None => Ok(()),
        }
    }

    fn host(&mut self, group: u32, key: &Key<'_>, body: &Node<'_>) -> Result<(), Error> {
        let names = self.check_name("host name", &key.text, key.pos)?;
        let what = format!("host {}", key.text);
        let settings = match &body.kind {
            Kind::Null => None,
            Kind::Map(entries) if entries.is_empty() => None,
            Kind::Map(_) => Some(self.settings(&what, body)?),
            _ => return Err(self.bad(body, what, "a mapping")),
        };
        self.builder
            .hosts(group, names, self.spot(key.pos), settings)
    }

    fn settings(&mut self, host: &str, body: &Node<'_>) -> Result<Settings, Error> {
        let known = ["address", "port", "transport", "ssh", "zone", "vars"];
        let [address, port, transport, ssh, zone, vars] = self.fields(body, "a host", known)?;
        let mut settings = Settings::default();
        if let Some((_, node)) = address {
            let text = self.text(node, || format!("the address of {host}"))?;
            settings.address = Some((self.check_address(text, node.pos)?, self.spot(node.pos)));
        }
        if let Some((_, node)) = port {
            settings.port = Some(self.port(node, || format!("the port of {host}"))?);
        }
        let reach = self.reach(host, transport, ssh)?;
        settings.reach = (reach, ssh.map(|(key, _)| self.spot(key.pos)));
        if let Some((_, node)) = zone {
            let what = || format!("the zone of {host}");
            let zone = self.text(node, what)?;
            if zone.len() > limits::NAME_LENGTH || zone.contains(char::is_control) {
                return Err(self.bad(node, what(), "at most 253 bytes without control characters"));
            }
            settings.zone = Some(zone.into());
        }
        if let Some((_, node)) = vars {
            let mut own = Vec::new();
            for (key, node) in self.entries(node, || format!("vars of {host}"))? {
                own.push(Var {
                    name: self.builder.word(&key.text),
                    value: self.value(node)?,
                    spot: self.spot(key.pos),
                });
            }
            settings.vars = Vars::new(own);
        }
        Ok(settings)
    }

    /// What a group, or the top of the file, says about how its hosts are reached.
    fn reach_of(
        &mut self,
        group: Option<u32>,
        what: &str,
        transport: Option<Entry<'_, '_>>,
        ssh: Option<Entry<'_, '_>>,
    ) -> Result<(), Error> {
        let reach = self.reach(what, transport, ssh)?;
        let set: Vec<(&'static str, Spot)> = [("transport", transport), ("ssh", ssh)]
            .into_iter()
            .filter_map(|(name, entry)| Some((name, self.spot(entry?.0.pos))))
            .collect();
        self.builder.reach(group, &reach, &set)
    }

    fn reach(
        &self,
        what: &str,
        transport: Option<Entry<'_, '_>>,
        ssh: Option<Entry<'_, '_>>,
    ) -> Result<Reach, Error> {
        let mut reach = Reach::default();
        if let Some((_, node)) = transport {
            let named = match &node.kind {
                Kind::Text(text) => Transport::named(text),
                _ => None,
            };
            let Some(named) = named else {
                return Err(self.bad(node, format!("the transport of {what}"), "grpc or ssh"));
            };
            reach.transport = Some(named);
        }
        let Some((_, ssh)) = ssh else {
            return Ok(reach);
        };
        let known = ["user", "port", "identity_file", "args"];
        let [user, port, identity_file, args] = self.fields(ssh, "ssh", known)?;
        if let Some((_, node)) = user {
            let user = self.text(node, || format!("the ssh user of {what}"))?;
            reach.user = Some(user.to_owned());
        }
        if let Some((_, node)) = port {
            reach.port = Some(self.port(node, || format!("the ssh port of {what}"))?);
        }
        if let Some((_, node)) = identity_file {
            let file = self.text(node, || format!("the ssh identity_file of {what}"))?;
            reach.identity_file = Some(file.into());
        }
        if let Some((_, node)) = args {
            reach.args = Some(self.args(node, || format!("the ssh args of {what}"))?);
        }
        Ok(reach)
    }

    /// Arguments: a text that is split as a shell would, or a list of them as they are.
    fn args(&self, node: &Node<'_>, what: impl Fn() -> String) -> Result<Vec<String>, Error> {
        match &node.kind {
            Kind::List(items) => items
                .iter()
                .map(|item| Ok(self.text(item, &what)?.to_owned()))
                .collect(),
            Kind::Text(text) => {
                let words = words::split(text, false).map_err(|flaw| Error::BadValue {
                    at: self.source.place_in(node.pos, text, flaw.offset),
                    what: what(),
                    expected: "quoted as a shell has it",
                    found: flaw.reason,
                })?;
                Ok(words.into_iter().map(|word| word.text).collect())
            }
            _ => Err(self.bad(node, what(), "text, or a list of texts")),
        }
    }

    fn port(&self, node: &Node<'_>, what: impl Fn() -> String) -> Result<u16, Error> {
        let number = match node.kind {
            Kind::Int(number) => u16::try_from(number).ok(),
            _ => None,
        };
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| self.bad(node, what(), "a number from 1 to 65535"))
    }

    fn vars(&mut self, group: Option<u32>, node: &Node<'_>) -> Result<(), Error> {
        for (key, node) in self.entries(node, || "vars".to_owned())? {
            let value = self.value(node)?;
            self.builder
                .var(group, &key.text, value, self.spot(key.pos))?;
        }
        Ok(())
    }

    fn value(&self, node: &Node<'_>) -> Result<Value, Error> {
        document::value(self.source, node)
    }

    fn text<'n>(&self, node: &'n Node<'_>, what: impl Fn() -> String) -> Result<&'n str, Error> {
        match &node.kind {
            Kind::Text(text) if !text.is_empty() => Ok(text),
            Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) => {
                Err(self.bad(node, what(), "text (quote it)"))
            }
            _ => Err(self.bad(node, what(), "text")),
        }
    }

    fn mapping<'n, 'a>(
        &self,
        node: &'n Node<'a>,
        what: impl Fn() -> String,
    ) -> Result<&'n [(Key<'a>, Node<'a>)], Error> {
        document::mapping(self.source, node, what)
    }

    fn entries<'n, 'a>(
        &self,
        node: &'n Node<'a>,
        what: impl Fn() -> String,
    ) -> Result<&'n [(Key<'a>, Node<'a>)], Error> {
        document::entries(self.source, node, what)
    }

    /// The values of the known keys; any other key is refused.
    fn fields<'n, 'a, const N: usize>(
        &self,
        node: &'n Node<'a>,
        within: &'static str,
        known: [&str; N],
    ) -> Result<[Option<Entry<'n, 'a>>; N], Error> {
        let mut fields = [None; N];
        for (key, value) in self.entries(node, || within.to_owned())? {
            let Some(field) = known.iter().position(|name| *name == key.text) else {
                return Err(Error::UnknownKey {
                    at: self.source.place(key.pos),
                    key: key.text.to_string(),
                    within,
                    known: known.join(", "),
                });
            };
            fields[field] = Some((key, value));
        }
        Ok(fields)
    }

    fn template(&self, text: &str, pos: Pos) -> Result<Template, Error> {
        Template::parse(text).map_err(|flaw| Error::BadRange {
            at: self.source.place_in(pos, text, flaw.offset),
            reason: flaw.reason,
        })
    }

    fn bad_name(&self, pos: Pos, what: &'static str, name: &str, reason: &'static str) -> Error {
        let next =
            "use ASCII letters, digits, '.', '-' and '_', and begin with a letter, a digit or '_'";
        Error::BadName {
            at: self.source.place(pos),
            what,
            name: name.to_owned(),
            reason,
            next,
        }
    }

    fn check_name(&self, what: &'static str, text: &str, pos: Pos) -> Result<Template, Error> {
        let template = self.template(text, pos)?;
        match flaw_of_name(&template) {
            Some(reason) => Err(self.bad_name(pos, what, text, reason)),
            None => Ok(template),
        }
    }

    fn check_address(&self, text: &str, pos: Pos) -> Result<Template, Error> {
        let template = self.template(text, pos)?;
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        let reason = if template.longest() > limits::NAME_LENGTH {
            "it is longer than 253 characters"
        } else if !texts(&template).all(|text| text.chars().all(allowed)) {
            "it has a character that neither a DNS name nor an IP address has"
        } else {
            return Ok(template);
        };
        let next = "write a DNS name or an IP address, without port (that is a key of its own) and without brackets";
        Err(Error::BadName {
            at: self.source.place(pos),
            what: "address",
            name: text.to_owned(),
            reason,
            next,
        })
    }
}

fn texts(template: &Template) -> impl Iterator<Item = &str> {
    template.parts.iter().filter_map(|part| {
        if let Part::Text(text) = part {
            Some(text.as_str())
        } else {
            None
        }
    })
}

/// Why the template's names can be no names of hosts or groups.
pub(crate) fn flaw_of_name(template: &Template) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if template.longest() > limits::NAME_LENGTH {
        return Some("it is longer than 253 characters");
    }
    if !texts(template).all(|text| text.chars().all(allowed)) {
        return Some("it has a character that patterns use, or that no host name has");
    }
    match template.parts.first() {
        Some(Part::Text(text)) if text.is_empty() => Some("it is empty"),
        Some(Part::Text(text)) if text.starts_with(['.', '-']) => Some("it begins with '.' or '-'"),
        Some(Part::Text(text)) if text == "all" && template.parts.len() == 1 => {
            Some("'all' means every host")
        }
        _ => None,
    }
}
