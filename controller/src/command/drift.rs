//! `midflight nodes --drift`: which nodes run something else than they should. What a node should run is what it would boot
//! after a crash, or what a patch or release that is named brings. Nodes that stand alike are one line; nothing is changed.

use std::collections::BTreeMap;

use midflight_patch::{Bundle, Release};
use midflight_proto::agent::v1 as pb;
use serde_json::json;

use crate::command::{print, print_json};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Format, table};
use crate::transport::CallError;

/// What all nodes should run.
pub struct Want {
    name: String,
    vsn: String,
    /// Of the release, where all of it is known.
    digest: Option<String>,
    /// The digest of each module's component that is known.
    modules: BTreeMap<String, String>,
}

/// How one node stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stand {
    /// False comes first: it is what people look for.
    as_wanted: bool,
    loaded: String,
    wanted: String,
    why: String,
}

impl Want {
    /// What a patch leads to, or what a release is. Whether the bundle is signed does not matter: nothing is brought anywhere.
    ///
    /// # Errors
    /// [`Error::Patch`].
    pub fn read(path: &std::path::Path) -> Result<Self, Error> {
        let failed = || Error::patch(format!("the bundle {} is refused", path.display()));
        let manifest = Bundle::read(path).map_err(failed())?.manifest;
        let digest = match manifest.is_release() {
            true => {
                let release = Release::from_manifest(&manifest).map_err(failed())?;
                Some(release.digest().map_err(failed())?.to_string())
            }
            false => None,
        };
        let module =
            |entry: &midflight_patch::ModuleEntry| (entry.name.to_string(), entry.blob.to_string());
        Ok(Self {
            modules: manifest.modules.iter().map(module).collect(),
            name: manifest.name,
            vsn: manifest.to.to_string(),
            digest,
        })
    }

    /// What of a node is otherwise; empty: nothing.
    fn differs(&self, node: &pb::DescribeResponse) -> Vec<String> {
        let current = node.current.clone().unwrap_or_default();
        let mut why = Vec::new();
        if (&current.name, &current.vsn) != (&self.name, &self.vsn) {
            why.push("another release".to_owned());
        } else if self
            .digest
            .as_ref()
            .is_some_and(|digest| *digest != current.digest)
        {
            why.push("another release of the same vsn".to_owned());
        }
        for (name, wanted) in &self.modules {
            let loaded = node.modules.iter().find(|module| module.name == *name);
            match loaded {
                Some(loaded) if loaded.digest == *wanted => {}
                Some(loaded) => why.push(format!("{name} is {}", short(&loaded.digest))),
                None => why.push(format!("{name} is not loaded")),
            }
        }
        let boots = node.permanent.clone().unwrap_or_default();
        if why.is_empty() && boots.digest != current.digest {
            why.push(format!("boots {}", boots.vsn));
        }
        why
    }
}

/// Prints how nodes stand, and ends in 7 when one drifts or does not answer.
///
/// # Errors
/// [`Error::Io`] for stdout.
pub fn show(
    names: &[&str],
    answers: &[Result<pb::DescribeResponse, CallError>],
    want: Option<&Want>,
    format: Format,
) -> Result<Exit, Error> {
    let stands: Vec<Stand> = answers.iter().map(|answer| stand(answer, want)).collect();
    match format {
        Format::Json => {
            for ((name, answer), stand) in names.iter().zip(answers).zip(&stands) {
                print_json(&as_json(name, answer, stand))?;
            }
        }
        Format::Text => print(&folded(names, &stands))?,
    }
    let all = stands.iter().all(|stand| stand.as_wanted);
    Ok(if all { Exit::OK } else { Exit::PARTIAL })
}

fn stand(answer: &Result<pb::DescribeResponse, CallError>, want: Option<&Want>) -> Stand {
    let node = match answer {
        Ok(node) => node,
        Err(error) => {
            return Stand {
                as_wanted: false,
                loaded: "-".to_owned(),
                wanted: want.map_or_else(
                    || "-".to_owned(),
                    |want| format!("{} {}", want.name, want.vsn),
                ),
                why: format!("no answer ({})", error.code()),
            };
        }
    };
    let (mut why, wanted) = match want {
        Some(want) => (
            want.differs(node),
            match &want.digest {
                Some(digest) => format!("{} {} {}", want.name, want.vsn, short(digest)),
                None => format!("{} {}", want.name, want.vsn),
            },
        ),
        None => (from_permanent(node), named(node.permanent.as_ref())),
    };
    if let (false, Some(claim)) = (why.is_empty(), node.claims.first()) {
        why.push(format!("rollout {} is at work", claim.rollout_id));
    }
    Stand {
        as_wanted: why.is_empty(),
        loaded: named(node.current.as_ref()),
        wanted,
        why: match why.is_empty() {
            true => "as wanted".to_owned(),
            false => why.join(", "),
        },
    }
}

/// What of a node is otherwise than it boots.
fn from_permanent(node: &pb::DescribeResponse) -> Vec<String> {
    let module = |drift: &pb::ModuleDrift| match (drift.wanted.as_str(), drift.loaded.as_str()) {
        (_, "") => format!("{} is not loaded", drift.module),
        ("", _) => format!("{} is loaded", drift.module),
        (_, loaded) => format!("{} is {}", drift.module, short(loaded)),
    };
    let mut why: Vec<String> = node.drift.iter().map(module).collect();
    let digest =
        |release: &Option<pb::Release>| release.as_ref().map(|release| release.digest.clone());
    if why.is_empty() && digest(&node.current) != digest(&node.permanent) {
        why.push("another release of the same modules".to_owned());
    }
    why
}

/// One line for all nodes that stand alike, those that drift first.
fn folded(names: &[&str], stands: &[Stand]) -> String {
    let mut alike: BTreeMap<&Stand, Vec<&str>> = BTreeMap::new();
    for (name, stand) in names.iter().zip(stands) {
        alike.entry(stand).or_default().push(name);
    }
    let mut rows = vec![["COUNT", "LOADED", "WANTED", "STATE", "NODES"].map(str::to_owned)];
    for (stand, nodes) in alike {
        rows.push([
            nodes.len().to_string(),
            stand.loaded.clone(),
            stand.wanted.clone(),
            stand.why.clone(),
            midflight_inventory::fold_to_string(nodes),
        ]);
    }
    table(&rows)
}

fn as_json(
    name: &str,
    answer: &Result<pb::DescribeResponse, CallError>,
    stand: &Stand,
) -> serde_json::Value {
    let release = |release: &Option<pb::Release>| {
        release.as_ref().map(
            |release| json!({"name": release.name, "vsn": release.vsn, "digest": release.digest}),
        )
    };
    let (loaded, permanent, drift) = match answer {
        Ok(node) => (
            release(&node.current),
            release(&node.permanent),
            node.drift.as_slice(),
        ),
        Err(_) => (None, None, [].as_slice()),
    };
    let drift: Vec<_> = drift
        .iter()
        .map(
            |drift| json!({"module": drift.module, "wanted": drift.wanted, "loaded": drift.loaded}),
        )
        .collect();
    json!({
        "node": name, "as_wanted": stand.as_wanted, "why": stand.why, "loaded": loaded, "permanent": permanent, "drift": drift,
    })
}

fn named(release: Option<&pb::Release>) -> String {
    release.map_or_else(
        || "-".to_owned(),
        |release| {
            format!(
                "{} {} {}",
                release.name,
                release.vsn,
                short(&release.digest)
            )
        },
    )
}

/// As `midflight patch inspect` shortens a digest.
fn short(digest: &str) -> String {
    digest
        .trim_start_matches("sha256:")
        .chars()
        .take(12)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(vsn: &str) -> Option<pb::Release> {
        Some(pb::Release {
            name: "app".into(),
            vsn: vsn.into(),
            digest: format!("sha256:{vsn}"),
        })
    }

    fn node(current: &str, permanent: &str) -> pb::DescribeResponse {
        pb::DescribeResponse {
            current: release(current),
            permanent: release(permanent),
            modules: vec![pb::ModuleStatus {
                name: "counter".into(),
                digest: format!("sha256:c{current}"),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn want(vsn: &str) -> Want {
        Want {
            name: "app".into(),
            vsn: vsn.into(),
            digest: None,
            modules: BTreeMap::from([("counter".into(), format!("sha256:c{vsn}"))]),
        }
    }

    #[test]
    fn a_node_that_runs_what_it_boots_is_as_wanted_and_one_in_probation_names_its_rollout() {
        assert!(stand(&Ok(node("1", "1")), None).as_wanted);
        let mut probation = node("2", "1");
        probation.drift = vec![pb::ModuleDrift {
            module: "counter".into(),
            wanted: "sha256:c1".into(),
            loaded: "sha256:c2".into(),
        }];
        probation.claims = vec![pb::Claim {
            rollout_id: "r-1".into(),
            ..Default::default()
        }];
        let stand = stand(&Ok(probation), None);
        assert_eq!(stand.why, "counter is c2, rollout r-1 is at work");
        assert_eq!(stand.wanted, "app 1 1");
    }

    #[test]
    fn a_wanted_patch_is_compared_by_vsn_by_its_modules_and_by_what_the_node_boots() {
        let why = |node| stand(&Ok(node), Some(&want("2"))).why;
        assert_eq!(why(node("2", "2")), "as wanted");
        assert_eq!(why(node("1", "1")), "another release, counter is c1");
        assert_eq!(why(node("2", "1")), "boots 1");
        let mut other = node("2", "2");
        other.modules[0].digest = "sha256:cx".into();
        assert_eq!(why(other), "counter is cx");
    }

    #[test]
    fn nodes_that_stand_alike_are_one_line_and_those_that_drift_come_first() {
        let lost = CallError::Lost {
            source: "reset".into(),
        };
        let answers = [
            Ok(node("2", "2")),
            Ok(node("1", "1")),
            Ok(node("2", "2")),
            Err(lost),
        ];
        let stands: Vec<Stand> = answers
            .iter()
            .map(|answer| stand(answer, Some(&want("2"))))
            .collect();
        let names = ["web01", "web02", "web03", "web04"];
        assert_eq!(
            folded(&names, &stands),
            "COUNT  LOADED   WANTED  STATE                           NODES\n\
             1      -        app 2   no answer (MF0521)              web04\n\
             1      app 1 1  app 2   another release, counter is c1  web02\n\
             2      app 2 2  app 2   as wanted                       web01,web03\n"
        );
    }
}
