//! The releases on a node, in OTP's words, and what may be removed.

use midflight_proto::agent::v1::{self as pb, ReleaseState};

use crate::support::{Client, Node, bundles::patch, failure};

async fn releases(client: &mut Client) -> Vec<(String, ReleaseState)> {
    let answer = client.releases(pb::ReleasesRequest {}).await.unwrap();
    named(answer.into_inner().releases)
}

fn named(releases: Vec<pb::ReleaseStatus>) -> Vec<(String, ReleaseState)> {
    let named = |status: pb::ReleaseStatus| {
        let state = status.state();
        assert!(status.bytes > 0);
        (status.release.unwrap().vsn, state)
    };
    releases.into_iter().map(named).collect()
}

fn remove(vsn: &str) -> pb::RemoveReleaseRequest {
    pb::RemoveReleaseRequest {
        vsn: vsn.into(),
        digest: String::new(),
    }
}

fn confirm(key: &pb::Key, finish: bool) -> pb::ConfirmRequest {
    pb::ConfirmRequest {
        key: Some(key.clone()),
        finish,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_release_is_unpacked_then_current_then_permanent_and_the_one_before_is_old() {
    use ReleaseState::{Current, Old, Permanent, Unpacked};
    let node = Node::start().await;
    let mut client = node.operator().await;
    let state = |vsn: &str, state| (vsn.to_owned(), state);
    assert_eq!(releases(&mut client).await, [state("1", Permanent)]);
    node.staged("r", &patch("1", "2")).await;
    node.staged("later", &patch("2", "3")).await;
    let all = [
        state("1", Permanent),
        state("2", Unpacked),
        state("3", Unpacked),
    ];
    assert_eq!(releases(&mut client).await, all);
    let key = node.upgraded("r", &patch("1", "2")).await;
    let all = [
        state("1", Permanent),
        state("2", Current),
        state("3", Unpacked),
    ];
    assert_eq!(releases(&mut client).await, all);
    client.confirm(confirm(&key, true)).await.unwrap();
    let all = [state("2", Permanent), state("1", Old), state("3", Unpacked)];
    assert_eq!(releases(&mut client).await, all);
}

#[tokio::test]
async fn what_boots_runs_or_is_needed_cannot_be_removed_and_the_rest_can() {
    let mut node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    node.staged("later", &patch("2", "3")).await;
    let mut client = node.operator().await;
    for vsn in ["1", "2"] {
        let (_, needed) = failure(client.remove_release(remove(vsn)).await);
        assert_eq!(
            (needed.code.as_str(), needed.refused),
            ("MF0444", true),
            "{needed}"
        );
    }
    assert_eq!(
        failure(client.remove_release(remove("9")).await).1.code,
        "MF0443"
    );
    assert_eq!(
        failure(client.remove_release(remove("")).await).1.code,
        "MF0443"
    );
    let mut viewer = node.client("viewer").await;
    assert_eq!(
        failure(viewer.remove_release(remove("3")).await).1.code,
        "MF0416"
    );

    let left = client
        .remove_release(remove("3"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(named(left.releases).len(), 2);
    // Confirmed and not finished: it is what a rollback leads to. Finished: it is not needed, and a rollback knows.
    client.confirm(confirm(&key, false)).await.unwrap();
    assert_eq!(
        failure(client.remove_release(remove("1")).await).1.code,
        "MF0444"
    );
    client.confirm(confirm(&key, true)).await.unwrap();
    client.remove_release(remove("1")).await.unwrap();
    node.restart().await;
    let mut client = node.operator().await;
    assert_eq!(
        releases(&mut client).await,
        [("2".to_owned(), ReleaseState::Permanent)]
    );
    let rollback = pb::RollbackRequest {
        key: Some(key),
        ..Default::default()
    };
    assert_eq!(failure(client.rollback(rollback).await).1.code, "MF0443");
}

#[tokio::test]
async fn a_node_tells_which_modules_are_loaded_otherwise_than_it_boots() {
    let node = Node::start().await;
    assert!(node.described(None).await.drift.is_empty());
    let key = node.upgraded("r", &patch("1", "2")).await;
    let drift = node.described(None).await.drift;
    assert_eq!(drift.len(), 1);
    assert_eq!(drift[0].module, "counter");
    assert!(!drift[0].wanted.is_empty() && drift[0].wanted != drift[0].loaded);
    node.operator()
        .await
        .confirm(confirm(&key, true))
        .await
        .unwrap();
    let described = node.described(None).await;
    assert!(described.drift.is_empty());
    assert_eq!(described.undoable.unwrap().key, Some(key));
}
