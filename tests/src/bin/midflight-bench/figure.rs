//! Figures as lines of JSON, and what follows from two of them.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Result;

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    bench: String,
    subject: String,
    n: u64,
    value: f64,
    unit: String,
}

/// One of ours.
pub(crate) fn figure(bench: &str, n: u64, value: f64, unit: &str) -> Figure {
    Figure {
        bench: bench.to_owned(),
        subject: "midflight".to_owned(),
        n,
        value,
        unit: unit.to_owned(),
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Figure {
    pub(crate) fn print(&self) {
        println!(
            "{}",
            json!({"bench": self.bench, "subject": self.subject, "n": self.n, "value": self.value, "unit": self.unit})
        );
    }

    fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).map_err(|e| format!("{line:?}: {e}"))?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let parts = (
            text("bench"),
            text("subject"),
            value["n"].as_u64(),
            value["value"].as_f64(),
            text("unit"),
        );
        let (Some(bench), Some(subject), Some(n), Some(value), Some(unit)) = parts else {
            return Err(format!("{line:?} is no figure").into());
        };
        Ok(Figure {
            bench,
            subject,
            n,
            value,
            unit,
        })
    }
}

/// Runs a program that prints figures, and passes them on.
pub(crate) fn read(command: &mut Command) -> Result<Vec<Figure>> {
    let run = command.stderr(Stdio::inherit()).output()?;
    if !run.status.success() {
        return Err(format!("{command:?}: {}", run.status).into());
    }
    let figures: Vec<Figure> = String::from_utf8(run.stdout)?
        .lines()
        .map(Figure::parse)
        .collect::<Result<_>>()?;
    figures.iter().for_each(Figure::print);
    Ok(figures)
}

/// How much longer an actor takes to upgrade among many than among fewer.
pub(crate) fn growth(figures: &[Figure], few: u64, many: u64) -> Option<Figure> {
    let each = |n: u64| {
        let total = figures
            .iter()
            .find(|f| f.subject == "midflight" && f.bench == "upgrade_total" && f.n == n)?;
        Some(total.value / n as f64)
    };
    Some(figure(
        "upgrade_growth",
        many,
        each(many)? / each(few)?,
        "times",
    ))
}

/// Prints ours over OTP's wherever both were measured. A call and a cast are the same work in every run.
pub(crate) fn ratios(figures: &[Figure]) {
    for ours in figures.iter().filter(|f| f.subject == "midflight") {
        // A state that is pinned is compared with an idle actor: OTP pins none.
        let bench = ours.bench.strip_suffix("_probation").unwrap_or(&ours.bench);
        let same = |f: &&Figure| {
            f.subject == "otp"
                && f.bench == bench
                && f.unit == ours.unit
                && (f.n == ours.n || ours.unit == "ns")
        };
        if let Some(theirs) = figures.iter().rfind(same) {
            println!(
                "{}",
                json!({"bench": ours.bench, "n": ours.n, "ratio": ours.value / theirs.value})
            );
        }
    }
}
