//! What Ctrl-C and SIGTERM make of a rollout that is shown in the foreground. On a terminal Ctrl-C asks whether to detach, pause
//! or abort, and a second one detaches. Elsewhere the first signal aborts in order, and the second leaves at once.

use std::io::IsTerminal as _;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::Client;
use crate::command::tell;
use crate::engine::control::{self, Answer, Control, Request, Verb};
use crate::engine::id::RolloutId;
use crate::error::{self, Error};
use crate::output::screen::Keys;

/// The rollout.
#[derive(Clone)]
pub enum Steered {
    /// Its engine runs in this process.
    Here(mpsc::Sender<Control>),
    /// It is only shown here.
    There(Box<Client>, RolloutId),
}

impl Steered {
    async fn ask(&self, verb: Verb, who: &str) {
        let answer = match self {
            Self::Here(controls) => {
                let request = Request {
                    verb: verb.clone(),
                    who: who.to_owned(),
                    reason: String::new(),
                };
                Ok(control::ask(controls, request).await)
            }
            Self::There(client, rollout) => client.control(rollout, &verb, who).await.map(Some),
        };
        match answer {
            Ok(Some(Answer::Refused(why))) => tell(&format!("{}: {why}", verb.as_str())),
            Err(error) => tell(&format!("{}: {}", verb.as_str(), error::chain(&error))),
            // Events show it.
            Ok(_) => {}
        }
    }

    /// Leaves the rollout to another process: true when the showing is to end here and now.
    async fn detach(&self) -> bool {
        match self {
            // What is in flight settles first; then the engine ends.
            Self::Here(_) => {
                tell("detaching: what is in flight comes to its end first");
                self.ask(Verb::Detach, "Ctrl-C").await;
                false
            }
            Self::There(..) => true,
        }
    }
}

struct Signals {
    interrupts: Signal,
    terminations: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let failed = |source| Error::Output { source };
        Ok(Self {
            interrupts: signal(SignalKind::interrupt()).map_err(failed)?,
            terminations: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupts.recv() => "Ctrl-C",
            _ = self.terminations.recv() => "SIGTERM",
        }
    }
}

/// Does what signals ask, and returns when the process is to leave the rollout at once. `asks`: signals are about the rollout;
/// otherwise the first one leaves.
///
/// # Errors
/// When signals cannot be heard.
pub async fn signals(steered: Steered, asks: bool) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let mut before = 0;
    loop {
        let name = signals.next().await;
        before += 1;
        if !asks || before > 2 {
            return Ok(());
        }
        let leaves = if terminal && name == "Ctrl-C" {
            prompt(&steered, &mut signals, &mut before).await?
        } else if before == 1 {
            tell(&format!("{name}: aborting; once more leaves at once"));
            // A signal while the answer is waited for leaves.
            tokio::select! {
                () = steered.ask(Verb::Abort { keep: false }, name) => false,
                _ = signals.next() => true,
            }
        } else {
            true
        };
        if leaves {
            return Ok(());
        }
    }
}

/// Asks what is to be done; true: leave at once.
async fn prompt(steered: &Steered, signals: &mut Signals, before: &mut u32) -> Result<bool, Error> {
    if *before > 1 {
        return Ok(steered.detach().await);
    }
    tell("[d]etach, [p]ause or [a]bort? Ctrl-C again detaches, any other key goes on");
    let mut keys = Keys::read().map_err(|source| Error::Output { source })?;
    let key = tokio::select! {
        key = keys.next() => key,
        _ = signals.next() => Some(b'd'),
    };
    drop(keys);
    match key {
        Some(b'd') => {
            *before = 2;
            return Ok(steered.detach().await);
        }
        Some(b'p') => steered.ask(Verb::Pause, "Ctrl-C").await,
        Some(b'a') => steered.ask(Verb::Abort { keep: false }, "Ctrl-C").await,
        _ => {}
    }
    *before = 0;
    Ok(false)
}
