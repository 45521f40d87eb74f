//! The rollouts that this process runs: how each is asked for something, and how far its events are in the journal. A rollout
//! is in the list for as long as its engine holds the [`Alive`] that put it there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::Reporter;
use crate::engine::control::{self, Answer, Control, Request};
use crate::engine::event::{Event, Fact};
use crate::engine::id::RolloutId;
use crate::engine::view::View;

/// The list. A handle is cheap.
#[derive(Clone, Default)]
pub struct Lives(Arc<Mutex<HashMap<RolloutId, Live>>>);

/// A rollout whose engine runs in this process.
#[derive(Clone)]
pub struct Live {
    controls: mpsc::Sender<Control>,
    /// The number of the last event that is in the journal. Closed when the engine has ended.
    pub seq: watch::Receiver<u64>,
}

impl Live {
    /// Asks the engine, and waits for its answer; `None` when it has ended.
    pub async fn ask(&self, request: Request) -> Option<Answer> {
        control::ask(&self.controls, request).await
    }

    /// What asks the engine.
    #[must_use]
    pub fn controls(&self) -> mpsc::Sender<Control> {
        self.controls.clone()
    }
}

/// Held by who runs the engine.
pub struct Alive {
    lives: Lives,
    rollout: RolloutId,
    seq: watch::Sender<u64>,
}

impl Lives {
    /// Enters a rollout, whose engine is to read what is returned; `None` when it is there already.
    #[must_use]
    pub fn enter(&self, rollout: &RolloutId) -> Option<(Alive, mpsc::Receiver<Control>)> {
        let (controls, asked) = mpsc::channel(control::WAITING);
        let (seq, written) = watch::channel(0);
        let live = Live {
            controls,
            seq: written,
        };
        let mut list = self.list();
        if list.contains_key(rollout) {
            return None;
        }
        list.insert(rollout.clone(), live);
        let alive = Alive {
            lives: self.clone(),
            rollout: rollout.clone(),
            seq,
        };
        Some((alive, asked))
    }

    /// A rollout that lives.
    #[must_use]
    pub fn get(&self, rollout: &RolloutId) -> Option<Live> {
        self.list().get(rollout).cloned()
    }

    /// All that live.
    #[must_use]
    pub fn all(&self) -> Vec<Live> {
        self.list().values().cloned().collect()
    }

    fn list(&self) -> MutexGuard<'_, HashMap<RolloutId, Live>> {
        // Each change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.lives.list().remove(&self.rollout);
    }
}

/// Tells who watches that there are events, and another reporter what they are.
pub struct Told<'a> {
    /// Whom to tell when an event is in the journal.
    pub alive: Alive,
    /// Who shows it.
    pub shown: Box<dyn Reporter + 'a>,
    /// Who waits for what is answered to the first request.
    pub answer: Option<oneshot::Sender<Answer>>,
}

impl Reporter for Told<'_> {
    fn event(&mut self, event: &Event, view: &View) {
        self.alive.seq.send_replace(event.seq);
        if let Fact::Control { refused, .. } = &event.fact
            && let Some(waiting) = self.answer.take()
        {
            let answer = refused.clone().map_or(Answer::Done, Answer::Refused);
            // Who asked may have gone.
            let _ = waiting.send(answer);
        }
        self.shown.event(event, view);
    }

    fn flush(&mut self) {
        self.shown.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_lives_once_and_as_long_as_its_engine() {
        let (lives, id) = (Lives::default(), "r-1".parse().unwrap());
        let (alive, _asked) = lives.enter(&id).unwrap();
        assert!(lives.enter(&id).is_none());
        let seen = lives.get(&id).unwrap();
        drop(alive);
        assert!(lives.get(&id).is_none() && lives.all().is_empty());
        assert!(seen.seq.has_changed().is_err(), "closed for who watches");
    }
}
