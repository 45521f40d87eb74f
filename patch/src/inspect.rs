//! A bundle as text for people: what it is, what it would change, and which keys signed it. It verifies nothing, and says so.

use std::fmt::{self, Write as _};

use ssh_key::SshSig;

use crate::bundle::Bundle;
use crate::error::printable;
use crate::manifest::{Manifest, Restart, Update};
use crate::sshsig::describe;
use crate::tree::{Child, Shutdown, Strategy, Supervisor};

impl Bundle {
    /// Several lines of text, each ended by a line break.
    pub fn inspect(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.inspect_to(&mut text);
        text
    }

    fn inspect_to(&self, out: &mut String) -> fmt::Result {
        let Manifest {
            name, to, world, ..
        } = &self.manifest;
        match &self.manifest.from {
            None => writeln!(out, "release {name} {to}")?,
            Some(from) => writeln!(out, "patch {name} {from} -> {to}")?,
        }
        writeln!(out, "digest  {}", self.digest())?;
        writeln!(out, "world   {world}")?;
        match &self.manifest.listen {
            None if self.manifest.is_release() => writeln!(out, "listen  no ports")?,
            None => writeln!(out, "listen  as before")?,
            Some(ports) if ports.is_empty() => writeln!(out, "listen  no ports")?,
            Some(ports) => {
                let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
                writeln!(out, "listen  {}", ports.join(", "))?;
            }
        }
        match &self.manifest.connect {
            None if self.manifest.is_release() => writeln!(out, "connect nowhere")?,
            None => writeln!(out, "connect as before")?,
            Some(targets) if targets.is_empty() => writeln!(out, "connect nowhere")?,
            Some(targets) => {
                let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
                writeln!(out, "connect {}", targets.join(", "))?;
            }
        }
        writeln!(out, "modules")?;
        for module in &self.manifest.modules {
            let update = match (module.update, &module.from) {
                (_, None) => format!("{}", module.vsn),
                (Update::Soft, Some(from)) => format!("{from} -> {}, soft", module.vsn),
                (Update::Advanced, Some(from)) => format!("{from} -> {}, advanced", module.vsn),
            };
            writeln!(
                out,
                "  {}: {update}, {} bytes, {}",
                module.name, module.size, module.blob
            )?;
            for (field, value) in [("extra", &module.extra), ("config", &module.config)] {
                if !value.is_null() {
                    writeln!(out, "    {field}: {}", printable(&value.to_string()))?;
                }
            }
        }
        if !self.manifest.start.is_empty() {
            writeln!(out, "start")?;
        }
        for start in &self.manifest.start {
            let restart = restart(start.restart);
            let many = if start.count == 1 {
                String::new()
            } else {
                format!(".1 to {}.{}", start.name, start.count)
            };
            writeln!(
                out,
                "  {}{many}: {}, {restart}, args {}",
                start.name,
                start.module,
                printable(&start.args.to_string())
            )?;
        }
        for application in &self.manifest.applications {
            write!(out, "application {} {}", application.name, application.vsn)?;
            if !application.depends.is_empty() {
                write!(out, ", after {}", application.depends.join(", "))?;
            }
            writeln!(out)?;
            supervisor(out, &application.supervisor, 2)?;
        }
        if self.signatures.is_empty() {
            return writeln!(out, "signatures: none");
        }
        writeln!(out, "signatures, not verified here")?;
        for armored in &self.signatures {
            match SshSig::from_pem(armored.trim()) {
                Err(error) => writeln!(out, "  unreadable: {error}")?,
                Ok(signature) => {
                    write!(out, "  {}", describe(signature.public_key()))?;
                    if let Some(certificate) = signature.public_key().certificate() {
                        write!(out, ", certificate {:?}", certificate.key_id())?;
                    }
                    writeln!(out, ", namespace {:?}", signature.namespace())?;
                }
            }
        }
        Ok(())
    }
}

fn restart(restart: Restart) -> &'static str {
    match restart {
        Restart::Permanent => "permanent",
        Restart::Transient => "transient",
        Restart::Temporary => "temporary",
    }
}

/// A supervisor and all below it, a line each, indented by depth.
fn supervisor(out: &mut String, of: &Supervisor, indent: usize) -> fmt::Result {
    let strategy = match of.strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::SimpleOneForOne => "simple_one_for_one",
    };
    write!(
        out,
        "{:indent$}{}: supervisor, {strategy}, {} in {} s, {}",
        "",
        of.name,
        of.intensity,
        of.period,
        restart(of.restart)
    )?;
    if of.spawned != Restart::Temporary {
        write!(out, ", spawned {}", restart(of.spawned))?;
    }
    writeln!(
        out,
        "{}",
        if of.stop_removed {
            ", stops removed children"
        } else {
            ""
        }
    )?;
    let indent = indent + 2;
    for child in &of.children {
        match child {
            Child::Supervisor(below) => supervisor(out, below, indent)?,
            Child::Worker(worker) => {
                let many = match worker.count {
                    1 => String::new(),
                    count => format!(".1 to {}.{count}", worker.name),
                };
                let shutdown = match worker.shutdown {
                    Shutdown::BrutalKill => "brutal_kill".to_owned(),
                    Shutdown::Ms(ms) => format!("{ms} ms to end"),
                };
                writeln!(
                    out,
                    "{:indent$}{}{many}: {}, {}, {shutdown}, args {}",
                    "",
                    worker.name,
                    worker.module,
                    restart(worker.restart),
                    printable(&worker.args.to_string())
                )?;
            }
        }
    }
    Ok(())
}
