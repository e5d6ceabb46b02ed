//! Reading the head of a request, strictly.
//!
//! Two readers of the same bytes must never see two different requests, so everything the standards leave open is
//! refused: a second length, host or type, a list where a number belongs, a length beside chunks, any other transfer
//! coding, folded lines, a bare LF.

use std::mem::MaybeUninit;

use super::service::{Fault, Limits, RequestHead};

/// The head at the beginning of `bytes` and its length, or None if more has to come.
pub fn parse_head(bytes: &[u8], limits: &Limits) -> Result<Option<(RequestHead, usize)>, Fault> {
    let mut slots = [const { MaybeUninit::uninit() }; Limits::HEADERS_MAX];
    let slots = &mut slots[..limits.headers.min(Limits::HEADERS_MAX)];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(fault(error, bytes)),
    };
    if has_bare_line_feed(&bytes[..length]) {
        return Err(Fault::BadRequest("a line of the head does not end in CRLF"));
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        unreachable!("a complete head has a method, a target and a version");
    };
    let (authority, path, query) = split_target(target)?;
    let mut head = RequestHead::new(method, path, query);
    head.http_1_0 = version == 0;
    head.text.reserve_exact(length);
    head.headers.reserve_exact(request.headers.len());
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| Fault::BadRequest("a header value is not UTF-8"))?;
        head.push_header(header.name, value);
    }
    check(&mut head, authority)?;
    Ok(Some((head, length)))
}

/// The rules for headers together.
fn check(head: &mut RequestHead, authority: Option<&str>) -> Result<(), Fault> {
    head.chunked = is_chunked(head)?;
    let hosts = head.headers("host").count();
    if hosts > 1 {
        return Err(Fault::BadRequest("more than one Host header"));
    }
    if hosts == 0 && !head.http_1_0 {
        return Err(Fault::BadRequest("the Host header is missing"));
    }
    match (authority, head.header("host")) {
        (Some(authority), None) => head.push_header("host", authority),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(Fault::BadRequest("the request target and the Host header name different hosts"));
        }
        _ => {}
    }
    if head.headers("content-type").nth(1).is_some() {
        return Err(Fault::BadRequest("more than one Content-Type header"));
    }
    let mut lengths = head.headers("content-length");
    let length = lengths.next().map_or(Ok(0), content_length)?;
    if lengths.next().is_some() {
        return Err(Fault::BadRequest("more than one Content-Length header"));
    }
    drop(lengths);
    head.content_length = length;
    if head.expects_continue() && !head.headers("expect").all(|value| value.eq_ignore_ascii_case("100-continue")) {
        return Err(Fault::BadRequest("the only expectation supported is 100-continue"));
    }
    Ok(())
}

/// True if the body comes in chunks: the one transfer coding that is read, and only where no length contradicts it.
fn is_chunked(head: &RequestHead) -> Result<bool, Fault> {
    let mut codings = head.headers("transfer-encoding");
    let Some(coding) = codings.next() else { return Ok(false) };
    if codings.next().is_some() || !coding.eq_ignore_ascii_case("chunked") {
        return Err(Fault::BadRequest("the only Transfer-Encoding supported is chunked, once and alone"));
    }
    if head.http_1_0 {
        return Err(Fault::BadRequest("HTTP/1.0 has no Transfer-Encoding"));
    }
    if head.header("content-length").is_some() {
        return Err(Fault::BadRequest("Content-Length and Transfer-Encoding contradict each other"));
    }
    Ok(true)
}

/// Digits and nothing else: `parse` alone would take a plus sign.
fn content_length(value: &str) -> Result<u64, Fault> {
    let bad = Fault::BadRequest("Content-Length is not a number of bytes");
    if !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad);
    }
    value.parse().map_err(|_| bad)
}

/// Host, path and query. `http://host/path`, which a client may send to any server, is taken apart.
fn split_target(target: &str) -> Result<(Option<&str>, &str, Option<&str>), Fault> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Fault::BadRequest("the request target has a character that must be percent-encoded"));
    }
    let (authority, local) = match without_scheme(target) {
        Some(rest) => {
            let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), local)
        }
        None if target.starts_with('/') => (None, target),
        None => return Err(Fault::BadRequest("the request target is not a path")),
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    };
    Ok((authority, if path.is_empty() { "/" } else { path }, query))
}

fn without_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, &byte)| byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r'))
}

fn fault(error: httparse::Error, bytes: &[u8]) -> Fault {
    use httparse::Error;
    // The parser calls everything that is not HTTP/1.0 or HTTP/1.1 a wrong version, a stray word too.
    let has_version = || bytes.split(|&byte| byte == b' ').nth(2).is_some_and(|word| word.starts_with(b"HTTP/"));
    match error {
        Error::TooManyHeaders => Fault::HeadTooLarge("too many headers"),
        Error::Version if has_version() => Fault::Version,
        Error::HeaderName => Fault::BadRequest("a header name is not a token followed by a colon"),
        Error::HeaderValue => Fault::BadRequest("a header value has a control character"),
        Error::NewLine => Fault::BadRequest("a line of the head does not end in CRLF"),
        Error::Token | Error::Version | Error::Status => {
            Fault::BadRequest("the request line is not a method, a target and a version")
        }
    }
}

/// True if a head can end in `bytes`, of which the first `seen` were searched before. A bare LF counts: then the head is
/// parsed, and refused, sooner.
pub fn has_end(bytes: &[u8], seen: usize) -> bool {
    let rest = &bytes[seen.saturating_sub(3)..];
    rest.windows(2).any(|pair| pair == b"\n\n") || rest.windows(3).any(|three| three == b"\n\r\n")
}
