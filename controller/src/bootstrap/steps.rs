//! What is to be done on a host, of what it is to have and what was found there. Decided before anything is changed, so that a
//! host is refused whole, and a dry run says what a run would do.

use crate::bootstrap::probe::{Agent, Found, Probe};
use crate::bootstrap::wanted::{Existing, File};
use crate::output::count;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Steps {
    /// The files that are written, by their positions.
    pub put: Vec<usize>,
    /// The files that are others than are wanted, and stay.
    pub kept: Vec<usize>,
    /// What happens to the agent.
    pub service: Service,
}

/// What happens to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It runs, and goes on.
    Leave,
    /// It does not run, and is started.
    Start,
    /// It runs, and is started again.
    Restart,
}

impl Service {
    /// As it is told when it has happened.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "runs",
            Self::Start => "started",
            Self::Restart => "restarted",
        }
    }
}

/// Why nothing is done on a host.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// A restart would lose actors; in words how many, or that it is not known.
    Actors(String),
    /// Something that is no file stands where one is to be.
    InTheWay(String),
}

/// Decides. `lose_state` allows to start an agent again that holds actors.
///
/// # Errors
/// [`Refused`].
pub fn decide(wanted: &[File], found: &Probe, lose_state: bool) -> Result<Steps, Refused> {
    let (mut put, mut kept, mut restart) = (Vec::new(), Vec::new(), false);
    for (at, file) in wanted.iter().enumerate() {
        match found.files.get(&file.path) {
            Some(Found::Other) => return Err(Refused::InTheWay(file.path.clone())),
            Some(Found::File(digest, _)) if file.existing == Existing::Keep => {
                if *digest != file.digest.hex() {
                    kept.push(at);
                }
            }
            Some(Found::File(digest, mode))
                if *digest == file.digest.hex() && *mode == shown(file.mode) => {}
            _ => {
                restart |= file.existing == Existing::ReplaceAndRestart;
                put.push(at);
            }
        }
    }
    let runs = found.agent != Agent::None || found.kept;
    let service = match (runs, restart) {
        (false, _) => Service::Start,
        (true, false) => Service::Leave,
        (true, true) => Service::Restart,
    };
    if service == Service::Restart && !lose_state {
        match &found.agent {
            Agent::Runs(status) if status.actors > 0 => {
                return Err(Refused::Actors(count(status.actors, "actor")));
            }
            Agent::Unknown => {
                return Err(Refused::Actors(
                    "a number of actors that it does not say".to_owned(),
                ));
            }
            // One that is kept running and does not answer is on its way, or fails again and again.
            Agent::Runs(_) | Agent::None => {}
        }
    }
    Ok(Steps { put, kept, service })
}

impl Steps {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.service == Service::Leave
    }
}

/// Permissions as `ls -l` shows them of a file.
fn shown(mode: &str) -> String {
    let mut text = String::from("-");
    for digit in mode.bytes().skip(1) {
        let bits = digit - b'0';
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if bits & bit == 0 { '-' } else { letter });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::probe::Status;

    fn wanted() -> Vec<File> {
        let file = |name: &str, existing| {
            File::new(format!("/x/{name}"), name.as_bytes().into(), existing)
        };
        vec![
            file("agent", Existing::ReplaceAndRestart).executable(),
            file("release", Existing::Replace),
            file("signers", Existing::Keep),
        ]
    }

    /// All that is wanted, and an agent with so many actors.
    fn found(actors: u64) -> Probe {
        let mut probe = Probe::default();
        for file in wanted() {
            let found = Found::File(file.digest.hex(), shown(file.mode));
            probe.files.insert(file.path, found);
        }
        probe.kept = true;
        probe.agent = Agent::Runs(Status {
            actors,
            ..Status::default()
        });
        probe
    }

    fn other() -> Found {
        Found::File("00".into(), "-rw-r--r--".into())
    }

    fn steps(probe: &Probe, lose_state: bool) -> (Vec<usize>, Vec<usize>, Service) {
        let steps = decide(&wanted(), probe, lose_state).unwrap();
        (steps.put, steps.kept, steps.service)
    }

    #[test]
    fn an_empty_host_gets_everything_and_is_started() {
        let steps = steps(&Probe::default(), false);
        assert_eq!(steps, (vec![0, 1, 2], vec![], Service::Start));
    }

    #[test]
    fn a_host_that_has_everything_is_left_alone() {
        let steps = decide(&wanted(), &found(5), false).unwrap();
        assert!(steps.is_empty(), "{steps:?}");
    }

    #[test]
    fn signer_files_stay_as_they_are_and_that_is_told() {
        let mut probe = found(5);
        probe.files.insert("/x/signers".into(), other());
        assert_eq!(steps(&probe, true), (vec![], vec![2], Service::Leave));
    }

    #[test]
    fn permissions_count_as_a_difference() {
        let mut probe = found(5);
        let Some(Found::File(digest, _)) = probe.files.get("/x/release").cloned() else {
            panic!("it is there");
        };
        let open = Found::File(digest, "-rw-rw-rw-".into());
        probe.files.insert("/x/release".into(), open);
        assert_eq!(steps(&probe, false), (vec![1], vec![], Service::Leave));
    }

    #[test]
    fn an_agent_that_holds_actors_is_started_again_only_when_that_was_asked_for() {
        let mut probe = found(5);
        probe.files.insert("/x/agent".into(), other());
        let refused = decide(&wanted(), &probe, false).unwrap_err();
        assert_eq!(refused, Refused::Actors("5 actors".into()));
        assert_eq!(steps(&probe, true), (vec![0], vec![], Service::Restart));
        probe.agent = Agent::Unknown;
        assert!(matches!(
            decide(&wanted(), &probe, false),
            Err(Refused::Actors(_))
        ));
        probe.agent = Agent::Runs(Status::default());
        assert_eq!(steps(&probe, false), (vec![0], vec![], Service::Restart));
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let mut probe = found(0);
        probe.files.insert("/x/release".into(), Found::Other);
        let refused = decide(&wanted(), &probe, true).unwrap_err();
        assert_eq!(refused, Refused::InTheWay("/x/release".into()));
    }
}
