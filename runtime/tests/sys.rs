//! OTP's `sys`, function by function: each for one actor and, where it makes sense, for all actors of a module.
#![allow(clippy::unwrap_used)]

mod common;
use std::time::{Duration, Instant};

use common::*;
use midflight_runtime::{
    ActorRef, Filter, Limits, MAX_TRACES, Node, OnDownFailure, Switch, TopBy, TraceOrder, Traced,
};

const BUDGET: Duration = Duration::from_secs(2);

fn probes(actors: u32) -> Node {
    boot(&[part("probe", "probe_v1", actors)])
}

fn core(node: &Node, who: &str) -> Value {
    ask(node, who, json!({"op": "get"}))["core"].clone()
}

fn total(node: &Node, who: &str) -> Value {
    let state: Value = serde_json::from_str(&node.get_state(&actor(who), SOON).unwrap()).unwrap();
    state["core"]["total"].clone()
}

/// Waits until a cast that never ends is being handled.
fn looping(node: &Node, who: &str) {
    tell(node, who, json!({"op": "loop"}));
    until("its handler runs", || {
        node.status(&actor(who), Duration::ZERO).is_err()
    });
}

#[test]
fn sys_suspend_of_a_parked_actor_holds_when_it_is_parked_no_more() {
    let node = boot(&[part("counter", "counter_v1", 1)]);
    let bad = change("counter", "1.0.0", "2.0.0", "counter_bad_first", json!({}));
    let probation = upgrade(&node, order(&node, vec![bad])).unwrap();
    node.cast(&actor("counter"), vec![0]).unwrap();
    until("it is parked", || probation.health().parked == 1);
    let status = node.suspend(&actor("counter"), SOON).unwrap();
    assert_eq!((status.status, status.suspended), ("parked", true));
    probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    let status = node.status(&actor("counter"), SOON).unwrap();
    assert_eq!((status.status, status.mailbox), ("suspended", 1));
    node.resume(&actor("counter"), SOON).unwrap();
    until("the event is handled by the old code", || {
        node.get_state(&actor("counter"), SOON).unwrap() == "1"
    });
}

#[test]
fn sys_resume_of_a_parked_actor_leaves_it_parked() {
    let node = boot(&[part("counter", "counter_v1", 1)]);
    let bad = change("counter", "1.0.0", "2.0.0", "counter_bad_first", json!({}));
    let probation = upgrade(&node, order(&node, vec![bad])).unwrap();
    node.cast(&actor("counter"), vec![0]).unwrap();
    until("it is parked", || probation.health().parked == 1);
    node.suspend(&actor("counter"), SOON).unwrap();
    let status = node.resume(&actor("counter"), SOON).unwrap();
    assert_eq!((status.status, status.suspended), ("parked", false));
    assert_eq!(probation.health().traps, 1, "it was not run again");
}

#[test]
fn sys_suspend_and_resume_of_a_module_stop_and_start_all_its_actors_and_no_others() {
    let node = boot(&[part("probe", "probe_v1", 20), part("other", "probe_v1", 1)]);
    assert_eq!(node.suspend_module("probe", SOON).unwrap().actors, 20);
    for n in 1..=20 {
        tell(&node, &format!("probe.{n}"), json!({"op": "add", "n": 1}));
    }
    ask(&node, "other", json!({"op": "add", "n": 1}));
    let module = node.module_status("probe").unwrap();
    assert_eq!((module.actors, module.suspended), (20, 20));
    assert_eq!((module.mailbox, module.mailbox_max), (20, 1));
    assert_eq!(total(&node, "probe.7"), 0);
    assert_eq!(node.resume_module("probe").unwrap().actors, 20);
    for n in 1..=20 {
        until("it ran", || total(&node, &format!("probe.{n}")) == 1);
    }
    assert_eq!(node.module_status("other").unwrap().suspended, 0);
    assert_eq!(
        node.suspend_module("nobody", SOON).unwrap_err().code(),
        "MF0304"
    );
    assert_eq!(
        node.suspend_module("no name!", SOON).unwrap_err().code(),
        "MF0360"
    );
}

#[test]
fn every_sys_function_has_a_timeout_and_a_running_handler_delays_it_no_longer_than_its_own() {
    let limits = Limits {
        handler_ms: 400,
        hermetic: false,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 2)]);
    looping(&node, "probe.1");
    let (who, short) = (actor("probe.1"), Duration::from_millis(1));
    let late = [
        node.status(&who, short).map(drop),
        node.suspend(&who, short).map(drop),
        node.resume(&who, short).map(drop),
        node.get_state(&who, short).map(drop),
        node.replace_state(&who, "{}", short).map(drop),
        node.statistics(&who, Switch::On, short).map(drop),
        node.trace(&who, TraceOrder::default(), short),
        node.trace_report(&who, false, short).map(drop),
        node.terminate(&who, "late", short).map(drop),
    ];
    for (n, outcome) in late.into_iter().enumerate() {
        assert_eq!(outcome.unwrap_err().code(), "MF0314", "call {n}");
    }
    let error = node.suspend_module("probe", short).unwrap_err();
    assert_eq!(error.code(), "MF0361");
    assert!(error.to_string().contains("1 actors did not"), "{error}");
    let start = Instant::now();
    assert_eq!(node.status(&who, SOON).unwrap_err().code(), "MF0313");
    assert!(start.elapsed() < SOON, "it traps and is gone");
}

#[test]
fn sys_replace_state_that_fails_keeps_the_state() {
    let node = probes(1);
    ask(&node, "probe", json!({"op": "add", "n": 3}));
    let before = node.get_state(&actor("probe"), SOON).unwrap();
    let error = node
        .replace_state(&actor("probe"), "[1]", SOON)
        .unwrap_err();
    assert_eq!(error.code(), "MF0315");
    let huge = before.replace(
        "\"heard\":\"\"",
        &format!("\"heard\":\"{}\"", "x".repeat(70_000)),
    );
    assert!(huge.len() > 70_000);
    let error = node
        .replace_state(&actor("probe"), &huge, SOON)
        .unwrap_err();
    assert_eq!(error.code(), "MF0315");
    assert_eq!(node.get_state(&actor("probe"), SOON).unwrap(), before);
}

#[test]
fn sys_statistics_are_off_until_turned_on_and_count_messages_in_and_out() {
    let node = probes(2);
    let who = actor("probe.1");
    ask(&node, "probe.1", json!({"op": "add", "n": 1}));
    assert_eq!(node.statistics(&who, Switch::Get, SOON).unwrap(), None);
    node.statistics(&who, Switch::On, SOON).unwrap();
    ask(
        &node,
        "probe.1",
        json!({"op": "cast", "to": "probe.2", "times": 5, "body": {}}),
    );
    tell(
        &node,
        "probe.1",
        json!({"op": "timer", "after_ms": 0, "body": {}}),
    );
    until("call, cast and timer are handled", || {
        let counted = node.statistics(&who, Switch::Get, SOON).unwrap().unwrap();
        (counted.events, counted.messages_in) == (3, 2)
    });
    let counted = node.statistics(&who, Switch::Get, SOON).unwrap().unwrap();
    // Five casts, and the answer to the call.
    assert_eq!((counted.messages_out, counted.errors), (6, 0));
    let last = node.statistics(&who, Switch::Off, SOON).unwrap().unwrap();
    assert_eq!(last.events, 3);
    assert_eq!(node.statistics(&who, Switch::Get, SOON).unwrap(), None);
    node.statistics(&who, Switch::On, SOON).unwrap();
    let again = node.statistics(&who, Switch::Get, SOON).unwrap().unwrap();
    assert_eq!(again.events, 0, "counted from 0");
}

#[test]
fn sys_statistics_of_a_module_have_its_counters_always_and_more_when_turned_on() {
    let node = probes(3);
    ask(&node, "probe.1", json!({"op": "add", "n": 1}));
    let always = node.module_statistics("probe", Switch::Get).unwrap();
    assert_eq!((always.actors.actors, always.counted), (3, None));
    assert!(always.events >= 1);
    node.module_statistics("probe", Switch::On).unwrap();
    ask(
        &node,
        "probe.2",
        json!({"op": "spawn", "module": "probe", "args": {}, "name": "born"}),
    );
    until("it is born", || node.whereis("born").is_some());
    ask(&node, "born", json!({"op": "add", "n": 1}));
    assert!(try_ask(&node, "probe.3", json!({"op": "trap"})).is_err());
    let module = node.module_statistics("probe", Switch::Off).unwrap();
    let counted = module.counted.unwrap();
    assert_eq!(
        (counted.events, counted.errors),
        (2, 1),
        "the newborn is counted"
    );
    assert_eq!((module.traps, module.actors.actors), (1, 3));
    let off = node.module_statistics("probe", Switch::Get).unwrap();
    assert_eq!(off.counted, None);
}

#[test]
fn sys_errors_of_an_actor_that_was_parked_are_in_its_statistics_and_its_trace() {
    let node = boot(&[part("counter", "counter_v1", 1)]);
    let who = actor("counter");
    node.statistics(&who, Switch::On, SOON).unwrap();
    node.trace(&who, TraceOrder::default(), SOON).unwrap();
    let bad = change("counter", "1.0.0", "2.0.0", "counter_bad_first", json!({}));
    let probation = upgrade(&node, order(&node, vec![bad])).unwrap();
    node.cast(&who, vec![0]).unwrap();
    until("it is parked", || probation.health().parked == 1);
    let counted = node.statistics(&who, Switch::Get, SOON).unwrap().unwrap();
    assert_eq!((counted.events, counted.errors), (0, 1));
    let trace = node.trace_report(&who, false, SOON).unwrap().unwrap();
    assert_eq!(trace.entries[0].way, Traced::Failed);
    assert!(!trace.entries[0].body.is_empty(), "the reason");
}

#[test]
fn sys_trace_has_what_came_in_and_what_went_out_cut_to_its_bound() {
    let node = probes(2);
    let who = actor("probe.1");
    let order = TraceOrder {
        body_bytes: 10,
        ..TraceOrder::default()
    };
    assert_eq!(node.trace_report(&who, false, SOON).unwrap(), None);
    node.trace(&who, order, SOON).unwrap();
    ask(
        &node,
        "probe.1",
        json!({"op": "send", "to": "probe.2", "body": {"long": "x".repeat(100)}}),
    );
    let trace = node.trace_report(&who, true, SOON).unwrap().unwrap();
    let lines: Vec<_> = trace.entries.iter().map(|e| (e.way, e.kind)).collect();
    assert_eq!(lines[0], (Traced::In, "call"));
    assert!(lines.contains(&(Traced::Out, "send")), "{lines:?}");
    assert!(lines.contains(&(Traced::Out, "reply")), "{lines:?}");
    let sent = trace.entries.iter().find(|e| e.kind == "send").unwrap();
    assert_eq!((sent.peer.as_str(), sent.body.len()), ("probe.2", 10));
    assert!(sent.bytes > 100 && sent.wall > 0);
    assert_eq!(sent.pid, node.whereis("probe.1").unwrap());
    assert_eq!(
        node.trace_report(&who, false, SOON).unwrap(),
        None,
        "it is off"
    );
}

#[test]
fn sys_trace_is_sampled_its_ring_is_bounded_and_it_ends_by_itself() {
    let node = probes(1);
    let who = actor("probe");
    let order = TraceOrder {
        sample: 10,
        events: 3,
        ..TraceOrder::default()
    };
    node.trace(&who, order, SOON).unwrap();
    for _ in 0..50 {
        tell(&node, "probe", json!({}));
    }
    until("all are handled", || core(&node, "probe")["casts"] == 50);
    let trace = node.trace_report(&who, false, SOON).unwrap().unwrap();
    assert_eq!((trace.events, trace.running), (3, false), "by its count");

    let order = TraceOrder {
        entries: 4,
        ..TraceOrder::default()
    };
    node.trace(&who, order, SOON).unwrap();
    for _ in 0..20 {
        tell(&node, "probe", json!({}));
    }
    until("all are handled", || core(&node, "probe")["casts"] == 70);
    let trace = node.trace_report(&who, false, SOON).unwrap().unwrap();
    assert_eq!(trace.entries.len(), 4);
    assert!(trace.running && trace.dropped >= 16);
    let last = trace.entries.last().unwrap().seq;
    assert_eq!(last, trace.dropped + 4, "no number is used twice");

    let order = TraceOrder {
        time: Duration::from_millis(1),
        ..TraceOrder::default()
    };
    node.trace(&who, order, SOON).unwrap();
    until("its time is over", || {
        !node
            .trace_report(&who, false, SOON)
            .unwrap()
            .unwrap()
            .running
    });
    let before = node
        .trace_report(&who, false, SOON)
        .unwrap()
        .unwrap()
        .events;
    ask(&node, "probe", json!({"op": "get"}));
    let after = node
        .trace_report(&who, false, SOON)
        .unwrap()
        .unwrap()
        .events;
    assert_eq!(before, after, "nothing is noted any more");
}

#[test]
fn sys_trace_of_a_module_has_all_its_actors_in_one_ring() {
    let node = probes(3);
    node.trace_module("probe", TraceOrder::default()).unwrap();
    for n in 1..=3 {
        ask(&node, &format!("probe.{n}"), json!({"op": "add", "n": 1}));
    }
    let trace = node.module_trace_report("probe", true).unwrap().unwrap();
    let mut pids: Vec<_> = trace.entries.iter().map(|e| e.pid).collect();
    pids.dedup();
    assert_eq!((pids.len(), trace.events), (3, 3));
    assert_eq!(node.module_trace_report("probe", false).unwrap(), None);
}

#[test]
fn the_traces_of_a_node_are_bounded_and_so_is_what_one_may_ask_for() {
    let node = probes(MAX_TRACES as u32 + 1);
    let who = |n: usize| actor(&format!("probe.{n}"));
    for n in 1..=MAX_TRACES {
        node.trace(&who(n), TraceOrder::default(), SOON).unwrap();
    }
    let one_more = || node.trace(&who(MAX_TRACES + 1), TraceOrder::default(), SOON);
    assert_eq!(one_more().unwrap_err().code(), "MF0362");
    node.trace(&who(1), TraceOrder::default(), SOON).unwrap();
    node.trace_report(&who(1), true, SOON).unwrap();
    one_more().unwrap();
    node.terminate(&who(2), "gone", SOON).unwrap();
    node.trace(&who(1), TraceOrder::default(), SOON).unwrap();
    let wrong = [
        TraceOrder {
            sample: 0,
            ..TraceOrder::default()
        },
        TraceOrder {
            entries: 5_000,
            ..TraceOrder::default()
        },
        TraceOrder {
            body_bytes: 5_000,
            ..TraceOrder::default()
        },
        TraceOrder {
            events: 0,
            ..TraceOrder::default()
        },
        TraceOrder {
            time: Duration::from_secs(3_601),
            ..TraceOrder::default()
        },
    ];
    for order in wrong {
        assert_eq!(
            node.trace(&who(1), order, SOON).unwrap_err().code(),
            "MF0360"
        );
    }
}

#[test]
fn sys_terminate_runs_terminate_tells_who_watches_and_the_supervisor_starts_it_again() {
    let node = boot(&[
        part("watcher", "probe_v1", 1),
        common::Part {
            restart: midflight_patch::Restart::Permanent,
            ..part("probe", "probe_v1", 1)
        },
    ]);
    let pid = node.whereis("probe").unwrap();
    ask(&node, "probe", json!({"op": "last_words", "to": "watcher"}));
    ask(&node, "watcher", json!({"op": "monitor", "pid": pid}));
    let status = node.terminate(&actor("probe"), "told to", SOON).unwrap();
    assert_eq!(status.pid, pid);
    until("it is started again", || {
        node.whereis("probe").is_some_and(|new| new != pid)
    });
    until("the watcher heard both", || {
        let core = core(&node, "watcher");
        core["downs"] == json!([[pid, "told to"]]) && core["notes"].to_string().contains("told to")
    });
    assert_eq!(
        node.module_statistics("probe", Switch::Get)
            .unwrap()
            .restarts,
        1
    );
    let gone = node
        .terminate(&ActorRef::Pid(pid), "again", SOON)
        .unwrap_err();
    assert_eq!(gone.code(), "MF0313");
    assert_eq!(
        node.terminate(&actor("probe"), "", SOON)
            .unwrap_err()
            .code(),
        "MF0360"
    );
}

#[test]
fn sys_terminate_ends_a_suspended_and_a_held_actor_and_answers_those_who_wait() {
    let node = probes(2);
    node.suspend(&actor("probe.1"), SOON).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| try_ask(&node, "probe.1", json!({"op": "get"})));
        until("the call waits", || {
            node.status(&actor("probe.1"), SOON).unwrap().mailbox == 1
        });
        node.terminate(&actor("probe.1"), "enough", SOON).unwrap();
        let error = waiting.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("enough"), "{error}");
    });

    ask(&node, "probe.2", json!({"op": "flag", "on": true}));
    let failing_down = change(
        "probe",
        "1.0.0",
        "2.0.0",
        "probe_v2",
        json!({"down": "error"}),
    );
    let probation = upgrade(&node, order(&node, vec![failing_down])).unwrap();
    ask(&node, "probe.2", json!({"op": "add", "n": 1}));
    let report = probation
        .rollback(BUDGET, OnDownFailure::Hold)
        .map_err(|e| e.1)
        .unwrap();
    assert_eq!(report.held.len(), 1);
    assert_eq!(node.status(&actor("probe.2"), SOON).unwrap().status, "held");
    node.terminate(&actor("probe.2"), "not needed", SOON)
        .unwrap();
    assert_eq!(node.actor_count(), 0);
}

#[test]
fn sys_terminate_of_a_module_ends_all_its_actors_and_no_others() {
    let node = boot(&[part("probe", "probe_v1", 50), part("other", "probe_v1", 1)]);
    let ended = node.terminate_module("probe", "shutdown", SOON).unwrap();
    assert_eq!((ended.actors, ended.gone), (50, 0));
    assert_eq!(node.actor_count(), 1);
    ask(&node, "other", json!({"op": "get"}));
}

#[test]
fn the_list_of_actors_is_paged_bounded_and_filtered_by_module_vsn_and_status() {
    let node = boot(&[part("probe", "probe_v1", 25), part("other", "probe_v1", 3)]);
    let all = Filter::default();
    let (mut cursor, mut seen, mut pages) = (0, Vec::new(), 0);
    loop {
        let page = node.list(&all, cursor, 10, SOON).unwrap();
        assert!(page.actors.len() <= 10);
        seen.extend(page.actors.into_iter().map(|a| a.pid));
        pages += 1;
        match page.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!((seen.len(), pages), (28, 3));
    let count = |module: Option<&str>, vsn: Option<&str>, status: Option<&str>| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let filter = Filter {
            module: owned(module),
            vsn: owned(vsn),
            status: owned(status),
        };
        node.list(&filter, 0, 1_000, SOON).unwrap().actors.len()
    };
    node.suspend(&actor("probe.3"), SOON).unwrap();
    assert_eq!(count(Some("other"), None, None), 3);
    assert_eq!(count(None, Some("1.0.0"), None), 28);
    assert_eq!(count(None, Some("9.9.9"), None), 0);
    assert_eq!(count(Some("probe"), Some("1.0.0"), Some("suspended")), 1);
    let to_v2 = change("probe", "1.0.0", "2.0.0", "probe_v2", json!({}));
    let _probation = upgrade(&node, order(&node, vec![to_v2])).unwrap();
    assert_eq!(count(None, Some("2.0.0"), None), 25, "idle actors too");
    assert_eq!(
        node.list(&all, 0, 1_001, SOON).unwrap_err().code(),
        "MF0360"
    );
    assert_eq!(node.list(&all, u64::MAX, 1, SOON).unwrap().actors.len(), 0);
}

#[test]
fn top_shows_the_busiest_actors_by_each_measure_and_no_more_than_asked_for() {
    let node = probes(30);
    node.suspend(&actor("probe.5"), SOON).unwrap();
    for _ in 0..9 {
        tell(&node, "probe.5", json!({}));
    }
    ask(&node, "probe.6", json!({"op": "grow", "bytes": 5_000}));
    let before = node.event_counts(SOON);
    for _ in 0..20 {
        ask(&node, "probe.7", json!({"op": "add", "n": 1}));
    }
    let first = |by| {
        let top = node.top(&before, by, None, 3, SOON).unwrap();
        assert_eq!((top.rows.len(), top.actors, top.busy), (3, 30, 0));
        (top.rows[0].status.name.clone(), top)
    };
    let (name, top) = first(TopBy::Mailbox);
    assert_eq!((name.as_str(), top.mailbox), ("probe.5", 9));
    assert_eq!(top.rows[0].status.mailbox, 9);
    let (name, top) = first(TopBy::Messages);
    assert_eq!(name, "probe.7");
    assert!(top.rows[0].per_second > 0.0 && top.rows[1].per_second == 0.0);
    assert!((top.per_second - top.rows[0].per_second).abs() < 1e-6);
    assert_eq!(first(TopBy::State).0, "probe.6");
    assert_eq!(first(TopBy::Events).0, "probe.7");
    assert!(try_ask(&node, "probe.9", json!({"op": "trap"})).is_err());
    let traps = node
        .top(&before, TopBy::Traps, Some("probe"), 1, SOON)
        .unwrap();
    assert_eq!((traps.rows[0].traps, traps.actors), (1, 29));
    let wrong = node.top(&before, TopBy::Mailbox, None, 0, SOON).map(drop);
    assert_eq!(wrong.unwrap_err().code(), "MF0360");
}

#[test]
fn the_node_in_numbers_counts_actors_by_status_mailboxes_and_what_was_lost() {
    let limits = Limits {
        mailbox: 10,
        ..limits()
    };
    let node = boot_with(limits, &[part("probe", "probe_v1", 4)]);
    node.suspend(&actor("probe.1"), SOON).unwrap();
    ask(
        &node,
        "probe.2",
        json!({"op": "cast", "to": "probe.1", "times": 12, "body": {}}),
    );
    let metrics = node.metrics();
    let of = |status| metrics.actors.iter().find(|a| a.0 == status).unwrap().1;
    assert_eq!((of("suspended"), of("parked"), of("held")), (1, 0, 0));
    assert_eq!(metrics.actors.iter().map(|a| a.1).sum::<u64>(), 4);
    assert_eq!((metrics.mailbox, metrics.mailbox_max), (10, 10));
    assert_eq!((metrics.overflows, metrics.dead_letters), (2, 2));
    assert_eq!(metrics.modules[0].actors, 4);
    let error = try_ask(&node, "probe.3", json!({"op": "grow", "bytes": 100_000}));
    assert!(error.is_err());
    let metrics = node.metrics();
    let hit = metrics
        .bounds
        .iter()
        .find(|b| b.0 == "state_bytes")
        .unwrap();
    assert_eq!(hit.1, 1);
    let version = &metrics.versions[0];
    assert_eq!((version.vsn.clone(), version.traps), (vsn("1.0.0"), 1));
}

#[test]
fn a_part_of_the_events_is_measured_by_the_version_that_handled_them() {
    let node = boot(&[
        part("counter", "counter_v1", 1),
        part("other", "probe_v1", 1),
    ]);
    let measured = |module: &str| {
        let all = node.measures();
        all.into_iter()
            .find(|m| &*m.module.to_string() == module)
            .unwrap()
    };
    let samples = |distribution: &[(u32, u64)]| distribution.iter().map(|(_, n)| n).sum::<u64>();
    // The mailbox is bounded: not all at once.
    for _ in 0..64 {
        for _ in 0..u64::from(midflight_runtime::ONE_IN) {
            node.cast(&actor("counter"), vec![0]).unwrap();
        }
        node.get_state(&actor("counter"), SOON).unwrap();
    }
    until("all are handled", || {
        measured("counter").versions[0].events >= 64 * 32
    });
    let counter = measured("counter");
    assert_eq!(counter.versions.len(), 1);
    let version = &counter.versions[0];
    assert_eq!(
        samples(&version.latency),
        64,
        "one in 32 that this thread sent"
    );
    assert_eq!(samples(&version.depth), 64);
    assert!(version.depth.iter().all(|(waiting, _)| *waiting >= 1));
    assert!(
        version.latency.iter().all(|(bucket, _)| *bucket > 0),
        "nothing takes no time"
    );
    assert_eq!(measured("other").versions[0].events, 0);

    let next = change("counter", "1.0.0", "2.0.0", "counter_v2", json!({}));
    let probation = upgrade(&node, order(&node, vec![next])).unwrap();
    let counter = measured("counter");
    let vsns: Vec<_> = counter.versions.iter().map(|v| v.vsn.to_string()).collect();
    assert_eq!(vsns, ["2.0.0", "1.0.0"]);
    assert_eq!(samples(&counter.versions[0].latency), 0);
    assert_eq!(samples(&counter.versions[1].latency), 64);
    for _ in 0..midflight_runtime::ONE_IN {
        node.cast(&actor("counter"), vec![0]).unwrap();
    }
    until("the new code measures its own", || {
        samples(&measured("counter").versions[0].latency) == 1
    });

    node.suspend(&actor("counter"), SOON).unwrap();
    (0..5).for_each(|_| node.cast(&actor("counter"), vec![0]).unwrap());
    let counter = measured("counter");
    assert_eq!((counter.mailbox, counter.mailbox_max), (5, 5));
    node.resume(&actor("counter"), SOON).unwrap();
    drop(probation);
}
