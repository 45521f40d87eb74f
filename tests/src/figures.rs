//! Figures of the benchmark programs: one JSON object a line on stdout, kept so that ratios can follow.

use serde_json::json;

/// All figures of one run.
#[derive(Debug, Default)]
pub struct Figures(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    bench: &'static str,
    subject: &'static str,
    n: u64,
    value: f64,
}

impl Figures {
    /// Prints a figure, and keeps it.
    pub fn add(
        &mut self,
        bench: &'static str,
        subject: &'static str,
        n: u64,
        (value, unit): (f64, &str),
    ) {
        println!(
            "{}",
            json!({"bench": bench, "subject": subject, "n": n, "value": value, "unit": unit})
        );
        self.0.push(Figure {
            bench,
            subject,
            n,
            value,
        });
    }

    /// A figure that was added.
    #[must_use]
    pub fn value(&self, bench: &str, subject: &str, n: u64) -> Option<f64> {
        let same = |f: &&Figure| f.bench == bench && f.subject == subject && f.n == n;
        self.0.iter().find(same).map(|figure| figure.value)
    }

    /// Prints what is one subject's over what is another's, where both are Midflight.
    pub fn ratio(&self, bench: &str, subject: &str, against: &str, n: u64) {
        let value = |subject| self.value(bench, subject, n);
        if let (Some(ours), Some(theirs)) = (value(subject), value(against)) {
            let ratio = ours / theirs;
            println!(
                "{}",
                json!({"bench": bench, "subject": subject, "n": n, "against": against, "ratio": ratio})
            );
        }
    }

    /// Prints what is Midflight's over what is `subject`'s, for each bench and n that both have. Where there are several subjects to
    /// compare with, the line names which.
    pub fn ratios(&self, subjects: &[&str]) {
        for ours in self.0.iter().filter(|figure| figure.subject == "midflight") {
            for subject in subjects {
                let Some(theirs) = self.value(ours.bench, subject, ours.n) else {
                    continue;
                };
                let ratio = ours.value / theirs;
                let line = match subjects {
                    [_] => json!({"bench": ours.bench, "n": ours.n, "ratio": ratio}),
                    _ => {
                        json!({"bench": ours.bench, "n": ours.n, "against": subject, "ratio": ratio})
                    }
                };
                println!("{line}");
            }
        }
    }
}
