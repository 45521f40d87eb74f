//! A host on the way to others: one connection to it for all of them, made by the first that needs it.
//!
//! Whoever waits while it is made takes it, or takes the failure: a bastion that refuses us is asked once, not once for
//! each host behind it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::dial::Lanes;
use crate::error::Error;
use crate::session::Link;

pub(crate) struct Bastion {
    /// Places for dials behind it.
    pub(crate) lanes: Lanes,
    /// How many dials of the bastion itself are over.
    dialled: AtomicU64,
    last: Mutex<Option<Result<Arc<Link>, Arc<Error>>>>,
}

impl Bastion {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            lanes: Lanes::new(places),
            dialled: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// The connection that is there, or the one that `dial` makes.
    pub(crate) async fn link(
        &self,
        dial: impl Future<Output = Result<Arc<Link>, Error>>,
    ) -> Result<Arc<Link>, Arc<Error>> {
        let before = self.dialled.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        match &*last {
            Some(Ok(link)) if link.is_open() => return Ok(link.clone()),
            // It failed while we waited for it.
            Some(Err(error)) if self.dialled.load(Ordering::Acquire) > before => {
                return Err(error.clone());
            }
            _ => {}
        }
        let made = dial.await.map_err(Arc::new);
        self.dialled.fetch_add(1, Ordering::AcqRel);
        *last = Some(made.clone());
        made
    }
}
