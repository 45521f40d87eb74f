//! Confirm, finish and rollback, whatever the rollout is in.

use midflight_proto::agent::v1::{self as pb, Phase, RollbackOutcome, StepStatus, UpgradeState};
use tonic::{Code, Status};

use crate::support::{ALL, Client, Node, Order, bundles::patch, failure, journal, key};

async fn confirm(
    client: &mut Client,
    key: &pb::Key,
    finish: bool,
) -> Result<pb::ConfirmResponse, Status> {
    let request = pb::ConfirmRequest {
        key: Some(key.clone()),
        finish,
        ..Default::default()
    };
    client
        .confirm(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn rollback(client: &mut Client, key: &pb::Key) -> Result<pb::RollbackResponse, Status> {
    let request = pb::RollbackRequest {
        key: Some(key.clone()),
        reason: "bad".into(),
        ..Default::default()
    };
    client
        .rollback(request)
        .await
        .map(tonic::Response::into_inner)
}

fn values(vsn: &str, value: i64) -> Vec<(String, i64)> {
    vec![(vsn.to_owned(), value); 3]
}

#[tokio::test]
async fn confirm_makes_the_release_permanent_and_asked_again_gives_the_same_answer() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    let mut client = node.operator().await;
    let first = confirm(&mut client, &key, false).await.unwrap();
    assert_eq!((first.state(), first.crashed), (UpgradeState::Confirmed, 2));
    assert_eq!(first.permanent.as_ref().unwrap().vsn, "2");
    let calls = node.control.calls();
    assert_eq!(confirm(&mut client, &key, false).await.unwrap(), first);
    assert_eq!(node.control.calls(), calls);

    let finished = confirm(&mut client, &key, true).await.unwrap();
    assert_eq!(finished.state(), UpgradeState::Finished);
    assert_eq!(confirm(&mut client, &key, true).await.unwrap(), finished);
    assert!(!node.control.is_open());
    node.restart().await;
    assert_eq!(
        confirm(&mut node.operator().await, &key, true)
            .await
            .unwrap(),
        finished
    );
    assert_eq!(node.releases().await, ("2".into(), "2".into()));
}

#[tokio::test]
async fn a_rollout_that_was_never_here_or_has_not_resumed_cannot_be_confirmed() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let patch = patch("1", "2");
    let (code, failed) = failure(confirm(&mut client, &key("never", &patch), false).await);
    assert_eq!((code, failed.code.as_str()), (Code::NotFound, "MF0423"));
    let key = node.staged("r", &patch).await;
    let _order = Order::open(&mut client, &key).await.unwrap();
    let (code, failed) = failure(confirm(&mut client, &key, false).await);
    assert_eq!(
        (code, failed.code.as_str(), failed.changed),
        (Code::FailedPrecondition, "MF0425", false)
    );
}

#[tokio::test]
async fn rollback_in_probation_puts_the_actors_back_and_asked_again_gives_the_same_answer() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    let mut client = node.operator().await;
    let first = rollback(&mut client, &key).await.unwrap();
    assert_eq!(first.outcome(), RollbackOutcome::RolledBack);
    assert_eq!(
        (
            first.current.as_ref().unwrap().vsn.as_str(),
            first.report.as_ref().unwrap().pinned
        ),
        ("1", 3)
    );
    assert_eq!(node.control.actors(), values("1", 10));
    let calls = node.control.calls();
    assert_eq!(rollback(&mut client, &key).await.unwrap(), first);
    assert_eq!(node.control.calls(), calls);
    node.restart().await;
    assert_eq!(
        rollback(&mut node.operator().await, &key).await.unwrap(),
        first
    );
    assert_eq!(
        failure(confirm(&mut node.operator().await, &key, false).await)
            .1
            .code,
        "MF0425"
    );
}

#[tokio::test]
async fn rollback_after_confirm_makes_the_older_release_permanent_again() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    let mut client = node.operator().await;
    confirm(&mut client, &key, false).await.unwrap();
    assert_eq!(
        rollback(&mut client, &key).await.unwrap().outcome(),
        RollbackOutcome::RolledBack
    );
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
    assert_eq!(node.control.actors(), values("1", 10));
    node.restart().await;
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
}

#[tokio::test]
async fn rollback_after_finish_is_a_transaction_down_to_the_release_before() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    let mut client = node.operator().await;
    confirm(&mut client, &key, true).await.unwrap();
    let first = rollback(&mut client, &key).await.unwrap();
    assert_eq!(
        (first.outcome(), first.report.as_ref().unwrap().migrated),
        (RollbackOutcome::RolledBack, 3)
    );
    assert_eq!(
        (node.control.actors(), node.control.is_open()),
        (values("1", 10), false)
    );
    assert!(node.control.calls().contains(&"begin Down".to_owned()));
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
    node.restart().await;
    assert_eq!(
        rollback(&mut node.operator().await, &key).await.unwrap(),
        first
    );
}

#[tokio::test]
async fn rollback_after_finish_works_after_a_restart_too() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    confirm(&mut node.operator().await, &key, true)
        .await
        .unwrap();
    node.restart().await;
    let done = rollback(&mut node.operator().await, &key).await.unwrap();
    assert_eq!(
        (done.outcome(), done.current.unwrap().vsn.as_str()),
        (RollbackOutcome::RolledBack, "1")
    );
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
}

#[tokio::test]
async fn a_rollback_that_fails_changes_nothing_and_can_be_asked_again() {
    for finish in [false, true] {
        let node = Node::start().await;
        let key = node.upgraded("r", &patch("1", "2")).await;
        let mut client = node.operator().await;
        confirm(&mut client, &key, finish).await.unwrap();
        let call = if finish { "migrate" } else { "rollback" };
        node.control.fail(call);
        assert_eq!(failure(rollback(&mut client, &key).await).1.code, "MF0399");
        assert_eq!(node.control.actors(), values("2", 110));
        assert_eq!(node.releases().await, ("2".into(), "2".into()));
        node.control.mend(call);
        assert_eq!(
            rollback(&mut client, &key).await.unwrap().outcome(),
            RollbackOutcome::RolledBack
        );
        assert_eq!(node.releases().await, ("1".into(), "1".into()));
    }
}

#[tokio::test]
async fn a_rollout_that_was_overtaken_is_superseded() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let first = node.upgraded("first", &patch("1", "2")).await;
    confirm(&mut client, &first, true).await.unwrap();
    let second = node.upgraded("second", &patch("2", "3")).await;
    assert_eq!(
        rollback(&mut client, &first).await.unwrap().outcome(),
        RollbackOutcome::Superseded
    );
    confirm(&mut client, &second, true).await.unwrap();
    let answer = rollback(&mut client, &first).await.unwrap();
    assert_eq!(
        (answer.outcome(), answer.current.unwrap().vsn.as_str()),
        (RollbackOutcome::Superseded, "3")
    );
    assert_eq!(node.control.actors(), values("3", 210));
}

#[tokio::test]
async fn a_rollback_before_resume_aborts_and_has_touched_nothing() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut order = Order::open_with(&mut client, &key, 60_000).await.unwrap();
    order.phases(&ALL[..2]).await;
    order.until(Phase::Suspend, StepStatus::Done).await;
    let answer = rollback(&mut client, &key).await.unwrap();
    assert_eq!(
        (answer.outcome(), answer.current.unwrap().vsn.as_str()),
        (RollbackOutcome::Untouched, "1")
    );
    order.until(Phase::Suspend, StepStatus::Aborted).await;
    assert_eq!(
        (node.control.actors(), node.control.is_open()),
        (values("1", 10), false)
    );
    assert_eq!(
        rollback(&mut client, &key).await.unwrap().outcome(),
        RollbackOutcome::Untouched
    );
}

#[tokio::test]
async fn a_rollback_that_overtakes_its_upgrade_keeps_it_from_running() {
    let mut node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let answer = rollback(&mut node.operator().await, &key).await.unwrap();
    assert_eq!(answer.outcome(), RollbackOutcome::Untouched);
    node.restart().await;
    let steps = Order::open(&mut node.operator().await, &key)
        .await
        .unwrap()
        .rest()
        .await;
    assert_eq!((steps.len(), steps[0].status()), (1, StepStatus::Aborted));
    assert_eq!(node.control.actors(), values("1", 10));
}

#[tokio::test]
async fn a_second_upgrade_after_a_first_and_the_way_back_over_it() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let first = node.upgraded("first", &patch("1", "2")).await;
    confirm(&mut client, &first, true).await.unwrap();
    let second = node.upgraded("second", &patch("2", "3")).await;
    confirm(&mut client, &second, true).await.unwrap();
    assert_eq!(node.control.actors(), values("3", 210));
    assert_eq!(
        rollback(&mut client, &second).await.unwrap().outcome(),
        RollbackOutcome::RolledBack
    );
    assert_eq!(node.releases().await, ("2".into(), "2".into()));
    // A downgrade by a patch of its own goes the same way as any upgrade.
    let down = node.upgraded("down", &patch("2", "1")).await;
    confirm(&mut client, &down, true).await.unwrap();
    assert_eq!(node.control.actors(), values("1", 10));
}

#[tokio::test]
async fn finishing_collects_what_nothing_needs_and_keeps_the_way_back() {
    let node = Node::start().await;
    let mut client = node.operator().await;
    let (one, two) = (patch("1", "2"), patch("2", "3"));
    let first = node.upgraded("first", &one).await;
    confirm(&mut client, &first, true).await.unwrap();
    let second = node.upgraded("second", &two).await;
    confirm(&mut client, &second, true).await.unwrap();
    let has = |text: &str| {
        let digest = midflight_patch::Digest::of(text.as_bytes());
        node.path("data/blobs").join(digest.hex()).exists()
    };
    assert!(!has("component counter 1"));
    assert!(
        has("component counter 2 ") && has("component counter 3 ") && has("component greeter 1")
    );
    let kinds: Vec<_> = journal(node.folder.path())
        .into_iter()
        .map(|entry| entry["kind"].clone())
        .collect();
    assert_eq!(kinds.last().unwrap(), "finished");
}

/// Beyond 15: several hops are one transaction, whose way back leads to where the node was, also after finish.
#[tokio::test]
async fn several_patches_are_one_upgrade_and_one_rollback() {
    let mut node = Node::start().await;
    let first = node.staged("r", &patch("1", "2")).await;
    let last = node.staged("r", &patch("2", "3")).await;
    let mut client = node.operator().await;
    let order = Order::open_through(&mut client, &last, 500, &[&first])
        .await
        .unwrap();
    order.phases(&ALL).await;
    let steps = order.rest().await;
    assert_eq!(steps.last().unwrap().phase(), Phase::Resume, "{steps:#?}");
    assert_eq!(node.releases().await, ("3".into(), "1".into()));
    let begun = |calls: Vec<String>| {
        calls
            .iter()
            .filter(|call| call.starts_with("begin"))
            .count()
    };
    assert_eq!(begun(node.control.calls()), 1);
    confirm(&mut client, &last, true).await.unwrap();
    node.restart().await;
    let back = rollback(&mut node.operator().await, &last).await.unwrap();
    assert_eq!(back.outcome(), RollbackOutcome::RolledBack);
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
    let kinds: Vec<_> = journal(node.folder.path())
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "opened").count(), 1);
}

#[tokio::test]
async fn patches_that_lead_nowhere_from_what_runs_are_refused_by_what_is_missing() {
    let node = Node::start().await;
    let first = node.staged("r", &patch("1", "2")).await;
    let last = node.staged("r", &patch("3", "4")).await;
    let mut client = node.operator().await;
    let refused = Order::open_through(&mut client, &last, 500, &[&first]).await;
    let (_, failure) = failure(refused.map(drop));
    assert_eq!(failure.code, "MF0263", "{failure:?}");
    assert!(
        failure.what.contains("4 is reached from 3 only"),
        "{failure:?}"
    );
    assert!(failure.refused && !failure.changed);
}
