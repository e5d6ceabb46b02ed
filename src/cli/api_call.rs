//! One request of the HTTP API, as a command makes it, before it is known where it goes.

use super::input::ChangeOptions;
use crate::secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::time::Duration;

/// Time for a server's answer, beside the wait for a lock. A server that hangs keeps a command no longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a batch: ten thousand items on a slow disk.
pub(crate) const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The wait for a lock unless `--wait` is given.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// The header of the idempotency key.
pub(super) const KEY: &str = "Idempotency-Key";

/// The media type of most bodies.
pub(crate) const JSON: &str = "application/json";

/// One request of the HTTP API, the same for every target.
#[derive(Clone, Debug)]
pub(crate) struct ApiCall {
    /// The method.
    pub method: &'static str,
    /// Path and query, percent-encoded.
    pub uri: String,
    /// Headers of this call alone.
    pub headers: Vec<(&'static str, String)>,
    /// The body, empty for none.
    pub body: Vec<u8>,
    /// Set for a change, which may create the file.
    pub changes: bool,
    /// Set if it may be sent again when its answer is lost.
    pub repeatable: bool,
    /// The longest wait for another client's lock.
    pub wait: Duration,
    /// The place of the wait in the request.
    pub wait_field: WaitField,
    /// Time for a server's answer.
    pub answer_timeout: Duration,
    /// A bound on the time of the whole call, connecting and sending again included.
    pub total_timeout: Option<Duration>,
    /// Set if a change may create the file although no option and no variable names it.
    pub may_create: bool,
    /// Set if it can be carried out in a new file: others name what is not there.
    pub may_be_first: bool,
    /// Set if it is only tried.
    pub dry_run: bool,
    /// The locks that it may wait for, as far as they are known here.
    pub locks: Vec<String>,
    /// Set if a late answer is said at a terminal.
    pub has_notes: bool,
    /// True if a lock that rests is an answer, also while there is time to wait.
    pub until_rest: bool,
}

/// The place in a request that gives its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitField {
    /// The header `Prefer`, or nothing for a request that changes nothing.
    Header,
    /// The field `wait_ms` of the JSON body.
    Body,
    /// `wait_ms` in the query.
    Query,
}

impl ApiCall {
    /// A request that changes nothing.
    pub(crate) fn get(path: &[&str]) -> ApiCall {
        ApiCall {
            method: "GET",
            uri: path.iter().flat_map(|segment| ["/".into(), encoded(segment)]).collect::<Vec<_>>().concat(),
            headers: Vec::new(),
            body: Vec::new(),
            changes: false,
            repeatable: true,
            wait: Duration::ZERO,
            wait_field: WaitField::Header,
            answer_timeout: ANSWER_TIMEOUT,
            total_timeout: None,
            may_create: true,
            may_be_first: true,
            dry_run: false,
            locks: Vec::new(),
            has_notes: true,
            until_rest: false,
        }
    }

    /// A change of locks. It needs no idempotency key: the lock's own secret makes it repeatable.
    pub(crate) fn lock(method: &'static str, path: &[&str], fields: Option<Value>, token: Option<&str>) -> ApiCall {
        // A lock in a file that is made by mistake, in a wrong folder, would exclude no other client.
        let mut call = ApiCall { method, changes: true, may_create: false, ..ApiCall::get(path) };
        call.headers.extend(token.map(|token| ("Lock-Token", token.to_owned())));
        match fields {
            Some(fields) => call.with_body(JSON, without_nulls(fields)),
            None => call,
        }
    }

    /// `POST` with those fields that are not null, as JSON.
    pub(crate) fn post(path: &[&str], fields: Value, options: &ChangeOptions) -> ApiCall {
        ApiCall::post_text(path, JSON, without_nulls(fields), options)
    }

    /// `POST` with a body of that type.
    pub(crate) fn post_text(path: &[&str], content_type: &str, body: String, options: &ChangeOptions) -> ApiCall {
        let mut call = ApiCall::get(path).changing("POST", options).with_body(content_type, body);
        if let ["v1", "wallets", user, ..] = path {
            call.locks.push(format!("wallet/{user}"));
        }
        call.may_be_first = matches!(path, ["v1", "wallets", _] | ["v1", "wallets", _, "recharge"] | ["v1", _]);
        call
    }

    /// `PUT` with a JSON body.
    pub(crate) fn put(path: &[&str], body: &Value, options: &ChangeOptions) -> ApiCall {
        ApiCall::get(path).changing("PUT", options).with_body(JSON, body.to_string())
    }

    /// `PATCH` with a JSON body, whose nulls clear something.
    pub(crate) fn patch(path: &[&str], body: &Value, options: &ChangeOptions) -> ApiCall {
        let call = ApiCall { may_be_first: false, ..ApiCall::get(path) };
        call.changing("PATCH", options).with_body(JSON, body.to_string())
    }

    /// `DELETE`
    pub(crate) fn delete(path: &[&str], options: &ChangeOptions) -> ApiCall {
        ApiCall { may_be_first: false, ..ApiCall::get(path) }.changing("DELETE", options)
    }

    fn changing(mut self, method: &'static str, options: &ChangeOptions) -> ApiCall {
        self.method = method;
        self.changes = true;
        self.wait = options.wait.unwrap_or(DEFAULT_WAIT);
        self.answer_timeout += self.wait;
        // A key is made where none is given, so that sending again after a lost answer does nothing twice.
        let key = options.key.clone().unwrap_or_else(|| format!("cli-{}", secret::random_hex::<16>()));
        self.headers.push((KEY, key));
        if !options.lock_token.is_empty() {
            self.headers.push(("Lock-Token", options.lock_token.join(", ")));
        }
        self
    }

    fn with_body(mut self, content_type: &str, body: String) -> ApiCall {
        self.headers.push(("Content-Type", content_type.to_owned()));
        self.body = body.into_bytes();
        self
    }

    /// The call with one more field in the query, if there is a value for it.
    pub(crate) fn query(mut self, name: &str, value: Option<impl std::fmt::Display>) -> ApiCall {
        if let Some(value) = value {
            let sign = if self.uri.contains('?') { '&' } else { '?' };
            self.uri.push(sign);
            self.uri += &format!("{}={}", encoded(name), encoded(&value.to_string()));
        }
        self
    }

    /// The call as a dry run, if it is one: it makes no file and waits for no lock.
    pub(crate) fn tried_if(self, dry_run: bool) -> ApiCall {
        if !dry_run {
            return self;
        }
        ApiCall { dry_run, wait: Duration::ZERO, ..self.query("dry_run", Some(true)) }
    }

    /// The call without a second try and without a key: its answer is the only one of its kind.
    pub(crate) fn once(mut self) -> ApiCall {
        self.headers.retain(|(name, _)| *name != KEY);
        self.repeatable = false;
        self
    }

    /// The call with that wait for a lock.
    pub(crate) fn waiting(mut self, wait: Duration, wait_field: WaitField) -> ApiCall {
        self.answer_timeout += wait;
        ApiCall { wait, wait_field, ..self }
    }

    /// The call with that bound on its whole time.
    pub(crate) fn within(self, time: Duration) -> ApiCall {
        ApiCall { total_timeout: Some(time), has_notes: false, ..self }
    }

    /// The call that does not wait for the end of a lock's rest.
    pub(crate) fn until_rest(self, until_rest: bool) -> ApiCall {
        ApiCall { until_rest, ..self }
    }

    /// The call with notes at a terminal about the wait for those locks.
    pub(crate) fn with_notes(self, locks: &[String]) -> ApiCall {
        ApiCall { has_notes: true, locks: locks.to_vec(), ..self }
    }

    /// The value of a header of this call.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
    }

    /// The advice for a call whose effect is not known.
    pub(super) fn doubt(&self) -> String {
        match self.header(KEY) {
            _ if !self.changes => String::new(),
            Some(key) => format!("; it may have been done: ask again with --key {key}"),
            None if !self.repeatable => "; it may have been done: look before you ask again".to_owned(),
            None => String::new(), // the secret of a lock makes a repeat the same request
        }
    }

    /// The request as it is sent: with the wait in its place.
    pub(crate) fn with_wait(&self, wait: Duration) -> ApiCall {
        let mut call = self.clone();
        match self.wait_field {
            WaitField::Header if self.changes => {
                let seconds = wait.as_millis().div_ceil(1_000); // the header has whole ones; less would not wait at all
                call.headers.push(("Prefer", format!("wait={seconds}")));
            }
            WaitField::Header => {}
            WaitField::Body => {
                let mut body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
                body["wait_ms"] = json!(wait.as_millis() as u64);
                call.body = body.to_string().into_bytes();
            }
            WaitField::Query => call = call.query("wait_ms", Some(wait.as_millis())),
        }
        call
    }
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn without_nulls(mut fields: Value) -> String {
    fields.as_object_mut().into_iter().for_each(|fields| fields.retain(|_, value| !value.is_null()));
    fields.to_string()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}
