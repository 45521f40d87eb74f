//! Break-glass: orders that are given on the node itself.

use clap::Parser;
use midflight_agent::local::{self, ConfirmArgs, RollbackArgs, StatusArgs};
use midflight_proto::agent::v1 as pb;

use crate::support::{Node, bundles::patch, failure, journal};

#[derive(Parser)]
struct Confirm {
    #[command(flatten)]
    args: ConfirmArgs,
}

#[derive(Parser)]
struct Rollback {
    #[command(flatten)]
    args: RollbackArgs,
}

#[derive(Parser)]
struct Status {
    #[command(flatten)]
    args: StatusArgs,
}

fn words<'a>(node: &Node, more: &'a [&'a str]) -> Vec<String> {
    let config = node.path("agent.yaml").display().to_string();
    let given = [
        "order",
        "--config",
        &config,
        "--reason",
        "the controller is gone",
    ];
    given
        .iter()
        .chain(more)
        .map(|word| (*word).to_owned())
        .collect()
}

async fn confirm(node: &Node, more: &[&str]) -> Result<String, midflight_agent::Error> {
    local::confirm(&Confirm::parse_from(words(node, more)).args).await
}

async fn rollback(node: &Node, more: &[&str]) -> Result<String, midflight_agent::Error> {
    local::rollback(&Rollback::parse_from(words(node, more)).args).await
}

#[tokio::test]
async fn a_rollout_in_probation_can_be_rolled_back_on_the_node_itself_and_the_journal_says_by_whom()
{
    let node = Node::start().await;
    let key = node.upgraded("r", &patch("1", "2")).await;
    let text = rollback(&node, &[]).await.unwrap();
    assert!(
        text.contains("node web1.eu: rollout r (attempt 1, epoch 1), 1 to 2, was in probation"),
        "{text}"
    );
    assert!(
        text.contains("rolled back: 1 runs and is permanent. 3 actors"),
        "{text}"
    );
    let entries = journal(node.folder.path());
    let back = entries
        .iter()
        .find(|entry| entry["kind"] == "rolling_back")
        .unwrap();
    assert_eq!(back["reason"], "the controller is gone");
    assert!(
        back["order"]["peer"].as_str().unwrap().starts_with("uid "),
        "{back}"
    );
    // A controller that comes back is told.
    let request = pb::ConfirmRequest {
        key: Some(key),
        ..Default::default()
    };
    let mut client = node.operator().await;
    assert_eq!(failure(client.confirm(request).await).1.code, "MF0425");
}

#[tokio::test]
async fn a_confirm_on_the_node_itself_makes_it_permanent_and_can_end_the_claim() {
    let node = Node::start().await;
    node.upgraded("r", &patch("1", "2")).await;
    let other = confirm(&node, &["--rollout", "another"]).await.unwrap_err();
    assert_eq!(other.code(), "MF0447");
    let text = confirm(&node, &["--rollout", "r"]).await.unwrap();
    assert!(
        text.contains("confirmed: 2 is permanent; 2 parked actors crashed"),
        "{text}"
    );
    assert!(text.contains("still has its claim"), "{text}");
    let text = confirm(&node, &["--finish"]).await.unwrap();
    assert!(text.contains("the claim has ended"), "{text}");
    assert_eq!(confirm(&node, &[]).await.unwrap_err().code(), "MF0447");
    // What has finished can still be rolled back.
    let text = rollback(&node, &[]).await.unwrap();
    assert!(text.contains("had finished"), "{text}");
    assert_eq!(node.releases().await, ("1".into(), "1".into()));
}

#[tokio::test]
async fn what_runs_can_be_asked_on_the_node_itself() {
    let mut node = Node::start().await;
    node.upgraded("r", &patch("1", "2")).await;
    let config = node.path("agent.yaml").display().to_string();
    let status = async |more: &[&str]| {
        let words = ["status", "--config", &config];
        let words = words.iter().chain(more);
        local::status(&Status::parse_from(words).args).await
    };
    let text = status(&[]).await.unwrap();
    assert!(
        text.starts_with("node web1.eu: 2 runs, 1 is permanent, 3 actors;"),
        "{text}"
    );
    assert!(text.contains("1 to 2, was in probation"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&status(&["--json"]).await.unwrap()).unwrap();
    assert_eq!(
        (&json["actors"], &json["rollout"]),
        (&3.into(), &"r".into())
    );
    node.server.take().unwrap().stop().await;
    assert_eq!(status(&[]).await.unwrap_err().code(), "MF0446");
}

#[tokio::test]
async fn what_the_agent_refuses_on_the_node_itself_is_told_with_its_own_code() {
    let node = Node::start().await;
    node.upgraded("r", &patch("1", "2")).await;
    node.control.fail("rollback");
    let error = rollback(&node, &[]).await.unwrap_err();
    assert_eq!(error.code(), "MF0448");
    assert!(error.to_string().contains("MF0399"), "{error}");
}

#[tokio::test]
async fn without_a_living_agent_there_is_nobody_to_ask() {
    let mut node = Node::start().await;
    node.server.take().unwrap().stop().await;
    let error = rollback(&node, &[]).await.unwrap_err();
    assert_eq!(error.code(), "MF0446");
    assert!(error.to_string().contains("data/local.sock"), "{error}");
    assert!(error.hint().contains("boots the permanent release"));
}
