//! How long an inventory of many hosts takes to be read and listed, `midflight inventory list --format ansible` against
//! `ansible-inventory --list`: from the start of the process to its end, into a file each.
//!
//! Both must write the same bytes. A tenth of the groups are in regions, every group has a variable, every host an address.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use midflight_tests::binary;
use midflight_tests::figures::Figures;
use midflight_tests::process::{Measured, measure};

use crate::Result;

/// Groups of each inventory.
const GROUPS: u64 = 200;
/// Hosts that Ansible is asked for too.
const FEW: u64 = 20_000;
/// Hosts that Midflight alone is asked for.
const MANY: u64 = 500_000;
/// How often Midflight is asked; the median counts.
const RUNS: usize = 7;

pub(crate) fn load(figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (few, _) = ours(folder.path(), FEW)?;
    figures.add("inventory_load", "midflight", FEW, (few, "ms"));
    let ansible = folder.path().join("ansible.json");
    if let Some(theirs) = theirs(&folder.path().join(FEW.to_string()), &ansible)? {
        figures.add("inventory_load", "ansible", FEW, (theirs, "ms"));
        if fs::read(&ansible)? != fs::read(folder.path().join("ours.json"))? {
            return Err("ansible-inventory and midflight list different things".into());
        }
    } else {
        eprintln!("# no ansible-inventory: no ratio");
    }
    let (many, peak) = ours(folder.path(), MANY)?;
    figures.add("inventory_load", "midflight", MANY, (many, "ms"));
    let megabytes = peak as f64 / 1e6;
    figures.add(
        "inventory_load_memory",
        "midflight",
        MANY,
        (megabytes, "MB"),
    );
    figures.add(
        "inventory_load_growth",
        "midflight",
        MANY,
        (many / few, "times"),
    );
    Ok(())
}

/// Milliseconds, and the most memory.
fn ours(folder: &Path, hosts: u64) -> Result<(f64, u64)> {
    let inventory = folder.join(hosts.to_string());
    fs::write(&inventory, ini(hosts)?)?;
    let listing = folder.join("ours.json");
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let mut command = Command::new(binary("midflight"));
        command.args(["inventory", "list", "--format", "ansible", "-i"]);
        runs.push(listed(command.arg(&inventory), &listing)?);
    }
    let peak = runs.iter().map(|run| run.peak).max().unwrap_or(0);
    runs.sort_by_key(|run| run.wall);
    Ok((milliseconds(runs[RUNS / 2].wall), peak))
}

/// Milliseconds; nothing where Ansible is not installed.
fn theirs(inventory: &Path, listing: &Path) -> Result<Option<f64>> {
    let mut command = Command::new("ansible-inventory");
    let installed = command.arg("--version").stdout(Stdio::null()).status();
    if installed.is_err() {
        return Ok(None);
    }
    let mut command = Command::new("ansible-inventory");
    command.args(["--list", "-i"]).arg(inventory);
    Ok(Some(milliseconds(listed(&mut command, listing)?.wall)))
}

fn listed(command: &mut Command, listing: &Path) -> Result<Measured> {
    let measured = measure(command.stdin(Stdio::null()).stdout(File::create(listing)?))?;
    match measured.status.success() {
        true => Ok(measured),
        false => Err(format!("{command:?}: {}", measured.status).into()),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The inventory, as people write it.
fn ini(hosts: u64) -> Result<String> {
    let mut text = String::new();
    let each = hosts / GROUPS;
    for group in 0..GROUPS {
        writeln!(text, "[web{group:03}]")?;
        for host in group * each..(group + 1) * each {
            let (a, b, c) = (host >> 16, host >> 8 & 0xff, host & 0xff);
            writeln!(
                text,
                "node{host:06}.example.net ansible_host=10.{a}.{b}.{c}"
            )?;
        }
        writeln!(text, "\n[web{group:03}:vars]\ntier=front\nrack={group}\n")?;
    }
    for region in 0..GROUPS / 20 {
        writeln!(text, "[region{region}:children]")?;
        for group in region * 2..region * 2 + 2 {
            writeln!(text, "web{group:03}")?;
        }
        writeln!(text)?;
    }
    Ok(text)
}
