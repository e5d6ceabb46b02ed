//! A request on its way to a server: sent over HTTP, its reply read, and notes at a terminal while that takes long.

use super::api_call::{ApiCall, KEY};
use super::output::{self, CliError, ServerReply};
use super::screen;
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// A wait of this time for a lock is said at a terminal.
pub(super) const LOCK_NOTE_AFTER: Duration = Duration::from_secs(1);
/// An answer that is late by this time is said at a terminal.
const SERVER_NOTE_AFTER: Duration = Duration::from_secs(2);
/// Time for a look at the holder of a lock that is waited for.
const HOLDER_LOOK_TIME: Duration = Duration::from_secs(1);
/// Time for a server to accept a connection, and to prove that it has the file.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The status of an answer that has no body.
const NO_CONTENT: u16 = 204;
/// The longest answer that is read, in bytes: ten thousand results of a batch are a few million.
const REPLY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The part of a file that is read at a time, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// The header of an answer that was given before.
pub(super) const REPLAYED: &str = "Idempotency-Replayed";

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

impl From<ureq::Error> for TransportError {
    fn from(error: ureq::Error) -> TransportError {
        use ureq::Error::*;
        match &error {
            Http(_) | BadUri(_) => TransportError::Unsendable(error.to_string()),
            Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
                TransportError::NotReached("connection refused".to_owned())
            }
            HostNotFound | ConnectionFailed | Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                TransportError::NotReached(error.to_string())
            }
            Timeout(_) => TransportError::TimedOut,
            _ => TransportError::Lost(error.to_string()),
        }
    }
}

type HttpAnswer = ureq::http::Response<ureq::Body>;

/// Sends a request to a server, and says at a terminal why its answer is late.
pub(super) fn request(
    base: &str,
    token: Option<&str>,
    call: &ApiCall,
    wait: Duration,
    left: Option<Duration>,
) -> Result<ServerReply, TransportError> {
    let call = ApiCall { total_timeout: left, ..call.with_wait(wait) };
    let _notes = call.has_notes.then(|| LateNotes::begin(base, token, &call, wait));
    let reply = read_reply(transmit(base, token, &call)?)?;
    Ok(ServerReply { key: call.header(KEY).map(str::to_owned), ..reply })
}

/// Reads a reply in the form of this API; any other answer comes from another program.
pub(super) fn read_reply(mut answer: HttpAnswer) -> Result<ServerReply, TransportError> {
    let status = answer.status().as_u16();
    let replayed = answer.headers().contains_key(REPLAYED);
    let body = answer.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec();
    let body = json_object(&body.map_err(TransportError::from)?);
    if body["code"] == status || status == NO_CONTENT {
        Ok(ServerReply { replayed, ..ServerReply::new(status, body) })
    } else {
        Err(TransportError::NotCashbox(status))
    }
}

/// Sends a request without a proxy and without following redirects: an access token goes to the named server only.
pub(super) fn transmit(base: &str, token: Option<&str>, call: &ApiCall) -> Result<HttpAnswer, TransportError> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(call.answer_timeout))
        .timeout_recv_body(Some(call.answer_timeout))
        .timeout_global(call.total_timeout)
        .build()
        .new_agent();
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
    answer.map_err(TransportError::from)
}

/// The result of a request for a file.
pub(crate) enum Download {
    /// All of it is written.
    Complete,
    /// Writing it here failed.
    WriteFailed(io::Error),
    /// The server sent a reply instead.
    Reply(ServerReply),
}

/// Requests a file of that type from a server, and writes it as it arrives.
pub(crate) fn download(
    base: &str,
    token: Option<&str>,
    call: &ApiCall,
    content_type: &str,
    out: &mut dyn Write,
) -> Result<Download, CliError> {
    let mut answer = transmit(base, token, call).map_err(|error| error.at(base, call))?;
    if answer.headers().get("content-type").is_none_or(|sent| sent != content_type) {
        return read_reply(answer).map(Download::Reply).map_err(|error| error.at(base, call));
    }
    let mut bytes = answer.body_mut().as_reader();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match bytes.read(&mut chunk) {
            Ok(0) => return Ok(Download::Complete),
            Ok(count) => {
                if let Err(error) = out.write_all(&chunk[..count]) {
                    return Ok(Download::WriteFailed(error));
                }
            }
            Err(error) => return Err(TransportError::Lost(format!("it broke off: {error}")).at(base, call)),
        }
    }
}

/// Notes at a terminal that the lock is waited for; `lock` is a refusal or the lock itself, and names the holder.
pub(super) fn note_holder(id: &Value, lock: &Value) -> bool {
    if !screen::is_watched() {
        return false;
    }
    let holder = Some(output::text(&lock["holder"])).filter(|holder| !holder.is_empty());
    let holder = holder.unwrap_or_else(|| "another client".to_owned());
    let how = match lock["state"].as_str() {
        Some("revoked") => "revoked a moment ago".to_owned(),
        Some("grace") => format!("left by {holder}, whose lease has run out"),
        _ => format!("held by {holder}"),
    };
    screen::note(&format!("waiting for {}, {how}", output::text(id)));
    true
}

/// Notes at a terminal why an answer is late: on a thread of its own, until dropped.
pub(super) struct LateNotes {
    /// Dropped with it, which ends the thread.
    _answered: Sender<()>,
}

impl LateNotes {
    /// Watches a call that is about to be sent, if standard error is a terminal.
    pub(super) fn begin(base: &str, token: Option<&str>, call: &ApiCall, wait: Duration) -> Option<LateNotes> {
        if !screen::is_watched() {
            return None;
        }
        let (sender, answered) = mpsc::channel();
        let (base, token, call) = (base.to_owned(), token.map(str::to_owned), call.clone());
        std::thread::spawn(move || {
            let is_late = |after| answered.recv_timeout(after) == Err(RecvTimeoutError::Timeout);
            let begun = Instant::now();
            if !is_late(LOCK_NOTE_AFTER) {
                return;
            }
            let is_held = |id: &String| {
                let look = ApiCall::get(&["v1", "locks", id]).within(HOLDER_LOOK_TIME);
                let reply = transmit(&base, token.as_deref(), &look).and_then(read_reply).ok();
                let lock = reply.filter(|reply| reply.is_success() && reply.body["state"] != "free");
                lock.is_some_and(|lock| is_late(Duration::ZERO) && note_holder(&lock.body["id"], &lock.body))
            };
            let waits = !wait.is_zero() && call.locks.iter().any(is_held);
            if !waits && is_late(SERVER_NOTE_AFTER.saturating_sub(begun.elapsed())) {
                let most = call.total_timeout.unwrap_or(call.answer_timeout).as_secs();
                screen::note(&format!("no answer from {base} yet; waiting for at most {most} seconds{}", call.doubt()));
            }
        });
        Some(LateNotes { _answered: sender })
    }
}

/// The JSON object in a body, or null.
pub(super) fn json_object(body: &[u8]) -> Value {
    serde_json::from_slice(body).ok().filter(Value::is_object).unwrap_or(Value::Null)
}
