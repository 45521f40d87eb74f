//! Whole trees: applications, started after those that they depend on, ended in reverse (OTP's `application`). When the
//! top supervisor of one ends by itself, that application has ended and is said to have; the node stays up.

use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

use midflight_patch::{Application, Release};

use super::{
    Event, Reply, SupId,
    forest::{Forest, Msg, Outcome},
    machine::Machine,
    orders::answer,
};
use crate::{Error, Node, node::Shared};

/// Where an application stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationState {
    /// Known, and not running.
    Loaded,
    /// Its children start.
    Starting,
    /// All of its children were started.
    Running,
    /// Its children are ended.
    Stopping,
    /// Its top supervisor gave up.
    Ended,
}

/// One application as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationStatus {
    /// Its name.
    pub name: String,
    /// Its vsn.
    pub vsn: String,
    /// Where it stands.
    pub state: ApplicationState,
    /// Its top supervisor.
    pub supervisor: String,
}

pub(super) struct App {
    pub(super) spec: Application,
    pub(super) flat: bool,
    pub(super) top: Option<SupId>,
    pub(super) state: ApplicationState,
    waiting: Vec<Reply>,
}

impl App {
    fn new(spec: Application, flat: bool) -> Self {
        Self {
            spec,
            flat,
            top: None,
            state: ApplicationState::Loaded,
            waiting: Vec::new(),
        }
    }

    fn enter(&mut self, state: ApplicationState, result: impl Fn() -> Result<(), Error>) {
        self.state = state;
        for reply in self.waiting.drain(..) {
            answer(Some(reply), result());
        }
    }
}

impl Forest {
    /// Another application, the last one.
    fn add(&mut self, spec: Application) {
        let flat = self.short.as_ref() == Some(&spec.name);
        self.apps.push(App::new(spec, flat));
    }

    /// The last application that runs and on which no other one that runs depends. `stopped`: they are passed over.
    fn last_running(&self, stopped: &[Arc<str>]) -> Option<Arc<str>> {
        let runs = |app: &&App| app.top.is_some() && !stopped.iter().any(|s| **s == *app.spec.name);
        let running: Vec<&App> = self.apps.iter().filter(runs).collect();
        let needed = |app: &&&App| {
            running
                .iter()
                .any(|o| o.spec.depends.contains(&app.spec.name))
        };
        let free = running.iter().rev().find(|app| !needed(app));
        free.map(|app| app.spec.name.as_str().into())
    }
}

fn state_error(name: &str, state: &'static str) -> Error {
    Error::ApplicationState {
        application: name.to_owned(),
        state,
    }
}

impl Machine<'_> {
    pub(super) fn start_application(&mut self, name: &str, reply: Reply) {
        use ApplicationState as S;
        let Some(app) = self.forest.app(name) else {
            return answer(Some(reply), Err(Error::NoApplication(name.to_owned())));
        };
        let runs = |on: &String| {
            self.forest
                .app(on)
                .is_some_and(|app| app.state == S::Running)
        };
        let refused = match app.state {
            S::Running | S::Starting => Some(state_error(name, "started already")),
            S::Stopping => Some(state_error(name, "being stopped")),
            S::Loaded | S::Ended => app.spec.depends.iter().find(|on| !runs(on)).map(|on| {
                Error::ApplicationState {
                    application: on.clone(),
                    state: "not running, and another application that is to start depends on it",
                }
            }),
        };
        if let Some(error) = refused {
            return answer(Some(reply), Err(error));
        }
        let (spec, flat) = (app.spec.supervisor.clone(), app.flat);
        let top = self.grow(&spec, &name.into(), None, flat);
        if let Some(app) = self.forest.app_mut(name) {
            app.top = Some(top);
            app.state = S::Starting;
            app.waiting.push(reply);
        }
    }

    pub(super) fn stop_application(&mut self, name: &str, reply: Reply) {
        use ApplicationState as S;
        let Some(app) = self.forest.app_mut(name) else {
            return answer(Some(reply), Err(Error::NoApplication(name.to_owned())));
        };
        let Some(top) = app.top else {
            return answer(Some(reply), Err(state_error(name, "not running")));
        };
        if app.state == S::Starting {
            app.enter(S::Stopping, || Err(state_error(name, "being stopped")));
        }
        app.state = S::Stopping;
        app.waiting.push(reply);
        self.tell(top, Msg::Stop);
    }

    pub(super) fn application_up(&mut self, name: &str) {
        let Some(app) = self.forest.app_mut(name) else {
            return;
        };
        if app.state == ApplicationState::Starting {
            tracing::info!(application = name, vsn = %app.spec.vsn, "runs");
            app.enter(ApplicationState::Running, || Ok(()));
        }
    }

    pub(super) fn application_down(&mut self, name: &str, outcome: Outcome) {
        use ApplicationState as S;
        let Some(app) = self.forest.app_mut(name) else {
            return;
        };
        app.top = None;
        match (app.state, outcome) {
            (S::Stopping, _) | (_, Outcome::Stopped) => {
                tracing::info!(application = name, "stopped");
                app.enter(S::Loaded, || Ok(()));
            }
            (_, Outcome::NotStarted(failure)) => app.enter(S::Loaded, || {
                Err(Error::Start {
                    name: failure.name.clone(),
                    module: failure.module.clone(),
                    reason: failure.reason.clone(),
                })
            }),
            (_, Outcome::GaveUp) => {
                tracing::error!(
                    application = name,
                    "ended: its top supervisor gave up; the node goes on without it"
                );
                let counter = &self.shared.supervision.gave_up;
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                app.enter(S::Ended, || {
                    Err(state_error(name, "ended: its children ended too often"))
                });
            }
        }
    }
}

impl Shared {
    /// Starts a release's applications, each after those that it depends on. When one does not start, those started are
    /// stopped in reverse.
    pub(crate) fn start_release(&self, release: &Release) -> Result<(), Error> {
        let order = release.start_order();
        let names: Vec<String> = order.iter().map(|app| app.name.clone()).collect();
        {
            let mut forest = self.supervision.forest.lock();
            forest.short = release
                .is_short(&release.name)
                .then(|| release.name.clone());
            forest.apps.clear();
            for spec in order {
                forest.add(spec);
            }
        }
        for (at, name) in names.iter().enumerate() {
            if let Err(error) = self.start_application(name) {
                for started in names[..at].iter().rev() {
                    // It may have ended by itself.
                    let _ = self.stop_application(started);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    pub(crate) fn add_application(&self, spec: Application) -> Result<(), Error> {
        let mut forest = self.supervision.forest.lock();
        if forest.app(&spec.name).is_some() {
            return Err(state_error(&spec.name, "loaded already"));
        }
        self.code.assign(&spec);
        forest.add(spec);
        Ok(())
    }

    pub(crate) fn remove_application(&self, name: &str) -> Result<Application, Error> {
        let mut forest = self.supervision.forest.lock();
        let at = forest.apps.iter().position(|app| app.spec.name == name);
        let at = at.ok_or_else(|| Error::NoApplication(name.to_owned()))?;
        if forest.apps[at].top.is_some() {
            return Err(state_error(name, "running; stop it first"));
        }
        Ok(forest.apps.remove(at).spec)
    }

    pub(crate) fn start_application(&self, name: &str) -> Result<(), Error> {
        self.ask(|reply| Event::Start(name.into(), reply))
    }

    pub(crate) fn stop_application(&self, name: &str) -> Result<(), Error> {
        self.ask(|reply| Event::Stop(name.into(), reply))
    }

    /// Stops all applications, each before those that it depends on, the last started first; until the deadline at the
    /// latest.
    pub(crate) fn stop_applications(&self, until: Instant) {
        let mut stopped: Vec<Arc<str>> = Vec::new();
        loop {
            let next = self.supervision.forest.lock().last_running(&stopped);
            let Some(name) = next else { return };
            let (reply, answered) = mpsc::sync_channel(1);
            self.supervision.push(Event::Stop(name.clone(), reply));
            let left = until.saturating_duration_since(Instant::now());
            // What came too late ends with the node.
            if left.is_zero() || answered.recv_timeout(left).is_err() {
                return;
            }
            stopped.push(name);
        }
    }
}

impl Node {
    /// All applications, in start order.
    pub fn applications(&self) -> Vec<ApplicationStatus> {
        let forest = self.shared.supervision.forest.lock();
        let status = |app: &App| ApplicationStatus {
            name: app.spec.name.clone(),
            vsn: app.spec.vsn.to_string(),
            state: app.state,
            supervisor: app.spec.supervisor.name.clone(),
        };
        forest.apps.iter().map(status).collect()
    }

    /// Adds an application behind all others. It is not started.
    ///
    /// # Errors
    /// [`Error::ApplicationState`] when there is one of its name.
    pub fn add_application(&self, spec: Application) -> Result<(), Error> {
        self.shared.add_application(spec)
    }

    /// Forgets an application that does not run, and gives what it was.
    ///
    /// # Errors
    /// [`Error::NoApplication`], [`Error::ApplicationState`] when it runs.
    pub fn remove_application(&self, name: &str) -> Result<Application, Error> {
        self.shared.remove_application(name)
    }

    /// Starts an application, and waits until all of its children are initialised.
    ///
    /// # Errors
    /// [`Error::NoApplication`], [`Error::ApplicationState`] when it runs or one that it depends on does not, and
    /// [`Error::Start`] with the child that did not start; then those started before it were ended.
    pub fn start_application(&self, name: &str) -> Result<(), Error> {
        self.shared.start_application(name)
    }

    /// Stops an application, and waits until all of its children have ended. Those that depend on it go on.
    ///
    /// # Errors
    /// [`Error::NoApplication`], [`Error::ApplicationState`] when it does not run.
    pub fn stop_application(&self, name: &str) -> Result<(), Error> {
        self.shared.stop_application(name)
    }
}
