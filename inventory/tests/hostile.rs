//! Input made to hurt: each is refused within a second of processor time and 100 MB of memory.
//!
//! Every case runs in a process of its own, whose peak memory and processor time the kernel reports. Where it does not
//! (no `/proc`), the cases still have to be refused.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use midflight_inventory::{Error, Inventory, expand};

const CASE: &str = "MIDFLIGHT_HOSTILE_CASE";

/// Runs `attack` in a process of its own, where it must be refused with `code` and within bounds.
#[track_caller]
fn refused(test: &str, code: &str, attack: impl FnOnce() -> Result<(), Error>) {
    if std::env::var_os(CASE).is_some() {
        let before = cpu_seconds();
        let error = attack().expect_err("the attack must be refused");
        let spent = cpu_seconds() - before;
        assert_eq!(error.code(), code, "{error}");
        assert!(
            error.to_string().len() < 2000,
            "the message is as large as the attack"
        );
        println!("{test}: {spent:.2} s, {} MB", peak_megabytes());
        // The promise is a second on today's machines; a slow one may take two.
        assert!(spent <= 2.0, "{spent} s of processor time");
        assert!(peak_megabytes() <= 100, "{} MB of memory", peak_megabytes());
        return;
    }
    let exe = std::env::current_exe().expect("the test's own path");
    let mut child = Command::new(exe);
    let output = child
        .args(["--exact", test, "--nocapture"])
        .env(CASE, "1")
        .output()
        .expect("the test runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("1 passed"), "{text}");
    println!("{text}");
}

fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, in hundredths of a second; the name in field 2 may hold spaces, so count from its end.
    let after_name = stat.rsplit(')').next().unwrap_or("");
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn parse(text: String) -> Result<(), Error> {
    Inventory::parse(&text, "hostile.yaml").map(drop)
}

/// Loads a file that `write` makes.
fn load(write: impl FnOnce(&mut std::fs::File)) -> Result<(), Error> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write(file.as_file_mut());
    Inventory::load(&[file.path().to_owned()]).map(drop)
}

/// Writes `unit` until `megabytes` are reached, without holding them.
fn repeated(file: &mut std::fs::File, unit: &[u8], megabytes: usize) {
    let block = unit.repeat((1 << 16) / unit.len());
    for _ in 0..(megabytes << 20) / block.len() {
        file.write_all(&block).expect("written");
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    refused("an_alias_bomb_is_refused", "MF0105", || {
        let mut text = "vars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let refs = vec![format!("*a{}", n - 1); 10].join(", ");
            writeln!(text, "  a{n}: &a{n} [{refs}]").expect("a string");
        }
        parse(text)
    });
}

#[test]
fn a_file_over_the_limit_is_refused() {
    refused("a_file_over_the_limit_is_refused", "MF0102", || {
        load(|file| file.set_len(64 * 1024 * 1024 + 1).expect("sparse"))
    });
}

#[test]
fn an_endless_file_is_refused() {
    refused("an_endless_file_is_refused", "MF0102", || {
        Inventory::load(&[PathBuf::from("/dev/zero")]).map(drop)
    });
}

#[test]
fn a_large_file_that_is_not_utf8_is_refused() {
    refused("a_large_file_that_is_not_utf8_is_refused", "MF0103", || {
        load(|file| repeated(file, b"\xff", 60))
    });
}

#[test]
fn brackets_nested_without_end_are_refused() {
    refused("brackets_nested_without_end_are_refused", "MF0105", || {
        parse("[".repeat(10_000_000))
    });
}

#[test]
fn mappings_nested_too_deep_are_refused() {
    refused("mappings_nested_too_deep_are_refused", "MF0105", || {
        let mut text = "vars:\n".to_owned();
        for depth in 1..2000 {
            writeln!(text, "{}a:", " ".repeat(depth)).expect("a string");
        }
        parse(text)
    });
}

#[test]
fn millions_of_small_items_are_refused() {
    refused("millions_of_small_items_are_refused", "MF0105", || {
        parse("- a\n".repeat(8_000_000))
    });
}

#[test]
fn a_full_file_of_small_items_is_refused() {
    refused("a_full_file_of_small_items_is_refused", "MF0105", || {
        load(|file| repeated(file, b"- a\n", 63))
    });
}

#[test]
fn millions_of_anchors_are_refused() {
    refused("millions_of_anchors_are_refused", "MF0105", || {
        parse("- &a a\n".repeat(2_000_000))
    });
}

#[test]
fn millions_of_small_entries_are_refused() {
    refused("millions_of_small_entries_are_refused", "MF0105", || {
        parse(format!("vars: {{{}", "a: {},".repeat(3_000_000)))
    });
}

#[test]
fn one_endless_scalar_is_refused() {
    refused("one_endless_scalar_is_refused", "MF0105", || {
        parse(format!("vars: {{a: \"{}\"}}", "x".repeat(33 << 20)))
    });
}

#[test]
fn a_name_as_long_as_a_file_is_refused() {
    refused("a_name_as_long_as_a_file_is_refused", "MF0109", || {
        parse(format!(
            "groups: {{w: {{hosts: {{? \"{}[1:9]\"\n : {{}}}}}}}}",
            "x".repeat(10 << 20)
        ))
    });
}

#[test]
fn ranges_in_a_name_without_number_are_refused() {
    refused(
        "ranges_in_a_name_without_number_are_refused",
        "MF0115",
        || {
            parse(format!(
                "groups: {{w: {{hosts: {{'{}': {{}}}}}}}}",
                "[0:9]".repeat(200)
            ))
        },
    );
}

#[test]
fn more_hosts_than_an_inventory_holds_are_refused() {
    refused(
        "more_hosts_than_an_inventory_holds_are_refused",
        "MF0115",
        || {
            parse(
                "groups: {w: {hosts: {'a[1:1000000]': {}, 'b[1:1000000]': {}, c: {}}}}".to_owned(),
            )
        },
    );
}

#[test]
fn a_chain_of_groups_without_end_is_refused() {
    refused("a_chain_of_groups_without_end_is_refused", "MF0118", || {
        let mut text = "groups:\n".to_owned();
        for group in 0..80_000 {
            writeln!(text, "  g{group}: {{children: [g{}]}}", group + 1).expect("a string");
        }
        parse(text + "  g80000:\n")
    });
}

#[test]
fn a_hub_between_thousands_of_groups_is_refused() {
    refused(
        "a_hub_between_thousands_of_groups_is_refused",
        "MF0118",
        || {
            let mut text = "groups:\n".to_owned();
            let mut below = String::new();
            for group in 0..20_000 {
                writeln!(
                    text,
                    "  up{group}: {{children: [hub]}}\n  down{group}: {{hosts: {{h{group}: }}}}"
                )
                .expect("");
                write!(below, "down{group}, ").expect("a string");
            }
            parse(format!("{text}  hub: {{children: [{below}]}}\n"))
        },
    );
}

#[test]
fn a_regular_expression_that_compiles_to_gigabytes_is_refused() {
    refused(
        "a_regular_expression_that_compiles_to_gigabytes_is_refused",
        "MF0121",
        || {
            let inventory = Inventory::parse("groups: {w: {hosts: {a: }}}", "t").expect("good");
            inventory.select(r"~((\w{1000}){1000}){1000}").map(drop)
        },
    );
}

#[test]
fn a_pattern_with_a_range_without_end_is_refused() {
    refused(
        "a_pattern_with_a_range_without_end_is_refused",
        "MF0115",
        || {
            let inventory = Inventory::parse("groups: {w: {hosts: {a: }}}", "t").expect("good");
            inventory.select("a[0:999999999999999999]").map(drop)
        },
    );
}

#[test]
fn a_term_that_is_nearly_every_name_is_refused() {
    refused(
        "a_term_that_is_nearly_every_name_is_refused",
        "MF0120",
        || {
            let name = "x".repeat(240);
            let inventory = Inventory::parse(
                &format!("groups: {{w: {{hosts: {{'{name}[0001:9999]': }}}}}}"),
                "t",
            );
            inventory
                .expect("good")
                .select(&format!("{name}00a1"))
                .map(drop)
        },
    );
}

/// A pattern on an inventory of three groups and one host.
fn select(pattern: &str) -> Result<(), Error> {
    let text = "groups: {w: {hosts: {a: }}, x: {children: [w]}, y: {children: [w]}}";
    let inventory = Inventory::parse(text, "t").expect("good");
    inventory.select(pattern).map(drop)
}

#[test]
fn a_node_set_without_end_is_refused() {
    refused("a_node_set_without_end_is_refused", "MF0115", || {
        select("a[0-999999999999999999/2]c[1-1000000000]")
    });
}

#[test]
fn many_node_sets_that_are_too_many_together_are_refused() {
    refused(
        "many_node_sets_that_are_too_many_together_are_refused",
        "MF0115",
        || {
            expand(&format!(
                "n[1-1000000],{}",
                "m[1-1000000]!".repeat(10_000) + "x"
            ))
            .map(drop)
        },
    );
}

#[test]
fn parentheses_without_end_are_refused() {
    refused("parentheses_without_end_are_refused", "MF0119", || {
        select(&("(".repeat(1_000_000) + "w" + &")".repeat(1_000_000)))
    });
}

#[test]
fn a_pattern_of_many_thousand_operators_is_read_to_its_end() {
    refused(
        "a_pattern_of_many_thousand_operators_is_read_to_its_end",
        "MF0120",
        || select(&("w".to_owned() + &"^w".repeat(40_000) + &"&a!a".repeat(40_000) + "!nosuch")),
    );
}

#[test]
fn a_list_over_the_limit_is_refused() {
    refused("a_list_over_the_limit_is_refused", "MF0122", || {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(1 << 30).expect("sparse");
        select(&format!("@{}", file.path().display()))
    });
}

#[test]
fn a_list_that_names_everything_again_and_again_is_refused() {
    refused(
        "a_list_that_names_everything_again_and_again_is_refused",
        "MF0115",
        || {
            let inventory = Inventory::parse("groups: {w: {hosts: {'n[1:1000]': }}}", "t");
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            repeated(file.as_file_mut(), b"w\n", 8);
            let list = format!("@{}", file.path().display());
            inventory.expect("good").select(&list).map(drop)
        },
    );
}

#[test]
fn globs_without_number_are_refused() {
    refused("globs_without_number_are_refused", "MF0115", || {
        let inventory = Inventory::parse("groups: {w: {hosts: {'n[1:100000]': }}}", "t");
        inventory
            .expect("good")
            .select(&("n*,".repeat(50_000) + "n*"))
            .map(drop)
    });
}

#[test]
fn a_class_that_is_never_closed_and_many_stars_cost_little() {
    refused(
        "a_class_that_is_never_closed_and_many_stars_cost_little",
        "MF0120",
        || {
            let inventory = Inventory::parse(
                "groups: {w: {hosts: {'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa[1:20000]': }}}",
                "t",
            );
            inventory
                .expect("good")
                .select(&("*a".repeat(40) + "[!z]*[b"))
                .map(drop)
        },
    );
}

#[test]
fn an_ini_file_of_millions_of_hosts_is_refused() {
    refused(
        "an_ini_file_of_millions_of_hosts_is_refused",
        "MF0115",
        || load(|file| repeated(file, b"a\n", 63)),
    );
}

#[test]
fn a_range_of_a_billion_hosts_in_ini_is_refused() {
    refused(
        "a_range_of_a_billion_hosts_in_ini_is_refused",
        "MF0115",
        || load(|file| repeated_behind(file, b"a[0:999999999]\n", b"b\n", 0)),
    );
}

#[test]
fn a_line_of_millions_of_variables_is_refused() {
    refused(
        "a_line_of_millions_of_variables_is_refused",
        "MF0123",
        || load(|file| repeated_behind(file, b"a", b" x=1", 15)),
    );
}

#[test]
fn a_quoted_line_of_millions_of_variables_is_refused() {
    refused(
        "a_quoted_line_of_millions_of_variables_is_refused",
        "MF0123",
        || load(|file| repeated_behind(file, b"a 'y=1'", b" x=1", 15)),
    );
}

#[test]
fn an_ini_file_full_of_values_is_refused() {
    refused("an_ini_file_full_of_values_is_refused", "MF0105", || {
        load(|file| repeated_behind(file, b"[all:vars]\nx=[", b"1,", 60))
    });
}

#[test]
fn millions_of_sections_are_refused() {
    refused("millions_of_sections_are_refused", "MF0118", || {
        let text: String = (0..1_000_000).map(|n| format!("[g{n}]\n")).collect();
        load(|file| repeated_behind(file, text.as_bytes(), b"a", 0))
    });
}

#[test]
fn millions_of_children_that_are_nowhere_are_refused() {
    refused(
        "millions_of_children_that_are_nowhere_are_refused",
        "MF0118",
        || {
            let text: String = (0..1_000_000).map(|n| format!("g{n}\n")).collect();
            load(|file| repeated_behind(file, format!("[g:children]\n{text}").as_bytes(), b"", 0))
        },
    );
}

#[test]
fn json_nested_without_end_is_refused() {
    refused("json_nested_without_end_is_refused", "MF0105", || {
        load(|file| repeated_behind(file, b"{\"a\":", b"[", 60))
    });
}

#[test]
fn json_of_millions_of_items_is_refused() {
    refused("json_of_millions_of_items_is_refused", "MF0105", || {
        load(|file| repeated_behind(file, b"{\"a\": [0", b",0", 60))
    });
}

#[test]
fn folders_that_contain_themselves_are_refused() {
    refused(
        "folders_that_contain_themselves_are_refused",
        "MF0101",
        || {
            let dir = tempfile::tempdir().expect("a folder");
            for name in ["a", "b", "c"] {
                std::os::unix::fs::symlink(dir.path(), dir.path().join(name)).expect("a link");
            }
            Inventory::load(&[dir.path().to_owned()]).map(drop)
        },
    );
}

fn repeated_behind(file: &mut std::fs::File, begin: &[u8], unit: &[u8], megabytes: usize) {
    use std::io::Write as _;
    file.write_all(begin).expect("written");
    if megabytes > 0 {
        repeated(file, unit, megabytes);
    }
}

#[test]
fn a_list_of_a_gigabyte_is_refused() {
    refused("a_list_of_a_gigabyte_is_refused", "MF0102", || {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(1 << 30).expect("sparse");
        Inventory::load(&[file.path().to_owned()]).map(drop)
    });
}

#[test]
fn a_list_of_node_sets_without_number_is_refused() {
    refused(
        "a_list_of_node_sets_without_number_is_refused",
        "MF0115",
        || load(|file| repeated(file, b"n[1-900000]\n", 40)),
    );
}

#[test]
fn a_list_of_operators_that_make_too_many_names_is_refused() {
    refused(
        "a_list_of_operators_that_make_too_many_names_is_refused",
        "MF0115",
        || {
            load(|file| {
                write!(file, "x[1-999999],{}y", "y[1-1000]!".repeat(100_000)).expect("written");
            })
        },
    );
}

#[test]
fn a_bracket_as_long_as_a_file_is_refused() {
    refused("a_bracket_as_long_as_a_file_is_refused", "MF0142", || {
        load(|file| {
            file.write_all(b"n[1-2]\nm[").expect("written");
            repeated(file, b"1-2,", 60);
            file.write_all(b"]").expect("written");
        })
    });
}

#[test]
fn a_line_of_items_as_long_as_a_file_is_refused() {
    refused(
        "a_line_of_items_as_long_as_a_file_is_refused",
        "MF0115",
        || {
            load(|file| {
                repeated(file, b"n[1-2],", 1);
                repeated(file, b"a,", 60);
            })
        },
    );
}

#[test]
fn a_name_of_millions_of_ranges_is_refused() {
    refused("a_name_of_millions_of_ranges_is_refused", "MF0114", || {
        load(|file| {
            file.write_all(b"n[1-2]\n").expect("written");
            repeated(file, b"n[1:2]", 60);
        })
    });
}

#[test]
fn a_list_with_a_line_of_millions_of_terms_is_refused() {
    refused(
        "a_list_with_a_line_of_millions_of_terms_is_refused",
        "MF0119",
        || {
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            repeated(file.as_file_mut(), b"a,", 60);
            select(&format!("@{}", file.path().display()))
        },
    );
}

#[test]
fn a_node_set_without_end_is_no_inventory() {
    refused("a_node_set_without_end_is_no_inventory", "MF0115", || {
        let nodes = "n[0-999999999999999999]c[1-1000000000],x!n1".to_owned();
        Inventory::read(&[midflight_inventory::Input::Nodes(nodes)]).map(drop)
    });
}
