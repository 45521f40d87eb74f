//! Custom gates against real programs and a real HTTP server.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::policy::parse;

fn subject() -> Subject {
    Subject {
        rollout: "r1".into(),
        application: "demo".into(),
        from: "1.0.0".into(),
        to: "2.0.0".into(),
        wave: 2,
        nodes: vec!["web1.eu".into(), "web2.eu".into()],
        control: vec!["web9.eu".into()],
        window_ms: 42_500,
    }
}

fn gates(text: &str) -> Vec<Gate> {
    parse(&format!("gates:\n  - {text}\n"), "p").unwrap().gates
}

fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Pass => "",
        Verdict::Trip(reasons) | Verdict::Inconclusive(reasons) => &reasons[0],
    }
}

/// Runs a script as a gate.
async fn run(script: &str, timeout: &str) -> (Verdict, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("check");
    let mut file = std::fs::File::create(&path).unwrap();
    write!(file, "#!/bin/sh\n{script}\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(file);
    let (path, cwd) = (path.display(), folder.path().display());
    let gates = gates(&format!(
        "exec: {{command: ['{path}', 'a b', '{cwd}'], timeout: {timeout}}}"
    ));
    (ask(&gates, &subject()).await, folder)
}

#[tokio::test]
async fn a_program_passes_trips_or_leaves_it_open_by_its_exit_code() {
    assert_eq!(run("exit 0", "10s").await.0, Verdict::Pass);
    let (tripped, _) = run(
        "echo fine; echo 'latency is up' >&2; echo >&2; exit 1",
        "10s",
    )
    .await;
    assert!(matches!(tripped, Verdict::Trip(_)));
    assert!(
        reason(&tripped).ends_with("exit code 1: latency is up"),
        "{tripped:?}"
    );
    for (script, why) in [
        ("echo 'no data'; exit 2", "exit code 2: no data"),
        ("exit 127", "exit code 127"),
        ("kill -9 $$", "signal: 9 (SIGKILL)"),
    ] {
        let (verdict, _) = run(script, "10s").await;
        assert!(matches!(verdict, Verdict::Inconclusive(_)), "{verdict:?}");
        assert!(reason(&verdict).ends_with(why), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_program_gets_the_wave_as_json_and_its_arguments_as_they_are() {
    let (verdict, folder) = run("cat > \"$2/in\"; printf '%s' \"$1\" > \"$2/arg\"", "10s").await;
    assert_eq!(verdict, Verdict::Pass);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("arg"), "a b");
    let input: serde_json::Value = serde_json::from_str(&read("in")).unwrap();
    assert_eq!(input["wave"], 2);
    assert_eq!(input["nodes"], serde_json::json!(["web1.eu", "web2.eu"]));
    assert_eq!(input["control"], serde_json::json!(["web9.eu"]));
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let started = Instant::now();
    let (verdict, folder) = run("sleep 600 & echo $! > \"$2/pid\"; wait", "300ms").await;
    assert!(
        reason(&verdict).ends_with("it was killed after 300ms"),
        "{verdict:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(60));
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    gone(pid.trim());
}

#[tokio::test]
async fn a_program_that_ends_and_leaves_another_behind_is_not_waited_for() {
    let (verdict, folder) = run("sleep 600 & echo $! > \"$2/pid\"; exit 0", "60s").await;
    assert_eq!(verdict, Verdict::Pass);
    gone(
        std::fs::read_to_string(folder.path().join("pid"))
            .unwrap()
            .trim(),
    );
}

/// Waits until there is no such process, or only its entry.
fn gone(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let alive = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    };
    while alive() {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_program_that_never_stops_talking_or_does_not_listen_does_no_harm() {
    let (verdict, _) = run(
        "head -c 20000000 /dev/zero; printf '\\033[2Jend'; exit 1",
        "60s",
    )
    .await;
    let text = reason(&verdict);
    assert!(
        matches!(verdict, Verdict::Trip(_)) && text.len() < 2_000,
        "{text}"
    );
    assert!(!text.contains('\u{1b}') && !text.contains('\0'));
    assert_eq!(run("exec 0<&-; exit 0", "60s").await.0, Verdict::Pass);
    let missing = ask(&gates("exec: {command: /no/such/program}"), &subject()).await;
    assert!(
        reason(&missing).contains("it cannot be started"),
        "{missing:?}"
    );
}

/// A server that answers every request with this, and tells what it was asked.
async fn server(answer: &'static str) -> (String, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prom", listener.local_addr().unwrap());
    let (to, asked) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            while !request.contains("query=") {
                match stream.read(&mut buffer).await {
                    Ok(read @ 1..) => request.push_str(&String::from_utf8_lossy(&buffer[..read])),
                    _ => break,
                }
            }
            let _ = to.send(request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, asked)
}

fn ok(body: &str) -> &'static str {
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    Box::leak(text.into_boxed_str())
}

/// The verdict of a gate whose server gives this answer.
async fn answered(answer: &'static str, bounds: &str) -> Verdict {
    let (url, _asked) = server(answer).await;
    ask(
        &gates(&format!(
            "promql: {{url: '{url}', query: up, {bounds}, timeout: 10s}}"
        )),
        &subject(),
    )
    .await
}

fn vector(values: &[&str]) -> &'static str {
    let sample = |value: &&str| {
        format!(r#"{{"metric":{{"node":"n{value}"}},"value":[1763740800.123,"{value}"]}}"#)
    };
    let samples: Vec<String> = values.iter().map(sample).collect();
    ok(&format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
        samples.join(",")
    ))
}

#[tokio::test]
async fn every_value_of_a_query_must_be_within_the_bounds() {
    let table = [
        (vector(&["0.5", "1"]), "at_most: 1", "pass"),
        (vector(&["0.5", "1.5", "2"]), "at_most: 1", "trip"),
        (vector(&["0.5"]), "at_least: 1", "trip"),
        (vector(&["+Inf"]), "at_most: 1", "trip"),
        (vector(&["NaN"]), "at_most: 1", "inconclusive"),
        (vector(&["NaN", "2"]), "at_most: 1", "trip"),
        (vector(&[]), "at_most: 1", "inconclusive"),
        (
            ok(r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"3"]}}"#),
            "at_least: 3, at_most: 3",
            "pass",
        ),
    ];
    for (answer, bounds, want) in table {
        let verdict = answered(answer, bounds).await;
        let word = match &verdict {
            Verdict::Pass => "pass",
            Verdict::Trip(_) => "trip",
            Verdict::Inconclusive(_) => "inconclusive",
        };
        assert_eq!(word, want, "{bounds}: {verdict:?}");
    }
    let verdict = answered(vector(&["0.5", "1.5", "2"]), "at_most: 1").await;
    assert_eq!(
        reason(&verdict),
        r#"promql up at most 1: {node="n1.5"} is 1.5, and 1 other value"#
    );
}

#[tokio::test]
async fn an_answer_that_is_none_never_passes() {
    let table = [
        (ok("<html>"), "the answer does not read"),
        (
            ok(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
            "gives a matrix",
        ),
        (ok(r#"{"status":"success"}"#), "200 OK"),
        (
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 62\r\n\r\n{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"parse \x1berror\"}",
            "400 Bad Request",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy",
            "503 Service Unavailable: busy",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n",
            "302 Found",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"status\":",
            "HTTP:",
        ),
        ("SSH-2.0-OpenSSH\r\n", "HTTP:"),
        ("", "HTTP:"),
    ];
    for (answer, why) in table {
        let verdict = answered(answer, "at_most: 1").await;
        assert!(
            matches!(verdict, Verdict::Inconclusive(_)),
            "{answer}: {verdict:?}"
        );
        assert!(reason(&verdict).contains(why), "{answer}: {verdict:?}");
    }
    let closed = "promql: {url: 'http://127.0.0.1:1', query: up, at_most: 1}";
    let verdict = ask(&gates(closed), &subject()).await;
    assert!(reason(&verdict).contains("cannot connect"), "{verdict:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gate = gates(&format!(
        "promql: {{url: '{url}', query: up, at_most: 1, timeout: 200ms}}"
    ));
    let verdict = ask(&gate, &subject()).await;
    assert!(
        reason(&verdict).ends_with("no answer within 200ms"),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn a_query_names_the_nodes_the_window_and_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let (url, mut asked) = server(vector(&["1"])).await;
    let gate = format!(
        "promql: {{url: '{url}/', query: 'sum(rate(errors{{node=~\"$nodes\"}}[$window])) / 2 > x{{node=~\"$control\"}}', at_most: 1, token_file: '{}'}}",
        file.display()
    );
    assert_eq!(ask(&gates(&gate), &subject()).await, Verdict::Pass);
    let request = asked.recv().await.unwrap();
    assert!(
        request.starts_with("POST /prom/api/v1/query HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("authorization: Bearer s3cret\r\n"),
        "{request}"
    );
    let body = request.rsplit("\r\n").next().unwrap();
    let nodes = r"node%3D~%22web1%5C%5C.eu%7Cweb2%5C%5C.eu%22";
    assert!(
        body.contains(nodes) && body.contains("%5B42s%5D") && body.contains(r"web9%5C%5C.eu"),
        "{body}"
    );
}

/// Against Debian's `prometheus`; where there is none, the tests above have to do.
#[tokio::test]
async fn a_real_prometheus_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (scraped, listen) = (metrics.local_addr().unwrap(), free.local_addr().unwrap());
    drop(free);
    tokio::spawn(async move {
        const BODY: &str = "# TYPE demo_errors gauge\ndemo_errors{node=\"web1.eu\"} 3\ndemo_errors{node=\"web12eu\"} 90\n";
        while let Ok((mut stream, _)) = metrics.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{BODY}", BODY.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs: [{{job_name: demo, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let server = tokio::process::Command::new("prometheus")
        .arg(format!(
            "--config.file={}/prometheus.yml",
            folder.path().display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}/data",
            folder.path().display()
        ))
        .arg(format!("--web.listen-address={listen}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(_server) = server else { return };
    let gate = |query: &str, bound: &str| {
        gates(&format!(
            "promql: {{url: 'http://{listen}', query: '{query}', {bound}, timeout: 5s}}"
        ))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    // Until it has scraped once there is no value, and no verdict.
    let errors = "demo_errors{node=~\"$nodes\"}";
    loop {
        match ask(&gate(errors, "at_most: 5"), &subject()).await {
            Verdict::Pass => break,
            Verdict::Inconclusive(reasons) => assert!(Instant::now() < deadline, "{reasons:?}"),
            Verdict::Trip(reasons) => panic!("{reasons:?}"),
        }
        tokio::task::yield_now().await;
    }
    let tripped = ask(&gate(errors, "at_most: 2"), &subject()).await;
    assert!(
        matches!(tripped, Verdict::Trip(_)) && reason(&tripped).ends_with("is 3"),
        "{tripped:?}"
    );
    let scalar = ask(
        &gate("scalar(sum(demo_errors))", "at_least: 93, at_most: 93"),
        &subject(),
    )
    .await;
    assert_eq!(scalar, Verdict::Pass);
    let absent = ask(
        &gate("demo_errors{node=~\"$control\"}", "at_most: 5"),
        &subject(),
    )
    .await;
    assert!(
        reason(&absent).ends_with("the answer has no value"),
        "{absent:?}"
    );
    let wrong = ask(&gate("sum(", "at_most: 5"), &subject()).await;
    assert!(
        reason(&wrong).contains("400 Bad Request: invalid parameter"),
        "{wrong:?}"
    );
    let matrix = ask(&gate("demo_errors[1m]", "at_most: 5"), &subject()).await;
    assert!(reason(&matrix).contains("gives a matrix"), "{matrix:?}");
}
