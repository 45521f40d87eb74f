//! What a node is after a crash: exactly what was promised before it.

use std::fs;

use midflight_proto::agent::v1::{self as pb, Phase, RollbackOutcome, StepStatus};

use crate::support::{
    ALL, Node, Order,
    bundles::{patch, release},
    failure, journal,
};

#[tokio::test]
async fn a_node_that_dies_in_probation_boots_the_old_release_and_says_what_became_of_the_rollout() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    assert_eq!(node.releases().await, ("2".into(), "1".into()));
    node.restart().await;
    assert_eq!(node.control.calls()[0], "boot 1");
    assert_eq!(node.releases().await, ("1".into(), "1".into()));

    let mut client = node.operator().await;
    let (_, failed) = failure(
        client
            .confirm(pb::ConfirmRequest {
                key: Some(key.clone()),
                finish: false,
                ..Default::default()
            })
            .await,
    );
    assert_eq!(failed.code, "MF0424");
    let steps = Order::open(&mut client, &key).await.unwrap().rest().await;
    assert_eq!(
        (steps[0].phase(), steps[0].status()),
        (Phase::Resume, StepStatus::Done)
    );
    assert_eq!(
        (
            steps[1].phase(),
            steps[1].failure.as_ref().unwrap().code.as_str()
        ),
        (Phase::Rollback, "MF0424")
    );
    let rollback = pb::RollbackRequest {
        key: Some(key.clone()),
        ..Default::default()
    };
    let answer = client.rollback(rollback).await.unwrap().into_inner();
    assert_eq!(
        (answer.outcome(), answer.current.unwrap().vsn.as_str()),
        (RollbackOutcome::RolledBack, "1")
    );

    // A new attempt goes through: what was staged is still here.
    let order = Order::open(&mut client, &pb::Key { attempt: 2, ..key })
        .await
        .unwrap();
    order.phases(&ALL).await;
    order.rest().await;
    assert_eq!(node.releases().await, ("2".into(), "1".into()));
}

#[tokio::test]
async fn a_node_that_dies_after_confirm_boots_the_new_release() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    node.operator()
        .await
        .confirm(pb::ConfirmRequest {
            key: Some(key),
            finish: false,
            ..Default::default()
        })
        .await
        .unwrap();
    node.restart().await;
    assert_eq!(node.control.calls()[0], "boot 2");
    assert_eq!(node.releases().await, ("2".into(), "2".into()));
}

#[tokio::test]
async fn the_release_bundle_is_used_only_on_an_empty_node() {
    let mut node = Node::start().await;
    fs::write(node.path("release.tar"), b"rubbish").unwrap();
    node.restart().await;
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
}

#[tokio::test]
async fn a_release_bundle_that_is_unsigned_or_altered_is_not_booted_and_a_good_one_after_it_is() {
    let mut node = Node::prepare("");
    let good = fs::read(node.path("release.tar")).unwrap();
    release().write(&node.path("release.tar")).unwrap();
    assert_eq!(node.boot().await.unwrap_err().code(), "MF0213");
    fs::write(node.path("release.tar"), &good[..good.len() / 2]).unwrap();
    assert!(node.boot().await.unwrap_err().code().starts_with("MF02"));
    assert!(node.control.calls().is_empty());
    fs::write(node.path("release.tar"), good).unwrap();
    node.boot().await.unwrap();
}

#[tokio::test]
async fn a_second_agent_on_the_same_data_directory_is_refused() {
    let mut node = Node::start().await;
    let first = node.server.take();
    assert_eq!(node.boot().await.unwrap_err().code(), "MF0405");
    // The first one serves on, also on its Unix socket.
    tokio::net::UnixStream::connect(node.path("agent.sock"))
        .await
        .unwrap();
    first.unwrap().stop().await;
}

#[tokio::test]
async fn a_torn_journal_line_is_cut_off_and_said() {
    let mut node = Node::start().await;
    node.server.take().unwrap().stop().await;
    let path = node.path("data/journal");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"seq\":3,\"time_ns\":1");
    fs::write(&path, text).unwrap();
    node.boot().await.unwrap();
    let mut viewer = node.client("viewer").await;
    let mut events = viewer
        .watch_events(pb::WatchEventsRequest { from_seq: 1 })
        .await
        .unwrap()
        .into_inner();
    let first = events.message().await.unwrap().unwrap();
    assert!(first.text.contains("20 bytes"), "{}", first.text);
    assert_eq!(journal(node.folder.path()).len(), 3);
}

#[tokio::test]
async fn an_altered_journal_keeps_the_agent_from_starting_and_names_the_line() {
    let mut node = Node::start().await;
    node.server.take().unwrap().stop().await;
    let path = node.path("data/journal");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"counter\"", "\"gadget1\"", 1)).unwrap();
    let error = node.boot().await.unwrap_err();
    assert_eq!(error.code(), "MF0406");
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[tokio::test]
async fn a_damaged_blob_of_the_permanent_release_is_not_booted() {
    let mut node = Node::start().await;
    node.server.take().unwrap().stop().await;
    let digest = midflight_patch::Digest::of(b"component counter 1");
    fs::write(
        node.path("data/blobs").join(digest.hex()),
        b"component counter x",
    )
    .unwrap();
    assert_eq!(node.boot().await.unwrap_err().code(), "MF0410");
    assert!(node.control.calls().is_empty());
}
