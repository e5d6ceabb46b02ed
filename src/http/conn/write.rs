//! Encoding and sending responses.

use std::io::{ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tiny_http::{HTTPVersion, StatusCode};

use super::service::{Body, Limits, Presence, RequestHead, Response};
use super::socket::{ClientSocket, SocketError};

/// Bytes of a head with the headers we usually send.
const HEAD_CAPACITY: usize = 384;

/// Time for which a line `Date` is used again. It counts whole seconds.
const DATE_AGE_MAX: Duration = Duration::from_millis(100);

/// Headers that the connection sets itself.
const FRAMING: [&str; 5] = ["content-length", "transfer-encoding", "connection", "trailer", "upgrade"];

/// Bytes of a stream that are sent at a time.
const STREAM_STEP: usize = 32 * 1024;

/// The form in which the response to a request must be written.
#[derive(Clone, Copy)]
pub(super) struct ResponseMode {
    pub(super) head_only: bool,
    pub(super) http_1_0: bool,
    /// True if the client wants the connection kept open.
    pub(super) keep_alive: bool,
}

impl ResponseMode {
    /// For a client that is refused before it has sent a request.
    pub(super) const UNKNOWN: ResponseMode = ResponseMode { head_only: false, http_1_0: false, keep_alive: false };

    /// For a head that cannot be read, of which `bytes` came. A HEAD request gets no body.
    pub(super) fn of_unread(bytes: &[u8]) -> ResponseMode {
        ResponseMode { head_only: bytes.starts_with(b"HEAD "), ..ResponseMode::UNKNOWN }
    }

    pub(super) fn of(head: &RequestHead) -> ResponseMode {
        ResponseMode { head_only: head.method == "HEAD", http_1_0: head.http_1_0, keep_alive: head.keep_alive() }
    }
}

/// Sends a response, or calls its `undelivered`. `closes`: the connection ends after it. A stream for an HTTP/1.0 client
/// ends with the connection, so `closes` must hold; see [`must_close`].
pub(super) fn send_response(
    socket: &mut ClientSocket,
    response: Response,
    mode: ResponseMode,
    closes: bool,
    limits: &Limits,
) -> Result<(), SocketError> {
    let Response { status, headers, body, undelivered, .. } = response;
    // A socket takes bytes also for a client that has disconnected, so the presence is asked before anything is written.
    let is_connected = undelivered.is_none() || Presence::of(socket.stream()).is_connected();
    let sent =
        if is_connected { send(socket, status, headers, body, mode, closes, limits) } else { Err(SocketError::Closed) };
    if let (Err(_), Some(undelivered)) = (&sent, undelivered) {
        // Even if it panics, the connection is over and its permit has to be returned.
        let _ = catch_unwind(AssertUnwindSafe(undelivered));
    }
    sent
}

/// The rest of a response.
pub(super) struct UnsentRest {
    pub(super) bytes: Vec<u8>,
    /// The number of bytes that are sent.
    pub(super) sent: usize,
    pub(super) undelivered: Option<Box<dyn FnOnce() + Send>>,
}

/// Sends the rest of a response, or calls its `undelivered`.
pub(super) fn send_rest(socket: &mut ClientSocket, rest: UnsentRest, limits: &Limits) -> Result<(), SocketError> {
    let written = socket.write_all(&rest.bytes[rest.sent..], limits.write_time);
    if let (Err(_), Some(undelivered)) = (&written, rest.undelivered) {
        let _ = catch_unwind(AssertUnwindSafe(undelivered)); // as above
    }
    written
}

/// A whole response of bytes, on a connection that stays open.
pub(super) fn encode_response(response: Response, mode: ResponseMode) -> Vec<u8> {
    let Response { status, headers, body: Body::Bytes(bytes), .. } = response else {
        unreachable!("a stream is not sent at once");
    };
    encode_bytes(status, headers, &bytes, mode, false)
}

fn encode_bytes(
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: &[u8],
    mode: ResponseMode,
    closes: bool,
) -> Vec<u8> {
    let mut whole = encode_head(status, headers, Some(body.len()), mode, closes);
    if !mode.head_only && !has_no_body(status) {
        whole.extend_from_slice(body);
    }
    whole
}

/// True if only closing the connection can end this body.
pub(super) fn must_close(body: &Body, mode: ResponseMode) -> bool {
    mode.http_1_0 && matches!(body, Body::Stream(_))
}

fn send(
    socket: &mut ClientSocket,
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    mode: ResponseMode,
    closes: bool,
    limits: &Limits,
) -> Result<(), SocketError> {
    match body {
        Body::Bytes(bytes) => socket.write_all(&encode_bytes(status, headers, &bytes, mode, closes), limits.write_time),
        Body::Stream(reader) => {
            let head = encode_head(status, headers, None, mode, closes);
            socket.write_all(&head, limits.write_time)?;
            if mode.head_only || has_no_body(status) {
                return Ok(());
            }
            send_stream(socket, reader, !mode.http_1_0, limits).inspect_err(|_| socket.reset_on_close())
        }
    }
}

/// Frames the chunks here: tiny_http's own encoder ends a stream properly even when its reader failed.
fn send_stream(
    socket: &mut ClientSocket,
    mut reader: Box<dyn Read + Send>,
    chunked: bool,
    limits: &Limits,
) -> Result<(), SocketError> {
    let mut step = vec![0; STREAM_STEP];
    let mut frame = Vec::new();
    loop {
        let count = match catch_unwind(AssertUnwindSafe(|| reader.read(&mut step))) {
            Ok(Ok(count)) => count,
            Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(Err(_)) | Err(_) => return Err(SocketError::Closed),
        };
        if !chunked {
            if count == 0 {
                return Ok(());
            }
            socket.write_all(&step[..count], limits.write_time)?;
            continue;
        }
        frame.clear();
        frame.extend_from_slice(format!("{count:x}\r\n").as_bytes());
        frame.extend_from_slice(&step[..count]);
        frame.extend_from_slice(b"\r\n");
        socket.write_all(&frame, limits.write_time)?;
        if count == 0 {
            return Ok(());
        }
    }
}

fn has_no_body(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

/// A whole head, in a buffer with room for the body. `length` is that of the body; None is a stream's.
pub(super) fn encode_head(
    status: u16,
    headers: Vec<(&'static str, String)>,
    length: Option<usize>,
    mode: ResponseMode,
    closes: bool,
) -> Vec<u8> {
    let body_capacity = if mode.head_only { 0 } else { length.unwrap_or(0) };
    let mut head = Vec::with_capacity(HEAD_CAPACITY + body_capacity);
    // Always HTTP/1.1, the version of this server, also for an HTTP/1.0 client.
    let reason = StatusCode(status).default_reason_phrase();
    let _ = write!(head, "HTTP/1.1 {status} {reason}\r\nServer: cashbox\r\n"); // a vector takes every write
    if headers.last().is_none_or(|(name, _)| *name != "Date") {
        push_date(&mut head); // unless the service has one, as its last header
    }
    for (name, value) in headers.iter().filter(|(name, _)| !FRAMING.iter().any(|own| own.eq_ignore_ascii_case(name))) {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        push_value(&mut head, value);
        head.extend_from_slice(b"\r\n");
    }
    match length {
        _ if has_no_body(status) => {}
        Some(length) => _ = write!(head, "Content-Length: {length}\r\n"),
        None if mode.http_1_0 => {}
        None => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if closes {
        head.extend_from_slice(b"Connection: close\r\n");
    } else if mode.http_1_0 {
        head.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// A value that cannot add a line to the head.
fn push_value(head: &mut Vec<u8>, value: &str) {
    let allowed = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
    if value.bytes().all(allowed) {
        head.extend_from_slice(value.as_bytes());
    } else {
        head.extend(value.chars().map(|c| u8::try_from(c).ok().filter(|byte| allowed(*byte)).unwrap_or(b'?')));
    }
}

/// The line `Date`, formatted by tiny_http once in [`DATE_AGE_MAX`].
fn push_date(head: &mut Vec<u8>) {
    static LINE: Mutex<Option<(Instant, Vec<u8>)>> = Mutex::new(None);
    let mut line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, bytes) = match line.take() {
        Some(recent) if recent.0.elapsed() < DATE_AGE_MAX => line.insert(recent),
        _ => line.insert((Instant::now(), date_line())),
    };
    head.extend_from_slice(bytes);
}

fn date_line() -> Vec<u8> {
    let mut head = Vec::new();
    tiny_http::Response::empty(StatusCode(204))
        .raw_print(&mut head, HTTPVersion(1, 1), &[], true, None)
        .expect("a vector takes every write");
    let lines = head.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| line.starts_with(b"Date: ")).flatten().copied().collect()
}
