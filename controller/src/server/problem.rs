//! Errors on their way through gRPC: the status says what failed, and its details carry code, hint and exit code, so that a
//! verb that was asked of a server fails as it would have here.

use midflight_proto::controller::v1 as pb;
use prost::Message as _;
use tonic::{Code, Status};

use crate::error::{self, Error};

/// A status that carries an error.
#[must_use]
pub fn status(error: &Error) -> Status {
    let code = match error {
        Error::NoSuchRollout { .. } => Code::NotFound,
        Error::BadRolloutId { .. } | Error::Usage { .. } => Code::InvalidArgument,
        error if error.exit().code() == 2 => Code::FailedPrecondition,
        _ => Code::Internal,
    };
    let problem = pb::Problem {
        code: error.code().to_owned(),
        hint: error.hint(),
        exit: error.exit().code().into(),
    };
    Status::with_details(code, error::chain(error), problem.encode_to_vec().into())
}

/// The error that a status carries.
#[must_use]
pub fn error(status: &Status, server: &str) -> Error {
    match pb::Problem::decode(status.details()) {
        Ok(problem) if !problem.code.is_empty() => Error::Server {
            what: status.message().to_owned(),
            code: problem.code,
            hint: problem.hint,
            // An exit code of a newer version that fits nothing is an internal error.
            exit: u8::try_from(problem.exit).unwrap_or(1),
        },
        _ => Error::ServerLost {
            server: server.to_owned(),
            problem: format!("{}: {}", status.code().description(), status.message()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_what_it_was() {
        let sent = Error::NoTargets {
            pattern: "wbe".into(),
        };
        let got = error(&status(&sent), "here");
        assert_eq!(
            (got.code(), got.hint(), got.exit(), got.to_string()),
            (sent.code(), sent.hint(), sent.exit(), sent.to_string())
        );
        let lost = error(&Status::unavailable("gone"), "here");
        assert_eq!(lost.code(), "MF0543");
    }
}
