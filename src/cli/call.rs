//! What is asked: the same words whether a server answers or this process.

use super::Changing;
use crate::secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a server has for its answer, beside what it waits for a lock.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a request waits for a lock if nobody says, and at most, in seconds.
const WAIT_S: u32 = 10;
const WAIT_S_MAX: u32 = 30;

/// The media type of most bodies.
pub const JSON: &str = "application/json";

/// One question or one change.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Path and query, percent-encoded.
    pub target: String,
    /// Headers of this call alone.
    pub headers: Vec<(&'static str, String)>,
    /// The body, empty for none.
    pub body: Vec<u8>,
    /// Whether it changes something, and so may create the file.
    pub changes: bool,
    /// Whether it may be asked again when its answer is lost.
    pub repeatable: bool,
    /// How long it waits for somebody's lock.
    pub wait: Duration,
    /// Where that is said.
    pub said: Said,
    /// How long a server has for the answer.
    pub patience: Duration,
    /// How long all of it may take, connecting and asking again included, where that is bounded.
    pub within: Option<Duration>,
}

/// Where a call says how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// In the header `Prefer`, or nowhere for a question.
    Header,
    /// In the field `wait_ms` of its JSON body.
    Body,
    /// In `wait_ms` of its query.
    Query,
}

impl Call {
    /// A question.
    pub fn get(path: &[&str]) -> Call {
        Call {
            method: "GET",
            target: path.iter().flat_map(|segment| ["/".into(), encoded(segment)]).collect::<Vec<_>>().concat(),
            headers: Vec::new(),
            body: Vec::new(),
            changes: false,
            repeatable: true,
            wait: Duration::ZERO,
            said: Said::Header,
            patience: PATIENCE,
            within: None,
        }
    }

    /// A change of locks, which names nothing: locks repeat by their own secret.
    pub fn lock(method: &'static str, path: &[&str], body: Option<&Value>, token: Option<&str>) -> Call {
        let mut call = Call { method, changes: true, ..Call::get(path) };
        call.headers.extend(token.map(|token| ("Lock-Token", token.to_owned())));
        match body {
            Some(body) => call.content(JSON, body.to_string()),
            None => call,
        }
    }

    /// Waits so long, and says so there.
    pub fn waiting(mut self, wait: Duration, said: Said) -> Call {
        self.patience += wait;
        Call { wait, said, ..self }
    }

    /// Has its answer within that time, or none.
    pub fn within(self, time: Duration) -> Call {
        Call { within: Some(time), ..self }
    }

    /// The same call, saying that it waits so long.
    pub fn saying(&self, wait: Duration) -> Call {
        let mut call = self.clone();
        match self.said {
            Said::Header if self.changes => call.headers.push(("Prefer", format!("wait={}", wait.as_secs()))),
            Said::Header => {}
            Said::Body => {
                let mut body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
                body["wait_ms"] = json!(wait.as_millis() as u64);
                call.body = body.to_string().into_bytes();
            }
            Said::Query => call = call.query("wait_ms", Some(wait.as_millis())),
        }
        call
    }

    /// A change with a JSON body.
    pub fn post(path: &[&str], body: &Value, changing: &Changing) -> Call {
        Call::post_text(path, JSON, body.to_string(), changing)
    }

    /// A change with a body of that type.
    pub fn post_text(path: &[&str], content_type: &str, body: String, changing: &Changing) -> Call {
        Call::get(path).change("POST", changing).content(content_type, body)
    }

    /// Another state of things.
    pub fn put(path: &[&str], body: &Value, changing: &Changing) -> Call {
        Call::get(path).change("PUT", changing).content(JSON, body.to_string())
    }

    /// An end of something.
    pub fn delete(path: &[&str], changing: &Changing) -> Call {
        Call::get(path).change("DELETE", changing)
    }

    fn change(mut self, method: &'static str, changing: &Changing) -> Call {
        self.method = method;
        self.changes = true;
        self.wait = Duration::from_secs(changing.wait.unwrap_or(WAIT_S).min(WAIT_S_MAX).into());
        self.patience += self.wait;
        // A key of our own where none is given, so that asking again after a lost answer does nothing twice.
        let key = changing.key.clone().unwrap_or_else(|| format!("cli-{}", secret::random_hex::<16>()));
        self.headers.push(("Idempotency-Key", key));
        if !changing.lock_token.is_empty() {
            self.headers.push(("Lock-Token", changing.lock_token.join(", ")));
        }
        self
    }

    fn content(mut self, content_type: &str, body: String) -> Call {
        self.headers.push(("Content-Type", content_type.to_owned()));
        self.body = body.into_bytes();
        self
    }

    /// With one more field in the query, if there is a value for it.
    pub fn query(mut self, name: &str, value: Option<impl std::fmt::Display>) -> Call {
        if let Some(value) = value {
            let sign = if self.target.contains('?') { '&' } else { '?' };
            self.target.push(sign);
            self.target += &format!("{name}={}", encoded(&value.to_string()));
        }
        self
    }

    /// Never asked twice: its answer is the only one of its kind.
    pub fn once(mut self) -> Call {
        self.repeatable = false;
        self
    }
}

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAINLY: Changing = Changing { key: None, wait: None, lock_token: Vec::new() };

    #[test]
    fn what_was_typed_cannot_leave_its_place_in_the_path() {
        let call =
            Call::get(&["v1", "wallets", "a/../b?c=d"]).query("kind", Some("pay&x=1")).query("since", None::<&str>);
        assert_eq!(call.target, "/v1/wallets/a%2F..%2Fb%3Fc%3Dd?kind=pay%26x%3D1");
    }

    #[test]
    fn how_long_a_call_waits_is_said_where_its_route_looks_for_it() {
        let wait = Duration::from_millis(1_500);
        let acquire = Call::lock("POST", &["v1", "locks", "a/b"], Some(&json!({ "ttl_ms": 5 })), None);
        let acquire = acquire.waiting(wait, Said::Body).saying(wait);
        assert_eq!(acquire.target, "/v1/locks/a%2Fb");
        assert_eq!(String::from_utf8(acquire.body).unwrap(), r#"{"ttl_ms":5,"wait_ms":1500}"#);
        let watch = Call::get(&["v1", "locks", "a"]).query("fence", Some(7)).waiting(wait, Said::Query);
        assert_eq!(watch.saying(Duration::ZERO).target, "/v1/locks/a?fence=7&wait_ms=0");
        let money = Call::post(&["v1"], &json!({}), &PLAINLY).saying(wait);
        assert_eq!(money.headers.last().unwrap(), &("Prefer", "wait=1".to_owned()));
    }

    #[test]
    fn a_change_has_a_key_of_its_own() {
        let key = || Call::post(&["v1"], &json!({}), &PLAINLY).headers[0].clone();
        assert_eq!(key().0, "Idempotency-Key");
        assert_ne!(key(), key());
        let given = Changing { key: Some("mine".to_owned()), ..PLAINLY };
        assert_eq!(Call::delete(&["v1"], &given).headers[0].1, "mine");
    }
}
