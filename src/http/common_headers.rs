//! Headers that every response carries: the request's id, and those that a page of an allowed origin needs.

use super::auth::allowed_origin;
use super::conn::{RequestHead, Response};
use super::state::AppState;
use crate::test_mode::{TestMode, is_beside};
use std::net::Ipv6Addr;
use std::sync::Arc;

/// The longest id of a request that is taken from its client, in characters.
const REQUEST_ID_CHARS_MAX: usize = 128;
/// Time for which a browser may keep the answer to a preflight, in seconds.
const PREFLIGHT_MAX_AGE_S: &str = "600";
/// Request headers that a page of an allowed origin may send.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Accept-Language, Idempotency-Key, Lock-Token, Prefer, \
                               Last-Event-ID, X-Request-Id";
/// Response headers that it may read.
const EXPOSED_HEADERS: &str = "Idempotency-Replayed, Lock-Token, Location, Link, Retry-After, X-Request-Id";

/// The headers of the response to one request.
pub(crate) struct CommonHeaders {
    /// The client's own id of the request, or else one of this server's.
    pub request_id: String,
    /// The origin of the request, if it is one of `--allow-origin`.
    origin: Option<String>,
    /// Responses differ by origin.
    varies: bool,
    /// The server is one for tests, whose clock the line `Date` follows.
    test: Option<Arc<TestMode>>,
}

/// The id of a request that is not counted: how often a client asks for the health is left to chance.
const UNCOUNTED_ID: &str = "0000000000000000";

impl CommonHeaders {
    /// For the request with that head, if it could be read.
    pub(crate) fn of(app: &AppState, head: Option<&RequestHead>) -> CommonHeaders {
        let allowed = &app.settings.allowed_origins;
        let is_uncounted = app.settings.test.is_some() && head.is_some_and(|head| is_beside(&head.path));
        let own_id = || if is_uncounted { UNCOUNTED_ID.to_owned() } else { app.request_ids.next() };
        CommonHeaders {
            request_id: head.and_then(sent_id).map_or_else(own_id, str::to_owned),
            test: app.settings.test.clone(),
            origin: head.and_then(|head| allowed_origin(head, allowed)).map(str::to_owned),
            varies: !allowed.is_empty(),
        }
    }

    /// Adds them.
    pub(crate) fn add_to(self, response: &mut Response) {
        response.headers.push(("X-Request-Id", self.request_id));
        if let Some(origin) = self.origin {
            response.headers.push(("Access-Control-Allow-Origin", origin));
            response.headers.push(("Access-Control-Expose-Headers", EXPOSED_HEADERS.to_owned()));
        }
        if self.varies {
            response.headers.push(("Vary", "Origin".to_owned()));
        }
        if let Some(test) = self.test {
            response.headers.push(("Date", test.http_date())); // the last one: see `http::conn`
        }
    }

    /// The additional headers of the answer to a preflight, if the request is one of an allowed origin.
    pub(crate) fn add_preflight(&self, head: &RequestHead, methods: &str, response: &mut Response) {
        if self.origin.is_some() && head.header("access-control-request-method").is_some() {
            response.headers.push(("Access-Control-Allow-Methods", methods.to_owned()));
            response.headers.push(("Access-Control-Allow-Headers", ALLOWED_HEADERS.to_owned()));
            response.headers.push(("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_S.to_owned()));
        }
    }
}

/// The id that the client sent, if it sent one, and a short visible one.
fn sent_id(head: &RequestHead) -> Option<&str> {
    let mut sent = head.headers("x-request-id");
    let id = sent.next().filter(|_| sent.next().is_none())?;
    let is_good = (1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_good.then_some(id)
}

/// Returns whether this is an origin as a browser writes it, since it is compared letter by letter: in lower case, without
/// a path and without the port that the scheme implies.
pub(crate) fn is_origin(text: &str) -> bool {
    let Some((scheme, site)) = text.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (name, port) = match site.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (site, None),
    };
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    let is_name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_string() == address),
        None => !name.is_empty() && name.bytes().all(is_plain),
    };
    let is_port = port.is_none_or(|port| {
        port != default_port && port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
    });
    is_name && is_port
}
