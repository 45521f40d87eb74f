//! `midflight bootstrap` into the system's folders of machines of their own: by root, by a user with sudo and by one without, with
//! systemd and without.

use std::fs;

use midflight_tests::{Init, Machine, Value, until};

use crate::kit::Kit;

/// The agent's process there, not what keeps it running.
const AGENT: &str = "pgrep -f '^[^ ]*/midflight-agent --config'";

/// A machine without an agent, and what it is to be given.
struct Site {
    // Ends before its folder is removed.
    machine: Machine,
    kit: Kit,
}

impl Site {
    fn new(init: Init, user: &str) -> Option<Self> {
        let kit = Kit::new();
        let machine = Machine::start(kit.fleet.dir.path(), init)?;
        let site = Self { machine, kit };
        site.log_in_as(user, "");
        Some(site)
    }

    fn log_in_as(&self, user: &str, vars: &str) {
        let args = self.machine.args(user);
        self.kit.inventory("127.0.0.1", &args, vars);
    }

    /// What the agent says to root there, with the configuration in this folder.
    fn status(&self, etc: &str) -> Value {
        let program = match etc.strip_suffix("/etc") {
            Some(prefix) => format!("{prefix}/bin/midflight-agent"),
            None => "midflight-agent".to_owned(),
        };
        let said = self.machine.run(&format!(
            "{program} status --json --config {etc}/agent.yaml"
        ));
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.text()))
    }

    /// Whose process the agent is.
    fn runs_as(&self) -> String {
        self.machine.say(&format!("ps -o user= -p $({AGENT})"))
    }

    /// Kills the agent as a crash does, and waits until another one answers.
    fn crash(&self) {
        let pid = || self.machine.run(AGENT).out;
        let before = pid();
        let _ = self.machine.say(&format!("kill -KILL {before}"));
        until("another agent answers", || {
            let now = pid();
            !now.is_empty()
                && now != before
                && self.kit.fleet.run(&["nodes", "n1", "-i", "ssh.yaml"]).code == 0
        });
    }

    /// The agent of the system's folders is there, for the user who logs in by their own name, and a second run changes nothing.
    fn is_complete(&self, more: &[&str]) {
        assert_eq!(self.status("/etc/midflight")["node"], "n1");
        assert_eq!(self.runs_as(), "midflight");
        self.answers();
        let again = self.kit.bootstrap(more);
        assert_eq!(
            (again.code, again.out.as_str()),
            (0, "n1: nothing to do, the agent runs\n"),
            "{}",
            again.text()
        );
    }

    /// It answers the user who logs in, through the SSH server.
    fn answers(&self) {
        let nodes = self.kit.fleet.run(&["nodes", "n1", "-i", "ssh.yaml"]);
        assert!(
            nodes.code == 0 && nodes.out.contains("1.0.0"),
            "{}",
            nodes.text()
        );
    }

    /// A change that needs a restart is refused while there are actors, and is done when that was said.
    fn changes_only_when_told(&self, more: &[&str]) {
        let started = || self.machine.say(AGENT);
        let before = started();
        let config = self.machine.say("cat /etc/midflight/agent.yaml");
        fs::write(self.kit.fleet.path("template"), config + "\nsys: read\n").unwrap();
        let with = |last: &[&'static str]| {
            let args = [more, &["--config", "template"], last].concat();
            self.kit.event(&args)
        };
        let refused = with(&[]);
        assert_eq!(refused["error"]["code"], "MF0561", "{refused}");
        assert_eq!(started(), before);
        let done = with(&["--lose-state"]);
        assert_eq!(done["agent"], "restarted", "{done}");
        assert_ne!(started(), before);
        assert_eq!(self.status("/etc/midflight")["node"], "n1");
    }
}

const FILES: &str = "cd / && stat -c '%U:%G %a %n' usr/local/bin/midflight-agent etc/midflight etc/midflight/* \
    var/lib/midflight run/midflight run/midflight/*";

#[test]
fn the_systems_folders_get_an_agent_with_a_user_of_its_own() {
    let Some(site) = Site::new(Init::Sshd, "root") else {
        return;
    };
    let more = &["--certificates", "pki"];
    let done = site.kit.bootstrap(more);
    assert!(
        done.code == 0
            && done
                .out
                .contains("8 files written, the agent started, release 1.0.0"),
        "{}",
        done.text()
    );
    assert_eq!(
        site.machine.say(FILES).lines().collect::<Vec<_>>(),
        [
            "root:root 755 usr/local/bin/midflight-agent",
            "root:root 755 etc/midflight",
            "root:midflight 640 etc/midflight/agent.key",
            "root:root 644 etc/midflight/agent.pem",
            "root:root 644 etc/midflight/agent.yaml",
            "root:root 644 etc/midflight/allowed_signers",
            "root:root 644 etc/midflight/ca.pem",
            "root:root 644 etc/midflight/release.tar",
            "midflight:midflight 700 var/lib/midflight",
            "midflight:midflight 755 run/midflight",
            "midflight:midflight 600 run/midflight/agent.sock",
        ]
    );
    site.is_complete(more);
    site.crash();
    site.changes_only_when_told(more);
}

#[test]
fn a_user_with_sudo_installs_into_the_systems_folders_and_may_operate_the_agent() {
    let Some(site) = Site::new(Init::Sshd, "bea") else {
        return;
    };
    let dry = site.kit.bootstrap(&["--sudo", "--dry-run"]);
    assert!(
        dry.code == 0 && dry.out.contains("would write 5 files and start the agent"),
        "{}",
        dry.text()
    );
    assert_ne!(
        site.machine.run("ls /etc/midflight || id midflight").code,
        0
    );
    let done = site.kit.bootstrap(&["--sudo"]);
    assert!(
        done.code == 0 && done.out.contains("5 files written, the agent started"),
        "{}",
        done.text()
    );
    assert!(
        site.machine
            .say("cat /etc/midflight/agent.yaml")
            .contains("peers: {\"bea\": operator}")
    );
    site.is_complete(&["--sudo"]);
    site.crash();
    site.changes_only_when_told(&["--sudo"]);
}

#[test]
fn a_user_without_sudo_is_told_so_and_has_an_agent_of_their_own_below_a_folder() {
    let Some(site) = Site::new(Init::Sshd, "ann") else {
        return;
    };
    let what = |event: Value| {
        event["error"]["what"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let system = what(site.kit.event(&[]));
    assert!(system.contains("for root"), "{system}");
    let sudo = what(site.kit.event(&["--sudo"]));
    assert!(sudo.contains("sudo") && sudo.contains("password"), "{sudo}");
    // A folder of somebody else is refused by the host, in its words.
    let denied = what(site.kit.event(&["--prefix", "/opt/midflight"]));
    assert!(denied.contains("Permission denied"), "{denied}");
    let mine = &["--prefix", "/home/ann/midflight"];
    let done = site.kit.bootstrap(mine);
    assert!(
        done.code == 0 && done.out.contains("5 files written, the agent started"),
        "{}",
        done.text()
    );
    assert_eq!(site.status("/home/ann/midflight/etc")["node"], "n1");
    assert_eq!(site.runs_as(), "ann");
    site.log_in_as(
        "ann",
        ", midflight_socket: /home/ann/midflight/run/agent.sock",
    );
    site.answers();
    let again = site.kit.bootstrap(mine);
    assert_eq!(
        (again.code, again.out.as_str()),
        (0, "n1: nothing to do, the agent runs\n"),
        "{}",
        again.text()
    );
}

#[test]
fn where_systemd_runs_the_agent_is_its_service() {
    let Some(site) = Site::new(Init::Systemd, "root") else {
        return;
    };
    let systemctl = |words: &str| {
        site.machine
            .run(&format!("systemctl {words} midflight-agent"))
    };
    let done = site.kit.bootstrap(&[]);
    assert!(
        done.code == 0
            && done.out.contains("5 files written, the agent started")
            && done
                .out
                .contains("/etc/systemd/system/midflight-agent.service"),
        "{}",
        done.text()
    );
    let checked = site
        .machine
        .run("systemd-analyze verify midflight-agent.service");
    assert_eq!((checked.code, &*checked.err), (0, ""), "{}", checked.text());
    assert_eq!(systemctl("is-enabled").out, "enabled\n");
    let boots = site
        .machine
        .say("systemctl list-dependencies --plain multi-user.target");
    assert!(boots.contains("midflight-agent.service"), "{boots}");
    assert_eq!(systemctl("is-active").out, "active\n");
    site.is_complete(&[]);
    site.crash();
    site.changes_only_when_told(&[]);
    // Stopped by hand: its folder in /run goes with it, and the next run starts it.
    assert_eq!(systemctl("stop").code, 0);
    assert_ne!(site.machine.run("ls /run/midflight").code, 0);
    let config = &["--config", "template"];
    let done = site.kit.bootstrap(config);
    assert!(
        done.code == 0 && done.out.contains("0 files written, the agent started"),
        "{}",
        done.text()
    );
    site.is_complete(config);
}

#[test]
fn a_service_that_does_not_come_up_is_told_with_the_end_of_its_journal() {
    let Some(site) = Site::new(Init::Systemd, "bea") else {
        return;
    };
    let template = "node: {{node}}\ndata_dir: {{data}}\nboot: {{etc}}/release.tar\nallowed_signers: {{etc}}/allowed_signers\n\
                    listen: {unix: {path: /srv/agent.sock}}\n";
    fs::write(site.kit.fleet.path("template"), template).unwrap();
    let failed = site.kit.event(&["--sudo", "--config", "template"]);
    assert_eq!(failed["error"]["code"], "MF0564", "{failed}");
    let what = failed["error"]["what"].as_str().unwrap();
    assert!(what.contains("/srv/agent.sock"), "{what}");
    // Nothing runs that would hold actors, so that the mistake is corrected without more ado.
    let done = site.kit.bootstrap(&["--sudo"]);
    assert_eq!(done.code, 0, "{}", done.text());
    site.is_complete(&["--sudo"]);
}
