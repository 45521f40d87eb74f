//! What a person asks of a rollout that is under way, and what is answered. The verbs of the command line, of the API and of
//! Ctrl-C all become a [`Control`]; the engine journals each with who asked and why, and answers once that is durable.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Controls that may wait for the engine; whoever sends more waits.
pub const WAITING: usize = 16;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verb {
    /// Start nothing new; what is in flight comes to its end, and leases are renewed.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Go on to the next wave now: the rest of the bake is skipped, never a gate that tripped.
    Promote {
        /// Take a gate with too little data for passed, for this reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accept_inconclusive: Option<String>,
    },
    /// Stop: abort what has not resumed, put back what is in probation, leave what is confirmed.
    Abort {
        /// Confirm what is in probation instead of putting it back.
        #[serde(default)]
        keep: bool,
    },
    /// Put every changed node back, all at once.
    Rollback,
    /// Try the nodes again that failed, were lost or could not be reached.
    RetryFailed,
    /// Bring the release to nodes that were away, and answer again. A server asks this by itself.
    Converge {
        /// Their names; those that were not away are left alone.
        nodes: Vec<String>,
    },
    /// Start nothing new, let what is in flight come to its end, and leave the rollout to another process.
    Detach,
    /// Of a newer version.
    #[serde(other)]
    Unrecognised,
}

impl Verb {
    /// The word in events, lines and answers.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote { .. } => "promote",
            Self::Abort { .. } => "abort",
            Self::Rollback => "rollback",
            Self::RetryFailed => "retry",
            Self::Converge { .. } => "converge",
            Self::Detach => "detach",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// A verb, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    #[serde(flatten)]
    pub verb: Verb,
    /// The name in the client's certificate, or the user.
    pub who: String,
    /// Why, as the person said it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Request {
    /// A sentence that says what a person did, and why: "paused by eve: lunch".
    #[must_use]
    pub fn because(&self, done: &str) -> String {
        match self.reason.is_empty() {
            true => format!("{done} by {}", self.who),
            false => format!("{done} by {}: {}", self.who, self.reason),
        }
    }
}

/// What is answered to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// It is journalled and under way.
    Done,
    /// Nothing changes; why, in a sentence.
    Refused(String),
}

/// A request on its way to the engine.
#[derive(Debug)]
pub struct Control {
    /// What is asked, and by whom.
    pub request: Request,
    /// Is told when the request is in the journal; dropped unanswered when the engine ended before.
    pub answer: oneshot::Sender<Answer>,
}

/// Asks, and waits for the answer; `None` when the engine has ended.
pub async fn ask(to: &mpsc::Sender<Control>, request: Request) -> Option<Answer> {
    let (answer, answered) = oneshot::channel();
    to.send(Control { request, answer }).await.ok()?;
    answered.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_what_it_writes_and_survives_a_verb_of_a_newer_version() {
        let request = Request {
            verb: Verb::Promote {
                accept_inconclusive: Some("too few requests at night".into()),
            },
            who: "eve".into(),
            reason: String::new(),
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"verb":"promote","accept_inconclusive":"too few requests at night","who":"eve"}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        let newer: Request = serde_json::from_str(r#"{"verb":"levitate","who":"eve"}"#).unwrap();
        assert_eq!(newer.verb, Verb::Unrecognised);
    }
}
