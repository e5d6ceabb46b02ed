//! The plain run: the requests at the head of the backlog that only move money, acquire or release locks, carried out
//! without savepoints, because hardly ever one has to be undone.
//!
//! - One that is refused before it has written anything is answered so.
//! - A movement that meets a held lock has written nothing; it is set aside and handled after the others.
//! - The run ends at a request for a lock that is held, and at one about locks while any request waits or is set aside:
//!   the order in which they get the lock is that of the careful way.
//! - If one fails after it has written, panics, or meets a stale lock, all are taken back: the transaction is rolled back
//!   and begun again, and every request is handled in a savepoint of its own (`execute`). Nothing was answered yet.

use super::execute::{Batch, BatchLost, Executor, carry_out, guarded};
use super::idempotency;
use super::reply::Outcome;
use super::request::{Request, RequestKey};
use super::stats;
use crate::command::{Command, Verdict};
use crate::error::ErrorName;
use crate::ledger;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

/// The run came to nothing: its transaction must be rolled back.
pub(super) struct TakenBack;

impl From<BatchLost> for TakenBack {
    fn from(_: BatchLost) -> TakenBack {
        TakenBack
    }
}

impl Executor {
    /// The outcomes of the first of these requests, in their order; None for one that is set aside.
    pub(super) fn run_plain(
        &mut self,
        batch: &Batch<'_>,
        requests: &VecDeque<Request>,
    ) -> Result<Vec<Option<Outcome>>, TakenBack> {
        let replays = self.stats.replays.load(Relaxed);
        let run = self.try_all(batch, requests);
        if run.is_err() {
            stats::set(&self.stats.replays, replays);
            stats::add(&self.stats.taken_back, 1);
            self.begin_batch();
        }
        run
    }

    fn try_all(&mut self, batch: &Batch<'_>, requests: &VecDeque<Request>) -> Result<Vec<Option<Outcome>>, TakenBack> {
        let mut outcomes = Vec::new();
        let mut set_aside: Vec<&RequestKey> = Vec::new(); // of those that wait; their repeats wait too
        let mut is_set_aside = false;
        for request in requests {
            let repeats_waiting = |key| set_aside.contains(&key) || self.waiters.with_key(key).is_some();
            let must_wait = is_about_locks(request) && (self.waiters.len() > 0 || is_set_aside);
            let outcome = match must_wait || request.key.as_ref().is_some_and(repeats_waiting) {
                true => None,
                false => self.try_plain(batch, request)?,
            };
            match (&request.command, &outcome) {
                (Command::Money(_) | Command::Acquire(_) | Command::Release(_), Some(_))
                | (Command::NameBatch(_), Some(Outcome { result: Ok(_), .. })) => {}
                (Command::Money(_), None) => set_aside.extend(&request.key),
                _ => break, // the items of a batch whose name is refused must not be carried out
            }
            is_set_aside |= outcome.is_none();
            outcomes.push(outcome);
        }
        guarded(|| ledger::write_system_wallets(&batch.tx)).map_err(|_| TakenBack)?;
        Ok(outcomes)
    }

    /// Notes the outcome of a request of the run, which holds if the batch is committed.
    pub(super) fn answer_plain(&mut self, batch: &mut Batch<'_>, request: Request, outcome: Outcome) {
        stats::add(&self.stats.commands, 1);
        stats::add(&self.stats.plain, 1);
        if is_about_locks(&request) {
            self.note_locks(outcome.result.as_ref().ok(), &[]);
            self.locks_changed |= matches!(request.command, Command::Release(_)); // refused, it may have freed others
        }
        self.note_reservation(&request, &outcome);
        batch.answer(request.replies, outcome);
    }

    fn try_plain(&mut self, batch: &Batch<'_>, request: &Request) -> Result<Option<Outcome>, TakenBack> {
        let is_plain = is_about_locks(request) || matches!(request.command, Command::Money(_) | Command::NameBatch(_));
        if request.envelope.dry_run || !is_plain {
            return Ok(None);
        }
        if let Some(outcome) = self.answer_without_trying(batch, request)? {
            return Ok(Some(outcome));
        }
        let writes = batch.tx.writes();
        let verdict = guarded(|| carry_out(&batch.tx, request));
        let has_written = batch.tx.writes() != writes;
        match verdict {
            Ok(Verdict::Done(Ok(receipt), freed)) if freed.is_empty() => {
                Ok(Some(Outcome { result: Ok(receipt), replayed: false }))
            }
            Ok(Verdict::Done(result, _)) if is_about_locks(request) => Ok(Some(Outcome { result, replayed: false })),
            Ok(Verdict::Held { .. }) if !has_written => Ok(None),
            _ if batch.engine.is_over() => Err(TakenBack),
            Err(error) if !has_written && !error.is_internal() && error.name != ErrorName::StorageFull => {
                let key = request.record_key().filter(|_| error.name.is_refusal());
                let record = |key| guarded(|| idempotency::record(&batch.tx, key, request.fingerprint, Err(&error)));
                key.map(record).transpose().map_err(|_| TakenBack)?;
                Ok(Some(error.into()))
            }
            _ => Err(TakenBack),
        }
    }
}

fn is_about_locks(request: &Request) -> bool {
    matches!(request.command, Command::Acquire(_) | Command::Release(_))
}
