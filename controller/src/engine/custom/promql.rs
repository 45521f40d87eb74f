//! A gate that is an instant query to a Prometheus server (`/api/v1/query`). Every value of the answer must be within the bounds. No
//! value, a value that is no number, and every trouble on the way are inconclusive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::engine::custom::{Subject, quoted};
use crate::engine::gate::Verdict;
use crate::output::count;
use crate::policy::Promql;

/// Most bytes of an answer.
const ANSWER: usize = 4 << 20;
/// Most bytes of a token.
const TOKEN: usize = 64 * 1024;
/// Where systems keep the certificates that they trust; the first that is there.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Asks the server.
pub(super) async fn ask(promql: &Promql, subject: &Subject) -> Verdict {
    let answer = match timeout(promql.timeout.get(), query(promql, subject)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {}", promql.timeout)),
    };
    let values = match answer {
        Ok(values) => values,
        Err(why) => return Verdict::Inconclusive(vec![format!("promql at {}: {why}", promql.url)]),
    };
    judge(promql, &values)
}

fn judge(promql: &Promql, values: &[(String, f64)]) -> Verdict {
    if values.is_empty() {
        return Verdict::Inconclusive(vec![format!("{promql}: the answer has no value")]);
    }
    let outside = |value: f64| {
        promql.at_most.is_some_and(|most| value > most.get())
            || promql.at_least.is_some_and(|least| value < least.get())
    };
    let (mut over, mut unknown) = (Vec::new(), Vec::new());
    for (series, value) in values {
        if value.is_nan() {
            unknown.push(format!("{series} is no number"));
        } else if outside(*value) {
            over.push(format!("{series} is {value}"));
        }
    }
    let say = |found: &[String]| {
        let more = match found.len() {
            1 => String::new(),
            all => format!(", and {}", count(all as u64 - 1, "other value")),
        };
        vec![format!("{promql}: {}{more}", found[0])]
    };
    match (over.is_empty(), unknown.is_empty()) {
        (false, _) => Verdict::Trip(say(&over)),
        (true, false) => Verdict::Inconclusive(say(&unknown)),
        (true, true) => Verdict::Pass,
    }
}

/// What the server answers: labels and value of each sample.
async fn query(promql: &Promql, subject: &Subject) -> Result<Vec<(String, f64)>, String> {
    let uri: Uri = promql.url.parse().map_err(|error| format!("{error}"))?;
    let host = uri.host().ok_or("the URL names no host")?;
    // An IPv6 address is in brackets in a URL, and nowhere else.
    let bare = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tcp = TcpStream::connect((bare.as_str(), port))
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let request = request(promql, subject, &uri)?;
    if !secure {
        return exchange(tcp, request).await;
    }
    let config = tls(promql.ca.as_deref())?;
    let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
    let tls = tokio_rustls::TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| format!("TLS: {error}"))?;
    exchange(tls, request).await
}

fn request(promql: &Promql, subject: &Subject, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
    let path = format!("{}/api/v1/query", uri.path().trim_end_matches('/'));
    let query = promql
        .query
        .replace("$nodes", &any_of(&subject.nodes))
        .replace("$control", &any_of(&subject.control))
        .replace("$window", &subject.window());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("midflight/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(format!("query={}", percent(&query)))))
        .map_err(|error| error.to_string())?;
    if let Some(file) = &promql.token_file {
        let token = token(file)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| format!("{}: the first line is no token", file.display()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

fn token(file: &PathBuf) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() && token.len() <= TOKEN => Ok(token.to_owned()),
        _ => Err(format!("{}: the first line is no token", file.display())),
    }
}

/// A regular expression, in a PromQL string, that matches these names and no others.
fn any_of(names: &[String]) -> String {
    let mut all = String::new();
    for name in names {
        if !all.is_empty() {
            all.push('|');
        }
        for c in name.chars() {
            if !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_') {
                // Once for the expression, once for the string that it stands in.
                all.push_str("\\\\");
            }
            all.push(c);
        }
    }
    all
}

/// As a form has it.
fn percent(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                all.push(char::from(byte));
            }
            _ => all.push_str(&format!("%{byte:02X}")),
        }
    }
    all
}

fn tls(ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, String> {
    let named = ca.map(Path::to_owned).or_else(|| {
        let mut known = SYSTEM_ROOTS.iter().map(PathBuf::from);
        known.find(|path| path.exists())
    });
    let file = named.ok_or("the system has no list of trusted issuers; name one with `ca`")?;
    let wrong = |problem: String| format!("{}: {problem}", file.display());
    let mut roots = rustls::RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(&file).map_err(|error| wrong(error.to_string()))?;
    // Some systems list issuers that are too old to be understood.
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Vec<(String, f64)>, String> {
    let broken = |error: hyper::Error| format!("HTTP: {}", crate::error::chain(&error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| format!("HTTP: {error}"))?.to_bytes();
        read(status, &body)
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end before its last answer is read.
        _ = connection => answer.await,
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    metric: std::collections::BTreeMap<String, String>,
    value: (f64, String),
}

fn read(status: StatusCode, body: &[u8]) -> Result<Vec<(String, f64)>, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| match status.is_success() {
            true => format!("the answer does not read: {error}"),
            false => format!("{status}: {}", quoted(&String::from_utf8_lossy(body))),
        })?;
    let error = answer.error.as_deref().map(quoted).unwrap_or_default();
    let data = match answer.data {
        Some(data) if status.is_success() && answer.status == "success" => data,
        _ => return Err(format!("{status}: {error}")),
    };
    let wrong = |error: serde_json::Error| format!("the answer does not read: {error}");
    let samples: Vec<Sample> = match data.result_type.as_str() {
        "vector" => serde_json::from_value(data.result).map_err(wrong)?,
        "scalar" => {
            let value = serde_json::from_value(data.result).map_err(wrong)?;
            let metric = std::collections::BTreeMap::new();
            vec![Sample { metric, value }]
        }
        other => {
            return Err(format!(
                "the query gives a {}, and a gate needs a vector or a scalar",
                quoted(other)
            ));
        }
    };
    let value = |sample: Sample| {
        let labels: Vec<String> = sample
            .metric
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let series = match labels.is_empty() {
            true => "the value".to_owned(),
            false => quoted(&format!("{{{}}}", labels.join(","))),
        };
        // Prometheus writes +Inf, -Inf and NaN.
        let value = sample.value.1.parse::<f64>();
        value
            .map(|value| (series, value))
            .map_err(|_| format!("{} is no value", quoted(&sample.value.1)))
    };
    samples.into_iter().map(value).collect()
}
