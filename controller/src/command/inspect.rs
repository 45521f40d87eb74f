//! `midflight patch inspect`: what bundles hold, and the low-level plan that a node makes of them: the same value, printed the
//! same way. It reaches no node and verifies no signature.

use std::path::{Path, PathBuf};

use clap::Args;
use midflight_patch::plan::path;
use midflight_patch::{Bundle, Manifest, Plan, Release};
use serde_json::json;

use crate::command::{print, print_json};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Format;

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The bundle. Of several patches, the plan is that of the shortest chain which leads to the last one named.
    #[arg(required = true)]
    bundles: Vec<PathBuf>,
    /// The bundle of the release that runs. Without it, a patch is shown with the plan for the release that it is made for, as
    /// far as the patch alone says what that is.
    #[arg(long, value_name = "RELEASE")]
    from: Option<PathBuf>,
    /// Write the canonical manifest instead: the bytes that `ssh-keygen -Y sign -n patch@midflight` signs.
    #[arg(long, conflicts_with = "from")]
    manifest: bool,
}

pub fn run(args: &InspectArgs, format: Format) -> Result<Exit, Error> {
    let mut bundles = Vec::new();
    for path in &args.bundles {
        bundles.push(read(path)?);
    }
    if args.manifest {
        for bundle in &bundles {
            print(&String::from_utf8_lossy(&bundle.manifest_bytes))?;
        }
        return Ok(Exit::OK);
    }
    let plan = plan(args, &bundles)?;
    match format {
        Format::Text => {
            for bundle in &bundles {
                print(&bundle.inspect())?;
            }
            let patches = bundles.iter().any(|bundle| !bundle.manifest.is_release());
            match plan {
                Some(plan) => print(&plan.to_string())?,
                None if patches => {
                    print("plan: depends on the release that runs; name its bundle with --from\n")?;
                }
                None => {}
            }
        }
        Format::Json => {
            let summary = |bundle: &Bundle| {
                json!({
                    "digest": bundle.digest(),
                    "manifest": bundle.manifest,
                    "signatures": bundle.signatures.len(),
                })
            };
            match bundles.as_slice() {
                [bundle] => {
                    let mut one = summary(bundle);
                    one["plan"] = json!(plan);
                    print_json(&one)?;
                }
                many => {
                    let many: Vec<_> = many.iter().map(summary).collect();
                    print_json(&json!({"bundles": many, "plan": plan}))?;
                }
            }
        }
    }
    Ok(Exit::OK)
}

/// The plan of one patch, or of the chain to the last of several; none where it depends on what nobody said.
fn plan(args: &InspectArgs, bundles: &[Bundle]) -> Result<Option<Plan>, Error> {
    let patches: Vec<&Manifest> = bundles.iter().map(|bundle| &bundle.manifest).collect();
    let failed = || Error::patch("there is no plan".to_owned());
    match (&args.from, patches.as_slice()) {
        (None, [patch]) => Ok(Plan::assume(patch)),
        (None, _) | (_, []) => Ok(None),
        (Some(release), [patch]) => {
            let running = release_of(release)?;
            Plan::new(patch, &running).map(Some).map_err(failed())
        }
        (Some(release), [.., last]) => {
            let running = release_of(release)?;
            let chain = path(&running, &patches, &last.to).map_err(failed())?;
            let chain: Vec<&Manifest> = chain.iter().map(|number| patches[*number]).collect();
            Plan::chain(&chain, &running).map(Some).map_err(failed())
        }
    }
}

/// The release that a bundle is.
pub fn release_of(path: &Path) -> Result<Release, Error> {
    let refused = Error::patch(format!("the bundle {} is refused", path.display()));
    Release::from_manifest(&read(path)?.manifest).map_err(refused)
}

fn read(path: &Path) -> Result<Bundle, Error> {
    let refused = Error::patch(format!("the bundle {} is refused", path.display()));
    Bundle::read(path).map_err(refused)
}
