//! Would the tests notice? Each fault here is planted into the transaction, and the tests named beside it must fail with
//! it and pass without it. They run as child processes of this very program, which holds them all; a fault is chosen by
//! `MIDFLIGHT_MUTANT`. Built only with the feature `mutants`: `make mutants`.
#![allow(clippy::unwrap_used)]

#[path = "model/main.rs"]
mod model;
#[path = "upgrade.rs"]
mod upgrade;
#[path = "ways_back.rs"]
mod ways_back;

use std::process::Command;

/// What a run of named tests came to: those that did not end well.
fn failing(mutant: &str, tests: &[&str]) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--test-threads=2"])
        .args(tests)
        .env("MIDFLIGHT_MUTANT", mutant)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let ran = |test: &str, how: &str| {
        let line = format!("test {test} ... {how}");
        text.lines().any(|l| l == line)
    };
    // A test that ends the process has failed as well, and those after it.
    let failed: Vec<String> = tests
        .iter()
        .filter(|test| !ran(test, "ok"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(output.status.success(), failed.is_empty(), "{text}");
    failed
}

macro_rules! caught {
    ($($mutant:ident: [$($test:literal),+ $(,)?],)+) => {
        $(
            #[test]
            fn $mutant() {
                let tests = [$($test),+];
                assert_eq!(super::failing("none", &tests), [""; 0], "without a fault");
                assert_eq!(super::failing(stringify!($mutant), &tests), tests, "all of them notice");
            }
        )+
    };
}

mod faults {
    caught! {
        no_dirty_list: ["model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step"],
        gate_not_closed: [
            "model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step",
            "upgrade::messages_sent_while_suspended_wait_in_order_and_none_is_lost",
        ],
        abort_keeps_new_current: [
            "model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step",
            "ways_back::given_up_after_load_the_old_code_is_current_again",
        ],
        install_forgotten: [
            "model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step",
            "upgrade::the_counter_of_the_seed_becomes_a_record_and_an_integer_again",
        ],
        pinned_not_kept: ["upgrade::the_counter_of_the_seed_becomes_a_record_and_an_integer_again"],
        redeliver_dropped: ["upgrade::an_upgrade_may_make_its_actors_act"],
        park_loses_the_event: [
            "upgrade::a_handler_that_fails_in_probation_parks_and_the_old_code_answers_after_the_rollback",
        ],
        parks_after_confirm: [
            "model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step",
            "ways_back::after_confirm_a_handler_that_fails_ends_its_actor",
        ],
        confirm_leaves_parked: [
            "model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step",
            "upgrade::confirm_turns_parked_actors_into_ordinary_crashes",
        ],
        purge_at_confirm: [
            "model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step",
            "ways_back::until_finish_a_confirmed_upgrade_goes_back_to_the_old_code_and_states",
        ],
        finish_keeps_pinned: ["model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step"],
        rollback_ignores_touched: [
            "model::the_transaction_holds_with_a_failure_or_a_crash_at_every_step",
            "upgrade::a_rollback_keeps_what_was_counted_on_the_new_code",
        ],
        batch_failure_commits_prefix_twice: [
            "ways_back::in_a_batch_an_error_commits_once_what_came_before_it",
        ],
        effects_released_early: ["ways_back::a_handler_that_breaks_a_bound_releases_no_effect"],
    }
}
