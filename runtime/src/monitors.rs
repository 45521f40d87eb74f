//! Who watches whom. A watcher hears once, by a `down`, that the watched actor is gone.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::table::Pid;

#[derive(Default)]
pub(crate) struct Monitors(Mutex<HashMap<Pid, Vec<Pid>>>);

impl Monitors {
    pub(crate) fn add(&self, watched: Pid, watcher: Pid) {
        let mut all = self.0.lock();
        let watchers = all.entry(watched).or_default();
        if !watchers.contains(&watcher) {
            watchers.push(watcher);
        }
    }

    /// False: it was not watching any more, so it has heard or will.
    pub(crate) fn remove(&self, watched: Pid, watcher: Pid) -> bool {
        let mut all = self.0.lock();
        let Some(watchers) = all.get_mut(&watched) else {
            return false;
        };
        let before = watchers.len();
        watchers.retain(|&w| w != watcher);
        let found = watchers.len() < before;
        if watchers.is_empty() {
            all.remove(&watched);
        }
        found
    }

    /// Those who are to hear that it is gone.
    pub(crate) fn take(&self, watched: Pid) -> Vec<Pid> {
        self.0.lock().remove(&watched).unwrap_or_default()
    }
}
