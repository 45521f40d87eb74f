//! A fleet in which everything goes well: the rollout with new connections, the same with TLS sessions resumed, the way back,
//! and the peer.

use std::process::Command;

use midflight_tests::{
    figures::Figures,
    process::{Measured, measure, processor_time},
};

use crate::{Result, sim::Sim};

/// What a controller holds that has hardly any nodes.
pub(crate) fn idle_memory() -> Result<u64> {
    let sim = Sim::start(10, "")?;
    Ok(apply(&sim, "patch-2.bundle")?.peak)
}

/// One size of fleet.
pub(crate) fn run(n: u64, idle: u64, figures: &mut Figures) -> Result<()> {
    let sim = Sim::start(n, "")?;
    let cold = apply(&sim, "patch-2.bundle")?;
    report(figures, ["fanout_rate", "fanout_cpu"], "midflight", n, cold);
    let memory = (cold.peak.saturating_sub(idle) as f64 / n as f64, "bytes");
    figures.add("fanout_memory", "midflight", n, memory);
    let rollout = rollout(&sim)?;
    let mut back = sim.controller(&["rollback", &rollout])?;
    let back = good(&sim, measure(&mut back)?)?;
    figures.add("rollback_rate", "midflight", n, (rate(n, back), "nodes/s"));
    let share = back.wall.as_secs_f64() / cold.wall.as_secs_f64();
    figures.add(
        "rollback_share",
        "midflight",
        n,
        (share, "of the rollout's time"),
    );
    drop(sim);
    resumed(n, figures)?;
    peer(n, figures)
}

/// The second rollout of a server, which has met every node in the first. Its processor time is the server's.
fn resumed(n: u64, figures: &mut Figures) -> Result<()> {
    let sim = Sim::start(n, "")?;
    let server = sim.serve()?;
    let apply = |bundle| -> Result<Measured> {
        let mut apply = sim.apply(bundle, "policy.yaml")?;
        good(&sim, measure(apply.args(["--server", crate::sim::SERVER]))?)
    };
    apply("patch-2.bundle")?;
    let before = processor_time(server.id())?;
    let measured = apply("patch-3.bundle")?;
    let cpu = processor_time(server.id())? - before;
    let measured = Measured { cpu, ..measured };
    report(
        figures,
        ["fanout_rate_resumed", "fanout_cpu_resumed"],
        "midflight",
        n,
        measured,
    );
    Ok(())
}

/// Against a fleet of its own.
fn peer(n: u64, figures: &mut Figures) -> Result<()> {
    let client = |sim: &Sim| -> Result<Measured> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--tonic").arg(sim.folder());
        let measured = measure(&mut command)?;
        match measured.status.success() {
            true => Ok(measured),
            false => Err("the client of tonic failed".into()),
        }
    };
    let idle = client(&Sim::start(10, "")?)?.peak;
    let cold = client(&Sim::start(n, "")?)?;
    report(figures, ["fanout_rate", "fanout_cpu"], "tonic", n, cold);
    let memory = (cold.peak.saturating_sub(idle) as f64 / n as f64, "bytes");
    figures.add("fanout_memory", "tonic", n, memory);
    Ok(())
}

fn apply(sim: &Sim, bundle: &str) -> Result<Measured> {
    good(sim, measure(&mut sim.apply(bundle, "policy.yaml")?)?)
}

/// A controller that ended well, with everything that it was asked for done.
pub(crate) fn good(sim: &Sim, measured: Measured) -> Result<Measured> {
    match measured.status.code() {
        Some(0) => Ok(measured),
        code => Err(format!("midflight ended with {code:?}: {}", sim.said()).into()),
    }
}

/// The newest rollout of the fleet's journal.
fn rollout(sim: &Sim) -> Result<String> {
    let out = std::fs::read_to_string(sim.folder().join("out.json"))?;
    let first = out.lines().next().unwrap_or_default();
    let event: serde_json::Value = serde_json::from_str(first)?;
    let id = event["rollout"]
        .as_str()
        .ok_or("no rollout in the first event")?;
    Ok(id.to_owned())
}

fn rate(n: u64, measured: Measured) -> f64 {
    n as f64 / measured.wall.as_secs_f64()
}

fn report(
    figures: &mut Figures,
    [rates, cpus]: [&'static str; 2],
    subject: &'static str,
    n: u64,
    measured: Measured,
) {
    figures.add(rates, subject, n, (rate(n, measured), "nodes/s"));
    let each = measured.cpu.as_secs_f64() * 1e6 / n as f64;
    figures.add(cpus, subject, n, (each, "µs"));
}
