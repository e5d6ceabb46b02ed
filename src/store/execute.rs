//! One command of a batch: answered from its idempotency record, carried out in a savepoint, or parked until the lock it
//! needs is free.

use super::engine::Savepoint;
use super::idempotency::{self, RecordKey};
use super::reply::{Outcome, Reply, send, shutting_down};
use super::request::{Deliveries, Envelope, Request, RequestKey, Reservation, disconnected};
use super::stats::{self, Stats};
use super::waiters::{Waiter, Waiters, is_for_any, locks_to_look_at, waits_for_no_rest};
use crate::command::{self, Command, Receipt, ReleaseUndelivered, TryEach, Verdict};
use crate::error::{Error, ErrorName};
use crate::id::LockId;
use crate::ledger::{self, verbs::Moved};
use crate::lock::lease::GrantOrigin;
use crate::lock::{self, LockState};
use crate::secret::Hash;
use crate::token::{self, AccessToken};
use crate::tx::{Engine, Unit, WriteTx};
use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Time between two searches for disconnected waiters, made when there is no room for another waiter.
const DROP_DISCONNECTED_EVERY_MS: i64 = 100;

/// Time until waiters try again when nothing can be written.
const RETRY_MS: i64 = 250;

/// A transaction that has begun, and the outcomes that hold only if it is committed.
pub(crate) struct Batch<'conn> {
    pub engine: &'conn Engine,
    pub tx: WriteTx<'conn>,
    pub answers: Vec<(Vec<Reply>, Outcome)>,
    is_used: Cell<bool>,
}

impl<'conn> Batch<'conn> {
    pub(super) fn new(engine: &'conn Engine, tx: WriteTx<'conn>) -> Batch<'conn> {
        Batch { engine, tx, answers: Vec::new(), is_used: Cell::new(false) }
    }

    /// True once something was written in the transaction: a large command has to wait for the next one.
    pub(super) fn is_used(&self) -> bool {
        self.is_used.get()
    }

    pub(super) fn set_used(&self) {
        self.is_used.set(true);
    }

    /// Takes back all that the transaction has written, and begins another.
    fn restart(&self, unit: Unit) -> Result<(), Error> {
        self.engine.roll_back()?;
        self.tx.set_unit(unit);
        self.engine.begin()
    }

    pub(super) fn answer(&mut self, replies: Vec<Reply>, outcome: impl Into<Outcome>) {
        self.answers.push((replies, outcome.into()));
    }

    fn lease_ms(&self) -> i64 {
        self.tx.now().lease_ms
    }
}

/// The transaction has ended: no command of the batch was done.
pub(crate) struct BatchLost(pub Error);

impl<E: Into<Error>> From<E> for BatchLost {
    fn from(error: E) -> BatchLost {
        BatchLost(error.into())
    }
}

/// The next step for a request.
enum Step {
    /// Answer it, and let the waiters of these locks try.
    Answer(Outcome, Vec<LockId>),
    /// Let its callers wait with the waiting request of this key.
    Join(RequestKey),
    /// Let it wait for the lock `held`, one of those it needs.
    Park { held: LockId, needed: Vec<LockId> },
}

impl From<Error> for Step {
    fn from(error: Error) -> Step {
        Step::Answer(error.into(), Vec::new())
    }
}

/// Executes commands, and keeps what outlives a batch: the waiters and the deliveries of their grants.
pub(crate) struct Executor {
    pub waiters: Waiters,
    pub deliveries: Deliveries,
    /// True if this batch changes locks.
    pub locks_changed: bool,
    /// The keys that this batch reserves.
    pub reservations: Vec<Reservation>,
    pub refuses_waiting: bool,
    /// Set in a batch below the floor of free space: the error that refuses those that wait for a lock which is freed.
    pub low_space: Option<Error>,
    /// Time of the last search for disconnected waiters.
    dropped_disconnected_ms: i64,
    /// The hashes of the access tokens' secrets that were found usable in this batch.
    usable_tokens: HashSet<Hash>,
    pub(super) stats: Arc<Stats>,
}

impl Executor {
    pub(crate) fn new(waiters: Waiters, stats: Arc<Stats>) -> Executor {
        Executor {
            waiters,
            deliveries: Deliveries::default(),
            locks_changed: false,
            reservations: Vec::new(),
            refuses_waiting: false,
            low_space: None,
            dropped_disconnected_ms: i64::MIN / 2,
            usable_tokens: HashSet::new(),
            stats,
        }
    }

    /// Forgets what was found in the batch before.
    pub(super) fn begin_batch(&mut self) {
        self.usable_tokens.clear();
    }

    /// Refuses an access token that was revoked or has expired since its request came. It is looked up once in a batch.
    fn check_access(&mut self, batch: &Batch<'_>, token: Option<&AccessToken>) -> Result<Result<(), Error>, BatchLost> {
        let Some(token) = token.filter(|token| !self.usable_tokens.contains(&token.secret_hash)) else {
            return Ok(Ok(()));
        };
        match guarded(|| token::check(&batch.tx, token)) {
            Ok(()) => _ = self.usable_tokens.insert(token.secret_hash),
            Err(error) => return failed(batch.engine, error).map(Err),
        }
        Ok(Ok(()))
    }

    /// Handles a request that has come in. Whatever happens, its callers get an answer or a place in a queue.
    pub(crate) fn handle(&mut self, batch: &mut Batch<'_>, request: Request) -> Result<(), BatchLost> {
        stats::add(&self.stats.commands, 1);
        match self.try_now(batch, &request) {
            Ok(Step::Answer(outcome, freed)) => {
                self.note_reservation(&request, &outcome);
                batch.answer(request.replies, outcome);
                self.wake(batch, freed)
            }
            Ok(Step::Join(first)) => {
                if let Err(replies) = self.waiters.join(&first, request.replies) {
                    let detail = "too many have asked for the same and wait; try again shortly";
                    batch.answer(replies, Error::new(ErrorName::Busy, detail));
                }
                Ok(())
            }
            Ok(Step::Park { held, needed }) => self.park(batch, request, &held, needed),
            Err(BatchLost(error)) => {
                batch.answer(request.replies, error.clone());
                Err(BatchLost(error))
            }
        }
    }

    fn try_now(&mut self, batch: &Batch<'_>, request: &Request) -> Result<Step, BatchLost> {
        if let Some(outcome) = self.answer_without_trying(batch, request)? {
            return Ok(Step::Answer(outcome, Vec::new()));
        }
        if !request.envelope.dry_run
            && let Some(first) = self.first_of(request)
        {
            return Ok(first.map_or_else(Step::from, Step::Join));
        }
        Ok(match self.execute(batch, request)? {
            Verdict::Done(result, freed) => Step::Answer(Outcome { result, replayed: false }, freed),
            Verdict::Held { lock, needed } => Step::Park { held: lock, needed },
        })
    }

    /// The answer to a repeat, and to a request whose command is not permitted or not needed any more.
    pub(super) fn answer_without_trying(
        &mut self,
        batch: &Batch<'_>,
        request: &Request,
    ) -> Result<Option<Outcome>, BatchLost> {
        if let Some(error) = request.reservation.as_ref().and_then(Reservation::failure) {
            return Ok(Some(error.clone().into()));
        }
        if let Err(error) = self.check_access(batch, request.envelope.access_token.as_deref())? {
            return Ok(Some(error.into()));
        }
        if let Some(key) = request.record_key() {
            match guarded(|| idempotency::look_up(&batch.tx, key, request.fingerprint, &request.command)) {
                Ok(None) => {}
                Ok(Some(Ok(Receipt::Named))) if request.envelope.dry_run => {} // its items have records of their own
                Ok(Some(result)) => {
                    stats::add(&self.stats.replays, 1);
                    let replayed = !matches!(&result, Err(error) if error.name == ErrorName::IdempotencyKeyReused);
                    return Ok(Some(Outcome { result, replayed }));
                }
                Err(error) => return failed(batch.engine, error).map(|error| Some(error.into())),
            }
        }
        Ok(match &request.command {
            // An answer that announced the grant was delivered: the lease stays.
            Command::ReleaseUndelivered(ReleaseUndelivered(token))
                if !self.deliveries.none_delivered_after_failure(token.fence) =>
            {
                Some(Outcome { result: Ok(Receipt::Released), replayed: false })
            }
            // A lock that is granted to a closed connection is never released.
            Command::Acquire(_) if !request.has_client() => Some(disconnected().into()),
            _ => None,
        })
    }

    /// The key of the waiting request that this one repeats; an error if it is another request under the same key.
    fn first_of(&self, request: &Request) -> Option<Result<RequestKey, Error>> {
        if self.waiters.len() == 0 {
            return None; // the usual case, at no cost
        }
        let key = request.key.as_ref()?;
        let first = self.waiters.with_key(key)?;
        match key {
            _ if first.request.fingerprint != request.fingerprint => Some(Err(idempotency::reused())),
            RequestKey::LockSecret(_) if request.envelope.wait_ms == 0 => None,
            _ => Some(Ok(key.clone())),
        }
    }

    /// Carries the command out in a savepoint and records the answer under its idempotency key: both or neither. A dry run is
    /// taken back, whatever its answer is.
    fn execute(&mut self, batch: &Batch<'_>, request: &Request) -> Result<Verdict, BatchLost> {
        let Batch { engine, tx, .. } = batch;
        let unit = *tx.unit();
        // SQLite keeps a copy of each page that a savepoint has to bring back, also of those that left its cache, and walks
        // through them at the end of each statement: quadratic for thousands of movements. So a large command is the first
        // of its transaction, and has the transaction itself for a savepoint.
        let is_first = !batch.is_used.replace(true);
        let has_savepoint = !(is_first && request.work.is_large());
        if has_savepoint {
            tx.begin_part(Savepoint::Command)?;
        }
        let dry_run = request.envelope.dry_run;
        tx.set_dry_run(dry_run);
        let verdict = guarded(|| {
            let verdict = match &request.command {
                Command::TryEach(tried) => self.try_each(batch, request, tried)?,
                _ => carry_out(tx, request)?,
            };
            ledger::write_system_wallets(tx)?; // in the savepoint, so that a failure costs this command alone
            Ok(verdict)
        });
        tx.set_dry_run(false);
        if engine.is_over() {
            // A full disk or an I/O error can end the transaction, and every savepoint with it.
            return Err(BatchLost(verdict.err().unwrap_or_else(|| Error::internal("the transaction ended by itself"))));
        }
        if dry_run || !matches!(verdict, Ok(Verdict::Done(..))) {
            if has_savepoint {
                tx.take_back(Savepoint::Command)?;
                tx.set_unit(unit);
            } else {
                batch.restart(unit)?;
            }
        }
        let verdict = match verdict {
            Ok(Verdict::Done(result, _)) if dry_run => Verdict::Done(result, Vec::new()),
            Ok(Verdict::Done(result, freed)) => {
                self.note_locks(result.as_ref().ok(), &freed);
                Verdict::Done(result, freed)
            }
            Ok(held) => held,
            Err(error) => {
                let key = request.record_key().filter(|_| error.name.is_refusal() && !dry_run);
                let record = |key| guarded(|| idempotency::record(tx, key, request.fingerprint, Err(&error)));
                let error = key.map(record).and_then(Result::err).unwrap_or(error);
                Verdict::Done(Err(failed(engine, error)?), Vec::new())
            }
        };
        if has_savepoint {
            tx.end_part(Savepoint::Command)?;
        }
        if matches!(request.command, Command::RevokeToken(_) | Command::RotateToken(_) | Command::AdoptToken(_)) {
            self.usable_tokens.clear();
        }
        Ok(verdict)
    }

    /// Tries the items one after another; each refused one is taken back alone.
    fn try_each(&self, batch: &Batch<'_>, request: &Request, tried: &TryEach) -> Result<Verdict, Error> {
        let Batch { tx, .. } = batch;
        let caller = &request.envelope.by;
        let mut results = Vec::with_capacity(tried.items.len());
        for (key, item) in &tried.items {
            let command = Command::Money(item.clone());
            let key = key.as_ref().map(|key| RecordKey { caller: caller.clone(), key: key.clone() });
            let known =
                key.map(|key| idempotency::look_up(tx, &key, item.fingerprint(), &command)).transpose()?.flatten();
            if let Some(known) = known {
                results.push(known.and_then(Moved::try_from));
                continue;
            }
            let unit = *tx.unit();
            tx.begin_part(Savepoint::Item)?;
            let moved = match apply(tx, &request.envelope, &command) {
                Ok(Verdict::Done(result, _)) => result.and_then(Moved::try_from),
                Ok(Verdict::Held { lock, .. }) => {
                    Err(self.locked(batch, &lock, batch.lease_ms(), self.waiters.queue(&lock) + 1)?)
                }
                Err(error) if error.is_internal() || error.name == ErrorName::StorageFull => return Err(error),
                Err(error) => Err(error),
            };
            if moved.is_err() {
                tx.take_back(Savepoint::Item)?;
                tx.set_unit(unit);
            }
            tx.end_part(Savepoint::Item)?;
            results.push(moved);
        }
        Ok(Verdict::Done(Ok(Receipt::Tried(results)), Vec::new()))
    }

    pub(super) fn note_locks(&mut self, receipt: Option<&Receipt>, freed: &[LockId]) {
        let (about_locks, taken_over) = match receipt {
            Some(Receipt::Granted(grant)) => (true, u64::from(grant.origin == GrantOrigin::TakenOver)),
            Some(Receipt::Renewed(_) | Receipt::Released | Receipt::Revoked(_)) => (true, 0),
            Some(_) => (!freed.is_empty(), freed.len() as u64),
            None => (!freed.is_empty(), 0),
        };
        self.locks_changed |= about_locks;
        stats::add(&self.stats.takeovers, taken_over);
    }

    /// Notes that the key of a batch is reserved, if this batch is committed; or that its items must not be carried out.
    pub(super) fn note_reservation(&mut self, request: &Request, outcome: &Outcome) {
        let (Command::NameBatch(_), Some(reservation)) = (&request.command, &request.reservation) else { return };
        match &outcome.result {
            Ok(_) => self.reservations.push(reservation.clone()),
            Err(error) => reservation.fail(error),
        }
    }

    /// Queues the request for the locks it needs, or answers that one of them is held.
    fn park(
        &mut self,
        batch: &mut Batch<'_>,
        request: Request,
        id: &LockId,
        needed: Vec<LockId>,
    ) -> Result<(), BatchLost> {
        let now = batch.lease_ms();
        let refusal = if request.envelope.wait_ms == 0 || ends_with_rest(batch, &request.command, id)? {
            let place = self.waiters.queue(id) + 1;
            self.locked(batch, id, now, place)?
        } else if self.refuses_waiting {
            shutting_down()
        } else {
            if !self.waiters.has_room(&needed) && now - self.dropped_disconnected_ms >= DROP_DISCONNECTED_EVERY_MS {
                self.dropped_disconnected_ms = now;
                for waiter in self.waiters.take_disconnected() {
                    batch.answer(waiter.request.replies, disconnected());
                }
            }
            if self.waiters.has_room(&needed) {
                stats::add(&self.stats.lock_waits, 1);
                let deadline_ms = now + request.envelope.wait_ms;
                let looked_at = locks_to_look_at(&request.command, id);
                self.waiters.park(Waiter { request, ids: needed, since_ms: now, deadline_ms });
                return looked_at.iter().try_for_each(|id| self.note_stale_from(batch, id));
            }
            Error::new(ErrorName::Busy, format!("too many requests wait for the lock {id}")).with("lock", id.as_str())
        };
        batch.answer(request.replies, refusal);
        Ok(())
    }

    fn note_stale_from(&mut self, batch: &Batch<'_>, id: &LockId) -> Result<(), BatchLost> {
        if let Some(lock) = lock::find(&batch.tx, id)? {
            self.waiters.set_stale_from(id, lock.stale_from());
        }
        Ok(())
    }

    /// Lets the waiters of these locks try, first come first served, until each lock is held again.
    pub(crate) fn wake(&mut self, batch: &mut Batch<'_>, ids: Vec<LockId>) -> Result<(), BatchLost> {
        let mut ids = VecDeque::from(ids);
        while let Some(id) = ids.pop_front() {
            if self.waiters.queue(&id) == 0 {
                continue;
            }
            self.end_waiting_for_rest(batch, &id)?;
            if let Some(error) = self.low_space.clone() {
                self.refuse_waiters(batch, &id, &error)?;
                continue;
            }
            let mut last = None;
            while let Some(seq) = self.waiters.next_in_queue(&id, last) {
                last = Some(seq);
                let Some(mut waiter) = self.waiters.take(seq) else { continue };
                self.refuse_unusable(batch, &mut waiter.request)?;
                if waiter.request.replies.is_empty() {
                    continue;
                }
                if waiter.request.work.is_large() && batch.is_used() {
                    self.waiters.put_back(seq, waiter);
                    self.waiters.set_stale_from(&id, batch.lease_ms()); // the next commit begins with it
                    break;
                }
                match self.try_again(batch, &waiter, &id, seq) {
                    Ok(Verdict::Done(result, freed)) => {
                        batch.answer(waiter.request.replies, Outcome { result, replayed: false });
                        ids.extend(freed);
                    }
                    Ok(Verdict::Held { lock: held, .. }) => {
                        let looked_at = locks_to_look_at(&waiter.request.command, &held);
                        let waits_for_all = looked_at.len() == 1 && waiter.ids.len() > 1;
                        self.waiters.put_back(seq, waiter);
                        looked_at.iter().try_for_each(|id| self.note_stale_from(batch, id))?;
                        if !waits_for_all {
                            break; // the lock is held, for the rest of its queue too
                        }
                    }
                    Err(BatchLost(error)) => {
                        batch.answer(waiter.request.replies, error.clone());
                        return Err(BatchLost(error));
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers that error to the waiters of a lock that is free now.
    fn refuse_waiters(&mut self, batch: &mut Batch<'_>, id: &LockId, error: &Error) -> Result<(), BatchLost> {
        let now = batch.lease_ms();
        let is_free = lock::find(&batch.tx, id)?.is_none_or(|lock| lock.state(now) == LockState::Free);
        while let Some(seq) = self.waiters.next_in_queue(id, None).filter(|_| is_free) {
            if let Some(waiter) = self.waiters.take(seq) {
                batch.answer(waiter.request.replies, error.clone());
            }
        }
        Ok(())
    }

    /// Answers the waiters of a lock that rests, of those that do not wait for the end of a rest.
    fn end_waiting_for_rest(&mut self, batch: &mut Batch<'_>, id: &LockId) -> Result<(), BatchLost> {
        let is_resting = lock::find(&batch.tx, id)?.is_some_and(|lock| lock.is_released());
        let mut next = if is_resting { self.waiters.next_in_queue(id, None) } else { None };
        while let Some(seq) = next {
            next = self.waiters.next_in_queue(id, Some(seq));
            if !self.waiters.get(seq).is_some_and(|waiter| waits_for_no_rest(&waiter.request.command)) {
                continue;
            }
            let place = self.waiters.place(id, seq);
            if let Some(waiter) = self.waiters.take(seq) {
                let error = self.locked(batch, id, waiter.since_ms, place)?;
                batch.answer(waiter.request.replies, error);
            }
        }
        Ok(())
    }

    /// Answers those callers of a waiting request whose access token is not accepted any more.
    fn refuse_unusable(&mut self, batch: &mut Batch<'_>, request: &mut Request) -> Result<(), BatchLost> {
        let tokens: Vec<_> = request.replies.iter().filter_map(Reply::access_token).cloned().collect();
        for token in tokens {
            if let Err(error) = self.check_access(batch, Some(&token))? {
                let refused = request.take_refused(&token);
                batch.answer(refused, error);
            }
        }
        Ok(())
    }

    /// `seq`: its number in the queue of that lock.
    fn try_again(&mut self, batch: &Batch<'_>, waiter: &Waiter, id: &LockId, seq: u64) -> Result<Verdict, BatchLost> {
        if !waiter.request.has_client() {
            return Ok(Verdict::Done(Err(disconnected()), Vec::new()));
        }
        if waiter.deadline_ms <= batch.lease_ms() {
            return Ok(Verdict::Done(
                Err(self.locked(batch, id, waiter.since_ms, self.waiters.place(id, seq))?),
                Vec::new(),
            ));
        }
        self.execute(batch, &waiter.request)
    }

    /// Answers the waiters whose deadline has come: another lease still holds the lock.
    pub(crate) fn answer_expired(&mut self, batch: &mut Batch<'_>) -> Result<(), BatchLost> {
        for (seq, waiter) in self.waiters.take_expired(batch.lease_ms()) {
            let held = if is_for_any(&waiter.request.command) {
                lock::free_soonest(&batch.tx, &waiter.ids)?
            } else {
                let held = waiter.ids.iter().find(|id| matches!(lock::find(&batch.tx, id), Ok(Some(_))));
                held.unwrap_or(&waiter.ids[0]).clone()
            };
            let place = self.waiters.place(&held, seq);
            let error = self.locked(batch, &held, waiter.since_ms, place)?;
            batch.answer(waiter.request.replies, error);
        }
        Ok(())
    }

    /// The same when no transaction can be begun.
    pub(crate) fn expire(&mut self, now: i64) {
        for (_, waiter) in self.waiters.take_expired(now) {
            send(waiter.request.replies, Error::new(ErrorName::Locked, "another client holds the lock").into());
        }
        if self.waiters.next_timer().is_some_and(|at| at <= now) {
            self.retry(now);
        }
    }

    /// Has all waiters try again soon: the noted times of their locks may never have been written.
    pub(crate) fn retry(&mut self, now: i64) {
        self.waiters.retry_at(now + RETRY_MS);
    }

    /// The refusal of a request that came at `since_ms` and has, or would have, that place in the queue.
    fn locked(&self, batch: &Batch<'_>, id: &LockId, since_ms: i64, place: usize) -> Result<Error, Error> {
        let now = batch.lease_ms();
        let error = lock::locked(&batch.tx, id, batch.tx.now())?;
        let oldest = self.waiters.oldest(id).map(|since| now - since);
        Ok(error
            .with("queue", self.waiters.queue(id))
            .with("place", place)
            .with("oldest_waited_ms", oldest)
            .with("waited_ms", now - since_ms))
    }
}

/// True if that lock rests, and the request does not wait for the end of a rest.
fn ends_with_rest(batch: &Batch<'_>, command: &Command, id: &LockId) -> Result<bool, Error> {
    Ok(waits_for_no_rest(command) && lock::find(&batch.tx, id)?.is_some_and(|lock| lock.is_released()))
}

/// Applies the command and records the answer under its idempotency key.
pub(super) fn carry_out(tx: &WriteTx<'_>, request: &Request) -> Result<Verdict, Error> {
    if let Some(tag) = &request.envelope.if_match {
        command::check_unchanged(tx, &request.command, tag)?;
    }
    let verdict = apply(tx, &request.envelope, &request.command)?;
    if let (Verdict::Done(Ok(receipt), _), Some(key), false) =
        (&verdict, request.record_key(), request.envelope.dry_run)
    {
        idempotency::record(tx, key, request.fingerprint, Ok(receipt))?;
    }
    Ok(verdict)
}

fn apply(tx: &WriteTx<'_>, envelope: &Envelope, command: &Command) -> Result<Verdict, Error> {
    let Envelope { by, access_token, tokens, .. } = envelope;
    let role = access_token.as_ref().map(|token| token.role);
    command::apply(tx, command, by, role, tokens)
}

/// Turns a panic into an error.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::internal(format!("panic: {}", text.unwrap_or("no message"))))
    })
}

/// The error as an answer to its own command, unless the transaction has ended with it.
pub(super) fn failed(engine: &Engine, error: Error) -> Result<Error, BatchLost> {
    if engine.is_over() {
        return Err(BatchLost(error));
    }
    if error.is_internal() {
        crate::log::error("a command failed", &error);
    }
    Ok(error)
}
