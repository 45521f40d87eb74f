//! Would the simulation notice? Each fault here is planted into the agent or the controller; some seed must break a promise
//! with it, and keep it without. The seeds run in child processes of this very program, where `MIDFLIGHT_MUTANT` names the
//! fault. Built only with the feature `mutants`: `make mutants`.

use std::process::Command;

/// How many seeds a fault may need; those that `make test-sim` runs without a fault.
const SEEDS: &str = "2000";
/// The test that runs them.
const TEST: &str = "whatever_happens_the_promises_hold";

/// Runs seeds with a fault, until one breaks a promise; gives what was said.
fn run(mutant: &str, how: (&str, &str)) -> (bool, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST])
        .env("MIDFLIGHT_MUTANT", mutant)
        .env("ENOUGH", "1")
        .env_remove("SEED")
        .env(how.0, how.1)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}

fn is_noticed(mutant: &str) {
    let (_, text) = run(mutant, ("SEEDS", SEEDS));
    let seeds: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("seed ")?.strip_suffix(':'))
        .collect();
    assert!(!seeds.is_empty(), "{mutant} goes unnoticed: {text}");
    for seed in seeds {
        let (holds, text) = run("none", ("SEED", seed));
        assert!(holds, "seed {seed} breaks a promise by itself: {text}");
    }
    for line in text
        .lines()
        .filter(|line| line.starts_with("seed ") || line.starts_with("    "))
    {
        println!("{mutant}: {}", line.trim());
    }
}

macro_rules! noticed {
    ($($mutant:ident),+ $(,)?) => {
        $(
            #[test]
            fn $mutant() {
                is_noticed(stringify!($mutant));
            }
        )+
    };
}

noticed! {
    controller_no_fsync,
    agent_no_fsync,
    no_epoch_check,
    claim_not_checked,
    lease_on_wall_time,
    confirm_without_compare_and_set,
    resume_after_claim_lost,
    unreachable_counts_as_ok,
    rollback_forgets_unknown,
    gate_verdict_ignored,
    min_sample_ignored,
}
