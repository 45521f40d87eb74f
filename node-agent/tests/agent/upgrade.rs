//! The transaction as its controller drives it.

use std::time::Duration;

use midflight_proto::agent::v1::{self as pb, Phase, StepStatus};
use tonic::Code;

use crate::support::{
    ALL, Node, Order,
    bundles::{patch, patch_with},
    failure, journal, within,
};

fn upgraded() -> Vec<(String, i64)> {
    vec![("2".to_owned(), 110); 3]
}

fn untouched() -> Vec<(String, i64)> {
    vec![("1".to_owned(), 10); 3]
}

fn kinds(node: &Node) -> Vec<String> {
    journal(node.folder.path())
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn all_phases_in_one_message_lead_to_probation_and_stay_revocable() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut order = Order::open(&mut node.operator().await, &key).await.unwrap();
    order.phases(&ALL).await;
    let mut steps = Vec::new();
    for phase in ALL {
        for status in [StepStatus::Started, StepStatus::Done] {
            let step = order.step().await;
            assert_eq!((step.phase(), step.status()), (phase, status));
            steps.push(step);
        }
    }
    assert!(order.rest().await.is_empty());
    assert_eq!(
        steps.iter().map(|step| step.seq).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>()
    );
    assert_eq!(steps[1].prepared.unwrap().actors, 3);
    assert_eq!(steps[9].resumed.unwrap().migrated_in_pause, 1);
    assert_eq!(node.control.actors(), upgraded());
    assert_eq!(node.releases().await, ("2".into(), "1".into()));
    assert_eq!(
        kinds(&node),
        [
            "installed",
            "boot",
            "staged",
            "opened",
            "suspending",
            "resumed"
        ]
    );

    let mut viewer = node.client("viewer").await;
    let upgrade = viewer
        .describe(pb::DescribeRequest::default())
        .await
        .unwrap()
        .into_inner()
        .upgrade
        .unwrap();
    assert_eq!(
        (upgrade.state(), upgrade.health.unwrap().events),
        (pb::UpgradeState::Probation, 7)
    );
    assert_eq!(
        (upgrade.from.unwrap().vsn, upgrade.to.unwrap().vsn),
        ("1".into(), "2".into())
    );
}

#[tokio::test]
async fn phases_can_be_opened_one_by_one() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut order = Order::open_with(&mut node.operator().await, &key, 60_000)
        .await
        .unwrap();
    for phase in ALL {
        order.phases(&[phase]).await;
        order.until(phase, StepStatus::Done).await;
    }
    assert_eq!(node.control.actors(), upgraded());
}

#[tokio::test]
async fn a_second_upgrade_is_refused_and_told_who_holds_the_node() {
    let node = Node::start().await;
    let first = node.staged("first", &patch("1", "2")).await;
    let second = node.staged("second", &patch("1", "3")).await;
    let mut client = node.operator().await;
    let order = Order::open(&mut client, &first).await.unwrap();
    for open in [
        second.clone(),
        pb::Key {
            attempt: 2,
            ..first.clone()
        },
        first.clone(),
    ] {
        let (code, failure) = failure(Order::open(&mut client, &open).await.map(|_| ()));
        assert_eq!(
            (code, failure.code.as_str()),
            (Code::FailedPrecondition, "MF0419")
        );
        assert!(
            failure.refused && failure.what.contains("rollout first (attempt 1)"),
            "{failure}"
        );
    }
    // Also in probation.
    order.phases(&ALL).await;
    order.rest().await;
    let (_, failure) = failure(Order::open(&mut client, &second).await.map(|_| ()));
    assert!(failure.what.contains("probation"), "{failure}");
    assert_eq!(node.control.actors(), upgraded());
}

#[tokio::test]
async fn the_same_upgrade_asked_again_is_told_what_happened_and_not_run_again() {
    let node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    let calls = node.control.calls();
    let again = Order::open(&mut node.operator().await, &key).await.unwrap();
    let steps = again.rest().await;
    assert_eq!(steps.len(), 1);
    assert_eq!(
        (steps[0].phase(), steps[0].status()),
        (Phase::Resume, StepStatus::Done)
    );
    assert_eq!(steps[0].resumed.unwrap().actors, 3);
    assert_eq!(node.control.calls(), calls);
}

#[tokio::test]
async fn a_patch_from_another_release_than_the_one_that_runs_is_refused() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("7", "8")).await;
    let (code, failure) = failure(
        Order::open(&mut node.operator().await, &key)
            .await
            .map(|_| ()),
    );
    assert_eq!(
        (code, failure.code.as_str(), failure.refused),
        (Code::FailedPrecondition, "MF0224", true)
    );
    assert_eq!(kinds(&node).last().unwrap(), "refused");
}

#[tokio::test]
async fn a_failing_code_change_leaves_everything_as_it_was_and_names_the_actor() {
    let node = Node::start().await;
    let key = node.staged("r", &patch_with("1", "2", "fails")).await;
    let mut client = node.operator().await;
    let order = Order::open(&mut client, &key).await.unwrap();
    order.phases(&ALL).await;
    let steps = order.rest().await;
    let [failed, aborted] = &steps[steps.len() - 2..] else {
        panic!()
    };
    assert_eq!(
        (failed.phase(), failed.status()),
        (Phase::Prepare, StepStatus::Failed)
    );
    let told = failed.failure.as_ref().unwrap();
    assert_eq!(
        (
            told.code.as_str(),
            told.changed,
            told.actors[0].name.as_str()
        ),
        ("MF0304", false, "counter.2")
    );
    assert_eq!(aborted.status(), StepStatus::Aborted);
    assert_eq!(
        (node.control.actors(), node.control.is_open()),
        (untouched(), false)
    );

    // Asked again, it says so again; a new attempt is a new transaction.
    let again = Order::open(&mut client, &key).await.unwrap().rest().await;
    assert_eq!(
        (again.len(), again[0].status(), &again[0].failure),
        (1, StepStatus::Aborted, &failed.failure)
    );
    Order::open(&mut client, &pb::Key { attempt: 2, ..key })
        .await
        .unwrap();
}

#[tokio::test]
async fn each_phase_that_fails_aborts_and_the_next_upgrade_goes_through() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let mut key = node.staged("r", &patch("1", "2")).await;
    for phase in ALL {
        let call = format!("{phase:?}").to_lowercase();
        node.control.fail(&call);
        let order = Order::open(&mut client, &key).await.unwrap();
        order.phases(&ALL).await;
        let steps = order.rest().await;
        let last = steps.last().unwrap();
        assert_eq!((last.phase(), last.status()), (phase, StepStatus::Aborted));
        assert_eq!(
            (node.control.actors(), node.control.is_open()),
            (untouched(), false)
        );
        node.control.mend(&call);
        key.attempt += 1;
    }
    let order = Order::open(&mut client, &key).await.unwrap();
    order.phases(&ALL).await;
    order.rest().await;
    assert_eq!(node.control.actors(), upgraded());
}

#[tokio::test]
async fn a_stream_that_breaks_before_resume_aborts() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut order = Order::open_with(&mut node.operator().await, &key, 60_000)
        .await
        .unwrap();
    order.phases(&ALL[..2]).await;
    order.until(Phase::Suspend, StepStatus::Done).await;
    drop(order);
    node.control.closed().await;
    assert_eq!(
        (node.control.actors(), node.control.is_open()),
        (untouched(), false)
    );
}

#[tokio::test]
async fn a_stream_that_breaks_while_a_phase_runs_aborts_after_it() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    node.control.hold("prepare");
    let order = Order::open(&mut node.operator().await, &key).await.unwrap();
    order.phases(&ALL).await;
    node.control.called("prepare").await;
    let mut viewer = node.client("viewer").await;
    let mut events = viewer
        .watch_events(pb::WatchEventsRequest { from_seq: 1 })
        .await
        .unwrap()
        .into_inner();
    drop(order);
    loop {
        let event = within(events.message()).await.unwrap().unwrap();
        match event.step.map(|step| (step.phase(), step.status())) {
            // Only once the agent has noticed may the phase end.
            None if event.text.contains("stream broke") => node.control.let_go("prepare"),
            Some((_, StepStatus::Aborted)) => break,
            Some((Phase::Suspend, _)) => panic!("it went on without its controller"),
            _ => {}
        }
    }
    assert_eq!(node.control.actors(), untouched());
}

#[tokio::test]
async fn a_controller_that_stays_away_in_the_pause_meets_the_watchdog() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut order = Order::open_with(&mut node.operator().await, &key, 50)
        .await
        .unwrap();
    order.phases(&ALL[..2]).await;
    let failed = order
        .until(Phase::Suspend, StepStatus::Failed)
        .await
        .failure
        .unwrap();
    assert_eq!((failed.code.as_str(), failed.changed), ("MF0421", false));
    let aborted = order.until(Phase::Suspend, StepStatus::Aborted).await;
    assert_eq!(aborted.failure.unwrap().code, "MF0421");
    assert_eq!(
        (node.control.actors(), node.control.is_open()),
        (untouched(), false)
    );
}

#[tokio::test]
async fn a_phase_that_outlasts_the_pause_budget_is_the_last_one() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    node.control.hold("load");
    let mut order = Order::open_with(&mut node.operator().await, &key, 20)
        .await
        .unwrap();
    order.phases(&ALL).await;
    node.control.called("load").await;
    node.control.pretend_suspended(Duration::from_millis(21));
    node.control.let_go("load");
    let aborted = order.until(Phase::Migrate, StepStatus::Aborted).await;
    assert_eq!(aborted.failure.unwrap().code, "MF0421");
    assert_eq!(node.control.actors(), untouched());
}

#[tokio::test]
async fn a_controller_can_abort_and_its_reason_is_written_down() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut order = Order::open_with(&mut node.operator().await, &key, 60_000)
        .await
        .unwrap();
    order.phases(&ALL[..3]).await;
    order.until(Phase::Load, StepStatus::Done).await;
    order.abort("another node failed").await;
    let aborted = order
        .until(Phase::Load, StepStatus::Aborted)
        .await
        .failure
        .unwrap();
    assert!(aborted.what.contains("another node failed"), "{aborted}");
    assert_eq!(
        (node.control.actors(), node.control.is_open()),
        (untouched(), false)
    );
    let last = journal(node.folder.path()).pop().unwrap();
    assert_eq!(last["kind"], "aborted");
    assert!(
        last["failure"]["what"]
            .as_str()
            .unwrap()
            .contains("another node failed")
    );
}

#[tokio::test]
async fn a_phase_out_of_order_aborts() {
    for phases in [
        vec![Phase::Suspend],
        vec![Phase::Prepare, Phase::Resume],
        vec![Phase::Confirm],
    ] {
        let node = Node::start().await;
        let key = node.staged("r", &patch("1", "2")).await;
        let order = Order::open(&mut node.operator().await, &key).await.unwrap();
        order.phases(&phases).await;
        let steps = order.rest().await;
        let failed = steps.last().unwrap().failure.as_ref().unwrap();
        assert!(
            failed.code == "MF0420" || failed.what.contains("cannot come here"),
            "{failed}"
        );
        assert_eq!(
            (node.control.actors(), node.control.is_open()),
            (untouched(), false)
        );
    }
}

#[tokio::test]
async fn an_agent_that_stops_aborts_what_has_not_resumed_and_drains() {
    let mut node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut order = Order::open_with(&mut node.operator().await, &key, 60_000)
        .await
        .unwrap();
    order.phases(&ALL[..2]).await;
    order.until(Phase::Suspend, StepStatus::Done).await;
    let stop = node.server.take().unwrap().stop();
    assert!(within(stop).await);
    let calls = node.control.calls();
    assert_eq!(calls[calls.len() - 2..], ["abort", "drain"]);
    assert_eq!(node.control.actors(), untouched());
    assert!(!node.path("agent.sock").exists());
}
