//! What a whole patch costs over SSH: the real `midflight apply`, its journal on the disk, on simulated agents behind the real
//! server, once by their forwarded sockets and once by `dial-stdio`; beside `true` on as many hosts by `midflight exec`, in turns.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use midflight_tests::figures::Figures;
use midflight_tests::process::measure;
use midflight_tests::{Simulator, binary};

use crate::Result;
use crate::exec::{FAN_OUT, HOSTS, ROUNDS, exec_true, median};
use crate::place::{PORT, Place, USER};

/// The port at which the server runs commands, and forwards nothing.
const COMMANDS_ONLY: u16 = PORT + 1;
/// Where the simulated agents listen with TLS, which nobody uses here.
const TLS: u16 = 7413;
/// The fan-out is the one of `true`.
const POLICY: &str = "waves: [100%]
bake: 0s
failure_budget: {max: 0, min_sample: 64, unreachable: 0}
timeouts: {connect: 30s, gate: 60s}
gates: [{traps: 0}]
";

/// `ssh_patch_wall`.
pub(crate) fn run(figures: &mut Figures) -> Result<()> {
    let place = Place::start(HOSTS, server)?;
    agent(&place)?;
    let sockets = place.path("sockets");
    let vsns = (2 * ROUNDS + 1).to_string();
    let peer = format!("{USER}:operator");
    let sim = Simulator::start(
        HOSTS as u64,
        TLS,
        "",
        &[
            "--sockets",
            &sockets.display().to_string(),
            "--peer",
            &peer,
            "--vsns",
            &vsns,
        ],
    )?;
    eprintln!(
        "# simulator: {}\n# policy, and concurrency: {FAN_OUT}\n{POLICY}",
        sim.said
    );
    let policy = format!("{POLICY}concurrency: {FAN_OUT}\n");
    fs::write(sim.folder().join("policy.yaml"), policy)?;
    // As the simulator names its nodes, in the order of the hosts.
    let socket = |n: usize| {
        let path = sockets.join(format!("n{:03}.sock", n + 1));
        format!(", vars: {{midflight_socket: {}}}", path.display())
    };
    let forwarding = place.inventory(PORT, socket)?;
    let commands = place.inventory(COMMANDS_ONLY, socket)?;
    let mut patches = (2..).map(|vsn| format!("patch-{vsn}.bundle"));
    let mut walls: [(&str, Vec<Duration>); 3] =
        ["true", "socket", "dial-stdio"].map(|name| (name, Vec::new()));
    for _ in 0..ROUNDS {
        for (subject, times) in &mut walls {
            let mut command = match *subject {
                "true" => exec_true(&forwarding),
                "socket" => apply(&sim, &forwarding, patches.next())?,
                _ => apply(&sim, &commands, patches.next())?,
            };
            let run = measure(&mut command)?;
            if !run.status.success() {
                return Err(format!("{subject}: {}: {}", run.status, said(sim.folder())).into());
            }
            times.push(run.wall);
            // What the server still does for one must not slow the next.
            place.alone();
        }
    }
    for (subject, times) in walls {
        let wall = (median(times.into_iter()), "s");
        figures.add("ssh_patch_wall", subject, HOSTS as u64, wall);
    }
    for subject in ["socket", "dial-stdio"] {
        figures.ratio("ssh_patch_wall", subject, "true", HOSTS as u64);
    }
    Ok(())
}

/// A second port for those who may not forward. There alone the shell finds the agent's program, so that the one way that is
/// measured is the only one.
fn server(folder: &Path) -> String {
    format!(
        "Port {COMMANDS_ONLY}\nMatch LocalPort {COMMANDS_ONLY}\nAllowTcpForwarding no\nAllowStreamLocalForwarding no\n\
         SetEnv PATH={}",
        folder.display()
    )
}

/// The agent's program where the user may start it.
fn agent(place: &Place) -> Result<()> {
    let program = "midflight-agent";
    fs::copy(binary(program), place.path(program))?;
    Ok(())
}

/// The rollout of a patch over all nodes.
fn apply(sim: &Simulator, inventory: &Path, patch: Option<String>) -> Result<Command> {
    let mut command = Command::new(binary("midflight"));
    command
        .args(["apply", &patch.unwrap_or_default(), "fleet", "--all"])
        .args(["--policy", "policy.yaml", "--journal", "journal.db"])
        .args(["--output", "json", "-i"])
        .arg(inventory)
        .current_dir(sim.folder())
        .env_remove("MIDFLIGHT_PKI")
        .stdin(Stdio::null())
        .stdout(File::create(sim.folder().join("out.json"))?)
        .stderr(File::create(sim.folder().join("err.txt"))?);
    Ok(command)
}

/// What a command wrote last.
fn said(folder: &Path) -> String {
    let tail = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.join("\n")
    };
    format!("{}\n{}", tail("err.txt"), tail("out.json"))
}
