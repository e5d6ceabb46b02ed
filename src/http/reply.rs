//! A good answer: JSON with `code` and `msg` first.

use super::conn::{Body, Response};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// Makes answers.
pub struct Reply;

#[derive(Serialize)]
struct Told<'a, T> {
    code: u16,
    msg: &'a str,
    #[serde(flatten)]
    rest: &'a T,
}

impl Reply {
    /// 200 with what there is to say: an object.
    pub fn ok(msg: &str, rest: &impl Serialize) -> Response {
        Reply::with(200, msg, rest)
    }

    /// Another good status.
    pub fn with(status: u16, msg: &str, rest: &impl Serialize) -> Response {
        Reply::json(status, &Told { code: status, msg, rest })
    }

    /// The body alone: `code`, `msg` and the rest.
    pub fn body(status: u16, msg: &str, rest: &impl Serialize) -> Box<RawValue> {
        to_raw_value(&Told { code: status, msg, rest }).expect(WRITABLE)
    }

    /// An object as it is.
    pub fn json(status: u16, body: &impl Serialize) -> Response {
        Reply::bytes(status, "application/json", serde_json::to_vec(body).expect(WRITABLE))
    }

    /// Anything that is ready.
    pub fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Response {
        Response {
            status,
            headers: vec![("Content-Type", content_type.to_owned()), ("Cache-Control", "no-store".to_owned())],
            body: Body::Bytes(body),
            close: false,
            undelivered: None,
        }
    }
}

const WRITABLE: &str = "every name in an answer is text";
