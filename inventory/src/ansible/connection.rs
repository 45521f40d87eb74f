//! Ansible's connection variables, and Midflight's own, as settings of a host.
//!
//! The variables are those of Ansible's ssh connection plugin; where two names mean one thing, the one that the plugin
//! lists last counts. Templates that only name variables are filled in. A setting that is another template, or encrypted, is
//! an error that names the variable. `ansible_connection` is read to tell hosts that are not reached by SSH. What `ssh_config` and the agent may add is for others.

use std::cell::Cell;
use std::sync::Arc;

use super::template;
use crate::error::Error;
use crate::files::Files;
use crate::limits;
use crate::model::{Elsewhere, Host, Transport};
use crate::place::quoted;
use crate::reach::Reach;
use crate::value::Value;
use crate::vars::{Var, Vars};
use crate::words;

/// The variables that are read; of several for one setting, a later one counts.
const NAMES: [&str; 15] = [
    "ansible_host",
    "ansible_ssh_host",
    "midflight_port",
    "midflight_zone",
    // From here on they are about the connection, which hosts can share.
    "midflight_transport",
    "ansible_connection",
    "ansible_port",
    "ansible_ssh_port",
    "ansible_user",
    "ansible_ssh_user",
    "ansible_private_key_file",
    "ansible_ssh_private_key_file",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
];
const ADDRESS: std::ops::Range<usize> = 0..2;
const AGENT_PORT: usize = 2;
const ZONE: usize = 3;
const TRANSPORT: usize = 4;
const CONNECTION: usize = 5;
const PORT: std::ops::Range<usize> = 6..8;
const USER: std::ops::Range<usize> = 8..10;
const KEY: std::ops::Range<usize> = 10..12;
const ARGS: std::ops::Range<usize> = 12..15;

/// Values of `ansible_connection` that are SSH, as `ansible-doc -t connection -l` lists them; `smart` is the default.
const BY_SSH: [&str; 8] = [
    "ssh",
    "smart",
    "paramiko",
    "paramiko_ssh",
    "ansible.builtin.ssh",
    "ansible.builtin.paramiko_ssh",
    "ansible.legacy.ssh",
    "ansible.legacy.paramiko_ssh",
];

fn index(name: &str) -> Option<usize> {
    // Most variables are about other things.
    if !name.starts_with("ansible_") && !name.starts_with("midflight_") {
        return None;
    }
    NAMES.iter().position(|known| *known == name)
}

/// The connection variables that the groups of a host set.
#[derive(Debug, Default)]
pub(crate) struct Connection([Option<Var>; NAMES.len()]);

impl Connection {
    /// The last layer that sets a variable counts.
    pub(crate) fn of_layers(layers: &[Arc<Vars>]) -> Connection {
        let mut connection = Connection::default();
        for var in layers.iter().flat_map(|layer| layer.iter()) {
            if let Some(index) = index(&var.name) {
                connection.0[index] = Some(var.clone());
            }
        }
        connection
    }

    /// The same with the host's own variables.
    ///
    /// `source` is the one that names the host first.
    pub(crate) fn of_host<'a>(
        &'a self,
        host: &'a Host,
        source: u32,
        files: &'a Files,
    ) -> Values<'a> {
        let own = host.vars.as_deref();
        let mut vars = std::array::from_fn(|index| self.0[index].as_ref());
        let mut own_reach = false;
        for var in own.iter().flat_map(|own| own.iter()) {
            if let Some(index) = index(&var.name) {
                vars[index] = Some(var);
                own_reach |= index >= TRANSPORT;
            }
        }
        Values {
            host,
            vars,
            shared: Cell::new(!own_reach),
            source,
            files,
        }
    }
}

/// The connection variables in force for one host.
pub(crate) struct Values<'a> {
    host: &'a Host,
    vars: [Option<&'a Var>; NAMES.len()],
    shared: Cell<bool>,
    source: u32,
    files: &'a Files,
}

impl Values<'_> {
    /// Whether hosts in the same groups have the same connection: this one sets nothing about it, and no template, which
    /// could name anything, has been filled in.
    pub(crate) fn shared(&self) -> bool {
        self.shared.get()
    }

    fn last(&self, names: std::ops::Range<usize>) -> Option<&Var> {
        self.vars[names].iter().rev().find_map(|var| *var)
    }

    fn bad(&self, var: &Var, reason: impl Into<String>) -> Error {
        Error::Connection {
            at: self.files.place(var.spot),
            variable: var.name.to_string(),
            host: self.host.name.to_string(),
            reason: reason.into(),
        }
    }

    /// The text of a variable; nothing if it is empty or null, as Ansible has it.
    fn text(&self, var: Option<&Var>) -> Result<Option<String>, Error> {
        let Some(var) = var else { return Ok(None) };
        let text = match &var.value {
            Value::Null => return Ok(None),
            Value::Text(text) if template::is_template(text) => {
                self.shared.set(false);
                let name = Value::Text(self.host.name.to_string());
                let folder = self.files.folder(self.source).map(Value::Text);
                let lookup = |wanted: &str| match wanted {
                    "inventory_hostname" => Some(&name),
                    "inventory_dir" => folder.as_ref(),
                    wanted => self.host.var(wanted),
                };
                template::fill(text, &lookup).map_err(|reason| self.bad(var, reason))?
            }
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            value if value.get(super::VAULT).is_some() => {
                return Err(self.bad(var, "encrypted by ansible-vault"));
            }
            // A text may be marked as one that is never a template.
            value => match value.get(super::UNSAFE).and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => return Err(self.bad(var, "neither text nor a number")),
            },
        };
        if text.contains(char::is_control) {
            return Err(self.bad(var, "text with a control character"));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn number(&self, var: Option<&Var>) -> Result<Option<u16>, Error> {
        let Some((var, text)) = var.zip(self.text(var)?) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(port @ 1..) => Ok(Some(port)),
            _ => Err(self.bad(
                var,
                format!("{}, and not a number from 1 to 65535", quoted(&text)),
            )),
        }
    }

    pub(crate) fn address(&self) -> Result<Option<Arc<str>>, Error> {
        let var = self.last(ADDRESS);
        let Some((var, text)) = var.zip(self.text(var)?) else {
            return Ok(None);
        };
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if text.len() > limits::NAME_LENGTH || text.starts_with('-') || !text.chars().all(allowed) {
            let reason = format!(
                "{}, which is neither a DNS name nor an IP address",
                quoted(&text)
            );
            return Err(self.bad(var, reason));
        }
        Ok(Some(text.into()))
    }

    pub(crate) fn agent_port(&self) -> Result<Option<u16>, Error> {
        self.number(self.vars[AGENT_PORT])
    }

    pub(crate) fn zone(&self) -> Result<Option<Arc<str>>, Error> {
        let var = self.vars[ZONE];
        let Some((var, text)) = var.zip(self.text(var)?) else {
            return Ok(None);
        };
        if text.len() > limits::NAME_LENGTH {
            return Err(self.bad(var, "longer than 253 bytes"));
        }
        Ok(Some(text.into()))
    }

    /// What Ansible would reach the host by, where that is not SSH and no variable says the transport.
    pub(crate) fn elsewhere(&self) -> Option<Arc<Elsewhere>> {
        let var = self.vars[CONNECTION]?;
        if self.vars[TRANSPORT].is_some_and(|var| !matches!(self.text(Some(var)), Ok(None))) {
            return None;
        }
        let connection = match self.text(Some(var)) {
            Ok(None) => return None,
            Ok(Some(text)) if BY_SSH.contains(&text.as_str()) => return None,
            Ok(Some(text)) => quoted(&text),
            // It may be SSH; that cannot be told here, and nobody may ever want to connect to it.
            Err(Error::Connection { reason, .. }) => reason,
            Err(_) => return None,
        };
        Some(Arc::new(Elsewhere {
            at: self.files.position(var.spot),
            connection,
        }))
    }

    /// The transport, which is SSH unless a variable says otherwise, and the settings of SSH.
    pub(crate) fn reach(&self) -> Result<Reach, Error> {
        let mut reach = Reach {
            transport: Some(Transport::Ssh),
            user: self.text(self.last(USER))?,
            port: self.number(self.last(PORT))?,
            identity_file: self.text(self.last(KEY))?.map(Into::into),
            args: None,
        };
        let var = self.vars[TRANSPORT];
        if let Some((var, text)) = var.zip(self.text(var)?) {
            let Some(transport) = Transport::named(&text) else {
                let reason = format!("{}, which is neither ssh nor grpc", quoted(&text));
                return Err(self.bad(var, reason));
            };
            reach.transport = Some(transport);
        }
        for var in self.vars[ARGS].iter().flatten() {
            let Some(text) = self.text(Some(var))? else {
                continue;
            };
            let words = words::split(&text, false)
                .map_err(|flaw| self.bad(var, format!("misquoted: {}", flaw.reason)))?;
            let args = reach.args.get_or_insert_default();
            args.extend(words.into_iter().map(|word| word.text));
        }
        Ok(reach)
    }
}
