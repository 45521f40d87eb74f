//! The demo judges itself by what its clients sent and read; here it is held to that, and to leaving nothing behind.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use midflight_tests::{Value, binary, until};

fn demo(folder: &Path, nodes: u32) -> Command {
    let mut command = Command::new(binary("midflight"));
    command
        .args([
            "demo",
            "--nodes",
            &nodes.to_string(),
            "--counters",
            "100",
            "--output",
            "json",
            "--dir",
        ])
        .arg(folder)
        .arg("--modules")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/out"))
        .stdin(Stdio::null());
    command
}

/// Agents whose working folder is in this one.
fn left_behind(folder: &Path) -> Vec<String> {
    let wanted = folder.display().to_string();
    let line = |entry: std::fs::DirEntry| {
        let command = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let folder = std::fs::read_link(entry.path().join("cwd")).ok()?;
        (command.starts_with("midflight") && folder.display().to_string().starts_with(&wanted))
            .then_some(command)
    };
    std::fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(Result::ok)
        .filter_map(line)
        .collect()
}

#[test]
fn the_demo_loses_nothing_in_any_act() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("fleet");
    let output = demo(&folder, 4).output().expect("midflight runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    let last: Value = serde_json::from_str(out.lines().last().unwrap_or_default())
        .expect("the last line is JSON");
    assert_eq!(last["nodes"], 4, "{last}");
    for none in [
        "dropped_connections",
        "messages_lost",
        "messages_duplicated",
    ] {
        assert_eq!(last[none], 0, "{none}: {last}");
    }
    for some in ["connections", "messages_sent", "confirmed", "rolled_back"] {
        assert!(last[some].as_u64().is_some_and(|n| n > 0), "{some}: {last}");
    }
    let codes: Vec<i64> = last["acts"]
        .as_array()
        .expect("acts")
        .iter()
        .filter_map(|a| a["exit_code"].as_i64())
        .collect();
    assert_eq!(codes, [0, 2, 2, 3], "{last}");
    assert!(
        last["pause_ms"]["max"].as_f64().is_some_and(|ms| ms > 0.0),
        "{last}"
    );
    assert!(left_behind(&folder).is_empty());
    assert!(!folder.exists(), "it tidies up");
}

#[test]
fn the_demo_leaves_no_process_behind_when_it_is_interrupted_or_killed() {
    for signal in ["-INT", "-KILL"] {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("fleet");
        let mut child = demo(&folder, 2)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("midflight starts");
        until("agents run", || left_behind(&folder).len() == 2);
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .expect("kill runs")
                .success()
        );
        assert!(!child.wait().expect("it ends").success());
        until("no agent is left", || left_behind(&folder).is_empty());
    }
}
