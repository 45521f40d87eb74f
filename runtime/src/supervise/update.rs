//! A changed tree, as a patch brings it: children that run are not touched, new ones start, and those that are gone from
//! the list end when the patch says so (OTP: `{update, Module, supervisor}`, upon which a supervisor's `init` gives the new
//! child list). It is checked before anything is done, and what it did can be taken back.

use midflight_patch::{Application, Child as ChildSpec, ModuleName, Strategy, Supervisor};

use super::{
    Event, Reply,
    forest::{Child, Run, Step, Sup, Then},
    jobs::stops,
    machine::Machine,
    orders::{Order, What},
};
use crate::{Error, Node, node::Shared};

/// A tree as it was before it was changed.
pub(crate) struct TreeBefore {
    /// As the release had it.
    spec: Application,
    /// As it ran.
    running: Supervisor,
    flat: bool,
}

fn refuse(application: &str, reason: String) -> Error {
    Error::Tree {
        application: application.to_owned(),
        reason,
    }
}

fn simple(spec: &Supervisor) -> bool {
    spec.strategy == Strategy::SimpleOneForOne
}

/// Says why a running supervisor cannot become this one.
fn check(running: &Supervisor, new: &Supervisor) -> Result<(), String> {
    let name = &running.name;
    if simple(running) != simple(new) {
        return Err(format!(
            "supervisor {name} cannot become simple_one_for_one, or cease to be, while it runs"
        ));
    }
    for child in &new.children {
        let before = running.children.iter().find(|c| c.name() == child.name());
        match (before, child) {
            (Some(ChildSpec::Supervisor(before)), ChildSpec::Supervisor(new)) => {
                check(before, new)?
            }
            (Some(ChildSpec::Supervisor(_)), _) | (Some(_), ChildSpec::Supervisor(_)) => {
                return Err(format!(
                    "child {} of supervisor {name} is a worker on one side and a supervisor on the other",
                    child.name()
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Machine<'_> {
    /// Takes over flags and child list; supervisors below are told by themselves.
    pub(super) fn update(&mut self, sup: &mut Sup, mut new: Supervisor, reply: Option<Reply>) {
        let stop_removed = std::mem::take(&mut new.stop_removed);
        sup.flat = false;
        self.shared.supervision.follow(&sup.family, &new);
        if simple(&new) {
            sup.spec = new;
            return super::orders::answer(reply, Ok(()));
        }
        let (mut ends, mut starts, mut order) = (Vec::new(), Vec::new(), Vec::new());
        let mut left = std::mem::take(&mut sup.order);
        for spec in &new.children {
            let same = |key: &u32| {
                sup.children
                    .get(key)
                    .is_some_and(|c| *c.name == *spec.name())
            };
            let Some(at) = left.iter().position(same) else {
                let Ok(key) = sup.family.next_key() else {
                    continue;
                };
                let child = Child::new(spec);
                let range = child.range();
                starts.push(Step::Start { key, range });
                sup.children.insert(key, child);
                order.push(key);
                continue;
            };
            let key = left.remove(at);
            order.push(key);
            match (sup.children.get_mut(&key).map(|c| &mut c.run), spec) {
                (Some(Run::Worker(worker)), ChildSpec::Worker(spec)) => {
                    worker.follow(spec);
                    let (had, has) = (worker.pids.len() as u32, spec.count);
                    if has > had {
                        worker.pids.resize(has as usize, 0);
                        let range = had..has;
                        starts.push(Step::Start { key, range });
                    } else if has < had && stop_removed {
                        ends.extend(stops(key, has..had));
                        ends.push(Step::Shrink { key, count: has });
                    }
                }
                (Some(Run::Supervisor { spec: kept, .. }), ChildSpec::Supervisor(spec)) => {
                    kept.clone_from(spec);
                    kept.stop_removed = false;
                }
                // It was checked that neither becomes the other.
                _ => {}
            }
        }
        // Those that stay although the list does not name them are the last.
        order.extend(&left);
        if stop_removed {
            for key in left.into_iter().rev() {
                let range = sup.children[&key].range();
                ends.extend(stops(key, range));
                ends.push(Step::Forget(key));
            }
        }
        sup.order = order;
        sup.spec = new;
        ends.extend(starts);
        self.begin(sup, ends, Then::Reply(reply));
    }
}

impl Shared {
    /// Says whether an application's tree can become this one, before anything is done. `added`: modules that will be
    /// loaded by then.
    ///
    /// # Errors
    /// [`Error::Tree`], [`Error::NoApplication`].
    pub(crate) fn check_tree(&self, new: &Application, added: &[ModuleName]) -> Result<(), Error> {
        for worker in new.supervisor.workers() {
            let module = &worker.module;
            if self.code.module_named(module.as_str()).is_none() && !added.contains(module) {
                return Err(Error::NoModule(module.clone()));
            }
        }
        let forest = self.supervision.forest.lock();
        let app = forest
            .app(&new.name)
            .ok_or_else(|| Error::NoApplication(new.name.clone()))?;
        let top = app.top.and_then(|top| forest.sups.get(&top));
        let Some(top) = top else { return Ok(()) };
        check(&forest.spec_of(top), &new.supervisor).map_err(|reason| refuse(&new.name, reason))
    }

    /// Gives an application a new tree: after a success it runs as the tree says; after a failure as before. One that does
    /// not run gets the tree for its next start.
    ///
    /// # Errors
    /// As [`Shared::check_tree`], and [`Error::Start`] for a new child that does not start.
    pub(crate) fn update_tree(&self, new: &Application) -> Result<TreeBefore, Error> {
        self.check_tree(new, &[])?;
        let (before, runs) = {
            let mut forest = self.supervision.forest.lock();
            let app = forest
                .app(&new.name)
                .ok_or_else(|| Error::NoApplication(new.name.clone()))?;
            let top = app.top.and_then(|top| forest.sups.get(&top));
            let before = TreeBefore {
                spec: app.spec.clone(),
                running: top.map_or_else(|| app.spec.supervisor.clone(), |t| forest.spec_of(t)),
                flat: app.flat,
            };
            let runs = top.is_some();
            if before.flat {
                forest.short = None;
            }
            if let Some(app) = forest.app_mut(&new.name) {
                app.spec = new.clone();
                app.flat = false;
            }
            (before, runs)
        };
        if !runs {
            return Ok(before);
        }
        let changed = self.change(&before.running.name, &before.running, &new.supervisor);
        match changed {
            Ok(()) => Ok(before),
            Err(error) => {
                if let Err(undo) = self.restore_tree(&before) {
                    tracing::error!(application = new.name, %undo, "a changed tree could not be taken back wholly");
                }
                Err(error)
            }
        }
    }

    /// From the top down: a supervisor, then those below it that were there before.
    fn change(&self, name: &str, before: &Supervisor, new: &Supervisor) -> Result<(), Error> {
        let id = self.supervisor_id(name)?;
        self.ask(|reply| {
            let what = What::Update(Box::new(new.clone()));
            let reply = Some(reply);
            Event::Host(id, Order { what, reply })
        })?;
        for child in &new.children {
            let ChildSpec::Supervisor(below) = child else {
                continue;
            };
            let same =
                |c: &&ChildSpec| matches!(c, ChildSpec::Supervisor(s) if s.name == below.name);
            if let Some(ChildSpec::Supervisor(was)) = before.children.iter().find(same)
                && self.supervisor_id(&below.name).is_ok()
            {
                self.change(&below.name, was, below)?;
            }
        }
        Ok(())
    }

    /// Takes a changed tree back: what was started ends, what was ended starts, and the former values hold again.
    ///
    /// # Errors
    /// [`Error::Start`] for a child that does not start again; the others do.
    pub(crate) fn restore_tree(&self, before: &TreeBefore) -> Result<(), Error> {
        let name = &before.spec.name;
        let now = {
            let mut forest = self.supervision.forest.lock();
            let top = forest.app(name).and_then(|app| app.top);
            if before.flat {
                forest.short = Some(name.clone());
            }
            let now = top
                .and_then(|top| forest.sups.get(&top))
                .map(|t| forest.spec_of(t));
            if let Some(app) = forest.app_mut(name) {
                app.spec = before.spec.clone();
                app.flat = before.flat;
            }
            now
        };
        let Some(now) = now else { return Ok(()) };
        self.change(&now.name, &now, &before.running.clone().exactly())?;
        if before.flat
            && let Ok(id) = self.supervisor_id(&before.running.name)
            && let Some(top) = self.supervision.forest.lock().sups.get_mut(&id)
        {
            top.flat = true;
        }
        Ok(())
    }
}

impl Node {
    /// Gives an application that runs a new tree, or one that does not run a tree for its next start. See
    /// `docs/supervision.md` for what happens to its children.
    ///
    /// # Errors
    /// [`Error::Tree`] and [`Error::NoModule`] when it cannot be, [`Error::Start`] for a new child that does not start; in
    /// each case the application is as it was.
    pub fn update_supervisors(&self, new: &Application) -> Result<(), Error> {
        self.shared.update_tree(new).map(drop)
    }
}
