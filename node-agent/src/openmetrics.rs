//! The node in numbers as OpenMetrics 1.0 text: every sample has the label `node`, counters end in `_total`, times are in
//! seconds, and the text ends with `# EOF`. `docs/sys.md` lists what each metric means.

use std::fmt::Write as _;

use crate::target::{Metrics, Pauses};

/// Everything that one answer says.
pub struct Numbers<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The agent's version.
    pub version: &'a str,
    /// Name and vsn of the release that runs.
    pub release: Option<(&'a str, &'a str)>,
    /// Since the agent started.
    pub uptime: std::time::Duration,
    /// Of what runs the actors.
    pub target: &'a Metrics,
}

/// The text.
pub fn render(numbers: &Numbers<'_>) -> String {
    let Numbers { node, target, .. } = numbers;
    let mut text = Text {
        out: String::new(),
        node,
    };
    text.family(
        "midflight_agent",
        "info",
        "",
        "The agent and the release that it runs.",
    );
    let (release, vsn) = numbers.release.unwrap_or_default();
    let labels = [
        ("version", numbers.version),
        ("release", release),
        ("vsn", vsn),
    ];
    text.sample("midflight_agent_info", &labels, 1);
    text.family(
        "midflight_uptime_seconds",
        "gauge",
        "seconds",
        "Since the agent started.",
    );
    text.sample(
        "midflight_uptime_seconds",
        &[],
        numbers.uptime.as_secs_f64(),
    );
    actors(&mut text, target);
    versions(&mut text, target);
    let counters = [
        (
            "dead_letters",
            "Events that nobody got.",
            target.dead_letters,
        ),
        (
            "overflows",
            "Messages for which a mailbox had no room.",
            target.overflows,
        ),
        (
            "unconverted",
            "Events of the other side of a patch that had no meaning on this one.",
            target.unconverted,
        ),
        (
            "not_owned",
            "What actors asked of sockets that were not theirs any more.",
            target.not_owned,
        ),
        (
            "applications_ended",
            "Applications that ended by themselves.",
            target.ended,
        ),
    ];
    for (name, help, value) in counters {
        let family = format!("midflight_{name}");
        text.family(&family, "counter", "", help);
        text.sample(&format!("{family}_total"), &[], value);
    }
    text.family(
        "midflight_bounds_hit",
        "counter",
        "",
        "Times that an actor passed a bound of limits.",
    );
    for (bound, times) in &target.bounds {
        text.sample("midflight_bounds_hit_total", &[("bound", bound)], times);
    }
    let help = "From the start of suspend until the actors of an upgrade could run.";
    text.histogram("midflight_node_pause_seconds", help, &target.node_pauses);
    let help = "From the start of suspend until an actor with events waiting ran again.";
    text.histogram("midflight_actor_pause_seconds", help, &target.actor_pauses);
    text.out.push_str("# EOF\n");
    text.out
}

fn actors(text: &mut Text<'_>, target: &Metrics) {
    text.family("midflight_actors", "gauge", "", "Actors alive, by status.");
    for (status, actors) in &target.actors {
        text.sample("midflight_actors", &[("status", status)], actors);
    }
    text.family(
        "midflight_module_actors",
        "gauge",
        "",
        "Actors alive, by module.",
    );
    for (module, actors, _) in &target.modules {
        text.sample("midflight_module_actors", &[("module", module)], actors);
    }
    text.family(
        "midflight_old_code_actors",
        "gauge",
        "",
        "Actors that run the old code of a module.",
    );
    for old in &target.old_code {
        let labels = [("module", old.module.as_str()), ("vsn", old.vsn.as_str())];
        text.sample("midflight_old_code_actors", &labels, old.actors);
    }
    text.family(
        "midflight_mailbox_events",
        "gauge",
        "",
        "Events that wait, in all mailboxes.",
    );
    text.sample("midflight_mailbox_events", &[], target.mailbox);
    text.family(
        "midflight_mailbox_events_max",
        "gauge",
        "",
        "Events that wait in the longest mailbox.",
    );
    text.sample("midflight_mailbox_events_max", &[], target.mailbox_max);
    text.family(
        "midflight_module_mailbox_bytes",
        "gauge",
        "",
        "Bytes that wait in the mailboxes of a module's actors.",
    );
    for (module, bytes) in &target.mailbox_bytes {
        text.sample(
            "midflight_module_mailbox_bytes",
            &[("module", module)],
            bytes,
        );
    }
    text.family("midflight_traces", "gauge", "", "Traces that sys keeps.");
    text.sample("midflight_traces", &[], target.traces);
}

fn versions(text: &mut Text<'_>, target: &Metrics) {
    type Of = fn(&crate::target::VersionCounts) -> u64;
    let counters: [(&str, &str, Of); 3] = [
        (
            "events",
            "Events handled well, by the version that did.",
            |v| v.events,
        ),
        ("traps", "Handlers that trapped or broke a bound.", |v| {
            v.traps
        }),
        ("errors", "Handlers that returned an error.", |v| v.errors),
    ];
    for (name, help, of) in counters {
        let family = format!("midflight_{name}");
        text.family(&family, "counter", "", help);
        for version in &target.versions {
            let labels = [
                ("module", version.module.as_str()),
                ("vsn", version.vsn.as_str()),
            ];
            text.sample(&format!("{family}_total"), &labels, of(version));
        }
    }
    text.family(
        "midflight_restarts",
        "counter",
        "",
        "Actors that their supervisors started again.",
    );
    for (module, _, restarts) in &target.modules {
        text.sample("midflight_restarts_total", &[("module", module)], restarts);
    }
}

struct Text<'a> {
    out: String,
    node: &'a str,
}

impl Text<'_> {
    /// The lines before the samples of a family. Writing to a string does not fail.
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.out, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.out, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.out, "# HELP {name} {}", escape(help));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.out, "{name}{{node=\"{}\"", escape(self.node));
        for (label, text) in labels {
            let _ = write!(self.out, ",{label}=\"{}\"", escape(text));
        }
        let _ = writeln!(self.out, "}} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, pauses: &Pauses) {
        self.family(name, "histogram", "seconds", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        // The last bucket has no end: it is what `+Inf` adds.
        let ended = pauses.buckets.len().saturating_sub(1);
        for (n, count) in pauses.buckets.iter().take(ended).enumerate() {
            below += count;
            let end = (1_u64 << n.min(63)) as f64 / 1e6;
            self.sample(&bucket, &[("le", &end.to_string())], below);
        }
        // The parts are read one after the other while they grow: the sum of the buckets is the count that fits them.
        let all: u64 = pauses.buckets.iter().sum();
        self.sample(&bucket, &[("le", "+Inf")], all);
        self.sample(&format!("{name}_sum"), &[], pauses.sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), &[], all);
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative_in_seconds_and_ends_with_infinity() {
        let mut buckets = [0; 32];
        (buckets[3], buckets[10], buckets[31]) = (2, 1, 1);
        let target = Metrics {
            node_pauses: Pauses {
                count: 4,
                sum_us: 1_500_000,
                max_us: 9,
                buckets,
            },
            ..Metrics::default()
        };
        let text = render(&Numbers {
            node: "n\"1",
            version: "1.0.0",
            release: None,
            uptime: std::time::Duration::from_millis(1_500),
            target: &target,
        });
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        has("midflight_node_pause_seconds_bucket{node=\"n\\\"1\",le=\"0.000004\"} 0");
        has("midflight_node_pause_seconds_bucket{node=\"n\\\"1\",le=\"0.000008\"} 2");
        has("midflight_node_pause_seconds_bucket{node=\"n\\\"1\",le=\"1073.741824\"} 3");
        has("midflight_node_pause_seconds_bucket{node=\"n\\\"1\",le=\"+Inf\"} 4");
        has("midflight_node_pause_seconds_sum{node=\"n\\\"1\"} 1.5");
        has("midflight_node_pause_seconds_count{node=\"n\\\"1\"} 4");
        has("midflight_uptime_seconds{node=\"n\\\"1\"} 1.5");
        assert!(text.ends_with("# EOF\n"));
    }
}
