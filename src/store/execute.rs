//! One command of a batch: answered from its idempotency record, carried out in a savepoint, or parked until the lock it
//! needs is free.

use super::idempotency;
use super::request::{Deliveries, Outcome, Reply, Request, RequestKey, disconnected, send, shutting_down};
use super::stats::{self, Stats};
use super::waiters::{Waiter, Waiters};
use crate::command::{self, Command, Receipt, Verdict};
use crate::error::{Error, ErrorName};
use crate::id::LockId;
use crate::lock::{self, GrantOrigin};
use crate::tx::{ReadTx, WriteTx};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How often at most disconnected waiters are looked for when there is no room.
const DROP_GONE_EVERY_MS: i64 = 100;

/// How soon waiters try again when nothing can be written.
const RETRY_MS: i64 = 250;

/// Executes commands, and keeps what outlives a batch: the waiters and the deliveries of their grants.
pub struct Executor {
    pub waiters: Waiters,
    pub deliveries: Deliveries,
    /// Whether this batch changes locks.
    pub locks_changed: bool,
    pub refuses_waiting: bool,
    /// When disconnected waiters were last dropped.
    dropped_gone_ms: i64,
    stats: Arc<Stats>,
}

/// Outcomes that hold only if the batch is committed.
pub(super) type Answers = Vec<(Vec<Reply>, Outcome)>;

/// The transaction has ended: no command of the batch was done.
pub(super) struct BatchLost(pub Error);

impl<E: Into<Error>> From<E> for BatchLost {
    fn from(error: E) -> BatchLost {
        BatchLost(error.into())
    }
}

impl Executor {
    pub fn new(waiters: Waiters, stats: Arc<Stats>) -> Executor {
        let deliveries = Deliveries::default();
        let dropped_gone_ms = i64::MIN / 2;
        Executor { waiters, deliveries, locks_changed: false, refuses_waiting: false, dropped_gone_ms, stats }
    }

    /// Handles a request that has just come in. Whatever happens, its callers get an answer or a place in a queue.
    pub fn handle(
        &mut self,
        conn: &Connection,
        tx: &WriteTx<'_>,
        request: Request,
        answers: &mut Answers,
    ) -> Result<(), BatchLost> {
        stats::add(&self.stats.commands, 1);
        let known = self.answer_without_trying(conn, tx, &request);
        let verdict = match known {
            Ok(Some(outcome)) => {
                answers.push((request.replies, outcome));
                return Ok(());
            }
            Ok(None) => match self.first_of(&request) {
                Some(Ok(first)) => {
                    if let Err(replies) = self.waiters.join(&first, request.replies) {
                        let detail = "too many have asked for the same and wait; try again shortly";
                        answers.push((replies, Error::new(ErrorName::Busy, detail).into()));
                    }
                    return Ok(());
                }
                Some(Err(reused)) => Ok(Verdict::Done(Err(reused), Vec::new())),
                None => self.execute(conn, tx, &request),
            },
            Err(lost) => Err(lost),
        };
        match verdict {
            Ok(Verdict::Done(result, freed)) => {
                answers.push((request.replies, Outcome { result, replayed: false }));
                self.wake(conn, tx, freed, answers)
            }
            Ok(Verdict::Held(id)) => self.park(tx, request, &id, answers),
            Err(BatchLost(error)) => {
                answers.push((request.replies, error.clone().into()));
                Err(BatchLost(error))
            }
        }
    }

    /// What can be answered before the command is tried: a repeat, and what is not wanted any more.
    fn answer_without_trying(
        &mut self,
        conn: &Connection,
        tx: &WriteTx<'_>,
        request: &Request,
    ) -> Result<Option<Outcome>, BatchLost> {
        if let Some(intention) = &request.intention {
            match guarded(|| idempotency::look_up(tx, intention, &request.command)) {
                Ok(None) => {}
                Ok(Some(result)) => {
                    stats::add(&self.stats.replays, 1);
                    let replayed = !matches!(&result, Err(error) if error.name == ErrorName::IdempotencyKeyReused);
                    return Ok(Some(Outcome { result, replayed }));
                }
                Err(error) => return failed(conn, error).map(|error| Some(error.into())),
            }
        }
        Ok(match &request.command {
            // An answer that announced the grant was delivered: the lease stays.
            Command::ReleaseUndelivered(token) if !self.deliveries.none_left_after_failure(token.fence) => {
                Some(Outcome { result: Ok(Receipt::Released), replayed: false })
            }
            // Nobody could release a lock that is granted to a closed connection.
            Command::Acquire(_) if !request.is_wanted() => Some(disconnected().into()),
            _ => None,
        })
    }

    /// The key of the waiting request that this one repeats; an error if it is another request under the same key.
    fn first_of(&mut self, request: &Request) -> Option<Result<RequestKey, Error>> {
        if self.waiters.len() == 0 {
            return None; // the usual case, at no cost
        }
        let key = request.key()?;
        let first = self.waiters.with_key(&key)?;
        match &request.intention {
            Some(_) if first.request.intention != request.intention => Some(Err(idempotency::reused())),
            None if request.envelope.wait_ms == 0 => None,
            _ => Some(Ok(key)),
        }
    }

    /// Carries the command out in a savepoint and records the answer under its idempotency key: both or neither.
    fn execute(&mut self, conn: &Connection, tx: &WriteTx<'_>, request: &Request) -> Result<Verdict, BatchLost> {
        let head = tx.head();
        tx.execute("SAVEPOINT command", [])?;
        let verdict = guarded(|| {
            let verdict = command::apply(tx, &request.command, &request.envelope.by, &request.envelope.tokens)?;
            if let (Verdict::Done(Ok(receipt), _), Some(intention)) = (&verdict, &request.intention) {
                idempotency::record(tx, intention, Ok(receipt))?;
            }
            Ok(verdict)
        });
        if conn.is_autocommit() {
            // A full disk or an I/O error can end the transaction, and every savepoint with it.
            return Err(BatchLost(verdict.err().unwrap_or_else(|| Error::internal("the transaction ended by itself"))));
        }
        if !matches!(verdict, Ok(Verdict::Done(..))) {
            tx.execute("ROLLBACK TO command", [])?;
            tx.set_head(head);
        }
        let verdict = match verdict {
            Ok(Verdict::Done(result, freed)) => {
                self.note(result.as_ref().ok(), &freed);
                Verdict::Done(result, freed)
            }
            Ok(held) => held,
            Err(error) => {
                let intention = request.intention.as_ref().filter(|_| error.name.is_refusal());
                let recorded = intention.map(|intention| guarded(|| idempotency::record(tx, intention, Err(&error))));
                let error = recorded.and_then(Result::err).unwrap_or(error);
                Verdict::Done(Err(failed(conn, error)?), Vec::new())
            }
        };
        tx.execute("RELEASE command", [])?;
        Ok(verdict)
    }

    fn note(&mut self, receipt: Option<&Receipt>, freed: &[LockId]) {
        let (about_locks, taken_over) = match receipt {
            Some(Receipt::Granted(grant)) => (true, u64::from(grant.how == GrantOrigin::TakenOver)),
            Some(Receipt::Renewed(_) | Receipt::Released | Receipt::Revoked(_)) => (true, 0),
            Some(_) => (!freed.is_empty(), freed.len() as u64),
            None => (!freed.is_empty(), 0),
        };
        self.locks_changed |= about_locks;
        stats::add(&self.stats.takeovers, taken_over);
    }

    /// Queues the request for the locks it needs, or answers that somebody holds one.
    fn park(
        &mut self,
        tx: &WriteTx<'_>,
        request: Request,
        id: &LockId,
        answers: &mut Answers,
    ) -> Result<(), BatchLost> {
        let now = tx.now().lease_ms;
        let refusal = if request.envelope.wait_ms == 0 {
            self.locked(tx, id, now, now)?
        } else if self.refuses_waiting {
            shutting_down()
        } else {
            let ids = command::locks_needed(tx, &request.command)?;
            if !self.waiters.has_room(&ids) && now - self.dropped_gone_ms >= DROP_GONE_EVERY_MS {
                self.dropped_gone_ms = now;
                let gone = self.waiters.take_gone().into_iter();
                answers.extend(gone.map(|waiter| (waiter.request.replies, disconnected().into())));
            }
            if self.waiters.has_room(&ids) {
                stats::add(&self.stats.lock_waits, 1);
                let deadline_ms = now + request.envelope.wait_ms;
                self.waiters.park(Waiter { request, ids, since_ms: now, deadline_ms });
                return self.note_stale_from(tx, id);
            }
            Error::new(ErrorName::Busy, format!("too many requests wait for the lock {id}")).with("lock", id.as_str())
        };
        answers.push((request.replies, refusal.into()));
        Ok(())
    }

    fn note_stale_from(&mut self, tx: &WriteTx<'_>, id: &LockId) -> Result<(), BatchLost> {
        if let Some(lock) = lock::find(tx, id)? {
            self.waiters.set_stale_from(id, lock.stale_from());
        }
        Ok(())
    }

    /// Lets the waiters of these locks try, first come first served, until each lock is held again.
    pub fn wake(
        &mut self,
        conn: &Connection,
        tx: &WriteTx<'_>,
        ids: Vec<LockId>,
        answers: &mut Answers,
    ) -> Result<(), BatchLost> {
        let now = tx.now().lease_ms;
        let mut ids = VecDeque::from(ids);
        while let Some(id) = ids.pop_front() {
            let mut last = None;
            while let Some(seq) = self.waiters.next_in_queue(&id, last) {
                last = Some(seq);
                let Some(waiter) = self.waiters.take(seq) else { continue };
                let verdict = if !waiter.request.is_wanted() {
                    Ok(Verdict::Done(Err(disconnected()), Vec::new()))
                } else if waiter.deadline_ms <= now {
                    Ok(Verdict::Done(Err(self.locked(tx, &id, now, waiter.since_ms)?), Vec::new()))
                } else {
                    self.execute(conn, tx, &waiter.request)
                };
                match verdict {
                    Ok(Verdict::Done(result, freed)) => {
                        answers.push((waiter.request.replies, Outcome { result, replayed: false }));
                        ids.extend(freed);
                    }
                    Ok(Verdict::Held(held)) => {
                        let waits_for_one = waiter.ids.len() == 1;
                        self.waiters.put_back(seq, waiter);
                        self.note_stale_from(tx, &held)?;
                        if waits_for_one {
                            break;
                        }
                    }
                    Err(BatchLost(error)) => {
                        answers.push((waiter.request.replies, error.clone().into()));
                        return Err(BatchLost(error));
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers the waiters whose deadline has come: somebody still holds the lock.
    pub fn answer_expired(&mut self, tx: &WriteTx<'_>, answers: &mut Answers) -> Result<(), BatchLost> {
        let now = tx.now().lease_ms;
        for waiter in self.waiters.take_expired(now) {
            let held = waiter.ids.iter().find(|id| matches!(lock::find(tx, id), Ok(Some(_))));
            let error = self.locked(tx, held.unwrap_or(&waiter.ids[0]), now, waiter.since_ms)?;
            answers.push((waiter.request.replies, error.into()));
        }
        Ok(())
    }

    /// The same when no transaction can be begun.
    pub fn expire(&mut self, now: i64) {
        for waiter in self.waiters.take_expired(now) {
            send(waiter.request.replies, Error::new(ErrorName::Locked, "somebody else has the lock").into());
        }
        if self.waiters.next_timer().is_some_and(|at| at <= now) {
            self.retry(now);
        }
    }

    /// Has all waiters try again soon: what was noted of their locks may never have been written.
    pub fn retry(&mut self, now: i64) {
        self.waiters.retry_at(now + RETRY_MS);
    }

    fn locked(&self, tx: &ReadTx<'_>, id: &LockId, now: i64, since_ms: i64) -> Result<Error, Error> {
        let error = lock::locked(tx, id, now)?;
        Ok(error.with("queue", self.waiters.queue(id)).with("waited_ms", now - since_ms))
    }
}

/// Turns a panic into an error.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::internal(format!("panic: {}", text.unwrap_or("no message"))))
    })
}

/// The error as an answer to its own command, unless the transaction has ended with it.
pub(super) fn failed(conn: &Connection, error: Error) -> Result<Error, BatchLost> {
    if conn.is_autocommit() {
        return Err(BatchLost(error));
    }
    if error.is_ours() {
        crate::log::error("a command failed", &error);
    }
    Ok(error)
}
