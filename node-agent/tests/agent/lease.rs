//! A node in probation whose controller is silent.

use midflight_proto::agent::v1::{
    self as pb, OnLostContact, RollbackOutcome, StepStatus, UpgradeState,
};

use crate::support::{Node, Order, bundles::patch, failure, journal, within};

fn lease(lease_ms: u32, on_lost_contact: OnLostContact) -> pb::UpgradeOpen {
    pb::UpgradeOpen {
        lease_ms,
        on_lost_contact: on_lost_contact.into(),
        ..Default::default()
    }
}

fn confirm(key: &pb::Key) -> pb::ConfirmRequest {
    pb::ConfirmRequest {
        key: Some(key.clone()),
        ..Default::default()
    }
}

fn renew(key: &pb::Key) -> pb::RenewRequest {
    pb::RenewRequest {
        key: Some(key.clone()),
        epoch: 1,
    }
}

#[tokio::test]
async fn a_node_that_hears_nothing_rolls_back_by_itself_and_says_why() {
    let node = Node::start().await;
    let order = lease(50, OnLostContact::Rollback);
    let key = node.upgraded_as("r", &patch("1", "2"), order).await;
    let asked = node
        .until_asked(&key, |asked| asked.state() == UpgradeState::RolledBack)
        .await;
    let why = asked.failure.unwrap();
    assert_eq!(why.code, "MF0445");
    assert!(why.what.contains("50 ms"), "{why}");
    assert_eq!(node.control.actors()[0], ("1".into(), 10));
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
    assert!(node.described(None).await.claims.is_empty());

    let mut client = node.operator().await;
    assert_eq!(
        failure(client.confirm(confirm(&key)).await).1.code,
        "MF0445"
    );
    assert_eq!(failure(client.renew(renew(&key)).await).1.code, "MF0445");
    let request = pb::RollbackRequest {
        key: Some(key.clone()),
        ..Default::default()
    };
    let answer = client.rollback(request).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), RollbackOutcome::RolledBack);
    let steps = Order::open(&mut client, &key).await.unwrap().rest().await;
    let last = steps.last().unwrap();
    assert_eq!(
        (last.phase(), last.status()),
        (pb::Phase::Rollback, StepStatus::Done)
    );
    assert_eq!(last.failure.as_ref().unwrap().code, "MF0445");

    let entries = journal(node.folder.path());
    let at = |kind: &str| entries.iter().position(|entry| entry["kind"] == kind);
    let (ended, back) = (at("lease_expired").unwrap(), at("rolling_back").unwrap());
    assert!(ended < back);
    assert_eq!(entries[ended]["terms"]["lease_ms"], 50);
    assert_eq!(entries[back]["order"]["peer"], "the agent itself");
}

#[tokio::test]
async fn a_confirm_that_comes_while_the_node_goes_back_is_told_that_it_lost() {
    let node = Node::start().await;
    node.control.hold("rollback");
    let order = lease(50, OnLostContact::Rollback);
    let key = node.upgraded_as("r", &patch("1", "2"), order).await;
    node.control.called("rollback").await;
    let mut client = node.operator().await;
    let confirmed = client.confirm(confirm(&key));
    let let_go = async { node.control.let_go("rollback") };
    let (confirmed, ()) = tokio::join!(confirmed, let_go);
    assert_eq!(failure(confirmed).1.code, "MF0445");
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
}

#[tokio::test]
async fn a_confirm_in_time_ends_the_lease() {
    let node = Node::start().await;
    let order = lease(60_000, OnLostContact::Rollback);
    let key = node.upgraded_as("r", &patch("1", "2"), order).await;
    let claim = node.described(None).await.claims.remove(0);
    let lease = claim.lease.unwrap();
    assert!((50_000..=60_000).contains(&lease.left_ms), "{lease:?}");
    let mut client = node.operator().await;
    let renewed = client.renew(renew(&key)).await.unwrap().into_inner();
    assert!(renewed.lease.unwrap().left_ms > 59_000);
    client.confirm(confirm(&key)).await.unwrap();
    let renewed = client.renew(renew(&key)).await.unwrap().into_inner();
    assert_eq!(renewed.state(), UpgradeState::Confirmed);
    let lease = renewed.lease.unwrap();
    assert_eq!((lease.left_ms, lease.expired), (0, false));
}

#[tokio::test]
async fn a_node_that_holds_says_that_it_heard_nothing_and_takes_orders_all_the_same() {
    let node = Node::start().await;
    let key = node
        .upgraded_as("r", &patch("1", "2"), lease(50, OnLostContact::Hold))
        .await;
    let expired = |asked: &pb::UpgradeStatus| asked.lease.is_some_and(|lease| lease.expired);
    let asked = node.until_asked(&key, expired).await;
    assert_eq!(asked.state(), UpgradeState::Probation);
    assert_eq!(node.control.actors()[0], ("2".into(), 110));
    // Renewed, it runs again, and can run out again.
    let mut client = node.operator().await;
    let renewed = client.renew(renew(&key)).await.unwrap().into_inner();
    assert!(!renewed.lease.unwrap().expired);
    node.until_asked(&key, expired).await;
    client.confirm(confirm(&key)).await.unwrap();
    assert_eq!(node.releases().await, ("2".into(), "2".into()));
}

#[tokio::test]
async fn whoever_watches_is_told_of_claims_and_of_a_lease_that_ran_out() {
    let node = Node::start().await;
    let mut watcher = node.client("viewer").await;
    let watched = pb::WatchEventsRequest { from_seq: 1 };
    let mut events = watcher.watch_events(watched).await.unwrap().into_inner();
    let order = lease(50, OnLostContact::Rollback);
    node.upgraded_as("r", &patch("1", "2"), order).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = within(events.message()).await.unwrap().unwrap();
        if event.kind == "claim" || event.kind == "lease" {
            told.push(event.text);
        }
    }
    assert!(
        told[0].contains("rollout r has the claim on app"),
        "{told:?}"
    );
    assert!(told[1].contains("the node rolls back"), "{told:?}");
}

#[tokio::test]
async fn a_lease_of_more_than_a_day_is_refused() {
    let node = Node::start().await;
    let key = node.staged("r", &patch("1", "2")).await;
    let open = pb::UpgradeOpen {
        key: Some(key),
        ..lease(86_400_001, OnLostContact::Rollback)
    };
    let opened = Order::open_as(&mut node.operator().await, open).await;
    assert_eq!(failure(opened.map(|_| ())).1.code, "MF0415");
}
