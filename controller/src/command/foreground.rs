//! A rollout that runs in this process, in the foreground: shown as it goes, steered by signals, and within reach of other
//! terminals on a socket beside the journal. Detached, it goes on in a process in the background.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::command::fleet::PkiArgs;
use crate::command::steer::{self, Steered};
use crate::command::{print, tell};
use crate::engine::id::RolloutId;
use crate::engine::view::View;
use crate::engine::{Ended, Reporter as _};
use crate::error::{self, Error};
use crate::exit::Exit;
use crate::journal::Lock;
use crate::launch::{Launch, Taken};
use crate::output::{self, Format, Shown, summary};
use crate::server::service::Service;
use crate::server::{Listen, Server, socket_of};

/// How long a process in the background may take to own its rollout.
const HANDOVER: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// How a rollout is shown and steered.
pub struct Foreground<'a> {
    /// Whence it was taken.
    pub launch: &'a Launch,
    /// For the process in the background.
    pub pki: &'a PkiArgs,
    /// How it is shown.
    pub format: Format,
    /// Show what happened before, too: this process has just recorded it.
    pub replay: bool,
    /// Signals are about the rollout; else somebody else hears them.
    pub steered: bool,
}

impl Foreground<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// When the journal failed and no node was changed, or no socket could be listened on.
    pub async fn run(&self, taken: Taken) -> Result<Exit, Error> {
        let id = taken.id().clone();
        let lives = self.launch.lives.clone();
        let service = Service {
            lives: lives.clone(),
            journal: self.launch.journal.clone(),
            path: self.launch.path.clone(),
            host: None,
        };
        let listen = Listen {
            tcp: None,
            socket: Some(socket_of(&id)),
        };
        let server = Server::start(listen, service).await?;
        let before = match self.replay {
            true => View::default(),
            false => View::of(taken.before()),
        };
        let (mut reporter, shown) = output::aside(output::reporter(self.format), before)?;
        if self.replay {
            let view = View::default();
            for event in taken.before() {
                reporter.event(event, &view);
            }
            reporter.flush();
        }
        let controls = lives.get(&id).map(|live| live.controls());
        let running = taken.run(Box::new(reporter));
        let steering = async {
            match controls {
                Some(controls) if self.steered => {
                    steer::signals(Steered::Here(controls), true).await
                }
                _ => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = running => Some(ended),
            left = steering => { left?; None }
        };
        server.stop().await;
        match ended {
            Some(ended) => self.conclude(&id, ended, shown).await,
            None => {
                self.caught_up(&id, shown).await;
                let events = crate::journal::read_all(&*self.launch.journal, &id).await?;
                self.stands_still(&id, &View::of(&events), None)
            }
        }
    }

    /// Waits until what happened is shown.
    async fn caught_up(&self, id: &RolloutId, shown: Shown) {
        let missed = shown.wait().await;
        if missed > 0 {
            tell(&format!(
                "{missed} events were not shown, nobody read them in time; midflight watch {id} shows all"
            ));
        }
    }

    /// Shows what a run came to, and gives its exit code.
    async fn conclude(&self, id: &RolloutId, ended: Ended, shown: Shown) -> Result<Exit, Error> {
        let Ended { view, error, over } = ended;
        // Whoever does not read must not hold up the process that goes on.
        if !over && error.is_none() {
            self.hand_over(id).await?;
        }
        self.caught_up(id, shown).await;
        if over {
            if self.format == Format::Text {
                print(&summary(id, &view))?;
            }
            return Ok(view.exit());
        }
        if error.is_some() {
            return self.stands_still(id, &view, error);
        }
        tell(&format!(
            "rollout {id} goes on in the background; midflight watch {id} shows it"
        ));
        Ok(Exit::RUNNING)
    }

    /// What is said of a rollout that nobody runs any more, and has not ended.
    fn stands_still(
        &self,
        id: &RolloutId,
        view: &View,
        error: Option<Error>,
    ) -> Result<Exit, Error> {
        let text = summary(id, view);
        match self.format {
            Format::Text => print(&text)?,
            Format::Json => tell(&text),
        }
        let changed = view.changed().len();
        match error {
            Some(error) if changed == 0 => return Err(error),
            Some(error) => tell(&format!(
                "error: {}: {}",
                error.code(),
                error::chain(&error)
            )),
            None => {}
        }
        if changed == 0 {
            return Ok(Exit::ABORTED);
        }
        tell(&format!(
            "left with {changed} nodes that may run the new code; go on with: midflight resume {id}; or put them back with: \
             midflight rollback {id}"
        ));
        Ok(Exit::UNRESOLVED)
    }

    /// Starts a process in the background that goes on with a rollout, and returns when it owns it.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no process, [`Error::NoOwner`] when it ended or took too long.
    pub async fn hand_over(&self, id: &RolloutId) -> Result<(), Error> {
        let journal = self.launch.path.as_path();
        let files = self.pki.credentials()?;
        let log = Lock::folder(journal).join(format!("{id}.log"));
        let program = std::env::current_exe().map_err(Error::io("find", Path::new("midflight")))?;
        let open = || {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).append(true).open(&log)
        };
        let (out, err) = (open(), open());
        let (out, err) = (
            out.map_err(Error::io("open", &log))?,
            err.map_err(Error::io("open", &log))?,
        );
        let mut child = Command::new(&program)
            .args(["resume", id.as_str(), "--background", "--journal"])
            .arg(journal)
            .arg("--ca")
            .arg(&files.ca)
            .arg("--cert")
            .arg(&files.cert)
            .arg("--key")
            .arg(&files.key)
            .env_remove("MIDFLIGHT_SERVER")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(Error::io("start", &program))?;
        let deadline = Instant::now() + HANDOVER;
        while Client::owner(journal, id).await.is_err() {
            // A rollout that had little left to do may be over already.
            let ended = self.launch.journal.head(id).await?;
            if ended.is_some_and(|head| !head.is_open()) {
                return Ok(());
            }
            let gone = child.try_wait().map_err(Error::io("wait for", &program))?;
            if gone.is_some() || Instant::now() > deadline {
                tell(&format!("see {}", log.display()));
                let rollout = id.to_string();
                return Err(Error::NoOwner { rollout });
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}
