//! One command: carried out in a savepoint of its own, with what is remembered of it. A refusal, an error or a panic costs
//! it alone.

use super::desk::{Desk, Lost, Tried};
use super::idempotency;
use super::stats;
use super::work::{Outcome, Work};
use crate::command::{self, Applied, Receipt};
use crate::error::Error;
use crate::id::LockId;
use crate::lock::How;
use crate::tx::WriteTx;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Desk {
    /// Carries a command out in a savepoint of its own, with its idempotency record.
    pub(super) fn attempt(&mut self, conn: &Connection, tx: &WriteTx<'_>, work: &Work) -> Result<Tried, Lost> {
        let head = tx.head();
        tx.execute("SAVEPOINT command", [])?;
        let applied = guarded(|| apply(tx, work));
        if conn.is_autocommit() {
            // A full disk or an I/O error can end the transaction, and every savepoint with it.
            let error = applied.err().unwrap_or_else(|| Error::internal("the transaction ended by itself"));
            return Err(Lost(error));
        }
        if !matches!(applied, Ok(Applied::Done(..) | Applied::GivenUp(..))) {
            tx.execute("ROLLBACK TO command", [])?;
            tx.set_head(head);
        }
        let tried = match applied {
            Ok(Applied::Held(id)) => Tried::Held(id),
            Ok(Applied::GivenUp(lost, freed)) => {
                self.locks_changed |= !freed.is_empty();
                Tried::Answered(Outcome::from(lost), freed)
            }
            Ok(Applied::Done(receipt, freed)) => {
                self.note(&receipt, &freed);
                Tried::Answered(Outcome { result: Ok(receipt), replayed: false }, freed)
            }
            Err(error) => {
                let intention = work.intention.as_ref().filter(|_| error.name.is_refusal());
                let recorded = intention.map(|intention| guarded(|| idempotency::record(tx, intention, Err(&error))));
                let error = recorded.and_then(Result::err).unwrap_or(error);
                Tried::Answered(own_failure(conn, error)?, Vec::new())
            }
        };
        tx.execute("RELEASE command", [])?;
        Ok(tried)
    }

    fn note(&mut self, receipt: &Receipt, freed: &[LockId]) {
        let (about_locks, taken_over) = match receipt {
            Receipt::Granted(grant) => (true, u64::from(grant.how == How::TakenOver)),
            Receipt::Renewed(_) | Receipt::Released | Receipt::Revoked(_) => (true, 0),
            _ => (!freed.is_empty(), freed.len() as u64),
        };
        self.locks_changed |= about_locks;
        stats::add(&self.stats.takeovers, taken_over);
    }
}

/// Carries a command out and records what is answered under its key: both or neither.
fn apply(tx: &WriteTx<'_>, work: &Work) -> Result<Applied, Error> {
    let applied = command::apply(tx, &work.command, &work.envelope.by, &work.envelope.tokens)?;
    if let (Applied::Done(receipt, _), Some(intention)) = (&applied, &work.intention) {
        idempotency::record(tx, intention, Ok(receipt))?;
    }
    Ok(applied)
}

/// A panic costs no more than an error.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(Error::internal(panic_text(&*panic))))
}

/// An error costs its own command, unless the transaction has ended with it.
pub(super) fn own_failure(conn: &Connection, error: Error) -> Result<Outcome, Lost> {
    if conn.is_autocommit() {
        return Err(Lost(error));
    }
    if error.is_ours() {
        crate::log::error("a command failed", &error);
    }
    Ok(Outcome::from(error))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("without a word"))
}
