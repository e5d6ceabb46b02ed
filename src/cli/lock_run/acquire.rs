//! Asking for a lock until it is had or the wait is over.

use crate::cli::input;
use crate::cli::output::{CliError, Exit, ServerReply};
use crate::cli::target::{ApiCall, Target, WaitField};
use clap::Args;
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest one request waits. Who waits longer asks again at once: a place in the queue is only lost between two.
const ASK_MAX: Duration = Duration::from_secs(3_600);
/// A no that came back sooner than this is not asked about again before.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a server has for its answer when the wait is over.
pub const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How long it has where nothing waits.
const ANSWER_TIME_AT_ONCE: Duration = Duration::from_secs(10);

/// On what terms a lock is asked for.
#[derive(Clone, Debug, Args)]
pub struct LockTerms {
    /// How long the lease lasts without renewal: 500ms, 10s, 2m, 1h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = input::lasting)]
    pub ttl: i64,
    /// How long after that nobody else may take over
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = input::span)]
    pub grace: i64,
    /// How long it may be held at most, renewals included
    #[arg(long, value_name = "TIME", value_parser = input::lasting)]
    pub max_hold: Option<i64>,
    /// How long to wait for it: a time, or `forever` [default: nothing waits]
    #[arg(long, value_name = "TIME|forever", value_parser = wait_time)]
    pub wait: Option<WaitTime>,
    /// A label for people
    #[arg(long, value_name = "TEXT")]
    pub holder: Option<String>,
}

impl LockTerms {
    /// How long a lease lasts, in milliseconds: no longer than it may be held.
    pub fn lease_ms(&self) -> i64 {
        self.max_hold.map_or(self.ttl, |most| self.ttl.min(most))
    }

    /// The same, when a part of the wait is over.
    pub fn after(&self, waited: Duration) -> LockTerms {
        let wait = match self.wait {
            Some(WaitTime::For(wait)) => Some(WaitTime::For(wait.saturating_sub(waited))),
            other => other,
        };
        LockTerms { wait, ..self.clone() }
    }
}

/// How long somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitTime {
    /// So long.
    For(Duration),
    /// As long as it takes.
    Forever,
}

fn wait_time(text: &str) -> Result<WaitTime, String> {
    match text {
        "forever" => Ok(WaitTime::Forever),
        time => input::span(time).map(|ms| WaitTime::For(Duration::from_millis(ms as u64))),
    }
}

/// Asks for the locks under that secret; the last answer. `asked` hears when each request is sent.
pub fn acquire(
    target: &Target,
    ids: &[String],
    terms: &LockTerms,
    secret: &str,
    mut asked: impl FnMut(),
) -> Result<ServerReply, CliError> {
    let call = request(ids, terms, secret);
    let deadline = match terms.wait {
        None => Some(Instant::now()),
        Some(WaitTime::For(wait)) => Some(Instant::now() + wait),
        Some(WaitTime::Forever) => None,
    };
    let left = || deadline.map_or(ASK_MAX, |deadline| deadline.saturating_duration_since(Instant::now()).min(ASK_MAX));
    let answer_time = terms.wait.map_or(ANSWER_TIME_AT_ONCE, |_| ANSWER_TIME);
    loop {
        let begun = Instant::now();
        asked();
        let answer = target.send(&call.clone().waiting(left(), WaitField::Body).within(left() + answer_time));
        let may_change = match &answer {
            Ok(answer) => answer.is_error("locked") || answer.is_error("busy"),
            Err(error) => error.exit == Exit::Unreachable, // a server may come back
        };
        if !may_change || left().is_zero() {
            return answer;
        }
        sleep(PAUSE.saturating_sub(begun.elapsed()).min(left()));
    }
}

/// The request for the locks under that secret.
pub fn request(ids: &[String], terms: &LockTerms, secret: &str) -> ApiCall {
    let fields = [
        ("ids", if ids.len() == 1 { Value::Null } else { json!(ids) }),
        ("ttl_ms", json!(terms.ttl)),
        ("grace_ms", json!(terms.grace)),
        ("max_hold_ms", json!(terms.max_hold)),
        ("holder", json!(terms.holder)),
        ("secret", json!(secret)),
    ];
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    let body = Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect());
    match ids {
        [id] => ApiCall::lock("POST", &["v1", "locks", id], Some(&body), None),
        _ => ApiCall::lock("POST", &["v1", "locks"], Some(&body), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_time_or_forever() {
        assert_eq!(wait_time("forever"), Ok(WaitTime::Forever));
        assert_eq!(wait_time("0s"), Ok(WaitTime::For(Duration::ZERO)));
        assert!(wait_time("for ever").is_err());
    }
}
