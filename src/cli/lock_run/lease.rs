//! A lease as its holder sees it: renewed, watched, released; and the times by which a command under it must end.

use super::protocol::Deadlines;
use crate::cli::api_call::{ApiCall, WaitField};
use crate::cli::output::{self, Exit, ServerReply};
use crate::cli::target::Target;
use crate::clock::Clock;
use serde_json::Value;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Length of one request that watches a lease at a server. A connection that died unnoticed hides a revoke for this time
/// and the reply time: together well below the 10 s that a revoke gives a holder to end its work.
const WATCH_TIME: Duration = Duration::from_secs(3);
/// Time for the reply to a look at the lock.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// Pause between two looks at a lock in a file without a server.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest pause before a renewal without a reply is tried again.
const RETRY_MAX_MS: i64 = 1_000;
/// Shortest time for the reply to a renewal: less is not enough for a healthy server.
const REPLY_MIN_MS: i64 = 100;
/// Time for the reply to a release, so that a server that hangs does not hold up the end of `lock run`.
pub(super) const RELEASE_TIME: Duration = Duration::from_secs(3);
/// Pause before a release is tried again.
const RELEASE_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Time between KILL and the moment another client can take over. A shorter lease has half of itself.
const KILL_MARGIN_MS: i64 = 250;

/// The loss of a lease whose file has another history of locks now.
const OTHER_FILE: &str = "its file was deleted, replaced or restored, and this lease is not in it";

/// A lease and the target that granted it.
pub(crate) struct HeldLease {
    /// The target of its requests.
    pub target: Target,
    /// The locks' names.
    pub ids: Vec<String>,
    /// The lock token.
    pub token: String,
    /// The fence.
    pub fence: i64,
    /// Its length without renewal, in milliseconds.
    pub ttl_ms: i64,
}

/// The result of a renewal.
pub(crate) enum RenewResult {
    /// The lease lasts until this boot time, in milliseconds, counted from before the request was sent.
    Until(i64),
    /// Another client ended it.
    Lost(LeaseLoss),
    /// It cannot be renewed any more, and runs out at the time that is known.
    MaxHold,
    /// No reply, or one that does not tell.
    Unknown,
}

/// The end of a lease before its time.
pub(crate) struct LeaseLoss {
    /// The reason, for people.
    pub message: String,
    /// The boot time before which no other client has the lock, in milliseconds, if that is known.
    pub free_ms: Option<i64>,
}

impl HeldLease {
    /// The locks' names, for people.
    pub(crate) fn name(&self) -> String {
        self.ids.join(", ")
    }

    /// Renews it once. The reply has a third of the length, so that one lost reply does not cost the lease; and no more
    /// time than the lease lasts.
    pub(crate) fn renew(&self, until_ms: i64) -> RenewResult {
        let sent_ms = Clock::Machine.boot_ms();
        let time_ms = self.renew_every_ms().min(until_ms - sent_ms).max(REPLY_MIN_MS);
        match self.target.send(&self.call("PATCH").within(Duration::from_millis(time_ms as u64))) {
            Ok(reply) if reply.is_success() => reply.body["expires_in_ms"]
                .as_i64()
                .map_or(RenewResult::Unknown, |left| RenewResult::Until(sent_ms + left)),
            Ok(reply) if reply.is_error("lock_lost") => {
                let how = match &reply.body["ended"] {
                    Value::Null => OTHER_FILE.to_owned(),
                    ended => output::text(ended).replace('_', " "),
                };
                RenewResult::Lost(LeaseLoss { message: self.lost(&how), free_ms: None })
            }
            Ok(reply) if reply.is_error("max_hold") => RenewResult::MaxHold,
            _ => RenewResult::Unknown,
        }
    }

    /// Three renewals per length.
    pub(crate) fn renew_every_ms(&self) -> i64 {
        (self.ttl_ms / 3).max(1)
    }

    /// Time from one renewal without a reply to the next.
    pub(crate) fn retry_ms(&self) -> i64 {
        (self.renew_every_ms() / 3).clamp(1, RETRY_MAX_MS)
    }

    /// Renews it until the sender of `stop` is dropped, or it is lost, or cannot be renewed any more; reports each result.
    pub(crate) fn keep(&self, mut until_ms: i64, stop: &Receiver<()>, report: impl Fn(RenewResult)) {
        let mut next_ms = until_ms - self.ttl_ms + self.renew_every_ms();
        loop {
            let pause_ms = (next_ms - Clock::Machine.boot_ms()).max(0);
            if stop.recv_timeout(Duration::from_millis(pause_ms as u64)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let sent_ms = Clock::Machine.boot_ms();
            let result = self.renew(until_ms);
            match result {
                RenewResult::Until(later_ms) => {
                    until_ms = later_ms;
                    next_ms = sent_ms + self.renew_every_ms();
                }
                RenewResult::Unknown => next_ms = sent_ms + self.retry_ms(),
                RenewResult::Lost(_) | RenewResult::MaxHold => return report(result),
            }
            report(result);
        }
    }

    /// Returns when another client has ended the lease of that lock, one of its own.
    pub(crate) fn watch(&self, id: &str) -> LeaseLoss {
        loop {
            let begun = Instant::now();
            if let Some(loss) = self.look(id, WATCH_TIME) {
                return self.details(id, loss);
            }
            sleep(LOOK_EVERY.saturating_sub(begun.elapsed()));
        }
    }

    /// Looks whether another client has ended it; waits up to `wait` for that.
    fn look(&self, id: &str, wait: Duration) -> Option<LeaseLoss> {
        let sent_ms = Clock::Machine.boot_ms();
        let call = ApiCall::get(&["v1", "locks", id]).query("fence", Some(self.fence));
        let reply = self.target.send(&call.waiting(wait, WaitField::Query).within(wait + LOOK_TIME)).ok()?;
        self.ended(&reply, sent_ms)
    }

    fn ended(&self, reply: &ServerReply, sent_ms: i64) -> Option<LeaseLoss> {
        let (fence, state) = (reply.body["fence"].as_i64(), reply.body["state"].as_str()?);
        let incarnation = reply.body["incarnation"].as_str();
        let how = match (fence, state) {
            _ if incarnation.is_some() && incarnation != self.token.split('.').nth(1) => OTHER_FILE,
            (_, "revoked") => "revoked",
            (Some(fence), "resting") if fence == self.fence => "released",
            (Some(fence), _) if fence == self.fence => return None,
            (Some(_), _) => "ended", // and another client may hold the lock
            (None, _) => "released",
        };
        let free = reply.body["free_in_ms"].as_i64().filter(|_| how == "revoked");
        Some(LeaseLoss { message: self.lost(how), free_ms: free.map(|ms| sent_ms + ms) })
    }

    /// Details of a loss that was seen. The reply to a watch counts from before the watch began, so one more look gives a
    /// better time; and the reply to a renewal says how the lease ended.
    fn details(&self, id: &str, seen: LeaseLoss) -> LeaseLoss {
        let loss = self.look(id, Duration::ZERO).unwrap_or(seen);
        match self.renew(Clock::Machine.boot_ms() + LOOK_TIME.as_millis() as i64) {
            RenewResult::Lost(LeaseLoss { message, .. }) => LeaseLoss { message, ..loss },
            RenewResult::Until(_) | RenewResult::MaxHold | RenewResult::Unknown => loss,
        }
    }

    fn lost(&self, how: &str) -> String {
        format!("the lock {} was lost: {how}", self.name())
    }

    /// Releases it. `rests`: its locks rest afterwards, if they were acquired for that. A server that cannot be reached, as it
    /// is started again, is asked again for `timeout`; after 3 s that is noted.
    pub(crate) fn release(&self, rests: bool, timeout: Duration) {
        let begun = Instant::now();
        let mut has_noted = false;
        let say = |reason: &str| output::print_error(&format!("{} is not released: {reason}", self.name()));
        let call = self.call("DELETE").query("min_hold_ms", (!rests).then_some(0));
        loop {
            let reason = match self.target.send(&call.clone().within(RELEASE_TIME)) {
                Ok(reply) if reply.is_success() || reply.is_error("lock_lost") => return,
                Ok(reply) if !reply.is_error("busy") => return say(&output::refusal_text(&reply.body)),
                Ok(reply) => output::refusal_text(&reply.body),
                Err(error) if error.exit != Exit::Unreachable => return say(&error.message),
                Err(error) => error.message,
            };
            if begun.elapsed() >= timeout {
                return say(&reason);
            }
            if begun.elapsed() >= RELEASE_TIME && !std::mem::replace(&mut has_noted, true) {
                say(&format!(
                    "{reason}; trying again until its lease is over, or the job would run again in its period"
                ));
            }
            sleep(RELEASE_AGAIN_AFTER);
        }
    }

    fn call(&self, method: &'static str) -> ApiCall {
        match self.ids.as_slice() {
            [id] => ApiCall::lock(method, &["v1", "locks", id], None, Some(&self.token)),
            _ => ApiCall::lock(method, &["v1", "locks"], None, Some(&self.token)),
        }
    }
}

/// The times of a lease that set the deadlines of its command, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseTimes {
    /// Length of the lease.
    pub ttl_ms: i64,
    /// Time after it in which no other client can have the lock.
    pub grace_ms: i64,
    /// Longest time from TERM to KILL.
    pub kill_after_ms: i64,
}

impl LeaseTimes {
    /// The deadlines under a lease that ends at `lease_end_ms`: TERM at its end, and KILL before the grace is over, with
    /// the margin. A grace shorter than the margin puts both before the end of the lease.
    pub(crate) fn deadlines(&self, lease_end_ms: i64) -> Deadlines {
        let last_ms = self.kill_before(lease_end_ms + self.grace_ms);
        let term_ms = lease_end_ms.min(last_ms);
        Deadlines { term_ms, kill_ms: last_ms.min(term_ms + self.kill_after_ms) }
    }

    /// The time to kill if another client may have the lock at `free_ms`.
    pub(crate) fn kill_before(&self, free_ms: i64) -> i64 {
        free_ms - KILL_MARGIN_MS.min((self.ttl_ms + self.grace_ms) / 2)
    }

    /// The time from TERM to KILL.
    pub(crate) fn term_to_kill_ms(&self) -> i64 {
        let deadlines = self.deadlines(0);
        deadlines.kill_ms - deadlines.term_ms
    }
}
