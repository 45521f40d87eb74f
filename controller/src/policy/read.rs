//! Reading a policy: from a file, where every error has its own line and column, or from the `policy` mapping of an
//! inventory, where errors name the place of that mapping.

use std::path::Path;

use midflight_inventory::{Inventory, close_to};

use crate::error::Error;
use crate::policy::{Gate, Policy};

/// Most bytes of a policy file.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a policy file.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Policy`] when it is not a policy.
pub fn load(path: &Path) -> Result<Policy, Error> {
    let size = std::fs::metadata(path)
        .map_err(Error::io("read", path))?
        .len();
    let file = path.display().to_string();
    if size > MAX_BYTES {
        let problem = format!("the file has {size} bytes, and {MAX_BYTES} is the most");
        return Err(Error::Policy {
            file,
            line: 1,
            column: 1,
            problem,
        });
    }
    parse(
        &std::fs::read_to_string(path).map_err(Error::io("read", path))?,
        &file,
    )
}

/// Reads the text of a policy; `file` is what errors call it. An empty file is the default policy.
///
/// # Errors
/// [`Error::Policy`].
pub fn parse(text: &str, file: &str) -> Result<Policy, Error> {
    let refuse = |line, column, problem| Error::Policy {
        file: file.to_owned(),
        line,
        column,
        problem,
    };
    let policy: Option<Policy> = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let (line, column) = error
            .location()
            .map_or((1, 1), |at| (at.line(), at.column()));
        refuse(line, column, suggest(problem_of(&error.to_string())))
    })?;
    let policy = policy.unwrap_or_default();
    policy.check().map_err(|problem| refuse(1, 1, problem))?;
    Ok(policy)
}

/// Reads a policy that came from another machine. Gates that this process would run a program or ask a server for are refused: who may
/// order a rollout may not run programs here, nor have files of this machine sent anywhere.
///
/// # Errors
/// [`Error::Policy`].
pub fn parse_submitted(text: &str, file: &str) -> Result<Policy, Error> {
    let policy = parse(text, file)?;
    let custom = policy
        .gates
        .iter()
        .find(|gate| !matches!(gate, Gate::Measured(_)));
    match custom {
        None => Ok(policy),
        Some(gate) => Err(Error::Policy {
            file: file.to_owned(),
            line: 1,
            column: 1,
            problem: format!(
                "gates: `{gate}` would be asked by the server; only a policy on the server's own machine may hold such a gate"
            ),
        }),
    }
}

/// The policy in an inventory, if there is one.
///
/// # Errors
/// [`Error::Policy`].
pub fn from_inventory(inventory: &Inventory) -> Result<Option<Policy>, Error> {
    let (Some(value), Some(place)) = (inventory.policy(), inventory.policy_place()) else {
        return Ok(None);
    };
    let refuse = |problem| Error::Policy {
        file: place.file().to_owned(),
        line: place.line().into(),
        column: place.column().into(),
        problem,
    };
    let policy: Policy = serde_json::to_value(value)
        .and_then(serde_json::from_value)
        .map_err(|error| refuse(format!("in this policy: {}", suggest(error.to_string()))))?;
    policy.check().map_err(refuse)?;
    Ok(Some(policy))
}

/// The parser puts the place at the end of its message; it stands at the front of ours.
fn problem_of(text: &str) -> String {
    match text.rfind(" at line ") {
        Some(at) => text[..at].trim_end_matches([',', ':']).to_owned(),
        None => text.to_owned(),
    }
}

/// Puts the word that was meant behind a message of the form "unknown … `x`, expected one of a, b, c".
fn suggest(problem: String) -> String {
    let close = || {
        let (before, after) = problem.split_once("`, expected ")?;
        let (kind, wrong) = before.rsplit_once('`')?;
        if !kind.starts_with("unknown ") {
            return None;
        }
        let words = after.strip_prefix("one of ").unwrap_or(after);
        let words = words.split([',', ' ']).map(|word| word.trim_matches('`'));
        close_to(wrong, words.filter(|word| !word.is_empty()))
            .into_iter()
            .next()
    };
    match close() {
        Some(meant) => format!("{problem}; did you mean {meant}?"),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{
        Amount, Bound, Gate, Label, Measure, Measured, Mode, OnDownFailure, OnFailure,
        OnLostContact, Span, Times, WaveSize,
    };

    #[test]
    fn an_empty_policy_is_the_default() {
        assert_eq!(parse("", "p").unwrap(), Policy::default());
        assert_eq!(parse("# nothing\n", "p").unwrap(), Policy::default());
        assert_eq!(parse("{}", "p").unwrap(), Policy::default());
    }

    #[test]
    fn every_key_reads() {
        let text = "
waves: [1, 25%, '50%', {nodes: web:&eu, bake: 30s}, {nodes: 100%, spread: zone}]
bake: 2s
concurrency: 64
failure_budget: {max: 2, min_sample: 5, unreachable: 10%}
timeouts: {connect: 1s, stage: 2m, prepare: 10s, pause: 250ms, barrier: 5s, silence: 20s, gate: 2m, confirm: 9s, rollback: 1m}
probation: {lease: 90s, on_lost_contact: hold}
gates:
  - {parked: 0}
  - {traps: 3}
  - {errors: 1.5x}
  - {restarts: 2x, against: control}
  - {error_rate: +0.5%, against: control, min_samples: 50}
  - {error_rate: 1%}
  - {p50: 1.1x, against: control}
  - {p90: 20ms}
  - {p99: 1.2x, against: control}
  - {mailbox: 1.5x, against: control}
  - {mailbox: 500}
  - promql: {url: 'https://prom.example/prometheus', query: 'up{node=~\"$nodes\"}', at_least: 1, timeout: 5s, ca: /etc/ca.pem}
  - exec: {command: [/bin/check, --fast], timeout: 1m}
  - exec: {command: /bin/check}
on_failure: pause
on_down_failure: restore
mode: lockstep
batch: cell
rollback_until: 3d
converge_until: 0s
";
        let policy = parse(text, "p").unwrap();
        let sizes: Vec<_> = policy
            .waves
            .iter()
            .map(|wave| wave.nodes.to_string())
            .collect();
        assert_eq!(sizes, ["1", "25%", "50%", "web:&eu", "100%"]);
        assert_eq!(policy.waves[3].nodes, WaveSize::Pattern("web:&eu".into()));
        assert_eq!(policy.waves[3].bake, Some(Span::from_secs(30)));
        assert_eq!(policy.failure_budget.unreachable, Amount::Share(1000));
        assert_eq!(
            policy.gates[1],
            Gate::from((Measure::Traps, Bound::Count(3)))
        );
        assert_eq!(policy.on_down_failure, OnDownFailure::Restore);
        assert_eq!(policy.timeouts.pause.millis(), 250);
        assert_eq!(policy.waves[4].spread, Some(Label::zone()));
        assert_eq!(policy.probation.on_lost_contact, OnLostContact::Hold);
        assert_eq!(
            (policy.on_failure, policy.mode),
            (OnFailure::Pause, Mode::Lockstep)
        );
        assert_eq!(
            (
                policy.batch.as_str(),
                policy.rollback_until.to_string().as_str()
            ),
            ("cell", "3d")
        );
        assert_eq!(policy.converge_until, Span::from_secs(0));
        let rate = Measured {
            measure: Measure::ErrorRate,
            bound: Bound::More(50),
            min_samples: 50,
        };
        assert_eq!(policy.gates[4], Gate::Measured(rate));
        let p99 = Bound::Times(Times::from_hundredths(120));
        assert_eq!(policy.gates[8], Gate::from((Measure::P99, p99)));
        let Gate::Exec(exec) = &policy.gates[13] else {
            panic!("{:?}", policy.gates[13])
        };
        assert_eq!(
            (exec.command.as_slice(), exec.timeout),
            (["/bin/check".to_owned()].as_slice(), Span::from_secs(30))
        );
        // What is written for the journal is what was read.
        let written = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&written).unwrap(), policy);
        assert_eq!(parse(&written, "p").unwrap().digest(), policy.digest());
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        let refused = |text: &str| parse(text, "policy.yaml").unwrap_err().to_string();
        let table = [
            "concurency: 3\n",
            "bake: 5\n",
            "waves: [1, 200%]\n",
            "waves: [1, {nodes: 5, bake: soon}]\n",
            "timeouts:\n  pause: 500ms\n  reboot: 5s\n",
            "gates: [{error_rate: 1}]\n",
            "gates: [{error_rat: 1%}]\n",
            "gates: [{traps: 0}, {traps: +1%}]\n",
            "gates: [{traps: -1}]\n",
            "gates: [{p99: 1.2}]\n",
            "gates: [{p99: 0.5x}]\n",
            "gates: [{p99: 20ms, against: control}]\n",
            "gates: [{p99: 1.2x, against: canary}]\n",
            "gates: [{p99: 1.2x, p50: 1.2x}]\n",
            "gates: [{min_samples: 5}]\n",
            "gates: [traps]\n",
            "gates:\n  - promql: {url: 'prom:9090', query: up, at_most: 1}\n",
            "gates:\n  - promql: {url: 'http://me:secret@prom', query: up, at_most: 1}\n",
            "gates:\n  - promql: {url: 'http://prom', query: up}\n",
            "gates:\n  - promql: {url: 'http://prom', query: up, at_most: .nan}\n",
            "gates:\n  - promql: {url: 'http://prom', query: up, atmost: 1}\n",
            "gates:\n  - exec: {command: []}\n",
            "gates:\n  - exec: {command: [a], timeout: 6m}\n",
            "gates:\n  - exec: {command: a}\n    min_samples: 3\n",
            "probation: {lease: 500ms}\n",
            "probation: {lease: 2d}\n",
            "probation: {lease: 5s, on_lost_contact: panic}\n",
            "mode: lockstop\n",
            "batch: ''\n",
            "waves: [{nodes: 1, spread: 'a b'}]\n",
            "waves: [{nods: 1}]\n",
            "rollback_until: 31d\n",
            "converge_until: soon\n",
            "on_down_failure: pray\n",
            "concurrency: 0\n",
            "waves: []\n",
            "bake: [\n",
        ];
        let text: Vec<String> = table.iter().map(|text| refused(text)).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn an_emergency_shortens_bakes_and_keeps_the_canary_and_every_gate() {
        let policy = parse(
            "waves: [{nodes: 2, bake: 10m}, {nodes: 50%, bake: 20s}, {nodes: 100%, bake: 1s}]\nbake: 2m\n",
            "p",
        )
        .unwrap();
        let emergency = policy.emergency();
        let bakes: Vec<_> = emergency.waves.iter().map(|wave| wave.bake).collect();
        let seconds = [60, 5, 1].map(|seconds| Some(Span::from_secs(seconds)));
        assert_eq!(
            (bakes.as_slice(), emergency.bake),
            (seconds.as_slice(), Span::from_secs(12))
        );
        assert_eq!(emergency.waves[0].nodes, policy.waves[0].nodes);
        assert_eq!(emergency.gates, policy.gates);
        assert_eq!(emergency.concurrency, 10_000);
        assert_eq!(emergency.failure_budget, policy.failure_budget);
        assert_ne!(emergency.digest(), policy.digest());
        let all_at_once = parse("waves: [100%]\n", "p").unwrap().emergency();
        assert_eq!(all_at_once.waves[0].nodes, WaveSize::UpTo(Amount::Nodes(1)));
    }

    #[test]
    fn files_that_mean_the_same_have_the_same_digest() {
        let written_out = parse("concurrency: 512\nbake: 5000ms\n", "p").unwrap();
        assert_eq!(written_out.digest(), Policy::default().digest());
        assert_ne!(
            parse("concurrency: 511", "p").unwrap().digest(),
            Policy::default().digest()
        );
    }

    #[test]
    fn a_policy_from_elsewhere_runs_no_program_and_asks_no_server_here() {
        assert!(parse_submitted("gates: [{traps: 0}, {p99: 1.2x}]\n", "p").is_ok());
        for gate in [
            "{exec: {command: sh}}",
            "{promql: {url: 'http://p', query: up, at_least: 1, token_file: /etc/shadow}}",
        ] {
            let error = parse_submitted(&format!("gates: [{gate}]\n"), "p").unwrap_err();
            assert_eq!((error.code(), error.exit().code()), ("MF0501", 2));
        }
    }

    #[test]
    fn too_many_waves_or_gates_are_refused() {
        let many = |key: &str, what: &str| format!("{key}: [{}]\n", vec![what; 101].join(", "));
        for text in [many("waves", "1"), many("gates", "{traps: 0}")] {
            assert!(
                parse(&text, "p")
                    .unwrap_err()
                    .to_string()
                    .contains("101 are more")
            );
        }
    }

    #[test]
    fn an_inventory_may_carry_the_policy() {
        let text =
            "policy:\n  waves: [2, 100%]\n  concurrency: 3\ngroups: {web: {hosts: {a: null}}}\n";
        let inventory = Inventory::parse(text, "fleet.yaml").unwrap();
        let policy = from_inventory(&inventory).unwrap().unwrap();
        assert_eq!((policy.concurrency, policy.waves.len()), (3, 2));
        let inventory = Inventory::parse("policy: {wave: 1}\n", "fleet.yaml").unwrap();
        assert!(
            from_inventory(&inventory)
                .unwrap_err()
                .to_string()
                .starts_with("fleet.yaml:1:1: in this policy")
        );
    }

    /// Pieces of policies, right and wrong, put together in any way.
    fn piece() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "waves",
            "bake",
            "gates",
            "timeouts",
            "probation",
            "batch",
            "mode",
            "pause",
            "nodes",
            "spread",
            "promql",
            "exec",
            "url",
            "query",
            "at_most",
            "command",
            "timeout",
            "p99",
            "traps",
            "error_rate",
            "against",
            "control",
            "min_samples",
            "1.2x",
            "+0.5%",
            "100%",
            "20ms",
            "7d",
            "http://p",
            ".inf",
            "0x10",
            "~",
            "&a",
            "*a",
            "!!int",
            "\"",
            "'",
            "|",
            ">",
            "\u{0}",
            "é",
            "18446744073709551616",
            "-1",
            "1e999",
            "{",
            "}",
            "[",
            "]",
            ": ",
            ", ",
            "\n",
            "\n  ",
            "\n  - ",
            "# ",
            "\t",
            "? ",
            "<<",
        ]);
        prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_text_makes_the_reader_panic(text in prop_oneof![piece(), "\\PC{0,200}"]) {
            if let Ok(policy) = parse(&text, "p") {
                let written = serde_json::to_string(&policy).unwrap();
                prop_assert_eq!(parse(&written, "p").unwrap(), policy);
            }
        }

        #[test]
        fn no_value_makes_a_key_panic(key in "[a-z_]{1,12}", value in "[-+0-9a-z.%x{}: \\[\\],'$]{0,30}") {
            let keys = [key.as_str(), "waves", "gates", "bake", "probation", "timeouts", "batch", "rollback_until", "concurrency"];
            for key in keys {
                let _ = parse(&format!("{key}: {value}\n"), "p");
            }
            let _ = parse(&format!("gates: [{{{key}: {value}}}]\n"), "p");
        }
    }
}
