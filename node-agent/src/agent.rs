//! One agent: its memory, its blobs, its target, and the one upgrade that may be open. Everything that serves requests works
//! on this. It boots the permanent release, or installs the configured one when there is none yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use midflight_patch::{Bundle, Digest, Manifest, Release};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::Audit,
    book::{Book, NamedRelease, State},
    clock::{Clock, Machine},
    config::{Config, Sys},
    data_dir::DataDir,
    error::Error,
    events::Events,
    journal::{Entry, FileStorage, Storage},
    key::Key,
    store::{Blobs, Store},
    target::Target,
    transaction::Transaction,
    trust::{Signers, Trust},
    work::{Threads, Worker},
};

/// How many patches may be staged at a time.
pub const MAX_STAGES: usize = 4;

/// The version of this agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that requests work on.
pub struct Agent {
    /// The node's name.
    pub node: String,
    /// How far `sys` is on.
    pub sys: Sys,
    /// What runs the modules.
    pub target: Arc<dyn Target>,
    pub(crate) book: Book,
    pub(crate) store: Arc<dyn Blobs>,
    pub(crate) trust: Trust,
    pub(crate) worker: Arc<dyn Worker>,
    pub(crate) events: Events,
    pub(crate) audit: Audit,
    /// Held while an upgrade is admitted, and during confirm and rollback: they come one after the other.
    pub(crate) orders: Arc<tokio::sync::Mutex<()>>,
    pub(crate) stages: Arc<Semaphore>,
    /// Patches whose blobs this process has read and compiled.
    pub(crate) compiled: Mutex<BTreeSet<Digest>>,
    /// What drives transactions; stopping waits for it.
    pub(crate) tasks: TaskTracker,
    pub(crate) clock: Arc<dyn Clock>,
    /// On that clock.
    pub(crate) started: Duration,
    open: Mutex<Option<Arc<Transaction>>>,
    stopping: CancellationToken,
    /// Held while blobs are collected, and while a patch that was staged is written down.
    pub(crate) collecting: Mutex<()>,
    _data: Option<DataDir>,
}

/// What an agent is made of.
pub struct Parts {
    /// The node's name.
    pub node: String,
    /// How far `sys` is on.
    pub sys: Sys,
    /// What runs the modules.
    pub target: Arc<dyn Target>,
    /// Where the journal lies.
    pub storage: Box<dyn Storage>,
    /// Where blobs lie.
    pub store: Arc<dyn Blobs>,
    /// Whose signatures count.
    pub trust: Trust,
    /// Where work that blocks is done.
    pub worker: Arc<dyn Worker>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What an empty node boots.
    pub boot: Boot,
    /// Held as long as the agent lives.
    pub data: Option<DataDir>,
}

/// The release of an empty node.
pub enum Boot {
    /// A signed bundle, read only when there is no permanent release.
    File(PathBuf),
    /// One that was read and verified.
    Read(Arc<Verified>),
}

/// A release whose signatures count.
pub struct Verified {
    bundle: Bundle,
    release: Release,
    signers: Vec<String>,
}

impl Verified {
    /// Reads a release bundle, and verifies it as of `now`.
    ///
    /// # Errors
    /// [`Error::Patch`], and those of [`Trust::verify`].
    pub fn read(path: &std::path::Path, trust: &Trust, now: SystemTime) -> Result<Self, Error> {
        let what = format!("the release bundle {}", path.display());
        let bundle = Bundle::read(path).map_err(Error::patch(&what))?;
        let signers = trust.verify(&what, &bundle.manifest_bytes, &bundle.signatures, now)?;
        let release = Release::from_manifest(&bundle.manifest).map_err(Error::patch(&what))?;
        Ok(Self {
            bundle,
            release,
            signers,
        })
    }
}

impl Agent {
    /// Reads the journal and boots the target. Blocks.
    ///
    /// # Errors
    /// Those of the journal and the store, and what the release bundle or the target is refused for.
    pub fn start(
        config: &Config,
        data: DataDir,
        target: Arc<dyn Target>,
    ) -> Result<Arc<Self>, Error> {
        Self::from_parts(Parts {
            node: config.node.to_string(),
            sys: config.sys,
            target,
            storage: Box::new(FileStorage::open(&data.path().join("journal"))?),
            store: Arc::new(Store::open(data.path())?),
            trust: trust(config),
            worker: Arc::new(Threads),
            clock: Arc::new(Machine),
            boot: Boot::File(config.boot.clone()),
            data: Some(data),
        })
    }

    /// The same, of parts. Blocks.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn from_parts(parts: Parts) -> Result<Arc<Self>, Error> {
        #[cfg(feature = "mutants")]
        let parts = crate::mutants::on_wall_time(parts);
        let (book, torn) = Book::open(parts.storage, parts.clock.clone())?;
        let agent = Arc::new(Self {
            node: parts.node,
            sys: parts.sys,
            target: parts.target,
            book,
            store: parts.store,
            trust: parts.trust,
            worker: parts.worker,
            events: Events::new(parts.clock.clone()),
            audit: Audit::default(),
            orders: Arc::default(),
            stages: Arc::new(Semaphore::new(MAX_STAGES)),
            compiled: Mutex::default(),
            tasks: TaskTracker::new(),
            started: parts.clock.now(),
            clock: parts.clock,
            open: Mutex::default(),
            stopping: CancellationToken::new(),
            collecting: Mutex::default(),
            _data: parts.data,
        });
        if torn > 0 {
            tracing::warn!(
                bytes = torn,
                "the journal's last line was torn by a crash, and was cut off"
            );
            let text = format!("{torn} bytes of a journal line that a crash tore were cut off");
            agent.events.add("boot", text, None, None);
        }
        let release = agent.boot(&parts.boot)?;
        let text = format!(
            "release {} {} runs",
            release.release.name, release.release.vsn
        );
        tracing::info!(node = agent.node, release = %release.release.vsn, digest = %release.digest, "booted");
        agent.events.add("boot", text, None, None);
        agent.collect();
        Ok(agent)
    }

    /// Boots the permanent release, or the bundle.
    fn boot(&self, bundle: &Boot) -> Result<Arc<NamedRelease>, Error> {
        let release = match &self.book.state().permanent {
            Some(permanent) => {
                let blobs = permanent
                    .blobs()
                    .map(|blob| Ok((blob, self.store.read(&blob)?)));
                self.target
                    .boot(&permanent.release, &blobs.collect::<Result<_, Error>>()?)?;
                permanent.clone()
            }
            None => self.install(bundle)?,
        };
        let vsn = release.release.vsn.clone();
        self.book.record(&Entry::Boot {
            release: release.digest,
            vsn,
            agent: VERSION.to_owned(),
        })?;
        Ok(release)
    }

    /// Boots a bundle on an empty node. It becomes permanent only once it runs, so that a bad one can be replaced.
    fn install(&self, boot: &Boot) -> Result<Arc<NamedRelease>, Error> {
        let verified = match boot {
            Boot::File(path) => &Arc::new(Verified::read(path, &self.trust, self.clock.wall())?),
            Boot::Read(verified) => verified,
        };
        let Verified {
            bundle,
            release,
            signers,
        } = &**verified;
        let mut blobs: BTreeMap<_, Arc<[u8]>> = BTreeMap::new();
        for blob in bundle.blobs.values() {
            let digest = self.store.put(blob)?;
            blobs.insert(digest, self.store.read(&digest)?);
        }
        self.target.boot(release, &blobs)?;
        let named = NamedRelease::new(release.clone())?;
        self.book.record(&Entry::Installed {
            release: release.clone(),
            manifest: Digest::of(&bundle.manifest_bytes),
            signers: signers.clone(),
        })?;
        Ok(named)
    }

    /// The upgrade that is open, in probation, or confirmed and not finished.
    pub(crate) fn transaction(&self) -> Option<Arc<Transaction>> {
        self.open.lock().clone()
    }

    /// The same, when it has this key.
    pub(crate) fn transaction_of(&self, key: &Key) -> Option<Arc<Transaction>> {
        self.transaction()
            .filter(|transaction| transaction.key == *key)
    }

    pub(crate) fn hold(&self, transaction: Arc<Transaction>) {
        *self.open.lock() = Some(transaction.clone());
        // The agent may have begun to stop while this one was admitted.
        if self.stopping.is_cancelled() {
            transaction.cancel("the agent is shutting down");
        }
    }

    /// Lets go of a transaction that has ended, unless another has taken its place.
    pub(crate) fn release(&self, transaction: &Arc<Transaction>) {
        let mut open = self.open.lock();
        if open
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, transaction))
        {
            *open = None;
        }
    }

    /// Refuses new transactions from now on, and aborts one that has not resumed.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
        if let Some(transaction) = self.transaction() {
            transaction.cancel("the agent is shutting down");
        }
        self.events.close();
    }

    /// Returns once the agent begins to stop.
    pub(crate) async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    pub(crate) fn check_running(&self) -> Result<(), Error> {
        if self.stopping.is_cancelled() {
            Err(Error::Stopping {
                node: self.node.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// Removes the blobs that nothing needs any more: not the releases that run or could come back, and not staged patches
    /// that still fit.
    pub(crate) fn collect(&self) {
        let _collecting = self.collecting.lock();
        let state = self.book.state();
        let fitting: BTreeSet<Digest> = self.fitting(&state).into_keys().collect();
        match self.store.collect(&state.needed(&fitting)) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "blobs that nothing needs were removed"),
            Err(error) => tracing::warn!(
                error = error.chain(),
                "cannot remove blobs that nothing needs"
            ),
        }
        self.book.forget_staged(|patch| fitting.contains(patch));
        self.compiled.lock().retain(|patch| fitting.contains(patch));
    }

    /// The staged patches that start from what runs or is permanent, or from what others of them lead to, and the releases
    /// that they lead to from there.
    pub(crate) fn fitting(&self, state: &State) -> BTreeMap<Digest, Release> {
        let read = |patch: &Digest| {
            let bytes = self.store.read(patch).ok()?;
            Some((*patch, Manifest::parse(&bytes).ok()?))
        };
        let staged: Vec<_> = state.staged.keys().filter_map(read).collect();
        let releases = state.current.iter().chain(&state.permanent);
        let mut releases: Vec<Release> = releases.map(|named| named.release.clone()).collect();
        let mut fitting = BTreeMap::new();
        let mut next = 0;
        // Each patch adds one release at most, so that this ends.
        while next < releases.len() {
            for (digest, manifest) in &staged {
                if fitting.contains_key(digest) {
                    continue;
                }
                if let Ok(after) = releases[next].apply(manifest) {
                    fitting.insert(*digest, after.clone());
                    releases.push(after);
                }
            }
            next += 1;
        }
        fitting
    }
}

/// Checks everything that a configuration names, and changes nothing.
///
/// # Errors
/// The first thing that would keep the agent from starting on an empty node.
pub fn check(config: &Config) -> Result<(), Error> {
    if let Some(tcp) = &config.listen.tcp {
        crate::tls::server_config(tcp)?;
    }
    if let Some(unix) = &config.listen.unix {
        unix.peers.locals()?;
    }
    Verified::read(&config.boot, &trust(config), Machine.wall()).map(drop)
}

fn trust(config: &Config) -> Trust {
    let required = usize::try_from(config.signers_required.get()).unwrap_or(usize::MAX);
    Trust {
        signers: Signers::File(config.allowed_signers.clone()),
        required,
    }
}
