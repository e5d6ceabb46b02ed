//! A lease as its holder sees it: kept by renewing, watched, given back.

use crate::cli::output::{self, ServerReply};
use crate::cli::target::{ApiCall, Target, WaitField};
use crate::clock::Clock;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long one request watches a lease at a server. A connection that died without a word hides a revoke for so long,
/// and the answer time: together well below the 10 s that a revoke gives a holder to end its work.
const WATCH: Duration = Duration::from_secs(3);
/// How long the answer to a look may take.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// How often a lease is looked at where nobody serves the file.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How soon a renewal that had no answer is tried again, at the latest.
const RETRY_MAX_MS: i64 = 1_000;
/// How long a renewal has for its answer at least: less is not enough for a server that is well.
const ANSWER_MIN_MS: i64 = 100;
/// How long giving it back may take: whoever waits for the command's end does not wait for a server that hangs.
const RELEASE_TIME: Duration = Duration::from_secs(3);

/// A lease and the way to its keeper.
pub struct HeldLease {
    /// Where it was had, and is asked about afresh each time.
    pub target: Target,
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
pub enum RenewResult {
    /// It lasts until then, in boot time, counted from before the request was sent.
    Until(i64),
    /// Somebody ended it.
    Lost(LeaseLoss),
    /// It cannot be renewed any more, and lasts as long as it lasts.
    NoMore,
    /// There was no answer, or none that says.
    Unknown,
}

/// The end of a lease before its time.
pub struct LeaseLoss {
    /// What to say.
    pub why: String,
    /// Before when nobody else has the lock, in boot time, if that is known.
    pub free_ms: Option<i64>,
}

impl HeldLease {
    /// Renews it once. The answer may take a third of its length, so that one that never comes does not cost the lease;
    /// and no longer than it lasts.
    pub fn renew(&self, until_ms: i64) -> RenewResult {
        let sent = Clock::Machine.boot_ms();
        let time_ms = self.every_ms().min(until_ms - sent).max(ANSWER_MIN_MS);
        let call = self.call("PATCH").within(Duration::from_millis(time_ms as u64));
        match self.target.send(&call) {
            Ok(answer) if answer.is_success() => answer.body["expires_in_ms"]
                .as_i64()
                .map_or(RenewResult::Unknown, |left| RenewResult::Until(sent + left)),
            Ok(answer) if answer.is_error("lock_lost") => {
                let how = output::text(&answer.body["ended"]).replace('_', " ");
                RenewResult::Lost(LeaseLoss { why: self.lost(&how), free_ms: None })
            }
            Ok(answer) if answer.is_error("max_hold") => RenewResult::NoMore,
            _ => RenewResult::Unknown,
        }
    }

    /// It is renewed three times in its length.
    fn every_ms(&self) -> i64 {
        (self.ttl_ms / 3).max(1)
    }

    /// How long after a renewal that had no answer the next one is sent, if the answer was not waited for that long.
    pub fn retry_ms(&self) -> i64 {
        (self.every_ms() / 3).clamp(1, RETRY_MAX_MS)
    }

    /// Renews it three times in its length until told to stop (the sender of `stop` is gone), it is lost, or cannot be
    /// renewed. Tells each time what came of it.
    pub fn keep(&self, mut until_ms: i64, stop: &Receiver<()>, tell: impl Fn(RenewResult)) {
        let mut next = until_ms - self.ttl_ms + self.every_ms();
        loop {
            let pause = (next - Clock::Machine.boot_ms()).max(0);
            if stop.recv_timeout(Duration::from_millis(pause as u64)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let sent = Clock::Machine.boot_ms();
            let renewed = self.renew(until_ms);
            match renewed {
                RenewResult::Until(later) => {
                    until_ms = later;
                    next = sent + self.every_ms();
                }
                RenewResult::Unknown => next = sent + self.retry_ms(),
                RenewResult::Lost(_) | RenewResult::NoMore => {
                    tell(renewed);
                    return;
                }
            }
            tell(renewed);
        }
    }

    /// Returns when somebody else has ended it.
    pub fn watch(&self) -> LeaseLoss {
        loop {
            let begun = Instant::now();
            if let Some(loss) = self.look(WATCH) {
                return self.told(loss);
            }
            sleep(LOOK_EVERY.saturating_sub(begun.elapsed()));
        }
    }

    /// Looks whether somebody has ended it, for so long.
    fn look(&self, wait: Duration) -> Option<LeaseLoss> {
        let sent = Clock::Machine.boot_ms();
        let call = ApiCall::get(&["v1", "locks", &self.id]).query("fence", Some(self.fence));
        let answer = self.target.send(&call.waiting(wait, WaitField::Query).within(wait + LOOK_TIME)).ok()?;
        self.ended(&answer, sent)
    }

    fn ended(&self, answer: &ServerReply, sent: i64) -> Option<LeaseLoss> {
        let (fence, state) = (answer.body["fence"].as_i64(), answer.body["state"].as_str()?);
        let how = match (fence, state) {
            (_, "revoked") => "revoked",
            (Some(fence), _) if fence == self.fence => return None,
            (Some(_), _) => "ended", // and somebody else may have it now
            (None, _) => "released",
        };
        let free = answer.body["free_in_ms"].as_i64().filter(|_| how == "revoked");
        Some(LeaseLoss { why: self.lost(how), free_ms: free.map(|ms| sent + ms) })
    }

    /// What is known of a loss that was seen. A watch's answer counts from before the watch began, so it is looked again;
    /// and how the lease ended, its keeper tells whoever renews it.
    fn told(&self, seen: LeaseLoss) -> LeaseLoss {
        let loss = self.look(Duration::ZERO).unwrap_or(seen);
        match self.renew(Clock::Machine.boot_ms() + LOOK_TIME.as_millis() as i64) {
            RenewResult::Lost(told) => LeaseLoss { why: told.why, ..loss },
            RenewResult::Until(_) | RenewResult::NoMore | RenewResult::Unknown => loss,
        }
    }

    fn lost(&self, how: &str) -> String {
        format!("the lock {} was lost: {how}", self.id)
    }

    /// Gives it back.
    pub fn release(&self) {
        match self.target.send(&self.call("DELETE").within(RELEASE_TIME)) {
            Ok(answer) if answer.is_success() || answer.is_error("lock_lost") => {}
            Ok(answer) => {
                output::print_error(&format!("{} is not released: {}", self.id, output::refusal_text(&answer.body)))
            }
            Err(error) => output::print_error(&format!("{} is not released: {}", self.id, error.message)),
        }
    }

    fn call(&self, method: &'static str) -> ApiCall {
        ApiCall::lock(method, &["v1", "locks", &self.id], None, Some(&self.token))
    }
}
