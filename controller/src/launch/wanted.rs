//! What a plan is made of, and the plan made of it: everything is read, the nodes are asked what they run, and nothing is
//! changed. The command line and the server come here with the same wishes.

use std::sync::Arc;

use midflight_inventory::Inventory;
use midflight_patch::plan::MAX_PATCHES;
use midflight_patch::{Bundle, Manifest};

use crate::engine::link::Link;
use crate::engine::payload::Payload;
use crate::engine::survey;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{Rendered, json_lines};
use crate::plan::{self, Plan};
use crate::policy::Policy;
use crate::transport::Transport;

/// What a person wants to be done.
pub struct Wanted {
    /// The patch.
    pub bundle: Bundle,
    /// Patches that may stand on the way to it.
    pub through: Vec<Bundle>,
    /// The nodes that there are.
    pub inventory: Inventory,
    /// How it is to be done.
    pub policy: Policy,
    /// Which nodes.
    pub pattern: String,
    /// Every node of the inventory may be meant.
    pub all: bool,
    /// Stage and prepare alone.
    pub prepare_only: bool,
    /// The rollout whose nodes may be taken over; empty: none.
    pub supersedes: String,
}

/// All that a rollout begins with; nothing is changed yet.
pub struct Prepared {
    /// The patch.
    pub bundle: Bundle,
    /// Patches that may stand on the way to it.
    pub through: Vec<Bundle>,
    /// The same, as the engine carries them.
    pub payload: Arc<Payload>,
    /// How it is to be done.
    pub policy: Policy,
    /// What is to be done.
    pub plan: Plan,
    /// Connected where the node answered, in the order of the plan.
    pub links: Vec<Arc<Link>>,
    /// Stage and prepare alone.
    pub prepare_only: bool,
    /// The rollout whose nodes may be taken over; empty: none.
    pub supersedes: String,
}

impl Wanted {
    /// Asks the nodes what they run, and cuts the plan.
    ///
    /// # Errors
    /// What the plan gives.
    pub async fn prepare(self, transport: &Arc<dyn Transport>) -> Result<Prepared, Error> {
        let on_the_way: Vec<&Manifest> =
            self.through.iter().map(|bundle| &bundle.manifest).collect();
        let targets = plan::targets(&self.inventory, &self.pattern, self.all)?;
        survey::check(&targets, transport)?;
        let links = survey::links(&targets, transport, &self.policy);
        let answers = survey::survey(&links, &self.policy).await;
        let plan = plan::plan(
            &self.supersedes,
            targets,
            answers,
            &self.bundle.manifest,
            &on_the_way,
            &self.policy,
            &self.inventory,
        )?;
        let payload = Payload::with(self.bundle.clone(), self.through.clone());
        Ok(Prepared {
            bundle: self.bundle,
            through: self.through,
            payload: Arc::new(payload),
            policy: self.policy,
            plan,
            links,
            prepare_only: self.prepare_only,
            supersedes: self.supersedes,
        })
    }
}

/// Refuses a bundle that no node would accept as a patch.
///
/// # Errors
/// [`Error::Patch`].
pub fn check_patch(bundle: Bundle, name: &str) -> Result<Bundle, Error> {
    if bundle.manifest.is_release() {
        let wrong = midflight_patch::Error::WrongKind {
            name: bundle.manifest.name.clone(),
            vsn: bundle.manifest.to.clone(),
            have: "release",
            want: "patch",
        };
        return Err(Error::patch(format!("the bundle {name} is refused"))(wrong));
    }
    Ok(bundle)
}

/// Refuses more patches on the way than an order may name.
///
/// # Errors
/// [`Error::Patch`].
pub fn check_count(through: usize) -> Result<(), Error> {
    let (found, limit) = (through as u64 + 1, MAX_PATCHES);
    if found <= limit {
        return Ok(());
    }
    let limit = midflight_patch::Error::Limit {
        file: "the order".to_owned(),
        what: "the number of patches".to_owned(),
        found,
        limit,
    };
    Err(Error::patch("the patches on the way are refused")(limit))
}

impl Prepared {
    /// What `plan` answers.
    #[must_use]
    pub fn rendered(&self) -> Rendered {
        let manifest = &self.bundle.manifest;
        let digest = self.bundle.digest().to_string();
        Rendered {
            text: self.plan.text(manifest, &self.policy),
            json: json_lines([self.plan.json(manifest, &self.policy, &digest)]),
            exit: Exit::OK,
        }
    }
}
