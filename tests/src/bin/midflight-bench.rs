//! `midflight-bench`: what one node needs for a call, a cast, an idle actor and an upgrade, beside OTP doing the same in
//! the same run when Erlang is installed. One JSON object a line on stdout: figures first, then ratios (Midflight over
//! OTP). Casts and calls go from actor to actor; nothing is driven from a loop of the host.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use midflight_patch::{
    Digest, ModuleName, Release, ReleaseModule, Restart, Start, Update, Vsn, component,
};
use midflight_runtime::{ActorRef, Config, Direction, Limits, Node, Order, upgrade::ModuleOrder};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(120);
const RUNS: usize = 5;

/// One figure.
#[derive(Clone)]
struct Figure {
    bench: String,
    subject: &'static str,
    n: u64,
    value: f64,
    unit: String,
}

fn main() -> Result<()> {
    let guests = std::env::args()
        .nth(1)
        .map_or_else(|| PathBuf::from("guest/out"), PathBuf::from);
    let sizes = [1_000_u64, 100_000];
    let mut figures = Vec::new();
    let report = |figure: Figure, all: &mut Vec<Figure>| {
        let Figure {
            bench,
            subject,
            n,
            value,
            unit,
        } = &figure;
        println!(
            "{}",
            json!({"bench": bench, "subject": subject, "n": n, "value": value, "unit": unit})
        );
        all.push(figure);
    };
    for figure in messages(&guests)? {
        report(figure, &mut figures);
    }
    for n in sizes {
        for figure in upgrades(&guests, n)? {
            report(figure, &mut figures);
        }
    }
    for n in sizes {
        for figure in otp(n)? {
            report(figure, &mut figures);
        }
    }
    for ours in figures.iter().filter(|f| f.subject == "midflight") {
        let same = |f: &&Figure| {
            f.subject == "otp"
                && f.bench == ours.bench
                && (f.n == ours.n || ours.unit == "ns")
                && f.unit == ours.unit
        };
        if let Some(theirs) = figures.iter().rfind(same) {
            println!(
                "{}",
                json!({"bench": ours.bench, "n": ours.n, "ratio": ours.value / theirs.value})
            );
        }
    }
    Ok(())
}

fn figure(bench: &str, n: u64, value: f64, unit: &str) -> Figure {
    Figure {
        bench: bench.to_owned(),
        subject: "midflight",
        n,
        value,
        unit: unit.to_owned(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn load(guests: &Path, file: &str) -> Result<(Digest, Arc<[u8]>)> {
    let path = guests.join(format!("{file}.wasm"));
    let bytes = std::fs::read(&path)
        .map_err(|e| format!("{}: {e}; `make guests` builds it", path.display()))?;
    let component = component::encode(&ModuleName::new("bench")?, file, &bytes)?;
    Ok((Digest::of(&component), component.into()))
}

fn boot(guests: &Path, modules: &[(&str, &str)], start: &[&str]) -> Result<Node> {
    let limits = Limits {
        actors: 2_000_000,
        mailbox: 1_000_000,
        state_bytes: 4 << 20,
        ..Limits::default()
    };
    let node = Node::start(Config {
        limits,
        cache: None,
        address: [127, 0, 0, 1].into(),
    })?;
    let mut release = Release {
        name: "bench".into(),
        vsn: Vsn::new("1.0.0")?,
        modules: BTreeMap::new(),
        start: Vec::new(),
        applications: Vec::new(),
        listen: Vec::new(),
        connect: Vec::new(),
    };
    let mut blobs = BTreeMap::new();
    for (module, file) in modules {
        let (blob, bytes) = load(guests, file)?;
        let entry = ReleaseModule {
            vsn: Vsn::new("1.0.0")?,
            blob,
            size: bytes.len() as u64,
            config: Value::Null,
        };
        release.modules.insert(ModuleName::new(*module)?, entry);
        blobs.insert(blob, bytes);
    }
    for name in start {
        release.start.push(Start {
            name: (*name).to_owned(),
            module: ModuleName::new(*name)?,
            args: Value::Null,
            count: 1,
            restart: Restart::Temporary,
        });
    }
    node.boot(&release, &blobs)?;
    Ok(node)
}

fn ask(node: &Node, who: &str, body: &Value) -> Result<Value> {
    let answer = node.call(
        &ActorRef::Name(who.to_owned()),
        body.to_string().into_bytes(),
        PATIENCE,
    )?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Call and cast between two actors, medians of several runs.
fn messages(guests: &Path) -> Result<Vec<Figure>> {
    let node = boot(
        guests,
        &[("bench", "bench_v1"), ("bench_driver", "bench_driver")],
        &["bench", "bench_driver"],
    )?;
    let mut figures = Vec::new();
    for (bench, order, n) in [("call", "calls", 200_000_u64), ("cast", "casts", 1_000_000)] {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let answer = ask(&node, "bench_driver", &json!({order: n, "target": "bench"}))?;
            let ns = answer["ns"]
                .as_u64()
                .ok_or_else(|| format!("the driver answered {answer}"))?;
            runs.push(ns as f64 / n as f64);
        }
        figures.push(figure(bench, n, median(runs), "ns"));
    }
    Ok(figures)
}

/// Bytes of memory that this process holds.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|l| l.starts_with("VmRSS:"))
        .ok_or("no VmRSS in /proc/self/status")?;
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .ok_or("VmRSS without a value")?
        .parse()?;
    Ok(kib * 1024)
}

/// `n` actors, each with a number for a state, changed to a record and back.
fn upgrades(guests: &Path, n: u64) -> Result<Vec<Figure>> {
    let node = boot(
        guests,
        &[("bench", "bench_v1"), ("probe", "probe_v1")],
        &["probe"],
    )?;
    let spawn = json!({"op": "spawn", "module": "bench", "args": null});
    ask(&node, "probe", &spawn)?;
    let before = resident()?;
    let many: Vec<&Value> = std::iter::repeat_n(&spawn, 100).collect();
    for _ in 0..n / 100 {
        ask(&node, "probe", &json!(many))?;
    }
    while node.modules().iter().map(|m| m.actors).sum::<u64>() < n + 2 {
        std::thread::yield_now();
    }
    ask(&node, "probe", &json!({"op": "now"}))?;
    let idle = resident()?;
    let mut figures = vec![figure(
        "actor_memory",
        n,
        idle.saturating_sub(before) as f64 / n as f64,
        "bytes",
    )];

    let versions = [("bench_v1", "1.0.0"), ("bench_v2", "2.0.0")];
    let (mut totals, mut pauses, mut probation_memory) = (Vec::new(), Vec::new(), 0.0);
    for run in 0..RUNS {
        let (from, to) = (versions[run % 2], versions[(run + 1) % 2]);
        let (blob, bytes) = load(guests, to.0)?;
        let name = ModuleName::new("bench")?;
        node.stage(&name, &blob, &bytes)?;
        let module = ModuleOrder {
            name,
            from: Vsn::new(from.1)?,
            to: Vsn::new(to.1)?,
            blob,
            update: Update::Advanced,
            extra: b"null".to_vec(),
            config: b"null".to_vec(),
        };
        let direction = if run % 2 == 0 {
            Direction::Up
        } else {
            Direction::Down
        };
        let order = Order {
            direction,
            modules: vec![module],
            listen: Vec::new(),
            connect: Vec::new(),
            pause_budget: Duration::from_millis(500),
            prepare_timeout: PATIENCE,
        };
        let start = Instant::now();
        let (prepared, _) = node.begin(order)?.prepare()?;
        let (mut probation, resumed) = prepared.suspend()?.load()?.migrate()?.resume()?;
        totals.push(start.elapsed().as_secs_f64() * 1e3);
        pauses.push(resumed.pause.as_secs_f64() * 1e3);
        if run == 0 {
            probation_memory = resident()?.saturating_sub(before) as f64 / n as f64;
        }
        probation.confirm();
        probation.finish().map_err(|(_, e)| e)?;
    }
    figures.push(figure(
        "actor_memory_probation",
        n,
        probation_memory,
        "bytes",
    ));
    figures.push(figure("upgrade_total", n, median(totals), "ms"));
    figures.push(figure("upgrade_pause", n, median(pauses), "ms"));
    Ok(figures)
}

/// OTP's figures, or none without Erlang.
fn otp(n: u64) -> Result<Vec<Figure>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/otp.erl");
    let folder = tempfile::tempdir()?;
    let compiled = Command::new("erlc")
        .arg("-o")
        .arg(folder.path())
        .arg(&source)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!(
            "midflight-bench: no Erlang here (Debian: erlang-base), so no figures of OTP and no ratios"
        );
        return Ok(Vec::new());
    }
    let run = Command::new("erl")
        .current_dir(folder.path())
        .args([
            "+P",
            "2000000",
            "-noshell",
            "-s",
            "otp",
            "main",
            &n.to_string(),
        ])
        .output()?;
    let mut figures = Vec::new();
    for line in String::from_utf8(run.stdout)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        figures.push(Figure {
            bench: text("bench"),
            subject: "otp",
            n: line["n"].as_u64().unwrap_or_default(),
            value: line["value"].as_f64().unwrap_or_default(),
            unit: text("unit"),
        });
    }
    Ok(figures)
}
