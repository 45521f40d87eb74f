//! Starting a release: its modules become current, and its applications are started.

use std::{collections::BTreeMap, sync::Arc};

use midflight_patch::{Digest, ModuleName, Release};

use crate::{Error, Node, upgrade::on_load};

impl Node {
    /// Compiles a component and checks it against the contract. The same digest again is free.
    pub fn stage(&self, module: &ModuleName, blob: &Digest, component: &[u8]) -> Result<(), Error> {
        self.shared.code.stage(module, blob, component)
    }

    /// Starts a release on a node that runs nothing, and waits until its actors are initialised.
    pub fn boot(
        &self,
        release: &Release,
        blobs: &BTreeMap<Digest, Arc<[u8]>>,
    ) -> Result<(), Error> {
        let shared = &self.shared;
        for (name, module) in &release.modules {
            let component = blobs.get(&module.blob).ok_or_else(|| Error::Component {
                module: name.clone(),
                reason: format!("blob {} is not on the node", module.blob),
            })?;
            shared.code.stage(name, &module.blob, component)?;
            let version = shared.code.add_version(name, &module.vsn, &module.blob)?;
            on_load(shared, &version, module.config.to_string().as_bytes())?;
            shared.code.add_module(&version);
        }
        release
            .applications
            .iter()
            .for_each(|application| shared.code.assign(application));
        *shared.ports.write() = release.listen.iter().copied().collect();
        *shared.targets.write() = release.connect.clone();
        shared.start_release(release)
    }
}
