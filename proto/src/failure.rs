//! A `Failure` inside a gRPC status: encoded by the agent, decoded by the controller, so that a person reads the same
//! words (what, where, what to do) whichever side prints them.

use prost::Message;
use tonic::{Code, Status};

use crate::agent::v1::Failure;

impl Failure {
    /// As a gRPC status of the given code; the failure rides in its details.
    pub fn into_status(self, code: Code) -> Status {
        let details = self.encode_to_vec();
        Status::with_details(code, self.to_string(), details.into())
    }

    /// The failure in a status, when its sender put one there.
    pub fn from_status(status: &Status) -> Option<Failure> {
        if status.details().is_empty() {
            return None;
        }
        Failure::decode(status.details())
            .ok()
            .filter(|f| !f.code.is_empty())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.what)?;
        if !self.subject.is_empty() {
            write!(f, " ({})", self.subject)?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_way_through_a_status() {
        let failure = Failure {
            code: "MF0401".into(),
            what: "no".into(),
            subject: "counter".into(),
            ..Default::default()
        };
        let status = failure.clone().into_status(Code::FailedPrecondition);
        assert_eq!(Failure::from_status(&status), Some(failure));
        assert_eq!(status.message(), "MF0401: no (counter)");
    }

    #[test]
    fn a_status_without_details_or_with_rubbish_holds_no_failure() {
        assert_eq!(Failure::from_status(&Status::internal("x")), None);
        let rubbish = Status::with_details(Code::Internal, "x", vec![0xff, 0xff, 0x01].into());
        assert_eq!(Failure::from_status(&rubbish), None);
    }

    #[test]
    fn an_unknown_enum_member_does_not_break_a_reader() {
        let failure = Failure {
            code: "MF0401".into(),
            phase: 9_999,
            ..Default::default()
        };
        let read = Failure::decode(failure.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.phase(), crate::agent::v1::Phase::Unspecified);
    }
}
