//! The requests that were asked, and their answers: the newest of them.

use super::matching::ArrivedRequest;
use serde::Serialize;
use std::collections::VecDeque;

/// The requests that are kept.
const KEPT_MAX: usize = 1_000;
/// A longer body is left out of the log, in bytes.
pub(super) const BODY_MAX: usize = 4_096;

/// One request, and its answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoggedRequest {
    /// Its number, from 1.
    pub number: u64,
    /// The time by the clock.
    at: String,
    /// Its method.
    method: String,
    /// Its path.
    path: String,
    /// Its query.
    query: Option<String>,
    /// The user of its path, or else of its access token.
    user: Option<String>,
    /// Its idempotency key.
    key: Option<String>,
    /// Its body, if that is a short text.
    body: Option<String>,
    /// The fault that it has met.
    fault: Option<u64>,
    /// The pauses that it has met.
    pauses: Vec<u64>,
    /// The status of its answer. Null until it is answered, and if the connection was closed instead.
    status: Option<u16>,
    /// The body of its answer, if that is a short text.
    answer: Option<String>,
    /// True if its connection was closed without an answer.
    dropped: bool,
}

/// The newest requests.
#[derive(Default)]
pub(super) struct RequestLog {
    count: u64,
    kept: VecDeque<LoggedRequest>,
}

impl RequestLog {
    /// Adds a request. Returns its number.
    pub(super) fn add(
        &mut self,
        at: String,
        request: &ArrivedRequest,
        fault: Option<u64>,
        pauses: impl Iterator<Item = u64>,
    ) -> u64 {
        self.count += 1;
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        let ArrivedRequest { method, path, query, user, key, body } = request.clone();
        let number = self.count;
        let (pauses, status, answer, dropped) = (pauses.collect(), None, None, false);
        let logged =
            LoggedRequest { number, at, method, path, query, user, key, body, fault, pauses, status, answer, dropped };
        self.kept.push_back(logged);
        number
    }

    /// Notes the answer of a request. None: its connection was closed instead.
    pub(super) fn answered(&mut self, number: u64, answer: Option<(u16, Option<String>)>) {
        // It may have left the log meanwhile.
        if let Some(logged) = self.kept.iter_mut().rev().find(|logged| logged.number == number) {
            match answer {
                Some((status, text)) => (logged.status, logged.answer) = (Some(status), text),
                None => logged.dropped = true,
            }
        }
    }

    pub(super) fn all(&self) -> Vec<LoggedRequest> {
        self.kept.iter().cloned().collect()
    }

    /// Forgets the requests; the numbers go on.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }
}

/// The text of a body, if it is short.
pub(crate) fn short_text(body: &[u8]) -> Option<String> {
    let is_short = !body.is_empty() && body.len() <= BODY_MAX;
    std::str::from_utf8(body).ok().filter(|_| is_short).map(str::to_owned)
}
