//! Answers, encoded and sent.

use std::io::{self, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tiny_http::{HTTPVersion, Header, StatusCode};

use super::head::RequestHead;
use super::socket::{Lost, Socket};
use super::{Body, Limits, Presence, Response};

/// What a head needs with the headers we usually send, in bytes.
const HEAD_ROOM: usize = 384;

/// How much of a stream is sent at a time, in bytes.
const STREAM_STEP: usize = 32 * 1024;

/// What the request says about how its answer is written.
#[derive(Clone, Copy)]
pub(super) struct ResponseMode {
    head_only: bool,
    http_1_0: bool,
    /// Whether the client would like the connection to stay.
    pub(super) stays: bool,
}

impl ResponseMode {
    /// For a client who is turned away before it has asked anything.
    pub(super) const UNKNOWN: ResponseMode = ResponseMode { head_only: false, http_1_0: false, stays: false };

    /// For a client whose head, of which this much came, cannot be read. One that asks for no body gets none.
    pub(super) fn of_unread(bytes: &[u8]) -> ResponseMode {
        ResponseMode { head_only: bytes.starts_with(b"HEAD "), ..ResponseMode::UNKNOWN }
    }

    pub(super) fn of(head: &RequestHead) -> ResponseMode {
        ResponseMode { head_only: head.method == "HEAD", http_1_0: head.http_1_0, stays: head.wants_to_stay() }
    }
}

/// Sends an answer, or calls its `undelivered`. `closes`: the connection ends after it. A stream for an HTTP/1.0 client
/// ends with the connection, so `closes` must hold; see [`must_close`].
pub(super) fn deliver(
    socket: &mut Socket,
    answer: Response,
    mode: ResponseMode,
    closes: bool,
    limits: &Limits,
) -> Result<(), Lost> {
    let Response { status, headers, body, undelivered, .. } = answer;
    // A socket takes bytes for a client that has left; who cares to know is told before anything is written.
    let gone = undelivered.is_some() && !Presence::of(socket.stream()).is_here();
    let sent = if gone { Err(Lost::Gone) } else { send(socket, status, headers, body, mode, closes, limits) };
    if let (Err(_), Some(undelivered)) = (&sent, undelivered) {
        // Whatever it does, the connection is over and its permit has to be given back.
        let _ = catch_unwind(AssertUnwindSafe(undelivered));
    }
    sent
}

/// Whether only closing can end this body.
pub(super) fn must_close(body: &Body, mode: ResponseMode) -> bool {
    mode.http_1_0 && matches!(body, Body::Stream(_))
}

fn send(
    socket: &mut Socket,
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    mode: ResponseMode,
    closes: bool,
    limits: &Limits,
) -> Result<(), Lost> {
    let bodiless = mode.head_only || has_no_body(status);
    match body {
        Body::Bytes(bytes) => {
            let mut whole = encode_head(status, headers, Some(bytes.len()), mode, closes);
            if !bodiless {
                whole.extend_from_slice(&bytes);
            }
            socket.write_all(&whole, limits.write_time)
        }
        Body::Stream(reader) => {
            let head = encode_head(status, headers, None, mode, closes);
            socket.write_all(&head, limits.write_time)?;
            if bodiless {
                return Ok(());
            }
            send_stream(socket, reader, !mode.http_1_0, limits).inspect_err(|_| socket.cut())
        }
    }
}

/// tiny_http's own encoder ends a stream properly even when its reader failed, so the chunks are framed here.
fn send_stream(
    socket: &mut Socket,
    mut reader: Box<dyn Read + Send>,
    chunked: bool,
    limits: &Limits,
) -> Result<(), Lost> {
    let mut step = vec![0; STREAM_STEP];
    let mut frame = Vec::new();
    loop {
        let count = match catch_unwind(AssertUnwindSafe(|| reader.read(&mut step))) {
            Ok(Ok(count)) => count,
            Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(Err(_)) | Err(_) => return Err(Lost::Gone),
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

/// A whole head. `length` is that of the body; None is a stream's.
fn encode_head(
    status: u16,
    headers: Vec<(&'static str, String)>,
    length: Option<usize>,
    mode: ResponseMode,
    closes: bool,
) -> Vec<u8> {
    let mut fields = Vec::with_capacity(headers.len() + 1);
    fields.extend(header("Server", "cashbox".to_owned()));
    // tiny_http would take a Content-Length of the answer's for the length of its body.
    let wanted = headers.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
    fields.extend(wanted.filter_map(|(name, value)| header(name, value)));

    let room = if mode.head_only { 0 } else { length.unwrap_or(0) };
    let mut head = Vec::with_capacity(HEAD_ROOM + room);
    // Always HTTP/1.1, which is what we speak, whatever the client does.
    tiny_http::Response::new(StatusCode(status), fields, io::empty(), length, None)
        .with_chunked_threshold(usize::MAX)
        .raw_print(&mut head, HTTPVersion(1, 1), &[], true, None)
        .expect("a vector takes every write");

    head.truncate(head.len() - b"\r\n".len());
    if has_no_body(status) || (length.is_none() && mode.http_1_0) {
        drop_last_line(&mut head);
    }
    if closes {
        head.extend_from_slice(b"Connection: close\r\n");
    } else if mode.http_1_0 {
        head.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The last line is tiny_http's Content-Length or Transfer-Encoding.
fn drop_last_line(head: &mut Vec<u8>) {
    let before = &head[..head.len() - b"\r\n".len()];
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    head.truncate(start);
}

/// A header that cannot break the head it stands in.
fn header(name: &'static str, value: String) -> Option<Header> {
    let allowed = |c: char| c == '\t' || c == ' ' || c.is_ascii_graphic();
    let clean = if value.chars().all(allowed) {
        value
    } else {
        value.chars().map(|c| if allowed(c) { c } else { '?' }).collect()
    };
    Header::from_bytes(name.as_bytes(), clean.into_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAYS: ResponseMode = ResponseMode { head_only: false, http_1_0: false, stays: true };

    fn lines(head: Vec<u8>) -> Vec<String> {
        let text = String::from_utf8(head).unwrap();
        let lines = text.strip_suffix("\r\n\r\n").expect("a head ends in an empty line").split("\r\n");
        lines.filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect()
    }

    #[test]
    fn a_head_has_one_length_and_our_name() {
        let head = encode_head(200, vec![("Content-Type", "text/plain".to_owned())], Some(5), STAYS, false);
        assert_eq!(
            lines(head),
            ["HTTP/1.1 200 OK", "Server: cashbox", "Content-Type: text/plain", "Content-Length: 5"]
        );
    }

    #[test]
    fn no_header_value_can_add_a_line() {
        let head = encode_head(200, vec![("X-Name", "a\r\nSet-Cookie: é".to_owned())], Some(0), STAYS, false);
        assert!(lines(head).contains(&"X-Name: a??Set-Cookie: ?".to_owned()));
    }

    #[test]
    fn the_framing_is_the_loops_own() {
        let meddling = vec![
            ("content-length", "7".to_owned()),
            ("Transfer-Encoding", "chunked".to_owned()),
            ("Connection", "upgrade".to_owned()),
        ];
        let head = encode_head(200, meddling, Some(5), STAYS, false);
        assert_eq!(lines(head), ["HTTP/1.1 200 OK", "Server: cashbox", "Content-Length: 5"]);
    }

    #[test]
    fn an_answer_without_body_has_no_length() {
        let head = encode_head(204, vec![], Some(0), STAYS, false);
        assert_eq!(lines(head), ["HTTP/1.1 204 No Content", "Server: cashbox"]);
    }

    #[test]
    fn an_old_client_is_told_what_happens_to_the_connection() {
        let old = ResponseMode { http_1_0: true, ..STAYS };
        assert_eq!(lines(encode_head(200, vec![], Some(1), old, false)).last().unwrap(), "Connection: keep-alive");
        let stream = lines(encode_head(200, vec![], None, old, true));
        assert_eq!(stream, ["HTTP/1.1 200 OK", "Server: cashbox", "Connection: close"]);
    }
}
