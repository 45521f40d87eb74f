//! Who may change the node: one rollout, and of that one its latest controller process.

use midflight_proto::agent::v1::{self as pb, Phase, RollbackOutcome, StepStatus, UpgradeState};
use tonic::{Code, Status};

use crate::support::{ALL, Client, Node, Order, bundles::patch, failure, header, journal, send};

async fn confirm(client: &mut Client, key: &pb::Key, epoch: u64) -> Result<UpgradeState, Status> {
    let request = pb::ConfirmRequest {
        key: Some(key.clone()),
        epoch,
        ..Default::default()
    };
    let answer = client.confirm(request).await?;
    Ok(answer.into_inner().state())
}

async fn rollback(
    client: &mut Client,
    key: &pb::Key,
    epoch: u64,
) -> Result<RollbackOutcome, Status> {
    let request = pb::RollbackRequest {
        key: Some(key.clone()),
        epoch,
        ..Default::default()
    };
    let answer = client.rollback(request).await?;
    Ok(answer.into_inner().outcome())
}

async fn renew(
    client: &mut Client,
    key: &pb::Key,
    epoch: u64,
) -> Result<pb::RenewResponse, Status> {
    let request = pb::RenewRequest {
        key: Some(key.clone()),
        epoch,
    };
    client.renew(request).await.map(tonic::Response::into_inner)
}

fn open(key: &pb::Key, supersede: &str) -> pb::UpgradeOpen {
    pb::UpgradeOpen {
        key: Some(key.clone()),
        supersede: supersede.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_order_of_an_earlier_epoch_is_refused_and_told_who_took_over_also_after_a_restart() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    let claims = node.described(None).await.claims;
    assert_eq!(claims.len(), 1);
    assert_eq!(
        (
            claims[0].application.as_str(),
            claims[0].rollout_id.as_str(),
            claims[0].epoch
        ),
        ("app", "r", 1)
    );

    let mut client = node.operator().await;
    assert_eq!(
        renew(&mut client, &key, 2).await.unwrap().state(),
        UpgradeState::Probation
    );
    assert_eq!(node.described(None).await.claims[0].epoch, 2);
    let last = journal(node.folder.path()).pop().unwrap();
    assert_eq!(
        (last["kind"].as_str(), last["order"]["epoch"].as_u64()),
        (Some("claimed"), Some(2))
    );

    let (code, late) = failure(confirm(&mut client, &key, 1).await);
    assert_eq!(
        (code, late.code.as_str()),
        (Code::FailedPrecondition, "MF0441")
    );
    assert!(late.refused && !late.changed);
    assert!(
        late.what.contains("epoch 2") && late.what.contains("an order of controller"),
        "{late}"
    );
    assert_eq!(
        failure(rollback(&mut client, &key, 1).await).1.code,
        "MF0441"
    );
    assert_eq!(failure(renew(&mut client, &key, 0).await).1.code, "MF0441");
    let mut signed = patch("1", "2");
    node.signers.sign(&mut signed, "ann");
    let stage = send(&mut client, vec![header(&key, &signed)]).await;
    assert_eq!(failure(stage).1.code, "MF0441");
    let next = pb::Key {
        attempt: 2,
        ..key.clone()
    };
    let opened = Order::open(&mut client, &next).await;
    assert_eq!(failure(opened.map(|_| ())).1.code, "MF0441");

    assert_eq!(
        confirm(&mut client, &key, 2).await.unwrap(),
        UpgradeState::Confirmed
    );
    node.restart().await;
    let mut client = node.operator().await;
    assert_eq!(
        failure(rollback(&mut client, &key, 1).await).1.code,
        "MF0441"
    );
    assert_eq!(
        rollback(&mut client, &key, 3).await.unwrap(),
        RollbackOutcome::RolledBack
    );
}

#[tokio::test]
async fn a_later_process_that_takes_over_aborts_what_an_earlier_one_has_open() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let mut client = node.operator().await;
    let mut order = Order::open(&mut client, &key).await.unwrap();
    order.phases(&[Phase::Prepare]).await;
    order.until(Phase::Prepare, StepStatus::Done).await;
    renew(&mut client, &key, 2).await.unwrap();
    let steps = order.rest().await;
    let last = steps.last().unwrap();
    assert_eq!(last.status(), StepStatus::Aborted);
    let why = last.failure.as_ref().unwrap();
    assert!(why.what.contains("epoch 2 took the rollout over"), "{why}");
    // What it asks next, it is told.
    let open = pb::UpgradeOpen {
        epoch: 2,
        ..open(&key, "")
    };
    let steps = Order::open_as(&mut client, open)
        .await
        .unwrap()
        .rest()
        .await;
    assert_eq!(steps.last().unwrap().status(), StepStatus::Aborted);
}

#[tokio::test]
async fn another_rollout_takes_the_claim_only_if_it_names_the_one_that_has_it() {
    let node = Node::start().await;
    let first = node.upgraded("first", &patch("1", "2")).await;
    let second = node.staged("second", &patch("1", "3")).await;
    let mut client = node.operator().await;
    for named in ["", "another"] {
        let opened = Order::open_as(&mut client, open(&second, named)).await;
        let (_, held) = failure(opened.map(|_| ()));
        assert_eq!(held.code, "MF0419");
        assert!(
            held.what.contains("first") && held.what.contains("epoch 1"),
            "{held}"
        );
    }
    assert_eq!(node.control.actors()[0], ("2".into(), 110));

    let order = Order::open_as(&mut client, open(&second, "first"))
        .await
        .unwrap();
    assert_eq!(node.control.actors()[0], ("1".into(), 10));
    order.phases(&ALL).await;
    order.rest().await;
    assert_eq!(node.control.actors()[0], ("3".into(), 210));
    let (_, late) = failure(confirm(&mut client, &first, 1).await);
    assert_eq!(late.code, "MF0442");
    assert!(late.what.contains("second"), "{late}");
    let asked = node.described(Some(&first)).await.asked.unwrap();
    assert_eq!(asked.state(), UpgradeState::RolledBack);
    assert_eq!(asked.failure.unwrap().code, "MF0442");
    let kinds: Vec<_> = journal(node.folder.path())
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap().to_owned())
        .collect();
    let at = |kind: &str| kinds.iter().position(|one| one == kind).unwrap();
    assert!(at("superseding") < at("rolling_back"));
}

#[tokio::test]
async fn a_confirmed_rollout_that_is_superseded_is_finished_and_built_upon() {
    let node = Node::start().await;
    let first = node.upgraded("first", &patch("1", "2")).await;
    let mut client = node.operator().await;
    confirm(&mut client, &first, 1).await.unwrap();
    let second = node.staged("second", &patch("2", "3")).await;
    let order = Order::open_as(&mut client, open(&second, "first"))
        .await
        .unwrap();
    order.phases(&ALL).await;
    order.rest().await;
    let asked = node.described(Some(&first)).await.asked.unwrap();
    assert_eq!(asked.state(), UpgradeState::Finished);
    assert_eq!(node.releases().await, ("3".into(), "2".into()));
}

#[tokio::test]
async fn a_rollout_that_has_not_resumed_is_aborted_when_it_is_superseded() {
    let node = Node::start().await;
    let first = node.staged("first", &patch("1", "2")).await;
    let second = node.staged("second", &patch("1", "3")).await;
    let mut client = node.operator().await;
    let mut waiting = Order::open(&mut client, &first).await.unwrap();
    waiting.phases(&[Phase::Prepare]).await;
    waiting.until(Phase::Prepare, StepStatus::Done).await;
    let order = Order::open_as(&mut client, open(&second, "first"))
        .await
        .unwrap();
    let aborted = waiting.rest().await;
    let why = aborted.last().unwrap().failure.clone().unwrap();
    assert!(why.what.contains("supersedes"), "{why}");
    order.phases(&ALL).await;
    assert_eq!(order.rest().await.last().unwrap().phase(), Phase::Resume);
}

#[tokio::test]
async fn an_order_that_would_be_refused_anyway_ends_no_claim() {
    let node = Node::start().await;
    let first = node.upgraded("first", &patch("1", "2")).await;
    let mut client = node.operator().await;
    // Not staged; and staged, but from a release that the node would not run.
    let mut other = patch("1", "3");
    node.signers.sign(&mut other, "ann");
    let not_staged = crate::support::key("second", &other);
    let opened = Order::open_as(&mut client, open(&not_staged, "first")).await;
    assert_eq!(failure(opened.map(|_| ())).1.code, "MF0418");
    let misfit = node.staged("second", &patch("2", "3")).await;
    let opened = Order::open_as(&mut client, open(&misfit, "first")).await;
    assert!(failure(opened.map(|_| ())).1.refused);
    assert_eq!(
        renew(&mut client, &first, 1).await.unwrap().state(),
        UpgradeState::Probation
    );
}
