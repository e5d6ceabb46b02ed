//! Removal of old idempotency records and lock events, in bounded steps between other work.
//!
//! One reading of the wall clock does not decide that a record is old: a clock that was a month ahead for an hour would
//! make every record old enough to be removed. Lease time, which cannot be set, has to agree: once a day the file notes
//! the wall time at a lease time.

use super::idempotency;
use crate::error::Error;
use crate::lock;
use crate::tx::{WriteTx, params};

/// Records looked at in one step. An event costs more: a thousand others are counted for it.
const KEYS_STEP: usize = 256;
const EVENTS_STEP: usize = 16;
/// Time from one step to the next, and from one round through all records to the next.
const SWEEP_EVERY_MS: i64 = 50;
const SWEEP_REST_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// The least time for which events of locks are kept.
const KEEP_EVENTS_MS: i64 = 30 * DAY_MS;

/// Rounds through the records and through the events.
pub(crate) struct Sweep {
    keep_keys_ms: i64,
    keys: Round<idempotency::SweepPosition>,
    events: Round<i64>,
}

impl Sweep {
    /// Keeps idempotency records for that many days.
    pub(crate) fn new(keep_keys_days: i64) -> Sweep {
        let keep_keys_ms = keep_keys_days.saturating_mul(DAY_MS);
        Sweep { keep_keys_ms, keys: Round::default(), events: Round::default() }
    }

    /// Lease time at which the next step is due.
    pub(crate) fn next_ms(&self) -> i64 {
        self.keys.next_ms.min(self.events.next_ms)
    }

    /// Puts the next step off: nothing can be written now.
    pub(crate) fn put_off(&mut self, now: i64) {
        let at_least = now + SWEEP_EVERY_MS;
        self.keys.next_ms = self.keys.next_ms.max(at_least);
        self.events.next_ms = self.events.next_ms.max(at_least);
    }

    /// Goes on at once with rounds that have begun: the clock stands still.
    pub(crate) fn hurry(&mut self, now: i64) {
        for next_ms in [&mut self.keys.next_ms, &mut self.events.next_ms] {
            if *next_ms <= now + SWEEP_EVERY_MS {
                *next_ms = (*next_ms).min(now);
            }
        }
    }

    /// Begins all rounds again: the file has other contents.
    pub(crate) fn begin_again(&mut self) {
        (self.keys, self.events) = (Round::default(), Round::default());
    }

    /// Waits for the next round: a step has failed.
    pub(crate) fn rest(&mut self, now: i64) {
        self.keys.next_ms = now + SWEEP_REST_MS;
        self.events.next_ms = now + SWEEP_REST_MS;
    }

    /// Takes the steps that are due.
    pub(crate) fn step(&mut self, tx: &WriteTx<'_>) -> Result<(), Error> {
        let now = tx.now().lease_ms;
        if now < self.next_ms() {
            return Ok(());
        }
        lock::clock::touch(tx)?; // at least once an hour: lease time goes on from there after a crash of the machine
        note(tx, self.keep_keys_ms.max(KEEP_EVENTS_MS))?;
        let (old_key, old_event) = (horizon(tx, self.keep_keys_ms)?, horizon(tx, KEEP_EVENTS_MS)?);
        self.keys.step(now, |from| old_key.map_or(Ok(None), |old| idempotency::sweep(tx, from, old, KEYS_STEP)))?;
        self.events.step(now, |from| old_event.map_or(Ok(None), |old| lock::event::prune(tx, *from, old, EVENTS_STEP)))
    }
}

/// The position of a round, and the lease time of its next step.
#[derive(Default)]
struct Round<Position> {
    from: Position,
    next_ms: i64,
}

impl<Position: Default> Round<Position> {
    fn step(&mut self, now: i64, step: impl FnOnce(&Position) -> Result<Option<Position>, Error>) -> Result<(), Error> {
        if now < self.next_ms {
            return Ok(());
        }
        (self.from, self.next_ms) = match step(&self.from)? {
            Some(last) => (last, now + SWEEP_EVERY_MS),
            None => (Position::default(), now + SWEEP_REST_MS),
        };
        Ok(())
    }
}

/// Notes the wall time if the last note is a day old. Removes notes of a clock that was ahead, and all notes older than
/// `keep_ms` but the newest of these.
pub(crate) fn note(tx: &WriteTx<'_>, keep_ms: i64) -> Result<(), Error> {
    let (lease_ms, wall_ms) = (tx.now().lease_ms, tx.steady_wall_ms());
    tx.execute("DELETE FROM wall_note WHERE wall_ms > $1", params![wall_ms])?;
    tx.execute(
        "DELETE FROM wall_note WHERE lease_ms < (SELECT max(lease_ms) FROM wall_note WHERE lease_ms <= $1)",
        params![lease_ms - keep_ms],
    )?;
    tx.execute(
        "INSERT INTO wall_note (lease_ms, wall_ms) SELECT $1, $2 \
         WHERE NOT EXISTS (SELECT 1 FROM wall_note WHERE lease_ms > $3)",
        params![lease_ms, wall_ms, lease_ms - DAY_MS],
    )?;
    Ok(())
}

/// The wall time before which records are older than `keep_ms` by both clocks. None: not known yet.
pub(crate) fn horizon(tx: &WriteTx<'_>, keep_ms: i64) -> Result<Option<i64>, Error> {
    let lease_ms = tx.now().lease_ms;
    let noted = "SELECT max(wall_ms) FROM wall_note WHERE lease_ms <= $1";
    let noted: Option<i64> = tx.one(noted, params![lease_ms - keep_ms], |row| row.get(0))?.flatten();
    Ok(noted.map(|noted| (noted + 1).min(tx.steady_wall_ms() - keep_ms)))
}
