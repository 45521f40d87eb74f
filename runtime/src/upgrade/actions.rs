//! What a plan does behind the switch, one after the other, while the way back is open: applications and supervisors that
//! start, stop or change, and calls of `apply`. What was done is noted, and a rollback undoes it in reverse. What a call has
//! sent stays sent.

use midflight_patch::{Application, ModuleName};

use super::{
    Action,
    core::Core,
    txn::{Change, Kind},
};
use crate::{Error, node::Shared, supervise::TreeBefore};

/// What was done, as the way back needs it.
pub(super) enum Done {
    Stopped(Box<Application>),
    Started(String),
    StoppedChild { application: String, child: String },
    StartedChild { application: String, child: String },
    Changed(Box<TreeBefore>),
    Applied,
}

impl Action {
    /// For people.
    fn text(&self) -> String {
        match self {
            Action::Apply(apply) => apply.text(),
            Action::StopApplication(name) => format!("stop of application {name}"),
            Action::StartApplication(spec) => format!("start of application {}", spec.name),
            Action::StopChild { application, child } => format!("stop of {child} in {application}"),
            Action::StartChild { application, child } => {
                format!("start of {child} in {application}")
            }
            Action::UpdateSupervisors(spec) => format!("update of the tree of {}", spec.name),
        }
    }
}

impl Core {
    /// Says, before anything is done, what can be known to fail.
    pub(super) fn check_actions(&self) -> Result<(), Error> {
        let added = |c: &Change| (c.kind == Kind::Add).then(|| c.name.clone());
        let added: Vec<ModuleName> = self.txn.changes.iter().filter_map(added).collect();
        for action in &self.order.after {
            if let Action::UpdateSupervisors(spec) = action {
                self.shared.check_tree(spec, &added)?;
            }
        }
        Ok(())
    }

    /// Does it all. The first that fails undoes the upgrade.
    pub(super) fn act(&mut self) -> Result<(), Error> {
        for action in std::mem::take(&mut self.order.after) {
            let failed = match self.one(&action) {
                Ok(done) => {
                    self.done.push(done);
                    continue;
                }
                Err(reason) => reason,
            };
            let undone = self.rollback(self.order.pause_budget, self.order.on_down_failure)?;
            return Err(Error::Action {
                what: action.text(),
                reason: failed,
                held: Some(undone.held.len()),
            });
        }
        Ok(())
    }

    fn one(&self, action: &Action) -> Result<Done, String> {
        let shared = &self.shared;
        let text = |error: Error| error.to_string();
        let (application, child) = match action {
            Action::StopChild { application, child }
            | Action::StartChild { application, child } => (application.clone(), child.clone()),
            _ => Default::default(),
        };
        match action {
            Action::Apply(apply) => self.apply(apply).map(|()| Done::Applied),
            Action::StopApplication(name) => stop(shared, name)
                .map(|spec| Done::Stopped(Box::new(spec)))
                .map_err(text),
            Action::StartApplication(spec) => {
                start(shared, spec.clone()).map_err(text)?;
                Ok(Done::Started(spec.name.clone()))
            }
            Action::StopChild { .. } => {
                shared.stop_part(&application, &child).map_err(text)?;
                Ok(Done::StoppedChild { application, child })
            }
            Action::StartChild { .. } => {
                shared.start_part(&application, &child).map_err(text)?;
                Ok(Done::StartedChild { application, child })
            }
            Action::UpdateSupervisors(spec) => shared
                .update_tree(spec)
                .map(|before| Done::Changed(Box::new(before)))
                .map_err(text),
        }
    }

    /// Takes back what was done, the last first. What cannot be taken back is logged, and keeps nothing else from it.
    pub(super) fn undo_actions(&mut self) {
        let shared = self.shared.clone();
        if !self.done.is_empty() {
            // What starts again may need a module that was deleted.
            self.modules(|module, change| {
                if matches!(change.kind, Kind::Delete { .. }) {
                    shared.code.show(module);
                }
            });
        }
        while let Some(done) = self.done.pop() {
            let undone = match done {
                Done::Applied => Ok(()),
                Done::Stopped(spec) => start(&shared, *spec),
                Done::Started(name) => stop(&shared, &name).map(drop),
                Done::StoppedChild { application, child } => {
                    shared.start_part(&application, &child)
                }
                Done::StartedChild { application, child } => shared.stop_part(&application, &child),
                Done::Changed(before) => shared.restore_tree(&before),
            };
            if let Err(error) = undone {
                tracing::error!(%error, "a rollback could not take back what the upgrade had done");
            }
        }
    }
}

/// Its children end; then the node knows it no more.
fn stop(shared: &Shared, name: &str) -> Result<Application, Error> {
    shared.stop_application(name)?;
    shared.remove_application(name)
}

fn start(shared: &Shared, spec: Application) -> Result<(), Error> {
    let name = spec.name.clone();
    shared.add_application(spec)?;
    shared.start_application(&name).inspect_err(|_| {
        // It did not start, so that it can be forgotten.
        let _ = shared.remove_application(&name);
    })
}
