//! The round through the holds that are over: the writer gives back what is left of them, a bounded number in each commit,
//! with other commands between.
//!
//! A hold whose wallet's lock another client holds is passed over, and looked at again when a lock changes or after a
//! second. So one such wallet keeps no other waiting.

use super::engine::Savepoint;
use super::execute::{Batch, BatchLost, Executor, failed, guarded};
use super::stats;
use crate::error::Error;
use crate::id::LockId;
use crate::ledger;
use crate::ledger::hold::{self, EXPIRY, HoldPlace};
use crate::lock::lease::{self, LockAttempt};
use crate::tx::WriteTx;

/// The most holds looked at in one commit.
const HOLDS_STEP: usize = 256;
/// The fewest of them beside other commands, which wait for them.
const HOLDS_STEP_BESIDE_OTHERS: usize = 64;
/// About twice the time that giving one back takes, in microseconds.
const TWO_HOLDS_US: u64 = 100;
/// Time from a round that had to pass over a hold to the next, from one that failed, and from any other: the wall clock may
/// be set forward meanwhile.
const BLOCKED_REST_MS: i64 = 1_000;
const FAILED_REST_MS: i64 = 60_000;
const REST_MS: i64 = 60_000;

/// The round, and the lease time of its next step. Begins at once: holds may be over since the file was closed.
#[derive(Default)]
pub(crate) struct Expiry {
    place: HoldPlace,
    next_ms: i64,
    /// True if a hold was passed over in this round, or in the last one until the next has begun.
    is_blocked: bool,
    /// The lease time at which the first of the holds is due that this round found over by the wall clock alone.
    due_ms: Option<i64>,
    /// The lease time at which the first of the holds is due that were made or ended during this round, perhaps behind it.
    noted_ms: Option<i64>,
    /// Time of the last commit, its sync included, in microseconds.
    last_commit_us: u64,
}

impl Expiry {
    /// Lease time at which the next step is due.
    pub(super) fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// Has the holds looked at now: the clock was moved.
    pub(super) fn look_now(&mut self) {
        self.next_ms = i64::MIN / 2;
    }

    /// The lease time at which the first of the holds is due that are over by the wall clock alone.
    pub(super) fn due_ms(&self) -> Option<i64> {
        self.due_ms
    }

    /// True if a hold was passed over.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Notes a commit, which took that time. Has the holds looked at by `due_ms`: its commands have made or ended some.
    pub(super) fn note_commit(&mut self, due_ms: Option<i64>, commit_us: u64) {
        self.last_commit_us = commit_us;
        self.noted_ms = self.noted_ms.into_iter().chain(due_ms).min();
        self.next_ms = due_ms.unwrap_or(i64::MAX).min(self.next_ms);
    }

    /// Looks again at holds that were passed over: a lock has changed.
    pub(super) fn note_locks_changed(&mut self) {
        if self.is_blocked {
            self.next_ms = 0;
        }
    }

    /// Puts the next step off and begins the round again: nothing can be written now, or the last step was lost.
    pub(super) fn put_off(&mut self, now: i64) {
        *self = Expiry { next_ms: self.next_ms.max(now + BLOCKED_REST_MS), ..Expiry::default() };
    }

    /// Waits for another round: a step has failed and was taken back.
    fn rest(&mut self, now: i64) {
        *self = Expiry { next_ms: now + FAILED_REST_MS, ..Expiry::default() };
    }

    /// Takes the next step, all of it or nothing. Beside other commands it takes at most about half as long as the last commit
    /// did: so a slow disk, whose commits are few, does not keep many holds waiting for long.
    pub(super) fn settle(&mut self, executor: &mut Executor, batch: &mut Batch<'_>) -> Result<(), BatchLost> {
        let (engine, tx) = (batch.engine, &batch.tx);
        let unit = *tx.unit();
        let beside_others = usize::try_from(self.last_commit_us / TWO_HOLDS_US).unwrap_or(HOLDS_STEP);
        let limit = match batch.answers.is_empty() {
            true => HOLDS_STEP,
            false => beside_others.clamp(HOLDS_STEP_BESIDE_OTHERS, HOLDS_STEP),
        };
        batch.set_used();
        tx.begin_part(Savepoint::Settle)?;
        let settled = guarded(|| {
            let settled = self.step(tx, limit)?;
            ledger::write_system_wallets(tx)?;
            Ok(settled)
        });
        match settled {
            Ok((count, freed)) => {
                tx.end_part(Savepoint::Settle)?;
                stats::add(&executor.stats.settled_holds, count as u64);
                executor.locks_changed |= !freed.is_empty();
                executor.wake(batch, freed)
            }
            Err(error) => {
                failed(engine, error)?;
                tx.take_back(Savepoint::Settle)?;
                tx.end_part(Savepoint::Settle)?;
                tx.set_unit(unit);
                self.rest(tx.now().lease_ms);
                Ok(())
            }
        }
    }

    /// Returns the number of holds that were settled, and the locks whose waiters must look again.
    fn step(&mut self, tx: &WriteTx<'_>, limit: usize) -> Result<(usize, Vec<LockId>), Error> {
        let now = tx.now().lease_ms;
        if self.place == HoldPlace::default() {
            (self.is_blocked, self.due_ms, self.noted_ms) = (false, None, None);
        }
        let SettledHolds { reached, settled, freed, blocked, due_ms } = settle_holds(tx, self.place, limit)?;
        self.is_blocked |= blocked;
        self.due_ms = self.due_ms.into_iter().chain(due_ms).min();
        (self.place, self.next_ms) = match reached {
            Some(place) => (place, now),
            None => (HoldPlace::default(), self.next_round(tx)?),
        };
        Ok((settled, freed))
    }

    /// The lease time of the next round; never, if nothing is left of any hold.
    fn next_round(&self, tx: &WriteTx<'_>) -> Result<i64, Error> {
        let now = tx.now().lease_ms;
        let over = hold::next_over(tx)?.map(|until| now + (until - tx.steady_wall_ms()).min(REST_MS));
        let due = self.due_ms.map(|due| due.min(now + REST_MS));
        let blocked = self.is_blocked.then_some(now + BLOCKED_REST_MS);
        Ok([over, due, self.noted_ms, blocked].into_iter().flatten().min().unwrap_or(i64::MAX))
    }
}

/// The result of one step through the holds that are over.
struct SettledHolds {
    /// The place of the last hold that was looked at, if others may follow.
    reached: Option<HoldPlace>,
    /// The number of holds whose money was given back.
    settled: usize,
    /// Locks whose stale leases were removed: their waiters must look again.
    freed: Vec<LockId>,
    /// True if another client holds the lock of a wallet, or if a wallet cannot take the money.
    blocked: bool,
    /// The lease time at which the first of those is due that are over by the wall clock alone.
    due_ms: Option<i64>,
}

/// Gives back what is left of holds that are over, looking at no more than `limit` of them behind `after`. Those whose
/// wallet's lock another client holds are left for later.
fn settle_holds(tx: &WriteTx<'_>, after: HoldPlace, limit: usize) -> Result<SettledHolds, Error> {
    let over = hold::over(tx, after, limit)?;
    let reached = over.last().filter(|_| over.len() == limit).map(|(place, _)| *place);
    let mut done = SettledHolds { reached, settled: 0, freed: Vec::new(), blocked: false, due_ms: None };
    for (_, hold) in over {
        if hold.ended.is_none() && tx.now().lease_ms < hold.due_ms {
            done.due_ms = done.due_ms.into_iter().chain([hold.due_ms]).min();
            continue;
        }
        match lease::check(tx, &[], hold.wallet.lock().as_slice(), &[], EXPIRY)? {
            LockAttempt::Held(_) => done.blocked = true,
            LockAttempt::Done(authority) => {
                done.freed.extend(authority.freed);
                match hold::settle(tx, &hold) {
                    Ok(()) => done.settled += 1,
                    Err(refused) if refused.name.is_refusal() => done.blocked = true, // the wallet is at its limit
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(done)
}
