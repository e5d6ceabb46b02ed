//! Faults: what goes wrong with the next requests that match.

use super::matching::{ArrivedRequest, RequestMatch};
use crate::error::{Error, ErrorName};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// The effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// The request is taken up that many milliseconds later.
    Delay(u64),
    /// It is answered with that error, and nothing is done.
    Status(ErrorName),
    /// The connection is closed, and nothing is done.
    DropBefore,
    /// It is done, and the connection is closed without an answer.
    DropAfter,
    /// Its commit fails as on a full disk.
    StorageFull,
    /// Its commit succeeds, and it is answered that the outcome is unknown.
    OutcomeUnknown,
    /// The process ends as by `kill -9`.
    Crash(CrashPoint),
}

/// The side of the commit on which the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Nothing is done.
    BeforeCommit,
    /// It is done, and not answered.
    AfterCommit,
}

/// The requests that a fault lists.
const HITS_KEPT_MAX: usize = 1_000;

/// The longest delay, in milliseconds.
const DELAY_MS_MAX: u64 = 60_000;

const WORDS: [(&str, FaultAction); 5] = [
    ("drop_before", FaultAction::DropBefore),
    ("drop_after", FaultAction::DropAfter),
    ("storage_full", FaultAction::StorageFull),
    ("outcome_unknown", FaultAction::OutcomeUnknown),
    ("crash", FaultAction::Crash(CrashPoint::AfterCommit)),
];

impl FaultAction {
    /// Reads a word, or an object with one member.
    pub(crate) fn of(value: &Value) -> Result<FaultAction, Error> {
        let wrong = || {
            let words = WORDS.map(|(word, _)| word).join(", ");
            let detail = format!(
                "do is one of the words {words}; or {{\"delay_ms\": 0 to {DELAY_MS_MAX}}}, {{\"status\": NAME OF AN ERROR}}, \
                 {{\"crash\": \"before_commit\" or \"after_commit\"}}"
            );
            Error::invalid(detail).with("field", "do")
        };
        if let Some(word) = value.as_str() {
            return WORDS.iter().find(|(one, _)| *one == word).map(|(_, action)| *action).ok_or_else(wrong);
        }
        let members = value.as_object().filter(|members| members.len() == 1).ok_or_else(wrong)?;
        let (name, value) = members.iter().next().ok_or_else(wrong)?;
        let action = match (name.as_str(), value.as_str()) {
            ("delay_ms", None) => value.as_u64().filter(|ms| *ms <= DELAY_MS_MAX).map(FaultAction::Delay),
            ("status", Some(error)) => ErrorName::from_text(error).map(FaultAction::Status),
            ("crash", Some("before_commit")) => Some(FaultAction::Crash(CrashPoint::BeforeCommit)),
            ("crash", Some("after_commit")) => Some(FaultAction::Crash(CrashPoint::AfterCommit)),
            _ => None,
        };
        action.ok_or_else(wrong)
    }

    /// True for what happens around the commit.
    pub(super) fn is_at_commit(self) -> bool {
        matches!(self, FaultAction::StorageFull | FaultAction::OutcomeUnknown | FaultAction::Crash(_))
    }
}

impl Serialize for FaultAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            FaultAction::Delay(ms) => json!({ "delay_ms": ms }),
            FaultAction::Status(name) => json!({ "status": name.as_str() }),
            FaultAction::Crash(CrashPoint::BeforeCommit) => json!({ "crash": "before_commit" }),
            action => json!(WORDS.iter().find(|(_, one)| one == action).map(|(word, _)| word)),
        };
        value.serialize(serializer)
    }
}

/// A fault that waits for requests, and those it has hit.
pub(super) struct PlannedFault {
    pub id: u64,
    pub wanted: RequestMatch,
    pub times: u32,
    pub action: FaultAction,
    /// The number of requests that matched.
    pub matched: u32,
    /// The number of requests that it will still hit.
    pub left: u32,
    /// The newest of those it has hit.
    pub hits: VecDeque<FaultHit>,
}

/// A request that a fault has hit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FaultHit {
    /// Its number among the requests.
    pub request: u64,
    /// Its method.
    method: String,
    /// Its path.
    path: String,
    /// False if it never came to the point of the fault: it was refused, or only read.
    pub done: bool,
}

impl PlannedFault {
    /// True if this request is to be hit; it is counted either way.
    pub(super) fn meets(&mut self, request: &ArrivedRequest) -> bool {
        if !self.wanted.includes(request) {
            return false;
        }
        self.matched = self.matched.saturating_add(1);
        self.matched >= self.wanted.first() && self.left > 0
    }

    pub(super) fn hit(&mut self, number: u64, request: &ArrivedRequest) {
        let (method, path) = (request.method.clone(), request.path.clone());
        self.left = self.left.saturating_sub(1);
        if self.hits.len() >= HITS_KEPT_MAX {
            self.hits.pop_front();
        }
        self.hits.push_back(FaultHit { request: number, method, path, done: false });
    }

    pub(super) fn json(&self) -> FaultJson {
        FaultJson {
            id: self.id,
            wanted: self.wanted.clone(),
            times: self.times,
            left: self.left,
            action: self.action,
            state: match self.left {
                0 => "used_up",
                left if left == self.times => "unused",
                _ => "used",
            },
            hits: self.hits.iter().cloned().collect(),
        }
    }
}

impl FaultJson {
    /// The number of requests it has hit.
    pub(crate) fn count(&self) -> usize {
        (self.times - self.left) as usize
    }
}

/// A fault as clients see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FaultJson {
    /// Its number.
    pub id: u64,
    /// The requests it is for.
    #[serde(rename = "match")]
    wanted: RequestMatch,
    /// The number of requests it hits.
    times: u32,
    /// The number of those that are still to come.
    left: u32,
    /// Its effect.
    #[serde(rename = "do")]
    action: FaultAction,
    /// `unused`, `used` or `used_up`.
    state: &'static str,
    /// The newest requests it has hit.
    hits: Vec<FaultHit>,
}
