//! An error as an answer: `application/problem+json` (RFC 9457). The only file that knows which status an error has.

use super::conn::Response;
use super::reply::Reply;
use super::words::{self, Language};
use crate::error::{Error, ErrorName};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

/// The status of an error.
pub fn status(name: ErrorName) -> u16 {
    use ErrorName::*;
    match name {
        InvalidRequest | InvalidAmount | InvalidUser => 400,
        Unauthenticated => 401,
        InsufficientFunds => 402,
        Forbidden => 403,
        NotFound | WalletNotFound | EntryNotFound | CouponNotFound | CouponKindNotFound | TokenNotFound
        | LockNotFound => 404,
        MethodNotAllowed => 405,
        RequestTimeout => 408,
        CouponUsed | CouponNotApplicable | CouponKindInUse | AlreadyRefunded | NotRefundable | RefundExceeds
        | BalanceLimit | LockChanged | MaxHold => 409,
        LockLost => 412,
        BodyTooLarge => 413,
        UnsupportedMediaType => 415,
        IdempotencyKeyReused => 422,
        Locked => 423,
        NotDone => 424,
        LockTokenMissing => 428,
        HeadersTooLarge => 431,
        Internal | Damaged | OutcomeUnknown => 500,
        NotImplemented => 501,
        Busy | StorageFull => 503,
        HttpVersion => 505,
    }
}

/// The body of an error: RFC 9457's members, ours (`error`, `code`, `msg`), and what helps.
pub fn body(error: &Error, language: Language) -> Map<String, Value> {
    let (name, status) = (error.name.as_str(), status(error.name));
    let mut body = Map::with_capacity(7 + error.facts.len());
    body.insert("code".to_owned(), json!(status));
    body.insert("msg".to_owned(), json!(words::error(error.name, language)));
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

/// The same, written out.
pub fn raw_body(error: &Error, language: Language) -> Box<RawValue> {
    to_raw_value(&body(error, language)).expect("an object of text and numbers")
}

/// The whole answer to a request that went wrong.
pub fn answer(error: &Error, language: Language) -> Response {
    let mut reply = Reply::json(status(error.name), &body(error, language));
    reply.headers[0].1 = "application/problem+json".to_owned();
    let fact = |name: &str| error.facts.iter().find(|(fact, _)| fact == name).map(|(_, value)| value);
    match error.name {
        ErrorName::Unauthenticated => reply.headers.push(("WWW-Authenticate", "Bearer".to_owned())),
        ErrorName::MethodNotAllowed => {
            let allowed = fact("allow").and_then(Value::as_str).unwrap_or_default();
            reply.headers.push(("Allow", allowed.to_owned()));
        }
        ErrorName::Locked => {
            let ms = fact("free_in_ms").and_then(Value::as_i64).unwrap_or(0);
            reply.headers.push(("Retry-After", (ms.max(0) as u64).div_ceil(1_000).max(1).to_string()));
        }
        ErrorName::Busy | ErrorName::StorageFull => reply.headers.push(("Retry-After", "1".to_owned())),
        _ => {}
    }
    reply
}
