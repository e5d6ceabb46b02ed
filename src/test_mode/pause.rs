//! Pauses: a request that stops at a point until another request releases it.

use super::matching::{ArrivedRequest, RequestMatch};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The point at which a request is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PausePoint {
    /// It has arrived whole. Other requests go on.
    Arrival,
    /// It is done inside the transaction, which is not committed. The writer stands still, and all changes with it.
    BeforeCommit,
    /// It is done, and not answered. Other requests go on.
    AfterCommit,
}

impl PausePoint {
    /// The names, in the order of the points.
    pub(crate) const NAMES: &'static [&'static str] = &["arrival", "before_commit", "after_commit"];

    /// The point of that name.
    pub(crate) fn from_text(text: &str) -> Option<PausePoint> {
        match text {
            "arrival" => Some(PausePoint::Arrival),
            "before_commit" => Some(PausePoint::BeforeCommit),
            "after_commit" => Some(PausePoint::AfterCommit),
            _ => None,
        }
    }
}

/// The state of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PauseState {
    /// No request has met it.
    Armed,
    /// A request has met it and is on its way to the point.
    Met,
    /// The request stands there.
    Paused,
    /// It was released.
    Released,
    /// It ended by itself.
    TimedOut,
    /// The request ended before it came to the point.
    Missed,
}

/// A pause, and the request that it stops.
pub(super) struct PausePlan {
    pub id: u64,
    pub wanted: RequestMatch,
    pub point: PausePoint,
    pub longest: Duration,
    pub matched: u32,
    pub state: PauseState,
    /// The number of the request.
    pub request: Option<u64>,
    /// The end of a request's stop.
    pub until: Option<Instant>,
}

impl PausePlan {
    /// True if this request is to be stopped; it is counted either way.
    pub(super) fn meets(&mut self, request: &ArrivedRequest) -> bool {
        if self.state != PauseState::Armed || !self.wanted.includes(request) {
            return false;
        }
        self.matched = self.matched.saturating_add(1);
        self.matched >= self.wanted.first()
    }

    /// Ends it, whatever its request does.
    pub(super) fn release(&mut self) {
        if matches!(self.state, PauseState::Armed | PauseState::Met | PauseState::Paused) {
            self.state = PauseState::Released;
        }
    }

    pub(super) fn json(&self) -> PauseJson {
        let left = self.until.filter(|_| self.state == PauseState::Paused);
        PauseJson {
            id: self.id,
            wanted: self.wanted.clone(),
            point: self.point,
            state: self.state,
            request: self.request,
            longest_ms: self.longest.as_millis() as u64,
            ends_in_ms: left.map(|until| until.saturating_duration_since(Instant::now()).as_millis() as u64),
        }
    }
}

/// A pause as clients see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PauseJson {
    /// Its number.
    pub id: u64,
    /// The requests it is for: it stops the first.
    #[serde(rename = "match")]
    wanted: RequestMatch,
    /// The point.
    #[serde(rename = "at")]
    point: PausePoint,
    /// `armed`, `met`, `paused`, `released`, `timed_out` or `missed`.
    state: PauseState,
    /// The number of the request that it has met.
    request: Option<u64>,
    /// The time after which it ends by itself, in milliseconds.
    longest_ms: u64,
    /// The time that is left until then, of a request that is paused.
    ends_in_ms: Option<u64>,
}

impl PauseJson {
    /// True if its request stands at the point.
    pub(crate) fn is_paused(&self) -> bool {
        self.state == PauseState::Paused
    }

    /// True if its request stands inside its transaction, and the writer with it.
    pub(crate) fn is_inside_transaction(&self) -> bool {
        self.is_paused() && self.point == PausePoint::BeforeCommit
    }

    /// True if its request has not come to the point yet.
    pub(crate) fn is_to_come(&self) -> bool {
        matches!(self.state, PauseState::Armed | PauseState::Met)
    }
}
