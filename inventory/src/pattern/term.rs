//! The hosts of one term: a name, a group, a subscript, a range, a node set, a glob, a regular expression, a list.
//!
//! A term either names hosts or is an error; only a group without hosts names none. What two readings of a term would take
//! differently is refused, with both spelled out.

use std::path::Path;

use super::brackets::{Subscript, dashed_subscript, has_number_in_class};
use super::glob::Glob;
use super::members::Members;
use super::{LIST_IN_LIST, Reading};
use crate::error::Error;
use crate::expand;
use crate::files;
use crate::limits;
use crate::native;
use crate::nodeset;
use crate::range::Template;
use crate::suggest;

/// Bytes that a compiled `~regex` may take.
const REGEX_BYTES: usize = 1 << 20;

impl Reading<'_> {
    /// The hosts of a term that has no sign before it; a host may come more than once.
    pub(super) fn term(&self, offset: usize, term: &str) -> Result<Vec<u32>, Error> {
        if let Some(regex) = term.strip_prefix('~') {
            return self.regex(offset, regex);
        }
        if let Some(name) = term.strip_prefix('@') {
            return self.at_sign(offset, name);
        }
        if let Some(inside) = term.strip_prefix('(') {
            let Some(inside) = inside.strip_suffix(')') else {
                return Err(self.bad(offset, "this '(' is not closed at the end of the term"));
            };
            let inner = Reading {
                depth: self.depth + 1,
                ..*self
            };
            return inner.pattern(offset + 1, inside);
        }
        if let Some(hosts) = self.named(term) {
            return Ok(hosts);
        }
        if term.contains(['*', '?']) {
            return self.glob_with_subscript(offset, term);
        }
        match Subscript::split(term) {
            Some((base, subscript)) => self.subscript_or_names(offset, term, base, subscript),
            None => self.names(offset, term),
        }
    }

    /// The hosts of what has exactly that name.
    fn named(&self, name: &str) -> Option<Vec<u32>> {
        if let Some(group) = self.inventory.group(name) {
            let mut hosts = Vec::new();
            self.inventory.visit_members(group, |host| hosts.push(host));
            return Some(hosts);
        }
        if let Some(host) = self.inventory.host_index.get(name) {
            return Some(vec![*host]);
        }
        let all = 0..self.inventory.hosts.len() as u32;
        (name == "all" || name == "*").then(|| all.collect())
    }

    /// The hosts of a group in the order in which a subscript counts them.
    fn counted(&self, group: &str) -> Option<Vec<u32>> {
        match self.inventory.group_index.get(group) {
            Some(group) => Some(Members::of(self.inventory, *group)),
            None => (group == "all" || group == "*").then(|| Members::of_all(self.inventory)),
        }
    }

    /// `web[0]`, `web[1:3]`: hosts of the group `web`, or the hosts `web0`, or `web1` to `web3`.
    fn subscript_or_names(
        &self,
        offset: usize,
        term: &str,
        base: &str,
        subscript: Subscript,
    ) -> Result<Vec<u32>, Error> {
        let group = self.counted(base);
        let (members, for_base) = match (group, self.inventory.host_index.get(base)) {
            (Some(members), _) => (members, format!("@{term} to count in the hosts of {base}")),
            (None, Some(host)) => (vec![*host], format!("{base} for that host")),
            (None, None) if subscript.is_of_names_too() || base.contains('[') => {
                return self.names(offset, term);
            }
            (None, None) => return Err(self.no_match(offset, base)),
        };
        let picked = members[subscript.positions(members.len())].to_vec();
        if let Some(for_names) = subscript.as_names(base) {
            let template = self.template(offset, term)?;
            let mut named: Vec<u32> = self.known(&template).collect();
            let mut counted = picked.clone();
            counted.sort_unstable();
            named.sort_unstable();
            if !named.is_empty() && (named != counted || named.len() as u64 != template.count()) {
                return Err(Error::Ambiguous {
                    at: self.place(offset),
                    term: term.to_owned(),
                    readings: format!("write {for_names} for what is named so, or {for_base}"),
                });
            }
        }
        self.some(offset, term, picked)
    }

    /// A name, names with ranges, a node set; or a glob that has a class and no wildcard.
    fn names(&self, offset: usize, term: &str) -> Result<Vec<u32>, Error> {
        let has_class = nodeset::brackets(term).any(|inside| {
            !inside.contains(':') && !nodeset::is_inside(inside) && !inside.is_empty()
        });
        if has_class {
            return self.glob(offset, term, term, None);
        }
        let template = self.template(offset, term)?;
        let mut hosts = Vec::new();
        for name in template.names() {
            match self.inventory.host_index.get(name.as_str()) {
                Some(host) => hosts.push(*host),
                None => return Err(self.no_match(offset, &name)),
            }
        }
        Ok(hosts)
    }

    /// The hosts among a template's names that there are.
    fn known(&self, template: &Template) -> impl Iterator<Item = u32> {
        let index = &self.inventory.host_index;
        template
            .names()
            .filter_map(|name| index.get(name.as_str()).copied())
    }

    /// Parses names of hosts, or of groups, and checks how many there are.
    fn template(&self, offset: usize, term: &str) -> Result<Template, Error> {
        let template = expand::template(term, |flaw| self.place(offset + flaw))?;
        if let Some(reason) = native::flaw_of_name(&template) {
            return Err(self.bad(offset, reason));
        }
        let count = template.count();
        if count > limits::RANGE_HOSTS {
            return Err(Error::TooManyHosts {
                at: self.place(offset),
                count,
                limit: limits::RANGE_HOSTS,
                within: "a range",
            });
        }
        Ok(template)
    }

    /// `@web`, `@rack[1-3]`, `@web[0:20]`: groups. `@file`, `@./file`: a list.
    fn at_sign(&self, offset: usize, name: &str) -> Result<Vec<u32>, Error> {
        if name.is_empty() {
            return Err(self.bad(offset, "no name follows the '@'"));
        }
        if name.contains('/') {
            return self.list(offset, name);
        }
        let groups = self.groups(offset, name)?;
        let is_file = self.reads_lists && Path::new(name).is_file();
        match groups {
            Some(_) if is_file => Err(Error::Ambiguous {
                at: self.place(offset),
                term: format!("@{name}"),
                readings: format!("write {name} for the group, or @./{name} for the file"),
            }),
            Some(hosts) => Ok(hosts),
            None if is_file => self.list(offset, name),
            None => {
                let groups = self.inventory.groups.iter().map(|group| &*group.name);
                let close = suggest::close(name, groups);
                match close.is_empty() {
                    // Neither: that it is no file is what the operating system can say more about.
                    true => self.list(offset, name),
                    false => Err(Error::NoMatch {
                        at: self.place(offset),
                        term: format!("@{name}"),
                        close,
                    }),
                }
            }
        }
    }

    /// The hosts of the groups that are meant after an `@`; `None` when there is no such group.
    fn groups(&self, offset: usize, name: &str) -> Result<Option<Vec<u32>>, Error> {
        if let Some(hosts) = self.counted(name) {
            return Ok(Some(hosts));
        }
        if let Some((base, subscript)) = Subscript::split(name)
            && let Some(members) = self.counted(base)
        {
            let picked = members[subscript.positions(members.len())].to_vec();
            return self.some(offset, &format!("@{name}"), picked).map(Some);
        }
        if !nodeset::is_template(name) {
            return Ok(None);
        }
        let template = self.template(offset + 1, name)?;
        let mut hosts = Vec::new();
        for (number, name) in template.names().enumerate() {
            match self.counted(&name) {
                Some(members) => hosts.extend(members),
                None if number == 0 => return Ok(None),
                None => return Err(self.no_match(offset, &name)),
            }
            self.settle(&mut hosts);
        }
        Ok(Some(hosts))
    }

    /// The hosts, unless there are none.
    fn some(&self, offset: usize, term: &str, hosts: Vec<u32>) -> Result<Vec<u32>, Error> {
        if hosts.is_empty() {
            Err(self.no_match(offset, term))
        } else {
            Ok(hosts)
        }
    }

    fn no_match(&self, offset: usize, term: &str) -> Error {
        let groups = self.inventory.groups.iter().map(|group| &*group.name);
        let hosts = self.inventory.hosts.iter().map(|host| &*host.name);
        Error::NoMatch {
            at: self.place(offset),
            term: term.to_owned(),
            close: suggest::close(term, groups.chain(hosts)),
        }
    }

    fn glob_with_subscript(&self, offset: usize, term: &str) -> Result<Vec<u32>, Error> {
        let is_glob = |base: &str| base.contains(['*', '?']);
        if let Some((base, subscript)) = Subscript::split(term).filter(|(base, _)| is_glob(base)) {
            return self.glob(offset, term, base, Some(subscript));
        }
        if let Some((base, first, last)) = dashed_subscript(term).filter(|(base, ..)| is_glob(base))
        {
            return Err(Error::Ambiguous {
                at: self.place(offset),
                term: term.to_owned(),
                readings: format!(
                    "Ansible counts when a glob ends so: write {base}[{first}:{last}] for that, or a ~regex for the names"
                ),
            });
        }
        self.glob(offset, term, term, None)
    }

    fn glob(
        &self,
        offset: usize,
        term: &str,
        glob: &str,
        subscript: Option<Subscript>,
    ) -> Result<Vec<u32>, Error> {
        if has_number_in_class(glob) || glob.contains(':') {
            return Err(self.bad(offset, "a range and a wildcard cannot stand in one term"));
        }
        let compiled = Glob::new(glob);
        self.matching(offset, term, subscript, |name| compiled.matches(name))
    }

    fn regex(&self, offset: usize, regex: &str) -> Result<Vec<u32>, Error> {
        let compiled = regex::RegexBuilder::new(&format!("^(?:{regex})"))
            .size_limit(REGEX_BYTES)
            .build();
        let compiled = compiled.map_err(|error| Error::BadRegex {
            at: self.place(offset),
            regex: regex.to_owned(),
            source: Box::new(error),
        })?;
        self.matching(offset, &format!("~{regex}"), None, |name| {
            compiled.is_match(name)
        })
    }

    /// The hosts of the groups whose names match, then the hosts whose own names match.
    fn matching(
        &self,
        offset: usize,
        term: &str,
        subscript: Option<Subscript>,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Vec<u32>, Error> {
        let inventory = self.inventory;
        self.looks_at(offset, inventory.groups.len() + inventory.hosts.len())?;
        let with_names = |names: &mut dyn Iterator<Item = &str>| -> Vec<u32> {
            let matching = (0u32..).zip(names).filter(|(_, name)| matches(name));
            matching.map(|(number, _)| number).collect()
        };
        let groups = with_names(&mut inventory.groups.iter().map(|group| &*group.name));
        let by_name = with_names(&mut inventory.hosts.iter().map(|host| &*host.name));
        let any = !groups.is_empty() || !by_name.is_empty();
        let mut members = Members::none(inventory);
        groups.iter().for_each(|group| members.levels(vec![*group]));
        by_name.iter().for_each(|host| members.host(*host));
        let hosts = members.into_hosts();
        // Ansible matches the group `all` too. It is rarely meant: `a*` would be every host.
        if matches("all") && hosts.len() < inventory.hosts.len() {
            return Err(Error::Ambiguous {
                at: self.place(offset),
                term: term.to_owned(),
                readings: format!(
                    "it matches the group all, which to Ansible is every host: write all for that, or a narrower term for the {} of {} hosts that it matches otherwise",
                    hosts.len(),
                    inventory.hosts.len()
                ),
            });
        }
        let hosts = if subscript.is_some() && matches("all") {
            Members::of_all(inventory)
        } else {
            hosts
        };
        match subscript {
            None if any => Ok(hosts),
            None => Err(self.no_match(offset, term)),
            Some(subscript) => {
                let picked = hosts[subscript.positions(hosts.len())].to_vec();
                let mut theirs = if matches("all") {
                    hosts.clone()
                } else {
                    Vec::new()
                };
                self.append_as_ansible(offset, &mut theirs, &groups, &by_name)?;
                self.check_counting(offset, term, subscript, &picked, &theirs)?;
                self.some(offset, term, picked)
            }
        }
    }

    /// What matches as Ansible counts it: a host once for each group that matches, and once for its name.
    fn append_as_ansible(
        &self,
        offset: usize,
        repeated: &mut Vec<u32>,
        groups: &[u32],
        by_name: &[u32],
    ) -> Result<(), Error> {
        for group in groups {
            repeated.append(&mut Members::of(self.inventory, *group));
            if repeated.len() > limits::LISTED_HOSTS as usize {
                return Err(self.bad(offset, "too many groups match to count in their hosts"));
            }
        }
        repeated.extend(by_name);
        Ok(())
    }

    /// Where counting as Ansible does picks other hosts than counting each once, neither is meant for sure.
    fn check_counting(
        &self,
        offset: usize,
        term: &str,
        subscript: Subscript,
        picked: &[u32],
        repeated: &[u32],
    ) -> Result<(), Error> {
        let mut theirs = repeated[subscript.positions(repeated.len())].to_vec();
        let mut ours = picked.to_vec();
        theirs.sort_unstable();
        theirs.dedup();
        ours.sort_unstable();
        if theirs == ours {
            return Ok(());
        }
        Err(Error::Ambiguous {
            at: self.place(offset),
            term: term.to_owned(),
            readings: "several groups that it matches have the same hosts, and Ansible counts these more than once: count in one group".to_owned(),
        })
    }

    /// Every line of a file is a pattern that adds its hosts.
    fn list(&self, offset: usize, path: &str) -> Result<Vec<u32>, Error> {
        if self.in_list {
            return Err(self.bad(offset, LIST_IN_LIST));
        }
        if !self.reads_lists {
            let reason =
                "a pattern that is sent to a server cannot name a file; send what is in it";
            return Err(self.bad(offset, reason));
        }
        let source = files::source(Path::new(path), limits::FILE_BYTES).map_err(|source| {
            Error::ReadList {
                at: self.place(offset),
                path: path.into(),
                source: Box::new(source),
            }
        })?;
        let mut hosts = Vec::new();
        for (line, text) in (1u32..).zip(source.text.lines()) {
            let text = text.split('#').next().unwrap_or("");
            let pattern = text.trim();
            if pattern.is_empty() {
                continue;
            }
            let indent = text.chars().take_while(|c| c.is_whitespace()).count();
            let list = Reading {
                source: &source,
                line,
                in_list: true,
                depth: 0,
                ..*self
            };
            hosts.append(&mut list.pattern(indent, pattern)?);
            self.settle(&mut hosts);
        }
        Ok(hosts)
    }
}
