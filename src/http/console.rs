//! Sends the console: `/console/` and its files, open to all, and `/` which leads a browser there.

use super::conn::{Body, RequestHead, Response};
use crate::console::{self, CONTENT_SECURITY_POLICY, ConsoleFile};

/// The folder of its files; it is the name of its requests in the metrics as well.
pub(crate) const FOLDER: &str = "/console/";

/// The meaning of a path of the console.
pub(crate) enum Place {
    /// A file.
    File(&'static ConsoleFile),
    /// A path that leads to the page.
    Redirect,
}

/// The place that a request means, if its path is one of the console's. `/` is one only for a client that reads pages.
pub(crate) fn place(head: &RequestHead) -> Option<Place> {
    match head.path.as_str() {
        "/" => reads_pages(head).then_some(Place::Redirect),
        "/console" => Some(Place::Redirect),
        path => console::file(path.strip_prefix(FOLDER)?).map(Place::File),
    }
}

impl Place {
    /// The response to GET and HEAD.
    pub(crate) fn response(&self, head: &RequestHead) -> Response {
        match self {
            Place::File(file) => file_response(file, head),
            Place::Redirect => {
                let headers = vec![
                    ("Location", FOLDER.to_owned()),
                    ("Vary", "Accept".to_owned()),
                    ("Cache-Control", "no-cache".to_owned()),
                ];
                response(303, headers, Vec::new())
            }
        }
    }
}

fn file_response(file: &ConsoleFile, head: &RequestHead) -> Response {
    let mut headers = vec![
        ("ETag", file.etag.clone()),
        ("Cache-Control", "no-cache".to_owned()),
        ("Vary", "Accept-Encoding".to_owned()),
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY.to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
        ("Referrer-Policy", "no-referrer".to_owned()),
        ("Cross-Origin-Opener-Policy", "same-origin".to_owned()),
        ("Cross-Origin-Resource-Policy", "same-origin".to_owned()),
    ];
    if is_known(head, &file.etag) {
        return response(304, headers, Vec::new());
    }
    headers.push(("Content-Type", file.media_type.to_owned()));
    if !takes_gzip(head) {
        return response(200, headers, console::unpacked(file.gzipped).into_bytes());
    }
    headers.push(("Content-Encoding", "gzip".to_owned()));
    response(200, headers, file.gzipped.to_vec())
}

fn response(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Response {
    Response { status, headers, body: Body::Bytes(body), close: false, undelivered: None }
}

/// The items of a header's lists, each with whether it is wanted: its weight is not zero.
fn items<'a>(head: &'a RequestHead, name: &'static str) -> impl Iterator<Item = (&'a str, bool)> {
    head.headers(name).flat_map(|list| list.split(',')).map(|item| {
        let (value, rest) = item.split_once(';').unwrap_or((item, ""));
        let weight = rest.split(';').find_map(|part| part.trim().strip_prefix("q="));
        let is_zero = weight.is_some_and(|weight| weight.trim().chars().all(|c| matches!(c, '0' | '.')));
        (value.trim(), !is_zero)
    })
}

fn reads_pages(head: &RequestHead) -> bool {
    items(head, "accept").any(|(item, wanted)| wanted && item.eq_ignore_ascii_case("text/html"))
}

fn takes_gzip(head: &RequestHead) -> bool {
    items(head, "accept-encoding").any(|(item, wanted)| wanted && item.eq_ignore_ascii_case("gzip"))
}

/// True if the client has what has that tag. Both forms of a file have one tag, so the comparison is the weak one.
fn is_known(head: &RequestHead, etag: &str) -> bool {
    let bare = etag.trim_start_matches("W/");
    items(head, "if-none-match").any(|(item, _)| item == "*" || item.trim_start_matches("W/") == bare)
}
