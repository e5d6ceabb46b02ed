//! A good answer: JSON with `code` and `msg` first.

use super::wire::{Answer, Body};
use serde_json::{Map, Value, json};

/// Makes answers.
pub struct Reply;

impl Reply {
    /// 200 with what there is to say.
    pub fn ok(msg: &str, rest: Value) -> Answer {
        Reply::with(200, msg, rest)
    }

    /// Another good status.
    pub fn with(status: u16, msg: &str, rest: Value) -> Answer {
        Reply::json(status, Reply::body(status, msg, rest))
    }

    /// `code`, `msg` and the rest.
    pub fn body(status: u16, msg: &str, rest: Value) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("code".to_owned(), json!(status));
        body.insert("msg".to_owned(), json!(msg));
        if let Value::Object(rest) = rest {
            body.extend(rest);
        }
        body
    }

    /// A JSON object as it is.
    pub fn json(status: u16, body: Map<String, Value>) -> Answer {
        Reply::bytes(status, "application/json", Value::Object(body).to_string().into_bytes())
    }

    /// Anything that is ready.
    pub fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Answer {
        Answer {
            status,
            headers: vec![("Content-Type", content_type.to_owned()), ("Cache-Control", "no-store".to_owned())],
            body: Body::Bytes(body),
            close: false,
            undelivered: None,
        }
    }
}
