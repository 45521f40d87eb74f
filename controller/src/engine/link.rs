//! One node and the connection to it: made when first needed, kept, and made again after it broke. Calls that may be asked
//! twice are asked until they are answered or a deadline passes; what a call means is none of its business.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use crate::transport::{Agent, CallError, Target, Transport};

/// The first wait between two attempts, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// A node.
pub struct Link {
    target: Target,
    transport: Arc<dyn Transport>,
    connect: Duration,
    agent: Mutex<Option<Arc<dyn Agent>>>,
}

impl Link {
    /// A node that is not connected yet. `connect` bounds TCP and TLS.
    #[must_use]
    pub fn new(target: Target, transport: Arc<dyn Transport>, connect: Duration) -> Self {
        Self {
            target,
            transport,
            connect,
            agent: Mutex::new(None),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The connection, made if there is none.
    ///
    /// # Errors
    /// [`CallError::Unreachable`].
    pub async fn agent(&self) -> Result<Arc<dyn Agent>, CallError> {
        let mut slot = self.agent.lock().await;
        if let Some(agent) = &*slot {
            return Ok(agent.clone());
        }
        let agent = self.transport.connect(&self.target, self.connect).await?;
        *slot = Some(agent.clone());
        Ok(agent)
    }

    /// Drops the connection; the next call makes another.
    pub async fn hang_up(&self) {
        *self.agent.lock().await = None;
    }

    /// Asks once, within `limit`.
    ///
    /// # Errors
    /// What the call gives, and [`CallError::Timeout`].
    pub async fn once<T, F>(
        &self,
        limit: Duration,
        call: impl FnOnce(Arc<dyn Agent>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let asked = async { call(self.agent().await?).await };
        let answer = match timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout { after: limit }),
        };
        if answer.as_ref().is_err_and(CallError::is_silence) {
            self.hang_up().await;
        }
        answer
    }

    /// Asks until the node answers or `patience` is over; each attempt is bounded by `attempt`. Only for what may be asked
    /// twice.
    ///
    /// # Errors
    /// The agent's failure, or the silence of the last attempt.
    pub async fn patiently<T, F>(
        &self,
        patience: Duration,
        attempt: Duration,
        call: impl Fn(Arc<dyn Agent>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let deadline = Instant::now() + patience;
        let mut wait = BACKOFF.0;
        loop {
            let limit = attempt.min(deadline.saturating_duration_since(Instant::now()));
            let error = match self.once(limit, &call).await {
                Err(error) if error.is_silence() => error,
                answer => return answer,
            };
            tracing::debug!(
                node = self.target.name,
                error = crate::error::chain(&error),
                "no answer"
            );
            let next = Instant::now() + wait;
            if next >= deadline {
                return Err(error);
            }
            sleep_until(next).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }
}
