//! `n` actors with a number for a state, changed to a record and back: the whole of it, the pause, the pause while a
//! hundredth of them never stops changing its state, what a client sees, and memory.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use midflight_patch::{ModuleName, Vsn};
use midflight_runtime::{
    ActorRef, Direction, Node, Order,
    upgrade::{ModuleOrder, Resumed},
};
use serde_json::json;

use crate::{
    Result,
    figure::{Figure, figure, median},
    node::{PATIENCE, boot, drive, load},
};

const RUNS: usize = 7;
const VERSIONS: [(&str, &str); 2] = [("bench_v1", "1.0.0"), ("bench_v2", "2.0.0")];

/// An actor's first sum: it takes eight bytes of state.
const FIRST: u64 = 1 << 50;

/// A line of an agent's journal is about as long: order, digests, report.
const JOURNAL_LINE: usize = 600;

pub(crate) fn run(guests: &Path, n: u64) -> Result<Vec<Figure>> {
    let node = boot(guests)?;
    // What the first actor brings with it is not counted.
    drive(&node, &json!({"spawns": 1, "start": FIRST}))?;
    let before = memory("VmRSS")?;
    drive(&node, &json!({"spawns": n, "start": FIRST}))?;
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / n as f64;
    let mut figures = vec![figure("actor_memory", n, each(memory("VmRSS")?), "bytes")];

    let mut bench = Bench {
        node: Arc::new(node),
        guests,
        journal: tempfile::tempfile_in(".")?,
        runs: 0,
    };
    let (mut totals, mut pauses) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let memory_then = |_: &Node| {
            if run == 0 {
                memory("VmRSS").map(Some)
            } else {
                Ok(None)
            }
        };
        let (total, resumed, then) = bench.upgrade(memory_then)?;
        totals.push(ms(total));
        pauses.push(ms(resumed.pause));
        if let Some(then) = then {
            figures.push(figure("actor_memory_probation", n, each(then), "bytes"));
        }
    }
    figures.push(figure("upgrade_total", n, median(totals), "ms"));
    figures.push(figure("upgrade_pause", n, median(pauses), "ms"));
    figures.push(figure("upgrade_gap", n, bench.gap()?, "ms"));
    figures.push(figure(
        "node_memory_peak",
        n,
        memory("VmHWM")? as f64,
        "bytes",
    ));

    let busy = (n / 100).max(1);
    drive(
        &bench.node,
        &json!({"spawns": busy, "start": FIRST, "busy": true}),
    )?;
    let mut pauses = Vec::new();
    for _ in 0..RUNS {
        pauses.push(ms(bench.upgrade(|_| Ok(()))?.1.pause));
    }
    figures.push(figure("upgrade_pause_busy", n, median(pauses), "ms"));
    figures.push(figure("upgrade_gap_busy", n, bench.gap()?, "ms"));
    Ok(figures)
}

struct Bench<'a> {
    node: Arc<Node>,
    guests: &'a Path,
    journal: File,
    runs: usize,
}

impl Bench<'_> {
    /// One upgrade, up or down, with the three lines that an agent's journal has on disk before it goes on: opened,
    /// suspending, resumed. `look` sees the node in probation.
    fn upgrade<T>(
        &mut self,
        look: impl FnOnce(&Node) -> Result<T>,
    ) -> Result<(Duration, Resumed, T)> {
        let (from, to) = (VERSIONS[self.runs % 2], VERSIONS[(self.runs + 1) % 2]);
        let direction = if self.runs.is_multiple_of(2) {
            Direction::Up
        } else {
            Direction::Down
        };
        self.runs += 1;
        let (name, blob) = (ModuleName::new("bench")?, load(self.guests, to.0)?.0);
        let module = ModuleOrder::new(name, Vsn::new(from.1)?, Vsn::new(to.1)?, blob);
        // Staging is done before an upgrade, and free when the code is known.
        self.node
            .stage(&module.name, &module.blob, &load(self.guests, to.0)?.1)?;
        let order = Order {
            pause_budget: Duration::from_millis(500),
            prepare_timeout: PATIENCE,
            ..Order::new(direction, vec![module])
        };
        let start = Instant::now();
        self.promise()?;
        let (prepared, _) = self.node.begin(order)?.prepare()?;
        self.promise()?;
        let (mut probation, resumed) = prepared.suspend()?.load()?.migrate()?.resume()?;
        self.promise()?;
        let total = start.elapsed();
        let seen = look(&self.node)?;
        probation.confirm();
        probation.finish().map_err(|(_, e)| e)?;
        Ok((total, resumed, seen))
    }

    fn promise(&mut self) -> Result<()> {
        self.journal.write_all(&[b'x'; JOURNAL_LINE])?;
        self.journal.sync_data()?;
        Ok(())
    }

    /// The longest time between two answers that a client got, which calls one affected actor without a pause while an
    /// upgrade goes on; the median of three upgrades.
    fn gap(&mut self) -> Result<f64> {
        let mut gaps = Vec::new();
        for _ in 0..3 {
            let (node, over) = (self.node.clone(), Arc::new(AtomicBool::new(false)));
            let client = {
                let over = over.clone();
                std::thread::spawn(move || longest_gap(&node, &over))
            };
            let upgraded = self.upgrade(|_| Ok(()));
            over.store(true, Ordering::Relaxed);
            let gap = client.join().map_err(|_| "the client panicked")?;
            upgraded?;
            gaps.push(ms(gap.map_err(|e| e.to_string())?));
        }
        Ok(median(gaps))
    }
}

fn longest_gap(
    node: &Node,
    over: &AtomicBool,
) -> std::result::Result<Duration, midflight_runtime::Error> {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        node.call(&ActorRef::Name("bench".to_owned()), Vec::new(), PATIENCE)?;
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    Ok(longest)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Bytes of memory that this process holds (`VmRSS`) or held at most (`VmHWM`).
fn memory(which: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|l| l.starts_with(which))
        .ok_or("no such line in /proc/self/status")?;
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .ok_or("a line without a value")?
        .parse()?;
    Ok(kib * 1024)
}
