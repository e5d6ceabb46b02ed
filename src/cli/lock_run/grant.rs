//! How `lock run` comes by its lease, and how it gives up so that nothing stays behind that nobody knows of.

use super::acquire::{ANSWER_TIME, LockTerms, acquire, request};
use super::event::{AcquireOutcome, WrapperEvent};
use super::lease::{HeldLease, RenewResult};
use crate::cli::output::{self, CliError, ServerReply};
use crate::cli::target::{Target, WaitField};
use crate::clock::Clock;
use std::slice;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// How long somebody who gives up waits for word of whether he had the lock after all.
const GIVE_UP_TIME: Duration = Duration::from_secs(1);

/// A lock that is wanted.
pub struct LockAcquisition {
    /// Where.
    pub target: Target,
    /// Its name.
    pub id: String,
    /// How.
    pub terms: LockTerms,
    /// What makes it this wish, however often it is asked for.
    pub secret: String,
}

impl LockAcquisition {
    /// Asks and waits for it, until there is a signal.
    pub fn have(
        self,
        events: &Sender<WrapperEvent>,
        inbox: &Receiver<WrapperEvent>,
    ) -> Result<AcquireOutcome, CliError> {
        let wish = Arc::new(self);
        let (asking, events) = (Arc::clone(&wish), events.clone());
        spawn(move || events.send(WrapperEvent::Asked(Box::new(asking.ask()))));
        for event in inbox {
            match event {
                WrapperEvent::Asked(answer) => return *answer,
                WrapperEvent::Signal(signal) => {
                    wish.give_up();
                    return Ok(AcquireOutcome::Signalled(signal)); // what was asked is cut off with the process
                }
                WrapperEvent::Guard(_) | WrapperEvent::Renewed(_) | WrapperEvent::Lost(_) => {}
            }
        }
        unreachable!("we hold a sender ourselves")
    }

    fn ask(&self) -> Result<AcquireOutcome, CliError> {
        let waits = self.terms.wait.is_some();
        let mut sent = 0;
        let asked = || sent = Clock::Machine.boot_ms();
        let answer = match acquire(&self.target, slice::from_ref(&self.id), &self.terms, &self.secret, asked) {
            Ok(answer) => answer,
            Err(error) => {
                self.give_up();
                let silent = Clock::Machine.boot_ms() - sent >= ANSWER_TIME.as_millis() as i64;
                if !(waits && silent) {
                    return Err(error);
                }
                output::print_error(&error.message);
                return Ok(AcquireOutcome::Nothing);
            }
        };
        if !answer.is_success() {
            output::print_error(&output::refusal_text(&answer.body));
            let later = answer.is_error("locked") || waits && answer.is_error("busy");
            return if later { Ok(AcquireOutcome::Nothing) } else { Err(self.not_had()) };
        }
        let lease = self.lease(&answer).ok_or_else(|| self.not_had())?;
        // A repeat may have been granted a while ago, so what is left of it counts, and not its length.
        let left_ms = answer.body["expires_in_ms"].as_i64().map_or(0, |left_ms| left_ms.min(lease.ttl_ms));
        self.make_sure(lease, sent + left_ms)
    }

    fn lease(&self, answer: &ServerReply) -> Option<HeldLease> {
        Some(HeldLease {
            target: self.target.clone(),
            id: self.id.clone(),
            token: answer.body["token"].as_str()?.to_owned(),
            fence: answer.body["fence"].as_i64()?,
            ttl_ms: self.terms.lease_ms(),
        })
    }

    /// Of a lease that was waited for nobody here knows when it began. One renewal tells: without its answer nothing is
    /// started, and none is sent when the lease and its grace are over for certain.
    fn make_sure(&self, lease: HeldLease, until_ms: i64) -> Result<AcquireOutcome, CliError> {
        let answered = Clock::Machine.boot_ms();
        if until_ms - answered >= lease.ttl_ms - lease.ttl_ms / 10 {
            return Ok(AcquireOutcome::Lease(lease, until_ms));
        }
        let last_ms = answered + lease.ttl_ms;
        loop {
            let sent = Clock::Machine.boot_ms();
            match lease.renew(last_ms) {
                RenewResult::Until(until_ms) => return Ok(AcquireOutcome::Lease(lease, until_ms)),
                RenewResult::NoMore => return Ok(AcquireOutcome::Lease(lease, until_ms)),
                RenewResult::Lost(_) => return Ok(AcquireOutcome::Lost),
                RenewResult::Unknown if sent >= last_ms + self.terms.grace => {
                    self.give_up();
                    return Err(CliError::unreachable(format!("{} was had and could not be kept", self.id)));
                }
                RenewResult::Unknown => {
                    let pause_ms = (sent + lease.retry_ms() - Clock::Machine.boot_ms()).max(0);
                    sleep(Duration::from_millis(pause_ms as u64));
                }
            }
        }
    }

    /// Gives back what may have been granted: the answer may be lost or on its way, and a repeat of the same wish is the
    /// same grant, or one that is given back at once.
    fn give_up(&self) {
        let call = request(slice::from_ref(&self.id), &self.terms, &self.secret);
        let answer = self.target.send(&call.waiting(Duration::ZERO, WaitField::Body).within(GIVE_UP_TIME));
        let had = answer.ok().filter(ServerReply::is_success).and_then(|answer| self.lease(&answer));
        had.iter().for_each(HeldLease::release);
    }

    fn not_had(&self) -> CliError {
        CliError::usage(format!("the lock {} cannot be had", self.id))
    }
}
