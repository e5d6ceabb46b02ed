//! Errors as responses: `application/problem+json` (RFC 9457).

use super::conn::{Fault, Response};
use super::response::{self, Language};
use super::state;
use crate::error::{Error, ErrorName};
use crate::lock::LockState;
use serde_json::{Map, Value, json};

/// The body of an error: RFC 9457's members, ours (`error`, `code`, `msg`), and its facts.
pub(crate) fn body(error: &Error, language: Language) -> Map<String, Value> {
    let (name, status) = (error.name.as_str(), error.name.status());
    let mut body = Map::with_capacity(7 + error.facts.len());
    body.insert("code".to_owned(), json!(status));
    body.insert("msg".to_owned(), json!(message(error, language)));
    body.insert("type".to_owned(), json!(format!("/problems/{name}")));
    body.insert("title".to_owned(), json!(error.name.title()));
    body.insert("status".to_owned(), json!(status));
    body.insert("detail".to_owned(), json!(error.detail));
    body.insert("error".to_owned(), json!(name));
    for (fact, value) in &error.facts {
        body.insert(fact.to_string(), value.clone());
    }
    body
}

/// One sentence for people. No client holds a lock that rests.
fn message(error: &Error, language: Language) -> &'static str {
    if error.name == ErrorName::Locked && error.fact("state").as_deref() == Some(LockState::Resting.as_str()) {
        return language.pick("锁正在静置", "the lock rests");
    }
    language.pick(error.name.title_zh(), error.name.title())
}

/// The response to a request that failed. `has_token`: the client sent an access token.
pub(crate) fn response(error: Error, language: Language, has_token: bool) -> Response {
    let mut response = response::json(error.name.status(), &body(&error, language));
    response.headers[0].1 = "application/problem+json".to_owned();
    let fact = |name: &str| error.facts.iter().find(|(fact, _)| fact == name).map(|(_, value)| value);
    match error.name {
        ErrorName::Unauthenticated => {
            let challenge = if has_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            response.headers.push(("WWW-Authenticate", challenge.to_owned()));
        }
        ErrorName::MethodNotAllowed => {
            let allowed = fact("allow").and_then(Value::as_str).unwrap_or_default();
            response.headers.push(("Allow", allowed.to_owned()));
        }
        ErrorName::Locked => {
            let ms = fact("free_in_ms").and_then(Value::as_i64).unwrap_or(0);
            response.headers.push(("Retry-After", (ms.max(0) as u64).div_ceil(1_000).max(1).to_string()));
        }
        ErrorName::Busy | ErrorName::StorageFull => response.headers.push(("Retry-After", "1".to_owned())),
        _ => {}
    }
    response
}

/// The error of a fault of the connection.
pub(crate) fn of_fault(fault: Fault) -> Error {
    match fault {
        Fault::BadRequest(sentence) => Error::invalid(sentence),
        Fault::HeadTimeout => Error::new(ErrorName::RequestTimeout, "the request head did not come whole in time"),
        Fault::BodyTimeout => Error::new(ErrorName::RequestTimeout, "the body did not come whole in time"),
        Fault::HeadTooLarge(sentence) => Error::new(ErrorName::HeadersTooLarge, sentence),
        Fault::BodyTooLarge { limit } => {
            Error::new(ErrorName::BodyTooLarge, format!("a body here has at most {limit} bytes")).with("limit", limit)
        }
        Fault::OutOfBodyMemory => state::too_many_bodies(),
        Fault::Version => Error::new(ErrorName::HttpVersion, "only HTTP/1.1 and HTTP/1.0 are supported"),
        Fault::TooManyConnections => Error::new(ErrorName::Busy, "too many connections; try again shortly"),
        Fault::ShuttingDown => Error::new(ErrorName::Busy, "shutting down"),
        Fault::Panic => Error::internal("a handler panicked"),
    }
}
