//! Acquires locks: sends the request again until it is granted or the wait is over, and releases what may have been
//! granted when it gives up.

use super::lease::{HeldLease, RenewResult};
use crate::cli::api_call::{ApiCall, WaitField};
use crate::cli::input;
use crate::cli::output::{self, CliError, Exit, ServerReply};
use crate::cli::target::Target;
use crate::clock::Clock;
use clap::Args;
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait of one request. A longer wait is several requests: the place in the queue is lost only between two.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// A refusal that came sooner than this is not followed by the next request before.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Time for the reply of a server when the wait is over.
const REPLY_TIME: Duration = Duration::from_secs(1);
/// Time for the reply to a request that does not wait.
const REPLY_TIME_WITHOUT_WAIT: Duration = Duration::from_secs(10);
/// Time for the reply to the question whether the lock was granted after all, when giving up.
const GIVE_UP_TIME: Duration = Duration::from_secs(1);

/// The options of a request for a lock.
#[derive(Clone, Debug, Args)]
pub(crate) struct LockOptions {
    /// Length of the lease without renewal, such as 10, 10s, 500ms, 1h30m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = input::milliseconds("1ms", "1d"))]
    pub ttl: i64,
    /// Time after the lease in which no other client can take over
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = input::milliseconds("0s", "1d"))]
    pub grace: i64,
    /// Longest time the lock may be held, renewals included
    #[arg(long, value_name = "TIME", value_parser = input::milliseconds("1ms", "1d"))]
    pub max_hold: Option<i64>,
    /// Time from the grant in which no client can acquire the lock again once it is released: one run per period
    #[arg(long, value_name = "TIME", value_parser = input::milliseconds("1ms", "1d"))]
    pub once_per: Option<i64>,
    /// Time to wait for the lock, or `forever` [default: no wait]
    #[arg(long, value_name = "TIME|forever", value_parser = lock_wait)]
    pub wait: Option<LockWait>,
    /// A label for people
    #[arg(long, value_name = "TEXT")]
    pub holder: Option<String>,
}

/// The length of a wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockWait {
    /// At most this long.
    For(Duration),
    /// Without end.
    Forever,
}

pub(super) fn lock_wait(text: &str) -> Result<LockWait, String> {
    match text {
        "forever" => Ok(LockWait::Forever),
        time => input::duration("0s", "1d")(time).map(LockWait::For),
    }
}

impl LockOptions {
    /// The length of a lease, in milliseconds: at most the time it may be held.
    pub(crate) fn lease_ms(&self) -> i64 {
        self.max_hold.map_or(self.ttl, |most| self.ttl.min(most))
    }

    /// The same options when a part of the wait is over.
    pub(crate) fn after(&self, waited: Duration) -> LockOptions {
        let wait = match self.wait {
            Some(LockWait::For(wait)) => Some(LockWait::For(wait.saturating_sub(waited))),
            other => other,
        };
        LockOptions { wait, ..self.clone() }
    }
}

/// The locks of a request.
#[derive(Clone, Debug)]
pub(crate) struct WantedLocks {
    /// Their names.
    pub ids: Vec<String>,
    /// One of them is enough.
    pub any: bool,
}

/// Requests the locks under that secret until they are granted or the wait is over; the last reply. `before_request` runs
/// before each request is sent.
pub(crate) fn acquire(
    target: &Target,
    locks: &WantedLocks,
    options: &LockOptions,
    secret: &str,
    mut before_request: impl FnMut(),
) -> Result<ServerReply, CliError> {
    let call = acquire_call(locks, options, secret);
    let deadline = match options.wait {
        None => Some(Instant::now()),
        Some(LockWait::For(wait)) => Some(Instant::now() + wait),
        Some(LockWait::Forever) => None,
    };
    let left = || {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(REQUEST_WAIT_MAX, |left| left.min(REQUEST_WAIT_MAX))
    };
    let reply_time = options.wait.map_or(REPLY_TIME_WITHOUT_WAIT, |_| REPLY_TIME);
    loop {
        let begun = Instant::now();
        before_request();
        let call = call.clone().waiting(left(), WaitField::Body).within(left() + reply_time);
        let reply = target.send(&call.with_notes(&locks.ids));
        let may_change = match &reply {
            Ok(reply) if options.once_per.is_some() && reply.is_resting() => false,
            Ok(reply) => reply.is_error("locked") || reply.is_error("busy"),
            Err(error) => error.exit == Exit::Unreachable, // a server may come back
        };
        if !may_change || left().is_zero() {
            return reply;
        }
        sleep(RETRY_PAUSE.saturating_sub(begun.elapsed()).min(left()));
    }
}

/// The request for the locks under that secret.
fn acquire_call(locks: &WantedLocks, options: &LockOptions, secret: &str) -> ApiCall {
    let mut fields = json!({ "ttl_ms": options.ttl, "grace_ms": options.grace, "max_hold_ms": options.max_hold,
        "min_hold_ms": options.once_per, "holder": options.holder, "secret": secret });
    let call = match locks.ids.as_slice() {
        [id] if !locks.any => ApiCall::lock("POST", &["v1", "locks", id], Some(fields), None),
        ids => {
            fields[if locks.any { "any" } else { "ids" }] = json!(ids);
            ApiCall::lock("POST", &["v1", "locks"], Some(fields), None)
        }
    };
    call.until_rest(options.once_per.is_some())
}

/// The locks that `lock run` acquires.
pub(crate) struct LockAcquisition {
    /// The target of the request.
    pub target: Target,
    /// The locks.
    pub locks: WantedLocks,
    /// The options.
    pub options: LockOptions,
    /// Says on standard error what is waited for.
    pub verbose: bool,
    /// The secret under which each repeat is the same request.
    pub secret: String,
}

/// The result of acquiring.
pub(crate) enum AcquireResult {
    /// A lease, and the boot time until which it lasts, in milliseconds.
    Lease(HeldLease, i64),
    /// A lease that was lost before it was used.
    Lost,
    /// Not granted in time; the reason is printed.
    NotAcquired,
    /// Not granted, because the lock rests: in this period it was released already.
    Resting,
}

impl LockAcquisition {
    /// Acquires the lock, or gives up when the wait is over.
    pub(crate) fn run(&self) -> Result<AcquireResult, CliError> {
        let waits = self.options.wait.is_some();
        let mut sent_ms = 0;
        let before_request = || sent_ms = Clock::Machine.boot_ms();
        if self.verbose && waits {
            self.say_what_is_waited_for();
        }
        let reply = match acquire(&self.target, &self.locks, &self.options, &self.secret, before_request) {
            Ok(reply) => reply,
            Err(error) => {
                self.give_up();
                let without_reply = Clock::Machine.boot_ms() - sent_ms >= REPLY_TIME.as_millis() as i64;
                if !(waits && without_reply) {
                    return Err(error);
                }
                output::print_error(&error.message);
                return Ok(AcquireResult::NotAcquired);
            }
        };
        if self.options.once_per.is_some() && reply.is_resting() {
            if self.verbose {
                output::print_error(&output::refusal_text(&reply.body));
            }
            return Ok(AcquireResult::Resting);
        }
        if !reply.is_success() {
            output::print_error(&output::refusal_text(&reply.body));
            let try_later = reply.is_error("locked") || waits && reply.is_error("busy");
            return if try_later { Ok(AcquireResult::NotAcquired) } else { Err(self.failed()) };
        }
        let lease = self.lease(&reply).ok_or_else(|| self.failed())?;
        // The lease of a repeated request may have begun a while ago, so its remaining time counts, and not its length.
        let left_ms = reply.body["expires_in_ms"].as_i64().map_or(0, |left_ms| left_ms.min(lease.ttl_ms));
        self.confirm(lease, sent_ms + left_ms)
    }

    /// Looks at the locks before the request that waits.
    fn say_what_is_waited_for(&self) {
        let mut held = Vec::new();
        for id in &self.locks.ids {
            let reply = self.target.send(&ApiCall::get(&["v1", "locks", id]).within(REPLY_TIME));
            let Some(body) = reply.ok().filter(ServerReply::is_success).map(|reply| reply.body) else { continue };
            match body["state"].as_str() {
                Some("free" | "stale") if self.locks.any => return,
                Some("free" | "stale") | None => {}
                Some(state) => {
                    let (holder, queue) = (output::text(&body["holder"]), output::text(&body["queue"]));
                    held.push(format!("{id} ({state}, {holder}; {queue} waiting)"));
                }
            }
        }
        if !held.is_empty() {
            output::print_error(&format!("waiting for {}", held.join(", ")));
        }
    }

    fn lease(&self, reply: &ServerReply) -> Option<HeldLease> {
        Some(HeldLease {
            target: self.target.clone(),
            ids: self.granted(&reply.body)?,
            token: reply.body["token"].as_str()?.to_owned(),
            fence: reply.body["fence"].as_i64()?,
            ttl_ms: self.options.lease_ms(),
        })
    }

    /// The names of the locks of a grant, as they were given.
    fn granted(&self, body: &Value) -> Option<Vec<String>> {
        let id = |id: &Value| id.as_str().map(str::to_owned);
        if self.locks.any { body["ids"].as_array()?.iter().map(id).collect() } else { Some(self.locks.ids.clone()) }
    }

    /// Renews a lease that was waited for, because the time it began is unknown here. Without a reply the command is not
    /// started, and no renewal is sent after the lease and its grace are over.
    fn confirm(&self, lease: HeldLease, until_ms: i64) -> Result<AcquireResult, CliError> {
        let replied_ms = Clock::Machine.boot_ms();
        if until_ms - replied_ms >= lease.ttl_ms - lease.ttl_ms / 10 {
            return Ok(AcquireResult::Lease(lease, until_ms));
        }
        let last_ms = replied_ms + lease.ttl_ms;
        loop {
            let sent_ms = Clock::Machine.boot_ms();
            match lease.renew(last_ms) {
                RenewResult::Until(until_ms) => return Ok(AcquireResult::Lease(lease, until_ms)),
                RenewResult::MaxHold => return Ok(AcquireResult::Lease(lease, until_ms)),
                RenewResult::Lost(_) => return Ok(AcquireResult::Lost),
                RenewResult::Unknown if sent_ms >= last_ms + self.options.grace => {
                    self.give_up();
                    let message = format!("the lock {} was granted, but renewing it had no reply", lease.name());
                    return Err(CliError::unreachable(message));
                }
                RenewResult::Unknown => {
                    let pause_ms = (sent_ms + lease.retry_ms() - Clock::Machine.boot_ms()).max(0);
                    sleep(Duration::from_millis(pause_ms as u64));
                }
            }
        }
    }

    /// Releases a lease that may have been granted: its reply may be lost or on its way. A repeat under the same secret
    /// gives the same grant, or one that is released at once.
    pub(crate) fn give_up(&self) {
        let call = acquire_call(&self.locks, &self.options, &self.secret);
        let reply = self.target.send(&call.waiting(Duration::ZERO, WaitField::Body).within(GIVE_UP_TIME));
        let granted = reply.ok().filter(ServerReply::is_success).and_then(|reply| self.lease(&reply));
        granted.iter().for_each(|lease| lease.release(false, GIVE_UP_TIME));
    }

    fn failed(&self) -> CliError {
        CliError::usage(format!("cannot acquire the lock {}", self.locks.ids.join(", ")))
    }
}
