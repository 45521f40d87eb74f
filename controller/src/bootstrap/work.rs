//! One host from beginning to end: look, decide, copy, start, and ask whether it answers. What has arrived stays when the
//! connection breaks, and is gone on from, in the same run and in the next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::bootstrap::agents::Programs;
use crate::bootstrap::place::Place;
use crate::bootstrap::probe::{Probe, Status};
use crate::bootstrap::scripts;
use crate::bootstrap::steps::{Service, Steps, decide};
use crate::bootstrap::template;
use crate::bootstrap::trouble::Trouble;
use crate::bootstrap::wanted::{Existing, File};
use crate::fanout::answer::{Budget, Failure, Output, Stream};
use crate::fanout::drive::Stop;
use crate::fanout::shell::{Ended, Heard, Input, Job, Shell};

/// How long a script may take; starting an agent and waiting for its answer is the longest.
const SCRIPT: Duration = Duration::from_secs(180);
/// Bytes that a script may say.
const SAID: usize = 256 << 10;
/// How often a copy is begun in one run.
const ATTEMPTS: u32 = 3;

/// What all hosts have in common.
pub struct Work {
    /// How commands get to the hosts.
    pub shell: Arc<dyn Shell>,
    /// The hosts, by their positions.
    pub hosts: Vec<Host>,
    /// The agents.
    pub programs: Programs,
    /// Where things go.
    pub place: Place,
    /// The configuration's template.
    pub template: String,
    /// The release that agents boot.
    pub release: Arc<[u8]>,
    /// Who may sign patches.
    pub allowed_signers: Arc<[u8]>,
    /// A folder with each node's certificate and key, and `ca.pem`.
    pub certificates: Option<PathBuf>,
    /// Whether scripts run by sudo.
    pub sudo: bool,
    /// Whether nothing is to be changed.
    pub dry_run: bool,
    /// Whether agents that hold actors may be started again.
    pub lose_state: bool,
    /// How long one file may take to be copied.
    pub patience: Duration,
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// The node's name.
    pub name: String,
    /// What its template may name: the inventory's variables, and its own.
    pub values: BTreeMap<String, String>,
}

/// What became of a host, or would.
#[derive(Debug)]
pub struct Done {
    /// The files that were written.
    pub written: Vec<String>,
    /// The files that are others than were given, and stay.
    pub kept: Vec<String>,
    /// What happened to the agent.
    pub service: Service,
    /// What the agent says, when it was asked.
    pub status: Option<Status>,
}

impl Work {
    /// The work on one host.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn on(&self, node: usize, stop: &Stop) -> Result<Done, Trouble> {
        tokio::select! {
            done = self.all(node) => done,
            () = stop.said() => Err(Trouble::Interrupted),
        }
    }

    async fn all(&self, node: usize) -> Result<Done, Trouble> {
        let paths = self.paths();
        let said = self
            .script(node, scripts::probe(&self.place, &paths))
            .await?;
        let found = Probe::read(&said).map_err(Trouble::Host)?;
        if self.place.system && !found.root {
            return Err(Trouble::Host(
                "the system's folders are for root: log in as root, add --sudo, or name a folder of the user with --prefix"
                    .to_owned(),
            ));
        }
        let systemd = found.systemd && self.place.system;
        let wanted = self.wanted(node, &found, systemd)?;
        let steps = decide(&wanted, &found, self.lose_state)?;
        let path = |at: &usize| wanted[*at].path.clone();
        let mut done = Done {
            written: steps.put.iter().map(path).collect(),
            kept: steps.kept.iter().map(path).collect(),
            service: steps.service,
            status: None,
        };
        if !self.dry_run && !steps.is_empty() {
            done.status = self.carry_out(node, &wanted, &steps, systemd).await?;
        }
        Ok(done)
    }

    async fn carry_out(
        &self,
        node: usize,
        wanted: &[File],
        steps: &Steps,
        systemd: bool,
    ) -> Result<Option<Status>, Trouble> {
        self.script(node, scripts::prepare(&self.place)).await?;
        for &at in &steps.put {
            self.put(node, &wanted[at]).await?;
        }
        if steps.service == Service::Leave {
            return Ok(None);
        }
        self.script(node, scripts::start(&self.place, systemd))
            .await?;
        let said = self
            .run(node, scripts::answers(&self.place, systemd))
            .await?;
        let status = (said.end == Ended::Exit(0))
            .then(|| serde_json::from_str::<Status>(said.text.trim()).ok())
            .flatten();
        let name = &self.hosts[node].name;
        match status {
            Some(status) if status.node == *name => Ok(Some(status)),
            Some(status) => Err(Trouble::Template(format!(
                "it makes node {} of the host {name}",
                crate::output::plain(&status.node)
            ))),
            None if said.text.is_empty() => Err(Trouble::Silent(String::new())),
            None => Err(Trouble::Silent(format!(
                "; its log ends with: {}",
                last(&said.text)
            ))),
        }
    }

    /// All files that a host may be to have; which it is, is known when it is known what it is.
    fn paths(&self) -> Vec<String> {
        let Place { bin, etc, .. } = &self.place;
        let mut paths = vec![
            self.place.program(),
            format!("{etc}/allowed_signers"),
            format!("{etc}/release.tar"),
            self.place.config(),
            format!("{bin}/midflight-agent-run"),
        ];
        if self.certificates.is_some() {
            paths.extend(["ca.pem", "agent.pem", "agent.key"].map(|name| format!("{etc}/{name}")));
        }
        if self.place.system {
            paths.push(scripts::UNIT.to_owned());
        }
        paths
    }

    fn wanted(&self, node: usize, found: &Probe, systemd: bool) -> Result<Vec<File>, Trouble> {
        let Place { bin, etc, .. } = &self.place;
        let restart = Existing::ReplaceAndRestart;
        let program = self
            .programs
            .matching(&found.machine)
            .map_err(Trouble::NoProgram)?;
        let signers = format!("{etc}/allowed_signers");
        let release = format!("{etc}/release.tar");
        let mut files = vec![
            File::new(self.place.program(), program.bytes.clone(), restart).executable(),
            File::new(signers, self.allowed_signers.clone(), Existing::Keep),
            File::new(release, self.release.clone(), Existing::Replace),
        ];
        let host = &self.hosts[node];
        if let Some(folder) = &self.certificates {
            let read = |name: String| {
                let path = folder.join(name);
                let bytes = std::fs::read(&path);
                let failed =
                    |error| Trouble::Here(format!("cannot read {}: {error}", path.display()));
                bytes.map(Arc::<[u8]>::from).map_err(failed)
            };
            let name = &host.name;
            let file = |to: &str, bytes| File::new(format!("{etc}/{to}"), bytes, restart);
            files.push(file("ca.pem", read("ca.pem".to_owned())?));
            files.push(file("agent.pem", read(format!("{name}.pem"))?));
            files.push(file("agent.key", read(format!("{name}.key"))?).secret());
        }
        let mut values = host.values.clone();
        for (name, value) in [
            ("node", &host.name),
            ("user", &found.user),
            ("machine", &found.machine),
            ("etc", etc),
            ("data", &self.place.data),
            ("run", &self.place.run),
            ("socket", &self.place.socket()),
        ] {
            values.insert(name.to_owned(), value.clone());
        }
        let config = template::render(&self.template, &values).map_err(Trouble::Template)?;
        let text = |text: String| Arc::<[u8]>::from(text.into_bytes());
        files.push(File::new(self.place.config(), text(config), restart));
        files.push(match systemd {
            true => File::new(
                scripts::UNIT.to_owned(),
                text(scripts::unit(&self.place)),
                restart,
            ),
            false => {
                let runner = format!("{bin}/midflight-agent-run");
                File::new(runner, text(scripts::runner(&self.place)), restart).executable()
            }
        });
        Ok(files)
    }

    /// Copies one file, on from what has arrived before.
    async fn put(&self, node: usize, file: &File) -> Result<(), Trouble> {
        let mut attempt = 1;
        loop {
            match self.send(node, file).await {
                Err(Trouble::Ssh(failure)) if failure.began && attempt < ATTEMPTS => attempt += 1,
                other => break other?,
            }
        }
        let keep = file.existing == Existing::Keep;
        let installed = self
            .run(node, scripts::install(&self.place, file, keep))
            .await?;
        match installed.end {
            Ended::Exit(scripts::DAMAGED) => Err(Trouble::Damaged {
                path: file.path.clone(),
                have: last(&installed.text),
            }),
            _ => installed.good().map(drop),
        }
    }

    async fn send(&self, node: usize, file: &File) -> Result<(), Trouble> {
        let said = self.script(node, scripts::arrived(file)).await?;
        let arrived: usize = said
            .trim()
            .parse()
            .map_err(|_| Trouble::Host(format!("it said {:?}", last(&said))))?;
        // More than there is: the digest will tell.
        let rest = Input::new(file.bytes.clone()).from(arrived);
        if rest.bytes().is_empty() && arrived > 0 {
            return Ok(());
        }
        let command = self.by_root(&scripts::receive(file));
        let sent = self.exec(node, command, rest, self.patience).await?;
        sent.good().map(drop)
    }

    /// Runs a script that must end well, and gives what it said.
    async fn script(&self, node: usize, script: String) -> Result<String, Trouble> {
        self.run(node, script).await?.good()
    }

    async fn run(&self, node: usize, script: String) -> Result<Said, Trouble> {
        let input = Input::new(script.into_bytes().into());
        self.exec(node, self.by_root("sh -s"), input, SCRIPT).await
    }

    fn by_root(&self, command: &str) -> Arc<str> {
        match self.sudo {
            true => format!("sudo -n {command}").into(),
            false => command.into(),
        }
    }

    async fn exec(
        &self,
        node: usize,
        command: Arc<str>,
        input: Input,
        patience: Duration,
    ) -> Result<Said, Trouble> {
        let job = Job {
            node,
            command,
            input: Some(input),
        };
        let (heard, mut hear) = mpsc::channel(4);
        let mut output = Output::new(SAID, Budget::new(SAID));
        let running = timeout(patience, self.shell.run(job, heard));
        let listening = async {
            while let Some(heard) = hear.recv().await {
                if let Heard::Said(stream, bytes) = heard {
                    output.push(stream, &bytes);
                }
            }
        };
        let (ended, ()) = futures::join!(running, listening);
        let ended = ended.unwrap_or_else(|_| {
            Err(Failure {
                code: "MF0562".to_owned(),
                what: format!("it took longer than {} s", patience.as_secs()),
                hint:
                    "see how the host and the way to it are; a copy goes on from what has arrived"
                        .to_owned(),
                began: false,
            })
        });
        let text = |stream| String::from_utf8_lossy(output.of(stream)).into_owned();
        Ok(Said {
            end: ended.map_err(Trouble::Ssh)?,
            text: text(Stream::Stdout),
            errors: text(Stream::Stderr),
        })
    }
}

/// What a script said, and how it ended.
struct Said {
    end: Ended,
    text: String,
    errors: String,
}

impl Said {
    fn good(self) -> Result<String, Trouble> {
        let Self { end, text, errors } = self;
        Err(Trouble::Host(match end {
            Ended::Exit(0) => return Ok(text),
            Ended::Exit(scripts::NO_SUM) => {
                "it has no program for SHA-256: sha256sum, openssl or shasum".to_owned()
            }
            end => {
                let said = match errors.trim().is_empty() {
                    true => last(&text),
                    false => last(&errors),
                };
                let how = match end {
                    Ended::Exit(code) => format!("exit {code}"),
                    Ended::Signal(name) => format!("signal {name}"),
                };
                format!("a script ended with {how}: {said}")
            }
        }))
    }
}

/// The last lines of what a host said, as one, fit for a terminal.
fn last(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().rev().take(3).collect();
    let lines: Vec<String> = lines
        .into_iter()
        .rev()
        .map(|line| crate::fanout::text::shown(line.trim().as_bytes()))
        .collect();
    let mut text = lines.join("; ");
    if let Some((end, _)) = text.char_indices().nth(400) {
        text.truncate(end);
        text.push('…');
    }
    text
}
