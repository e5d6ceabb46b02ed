//! A lease as its holder sees it: kept by renewing, watched, given back.

use crate::cli::call::{Call, Said};
use crate::cli::door::{Answer, Door};
use crate::cli::show;
use crate::clock::Clock;
use serde_json::Value;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long one request watches a lease at a server.
const WATCH: Duration = Duration::from_secs(20);
/// How often a lease is looked at where nobody serves the file.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon a renewal that had no answer is tried again, at the latest.
const RETRY_MAX_MS: i64 = 1_000;

/// A lease and the way to its keeper.
pub struct Lease {
    /// Where it was had, and is asked about afresh each time.
    pub door: Door,
    /// The lock's name.
    pub id: String,
    /// Its secret.
    pub token: String,
    /// Its number.
    pub fence: i64,
    /// How long it lasts without renewal.
    pub ttl_ms: i64,
}

/// What came of a renewal.
pub enum Renewed {
    /// It lasts until then, in boot time, counted from before the request was sent.
    Until(i64),
    /// Somebody ended it: what to say.
    Lost(String),
    /// It cannot be renewed any more, and lasts as long as it lasts.
    NoMore,
    /// There was no answer, or none that says.
    Unknown,
}

impl Lease {
    /// Renews it once; the answer may take until it ends.
    pub fn renew(&self, until_ms: i64) -> Renewed {
        let sent = Clock::Machine.boot_ms();
        let mut call = self.call("PATCH");
        call.patience = Duration::from_millis((until_ms - sent).max(RETRY_MAX_MS) as u64);
        match self.door.answer(&call) {
            Ok(answer) if answer.is_good() => {
                answer.body["expires_in_ms"].as_i64().map_or(Renewed::Unknown, |left| Renewed::Until(sent + left))
            }
            Ok(answer) if answer.refuses_as("lock_lost") => Renewed::Lost(self.lost(&answer.body["ended"])),
            Ok(answer) if answer.refuses_as("max_hold") => Renewed::NoMore,
            _ => Renewed::Unknown,
        }
    }

    /// Renews it three times in its length until told to stop (the sender of `stop` is gone), it is lost, or cannot be
    /// renewed. Tells each time what came of it.
    pub fn keep(&self, mut until_ms: i64, stop: &Receiver<()>, tell: impl Fn(Renewed)) {
        let every = (self.ttl_ms / 3).max(1);
        let mut next = until_ms - self.ttl_ms + every;
        loop {
            let pause = (next - Clock::Machine.boot_ms()).max(0);
            if stop.recv_timeout(Duration::from_millis(pause as u64)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let sent = Clock::Machine.boot_ms();
            let renewed = self.renew(until_ms);
            match renewed {
                Renewed::Until(later) => {
                    until_ms = later;
                    next = sent + every;
                }
                Renewed::Unknown => next = Clock::Machine.boot_ms() + (every / 3).clamp(1, RETRY_MAX_MS),
                Renewed::Lost(_) | Renewed::NoMore => {
                    tell(renewed);
                    return;
                }
            }
            tell(renewed);
        }
    }

    /// Returns what to say when somebody else has ended it.
    pub fn watch(&self) -> String {
        let call = Call::get(&["v1", "locks", &self.id]).query("fence", Some(self.fence)).waiting(WATCH, Said::Query);
        loop {
            let begun = Instant::now();
            if let Ok(answer) = self.door.answer(&call)
                && let Some(ended) = self.ended(&answer)
            {
                return self.lost(&Value::from(ended));
            }
            sleep(LOOK_EVERY.saturating_sub(begun.elapsed()));
        }
    }

    fn ended(&self, answer: &Answer) -> Option<&'static str> {
        let (now, state) = (answer.body["fence"].as_i64(), answer.body["state"].as_str()?);
        match (now, state) {
            (_, "revoked") => Some("revoked"),
            (Some(fence), _) if fence == self.fence => None,
            (Some(_), _) => Some("taken over"),
            (None, _) => Some("released"),
        }
    }

    fn lost(&self, ended: &Value) -> String {
        format!("the lock {} was lost: {}", self.id, show::text(ended).replace('_', " "))
    }

    /// Gives it back.
    pub fn release(&self) {
        match self.door.answer(&self.call("DELETE")) {
            Ok(answer) if answer.is_good() || answer.refuses_as("lock_lost") => {}
            Ok(answer) => show::complain(&format!("{} is not released: {}", self.id, show::problem(&answer.body))),
            Err(trouble) => show::complain(&format!("{} is not released: {}", self.id, trouble.sentence)),
        }
    }

    fn call(&self, method: &'static str) -> Call {
        Call::lock(method, &["v1", "locks", &self.id], None, Some(&self.token))
    }
}
