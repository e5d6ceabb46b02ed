//! The HTTP client of the command line: one connection for each request, without proxies and redirects, because an access
//! token goes to the named server only; with the feature `tls` also over TLS.
//!
//! A connection that fails, its TLS handshake included, has sent nothing of the request.

use super::api_call::ApiCall;
use super::output::CliError;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};

/// Time for a server to accept a connection, and to prove that it has the file.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a server gave no reply.
pub(super) enum TransportError {
    /// The request was not sent.
    NotReached(String),
    /// The request was sent, and its effect is not known.
    Lost(String),
    /// The same: there was no answer in time.
    TimedOut,
    /// The request cannot be sent to any server.
    Unsendable(String),
    /// The server does not answer as cashbox does.
    NotCashbox(u16),
    /// The server does not know the secret in the companion file. Nothing but a challenge was sent to it.
    NotThisFile,
}

impl TransportError {
    /// The reason alone.
    fn reason(self) -> String {
        match self {
            TransportError::NotReached(why) | TransportError::Lost(why) | TransportError::Unsendable(why) => why,
            TransportError::TimedOut => "no answer in time".to_owned(),
            TransportError::NotCashbox(status) => format!("it answers {status}"),
            TransportError::NotThisFile => "it is another server".to_owned(),
        }
    }

    /// The same as the error of a command.
    pub(super) fn at(self, url: &str, call: &ApiCall) -> CliError {
        let doubt = call.doubt();
        match self {
            TransportError::NotReached(why) => CliError::unreachable(format!("cannot reach {url}: {why}")),
            TransportError::Lost(why) => CliError::unreachable(format!("no answer from {url}: {why}{doubt}")),
            TransportError::TimedOut => {
                let time = call.total_timeout.unwrap_or(call.answer_timeout).as_secs();
                CliError::unreachable(format!("no answer from {url} in {time} seconds{doubt}"))
            }
            TransportError::NotCashbox(status) => {
                CliError::unreachable(format!("{url} answers {status}, and not in the words of cashbox: check the URL"))
            }
            TransportError::NotThisFile => CliError::unreachable(format!(
                "{url} is not the server that has this file; nothing was sent: use --url"
            )),
            TransportError::Unsendable(why) => CliError::usage(format!("this cannot be sent to {url}: {why}")),
        }
    }
}

/// An error of a connection that was made.
impl From<ureq::Error> for TransportError {
    fn from(error: ureq::Error) -> TransportError {
        use ureq::Error::*;
        match &error {
            Http(_) | BadUri(_) => TransportError::Unsendable(error.to_string()),
            Timeout(_) => TransportError::TimedOut,
            _ => TransportError::Lost(error.to_string()),
        }
    }
}

/// The answer of a server, its body unread.
pub(super) type HttpAnswer = ureq::http::Response<ureq::Body>;

/// Sends a request, and gives the answer when its head has come.
pub(super) fn transmit(base: &str, token: Option<&str>, call: &ApiCall) -> Result<HttpAnswer, TransportError> {
    let (agent, is_connected) = agent(base, config(call))?;
    let mut request = ureq::http::Request::builder().method(call.method).uri(format!("{base}{}", call.uri));
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let has_no_body = matches!(call.method, "GET" | "DELETE"); // the others state its length, 0 too
    let answer = if has_no_body {
        request.body(()).map_err(ureq::Error::from).and_then(|request| agent.run(request))
    } else {
        request.body(call.body.as_slice()).map_err(ureq::Error::from).and_then(|request| agent.run(request))
    };
    answer.map_err(|error| if is_connected.load(Ordering::Relaxed) { error.into() } else { not_reached(&error) })
}

/// A request to another program than cashbox.
pub(super) struct HttpPost<'a> {
    /// The URL.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a [(&'static str, &'a str)],
    /// Its body.
    pub body: &'a [u8],
    /// Time for all of it.
    pub timeout: Duration,
}

/// Posts to another program, and gives the status of its answer, whose body is not read; or the reason why there is none.
pub(super) fn post(sent: &HttpPost<'_>) -> Result<u16, String> {
    let config = plain_config().timeout_global(Some(sent.timeout));
    let (agent, _) = agent(sent.url, config).map_err(TransportError::reason)?;
    let mut request = ureq::http::Request::post(sent.url);
    for (name, value) in sent.headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(sent.body).map_err(ureq::Error::from).and_then(|request| agent.run(request));
    match answer {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(ureq::Error::Timeout(_)) => Err(format!("no answer within {} s", sent.timeout.as_secs().max(1))),
        Err(error) => Err(not_reached(&error).reason()),
    }
}

/// An agent for one request, and the sign that it has connected.
fn agent(url: &str, config: ConfigBuilder<AgentScope>) -> Result<(ureq::Agent, Arc<AtomicBool>), TransportError> {
    let connector = NotedConnector::default();
    let is_connected = Arc::clone(&connector.is_connected);
    #[cfg(feature = "tls")]
    let config = match url.starts_with("https:") {
        true => config.tls_config(super::tls::config().map_err(TransportError::NotReached)?),
        false => config,
    };
    #[cfg(not(feature = "tls"))]
    let _ = url;
    Ok((ureq::Agent::with_parts(config.build(), connector, DefaultResolver::default()), is_connected))
}

fn plain_config() -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
}

fn config(call: &ApiCall) -> ConfigBuilder<AgentScope> {
    plain_config()
        .timeout_recv_response(Some(call.answer_timeout))
        .timeout_recv_body(Some(call.answer_timeout))
        .timeout_global(call.total_timeout)
}

/// Connects as usual, and notes when that is done.
#[derive(Debug, Default)]
struct NotedConnector {
    inner: DefaultConnector,
    is_connected: Arc<AtomicBool>,
}

impl Connector for NotedConnector {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<()>) -> Result<Option<Self::Out>, ureq::Error> {
        let transport = self.inner.connect(details, chained)?;
        self.is_connected.store(true, Ordering::Relaxed);
        Ok(transport)
    }
}

/// The reason of a connection that was not made.
fn not_reached(error: &ureq::Error) -> TransportError {
    use ureq::Error::*;
    TransportError::NotReached(match error {
        Http(_) | BadUri(_) => return TransportError::Unsendable(error.to_string()),
        Io(io) if io.kind() == ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        #[cfg(feature = "tls")]
        Io(io) if super::tls::reason(io).is_some() => super::tls::reason(io).unwrap_or_default(),
        Io(io) => io.to_string(),
        other => other.to_string(),
    })
}
