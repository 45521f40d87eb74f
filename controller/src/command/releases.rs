//! `midflight releases`: which releases are on nodes and in which state, and removing one that nothing needs, as OTP's
//! `which_releases` and `remove_release` do on one node. Nodes with the same answer are one line.

use std::collections::BTreeMap;

use clap::Args;
use futures::StreamExt as _;
use midflight_proto::agent::v1 as pb;
use serde_json::json;

use crate::command::fleet::{FleetArgs, PolicyArgs, TargetArgs};
use crate::command::{print, print_json};
use crate::engine::survey;
use crate::engine::words::Phase;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Format, table};
use crate::plan;
use crate::transport::CallError;

#[derive(Debug, Args)]
pub struct ReleasesArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Remove the release with this vsn or digest. A node refuses that for one which is permanent, runs, or is needed.
    #[arg(long, value_name = "VSN")]
    remove: Option<String>,
}

/// A state, a release, and the bytes of its components.
type Row = (usize, String, String, u64);

/// Listing asks all nodes without `--all`; a node that does not answer, or that refuses to remove, makes it exit 7.
pub async fn run(args: ReleasesArgs, format: Format) -> Result<Exit, Error> {
    let inventory = args.fleet.inventory.load()?;
    let policy = args.policy.load(Some(&inventory))?;
    let all = args.remove.is_none() || args.target.all;
    let targets = plan::targets(&inventory, &args.target.pattern(), all)?;
    let transport = args.fleet.pki.transport()?;
    survey::check(&targets, &transport)?;
    let links = survey::links(&targets, &transport, &policy);
    let request = args.remove.as_deref().map(removal);
    let limit = policy.timeouts.connect.get() * 2;
    let ask = |link: std::sync::Arc<crate::engine::link::Link>| {
        let request = request.clone();
        async move {
            link.once(limit, |agent| async move {
                match request {
                    Some(request) => Ok(agent.remove_release(request).await?.releases),
                    None => Ok(agent.releases().await?.releases),
                }
            })
            .await
        }
    };
    let answers: Vec<Result<Vec<pb::ReleaseStatus>, CallError>> = futures::stream::iter(links)
        .map(ask)
        .buffered(policy.concurrency.max(1) as usize)
        .collect()
        .await;
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    match format {
        Format::Json => {
            for (name, answer) in names.iter().zip(&answers) {
                print_json(&as_json(name, answer))?;
            }
        }
        Format::Text => print(&folded(&names, &answers))?,
    }
    let failed = answers.iter().any(Result::is_err);
    Ok(if failed { Exit::PARTIAL } else { Exit::OK })
}

fn removal(named: &str) -> pb::RemoveReleaseRequest {
    match named.starts_with("sha256:") {
        true => pb::RemoveReleaseRequest {
            digest: named.to_owned(),
            ..Default::default()
        },
        false => pb::RemoveReleaseRequest {
            vsn: named.to_owned(),
            ..Default::default()
        },
    }
}

const STATES: [&str; 5] = ["permanent", "current", "old", "unpacked", "unrecognised"];

/// The place of a state in [`STATES`].
fn state(status: &pb::ReleaseStatus) -> usize {
    match status.state() {
        pb::ReleaseState::Permanent => 0,
        pb::ReleaseState::Current => 1,
        pb::ReleaseState::Old => 2,
        pb::ReleaseState::Unpacked => 3,
        pb::ReleaseState::Unspecified => 4,
    }
}

/// One line for each release and all nodes that have it in the same state; nodes without an answer come last.
fn folded(names: &[&str], answers: &[Result<Vec<pb::ReleaseStatus>, CallError>]) -> String {
    let mut alike: BTreeMap<Row, Vec<&str>> = BTreeMap::new();
    let mut failed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(releases) => {
                for status in releases {
                    let release = status.release.clone().unwrap_or_default();
                    let digest = release.digest.trim_start_matches("sha256:");
                    let row = (
                        state(status),
                        format!("{} {}", release.name, release.vsn),
                        digest.chars().take(12).collect(),
                        status.bytes,
                    );
                    alike.entry(row).or_default().push(name);
                }
            }
            Err(error) => {
                let cause = error.cause(Phase::Describe);
                let what = format!("{}: {}", cause.code, cause.what);
                failed.entry(what).or_default().push(name);
            }
        }
    }
    let mut rows =
        vec![["COUNT", "STATE", "RELEASE", "DIGEST", "BYTES", "NODES"].map(str::to_owned)];
    for ((state, release, digest, bytes), nodes) in alike {
        rows.push([
            nodes.len().to_string(),
            STATES[state].to_owned(),
            release,
            digest,
            bytes.to_string(),
            midflight_inventory::fold_to_string(nodes),
        ]);
    }
    for (what, nodes) in failed {
        let count = nodes.len().to_string();
        let nodes = format!("{}: {what}", midflight_inventory::fold_to_string(nodes));
        rows.push([count, "-".into(), "-".into(), "-".into(), "-".into(), nodes]);
    }
    table(&rows)
}

fn as_json(name: &str, answer: &Result<Vec<pb::ReleaseStatus>, CallError>) -> serde_json::Value {
    match answer {
        Ok(releases) => {
            let release = |status: &pb::ReleaseStatus| {
                let release = status.release.clone().unwrap_or_default();
                json!({
                    "name": release.name, "vsn": release.vsn, "digest": release.digest,
                    "state": STATES[state(status)], "bytes": status.bytes,
                })
            };
            json!({"node": name, "releases": releases.iter().map(release).collect::<Vec<_>>()})
        }
        Err(error) => json!({"node": name, "failed": error.cause(Phase::Describe)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(vsn: &str, state: pb::ReleaseState) -> pb::ReleaseStatus {
        pb::ReleaseStatus {
            release: Some(pb::Release {
                name: "app".into(),
                vsn: vsn.into(),
                digest: format!("sha256:d{vsn}"),
            }),
            state: state.into(),
            bytes: 10,
        }
    }

    #[test]
    fn nodes_with_a_release_in_the_same_state_are_one_line() {
        use pb::ReleaseState::{Old, Permanent};
        let lost = CallError::Lost {
            source: "reset".into(),
        };
        let answers = [
            Ok(vec![status("2", Permanent), status("1", Old)]),
            Ok(vec![status("2", Permanent)]),
            Err(lost),
        ];
        assert_eq!(
            folded(&["web1", "web2", "web3"], &answers),
            "COUNT  STATE      RELEASE  DIGEST  BYTES  NODES\n\
             2      permanent  app 2    d2      10     web[1:2]\n\
             1      old        app 1    d1      10     web1\n\
             1      -          -        -       -      web3: MF0521: the connection broke before the answer came: reset\n"
        );
    }

    #[test]
    fn what_is_removed_is_named_by_vsn_or_by_digest() {
        assert_eq!(removal("1.2").vsn, "1.2");
        assert_eq!(removal("sha256:ab").digest, "sha256:ab");
    }
}
