//! Gates that ask something else than the nodes: a Prometheus server, or a program. What they may say is checked when the
//! policy is read; asking is `engine::gate`'s.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::policy::amount::Span;
use crate::policy::number::Number;

/// A query to a Prometheus server. Every value of the answer must be within the bounds; an answer without values is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Promql {
    /// `http` or `https`, with an optional path in front of `/api/v1/query`; no user, no query.
    pub url: String,
    /// PromQL. `$nodes` and `$control` stand for regular expressions that match the names of the wave's nodes and of the control
    /// set, `$window` for the time since the wave resumed, such as `42s`.
    pub query: String,
    /// No value may be greater.
    pub at_most: Option<Number>,
    /// No value may be smaller.
    pub at_least: Option<Number>,
    /// From connecting to the last byte; 1ms to 5m. Default 10s.
    pub timeout: Span,
    /// PEM with the issuers that are trusted for `https`; default those of the system.
    pub ca: Option<PathBuf>,
    /// A file whose first line is sent as bearer token.
    pub token_file: Option<PathBuf>,
}

/// A program, run by the controller without a shell. Exit code 0 passes the gate, 1 trips it, all else is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenExec", into = "WrittenExec")]
pub struct Exec {
    /// The program, then its arguments.
    pub command: Vec<String>,
    /// Until it is killed, with all that it started; 1ms to 5m. Default 30s.
    pub timeout: Span,
}

/// The longest that a custom gate may take.
const LONGEST: Span = Span::from_secs(300);
/// Most bytes of a query or of all arguments.
const MAX_TEXT: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    url: String,
    query: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<Number>,
    #[serde(default = "ten_seconds")]
    timeout: Span,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenExec {
    #[serde(deserialize_with = "one_or_many")]
    command: Vec<String>,
    #[serde(default = "thirty_seconds")]
    timeout: Span,
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

fn thirty_seconds() -> Span {
    Span::from_secs(30)
}

fn check_timeout(timeout: Span) -> Result<(), String> {
    if timeout.get().is_zero() || timeout > LONGEST {
        return Err(format!("timeout: {timeout} is not within 1ms to 5m"));
    }
    Ok(())
}

impl TryFrom<Written> for Promql {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written {
            url,
            query,
            at_most,
            at_least,
            timeout,
            ca,
            token_file,
        } = written;
        check_timeout(timeout)?;
        let wrong = |why: &str| Err(format!("url: `{url}` {why}"));
        let Ok(uri) = url.parse::<tonic::transport::Uri>() else {
            return wrong("is no URL; write http://prometheus.example:9090");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https"))
            || uri.host().is_none_or(str::is_empty)
        {
            return wrong("is no URL; write http://prometheus.example:9090");
        }
        if uri
            .authority()
            .is_some_and(|host| host.as_str().contains('@'))
        {
            return Err(
                "url: holds a user or a password; name a file with a bearer token by token_file"
                    .to_owned(),
            );
        }
        if uri.query().is_some() {
            return wrong("holds a query; it belongs into `query`");
        }
        if query.trim().is_empty() || query.len() > MAX_TEXT {
            return Err(format!("query: must have 1 to {MAX_TEXT} bytes"));
        }
        match (at_most, at_least) {
            (None, None) => return Err("a promql gate needs at_most, at_least or both".to_owned()),
            (Some(most), Some(least)) if most.get() < least.get() => {
                return Err(format!(
                    "at_most {most} is below at_least {least}: nothing can pass"
                ));
            }
            _ => {}
        }
        Ok(Self {
            url,
            query,
            at_most,
            at_least,
            timeout,
            ca,
            token_file,
        })
    }
}

impl From<Promql> for Written {
    fn from(promql: Promql) -> Self {
        let Promql {
            url,
            query,
            at_most,
            at_least,
            timeout,
            ca,
            token_file,
        } = promql;
        Self {
            url,
            query,
            at_most,
            at_least,
            timeout,
            ca,
            token_file,
        }
    }
}

impl TryFrom<WrittenExec> for Exec {
    type Error = String;

    fn try_from(WrittenExec { command, timeout }: WrittenExec) -> Result<Self, String> {
        check_timeout(timeout)?;
        if command.first().is_none_or(String::is_empty) {
            return Err("command: must name a program".to_owned());
        }
        if command.iter().any(|word| word.contains('\0')) {
            return Err("command: a word with a NUL cannot be passed to a program".to_owned());
        }
        if command.iter().map(String::len).sum::<usize>() > MAX_TEXT {
            return Err(format!("command: must have at most {MAX_TEXT} bytes"));
        }
        Ok(Self { command, timeout })
    }
}

impl From<Exec> for WrittenExec {
    fn from(Exec { command, timeout }: Exec) -> Self {
        Self { command, timeout }
    }
}

impl fmt::Display for Promql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "promql {}", self.query)?;
        if let Some(most) = self.at_most {
            write!(f, " at most {most}")?;
        }
        if let Some(least) = self.at_least {
            write!(f, " at least {least}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec {}", self.command.join(" "))
    }
}

/// A program alone, or a list with its arguments. A text is one word, whatever it holds: there is no shell.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Words;
    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a program, or a list of a program and its arguments")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<String>, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(Words)
}
