//! A person at a terminal: what Ctrl-C asks, and what comes of each answer.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Mutex};

use midflight_tests::{Fleet, until};

const CTRL_C: &[u8] = b"\x03";
const ASKED: &str = "[d]etach, [p]ause or [a]bort?";

/// `midflight apply` on a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    /// Begins a rollout, and waits until its canary runs the new code.
    fn begin(fleet: &Fleet) -> Self {
        let patch = fleet.patch_v2();
        fleet.policy("[{nodes: 1, bake: 5m}, 100%]");
        let words = [
            "apply",
            &patch,
            "all_nodes",
            "--all",
            "--policy",
            "policy.yaml",
        ];
        let mut child = fleet.terminal(&words);
        let keys = child.stdin.take().expect("stdin is piped");
        let mut out = child.stdout.take().expect("stdout is piped");
        let shown = Arc::new(Mutex::new(String::new()));
        let here = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(some @ 1..) = out.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..some]).into_owned();
                here.lock().expect("nobody panicked").push_str(&text);
            }
        });
        until("the canary is in probation", || fleet.vsns(0).0 == "2.0.0");
        Self { child, keys, shown }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).expect("it reads");
        self.keys.flush().expect("it reads");
    }

    /// Ctrl-C, and another key when it has asked.
    fn answer(&mut self, key: &[u8]) {
        let before = self.times(ASKED);
        self.press(CTRL_C);
        until("it asks", || self.times(ASKED) > before);
        self.press(key);
    }

    fn times(&self, text: &str) -> usize {
        self.shown
            .lock()
            .expect("nobody panicked")
            .matches(text)
            .count()
    }

    fn code(mut self) -> Option<i32> {
        let code = self.child.wait().expect("it ends").code();
        println!("{}", self.shown.lock().expect("nobody panicked"));
        code
    }
}

#[test]
fn ctrl_c_on_a_terminal_asks_and_pauses_or_aborts() {
    let fleet = Fleet::start(2);
    let mut terminal = Terminal::begin(&fleet);
    let is_paused = || fleet.run(&["status"]).out.contains("paused");
    terminal.answer(b"p");
    until("it is paused", is_paused);
    assert_eq!(fleet.vsns(0).0, "2.0.0");
    let resumed = fleet.run(&["resume", &fleet.newest()]);
    assert_eq!(resumed.code, 0, "{}", resumed.text());
    assert!(!is_paused());
    terminal.answer(b"a");
    assert_eq!(terminal.code(), Some(6));
    for node in 0..2 {
        assert_eq!(fleet.vsns(node), ("1.0.0".into(), "1.0.0".into()));
    }
}

#[test]
fn ctrl_c_and_another_key_on_a_terminal_change_nothing() {
    let fleet = Fleet::start(2);
    let mut terminal = Terminal::begin(&fleet);
    terminal.answer(b"x");
    let promoted = fleet.run(&["promote", &fleet.newest()]);
    assert_eq!(promoted.code, 0, "{}", promoted.text());
    // The second wave bakes for five seconds, and nobody is asked.
    assert_eq!(terminal.code(), Some(0));
    for node in 0..2 {
        assert_eq!(fleet.vsns(node), ("2.0.0".into(), "2.0.0".into()));
    }
}

#[test]
fn ctrl_c_twice_on_a_terminal_detaches_and_the_rollout_goes_on() {
    let fleet = Fleet::start(2);
    let mut terminal = Terminal::begin(&fleet);
    terminal.answer(CTRL_C);
    assert_eq!(terminal.code(), Some(5));
    let rollout = fleet.newest();
    let promoted = fleet.run(&["promote", &rollout]);
    assert_eq!(promoted.code, 0, "{}", promoted.text());
    let watched = fleet.run(&["watch", &rollout]);
    assert_eq!(watched.code, 0, "{}", watched.text());
    for node in 0..2 {
        assert_eq!(fleet.vsns(node), ("2.0.0".into(), "2.0.0".into()));
    }
}
