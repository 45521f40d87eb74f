//! `midflight exec`, as people and programs see it.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use midflight_tests::{Done, Sshd, Value, binary, json, until};
use tempfile::TempDir;

struct Hosts {
    folder: TempDir,
    sshd: Sshd,
}

/// Says the last number of the host's own address.
const WHO: &str = "set -- $SSH_CONNECTION; n=${3##*.}";

impl Hosts {
    fn start(count: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sshd = Sshd::start(folder.path(), count, &[]);
        Self { folder, sshd }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("midflight"));
        command.arg("exec").args(args);
        command
            .env("MIDFLIGHT_INVENTORY", self.sshd.inventory())
            .env_remove("RUST_LOG")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        done(self.command(args).output().unwrap())
    }

    /// For a command's shell: waits until the test is over, at most.
    fn wait(&self) -> String {
        let folder = self.folder.path().display();
        format!("while [ -e {folder} ]; do sleep 0.2; done")
    }

    /// Hosts at which nothing listens, beside those that are there.
    fn add_dead(&self, names: &[&str]) {
        let mut text = fs::read_to_string(self.sshd.inventory()).unwrap();
        text += "  dead:\n    transport: ssh\n    ssh: {port: 1}\n    hosts:\n";
        for name in names {
            text += &format!("      {name}: {{address: 127.0.0.1}}\n");
        }
        fs::write(self.sshd.inventory(), text).unwrap();
    }
}

fn done(output: Output) -> Done {
    Done {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn events(done: &Done) -> Vec<Value> {
    let lines = done.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn what_hosts_say_alike_is_shown_once_with_how_it_ended() {
    let hosts = Hosts::start(6);
    let command = format!(
        "{WHO}; echo one; [ $n -eq 3 ] && {{ echo oh >&2; exit 4; }}; [ $n -eq 5 ] && kill -KILL $$; true"
    );
    let done = hosts.run(&["ssh", "--all", "--fan-out", "3", "--", &command]);
    assert_eq!(
        done.out,
        "h[1:2],h4,h6 (4 nodes):\n  one\nh3 (exit 4):\n  one\n  ! oh\nh5 (ended by signal KILL):\n  one\n",
        "{}",
        done.text()
    );
    let summary = "6 nodes: 1 ended by a signal, 4 exit 0, 1 exit 4\n";
    assert_eq!((done.err.as_str(), done.code), (summary, 7));
}

#[test]
fn a_command_that_ends_well_everywhere_exits_0_and_its_words_are_joined_as_ssh_joins_them() {
    let hosts = Hosts::start(2);
    let done = hosts.run(&["ssh", "--all", "--", "echo", "a  b", "c"]);
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert_eq!(done.out, "h[1:2] (2 nodes):\n  a b c\n");
}

#[test]
fn one_host_is_answered_for_byte_for_byte() {
    let hosts = Hosts::start(2);
    let done = hosts.run(&["h2", "--", "printf 'a\\033[0mb'; printf no >&2; exit 3"]);
    assert_eq!(done.out, "a\u{1b}[0mb");
    assert_eq!((done.err.as_str(), done.code), ("noh2: exit 3\n", 7));
}

#[test]
fn what_differs_from_the_majority_is_shown_as_a_diff() {
    let hosts = Hosts::start(5);
    let command = format!("{WHO}; echo a; [ $n -eq 2 ] && echo B || echo b; echo c");
    let done = hosts.run(&["ssh", "--all", "--diff", "--", &command]);
    assert_eq!(
        done.out,
        "h1,h[3:5] (4 nodes):\n  a\n  b\n  c\n--- h1,h[3:5] (4 nodes)\n+++ h2\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n",
        "{}",
        done.text()
    );
    assert_eq!(done.code, 0);
}

#[test]
fn programs_get_an_event_a_host_and_a_summary() {
    let hosts = Hosts::start(3);
    let command = format!("{WHO}; echo $n; printf '\\377' >&2; exit $((n - 1))");
    let done = hosts.run(&["ssh", "--all", "--output", "json", "--", &command]);
    let mut events = events(&done);
    let summary = events.pop().unwrap();
    let ends = json!({"exit 0": 1, "exit 1": 1, "exit 2": 1});
    assert_eq!(summary["ends"], ends);
    assert_eq!((&summary["exit"], done.code), (&json!(7), 7));
    events.sort_by_key(|event| event["node"].to_string());
    assert_eq!(events.len(), 3);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["stdout"], format!("{}\n", n + 1));
        assert_eq!(
            (&event["exit"], &event["stderr_hex"]),
            (&json!(n), &json!("ff"))
        );
    }
}

#[test]
fn live_lines_come_with_their_host_and_from_the_stream_they_were_written_to() {
    let hosts = Hosts::start(2);
    let command = format!("{WHO}; echo out $n; echo err $n >&2; printf open");
    let done = hosts.run(&["ssh", "--all", "--live", "--", &command]);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        sorted(&done.out),
        ["h1: open", "h1: out 1", "h2: open", "h2: out 2"]
    );
    let want = ["2 nodes: 2 exit 0", "h1: err 1", "h2: err 2"];
    assert_eq!(sorted(&done.err), want);
    assert_eq!(done.code, 0);
}

#[test]
fn stdin_is_given_to_every_host_when_asked_for_and_is_empty_otherwise() {
    let hosts = Hosts::start(3);
    let mut child = hosts
        .command(&["ssh", "--all", "--stdin", "--", "wc -c"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let given = vec![b'x'; 3 << 20];
    child.stdin.take().unwrap().write_all(&given).unwrap();
    let done = done(child.wait_with_output().unwrap());
    assert_eq!(
        done.out,
        "h[1:3] (3 nodes):\n  3145728\n",
        "{}",
        done.text()
    );
    let done = hosts.run(&["ssh", "--all", "--", "wc -c"]);
    assert_eq!(done.out, "h[1:3] (3 nodes):\n  0\n");
}

#[test]
fn what_passes_the_bound_is_counted_and_said() {
    let hosts = Hosts::start(2);
    let command = "head -c 3000 /dev/zero | tr '\\0' x";
    let done = hosts.run(&["ssh", "--all", "--keep", "1", "--", command]);
    let kept = "x".repeat(1_024);
    let want = format!("h[1:2] (2 nodes):\n  {kept}\n  (cut here: 1976 bytes more came)\n");
    assert_eq!(done.out, want);
}

#[test]
fn a_host_that_cannot_be_reached_is_told_and_holds_nobody() {
    let hosts = Hosts::start(2);
    hosts.add_dead(&["d1", "d2"]);
    let done = hosts.run(&["all", "--all", "--", "echo hi"]);
    assert_eq!(
        (done.out.as_str(), done.code),
        ("h[1:2] (2 nodes):\n  hi\n", 7)
    );
    assert!(done.err.contains("d[1:2]: not run: MF06"), "{}", done.err);
    let done = hosts.run(&["dead", "--", "echo hi"]);
    assert_eq!((done.out.as_str(), done.code), ("", 2), "{}", done.text());
}

#[test]
fn a_pattern_that_names_every_host_needs_all() {
    let hosts = Hosts::start(2);
    let done = hosts.run(&["ssh", "--", "reboot"]);
    assert!(
        done.code == 2 && done.err.contains("MF0504"),
        "{}",
        done.text()
    );
}

#[test]
fn a_command_that_takes_too_long_is_given_up_with_what_it_said() {
    let hosts = Hosts::start(2);
    let wait = hosts.wait();
    let command = format!("{WHO}; echo before; [ $n -eq 1 ] && exit; {wait}");
    let done = hosts.run(&["ssh", "--all", "--timeout", "2s", "--", &command]);
    let want = "h1:\n  before\nh2 (timed out; it may still run there):\n  before\n";
    assert_eq!((done.out.as_str(), done.code), (want, 7), "{}", done.text());
}

#[test]
fn ctrl_c_keeps_what_came_and_tells_what_was_not_begun() {
    let hosts = Hosts::start(4);
    let command = format!(
        "{WHO}; echo $n; touch {}/at.$n; [ $n -eq 1 ] && exit; {}",
        hosts.folder.path().display(),
        hosts.wait()
    );
    let args = ["ssh", "--all", "--fan-out", "2", "--", &command];
    let child = hosts.command(&args).spawn().unwrap();
    let at = |n: u8| hosts.folder.path().join(format!("at.{n}")).exists();
    until("two hosts wait", || at(2) && at(3));
    interrupt(&child);
    let done = done(child.wait_with_output().unwrap());
    assert_eq!(done.code, 6, "{}", done.text());
    assert!(done.out.starts_with("h1:\n  1\n"), "{}", done.text());
    assert!(
        done.out
            .contains("h2 (interrupted; it may still run there):"),
        "{}",
        done.text()
    );
    assert!(
        done.err.contains("h4: not run: interrupted before"),
        "{}",
        done.text()
    );
}
