//! A request on its way to a server: sent over HTTP, its reply read, and notes at a terminal while that takes long.

use super::api_call::{ApiCall, KEY};
use super::http_agent::{HttpAnswer, TransportError, transmit};
use super::output::{self, CliError, ServerReply};
use super::screen;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// A wait of this time for a lock is said at a terminal.
pub(super) const LOCK_NOTE_AFTER: Duration = Duration::from_secs(1);
/// An answer that is late by this time is said at a terminal.
const SERVER_NOTE_AFTER: Duration = Duration::from_secs(2);
/// Time for a look at the holder of a lock that is waited for.
const HOLDER_LOOK_TIME: Duration = Duration::from_secs(1);
/// The status of an answer that has no body.
const NO_CONTENT: u16 = 204;
/// The longest answer that is read, in bytes: ten thousand results of a batch are a few million.
const REPLY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The part of a file that is read at a time, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// The header of an answer that was given before.
pub(super) const REPLAYED: &str = "Idempotency-Replayed";

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

/// The answer to a request for a stream of entries.
pub(crate) enum StreamReply {
    /// The stream.
    Stream(Box<dyn Read>),
    /// A reply instead.
    Reply(ServerReply),
}

/// The type of a stream of entries.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Requests a stream of entries from a server.
pub(super) fn open_stream(base: &str, token: Option<&str>, call: &ApiCall) -> Result<StreamReply, TransportError> {
    let answer = transmit(base, token, call)?;
    if answer.headers().get("content-type").is_some_and(|sent| sent == EVENT_STREAM) {
        return Ok(StreamReply::Stream(Box::new(answer.into_body().into_reader())));
    }
    read_reply(answer).map(StreamReply::Reply)
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
        Some("resting") => "which rests until its period is over".to_owned(),
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
