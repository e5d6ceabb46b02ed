//! Changes that a confused or hostile client makes to a request: first those after which it still has one beginning and
//! one end and gets one answer, then those after which its end is unclear.

use super::Known;
use super::grammar::{Content, Request};
use crate::dice::Dice;

/// Values that have broken other programs.
const NASTY: [&str; 44] = [
    "",
    "0",
    "-1",
    "+1",
    "1e3",
    "1E400",
    "NaN",
    "0.001",
    "00000000000001",
    "99999999999999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1000000000000.00",
    "1000000000000.01",
    "1,5",
    " 1",
    "٣",
    "\0",
    "a\0b",
    "a\r\nX: y",
    "é",
    "零",
    "😀",
    "\u{202e}",
    ".",
    "..",
    "%00",
    "%2e%2e",
    "'; DROP TABLE wallet;--",
    "\"",
    "\\",
    "true",
    "@bank",
    "@sales",
    "@holds",
    "wallet/u0",
    "9999-12-31T23:59:59.999Z",
    "-009999-01-02T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "1970-01-01T00:00:00+99:00",
    "after=1",
    "lk1.a.1.0123456789abcdef",
];
/// The same as JSON other than strings.
const NASTY_JSON: [&str; 14] = [
    "null",
    "true",
    "[]",
    "{}",
    "[[[[]]]]",
    "-0",
    "1.0e2",
    "1e999999999",
    "0.1000000000000000055511151231257827",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "{\"a\":{\"b\":1}}",
    "[null,1,\"x\"]",
    "123456789012345678901234567890",
];
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "M-SEARCH"];
const PATHS: [&str; 12] = [
    "/",
    "//",
    "/v1",
    "/v1/",
    "/v1/wallets/",
    "/v1/wallets/%ff",
    "/v1/wallets/..%2f..",
    "/v1/locks/%00",
    "/v1/locks//",
    "/v1/wallets/u0/../u1",
    "http://localhost/wallet",
    "/v1/locks/a/events/revoke",
];
const NAMES: [&str; 14] = [
    "Idempotency-Key",
    "Content-Type",
    "Accept",
    "Accept-Language",
    "Prefer",
    "Lock-Token",
    "Authorization",
    "Host",
    "Origin",
    "Sec-Fetch-Site",
    "Expect",
    "Connection",
    "X-Forwarded-For",
    "Content-Encoding",
];
const VALUES: [&str; 24] = [
    "",
    "x",
    "a b",
    "100-continue",
    "close",
    "keep-alive, close",
    "null",
    "http://localhost",
    "https://evil.example",
    "cross-site",
    "evil.example",
    "[::1]:1",
    "wait=0",
    "wait=-1, wait=99999999999",
    "text/csv;q=0.0001",
    ";;;,,,===",
    "Bearer ",
    "Bearer cbx_0000000000000000000000",
    "Basic eDp5",
    "application/json",
    "application/x-ndjson",
    "multipart/form-data; boundary=x",
    "lk1.a.1.0123456789abcdef,,lk1",
    "gzip",
];

/// Longer than anything may be, and not so long that a head could not hold it.
const LONG: usize = 5_000;
const DEEP: usize = 3_000;

/// Changes a part of the request and leaves its frame whole.
pub fn within(request: &mut Request, dice: &mut Dice, known: &Known) {
    match dice.below(12) {
        0 => request.method = (*dice.pick(&METHODS)).to_owned(),
        1 => request.path = (*dice.pick(&PATHS)).to_owned(),
        2 => request.path = escape_somewhere(&request.path, dice),
        3 => {
            let value = nasty(dice);
            let encoded: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let parts: Vec<&str> = request.path.split('/').collect();
            let place = dice.below(parts.len().max(1));
            request.path = parts
                .iter()
                .enumerate()
                .map(|(at, part)| if at == place && at > 0 { encoded.as_str() } else { part })
                .collect::<Vec<_>>()
                .join("/");
        }
        4 => {
            let name = if dice.one_in(2) { "after" } else { dice.pick(&["limit", "since", "kind", "order", "x", ""]) };
            let value = if dice.one_in(2) { crooked_cursor(dice, known) } else { nasty(dice) };
            request.query.push((name.to_owned(), value));
        }
        5 | 6 => {
            let header = ((*dice.pick(&NAMES)).to_owned(), (*dice.pick(&VALUES)).to_owned());
            if dice.one_in(2) {
                request.headers.retain(|(name, _)| *name != header.0);
            }
            request.headers.push(header);
        }
        7 if !request.headers.is_empty() => drop(request.headers.remove(dice.below(request.headers.len()))),
        8 => request.version = "HTTP/1.0",
        _ => in_body(request, dice),
    }
}

fn in_body(request: &mut Request, dice: &mut Dice) {
    match &mut request.body {
        Content::Json(pairs) | Content::Form(pairs) => in_pairs(pairs, dice),
        Content::Batch(items, _) if !items.is_empty() && !dice.one_in(4) => {
            let place = dice.below(items.len());
            in_pairs(&mut items[place], dice);
        }
        Content::None => request.body = Content::Json(vec![("x".to_owned(), nasty_json(dice))]),
        Content::Batch(..) | Content::Bytes(_) => {}
    }
    if dice.one_in(3) {
        let mut bytes = request.content();
        in_bytes(&mut bytes, dice);
        request.body = Content::Bytes(bytes);
    }
}

fn in_pairs(pairs: &mut Vec<(String, String)>, dice: &mut Dice) {
    if pairs.is_empty() {
        return pairs.push(("amount".to_owned(), nasty_json(dice)));
    }
    let place = dice.below(pairs.len());
    match dice.below(6) {
        0 => drop(pairs.remove(place)),
        1 => pairs.push(pairs[place].clone()),
        2 => pairs[place].0 = nasty(dice),
        3 => pairs.push((nasty(dice), nasty_json(dice))),
        _ => pairs[place].1 = nasty_json(dice),
    }
}

/// Makes of the bytes of a request something that may have no end, or two.
pub fn of_frame(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let head_end = bytes.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
    let line = match dice.below(16) {
        0 => "Content-Length: 5",
        1 => "Content-Length: +5",
        2 => "Content-Length: 100000000000000",
        3 => "Content-Length: 5, 5",
        4 => "Transfer-Encoding: chunked",
        5 => "Content-Length : 5",
        6 => " folded: line",
        7 => "Host: another",
        8 => "X: a\rb",
        9 => "X: y\n\nGET /wallet HTTP/1.1",
        10 => "Expect: 100-continue\r\nContent-Length: 70000",
        11 => {
            let many = "X: y\r\n".repeat(100);
            bytes.splice(head_end..head_end, format!("\r\n{many}X: y").into_bytes());
            return bytes;
        }
        12 => {
            bytes.splice(head_end..head_end, format!("\r\nX: {}", "y".repeat(17_000)).into_bytes());
            return bytes;
        }
        13 => {
            return (*dice.pick(&[
                &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
                b"\x16\x03\x01\x02\0\x01\0",
                b"\0",
                b"\r\n\r\n\n",
            ]))
            .to_vec();
        }
        _ => {
            for _ in 0..=dice.below(6) {
                in_bytes(&mut bytes, dice);
            }
            return bytes;
        }
    };
    bytes.splice(head_end..head_end, format!("\r\n{line}").into_bytes());
    bytes
}

/// Flips, cuts, doubles or puts in some bytes.
fn in_bytes(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    let place = dice.below(bytes.len());
    match dice.below(5) {
        0 => bytes[place] ^= 1 << dice.below(8),
        1 => bytes[place] = dice.below(256) as u8,
        2 => bytes.truncate(place),
        3 => {
            let end = (place + 1 + dice.below(20)).min(bytes.len());
            let again = bytes[place..end].to_vec();
            bytes.splice(place..place, again);
        }
        _ => {
            let more = *dice.pick(&[
                &b"\r\n"[..],
                b"\r\n\r\n",
                b"\0",
                b"\n",
                b"\xff",
                b"%",
                b"\"",
                b"[[[[[[[[",
                b"&",
                b":",
                b" ",
            ]);
            bytes.splice(place..place, more.iter().copied());
        }
    }
}

fn nasty(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => "9".repeat(1 + dice.below(LONG)),
        1 => "x".repeat(*dice.pick(&[40, 41, 64, 65, 255, 256, 500, 501, LONG])),
        2 => "零".repeat(*dice.pick(&[40, 41, 85, 255, 256, 500, 501])),
        _ => (*dice.pick(&NASTY)).to_owned(),
    }
}

fn nasty_json(dice: &mut Dice) -> String {
    match dice.below(10) {
        0 => "[".repeat(1 + dice.below(DEEP)),
        1 => format!("{}1{}", "[".repeat(DEEP), "]".repeat(DEEP)),
        2 => format!("{}1{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP)),
        3 | 4 => (*dice.pick(&NASTY_JSON)).to_owned(),
        5 => nasty(dice), // as it is: often no JSON at all
        _ => serde_json::Value::from(nasty(dice)).to_string(),
    }
}

fn escape_somewhere(path: &str, dice: &mut Dice) -> String {
    let place = 1 + dice.below(path.len().max(2) - 1);
    let escaped = |(at, c): (usize, char)| {
        if at == place && c.is_ascii() { format!("%{:02x}", u32::from(c)) } else { c.to_string() }
    };
    path.char_indices().map(escaped).collect()
}

/// A cursor of another list, or one with a digit changed.
fn crooked_cursor(dice: &mut Dice, known: &Known) -> String {
    let mut cursor = known.cursors.pick(dice, "6f663d77616c6c657473").into_bytes();
    if dice.one_in(2) && !cursor.is_empty() {
        let place = dice.below(cursor.len());
        cursor[place] = *dice.pick(b"0123456789abcdefg");
    }
    String::from_utf8(cursor).expect("cursors are plain")
}
