//! Commands that wait for a lock: parked, woken in order when it is free, answered when their time is over.

use super::desk::{Answers, Desk, Lost, Tried};
use super::stats;
use super::waiting::Parked;
use super::work::{Outcome, Work, gone, send, stopped};
use crate::command;
use crate::error::{Error, Name};
use crate::id::LockId;
use crate::lock;
use crate::tx::{ReadTx, WriteTx};
use rusqlite::Connection;
use std::collections::VecDeque;

/// How soon those who wait try again when nothing can be written.
pub(super) const LOOK_AGAIN_MS: i64 = 250;
/// How often at most those are looked for, when there is no room, whose clients have gone.
const DROP_GONE_EVERY_MS: i64 = 100;

impl Desk {
    /// Makes a command wait its turn, or says that somebody has the lock.
    pub(super) fn park(
        &mut self,
        tx: &WriteTx<'_>,
        work: Work,
        id: &LockId,
        answers: &mut Answers,
    ) -> Result<(), Lost> {
        let now = tx.now().lease_ms;
        let refusal = if work.envelope.wait_ms == 0 {
            self.locked(tx, id, now, now)?
        } else if self.refuses_waiting {
            stopped()
        } else {
            let ids = command::locks_needed(tx, &work.command)?;
            if !self.waiting.has_room(&ids) && now - self.dropped_gone_ms >= DROP_GONE_EVERY_MS {
                self.dropped_gone_ms = now;
                let left = self.waiting.take_gone().into_iter();
                answers.extend(left.map(|parked| (parked.work.clients, Outcome::from(gone()))));
            }
            if self.waiting.has_room(&ids) {
                stats::add(&self.stats.lock_waits, 1);
                let deadline_ms = now + work.envelope.wait_ms;
                self.waiting.park(Parked { work, ids, since_ms: now, deadline_ms });
                return self.note_stale_from(tx, id);
            }
            Error::new(Name::Busy, format!("too many requests wait for the lock {id}")).with("lock", id.as_str())
        };
        answers.push((work.clients, Outcome::from(refusal)));
        Ok(())
    }

    fn note_stale_from(&mut self, tx: &WriteTx<'_>, id: &LockId) -> Result<(), Lost> {
        if let Some(lock) = lock::find(tx, id)? {
            self.waiting.set_stale_from(id, lock.stale_from());
        }
        Ok(())
    }

    /// Lets those who wait for these locks try, first come first served, until somebody has each of them again.
    pub(super) fn wake(
        &mut self,
        conn: &Connection,
        tx: &WriteTx<'_>,
        ids: Vec<LockId>,
        answers: &mut Answers,
    ) -> Result<(), Lost> {
        let now = tx.now().lease_ms;
        let mut ids = VecDeque::from(ids);
        while let Some(id) = ids.pop_front() {
            let mut last = None;
            while let Some(seq) = self.waiting.next_in_queue(&id, last) {
                last = Some(seq);
                let Some(parked) = self.waiting.take(seq) else { continue };
                if !parked.work.has_a_client() {
                    answers.push((parked.work.clients, Outcome::from(gone())));
                    continue;
                }
                if parked.deadline_ms <= now {
                    let error = self.locked(tx, &id, now, parked.since_ms)?;
                    answers.push((parked.work.clients, Outcome::from(error)));
                    continue;
                }
                match self.attempt(conn, tx, &parked.work) {
                    Err(Lost(error)) => {
                        answers.push((parked.work.clients, Outcome::from(error.clone())));
                        return Err(Lost(error));
                    }
                    Ok(Tried::Answered(outcome, freed)) => {
                        answers.push((parked.work.clients, outcome));
                        ids.extend(freed);
                    }
                    Ok(Tried::Held(held)) => {
                        let waits_for_one = parked.ids.len() == 1;
                        self.waiting.put_back(seq, parked);
                        self.note_stale_from(tx, &held)?;
                        if waits_for_one {
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers those whose deadline has come: somebody still has the lock.
    pub(super) fn answer_expired(&mut self, tx: &WriteTx<'_>, answers: &mut Answers) -> Result<(), Lost> {
        let now = tx.now().lease_ms;
        for seq in self.waiting.expired_by(now) {
            let Some(parked) = self.waiting.take(seq) else { continue };
            let held = parked.ids.iter().find(|id| matches!(lock::find(tx, id), Ok(Some(_))));
            let id = held.unwrap_or(&parked.ids[0]).clone();
            let error = self.locked(tx, &id, now, parked.since_ms)?;
            answers.push((parked.work.clients, Outcome::from(error)));
        }
        Ok(())
    }

    /// Answers those whose deadline has come when nothing can be begun.
    pub(super) fn expire(&mut self, now: i64) {
        for seq in self.waiting.expired_by(now) {
            if let Some(parked) = self.waiting.take(seq) {
                let error = Error::new(Name::Locked, "somebody else has the lock");
                send(parked.work.clients, Outcome::from(error));
            }
        }
        if self.waiting.next_moment().is_some_and(|moment| moment <= now) {
            self.waiting.look_again_at(now + LOOK_AGAIN_MS);
        }
        self.sweep.put_off(now);
    }

    fn locked(&self, tx: &ReadTx<'_>, id: &LockId, now: i64, since_ms: i64) -> Result<Error, Error> {
        let error = lock::locked(tx, id, now)?;
        Ok(error.with("queue", self.waiting.queue(id)).with("waited_ms", now - since_ms))
    }
}
